"""The standard windows of a session against DuckDB, and against themselves in other batches."""

import math

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import fin_sql
from fin_sql.columns import Slots
from fin_sql.errors import SqlError
from fin_sql.exec.calls import Call, Computed, Frame, supports
from fin_sql.exec.keys import KEY_GROUPS
from fin_sql.exec.operator import CHANGES
from fin_sql.exec.order import Piece
from fin_sql.exec.ties import whole_ties
from fin_sql.exec.windows import KernelWindow
from fin_sql.states import States
from fin_sql.testing.compare import assert_same_bits

SEED = 20261123
ROWS = 2_000

AGGREGATES = """count(*) count(x) sum(x) sum(v) avg(x) avg(v) min(x) max(x) min(v) max(v) min(ts)
max(d) min(f) sum(f) stddev(x) stddev_pop(x) var_samp(x) var_pop(x) corr(x,y) covar_samp(x,y)
covar_pop(x,y) first_value(x) last_value(x) first_value(v) last_value(d) first_value(b)""".split()
IGNORING = ["first_value(x IGNORE NULLS)", "last_value(x IGNORE NULLS)"]
BY_PLACE = ["row_number()", "lag(x)", "lag(x,3)", "lag(v,2,-1)", "lag(d,1)", "lag(ts)", "lag(b)"]
FRAMES = [
    "",
    "ROWS BETWEEN 5 PRECEDING AND CURRENT ROW",
    "ROWS 19 PRECEDING",
    "ROWS BETWEEN 7 PRECEDING AND 3 PRECEDING",
    "ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING",
    "ROWS UNBOUNDED PRECEDING",
    "ROWS BETWEEN CURRENT ROW AND CURRENT ROW",
    "RANGE BETWEEN INTERVAL '5' SECOND PRECEDING AND CURRENT ROW",
]


def rows(seed=SEED, n=ROWS):
    rng = np.random.default_rng(seed)

    def some(values):
        return pa.array(values, mask=rng.random(n) < 0.1)

    return pa.table(
        {
            "i": np.arange(n),
            "ts": pa.array(np.cumsum(rng.integers(0, 3, n)) * 10**9, pa.timestamp("ns")),
            "k": rng.choice(["a", "b", "c"], n),
            "x": some(np.round(rng.normal(size=n), 2)),
            "y": some(rng.normal(size=n)),
            "v": some(rng.integers(-5, 100, n)),
            "f": some(np.round(rng.normal(size=n), 2)).cast(pa.float32()),
            "d": some(rng.integers(0, 1000, n)).cast(pa.int32()).cast(pa.date32()),
            "b": some(rng.random(n) < 0.5),
        }
    )


def session(table):
    ctx = fin_sql.connect()
    ctx.register("t", table)
    return ctx


@pytest.fixture(scope="module")
def table():
    return rows()


@pytest.fixture(scope="module")
def ctx(table):
    return session(table)


def same(found, wanted):
    if found is None:  # a correlation of constants: NULL, as in DataFusion; NaN in DuckDB
        return wanted is None or wanted != wanted
    if isinstance(found, float):
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    return found == wanted


@pytest.mark.parametrize(
    ("call", "frame"),
    [(c, f) for c in [*AGGREGATES, *IGNORING] for f in FRAMES] + [(c, "") for c in BY_PLACE],
)
def test_a_standard_window_is_that_of_duckdb(ctx, table, call, frame):
    unique = call in BY_PLACE or frame.startswith("ROWS")
    over = f"PARTITION BY k ORDER BY {'ts, i' if unique else 'ts'} {frame}"
    query = f"SELECT i, {call} OVER ({over}) AS r FROM t"
    ours = ctx.sql(query)
    assert "KernelWindow" in ours.explain()
    found = ours.to_arrow()
    t = table  # noqa: F841  DuckDB reads it by its name
    wanted = duckdb.sql(query + " ORDER BY i").to_arrow_table()
    assert found["i"].to_pylist() == list(range(ROWS))
    pairs = zip(found["r"].to_pylist(), wanted["r"].to_pylist(), strict=True)
    for row, (left, right) in enumerate(pairs):
        assert same(left, right), f"row {row}: {left}, DuckDB {right}"
    plain = ctx.datafusion.sql(query).to_arrow_table()
    assert found.schema.field("r").type == plain.schema.field("r").type


