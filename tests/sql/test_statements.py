"""What a statement may say, and what it is told when it says something else."""

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.errors import SqlError
from fin_sql.exec.spool import Spool
from fin_sql.testing import Market
from fin_sql.testing.compare import assert_same_bits

ROWS = 3_000


@pytest.fixture(scope="module")
def ctx():
    market = Market(seed=3)
    ctx = fin_sql.connect(threads=2)
    ctx.register("trades", market.trades(ROWS))
    ctx.register("quotes", market.quotes(ROWS))
    return ctx


W = "(PARTITION BY symbol ORDER BY ts, seq)"
JOIN = "trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"


def column(ctx, query, params=None):
    return ctx.sql(query, params).to_arrow().column(0).combine_chunks()


# Each pair must give the same column.
SAME = [
    (
        f"SELECT ewma(price, 0.1) OVER {W} FROM trades",
        f"SELECT ewma(price, 0.1, false) OVER {W} FROM trades",
    ),
    (
        f"SELECT ewma(price, 0.1) OVER {W} FROM trades",
        f"SELECT ewma(price, adjust => false, alpha => 1.0 / 10) OVER {W} FROM trades",
    ),
    (
        f"SELECT ewma(x => price, alpha => 0.1) OVER {W} FROM trades",
        "SELECT EWMA(Price, 0.1) OVER w FROM trades WINDOW w AS (PARTITION BY symbol ORDER BY ts, seq)",  # noqa: E501
    ),
    (
        f"SELECT rolling_std(log_returns(price), 20) OVER {W} FROM trades",
        f"SELECT rolling_std(r, 20) OVER {W} FROM (SELECT *, log_returns(price) OVER {W} AS r "
        "FROM trades) x",
    ),
    (
        f"SELECT ewma(price * size, 0.1) OVER {W} FROM trades",
        f"WITH n AS (SELECT *, price * size AS v FROM trades) SELECT ewma(v, 0.1) OVER {W} FROM n",
    ),
    (
        f"SELECT (macd(price) OVER {W}).signal FROM trades",
        f"SELECT m['signal'] FROM (SELECT macd(price) OVER {W} AS m FROM trades) x",
    ),
    (
        f"SELECT (macd(price) OVER {W})['hist'] FROM trades",
        f"SELECT x.m.hist FROM (SELECT macd(price) OVER {W} AS m FROM trades) x",
    ),
    (
        f"SELECT ewma(price, 0.1) OVER {W} + 1 FROM trades WHERE price > 100",
        f"SELECT e + 1 FROM (SELECT ewma(price, 0.1) OVER {W} AS e FROM (SELECT * FROM trades WHERE "  # noqa: E501
        "price > 100) a) b",
    ),
    (
        f"SELECT seq FROM trades QUALIFY row_number() OVER {W} <= 2",
        f"SELECT seq FROM (SELECT seq, row_number() OVER {W} AS n FROM trades) x WHERE n < 3",
    ),
    (
        f"SELECT seq, row_number() OVER {W} AS n FROM trades QUALIFY n = 1",
        f"SELECT seq FROM (SELECT seq, row_number() OVER {W} AS n FROM trades) x WHERE n = 1",
    ),
    (
        "SELECT ewma(price, 0.1) OVER (w ORDER BY ts, seq) FROM trades WINDOW w AS (PARTITION BY symbol)",  # noqa: E501
        f"SELECT ewma(price, 0.1) OVER {W} FROM trades",
    ),
    (
        f"SELECT price FROM (SELECT * EXCLUDE (side) REPLACE (price * 2 AS price), rsi(price) OVER {W} "  # noqa: E501
        "AS r FROM trades) x",
        "SELECT price * 2 FROM trades",
    ),
    (
        f"SELECT q.bid FROM {JOIN}",
        "SELECT bid FROM trades t ASOF LEFT JOIN quotes q ON t.ts >= q.ts AND t.symbol = q.symbol",
    ),
    (f"SELECT midprice(q.bid, q.ask) FROM {JOIN}", f"SELECT (q.bid + q.ask) / 2 FROM {JOIN}"),
    (
        f"SELECT q.bid FROM {JOIN} ORDER BY t.ts DESC, t.seq DESC LIMIT 10",
        f"SELECT bid FROM (SELECT t.ts, t.seq, q.bid FROM {JOIN}) x ORDER BY ts DESC, seq DESC LIMIT 10",  # noqa: E501
    ),
    (
        f"SELECT avg(q.bid) FROM {JOIN} GROUP BY t.symbol ORDER BY t.symbol",
        f"SELECT b FROM (SELECT t.symbol AS s, avg(q.bid) AS b FROM {JOIN} GROUP BY ALL) x ORDER BY s",  # noqa: E501
    ),
    (
        f"SELECT ts + INTERVAL '90' MINUTE, ewma(price, 0.1) OVER {W} FROM trades",
        f"SELECT ts + INTERVAL '90 minutes' AS later, ewma(price, 0.1) OVER {W} FROM trades",
    ),
    (
        f"SELECT DISTINCT t.symbol FROM {JOIN} ORDER BY symbol",
        "SELECT DISTINCT symbol FROM trades ORDER BY symbol",
    ),
    (
        f"SELECT ewma(price, 0.1) OVER {W} FROM trades UNION ALL SELECT bid FROM quotes",
        f"(SELECT ewma(price, 0.1) OVER {W} FROM trades) UNION ALL (SELECT bid FROM quotes)",
    ),
    (
        f"SELECT t.price FROM {JOIN} WHERE t.symbol IN (SELECT symbol FROM quotes WHERE bid > 0)",
        "SELECT price FROM trades",
    ),
    (
        f"SELECT t.seq FROM {JOIN} WHERE EXISTS (SELECT 1 FROM quotes z WHERE z.symbol = t.symbol)",
        "SELECT seq FROM trades",
    ),
    (
        f"SELECT t.seq FROM {JOIN} JOIN (VALUES ('BTC-USD', 1)) v(s, n) ON v.s = t.symbol",
        "SELECT seq FROM trades WHERE symbol = 'BTC-USD'",
    ),
    (
        f"SELECT seq, ewma(price, 0.1) OVER {W} FROM trades LIMIT 5 OFFSET 10",
        "SELECT seq FROM trades ORDER BY ts, seq LIMIT 5 OFFSET 10",
    ),
    (
        f"SELECT ewma(price, 0.1) OVER {W} AS \"e\", '-- ASOF JOIN' AS s /* ( */ FROM trades -- )",
        f"SELECT ewma(price, 0.1) OVER {W} FROM trades;",
    ),
    (
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) "
        "SELECT ewma(CAST(n AS DOUBLE), 0.5) OVER (ORDER BY n) FROM r",
        "SELECT ewma(CAST(value AS DOUBLE), 0.5) OVER (ORDER BY value) FROM generate_series(1, 5)",
    ),
    (
        f"SELECT sum(seq) FILTER (WHERE price > 100) OVER {W} FROM trades",
        f"SELECT sum(CASE WHEN price > 100 THEN seq END) OVER {W} FROM trades",
    ),
    (
        "SELECT sum(seq) OVER (ORDER BY ts RANGE INTERVAL '1' MONTH PRECEDING) FROM trades",
        "SELECT sum(seq) OVER (ORDER BY ts) FROM trades",
    ),
    (
        f"SELECT CASE WHEN ewma(price, 0.1) OVER {W} IS DISTINCT FROM price THEN 1 ELSE 0 END FROM trades",  # noqa: E501
        f"SELECT CASE WHEN e IS DISTINCT FROM price THEN 1 ELSE 0 END FROM (SELECT price, "
        f"ewma(price, 0.1) OVER {W} AS e FROM trades) x",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_say_the_same(ctx, one, other):
    left, right = column(ctx, one), column(ctx, other)
    assert len(left) > 0
    assert_same_bits(left, right, one)


WRONG = [
    ("SELECT ewma(price, 2) OVER (ORDER BY ts) FROM trades", "must be in (0, 1], was 2", "ewma"),
    ("SELECT ewma(price, 0.1) FROM trades", "OVER (PARTITION BY symbol ORDER BY ts)", "ewma"),
    ("SELECT ewma(price, 0.1) OVER (PARTITION BY symbol) FROM trades", "needs ORDER BY", "ewma"),
    ("SELECT ewma(price) OVER (ORDER BY ts) FROM trades", "'alpha'", "ewma"),
    ("SELECT ewma(price, 0.1, false, 3) OVER (ORDER BY ts) FROM trades", "takes no more", "3"),
    (
        "SELECT ewma(price, alfa => 0.1) OVER (ORDER BY ts) FROM trades",
        "did you mean 'alpha'",
        "0.1",
    ),
    ("SELECT ewma(price, seq) OVER (ORDER BY ts) FROM trades", "a constant was expected", "seq"),
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts DESC) FROM trades", "must ascend", "ewma"),
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts ROWS 5 PRECEDING) FROM trades", "no frame", "ROWS"),
    ("SELECT ewma(price, 0.1) OVER v FROM trades WINDOW w AS (ORDER BY ts)", "WINDOW has: w", "v"),
    ("SELECT ewma(prize, 0.1) OVER (ORDER BY ts) FROM trades", "Did you mean 'price'", "prize"),
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts) FROM tradez", "did you mean 'trades'", "tradez"),
    (f"SELECT ts FROM {JOIN}", "ambiguous: write t.ts or q.ts", "ts"),
    (f"SELECT t.prise FROM {JOIN}", "did you mean 'price'", "t.prise"),
    (f"SELECT x.* FROM {JOIN}", "unknown table 'x'", "x.*"),
    ("SELECT 1 FROM trades t LEFT ASOF JOIN quotes q ON t.ts >= q.ts", "ASOF LEFT JOIN", "LEFT"),
    ("SELECT 1 FROM trades t ASOF RIGHT JOIN quotes q ON t.ts >= q.ts", "swap the sides", "ASOF"),
    ("SELECT 1 FROM trades t ASOF FULL JOIN quotes q ON t.ts >= q.ts", "ASOF LEFT JOIN", "ASOF"),
    ("SELECT 1 FROM trades t ASOF ANTI JOIN quotes q ON t.ts >= q.ts", "IS NULL", "ASOF"),
    ("SELECT 1 FROM trades t ASOF SEMI JOIN quotes q ON t.ts >= q.ts", "INNER", "ASOF"),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol",
        "one inequality",
        "trades",
    ),
    ("SELECT 1 FROM trades t ASOF JOIN quotes q", "MATCH_CONDITION", ""),
    ("SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts = q.ts)", "NEAREST", "t.ts"),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= t.ts)",
        "one side",
        "t.ts",
    ),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.bid)",
        "timestamps",
        "t.ts",
    ),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.bid",  # noqa: E501
        "keys do not compare",
        "t.symbol",
    ),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) TOLERANCE 5",
        "INTERVAL '5' SECOND",
        "5",
    ),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) TIES NONE",
        "TIES LAST",
        "TIES",
    ),
    (
        "SELECT 1 FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.price > q.bid",  # noqa: E501
        "put this into WHERE",
        "t.price",
    ),
    (f"SELECT avg(price), ewma(price, 0.1) OVER {W} FROM trades", "in a CTE", "ewma"),
    ("SELECT price FROM trades QUALIFY ewma(price, 0.1) > 5", "OVER", "ewma"),
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts) FROM trades WHERE (price > 1", "not closed", "("),
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts) FROM trades; SELECT 1", "one statement", ";"),
    (
        "CREATE VIEW x AS SELECT ewma(price, 0.1) OVER (ORDER BY ts) FROM trades",
        "run its query",
        "CREATE",
    ),
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts) FROM trades LIMIT price", "constant", "price"),
    (
        "SELECT ewma(price, 0.1) IGNORE NULLS OVER (ORDER BY ts) FROM trades",
        "rule for NULLs",
        "ewma",
    ),
]


