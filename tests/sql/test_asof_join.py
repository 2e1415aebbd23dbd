"""ASOF JOIN in SQL against a slow definition, DuckDB and Polars, on every layout of the rows."""

import itertools
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.testing.compare import assert_same_bits

SEED = 20261123
CONDITIONS = {
    ">=": "l.ts >= r.ts",
    ">": "l.ts > r.ts",
    "<=": "r.ts >= l.ts",
    "<": "l.ts < r.ts",
    "nearest": "NEAREST(l.ts, r.ts)",
}
TAQ = Path(__file__).parents[3] / "shared" / "data" / "taq"


def side(rng, n, name, keys=4, span=40):
    """Rows with many equal times, some of them and of their keys NULL."""
    ts = np.sort(rng.integers(0, span, n))
    key = rng.choice([f"k{i}" for i in range(keys)], n)
    return pa.table(
        {
            "ts": pa.array(ts, pa.timestamp("ns"), mask=rng.random(n) < 0.05),
            "k": pa.array(key, mask=rng.random(n) < 0.05),
            name: pa.array(np.arange(n), mask=rng.random(n) < 0.1),
            f"{name}_row": np.arange(n),
        }
    )


def met(left, right, condition, tolerance, ties):
    """The right row of each left one, by the words of docs/sql.md."""
    fits = {
        ">=": lambda a, b: a >= b,
        ">": lambda a, b: a > b,
        "<=": lambda a, b: a <= b,
        "<": lambda a, b: a < b,
        "nearest": lambda a, b: True,
    }[condition]
    found = []
    rights = [
        (t, k, i)
        for i, (t, k) in enumerate(zip(ns(right), right["k"].to_pylist(), strict=True))
        if t is not None and k is not None
    ]
    for t, k in zip(ns(left), left["k"].to_pylist(), strict=True):
        near = [
            (abs(t - u), u, i)
            for u, key, i in rights
            if t is not None
            and key == k
            and fits(t, u)
            and (tolerance is None or abs(t - u) <= tolerance)
        ]
        if not near:
            found.append(None)
            continue
        distance, time, _ = min(near)
        tied = [i for d, u, i in near if (d, u) == (distance, time)]
        found.append(tied[-1] if ties == "LAST" else tied[0])
    return found


def ns(table):
    return table["ts"].cast(pa.int64()).to_pylist()


def session(l, r, left=None, right=None):  # noqa: E741
    ctx = fin_sql.connect()
    ctx.register("l", l, left)
    ctx.register("r", r, right)
    return ctx


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("tolerance", [None, 0, 3])
@pytest.mark.parametrize("ties", ["LAST", "FIRST"])
@pytest.mark.parametrize("kind", ["LEFT", "INNER"])
def test_every_form_is_its_definition(condition, tolerance, ties, kind):
    for seed, (n, m) in enumerate([(150, 200), (1, 50), (50, 1), (0, 30), (30, 0)]):
        rng = np.random.default_rng(SEED + seed)
        left, right = side(rng, n, "a"), side(rng, m, "b")
        within = "" if tolerance is None else f"TOLERANCE INTERVAL '{tolerance} nanoseconds'"
        found = session(left, right).sql(
            f"SELECT l.a_row, r.b, r.b_row FROM l ASOF {kind} JOIN r "
            f"MATCH_CONDITION ({CONDITIONS[condition]}) ON l.k = r.k {within} TIES {ties}"
        )
        rows = met(left, right, condition, tolerance, ties)
        b = right["b"].to_pylist()
        wanted = [(i, None if j is None else b[j], j) for i, j in enumerate(rows)]
        if kind == "INNER":
            wanted = [row for row in wanted if row[2] is not None]
        table = found.to_arrow()
        assert list(zip(*(c.to_pylist() for c in table.columns), strict=True)) == wanted


def layouts(table, folder, name):
    """The same rows, laid out in several ways; all but the last keep the order of each key."""
    by_key = table.sort_by([("k", "ascending"), (f"{name}_row", "ascending")])
    files = folder / f"{name}_files"
    files.mkdir()
    for k, begin in enumerate(range(0, table.num_rows, 70)):
        pq.write_table(table.slice(begin, 70), files / f"part-{k}.parquet", row_group_size=20)
    for key in table["k"].unique().to_pylist():
        if key is not None:
            place = folder / f"{name}_hive" / f"k={key}"
            place.mkdir(parents=True)
            chosen = table.filter(pa.compute.equal(table["k"], key)).drop_columns("k")
            pq.write_table(chosen, place / "rows.parquet", row_group_size=20)
    return {
        "time": lambda ctx: ctx.register(name, table),
        "declared": lambda ctx: ctx.register(name, table, "ts"),
        "key": lambda ctx: ctx.register(name, by_key),
        "chunks": lambda ctx: ctx.register(
            name, pa.concat_tables([table.slice(i, 7) for i in range(0, table.num_rows, 7)])
        ),
        "files": lambda ctx: ctx.register_parquet(name, str(files)),
        "hive": lambda ctx: ctx.register_parquet(name, str(folder / f"{name}_hive")),
        "shuffled": lambda ctx: ctx.register(
            name, table.take(np.random.default_rng(1).permutation(table.num_rows))
        ),
    }