def test_nth_value_is_the_nth_row(ctx, table):
    query = "SELECT nth_value(x, 3) OVER (PARTITION BY k ORDER BY i) AS r FROM t"
    wanted, seen = [], {}
    for key, x in zip(table["k"].to_pylist(), table["x"].to_pylist(), strict=True):
        seen.setdefault(key, []).append(x)
        wanted.append(seen[key][2] if len(seen[key]) > 2 else None)
    assert ctx.sql(query).to_arrow()["r"].to_pylist() == wanted


CALLS = [
    Call("count", (), "n"),
    Call("sum", ("x",), "total", frame=Frame("rows", 9, 0)),
    Call("avg", ("x",), "mean", frame=Frame("rows", None, 2)),
    Call("stddev_samp", ("x",), "std", frame=Frame("range", 5 * 10**9)),
    Call("min", ("v",), "least", frame=Frame("rows", 4, 1)),
    Call("corr", ("x", "y"), "r", frame=Frame("rows", 19)),
    Call("last_value", ("x",), "last", ignore_nulls=True),
    Call("lag", ("d",), "before", {"offset": 2}),
    Call("row_number", (), "place"),
    Call("ewma", ("x",), "trend", {"alpha": 0.1}),
]


def operator(table, threads=1):
    return KernelWindow(CALLS, table.schema, ("k",), ("ts",), threads=threads)


def outputs(pieces):
    return pa.concat_batches([piece.batch for piece in pieces]).select([c.name for c in CALLS])


def in_pieces(table, rng, count):
    batch = table.combine_chunks().to_batches()[0]
    cuts = sorted({0, len(batch), *rng.integers(0, len(batch), count).tolist()})
    return [batch.slice(a, b - a) for a, b in zip(cuts, cuts[1:], strict=False)]


@pytest.mark.parametrize("seed", range(5))
def test_batches_restarts_and_threads_do_not_matter(seed):
    table, rng = rows(seed), np.random.default_rng(seed)
    whole = outputs(operator(table).process(0, Piece(table.combine_chunks().to_batches()[0])))
    here, store, found = operator(table, threads=int(rng.integers(1, 9))), {}, []
    for batch in whole_ties(iter(in_pieces(table, rng, 25)), ("ts",)):
        found += here.process(0, Piece(batch))
        for row in here.changes().to_pylist():
            store[row["part"], row["key"]] = row
        if rng.random() < 0.5:
            kept = [pa.RecordBatch.from_pylist(list(store.values()), schema=CHANGES)]
            here.close()
            here = operator(table)
            here.load(range(KEY_GROUPS), kept.copy)
    here.close()
    together = outputs(found)
    for name in whole.schema.names:
        assert_same_bits(together[name], whole[name], name)


@pytest.mark.parametrize("spike", [float("nan"), float("inf"), 1e16, -1e300, 5e-324])
def test_a_spike_leaves_the_frame_with_its_row(spike):
    table = rows()
    x = table["x"].to_pylist()
    at = 700
    bad = table.set_column(3, "x", pa.array([*x[:at], spike, *x[at + 1 :]]))
    fine = table.set_column(3, "x", pa.array([*x[:at], 0.5, *x[at + 1 :]]))
    query = """SELECT sum(x) OVER w AS a, avg(x) OVER w AS b, stddev(x) OVER w AS c, min(x) OVER w
    AS d, corr(x, y) OVER w AS e, var_pop(x) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '5'
    SECOND PRECEDING) AS f FROM t WINDOW w AS (PARTITION BY k ORDER BY ts, i ROWS 9 PRECEDING)"""
    found, wanted = (session(data).sql(query).to_arrow() for data in (bad, fine))
    for name in found.column_names:
        left, right = found[name].combine_chunks(), wanted[name].combine_chunks()
        assert_same_bits(left.slice(0, at), right.slice(0, at), name)
        assert_same_bits(left.slice(at + 100), right.slice(at + 100), name)