@pytest.mark.parametrize(("query", "says", "under"), WRONG)
def test_an_error_says_what_to_write_and_underlines_the_place(ctx, query, says, under):
    with pytest.raises(fin_sql.FinSqlError) as caught:
        ctx.sql(query)
    message = str(caught.value)
    assert says in message
    assert "Traceback" not in message and "__in" not in message
    text, mark = message.split("\n")[-2:]
    assert text.startswith("  line 1: ") and set(mark.strip()) == {"^"}
    begin = mark.index("^")
    assert text[begin : begin + mark.count("^")].startswith(under) or not under


def test_places_are_right_behind_letters_of_any_alphabet(ctx):
    query = f"SELECT 'é𝔘ü' AS \"naïve\", /* ü */ ewma(price, 0.1) OVER {W} AS e FROM trades"
    found = ctx.sql(query).to_arrow()
    assert found["naïve"][0].as_py() == "é𝔘ü"
    assert found["e"].equals(
        ctx.sql(f"SELECT ewma(price, 0.1) OVER {W} AS e FROM trades").to_arrow()["e"]
    )


def test_what_is_not_ours_goes_to_datafusion_as_it_is(ctx):
    for query in (
        "SELECT to_char(ts, '%Y') AS y, price AS \"ASOF JOIN\" FROM trades ORDER BY seq LIMIT 3",
        "SELECT 'ewma(price)' AS s, approx_distinct(symbol) FROM trades",
        "SELECT midprice(bid, ask) FROM quotes LIMIT 2",
        "SHOW TABLES",
    ):
        ours = ctx.sql(query)
        assert ours.to_arrow() == ctx.datafusion.sql(query).to_arrow_table().cast(ours.schema)
    ctx.sql("CREATE VIEW cheap AS SELECT * FROM trades WHERE price < 100")
    query = f"SELECT ewma(price, 0.5) OVER {W} FROM cheap"
    wanted = f"SELECT ewma(price, 0.5) OVER {W} FROM trades WHERE price < 100"
    assert column(ctx, query).equals(column(ctx, wanted))


