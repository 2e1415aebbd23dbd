"""Which chart a result becomes, and what it holds."""

import sys

import numpy as np
import pyarrow as pa
import pytest

import fin_sql
from fin_sql.axes import Data, TimeAxis, moments
from fin_sql.errors import MissingPackageError, SqlError, UnknownNameError
from fin_sql.plot import KINDS, plot
from fin_sql.testing import Market

START = 1_767_623_400_000_000_000  # 2026-01-05 14:30 UTC
SECOND = 10**9


def times(count, step=SECOND, unit="ns"):
    ns = pa.array([START + k * step for k in range(count)], pa.timestamp("ns"))
    return ns.cast(pa.timestamp(unit), safe=False)


def bars(count=5, step=60 * SECOND, **more):
    opens = [10.0 + k for k in range(count)]
    rows = {
        "ts": times(count, step), "open": opens, "high": [v + 2 for v in opens],
        "low": [v - 1 for v in opens], "close": [v + (-1) ** k for k, v in enumerate(opens)],
    }  # fmt: skip
    return pa.table(rows | more)


def spec(table, kind=None, **options):
    return plot(table, kind, **options).to_dict()


def views(chart):
    """The views of a chart, those of a stack one by one."""
    return chart.get("vconcat", [chart])


def layers(view):
    return view.get("layer", [view])


def marks(chart):
    return [[layer["mark"]["type"] for layer in layers(view)] for view in views(chart)]


def rows(chart, view=0):
    """The rows of a view."""
    part = views(chart)[view]
    names = [p["data"]["name"] for p in (chart, part, *layers(part)) if "data" in p]
    return [row for name in dict.fromkeys(names) for row in chart["datasets"][name]]


def encoding(chart, view=0, layer=0):
    return layers(views(chart)[view])[layer]["encoding"]


# ---------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (pa.table({"ts": times(3), "price": [1.0, 2.0, 3.0]}), "line"),
        (pa.table({"day": pa.array([1, 2], pa.date32()), "n": [1, 2]}), "line"),
        (bars(), "candles"),
        (bars(volume=[1, 2, 3, 4, 5]), "candles"),
        (pa.table({"horizon": [1, 10], "value": [0.1, 0.2]}), "markouts"),
        (pa.table({"horizon_s": [1, 10], "symbol": ["a", "a"], "x": [0.1, 0.2]}), "markouts"),
        (pa.table({"symbol": ["a", "b"], "n": [1, 2]}), "bar"),
        (pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]}), "scatter"),
        (pa.table({"x": [1.0, 2.0]}), "hist"),
    ],
)
def test_the_columns_choose_the_kind(table, kind):
    main = {
        "line": "line", "candles": "rule", "markouts": "rule", "bar": "bar", "scatter": "point",
        "hist": "bar",
    }  # fmt: skip
    found = spec(table)
    assert marks(found)[0][0] == main[kind]
    assert found["datasets"] == spec(table, kind)["datasets"]


