"""ASOF join against a double loop, pandas and Polars, and on its edges."""

import os
from datetime import timedelta
from itertools import count, product
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql import ArgumentTypeError, SqlError, UnknownNameError, asof_join

DIRECTIONS = (">=", ">", "<=", "<", "nearest")
DATA = Path(os.environ.get("FIN_SQL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def ticks(rng, rows, *, span=40, keys=("a", "b", None, "c"), nulls=0.1, ordered=True):
    """Rows with many tied times, missing keys and missing times."""
    times = rng.integers(0, span, rows)
    times = np.sort(times) if ordered else times
    missing = rng.random(rows) < nulls
    return pa.table(
        {
            "ts": pa.array(times, pa.int64(), mask=missing).cast(pa.timestamp("ns")),
            "k": pa.array([keys[i] for i in rng.integers(0, len(keys), rows)], pa.string()),
            "x": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.2),
            "row": pa.array(range(rows)),
        }
    )


def by_double_loop(left, right, direction, tolerance, ties):
    """The row of the right side that each left row meets, by looking at all of them."""
    lt, rt = (t["ts"].cast(pa.int64()).to_pylist() for t in (left, right))
    lk, rk = (t["k"].to_pylist() for t in (left, right))
    compare = {
        ">=": lambda a, b: a >= b,
        ">": lambda a, b: a > b,
        "<=": lambda a, b: a <= b,
        "<": lambda a, b: a < b,
        "nearest": lambda a, b: True,
    }[direction]
    found = []
    for t, k in zip(lt, lk, strict=True):
        usable = [
            i
            for i in range(len(rt))
            if t is not None
            and k is not None
            and rk[i] == k
            and rt[i] is not None
            and compare(t, rt[i])
            and (tolerance is None or abs(t - rt[i]) <= tolerance)
        ]
        if not usable:
            found.append(None)
            continue
        best = min((abs(t - rt[i]), rt[i]) for i in usable)[1]
        tied = [i for i in usable if rt[i] == best]
        if ties == "error" and len(tied) > 1:
            return "tied"
        found.append(tied[0] if ties == "first" else tied[-1])
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("direction", "ties"), list(product(DIRECTIONS, ("last", "first", "error")))
)
def test_every_combination_equals_the_double_loop(seed, direction, ties):
    rng = np.random.default_rng(seed)
    left = ticks(rng, 60, ordered=seed % 2 == 0)
    right = ticks(rng, 12 if ties == "error" else 80, ordered=seed % 3 == 0, nulls=0.1)
    for tolerance, how in product((None, 0, 3), ("left", "inner")):
        # without an order of its own, the right side's is its order of time, ties by row
        ranked = right.sort_by([("ts", "ascending"), ("row", "ascending")])
        wanted = by_double_loop(left, ranked, direction, tolerance, ties)
        options = {"on": "ts", "by": "k", "direction": direction, "ties": ties}
        if wanted == "tied":
            with pytest.raises(SqlError, match="meets several right rows of one key and time"):
                asof_join(left, right, tolerance=tolerance, how=how, **options)
            continue
        found = asof_join(left, right, tolerance=tolerance, how=how, **options)
        rows = [None if i is None else ranked["row"][i].as_py() for i in wanted]
        kept = [i for i, row in enumerate(rows) if how == "left" or row is not None]
        assert found["row"].to_pylist() == kept
        assert found["row_right"].to_pylist() == [rows[i] for i in kept]
        payload = [None if wanted[i] is None else ranked["x"][wanted[i]].as_py() for i in kept]
        assert found["x_right"].to_pylist() == payload


