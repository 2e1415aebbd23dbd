"""ASOF join in memory beside Polars and DuckDB, and its loops beside each other; prints tables.

BENCH_ROWS right rows (10 000 000) of BENCH_KEYS keys (1 000), tied times.
"""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from test_kernel_cost import KEYS, ROWS, best, show

from fin_sql import asof_join
from fin_sql.exec.asof import AsofJoin
from fin_sql.exec.batch import bounded
from fin_sql.exec.order import Piece

pytestmark = pytest.mark.bench


def side(seed, rows, name):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, ROWS // 2, rows))
    codes = pa.array(rng.integers(0, KEYS, rows), pa.int32())
    names = pa.array([f"SYM{i:05d}" for i in range(KEYS)])
    return pa.table(
        {
            "ts": pa.array(times).cast(pa.timestamp("us")),
            "symbol": pa.DictionaryArray.from_arrays(codes, names).cast(pa.string()),
            name: rng.normal(size=rows),
        }
    )


@pytest.mark.parametrize("rows", [ROWS, ROWS // 10], ids=["n x n", "n/10 x n"])
def test_beside_polars_and_duckdb(rows):
    duckdb = pytest.importorskip("duckdb")
    left, right = side(1, rows, "x"), side(2, ROWS, "y")
    frames = [pl.DataFrame(t) for t in (left, right)]
    connection = duckdb.connect()
    connection.register("l", left)
    connection.register("r", right)
    query = "SELECT sum(y) FROM l ASOF LEFT JOIN r ON l.symbol = r.symbol AND l.ts >= r.ts"
    ways = {
        "fin_sql": lambda: pc.sum(asof_join(left, right, on="ts", by="symbol")["y"]).as_py(),
        "Polars": lambda: (
            frames[0].join_asof(frames[1], on="ts", by="symbol", check_sortedness=False)["y"].sum()
        ),
        "DuckDB": lambda: connection.execute(query).fetchone()[0],
    }
    totals = {name: way() for name, way in ways.items()}
    assert totals["Polars"] == pytest.approx(totals["fin_sql"], rel=1e-9)
    seconds = {name: best(way) for name, way in ways.items()}
    own = seconds["fin_sql"]
    table = [(name, took * 1e3, took / own) for name, took in seconds.items()]
    head = ("ASOF, one right column summed", "ms", "x fin_sql")
    show(f"{rows:,} x {ROWS:,} rows, {KEYS:,} symbols", head, table, f"asof_{rows}")


LOOPS = [(">=", None), (">=", 10**6), ("<=", 10**6), ("<=", 10**9), ("<", 10**6)]
LOOPS += [("nearest", 10**6), ("nearest", 10**9)]


def in_batches(left, right, direction, tolerance, loop):
    join = operator(left, right, direction, tolerance, loop=loop)
    sides = [side.to_reader(65_536) for side in (left, right)]
    return pc.sum(pa.Table.from_batches(bounded(join, sides), join.schema)["y"]).as_py()


def operator(left, right, direction, tolerance, **options):
    return AsofJoin(
        left.schema,
        right.schema,
        on=("ts", "ts"),
        by=[("symbol", "symbol")],
        direction=direction,
        tolerance_ns=tolerance,
        payload=[("y", "y")],
        **options,
    )


def in_turns(left, right, direction, tolerance, rows=1_000):
    """As streams: a batch and a watermark of each side in turns."""
    join, found = operator(left, right, direction, tolerance, endless=True), []
    sides = [side.to_batches(rows) for side in (left, right)]
    for batches in zip(*sides, strict=True):
        for input, batch in enumerate(batches):
            found += join.process(input, Piece(batch))
            mark = batch["ts"][batch.num_rows - 1].cast(pa.timestamp("ns")).value - 1
            found += join.advance(input, mark)
    for input in (0, 1):
        found += join.advance(input, 2**63 - 1)
    return pc.sum(pa.Table.from_batches([piece.batch for piece in found])["y"]).as_py()


def test_the_loops_beside_each_other():
    left, right = side(1, ROWS, "x"), side(2, ROWS, "y")
    table = []
    for direction, tolerance in LOOPS:
        ways = {
            "time": lambda d=direction, t=tolerance: in_batches(left, right, d, t, "time"),
            "index": lambda d=direction, t=tolerance: in_batches(left, right, d, t, "index"),
            "streams": lambda d=direction, t=tolerance: in_turns(left, right, d, t),
        }
        totals = {name: way() for name, way in ways.items()}
        assert list(totals.values()) == pytest.approx([totals["time"]] * 3, rel=1e-9)
        rates = [2 * ROWS / best(way) / 1e6 for way in ways.values()]
        within = "" if tolerance is None else f" within {tolerance / 1e6:g} ms"
        table.append((direction + within, *rates))
    head = ("M rows/s of both sides", "loop time", "loop index", "streams, 1,000 rows a batch")
    show(f"{ROWS:,} x {ROWS:,} rows, {KEYS:,} symbols", head, table, "asof_loops")