def test_parameters_are_bound_and_never_pasted(ctx):
    evil = "x' OR '1' = '1"
    assert (
        ctx.sql("SELECT count(*) AS n FROM trades WHERE symbol = $1", [evil])
        .to_arrow()["n"][0]
        .as_py()
        == 0
    )
    query = f"SELECT ewma(price, {{}}) OVER {W} FROM trades WHERE symbol = {{}} AND price > {{}}"
    plain = column(ctx, query.format("0.25", "'BTC-USD'", "10"))
    assert len(plain) > 100
    assert column(ctx, query.format("$1", "$2", "$3"), [0.25, "BTC-USD", 10]).equals(plain)
    named = {"a": 0.25, "sym": "BTC-USD", "low": 10}
    assert column(ctx, query.format(":a", ":sym", ":low"), named).equals(plain)
    assert column(ctx, query.format("$a", "$sym", "$low"), named).equals(plain)
    assert len(column(ctx, query.format("0.25", "$1", "0"), [evil])) == 0
    many = [0.25, *range(8), "BTC-USD"]  # $10 is not $1 with a zero
    assert column(ctx, query.format("0.25", "$10", "10"), many).equals(plain)


def test_names_of_outputs(ctx):
    found = ctx.sql(f"SELECT t.ts, q.ts, t.price, q.*, upper(t.symbol), 1 AS ts FROM {JOIN}").schema
    quotes = ctx.table("quotes").schema.names
    twice = [f"{n}_3" if n == "ts" else n for n in quotes]
    assert found.names[:3] == ["ts", "ts_2", "price"]
    assert found.names[3:-2] == twice
    assert found.names[-2:] == ["upper(t.symbol)", "ts_4"]


