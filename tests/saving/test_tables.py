"""CREATE TABLE, INSERT and DROP TABLE: in memory and in a home they do the same."""

import random
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.testing import Market

ROWS = 2_000
W = "(PARTITION BY symbol ORDER BY ts, seq)"


@pytest.fixture(scope="module")
def market():
    market = Market(seed=6)
    return {"trades": market.trades(ROWS), "quotes": market.quotes(ROWS)}


@pytest.fixture(params=["memory", "home"])
def ctx(request, market, tmp_path):
    home = tmp_path / "home" if request.param == "home" else None
    with fin_sql.connect(threads=2, home=home) as ctx:
        for name, table in market.items():
            ctx.register(name, table)
        yield ctx


def rows(ctx, query):
    return ctx.sql(query).to_arrow().to_pylist()


def stored(ctx, name):
    """The rows of a table in its own order."""
    source = ctx.table(name).source
    batches = [b.cast(source.schema) for b in source.scan(source.schema.names)]
    return pa.Table.from_batches(batches, source.schema)


def count(query):
    return query.to_arrow()["count"].to_pylist()


def test_kernels_read_a_table_that_was_made(ctx):
    query = f"SELECT ts, symbol, seq, ewma(price, 0.1) OVER {W} AS e FROM trades"
    wanted = ctx.sql(query).to_arrow()
    assert count(ctx.sql(f"CREATE TABLE made AS {query}")) == [ROWS]
    assert stored(ctx, "made").equals(wanted)
    window = f"SELECT rolling_std(e, 5) OVER {W} AS m FROM "
    plan = ctx.sql(f"{window} made").explain()
    assert "order: found" in plan and "Scan made" in plan
    nested = ctx.sql(f"{window} ({query}) x").to_arrow()
    assert ctx.sql(f"{window} made").to_arrow().equals(nested)
    join = "SELECT t.seq, q.bid FROM {} t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"  # noqa: E501
    one, other = (ctx.sql(join.format(name)).to_arrow() for name in ("made", "trades"))
    assert one.equals(other)


def test_a_table_from_asof_join_and_windows_of_time(ctx):
    ctx.sql(
        "CREATE TABLE bars AS SELECT symbol, window_start, last_value(price) AS close, "
        "count(*) AS n FROM trades GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)"
    )
    assert rows(ctx, "SELECT sum(n) AS n FROM bars") == [{"n": ROWS}]
    assert count(
        ctx.sql(
            "INSERT INTO bars (symbol, n) SELECT t.symbol, count(q.bid) FROM trades t "
            "ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol "
            "GROUP BY t.symbol"
        )
    ) == [len(set(ctx.table("trades").source._table["symbol"].to_pylist()))]
    assert rows(ctx, "SELECT count(*) - count(close) AS n FROM bars")[0]["n"] > 0