def big(rng, rows, keys):
    times = np.sort(rng.integers(0, rows // 3, rows)) * 1_000
    return pd.DataFrame(
        {
            "ts": times.astype("M8[ns]"),
            "k": rng.integers(0, keys, rows),
            "x": rng.normal(size=rows),
        }
    )


@pytest.mark.parametrize(
    ("direction", "strict"),
    [
        ("backward", False),
        ("backward", True),
        ("forward", False),
        ("forward", True),
        ("nearest", False),
    ],
)
def test_equals_pandas_and_polars(direction, strict):
    rng = np.random.default_rng(3)
    left, right = big(rng, 20_000, 50), big(rng, 30_000, 50)
    ours = {"backward": ">" if strict else ">=", "forward": "<" if strict else "<="}
    ties = "first" if direction == "forward" else "last"
    found = asof_join(
        left,
        right,
        on="ts",
        by="k",
        direction=ours.get(direction, "nearest"),
        tolerance=timedelta(microseconds=9),
        ties=ties,
    )
    mine = found["x_right"].to_numpy(zero_copy_only=False)
    theirs = pd.merge_asof(
        left,
        right,
        on="ts",
        by="k",
        direction=direction,
        tolerance=pd.Timedelta("9us"),
        allow_exact_matches=not strict,
    )
    if direction != "nearest":  # pandas takes no stated one of the tied rows after the left one
        np.testing.assert_array_equal(mine, theirs["x_y"].to_numpy())
        polars = pl.DataFrame(left).join_asof(
            pl.DataFrame(right),
            on="ts",
            by="k",
            strategy=direction,
            tolerance="9us",
            allow_exact_matches=not strict,
            check_sortedness=False,
        )
        np.testing.assert_array_equal(mine, polars["x_right"].to_numpy())
        return
    distance = abs(
        found["ts"].cast(pa.int64()).to_numpy()
        - pd.merge_asof(
            left,
            right.assign(rt=right.ts),
            on="ts",
            by="k",
            direction=direction,
            tolerance=pd.Timedelta("9us"),
        )
        .rt.astype("int64")
        .to_numpy()
    )
    nearest = asof_join(
        left,
        right.assign(rt=right.ts),
        on="ts",
        by="k",
        direction="nearest",
        tolerance=timedelta(microseconds=9),
    )
    met = nearest["rt"].is_valid().to_numpy()
    np.testing.assert_array_equal(met, ~np.isnan(theirs["x_y"].to_numpy()))
    ours_distance = abs(
        nearest["ts"].cast(pa.int64()).to_numpy()
        - nearest["rt"].cast(pa.int64()).to_numpy(zero_copy_only=False)
    )
    np.testing.assert_array_equal(ours_distance[met], distance[met])


def test_rows_in_order_of_key_and_time_give_the_same():
    rng = np.random.default_rng(4)
    left, right = big(rng, 5_000, 20), big(rng, 5_000, 20)
    wanted = asof_join(left, right, on="ts", by="k")
    grouped = right.sort_values(["k", "ts"], kind="stable")
    assert asof_join(left, grouped, on="ts", by="k").equals(wanted)


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: t,
        pl.DataFrame,
        lambda t: t.to_pandas(),
        lambda t: t.to_reader(max_chunksize=7),
    ],
)
def test_whatever_holds_arrow_goes_in(convert):
    rng = np.random.default_rng(5)
    left, right = ticks(rng, 50, nulls=0.0), ticks(rng, 50, nulls=0.0)
    found = asof_join(convert(left), convert(right), on="ts", by=["k"])
    found = found.read_all() if isinstance(found, pa.RecordBatchReader) else found
    assert (
        found["row_right"].to_pylist()
        == asof_join(left, right, on="ts", by="k")["row_right"].to_pylist()
    )


def test_units_and_zones_compare_in_nanoseconds():
    left = pa.table({"t": pa.array([1, 2], pa.timestamp("s", "UTC"))})
    right = pa.table(
        {"u": pa.array([1_000, 2_001], pa.timestamp("ms", "America/New_York")), "v": [1, 2]}
    )
    assert asof_join(left, right, on=("t", "u"))["v"].to_pylist() == [1, 1]
    naive = left.cast(pa.schema([("t", pa.timestamp("s"))]))
    with pytest.raises(ArgumentTypeError, match="both with a zone, both without"):
        asof_join(naive, right, on=("t", "u"))


def test_nan_keys_never_match_and_the_zeros_are_one():
    left = pa.table({"t": [5, 5], "k": [float("nan"), -0.0]})
    right = pa.table({"t": [1, 2], "k": [float("nan"), 0.0], "v": [1, 2]})
    assert asof_join(left, right, on="t", by="k")["v"].to_pylist() == [None, 2]
    left, right = (side.set_column(1, "k", side["k"].dictionary_encode()) for side in (left, right))
    assert asof_join(left, right, on="t", by="k")["v"].to_pylist() == [None, 2]