def test_a_query_is_what_other_libraries_take(ctx, capsys):
    query = ctx.sql(f"SELECT ts, symbol, ewma(price, 0.1) OVER {W} AS e FROM trades")
    table = query.to_arrow()
    assert table.schema == query.schema and table.num_rows == ROWS
    assert pa.table(query).equals(table)
    assert pl.DataFrame(query).equals(query.to_polars())
    assert isinstance(query.to_pandas(), pd.DataFrame)
    assert set(query.to_numpy()) == {"ts", "symbol", "e"}
    assert sum(len(batch) for batch in query.stream()) == ROWS
    query.show(3)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["ts", "symbol", "e"] and shown[-1] == "..." and len(shown) == 6
    page = query._repr_html_()
    assert page.count("<tr>") == 21 and "<small>double</small>" in page
    assert repr(query) == "<fin_sql query: ts timestamp[ns], symbol string, e double>"


def test_write_parquet_leaves_a_whole_file_or_none(ctx, tmp_path):
    query = ctx.sql(f"SELECT ts, ewma(price, 0.1) OVER {W} AS e FROM trades")
    assert query.write_parquet(str(tmp_path / "e.parquet")) == ROWS
    assert pq.read_table(tmp_path / "e.parquet").equals(query.to_arrow())
    bad = ctx.sql(
        f"SELECT 1 / (size - size), ewma(price, 0.1) OVER {W} FROM (SELECT price, "
        "CAST(0 AS BIGINT) AS size, symbol, ts, seq FROM trades) x"
    )
    with pytest.raises(fin_sql.SqlError, match="Divide by zero"):
        bad.write_parquet(str(tmp_path / "bad.parquet"))
    assert [p.name for p in tmp_path.iterdir()] == ["e.parquet"]