@pytest.mark.parametrize("condition", [">=", "<", "nearest"])
def test_the_layout_of_the_rows_does_not_matter(tmp_path, condition):
    rng = np.random.default_rng(SEED)

    def whole(name, n):  # without ties, whose order a shuffle changes, and without NULLs
        ts = pa.array(np.sort(rng.choice(4 * n, n, replace=False)), pa.timestamp("ns"))
        keys = rng.choice(["a", "b", "c"], n)
        return pa.table({"ts": ts, "k": keys, f"{name}_row": np.arange(n), name: rng.random(n)})

    left, right = whole("l", 500), whole("r", 400)
    query = f"""SELECT l.l_row, r.r, rolling_std(r.r, 3) OVER (PARTITION BY l.k ORDER BY l.ts) AS s
        FROM l ASOF JOIN r MATCH_CONDITION ({CONDITIONS[condition]}) ON l.k = r.k ORDER BY l.l_row"""  # noqa: E501
    answers = {}
    sides = layouts(left, tmp_path, "l"), layouts(right, tmp_path, "r")
    for one, other in itertools.product(*sides):
        for threads in (1, 2, 8) if one == other == "time" else (2,):
            ctx = fin_sql.connect(threads=threads)
            sides[0][one](ctx)
            sides[1][other](ctx)
            answers[one, other, threads] = ctx.sql(query).to_arrow()
    wanted = answers["time", "time", 1]
    assert wanted["r"].null_count < 200
    for where, found in answers.items():
        for name in wanted.column_names:
            left_side, right_side = found[name].combine_chunks(), wanted[name].combine_chunks()
            assert_same_bits(left_side, right_side, f"{where}: {name}")


def test_loops_are_chosen_by_how_the_rows_lie(tmp_path):
    rng = np.random.default_rng(SEED)
    left, right = side(rng, 300, "a"), side(rng, 300, "b")
    left, right = (t.filter(t["ts"].is_valid().combine_chunks()) for t in (left, right))
    left, right = (t.filter(t["k"].is_valid().combine_chunks()) for t in (left, right))
    query = "SELECT r.b FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k"
    assert "loop time" in session(left, right).sql(query).explain()
    for condition in ("l.ts <= r.ts", "NEAREST(l.ts, r.ts)"):
        for within, loop in (("TOLERANCE INTERVAL '3 nanoseconds'", "time"), ("", "index")):
            text = f"SELECT r.b FROM l ASOF JOIN r MATCH_CONDITION ({condition}) ON l.k = r.k "
            assert f"loop {loop}" in session(left, right).sql(text + within).explain()
    keyed = [
        t.sort_by([("k", "ascending"), (f"{n}_row", "ascending")])
        for t, n in ((left, "a"), (right, "b"))
    ]
    plan = session(*keyed).sql(query).explain()
    assert "loop key" in plan and "found" in plan
    plan = session(*keyed, left=("k", "ts"), right=("k", "ts")).sql(query).explain()
    assert "loop key, left order: declared, right order: declared" in plan
    shuffled = right.take(rng.permutation(right.num_rows))
    assert "right order: sorted" in session(left, shuffled).sql(query).explain()


def test_a_false_declared_order_is_an_error_with_its_row():
    table = pa.table(
        {"ts": pa.array([1, 5, 4], pa.timestamp("ns")), "k": ["a", "b", "a"], "x": [1.0, 2.0, 3.0]}
    )
    fine = table.slice(0, 2)
    query = "SELECT r.x FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k"
    for ctx, who in (
        (session(table, fine, left="ts", right="ts"), "left"),
        (session(fine, table, left="ts", right="ts"), "right"),
    ):
        with pytest.raises(fin_sql.OrderError, match=f"{who} side .*row 2 .*00004.*00005"):
            ctx.sql(query).to_arrow()
    ctx = session(table, fine, left="ts")
    with pytest.raises(fin_sql.OrderError, match="row 2"):
        table = pa.table({"ts": pa.array([1, 5, 4], pa.timestamp("ns")), "x": [1.0, 2.0, 3.0]})
        ctx.register("l", table, "ts")
        ctx.sql("SELECT ewma(x, 0.5) OVER (ORDER BY ts) FROM l").to_arrow()