ODD = pa.table(
    {
        "i": [1, 2, 3, 4],
        "o": [0.5, 1.0, 1.5, 9.0],
        "s": ["a", None, "c", "d"],
        "x": [-5.0] * 4,
        "big": [2**53 + 1, 1, 2, 3],
    }
)


@pytest.mark.parametrize(
    "call",
    [
        "count(s) OVER (ORDER BY i ROWS 1 PRECEDING)",
        "count(s) OVER (ORDER BY i)",
        "count(s) OVER (ORDER BY i RANGE 1 PRECEDING)",
        "stddev_pop(x) OVER (ORDER BY i ROWS 0 PRECEDING)",
        "covar_pop(x, x) OVER (ORDER BY i ROWS 0 PRECEDING)",
        "sum(x) OVER (ORDER BY o RANGE 1 PRECEDING)",
    ],
)
def test_odd_arguments_are_those_of_datafusion(call):
    ctx = session(ODD)
    found = ctx.sql(f"SELECT {call} AS r FROM t").to_arrow()["r"].to_pylist()
    plain = ctx.datafusion.sql(f"SELECT i, {call} AS r FROM t ORDER BY i").to_arrow_table()
    assert list(map(repr, found)) == list(map(repr, plain["r"].to_pylist()))  # -0.0 is not 0.0


def test_integers_beyond_doubles_are_rounded_and_leave_the_frame():
    query = "SELECT avg(big) OVER (ORDER BY i ROWS 0 PRECEDING) AS r FROM t"
    found = session(ODD).sql(query).to_arrow()["r"].to_pylist()
    assert found == [
        2.0**53,
        1.0,
        2.0,
        3.0,
    ]  # DataFusion subtracts as it slides: 0.0 in place of 1.0


def test_frames_that_need_later_rows_are_not_ours():
    for frame in (Frame("rows", 2, -1), Frame("range", 5, 2), Frame("rows", 1, 2)):
        assert not supports(Call("sum", ("x",), "y", frame=frame), [pa.float64()])


def test_state_belongs_to_the_type_of_its_argument():
    kinds = [Computed(Call("last_value", ("x",), "y"), pa.schema([("x", kind)]), ("t",)).identity
             for kind in (pa.float64(), pa.int64(), pa.timestamp("ns"))]  # fmt: skip
    assert kinds[0] != kinds[1] != kinds[2]


def test_a_constant_has_no_deviation():
    table = pa.table({"i": range(500), "x": [0.1] * 500})
    query = "SELECT stddev(x) OVER (ORDER BY i ROWS 9 PRECEDING) AS s FROM t"
    assert set(session(table).sql(query).to_arrow()["s"].to_pylist()) == {None, 0.0}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_kernel_inside_of_a_framed_call_runs_over_its_window(ctx, frame):
    """The frame is that of the call around it, whoever computes that."""
    over = f"OVER (w {frame})"
    window = "WINDOW w AS (PARTITION BY k ORDER BY ts)"
    found = ctx.sql(f"""
        SELECT sum(diff(x)) {over} AS a, count(trade_sign(x, y, y)) {over} AS b,
               median(diff(x)) {over} AS c
        FROM t {window}
    """).to_arrow()
    wanted = ctx.sql(f"""
        SELECT sum(step) {over} AS a, count(side) {over} AS b, median(step) {over} AS c
        FROM (SELECT *, diff(x) OVER w AS step, trade_sign(x, y, y) OVER w AS side FROM t {window})
        {window}
    """).to_arrow()
    for name in found.column_names:
        left, right = (t[name].combine_chunks() for t in (found, wanted))
        assert_same_bits(left, right, f"{name} {frame}")
    with pytest.raises(SqlError, match="takes no frame"):
        ctx.sql("SELECT diff(x) OVER (PARTITION BY k ORDER BY ts ROWS 3 PRECEDING) FROM t")