@pytest.mark.parametrize(
    "make", [lambda t: t, pa.Table.to_pandas, pl.from_arrow, ds.dataset, lambda t: t.to_reader(100)]
)
def test_whatever_holds_rows_is_registered_and_replaced(make):
    table = Market(seed=1).trades(300).select(["ts", "symbol", "price", "seq"])
    ctx = fin_sql.connect()
    ctx.register("T", table.slice(0, 10))
    ctx.register("t", make(table))
    assert ctx.tables() == ["t"]
    assert ctx.sql("SELECT count(*) AS n FROM t").to_arrow()["n"][0].as_py() == 300
    ctx.register("u", table)
    query = f"SELECT ewma(price, 0.1) OVER {W} AS e, symbol = 'BTC-USD' AS b FROM "
    assert ctx.sql(query + "t").to_arrow().equals(ctx.sql(query + "u").to_arrow())
    ctx.deregister("t")
    with pytest.raises(fin_sql.SqlError, match="unknown table 't'"):
        ctx.sql(f"SELECT ewma(price, 0.1) OVER {W} FROM t")


def test_a_query_is_cancelled_from_another_thread(ctx):
    query = ctx.sql(f"SELECT ewma(price, 0.1) OVER {W} FROM trades")
    query.cancel()
    with pytest.raises(fin_sql.CancelledError):
        query.to_arrow()


def test_explain_analyze_counts_rows(ctx):
    lines = ctx.sql(f"EXPLAIN ANALYZE SELECT q.bid FROM {JOIN} WHERE t.price > 0").to_arrow()
    assert lines["plan"].to_pylist()[0].startswith(f"Project [bid]  [{ROWS:,} rows, ")


def test_sessions_refuse_what_they_do_not_know():
    for options in ({"windows": "mine"}, {"threads": -1}, {"memory_limit": 0}):
        with pytest.raises(fin_sql.SqlError):
            fin_sql.connect(**options)
    with pytest.raises(fin_sql.ArgumentTypeError, match="__arrow_c_stream__"):
        fin_sql.connect().register("t", 5)
    with pytest.raises(fin_sql.SqlError, match="names \\['nope'\\]"):
        fin_sql.connect().register("t", pa.table({"a": [1]}), order_by="nope")