def test_a_dictionary_may_hold_null():
    kind = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int32()), ["a", None])
    left = pa.table({"t": [5, 5, 5], "k": kind})
    right = pa.table({"t": [1, 2, 3], "k": kind, "v": [1, 2, 3]})
    assert asof_join(left, right, on="t", by="k")["v"].to_pylist() == [1, None, None]


def test_no_keys_many_keys_and_empty_sides():
    left = pa.table({"t": [1, 5], "a": ["x", "y"], "b": [1, None]})
    right = pa.table({"t": [0, 4], "a": ["x", "y"], "b": [1, 2], "v": [7, 8]})
    assert asof_join(left, right, on="t")["v"].to_pylist() == [7, 8]
    assert asof_join(left, right, on="t", by=["a", "b"])["v"].to_pylist() == [7, None]
    assert asof_join(left, right.slice(0, 0), on="t", by="a")["v"].to_pylist() == [None, None]
    assert asof_join(left.slice(0, 0), right, on="t", by="a").num_rows == 0
    assert asof_join(left, right, on="t", by="a", how="inner", direction=">").num_rows == 2


def test_extreme_times_do_not_overflow():
    low, high = -(2**63), 2**63 - 1
    left, right = pa.table({"t": [low, high]}), pa.table({"t": [low, high], "v": [1, 2]})
    for ties, direction in product(("last", "first"), ("nearest", ">=", "<=")):
        found = asof_join(left, right, on="t", direction=direction, tolerance=10, ties=ties)
        assert found["v"].to_pylist() == [1, 2]
    for direction, met in ((">", [None, 1]), ("<", [2, None])):
        for side in (left, left.slice(0, 1), left.slice(1)):
            found = asof_join(side, right, on="t", direction=direction)
            at = 0 if side["t"][0].as_py() == low else 1
            assert found["v"].to_pylist() == met[at : at + side.num_rows]
    assert asof_join(left, right.slice(1), on="t", direction="<=", tolerance=2**62)[
        "v"
    ].to_pylist() == [None, 2]
    # low is 2**63 away from 0, one more than an int64 holds, and high is nearer
    zero = pa.table({"t": [0]})
    for tolerance in (None, 2**63 - 1):
        for side in (zero, pa.table({"t": [0, -1]})):  # in order of time, and not
            found = asof_join(side, right, on="t", direction="nearest", tolerance=tolerance)
            assert found["v"].to_pylist()[0] == 2


def test_columns_of_both_names_get_a_suffix_and_types_are_kept():
    left = pa.table({"t": [1], "k": ["a"], "x": [1.0]})
    right = pa.table({"u": [1], "k": ["a"], "x": pa.array(["v"]).dictionary_encode()})
    found = asof_join(left, right, on=("t", "u"), by="k", suffix="_q")
    assert found.column_names == ["t", "k", "x", "u", "x_q"]
    assert found.schema.field("x_q").type == right.schema.field("x").type


def test_decimal_keys_of_two_scales_are_refused():
    def side(scale):
        return pa.table({"t": [1], "k": pa.array([1], pa.decimal128(10, scale)), "v": [1]})

    assert asof_join(side(2), side(2), on="t", by="k")["v_right"].to_pylist() == [1]
    with pytest.raises(fin_sql.ArgumentTypeError, match="decimal.*10, 2.*10, 3.*cast one"):
        asof_join(side(2), side(3), on="t", by="k")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"direction": "after"}, SqlError, "'direction' must be one of '>=', '>', '<='"),
        ({"how": "right"}, SqlError, "'how' must be one of 'left', 'inner', was 'right'"),
        ({"ties": "any"}, SqlError, "'ties' must be one of 'last', 'first', 'error', was 'any'"),
        (
            {"on": "tss"},
            UnknownNameError,
            "asof_join, left side: unknown column 'tss'; did you mean",
        ),
        ({"by": "kk"}, UnknownNameError, "unknown column 'kk'"),
        (
            {"by": ("k", "x")[:1] + (("k", "x"),)},
            ArgumentTypeError,
            "key 'k' is string and key 'x'",
        ),
        ({"tolerance": -1}, SqlError, "'tolerance' must not be negative, was -1"),
        ({"tolerance": "soon"}, SqlError, "'tolerance' must be a timedelta or an integer"),
        ({"on": "x"}, ArgumentTypeError, "left time 'x' must be TIMESTAMP, was double"),
    ],
)
def test_a_wrong_call_gets_one_clear_message(options, error, message):
    rng = np.random.default_rng(6)
    table = ticks(rng, 5)
    with pytest.raises(error, match="asof_join") as raised:
        asof_join(table, table, **({"on": "ts", "by": "k"} | options))
    assert message in str(raised.value)
    with pytest.raises(ArgumentTypeError, match="must have __arrow_c_stream__"):
        asof_join(table, [1, 2], on="ts")