def test_ties_by_a_column_and_ties_as_an_error():
    left = pa.table({"ts": pa.array([5], pa.timestamp("ns")), "k": ["a"]})
    right = pa.table(
        {
            "ts": pa.array([5, 5, 5], pa.timestamp("ns")),
            "k": ["a"] * 3,
            "seq": [2, 3, 1],
            "x": [20, 30, 10],
        }
    )
    ctx = session(left, right)
    query = "SELECT r.x FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k TIES "
    for ties, wanted in (
        ("LAST", 10),
        ("FIRST", 20),
        ("LAST BY r.seq", 30),
        ("FIRST BY r.seq", 10),
    ):
        assert ctx.sql(query + ties).to_arrow()["x"].to_pylist() == [wanted], ties
    with pytest.raises(fin_sql.SqlError, match="meets several right rows"):
        ctx.sql(query + "ERROR").to_arrow()


def test_keys_of_many_types_and_times_of_all_units():
    rng = np.random.default_rng(SEED)
    n = 300
    keys = {
        "i": rng.integers(-3, 3, n),
        "f": rng.choice([0.0, -0.0, 1.5], n),
        "b": rng.random(n) < 0.5,
        "t": rng.choice(["x", "y"], n),
    }
    for units in itertools.product("s ms us ns".split(), repeat=2):
        sides = []
        for unit in units:
            # whole seconds, so that every unit holds them
            seconds = pa.array(np.sort(rng.integers(0, 50, n)), pa.timestamp("s"))
            sides.append(pa.table({"ts": seconds.cast(pa.timestamp(unit)), **keys}))
        left, right = sides
        right = right.append_column("row", pa.array(np.arange(n)))
        on = " AND ".join(f"l.{k} = r.{k}" for k in keys)
        found = session(left, right).sql(
            f"SELECT r.row FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON {on}"
        )
        rows = [list(zip(*(t[c].to_pylist() for c in ("ts", *keys)), strict=True)) for t in sides]
        wanted = [
            max((j for j, o in enumerate(rows[1]) if o[1:] == r[1:] and o[0] <= r[0]), default=None)
            for r in rows[0]
        ]
        assert found.to_arrow()["row"].to_pylist() == wanted


def test_both_grammars_chains_self_joins_and_conditions_of_one_side():
    rng = np.random.default_rng(SEED)
    left, right = side(rng, 200, "a"), side(rng, 300, "b")
    ctx = session(left, right)
    one = ctx.sql(
        "SELECT l.a_row, r.b FROM l ASOF INNER JOIN r MATCH_CONDITION (l.ts >= r.ts) USING (k)"
    )
    other = ctx.sql("SELECT a_row, b FROM l ASOF JOIN r USING (k, ts)")
    assert one.to_arrow().equals(other.to_arrow())
    third = ctx.sql("SELECT l.a_row, r.b FROM l ASOF JOIN r ON r.k = l.k AND r.ts <= l.ts")
    assert one.to_arrow().equals(third.to_arrow())

    chained = ctx.sql(
        "SELECT l.a_row, x.b_row AS x, y.b_row AS y FROM l "
        "ASOF JOIN r x MATCH_CONDITION (l.ts >= x.ts) ON l.k = x.k "
        "ASOF JOIN r y MATCH_CONDITION (l.ts + INTERVAL '2 nanoseconds' <= y.ts) ON l.k = y.k"
    ).to_arrow()
    assert chained["x"].to_pylist() == met(left, right, ">=", None, "LAST")
    later = left.set_column(0, "ts", pa.array([t and t + 2 for t in ns(left)], pa.timestamp("ns")))
    wanted = met(later, right, "<=", None, "LAST")
    assert [y for y, t in zip(chained["y"].to_pylist(), ns(left), strict=True) if t] == [
        y for y, t in zip(wanted, ns(left), strict=True) if t
    ]

    filtered = ctx.sql(
        "SELECT l.a_row, r.b_row FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) "
        "ON l.k = r.k AND r.b > 100 AND l.a < 50"
    ).to_arrow()
    kept = [b is not None and b > 100 for b in right["b"].to_pylist()]
    chosen = right.filter(pa.array(kept))
    rows = chosen["b_row"].to_pylist()
    found = met(left, chosen, ">=", None, "LAST")
    wanted = [
        rows[j] if j is not None and a is not None and a < 50 else None
        for j, a in zip(found, left["a"].to_pylist(), strict=True)
    ]
    assert filtered["b_row"].to_pylist() == wanted


