"""ASOF join in memory beside Polars and DuckDB, results checked equal first; prints a table.

BENCH_ROWS right rows (10 000 000) of BENCH_KEYS keys (1 000), tied times.
"""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from test_kernel_cost import KEYS, ROWS, best, show

from fin_sql import asof_join

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