@pytest.mark.skipif(not (DATA / "taq").exists(), reason=f"no TAQ sample in {DATA}")
def test_tied_times_of_the_taq_sample_match_as_in_pandas():
    trades, quotes = (pq.read_table(DATA / "taq" / f"{n}.parquet") for n in ("trades", "quotes"))
    time = next(f.name for f in trades.schema if pa.types.is_timestamp(f.type))
    trades, quotes = (
        t.append_column("row", pa.array(range(len(t)))).sort_by(
            [(time, "ascending"), ("row", "ascending")]
        )
        for t in (trades, quotes)
    )
    found = asof_join(trades.select([time, "row"]), quotes.select([time, "row"]), on=time)
    wanted = pd.merge_asof(
        trades.select([time, "row"]).to_pandas(), quotes.select([time, "row"]).to_pandas(), on=time
    )
    assert fin_sql.__all__.count("asof_join") == 1
    np.testing.assert_array_equal(
        found["row_right"].to_numpy().astype(float), wanted["row_y"].to_numpy(dtype=float)
    )


# ---------------------------------------------------------------- readers


def test_two_readers_are_joined_as_they_come_and_hold_little():
    schema = pa.schema([("ts", pa.timestamp("ns")), ("k", pa.string()), ("x", pa.int64())])
    given = [0, 0]

    def endless(side, step):
        for begin in count(0, 1_000):
            given[side] += 1
            rows = range(begin, begin + 1_000)
            ts = pa.array([step * i for i in rows], pa.timestamp("ns"))
            yield pa.record_batch([ts, ["a", "b"] * 500, list(rows)], schema=schema)

    left, right = (
        pa.RecordBatchReader.from_batches(schema, endless(side, step))
        for side, step in ((0, 3), (1, 1))
    )
    joined = fin_sql.asof_join(left, right, on="ts", by="k")
    assert isinstance(joined, pa.RecordBatchReader)
    found = [joined.read_next_batch() for _ in range(20)]
    table = pa.Table.from_batches(found)
    # A left row of 3 i is of the parity of i, and so is the right row of its key.
    wanted = [3 * i if (3 * i) % 2 == i % 2 else 3 * i - 1 for i in range(table.num_rows)]
    assert table["x_right"].to_pylist() == wanted
    assert given[0] < 25 and given[1] < 70
    for bad in ("<", "nearest"):
        readers = [pa.RecordBatchReader.from_batches(schema, endless(k, 1)) for k in (0, 1)]
        with pytest.raises(fin_sql.SqlError, match="two readers take .*give a tolerance"):
            fin_sql.asof_join(*readers, on="ts", direction=bad)


def test_two_readers_meet_rows_behind_within_a_tolerance():
    rng = np.random.default_rng(7)
    left, right = (
        ticks(rng, 3_000, span=9_000, nulls=0.0, keys=("a", "b", None)) for _ in range(2)
    )
    for direction in ("<=", "<", "nearest"):
        options = {"on": "ts", "by": "k", "direction": direction, "tolerance": 3}
        readers = [side.to_reader(max_chunksize=70) for side in (left, right)]
        found = asof_join(*readers, **options).read_all()
        back = np.arange(3_000)[::-1]  # in no order of time: by the loop that holds the right side
        assert found.equals(asof_join(left.take(back), right, **options).take(back))


def test_a_query_of_a_session_is_a_side():
    rows = pa.table({"ts": pa.array([1, 2], pa.timestamp("ns")), "x": [1, 2]})
    ctx = fin_sql.connect()
    ctx.register("t", rows)
    query = ctx.sql("SELECT ts, x * 10 AS y FROM t")
    assert fin_sql.asof_join(rows, query, on="ts")["y"].to_pylist() == [10, 20]