def test_pushed_filters_change_no_row():
    rng = np.random.default_rng(SEED)
    ctx = session(side(rng, 400, "a"), side(rng, 400, "b"))
    join = "l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k"
    for condition in (
        "l.k = 'k1'",
        "l.a > 100",
        "r.b > 100",
        "l.a > r.b",
        "r.b IS NULL",
        "l.ts > TIMESTAMP '1970-01-01T00:00:00.000000010'",
        "l.k IN ('k0', 'k2')",
    ):
        pushed = ctx.sql(f"SELECT l.a_row, r.b_row FROM {join} WHERE {condition}").to_arrow()
        plain = condition.replace("l.", "").replace("r.", "").replace(" k ", " lk ")
        plain = plain.replace("k =", "lk =").replace("k IN", "lk IN").replace("ts >", "lts >")
        ctx.register(
            "j",
            ctx.sql(
                f"SELECT l.a_row, r.b_row, l.k AS lk, l.a, r.b, l.ts AS lts FROM {join}"
            ).to_arrow(),
        )
        after = ctx.datafusion.sql(f"SELECT a_row, b_row FROM j WHERE {plain} ORDER BY a_row")
        assert pushed.to_pydict() == after.to_arrow_table().to_pydict(), condition


def test_polars_and_duckdb_agree_where_they_say_the_same():
    rng = np.random.default_rng(SEED)
    n = 5_000
    left, right = (
        pa.table(
            {
                "ts": pa.array(np.sort(rng.choice(10 * n, n, replace=False)), pa.timestamp("ns")),
                "k": rng.choice(["a", "b", "c"], n),
                name: rng.random(n),
            }
        )
        for name in ("x", "y")
    )
    ctx = session(left, right)
    found = ctx.sql(
        "SELECT l.x, r.y FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k"
    )
    polars = pl.from_arrow(left).join_asof(pl.from_arrow(right), on="ts", by="k")
    assert found.to_arrow()["y"].to_pylist() == polars["y"].to_list()
    lt, rt = left, right  # noqa: F841  DuckDB reads them by their names
    duck = duckdb.sql(
        "SELECT y FROM lt ASOF LEFT JOIN rt USING (k, ts) ORDER BY ts"
    ).to_arrow_table()
    assert duck["y"].to_pylist() == polars["y"].to_list()
    for strategy, condition in (("forward", "<="), ("nearest", "nearest")):
        found = ctx.sql(
            f"SELECT r.y FROM l ASOF JOIN r MATCH_CONDITION ({CONDITIONS[condition]}) ON l.k = r.k"
        )
        polars = pl.from_arrow(left).join_asof(
            pl.from_arrow(right), on="ts", by="k", strategy=strategy
        )
        same = [a == b for a, b in zip(found.to_arrow()["y"].to_pylist(), polars["y"], strict=True)]
        assert sum(same) > 0.98 * n if strategy == "nearest" else all(same)


@pytest.mark.skipif(not TAQ.is_dir(), reason="the TAQ sample is not here")
@pytest.mark.parametrize(
    ("condition", "direction", "exact"),
    [(">=", "backward", True), (">", "backward", False), ("<", "forward", False)],
)
def test_the_taq_sample_joins_as_pandas_joins_it(condition, direction, exact):
    trades, quotes = (pq.read_table(TAQ / f"{name}.parquet") for name in ("trades", "quotes"))
    times = trades["ts"].cast(pa.int64()).to_numpy()
    assert len(np.unique(times)) < len(times)
    ctx = fin_sql.connect()
    ctx.register_parquet("t", str(TAQ / "trades.parquet"))
    ctx.register_parquet("q", str(TAQ / "quotes.parquet"))
    found = ctx.sql(
        f"SELECT t.ts, q.bid, q.ask FROM t ASOF JOIN q MATCH_CONDITION (t.ts {condition} q.ts) "
        f"ON t.symbol = q.symbol TOLERANCE INTERVAL '1' SECOND "
        f"TIES {'FIRST' if direction == 'forward' else 'LAST'}"
    ).to_pandas()
    left, right = trades.to_pandas(), quotes.to_pandas()
    if not left["ts"].is_monotonic_increasing:
        left = left.sort_values("ts", kind="stable")
        found = found.sort_values("ts", kind="stable")
    right = right.sort_values("ts", kind="stable")
    wanted = pd.merge_asof(
        left,
        right,
        on="ts",
        by="symbol",
        direction=direction,
        allow_exact_matches=exact,
        tolerance=pd.Timedelta("1s"),
        suffixes=("", "_q"),
    )
    for name in ("bid", "ask"):
        assert np.array_equal(found[name].to_numpy(), wanted[name].to_numpy(), equal_nan=True)
    assert found["bid"].notna().sum() > 10_000