def test_adding_a_kernel_changes_no_other_column(ctx):
    over = "(PARTITION BY k ORDER BY ts)"
    alone = ctx.sql(f"SELECT sum(x) OVER {over} AS s, x * 2 AS y FROM t").to_arrow()
    more = ctx.sql(
        f"SELECT sum(x) OVER {over} AS s, x * 2 AS y, rsi(x) OVER {over} AS r, ewma(y, 0.1) OVER "
        f"(PARTITION BY k ORDER BY ts, i) AS e FROM t"
    ).to_arrow()
    for name in ("s", "y"):
        assert_same_bits(more[name].combine_chunks(), alone[name].combine_chunks(), name)


def test_windows_of_datafusion_stand_beside_ours(ctx, table):
    query = """SELECT i, rank() OVER (PARTITION BY k ORDER BY v) AS r, lead(x) OVER (PARTITION BY k
    ORDER BY i) AS n, ewma(x, 0.1) OVER (PARTITION BY k ORDER BY ts) AS e FROM t"""
    found = ctx.sql(query).to_arrow()
    assert found["i"].to_pylist() == list(range(ROWS))
    t = table  # noqa: F841
    plain = duckdb.sql(
        "SELECT rank() OVER (PARTITION BY k ORDER BY v NULLS LAST) AS r, lead(x) OVER (PARTITION "
        "BY k ORDER BY i) AS n FROM t ORDER BY i"
    ).to_arrow_table()
    assert found["r"].to_pylist() == plain["r"].to_pylist()
    assert found["n"].to_pylist() == plain["n"].to_pylist()


def test_a_session_may_leave_the_standard_windows_to_datafusion(table):
    ctx = fin_sql.connect(windows="datafusion")
    ctx.register("t", table)
    query = "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts, i) AS s FROM t"
    assert "KernelWindow" not in ctx.sql(query).explain()
    mixed = ctx.sql(query.replace(" FROM", ", ewma(x, 0.1) OVER (ORDER BY ts) AS e FROM"))
    assert mixed.explain().count("KernelWindow") == 1
    total = pc.sum(ctx.sql(query).to_arrow()["s"]).as_py()
    assert math.isclose(pc.sum(mixed.to_arrow()["s"]).as_py(), total, rel_tol=1e-9)


def test_a_range_that_holds_too_many_rows_is_an_error():
    table = pa.table({"ts": pa.array([0] * 100, pa.timestamp("ns")), "x": [1.0] * 100})
    call = Call("sum", ("x",), "s", frame=Frame("range", 10))
    computed = Computed(call, table.schema, ("ts",))
    with pytest.raises(fin_sql.KernelError, match="keeps every row of the time"):
        States(computed.bound, 4_000).run(
            computed.columns(table.to_batches()[0]), Slots.single(100)
        )


def test_the_two_zeros_are_peers():
    ctx = fin_sql.connect()
    rows = pa.table({"x": [-0.0, 0.0, -0.0, 1.0, 0.0], "v": [1, 2, 4, 8, 16]})
    ctx.register("t", rows)
    ctx.register("sorted", rows.take([0, 1, 2, 4, 3]))
    query = "SELECT v, sum(v) OVER (ORDER BY x) AS s, diff(v::DOUBLE) OVER (ORDER BY x) AS d FROM "
    for name in ("t", "sorted"):
        found = ctx.sql(query + name).to_arrow()
        assert dict(zip(*(found[c].to_pylist() for c in "vs"), strict=True)) == {
            1: 23, 2: 23, 4: 23, 16: 23, 8: 31,
        }  # fmt: skip