def test_names_that_exist(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(fin_sql.SqlError, match="exists already: CREATE OR REPLACE TABLE"):
        ctx.sql("CREATE TABLE T AS SELECT 2 AS a")
    assert count(ctx.sql("CREATE TABLE IF NOT EXISTS t AS SELECT 2 AS a")) == [0]
    assert rows(ctx, "SELECT * FROM t") == [{"a": 1}]
    assert count(ctx.sql("CREATE OR REPLACE TABLE t AS SELECT a + 1 AS a, 'x' AS b FROM t")) == [1]
    assert rows(ctx, "SELECT * FROM t") == [{"a": 2, "b": "x"}]
    with pytest.raises(fin_sql.SqlError, match="exclude each other"):
        ctx.sql("CREATE OR REPLACE TABLE IF NOT EXISTS t AS SELECT 1")
    ctx.sql("CREATE VIEW v AS SELECT 1 AS a")
    with pytest.raises(fin_sql.SqlError, match="exists already"):
        ctx.sql("CREATE TABLE v AS SELECT 2 AS a")
    with pytest.raises(fin_sql.SqlError, match="exists already"):
        ctx.sql("CREATE TABLE trades AS SELECT 2 AS a")


def test_show_tables_and_describe_know_them(ctx):
    ctx.sql("CREATE TABLE made AS SELECT ts, price FROM trades")
    listed = {row["table_name"] for row in rows(ctx, "SHOW TABLES")}
    assert {"made", "trades", "quotes"} <= listed and ctx.tables() == ["made", "quotes", "trades"]
    assert [r["column_name"] for r in rows(ctx, "DESCRIBE made")] == ["ts", "price"]
    ctx.sql("DROP TABLE made")
    assert "made" not in {row["table_name"] for row in rows(ctx, "SHOW TABLES")}


def test_columns_alone_make_an_empty_table(ctx):
    ctx.sql('CREATE TABLE t (ts TIMESTAMP, "Px" DECIMAL(18, 8), s VARCHAR, l BIGINT[])')
    kinds = [pa.timestamp("ns"), pa.decimal128(18, 8), pa.string()]
    assert ctx.table("t").schema.types[:3] == kinds and ctx.table("t").schema.names[1] == "Px"
    assert rows(ctx, "SELECT * FROM t") == []
    ctx.sql("INSERT INTO t (ts, \"Px\", s) VALUES ('2026-01-05', 1.5, 'a')")
    assert rows(ctx, 'SELECT "Px", s, l FROM t') == [{"Px": Decimal("1.5"), "s": "a", "l": None}]
    for statement, says in (
        ("CREATE TABLE u (a INT NOT NULL)", "no constraint"),
        ("CREATE TABLE u (a INT DEFAULT 5)", "no constraint"),
        ("CREATE TABLE u (a INTT)", "INTT"),
        ("CREATE TABLE u (a)", "a column and its type"),
        ("CREATE TABLE u (a INT, a INT)", "stands twice"),
        ("CREATE TABLE u (a INT) AS SELECT 1", "not both"),
        ("CREATE TABLE u ()", "a column and its type"),
        ("CREATE TABLE u", "AS query or"),
        ("CREATE TEMP TABLE u AS SELECT 1", "no temporary tables"),
        ("CREATE TABLE a.u AS SELECT 1", "in no schema"),
        ("CREATE TABLE __u AS SELECT 1", "fin_sql's own"),
        ("CREATE TABLE u AS DROP TABLE t", "a query was expected"),
        ("CREATE TABLE u AS SELECT nope FROM t", "nope"),
    ):
        with pytest.raises(fin_sql.SqlError) as caught:
            ctx.sql(statement)
        assert says in str(caught.value), statement
    assert ctx.tables() == ["quotes", "t", "trades"]


# ---------------------------------------------------------------- INSERT


def test_rows_are_appended_in_their_order(ctx):
    ctx.sql("CREATE TABLE t AS SELECT ts, price FROM trades LIMIT 5")
    first = stored(ctx, "t")
    earlier = "SELECT ts - INTERVAL '1' DAY AS ts, price FROM trades ORDER BY ts DESC LIMIT 50"
    assert count(ctx.sql(f"INSERT INTO t {earlier}")) == [50]
    assert count(ctx.sql("INSERT INTO t VALUES ('2030-01-01', 1.0), (NULL, NULL)")) == [2]
    found = stored(ctx, "t")
    assert found.num_rows == 57 and found.slice(0, 5).equals(first)
    assert found["ts"].slice(5, 50).equals(ctx.sql(earlier).to_arrow()["ts"])
    assert found["price"].to_pylist()[-2:] == [1.0, None]
    # Ours and DataFusion read the same.
    assert rows(ctx, "SELECT count(*) AS n FROM t") == [{"n": 57}]
    with pytest.raises(fin_sql.OrderError):
        ctx.sql("SELECT ewma(price, 0.1) OVER (ORDER BY ts) FROM t").to_arrow()


def test_a_table_is_inserted_into_itself(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS n")
    for _ in range(10):
        ctx.sql("INSERT INTO t SELECT n + 1 FROM t")
    values = stored(ctx, "t")["n"].to_pylist()
    wanted = [1]
    for _ in range(10):
        wanted += [n + 1 for n in wanted]
    assert values == wanted


def test_columns_go_by_their_place_or_by_a_list(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a, 'x' AS b, 1.5 AS c")
    ctx.sql("INSERT INTO t (c, a) VALUES (2.5, 2)")
    ctx.sql("INSERT INTO t SELECT 3 AS q, 'y' AS r, 3.5 AS s")
    assert stored(ctx, "t").to_pydict() == {
        "a": [1, 2, 3],
        "b": ["x", None, "y"],
        "c": [1.5, 2.5, 3.5],
    }
    for statement, says in (
        ("INSERT INTO t VALUES (1, 'a')", "has 3 columns (a, b, c), and the query gives 2"),
        ("INSERT INTO t (a, d) VALUES (1, 2)", "unknown column 'd'"),
        ("INSERT INTO t (a, a) VALUES (1, 2)", "stands twice"),
        ("INSERT INTO t (a, b) VALUES (1)", "the list has 2 columns, and the query gives 1"),
        ("INSERT INTO t SELECT c, b, a FROM t", "write INSERT INTO t (c, b, a)"),
        (
            "INSERT INTO t VALUES ('x', 'y', 1.0)",
            "column 'a' of table 't' is int64, and the query gives string",
        ),  # noqa: E501
        ("INSERT INTO t DEFAULT VALUES", "no defaults"),
        ("INSERT OVERWRITE t SELECT 1", "INSERT INTO name query was expected"),
        ("INSERT INTO tt VALUES (1)", "unknown table 'tt'"),
        ("INSERT INTO t", "a query was expected"),
    ):
        with pytest.raises(fin_sql.SqlError) as caught:
            ctx.sql(statement)
        assert says in str(caught.value), statement
        assert set(str(caught.value).split("\n")[-1].strip()) == {"^"}
    assert stored(ctx, "t").num_rows == 3


def test_a_value_that_does_not_fit_inserts_nothing(ctx):
    ctx.sql("CREATE TABLE t AS SELECT CAST(1 AS INT) AS n, CAST('2026-01-05' AS TIMESTAMP) AS ts")
    big = "SELECT seq * 1000000 AS n, ts FROM trades ORDER BY seq"
    with pytest.raises(
        fin_sql.SqlError, match="INSERT INTO t: column 'n' is int32, and row 525 gives"
    ):
        ctx.sql(f"INSERT INTO t {big}")
    with pytest.raises(fin_sql.SqlError, match="column 'ts' .* row 2 gives '2026-01-32'"):
        ctx.sql("INSERT INTO t VALUES (1, '2026-01-05'), (2, '2026-01-32')")
    late = "SELECT CASE WHEN seq = m THEN 1.5 ELSE 1.0 END AS n, ts FROM trades, (SELECT max(seq) AS m FROM trades) x"  # noqa: E501
    with pytest.raises(
        fin_sql.SqlError, match="gives 1.5, which does not fit without loss; cast it"
    ):
        ctx.sql(f"INSERT INTO t {late}")
    with pytest.raises(fin_sql.SqlError, match="Divide by zero"):
        ctx.sql("INSERT INTO t SELECT 1 / (seq - seq), ts FROM trades")
    assert stored(ctx, "t").num_rows == 1
    assert count(ctx.sql("INSERT INTO t SELECT 5.0, ts FROM trades LIMIT 3")) == [3]
    assert stored(ctx, "t")["n"].to_pylist() == [1, 5, 5, 5]


def test_no_rows_insert_nothing(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS n WHERE false")
    assert stored(ctx, "t").num_rows == 0
    assert count(ctx.sql("INSERT INTO t SELECT n FROM t")) == [0]
    assert count(ctx.sql("INSERT INTO t VALUES (1)")) == [1]


def test_many_inserts_are_still_one_table(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 0 AS n")
    for k in range(1, 150):
        ctx.sql("INSERT INTO t VALUES ($1)", [k])
    assert stored(ctx, "t")["n"].to_pylist() == list(range(150))
    assert rows(ctx, "SELECT sum(n) AS s FROM t") == [{"s": 149 * 75}]


def test_a_prepared_insert_meets_another_table(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS n")
    insert = ctx.prepare("INSERT INTO t VALUES (2)")
    ctx.sql("CREATE OR REPLACE TABLE t AS SELECT 'x' AS s")
    with pytest.raises(fin_sql.SqlError, match="has changed since the statement was planned"):
        insert.to_arrow()
    again = ctx.prepare("INSERT INTO t VALUES ('y')")
    assert count(again) == count(again) == [1]
    assert stored(ctx, "t")["s"].to_pylist() == ["x", "y"]
    create = ctx.prepare("CREATE TABLE u AS SELECT 1 AS a")
    ctx.sql("CREATE TABLE u AS SELECT 2 AS a")
    with pytest.raises(fin_sql.SqlError, match="exists already"):
        create.to_arrow()


def test_a_stream_goes_on_with_the_rows_that_it_began_with(ctx):
    ctx.sql("CREATE TABLE t AS SELECT * FROM trades")
    for query in (f"SELECT seq, ewma(price, 0.1) OVER {W} AS e FROM t", "SELECT seq FROM t"):
        before = ctx.sql(query)
        seen = []
        for batch in before.stream():
            if not seen:
                ctx.sql("INSERT INTO t SELECT * FROM trades LIMIT 1")
                ctx.sql("CREATE OR REPLACE TABLE t AS SELECT * FROM trades")
            seen += batch["seq"].to_pylist()
        assert len(seen) == ROWS
        assert before.to_arrow().num_rows == ROWS
    query = ctx.sql("SELECT seq FROM t")
    ctx.sql("DROP TABLE t")
    assert query.to_arrow().num_rows == ROWS


# ---------------------------------------------------------------- views, other tables


def test_a_view_sees_the_rows_of_today(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS n")
    ctx.sql("CREATE VIEW total AS SELECT sum(n) AS s FROM t")
    ctx.sql('CREATE VIEW "Twice" AS SELECT 2 * s AS s, (SELECT count(*) FROM t) AS c FROM total')
    ctx.sql("CREATE VIEW other AS SELECT seq FROM trades")
    ctx.sql("INSERT INTO t VALUES (5)")
    assert rows(ctx, 'SELECT * FROM "Twice"') == [{"s": 12, "c": 2}]
    ctx.sql("CREATE OR REPLACE TABLE t AS SELECT 10 AS n")
    assert rows(ctx, 'SELECT * FROM "Twice"') == [{"s": 20, "c": 1}]
    ctx.sql("CREATE TABLE c AS SELECT * FROM total")
    assert rows(ctx, "SELECT * FROM c") == [{"s": 10}]
    ctx.sql("DROP TABLE t")
    for view in ("total", '"Twice"'):
        with pytest.raises(fin_sql.SqlError, match="not found"):
            ctx.sql(f"SELECT * FROM {view}")
    assert rows(ctx, "SELECT count(*) AS n FROM other") == [{"n": ROWS}]
    with pytest.raises(fin_sql.SqlError, match="is a view or DataFusion's own"):
        ctx.sql("INSERT INTO other VALUES (1)")


def test_a_view_is_planned_again_when_its_table_is_registered_again(ctx):
    ctx.sql("CREATE VIEW n AS SELECT count(*) AS n FROM trades")
    ctx.register("trades", pa.table({"a": [1, 2, 3]}))
    assert rows(ctx, "SELECT * FROM n") == [{"n": 3}]


def test_rows_go_into_a_registered_table_in_memory(ctx, market):
    assert count(ctx.sql("INSERT INTO trades SELECT * FROM trades ORDER BY seq LIMIT 4")) == [4]
    assert stored(ctx, "trades").num_rows == ROWS + 4 and market["trades"].num_rows == ROWS
    assert rows(ctx, "SELECT count(*) AS n FROM trades") == [{"n": ROWS + 4}]
    ctx.register("ordered", pa.table({"ts": [1, 2]}), order_by="ts")
    ctx.sql("INSERT INTO ordered VALUES (0)")
    with pytest.raises(fin_sql.OrderError):
        ctx.sql("SELECT diff(ts) OVER (ORDER BY ts) FROM ordered").to_arrow()


def test_files_take_no_rows(ctx, tmp_path):
    table = pa.table({"a": [1]})
    pq.write_table(table, tmp_path / "a.parquet")
    ctx.register_parquet("files", str(tmp_path / "a.parquet"))
    ctx.register("data", ds.dataset(table))
    for name in ("files", "data"):
        with pytest.raises(fin_sql.SqlError, match="write them beside by COPY, or make a table"):
            ctx.sql(f"INSERT INTO {name} VALUES (1)")
    ctx.sql("DROP TABLE files")
    assert (tmp_path / "a.parquet").exists() and "files" not in ctx.tables()


def test_drop_table(ctx):
    with pytest.raises(fin_sql.SqlError, match="unknown table 'trade'; did you mean 'trades'"):
        ctx.sql("DROP TABLE trade")
    assert ctx.sql("DROP TABLE IF EXISTS trade").to_arrow().num_columns == 0
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    ctx.sql("DROP TABLE t")
    with pytest.raises(fin_sql.SqlError):
        ctx.sql("SELECT * FROM t")
    ctx.sql("CREATE TABLE t AS SELECT 2 AS b")
    assert rows(ctx, "SELECT * FROM t") == [{"b": 2}]
    ctx.datafusion.sql("CREATE TABLE theirs (a INT)")
    with pytest.raises(fin_sql.SqlError, match="DataFusion's own, and cannot be inserted into"):
        ctx.sql("INSERT INTO theirs VALUES (1)")
    ctx.sql("DROP TABLE theirs")
    assert not ctx.datafusion.table_exist("theirs")
    with pytest.raises(fin_sql.SqlError, match="one table at a time"):
        ctx.sql("DROP TABLE t, trades")
    with pytest.raises(fin_sql.SqlError, match="EXPLAIN takes a query"):
        ctx.sql("EXPLAIN DROP TABLE t")


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM t", "UPDATE t SET a = 2", "TRUNCATE TABLE t", "ALTER TABLE t RENAME TO u",
     "MERGE INTO t USING trades ON 1 = 1 WHEN MATCHED THEN DELETE", "REPLACE INTO t VALUES (1)"],
)  # fmt: skip
def test_rows_are_not_changed_in_place(ctx, statement):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(fin_sql.SqlError, match="is not known: write CREATE OR REPLACE TABLE t AS"):
        ctx.sql(statement)
    assert rows(ctx, "SELECT * FROM t") == [{"a": 1}]


@pytest.mark.parametrize(
    "statement",
    ["PREPARE p(BIGINT) AS INSERT INTO t VALUES ($1)", "PREPARE p AS UPDATE t SET a = 2",
     "EXPLAIN ANALYZE VERBOSE INSERT INTO t VALUES (2)",
     "EXPLAIN ANALYZE VERBOSE COPY t TO 'x.csv'", "EXPLAIN FORMAT tree INSERT INTO t VALUES (2)"],
)  # fmt: skip
def test_nothing_is_saved_behind_our_back(ctx, statement, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(fin_sql.SqlError, match="only a query may stand here"):
        ctx.sql(statement).to_arrow()
    ctx.sql("PREPARE q(BIGINT) AS SELECT a FROM t WHERE a = $1 AND 'x' <> 'as insert'")
    assert rows(ctx, "EXECUTE q(1)") == [{"a": 1}]


def test_explain_of_tables(ctx):
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    assert rows(ctx, "EXPLAIN CREATE TABLE u AS SELECT a FROM t")[0] == {"plan": "Create table u"}
    assert rows(ctx, "EXPLAIN INSERT INTO t SELECT a FROM t")[0] == {"plan": "Insert into t"}
    assert rows(ctx, "SELECT * FROM t") == [{"a": 1}] and "u" not in ctx.tables()
    rows(ctx, "EXPLAIN ANALYZE INSERT INTO t SELECT a + 1 FROM t")
    assert stored(ctx, "t")["a"].to_pylist() == [1, 2]


def test_odd_names(ctx):
    for name in ('"odd name"', '"ünï/x"', '"%2f"', '"~"'):
        ctx.sql(f"CREATE TABLE {name} AS SELECT 1 AS a")
        ctx.sql(f"INSERT INTO {name} VALUES (2)")
        assert rows(ctx, f"SELECT sum(a) AS s FROM {name}") == [{"s": 3}], name
        assert rows(ctx, f"SELECT diff(a) OVER (ORDER BY a) AS d FROM {name}")[1] == {"d": 1}
    with pytest.raises(fin_sql.SqlError, match="has no dot"):
        ctx.sql('CREATE TABLE "../x" AS SELECT 1')
    ctx.sql('DROP TABLE "odd name"')
    assert "odd name" not in ctx.tables()


def test_the_rows_after_random_statements_are_those_of_duckdb(ctx):
    rng = random.Random(11)
    other = duckdb.connect()
    for name in ("a", "b"):
        for one in (ctx.sql, other.execute):
            one(f"CREATE TABLE {name} AS SELECT CAST(0 AS BIGINT) AS n, CAST('x' AS VARCHAR) AS s")
    for step in range(60):
        name, source = rng.choice("ab"), rng.choice("ab")
        statement = rng.choice(
            [
                f"INSERT INTO {name} VALUES ({step}, 'v{step}'), (NULL, NULL)",
                f"INSERT INTO {name} SELECT n + 1, s FROM {source} WHERE n % 3 = {step % 3}",
                f"INSERT INTO {name} (s) SELECT s || 'y' FROM {source} WHERE n < 5",
                f"CREATE OR REPLACE TABLE {name} AS SELECT n, s FROM {source} WHERE n % 2 = 1",
                f"CREATE OR REPLACE TABLE {name} AS SELECT max(n) AS n, min(s) AS s FROM {source}",
            ]
        )
        ctx.sql(statement)
        other.execute(statement)
        for table in "ab":
            found = stored(ctx, table)
            wanted = other.sql(f"SELECT * FROM {table}").to_arrow_table()
            assert found.to_pylist() == wanted.to_pylist(), statement
        if found.num_rows > 3_000:
            break
