"""A query is stopped from another thread, whoever runs it, and the session goes on."""

import asyncio
import threading
from time import perf_counter, sleep

import pyarrow as pa
import pytest

import fin_sql
from fin_sql.errors import CancelledError, SqlError
from fin_sql.exec.pull import pulled
from fin_sql.states import Cancel

LONG = "SELECT count(DISTINCT value % 7) AS n FROM generate_series(1, 9000000000)"
QUERIES = {
    "DataFusion's": LONG,
    "below a kernel": f"SELECT ewma(n, 0.1) OVER (ORDER BY n) AS e FROM ({LONG}) q",
    "above a kernel": "SELECT count(DISTINCT e % s.value) AS n "
    "FROM generate_series(1, 900000000) s, "
    "(SELECT ewma(x, 0.1) OVER (ORDER BY x) AS e FROM (VALUES (1.0), (2.0)) v(x)) q",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_that_has_given_no_batch_yet_is_cancelled(query):
    ctx = fin_sql.connect(threads=2)
    found = ctx.sql(query)
    threading.Timer(0.3, found.cancel).start()
    begin = perf_counter()
    with pytest.raises(CancelledError, match="the query was cancelled"):
        found.to_arrow()
    assert 0.2 < perf_counter() - begin < 5
    assert ctx.sql("SELECT 1 AS one").to_arrow().to_pylist() == [{"one": 1}]
    with pytest.raises(CancelledError):
        found.to_arrow()


def test_nobody_waits_for_what_was_cancelled():
    ctx = fin_sql.connect(threads=2)
    found = ctx.sql(LONG)
    threading.Timer(0.2, found.cancel).start()
    with pytest.raises(CancelledError):
        found.to_arrow()
    for _ in range(60):  # what DataFusion has begun ends at its next batch, wherever that is
        if not [t for t in threading.enumerate() if t.name == "fin_sql pull"]:
            return
        sleep(0.5)
    raise AssertionError("a thread still waits for the plan")


def test_rows_come_in_order_and_once_when_nobody_cancels():
    ctx = fin_sql.connect(threads=2)
    ctx.register("t", pa.table({"x": list(range(200_000))}))
    stream = ctx.datafusion.sql("SELECT x FROM t").execute_stream()
    rows = [v for b in pulled(stream, Cancel()) for v in b.to_pyarrow()["x"].to_pylist()]
    assert sorted(rows) == list(range(200_000))


def test_a_query_runs_inside_of_a_running_loop():
    async def ask():
        return fin_sql.connect().sql("SELECT 2 AS two").to_arrow().to_pylist()

    assert asyncio.run(ask()) == [{"two": 2}]


def test_an_error_of_datafusion_is_told_as_before():
    with pytest.raises(SqlError, match="Cannot cast string 'x'"):
        fin_sql.connect().sql("SELECT CAST(s AS INT) FROM (VALUES ('x')) v(s)").to_arrow()


def test_a_stream_that_is_left_early_stops():
    ctx = fin_sql.connect(threads=2)
    stream = ctx.sql("SELECT value FROM generate_series(1, 9000000000)").stream()
    assert next(stream).num_rows
    begin = perf_counter()
    stream.close()
    assert perf_counter() - begin < 5
