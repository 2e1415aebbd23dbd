"""CTEs that read each other and themselves, against DuckDB over what they read."""

import duckdb
import pyarrow as pa
import pytest

import fin_sql
from fin_sql.testing import Market

E = "SELECT *, ewma(price, 0.5) OVER (PARTITION BY symbol ORDER BY ts, seq) AS e FROM trades"
TAIL = "r AS ({}) SELECT * FROM r ORDER BY 1"

# What reads `a`, the trades with their averages.
RECURSIVE = [
    "SELECT seq, e FROM a WHERE seq = 1 UNION ALL "
    "SELECT a.seq, r.e + a.e FROM r JOIN a ON a.seq = r.seq + 1 WHERE r.seq < 9",
    "SELECT 1 AS n, max(e) AS e FROM a UNION ALL SELECT n + 1, e / 2 FROM r WHERE n < 5",
    "SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < (SELECT count(*) FROM a WHERE seq < 9)",
    "SELECT n FROM (SELECT 1 AS n) x UNION ALL SELECT n + 1 FROM (SELECT n FROM r) y WHERE n < 4",
]


@pytest.fixture(scope="module")
def ctx():
    ctx = fin_sql.connect(threads=2)
    rows = Market(seed=3).trades(300)
    number = rows.column_names.index("seq")
    ctx.register("trades", rows.set_column(number, "seq", pa.array(range(1, 301))))
    return ctx


@pytest.fixture(scope="module")
def duck(ctx):
    duck = duckdb.connect()
    duck.register("a", ctx.sql(E).to_arrow())
    return duck


@pytest.mark.parametrize("query", RECURSIVE)
@pytest.mark.parametrize("between", ["", "b AS (SELECT * FROM a WHERE seq >= 0), "])
def test_a_recursive_cte_reads_what_kernels_have_computed(ctx, duck, query, between):
    tail = between + TAIL.format(query.replace(" a ", " b a ") if between else query)
    found = ctx.sql(f"WITH RECURSIVE a AS ({E}), {tail}").to_arrow()
    wanted = duck.sql(f"WITH RECURSIVE {tail}").fetchall()
    assert [tuple(row.values()) for row in found.to_pylist()] == wanted
    assert len(wanted) > 3


def test_kernels_run_over_what_a_recursive_cte_gives(ctx, duck):
    query = (
        "WITH RECURSIVE a AS ({}), r(n, x) AS (SELECT 1, max(e) FROM a UNION ALL "
        "SELECT n + 1, x / 2 FROM r WHERE n < 8) SELECT ewma(x, 0.5) OVER (ORDER BY n) AS m FROM r"
    )
    found = ctx.sql(query.format(E)).to_arrow()["m"].to_pylist()
    ((x,),) = duck.sql("SELECT max(e) FROM a").fetchall()
    wanted = [mean := x]
    for _ in range(7):
        x /= 2
        wanted.append(mean := mean + 0.5 * (x - mean))
    assert found == wanted


def test_a_recursive_cte_itself_holds_no_kernel(ctx):
    query = (
        "WITH RECURSIVE r AS (SELECT 1 AS n, 2.0 AS x UNION ALL "
        "SELECT n + 1, ewma(x, 0.5) OVER (ORDER BY n) FROM r WHERE n < 5) SELECT * FROM r"
    )
    with pytest.raises(fin_sql.SqlError, match="the recursive CTE 'r' holds a kernel.*in a CTE"):
        ctx.sql(query)


@pytest.mark.parametrize("word", ["WITH", "WITH RECURSIVE"])
def test_a_cte_may_be_called_as_one_of_its_columns(ctx, word):
    query = f"{word} e AS ({E}) SELECT e FROM e ORDER BY seq"
    assert ctx.sql(query).to_arrow().equals(ctx.sql(f"SELECT e FROM ({E}) ORDER BY seq").to_arrow())


def test_without_recursive_a_cte_reads_the_table_of_its_own_name(ctx):
    query = (
        "WITH trades AS (SELECT * FROM trades WHERE seq < 10) "
        "SELECT count(*) AS n, vwap(price, size) AS v FROM trades"
    )
    assert ctx.sql(query).to_arrow()["n"].to_pylist() == [9]