def test_what_waits_for_all_rows_goes_to_a_file_beyond_the_limit(ctx, monkeypatch):
    query = f"SELECT t.symbol, t.seq, q.bid FROM {JOIN} WHERE t.price > 0 ORDER BY q.bid, t.seq"
    small = fin_sql.connect(threads=2, memory_limit=10_000)
    for name in ("trades", "quotes"):
        small.register(name, ctx.table(name).source._table)
    spooled, close = [], Spool.close
    monkeypatch.setattr(
        "fin_sql.exec.spool.Spool.close",
        lambda self: spooled.append(self.in_memory) or close(self),
    )
    assert small.sql(query).to_arrow().equals(ctx.sql(query).to_arrow())
    assert sorted(spooled) == [False, True]


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT seq, ewma(price, 0.1) OVER {W} AS e FROM {{}} ORDER BY e",
        f"SELECT ewma(price, 0.1) OVER {W} AS e FROM {{}} ORDER BY e LIMIT 1",
        "SELECT symbol, vwap(price, size) AS v FROM {} GROUP BY symbol ORDER BY v DESC",
        "SELECT DISTINCT ON (symbol) symbol, price FROM {} ORDER BY symbol, ts",
        f"SELECT lead(price) OVER {W} AS l, ewma(price, 0.1) OVER {W} AS e FROM {{}}",
        f"WITH a AS (SELECT seq, ewma(price, 0.1) OVER {W} AS e FROM {{}}) "
        "SELECT * FROM a x JOIN a y USING (seq) ORDER BY seq",
        f"SELECT ewma(price, 0.1) OVER {W} AS e FROM {{}} UNION SELECT 1.0 WHERE 1 = 0",
    ],
)
def test_nothing_is_sorted_and_joined_like_anything_else(ctx, tmp_path, query):
    none = ctx.sql("SELECT * FROM trades WHERE price < 0").to_arrow()
    ctx.register("none", none)
    pq.write_table(none, tmp_path / "none.parquet")
    for source in (
        "(SELECT * FROM trades WHERE price < 0) x",
        "none",
        f"'{tmp_path}/none.parquet'",
    ):
        found = ctx.sql(query.format(source)).to_arrow()
        assert found.num_rows == 0
        assert found.schema == ctx.sql(query.format("trades")).schema


def test_a_kernel_over_literals_alone():
    ctx = fin_sql.connect()
    found = ctx.sql("SELECT midprice(1.0, 2.0) AS m, 1 AS one").to_arrow()
    assert found.to_pylist() == [{"m": 1.5, "one": 1}]
    assert ctx.sql("SELECT microprice(1.0, 2.0, 0.0, 0.0) AS m").to_arrow()["m"].null_count == 1


def test_a_select_without_from_takes_names_and_defaults():
    ctx = fin_sql.connect()
    sql = (
        "SELECT funding_apr(0.1), funding_apr(rate => 0.1) + 1 AS y, diff(1) OVER (ORDER BY 1) AS d"
    )
    assert ctx.sql(sql).to_arrow().to_pylist() == [
        {"funding_apr(0.1)": 109.5, "y": 110.5, "d": None}
    ]
    rows = ctx.sql("SELECT funding_apr(0.1) AS y UNION ALL SELECT 1 ORDER BY y").to_arrow()
    assert rows["y"].to_pylist() == [1.0, 109.5]
    assert ctx.sql("SELECT funding_apr((SELECT 0.2)) AS y WHERE 1 = 0").to_arrow().num_rows == 0
    with pytest.raises(SqlError, match=r"No field named x\.\n  line 1: SELECT funding_apr\(x\)\n"):
        ctx.sql("SELECT funding_apr(x)")
    with pytest.raises(SqlError, match="needs a FROM"):
        ctx.sql("SELECT *, funding_apr(0.1)")


def test_a_window_over_all_rows():
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"x": [1.0, 4.0, 9.0]}))
    sql = "SELECT sum(x) OVER () AS s, diff(x) OVER (ORDER BY x) AS d FROM t"
    assert ctx.sql(sql).to_arrow().to_pydict() == {"s": [14.0] * 3, "d": [None, 3.0, 5.0]}
    with pytest.raises(SqlError, match="needs ORDER BY"):
        ctx.sql("SELECT diff(x) OVER () FROM t")