def test_said_columns_change_the_choice():
    both = pa.table({"ts": times(3), "a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0], "s": list("xyz")})
    assert marks(spec(both, x="a", y="b"))[0][0] == "point"
    assert marks(spec(both, x="s", y="b"))[0][0] == "bar"
    assert marks(spec(bars(), y="close"))[0][0] == "line"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_suit_a_kind_are_refused(kind):
    nothing = pa.table({"ok": pa.array([b"1", b"2"])})
    with pytest.raises(SqlError, match=f"kind '{kind}' needs .*; the columns are ok \\(other\\)"):
        plot(nothing, kind)


@pytest.mark.parametrize(
    ("table", "options", "error", "says"),
    [
        (pa.table({"x": pa.array([], pa.float64())}), {}, SqlError, "gave no rows"),
        (pa.table({"x": [b"1"]}), {}, SqlError, "none of the kinds fits"),
        (pa.table({"ts": times(2), "x": pa.array([None, None], pa.float64())}), {}, SqlError,
         "every value of x is missing"),
        (pa.table({"x": [1.0]}), {"kind": "lien"}, UnknownNameError,
         "plot: unknown kind 'lien'; did you mean 'line'"),
        (pa.table({"price": [1.0]}), {"x": "prise"}, UnknownNameError,
         "plot: unknown column 'prise'; did you mean 'price'"),
        (pa.table({"x": [1.0]}), {"width": 3}, SqlError, "'width' must be in .40, 10000., was 3"),
        (pa.table({"s": ["a", "a"], "n": [1, 2]}), {}, SqlError, "bars need one row for each 's'"),
        (pa.table({"horizon": [1, 1], "value": [1.0, 2.0]}), {}, SqlError,
         "one row for each horizon"),
        (pa.concat_tables([bars(), bars()]), {}, SqlError, "candles need one row for each time"),
        (pa.table({"horizon": ["soon"], "value": [1.0]}), {}, SqlError, "nor like '500 ms'"),
        (pa.table({"s": [str(k) for k in range(200)], "n": range(200)}), {}, SqlError,
         "120 are the most bars"),
        (pa.table({"ts": times(90), "s": [str(k % 30) for k in range(90)], "x": [1.0] * 90}), {},
         SqlError, "'s' has 30 values, and 20 are the most"),
        (pa.table({"ts": times(2)} | {f"x{k}": [10.0**k, 2 * 10.0**k] for k in range(12)}), {},
         SqlError, "would take .* panels, and 8 are the most"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(table, options, error, says):
    with pytest.raises(error, match=says):
        plot(table, **options)


# ---------------------------------------------------------------- lines


def test_lines_have_names_zone_zoom_and_tooltips():
    table = pa.table({"ts": times(10), "price": [float(k) for k in range(10)]})
    found = spec(table)
    x, y = encoding(found)["x"], encoding(found)["y"]
    assert x["axis"]["title"] == "ts (UTC, 2026-01-05)"
    assert x["scale"]["type"] == "utc" and y["title"] == "price"
    (zoom,) = found["params"]
    assert zoom["bind"] == "scales" and zoom["select"]["encodings"] == ["x"]
    told = [t["title"] for t in encoding(found, layer=1)["tooltip"]]
    assert told == ["ts", "value"]
    still = spec(table, still=True)
    assert "params" not in still and marks(still) == [["line"]]


def test_a_text_column_gives_a_line_for_each_of_its_values():
    table = pa.table({"ts": times(6), "s": list("babaab"), "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})
    found = spec(table, still=True)
    assert encoding(found)["color"]["scale"]["domain"] == ["a", "b"]
    assert [r["y"] for r in rows(found) if r["s"] == "a"] == [2.0, 4.0, 5.0]
    assert found["title"]["text"] == "x by s"
    assert spec(table, title="Mine")["title"]["text"] == "Mine"


def test_rows_are_drawn_in_the_order_of_time():
    shuffled = pa.table({"ts": times(5), "x": [0.0, 1.0, 2.0, 3.0, 4.0]}).take([3, 0, 4, 1, 2])
    assert [r["y"] for r in rows(spec(shuffled))] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_what_has_another_scale_has_a_panel_of_its_own():
    t = times(50)
    wave = np.sin(np.arange(50))
    table = pa.table({"ts": t, "bid": 100 + wave, "ask": 100.5 + wave, "rsi": 50 + 40 * wave})
    found = spec(table, still=True)
    titles = [encoding(found, view)["y"]["title"] for view in range(len(views(found)))]
    assert titles == ["bid, ask", "rsi"]
    assert found["resolve"]["scale"]["x"] == "shared"
    by_symbol = pa.table(
        {
            "ts": pa.concat_arrays([t, t]), "symbol": ["A"] * 50 + ["B"] * 50,
            "price": np.r_[1000 + wave, 2 + wave / 100], "trend": np.r_[1000 + wave, 2 + wave / 99],
        }
    )  # fmt: skip
    found = spec(by_symbol, still=True)
    titles = [encoding(found, view)["y"]["title"] for view in range(len(views(found)))]
    assert titles == ["A", "B"]
    domains = [encoding(found, view)["color"]["scale"] for view in (0, 1)]
    assert domains[0] == domains[1] and domains[0]["domain"] == ["price", "trend"]
    assert encoding(found, 0)["color"]["legend"] and encoding(found, 1)["color"]["legend"] is None


def test_a_line_that_lies_among_others_of_its_column_needs_no_panel():
    wave = np.r_[100 + np.sin(np.arange(50)), [100.1, 100.2]]
    label = ["a"] * 50 + ["b"] * 2
    found = spec(pa.table({"ts": times(52), "s": label, "x": wave}), still=True)
    assert len(views(found)) == 1


def test_whole_numbers_beside_doubles_are_named_and_left_out():
    table = pa.table({"ts": times(3), "price": [1.0, 2.0, 3.0], "seq": [1, 2, 3]})
    found = spec(table)
    assert found["title"]["subtitle"] == ["Not drawn: seq."]
    assert {r["s"] for r in rows(found)} == {"price"}
    assert {r["s"] for r in rows(spec(table, y="seq"))} == {"seq"}
    assert "subtitle" not in spec(table.select(["ts", "seq"]))["title"]


def test_missing_values_are_gaps_and_points_without_neighbours_are_seen():
    y = [1.0, None, 3.0, float("nan"), 5.0, 6.0, float("inf"), 8.0]
    found = spec(pa.table({"ts": times(8), "x": y}), still=True)
    assert [r["y"] for r in rows(found)] == [1.0, None, 3.0, None, 5.0, 6.0, None, 8.0]
    assert [r["y"] for r in rows(found) if r.get("alone")] == [1.0, 3.0, 8.0]
    assert marks(found) == [["line", "point"]]


def test_rows_without_a_time_are_counted():
    t = pa.array([START, None, START + 10 * SECOND], pa.timestamp("ns"))
    found = spec(pa.table({"ts": t, "x": [1.0, 2.0, 3.0]}))
    assert found["title"]["subtitle"] == ["1 row without 'ts' left out."]
    assert len(rows(found)) == 2


def test_many_rows_are_thinned_and_the_chart_says_so():
    count = 100_000
    y = np.zeros(count)
    y[77_777], y[11_111] = 9.0, -9.0
    found = spec(pa.table({"ts": times(count), "x": y}), still=True)
    drawn = [r["y"] for r in rows(found)]
    assert len(drawn) <= 5_000 and max(drawn) == 9.0 and min(drawn) == -9.0
    said = f"100,000 values drawn as {len(drawn):,}: the first, least, greatest and last of each"
    assert found["title"]["subtitle"][0].startswith(said)


# ---------------------------------------------------------------- times


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_of_any_unit_and_zone_stand_at_their_instant(unit, zone):
    t = times(3, 10 * SECOND, unit).cast(pa.timestamp(unit, zone))
    found = rows(spec(pa.table({"ts": t, "x": [1.0, 2.0, 3.0]})))
    assert [r["t"] for r in found] == [START / 1e6 + k * 10_000 for k in range(3)]
    assert found[1]["at"] == "2026-01-05 14:30:10"


def test_a_nanosecond_keeps_its_place_on_the_axis():
    axis = TimeAxis("ts", START, START + 3_600 * SECOND)
    places = axis.places(np.array([START, START + 123_456_789]))
    assert places[1] - places[0] == pytest.approx(123.456789, abs=2.5e-4)  # a quarter of a µs
    short = TimeAxis("ts", START, START + 15_000_000)
    assert short.places(np.array([START + 1_001])).tolist() == [1.001]
    assert short.title() == "ts: µs after 2026-01-05 14:30:00 UTC"
    shorter = TimeAxis("ts", START + 7, START + 9)
    assert shorter.places(np.array([START + 7, START + 8, START + 9])).tolist() == [0, 1, 2]
    assert shorter.title() == "ts: ns after 2026-01-05 14:30:00.000000007 UTC"
    assert moments([START + 7, START, START + 10**6]) == [
        "2026-01-05 14:30:00.000000007", "2026-01-05 14:30:00", "2026-01-05 14:30:00.001"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "kind"), [(10, "quantitative"), (10**6, "quantitative"), (SECOND, "temporal")]
)
def test_a_short_time_has_an_axis_of_numbers(step, kind):
    found = spec(pa.table({"ts": times(40, step), "x": list(map(float, range(40)))}))
    assert encoding(found)["x"]["type"] == kind


def test_times_that_no_nanosecond_can_count_are_refused():
    far = pa.array([10**12], pa.timestamp("s"))
    with pytest.raises(SqlError, match="times of 'ts' must lie in 1677 to 2262"):
        plot(pa.table({"ts": far, "x": [1.0]}))


# ---------------------------------------------------------------- candles


def test_candles_are_a_wick_a_body_and_the_volume_below():
    found = spec(bars(volume=[5, 4, 3, 2, 1]))
    assert marks(found) == [["rule", "bar"], ["bar"]]
    first = rows(found)[0]
    assert (first["open"], first["high"], first["low"], first["close"]) == (10.0, 12.0, 9.0, 11.0)
    assert first["volume"] == 5.0 and first["up"] is True and rows(found)[1]["up"] is False
    assert first["from"] < first["t"] < first["to"]
    wick, body = encoding(found), encoding(found, layer=1)
    assert (wick["y"]["field"], wick["y2"]["field"]) == ("low", "high")
    assert (body["y"]["field"], body["y2"]["field"]) == ("open", "close")
    assert found["title"]["text"] == "Candles of 1 min"
    assert marks(spec(bars())) == [["rule", "bar"]]


def test_candles_of_a_struct_and_of_several_symbols():
    struct = pa.StructArray.from_arrays(
        [pa.array([1.0, 2.0]), pa.array([3.0, 4.0]), pa.array([0.5, 1.0]), pa.array([2.0, 3.0])],
        ["open", "high", "low", "close"],
    )
    found = spec(pa.table({"bar": times(2, 60 * SECOND), "prices": struct}))
    assert [r["high"] for r in rows(found)] == [3.0, 4.0]
    two = pa.concat_tables([bars(s=["a"] * 5), bars(s=["b"] * 5)])
    found = spec(two)
    assert [encoding(found, view)["y"]["title"] for view in (0, 1)] == ["a", "b"]
    five = pa.concat_tables([bars(s=[name] * 5) for name in "abcde"])
    with pytest.raises(SqlError, match="candles of 5 values of 's'"):
        plot(five)


def test_a_pause_between_sessions_is_left_empty():
    day = 86_400 * SECOND
    t = [START + d * day + k * 60 * SECOND for d in range(2) for k in range(30)]
    table = bars(60).set_column(0, "ts", pa.array(t, pa.timestamp("ns")))
    found = rows(spec(table))
    assert len(found) == 60
    widths = {round(r["to"] - r["from"]) for r in found}
    assert widths == {round(60_000 * 0.66)}  # of a minute each: none stretches over the night


def test_a_candle_with_a_price_missing_is_left_out():
    table = bars().set_column(2, "high", pa.array([1.0, None, float("nan"), 4.0, 5.0]))
    found = spec(table)
    assert len(rows(found)) == 3
    assert found["title"]["subtitle"] == ["2 rows without a time or a price left out."]


def test_many_candles_are_merged_and_the_chart_says_so():
    found = spec(bars(5_000))
    assert len(rows(found)) == 1_000
    assert found["title"]["subtitle"] == ["Each candle is up to 5 rows, merged."]
    assert found["title"]["text"] == "Candles of 5 min"
    assert max(r["high"] for r in rows(found)) == 5_011.0


# ---------------------------------------------------------------- markouts


def test_markouts_have_a_rule_at_zero_points_and_a_band():
    table = pa.table(
        {"horizon": [1, 10, 100], "value": [0.1, -0.2, 0.3], "low": [0.0, -0.3, 0.1],
         "high": [0.2, -0.1, 0.5]}
    )  # fmt: skip
    found = spec(table)
    assert marks(found) == [["rule", "area", "line", "point"]]
    assert encoding(found, layer=1)["x"]["scale"]["type"] == "log"
    assert encoding(found, layer=1)["x"]["axis"]["values"] == [1.0, 10.0, 100.0]
    assert found["title"]["subtitle"] == ["The band is low to high."]
    assert marks(spec(table.select(["horizon", "value"]))) == [["rule", "line", "point"]]


def test_a_standard_error_is_a_band_of_its_95_percent():
    table = pa.table(
        {"horizon": [1, 2], "s": ["a", "a"], "value": [1.0, 2.0], "std_err": [0.5, 1.0]}
    )
    found = spec(table)
    band = [(r["low"], r["high"]) for r in rows(found) if "low" in r]
    assert band == [
        (pytest.approx(0.02), pytest.approx(1.98)),
        (pytest.approx(0.04), pytest.approx(3.96)),
    ]
    assert found["title"]["subtitle"] == ["The band is 1.96 std_err to either side."]


def test_horizons_are_numbers_lengths_of_time_or_texts():
    lengths = pa.array([-SECOND, 0, 60 * SECOND], pa.duration("ns"))
    for horizon in (lengths, ["-1s", "0 s", "1 min"]):
        found = spec(pa.table({"horizon": horizon, "value": [0.1, 0.2, 0.3]}))
        assert [r["x"] for r in rows(found) if "x" in r] == [-1.0, 0.0, 60.0]
        assert encoding(found, layer=1)["x"]["scale"]["type"] == "symlog"
        assert encoding(found, layer=1)["x"]["title"] == "horizon (s)"
    even = spec(pa.table({"horizon": [1, 2, 3], "value": [0.1, 0.2, 0.3]}))
    assert "type" not in encoding(even, layer=1)["x"]["scale"]


# ---------------------------------------------------------------- others


def test_bars_stand_in_the_order_of_the_rows():
    table = pa.table({"symbol": ["b", "c", "a"], "n": [3, 2, 1]})
    found = spec(table)
    assert encoding(found)["x"]["sort"] == ["b", "c", "a"]
    assert [(r["x"], r["y"]) for r in rows(found)] == [("b", 3.0), ("c", 2.0), ("a", 1.0)]
    long = spec(pa.table({"symbol": ["a" * 20, "b"], "n": [3, 2]}))
    assert encoding(long)["y"]["sort"] == ["a" * 20, "b"]  # they lie, and the text has room
    two = pa.table({"s": ["a", "a", "b"], "v": ["x", "y", "x"], "n": [1, 2, 3]})
    found = spec(two, by="v")
    assert encoding(found)["xOffset"]["sort"] == ["x", "y"]
    found = spec(pa.table({"s": ["a", "b"], "p": [1.0, 2.0], "q": [3.0, 4.0]}), y=["p", "q"])
    assert encoding(found)["color"]["scale"]["domain"] == ["p", "q"]


def test_a_cloud_of_points_is_thinned_and_keeps_its_edges():
    rng = np.random.default_rng(5)
    table = pa.table({"x": rng.normal(size=50_000), "y": rng.normal(size=50_000)})
    found = spec(table)
    drawn = rows(found)
    assert len(drawn) <= 5_000
    assert found["title"]["subtitle"] == [f"50,000 points drawn as {len(drawn):,}: one each spot."]
    for name in ("x", "y"):
        values = table[name].to_pylist()
        assert {min(values), max(values)} <= {r[name] for r in drawn}


def test_bins_count_every_value():
    rng = np.random.default_rng(6)
    values = np.r_[rng.normal(size=5_000), np.nan, [1e9, -1e9]]
    found = spec(pa.table({"x": values}))
    assert sum(r["n"] for r in rows(found)) == 5_002
    notes = " ".join(found["title"]["subtitle"])
    assert "1 row without 'x' left out." in notes and "are in the outer bins" in notes
    assert sum(r["n"] > 0 for r in rows(found)) > 40  # the far-off values do not flatten it
    plain = rng.integers(0, 10, 500) * 1.0
    counted = rows(spec(pa.table({"x": plain})))
    wanted = np.histogram(plain, [r["low"] for r in counted] + [counted[-1]["high"]])[0]
    assert [r["n"] for r in counted] == wanted.tolist()
    assert sum(r["n"] for r in rows(spec(pa.table({"x": [3.0, 3.0]})))) == 2


def test_columns_are_found_in_any_case_and_structs_are_open():
    data = Data(pa.table({"Price": [1.0], "m": [{"a": 1.0, "b": {"c": "t"}}]}))
    assert data.names == ["Price", "m.a", "m.b.c"]
    assert data.named("price") == "Price"


# ---------------------------------------------------------------- from a query


def test_a_query_plots_itself():
    ctx = fin_sql.connect()
    ctx.register("trades", Market(seed=3).trades(400))
    query = ctx.sql(
        "SELECT ts, symbol, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts, seq) AS trend "
        "FROM trades"
    )
    chart = query.plot(title="Trends")
    assert type(chart).__module__.startswith("altair.")
    assert chart.to_dict()["title"]["text"] == "Trends"
    assert "Trends" in chart._repr_mimebundle_()["text/html"]
    assert query.plot("hist", x="trend", width=300).to_dict()["width"] == 300


def test_without_the_extra_an_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    message = "a plot needs the package 'altair': pip install 'fin-sql\\[plot\\]'"
    with pytest.raises(MissingPackageError, match=message):
        fin_sql.connect().sql("SELECT 1.0 AS x").plot()
