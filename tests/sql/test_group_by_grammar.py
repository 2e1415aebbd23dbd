"""GROUP BY in our own operator: what a SELECT may say, and what it is told when it says else."""

import pyarrow as pa
import pytest

import fin_sql
from fin_sql.errors import FinSqlError, SqlError


@pytest.fixture(scope="module")
def small():
    ctx = fin_sql.connect(threads=2)
    seconds = pa.array([0, 1, 2, 3, 4, None], pa.timestamp("s"))
    table = {
        "k": ["b", None, "a", None, "b", "b"],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "v": [1, 2, 3, 4, 5, 6],
        "ts": seconds,
    }
    ctx.register("t", pa.table(table))
    ctx.register("u", pa.table({"k": ["a", "b"], "z": [10, 20]}))
    return ctx


TWO = "TUMBLE(ts, INTERVAL '2' SECOND)"

# Each pair must give the same rows, in the same order.
SAME = [
    (
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY x % 2",
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY r",
    ),
    (
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY x % 2",
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY 1",
    ),
    (
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY x % 2",
        "SELECT t.x % 2 AS r, vwap(x, v) FROM t GROUP BY ALL",
    ),
    (
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY x % 2",
        "SELECT x % 2 AS r, vwap(x, v) FROM t GROUP BY t.x % 2",
    ),
    (
        "SELECT x % 2 + 1 AS r, vwap(x, v) AS w FROM t GROUP BY x % 2",
        "SELECT r + 1 AS r, w FROM (SELECT x % 2 AS r, vwap(x, v) AS w FROM t GROUP BY ALL) q",
    ),
    (
        "SELECT 7 - x % 2 AS r, vwap(x, v) AS w FROM t GROUP BY x % 2 HAVING x % 2 = 1",
        "SELECT 7 - r AS r, w FROM (SELECT x % 2 AS r, vwap(x, v) AS w FROM t GROUP BY ALL) q "
        "WHERE r = 1",
    ),
    (
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY {TWO}, k",
        "SELECT window_start AS w, k, sum(x) FROM t GROUP BY k, tumble(ts, INTERVAL '2 seconds')",
    ),
    (
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY {TWO}, k",
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY 1, 2",
    ),
    (
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY {TWO}, k",
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY ALL",
    ),
    (
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY {TWO}, k",
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY ({TWO}), ((k))",
    ),
    (
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY {TWO}, k",
        f"SELECT {TWO} AS w, k, sum(x) FROM t GROUP BY w, k",
    ),
    (
        f"SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO} HAVING s > 3 ORDER BY s DESC LIMIT 2",
        f"SELECT * FROM (SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO}) q WHERE s > 3 "
        "ORDER BY s DESC LIMIT 2",
    ),
    (
        f"SELECT k FROM t GROUP BY k, {TWO} ORDER BY sum(x) DESC",
        f"SELECT k FROM (SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO}) q ORDER BY s DESC",
    ),
    (
        f"SELECT sum(x) AS s FROM t GROUP BY {TWO} ORDER BY s * 2 DESC",
        f"SELECT sum(x) AS s FROM t GROUP BY {TWO} ORDER BY 1 DESC",
    ),
    (
        f"SELECT sum(x) AS s FROM t GROUP BY {TWO} LIMIT 2 OFFSET 1",
        f"SELECT s FROM (SELECT window_start AS w, sum(x) AS s FROM t GROUP BY {TWO}) q "
        "WHERE w < TIMESTAMP '1970-01-01T00:00:03'",
    ),
    (
        f"SELECT sum(x) AS s FROM t GROUP BY {TWO}",
        f"WITH a AS (SELECT * FROM t), b AS (SELECT sum(x) AS s FROM a GROUP BY {TWO}) "
        "SELECT s FROM b",
    ),
    (
        f"SELECT sum(x) AS s FROM t GROUP BY {TWO} "
        f"UNION ALL SELECT sum(x) FROM t GROUP BY {TWO}, k",
        f"SELECT s FROM (SELECT sum(x) AS s FROM t GROUP BY {TWO}) a UNION ALL "
        f"SELECT s FROM (SELECT sum(x) AS s FROM t GROUP BY {TWO}, k) b",
    ),
    (
        f"SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO} "
        "HAVING sum(x) > (SELECT vwap(x, v) FROM t)",
        f"SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO} HAVING sum(x) > 4.333",
    ),
    (
        f"SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO} HAVING k IN (SELECT k FROM u)",
        f"SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO} HAVING k IS NOT NULL",
    ),
    (
        f"SELECT k, (SELECT max(z) FROM u WHERE u.k = t.k) AS m FROM t GROUP BY k, {TWO}",
        f"SELECT k, CASE k WHEN 'a' THEN 10 WHEN 'b' THEN 20 END AS m FROM t GROUP BY k, {TWO}",
    ),
    (
        "SELECT k, (SELECT max(z) FROM u WHERE u.k = t.k) AS m, diff(x) OVER (ORDER BY v) FROM t",
        "SELECT k, CASE k WHEN 'a' THEN 10 WHEN 'b' THEN 20 END AS m, diff(x) OVER (ORDER BY v) "
        "FROM t",
    ),
    (
        f"SELECT g.k, s, z FROM (SELECT k, sum(x) AS s FROM t GROUP BY k, {TWO}) g "
        "LEFT JOIN u ON g.k = u.k",
        f"SELECT k, sum(x) AS s, CASE k WHEN 'a' THEN 10 WHEN 'b' THEN 20 END AS z FROM t "
        f"GROUP BY k, {TWO}",
    ),
    (
        "SELECT p.k, u.z, sum(p.x) AS s FROM t p LEFT JOIN u ON p.k = u.k "
        "GROUP BY p.k, u.z, TUMBLE(p.ts, INTERVAL '2' SECOND)",
        f"SELECT k, CASE k WHEN 'a' THEN 10 WHEN 'b' THEN 20 END AS z, sum(x) AS s FROM t "
        f"GROUP BY k, {TWO}",
    ),
    (
        f"SELECT first_value(x) IGNORE NULLS, sum(v) FROM t GROUP BY {TWO}",
        f"SELECT first_value(x IGNORE NULLS), sum(v) AS s FROM t GROUP BY {TWO}",
    ),
    (
        "SELECT k, vwap(x, v) IGNORE NULLS AS w FROM t GROUP BY k",
        "SELECT k, vwap(x, v) AS w FROM t GROUP BY k",
    ),
    (
        f"SELECT ohlc(x, ts).high AS h, (ohlc(x, ts)).low AS l FROM t GROUP BY {TWO}",
        "SELECT b['high'] AS h, b['low'] AS l FROM "
        f"(SELECT ohlc(x, ts) AS b FROM t GROUP BY {TWO}) q",
    ),
    (
        f"SELECT k || '_' AS kk, count(*) FROM t GROUP BY k || '_', {TWO}",
        f"SELECT k || '_' AS kk, count(*) FROM t GROUP BY k, {TWO}",
    ),
    (
        f"SELECT count(*), {TWO} FROM t GROUP BY {TWO}, 'constant'",
        f"SELECT count(*), {TWO} FROM t GROUP BY {TWO}",
    ),
    (
        f"WITH c AS (SELECT window_start, sum(x) AS s FROM t GROUP BY {TWO}) SELECT window_start, "
        "sum(s) AS s FROM c GROUP BY TUMBLE(window_start, INTERVAL '4' SECOND)",
        "SELECT window_start, sum(x) AS s FROM t GROUP BY TUMBLE(ts, INTERVAL '4' SECOND)",
    ),
    (
        f"WITH c AS (SELECT window_start, x FROM t GROUP BY x, {TWO}) SELECT window_start, "
        "vwap(x, 1) AS s FROM c GROUP BY ALL",
        f"SELECT window_start, vwap(x, 1) AS s FROM t GROUP BY {TWO}",
    ),
    (
        "SELECT k, s, sum(s) OVER (ORDER BY w) AS r FROM (SELECT k, window_start AS w, "
        f"sum(x) AS s FROM t WHERE ts IS NOT NULL GROUP BY k, {TWO}) q",
        f"WITH q AS (SELECT k, window_start AS w, sum(x) AS s FROM t WHERE ts IS NOT NULL "
        f"GROUP BY k, {TWO}) SELECT k, s, sum(s) OVER (ORDER BY w) AS r FROM q",
    ),
    (
        "SELECT CASE WHEN k IS NULL THEN 'none' ELSE k END AS kk, count(*) FROM t "
        f"GROUP BY 1, {TWO}",
        f"SELECT coalesce(k, 'none') AS kk, count(*) FROM t GROUP BY k, {TWO}",
    ),
    (
        f"SELECT NOT v > 3 AS small, count(*) FROM t GROUP BY v > 3, {TWO}",
        f"SELECT v <= 3 AS small, count(*) FROM t GROUP BY v <= 3, {TWO}",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_say_the_same(small, one, other):
    found, wanted = small.sql(one).to_arrow(), small.sql(other).to_arrow()
    assert "KernelAggregate" in small.sql(one).explain() or "OVER" in one
    assert found.num_rows
    assert [c.to_pylist() for c in found.columns] == [c.to_pylist() for c in wanted.columns]


def test_a_key_is_none_of_an_expression_that_binds_otherwise():
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"a": [1, 2, 2], "b": [5, 6, 6], "p": [True, False, False]}))
    found = ctx.sql(
        "SELECT a + 1 AS r, (a + 1) * 2 AS s, a + 1 - 3 AS u, 9 > a + 1 AS w, b - (a + 1) AS y, "
        "vwap(a, 1) FROM t GROUP BY a + 1, b"
    ).to_arrow()
    assert found.drop(["vwap(a, 1)"]).to_pylist() == [
        {"r": 2, "s": 4, "u": -1, "w": True, "y": 3},
        {"r": 3, "s": 6, "u": 0, "w": True, "y": 3},
    ]
    for item in ("2 * a + 1", "a + 1 * 3", "b - a + 1", "a + 1::INT", "-a + 1"):
        with pytest.raises(SqlError, match="column 'a' must stand in GROUP BY"):
            ctx.sql(f"SELECT {item}, vwap(a, 1) FROM t GROUP BY a + 1, b")
    for item in ("NOT p OR a > 1", "p OR a > 1 AND b > 1", "b > 1 AND p OR a > 1"):
        with pytest.raises(SqlError, match="must stand in GROUP BY"):
            ctx.sql(f"SELECT {item}, vwap(a, 1) FROM t GROUP BY p OR a > 1, b")
    found = ctx.sql("SELECT p OR a > 1 OR b > 1 AS q, vwap(a, 1) FROM t GROUP BY p OR a > 1, b")
    assert found.to_arrow()["q"].to_pylist() == [True, True]


REFUSED = [
    ("x, sum(v) FROM t GROUP BY k, {w}", "column 'x' must stand in GROUP BY or inside", "x"),
    ("t.x, sum(v) FROM t GROUP BY {w}", "column 't.x' must stand in GROUP BY", "t.x"),
    ("k, sum(v) FROM t GROUP BY k, {w} HAVING x > 1", "column 'x' must stand in GROUP", "x"),
    ("k, sum(v) FROM t GROUP BY k, {w} ORDER BY x", "column 'x' must stand in GROUP BY", "x"),
    ("nope, sum(v) FROM t GROUP BY {w}", "No field named nope", "nope"),
    ("sum(nope) FROM t GROUP BY {w}", "No field named nope", "nope"),
    ("k, sum(v) FROM t GROUP BY k, {w} ORDER BY nope", "No field named nope", "nope"),
    ("summ(x) FROM t GROUP BY {w}", "Invalid function 'summ'", "summ(x)"),
    ("sum(sum(x)) FROM t GROUP BY {w}", "an aggregate inside of another", "sum(sum(x))"),
    ("vwap(max(x), v) FROM t GROUP BY {w}", "an aggregate inside of", "vwap(max(x), v)"),
    ("k, sum(x) OVER (ORDER BY k) FROM t GROUP BY k, {w}", "a window over aggregates", None),
    ("k, ewma(x, 0.1) OVER (ORDER BY k) FROM t GROUP BY k", "a window over aggregates", None),
    ("rsi(x) FROM t GROUP BY {w}", "a window over aggregates", "rsi(x)"),
    ("k, vwap(x, v) FROM t GROUP BY k QUALIFY x > 1", "QUALIFY filters windows", "x > 1"),
    ("vwap(DISTINCT x, v) FROM t GROUP BY k", "'vwap' takes no DISTINCT", None),
    ("vwap(x) FROM t GROUP BY k", "'vwap' lacks its argument 'volume'", "vwap(x)"),
    ("sum(x) FROM t GROUP BY 3, {w}", "the SELECT list has no column 3", "3"),
    ("sum(x) FROM t GROUP BY 1, {w}", "GROUP BY takes no aggregate", "sum(x)"),
    ("sum(x) FROM t GROUP BY max(x), {w}", "GROUP BY takes no aggregate", "max(x)"),
    ("sum(x) FROM t GROUP BY {w}, {w}", "one window of time, this is a second one", None),
    ("* FROM t GROUP BY {w}", "SELECT \\* cannot stand beside TUMBLE", "*"),
    ("sum(x) FROM t GROUP BY ROLLUP (k), {w}", "ROLLUP cannot stand beside", "ROLLUP (k)"),
    ("sum(x) FROM t GROUP BY {w}, CUBE (k)", "CUBE cannot stand beside", "CUBE (k)"),
    ("sum(x + (SELECT 1)) FROM t GROUP BY {w}", "a query in brackets cannot stand beside", None),
    ("sum(x) FROM t GROUP BY {w}, (SELECT 1)", "a query in brackets cannot stand", "(SELECT 1)"),
    ("sum(x) FROM t WHERE {w} > 1", "TUMBLE and HOP stand in GROUP BY", "{w}"),
    ("{w}, sum(x) FROM t GROUP BY k", "TUMBLE and HOP stand in GROUP BY", "{w}"),
    *(
        (f"sum(x) FROM t GROUP BY {window}", message, place or window)
        for window, message, place in (
            ("TUMBLE(ts)", r"a window is TUMBLE\(ts, size \[, zone\]\)", ""),
            ("HOP(ts, INTERVAL '1' DAY)", r"a window is HOP\(ts, slide, size\)", ""),
            ("HOP(ts, INTERVAL '1' DAY, INTERVAL '2 days', 'UTC')", "a window is HOP", ""),
            ("TUMBLE(ts, size => INTERVAL '1' DAY)", "a window is TUMBLE", ""),
            ("TUMBLE(x, INTERVAL '1' DAY)", "needs a time, this is double; write CAST", "x"),
            ("TUMBLE(v, INTERVAL '1' DAY)", "needs a time, this is int64; write CAST", "v"),
            ("TUMBLE(k, INTERVAL '1' DAY)", "needs a time, this is string; write CAST", "k"),
            ("TUMBLE(nope, INTERVAL '1' DAY)", "No field named nope", "nope"),
            ("TUMBLE(max(ts), INTERVAL '1' DAY)", "over a time of each row", "max(ts)"),
            ("TUMBLE(ts, '1 day')", "an interval was expected, such as", "'1 day'"),
            ("TUMBLE(ts, 5)", "an interval was expected", "5"),
            ("TUMBLE(ts, x)", "an interval was expected", "x"),
            ("TUMBLE(ts, NULL)", "an interval was expected", "NULL"),
            ("TUMBLE(ts, INTERVAL 'soon')", "an interval was expected", "INTERVAL 'soon'"),
            ("TUMBLE(ts, INTERVAL '0' DAY)", "a window must be longer than nothing", ""),
            ("TUMBLE(ts, INTERVAL '-1' HOUR)", "a window must be longer than nothing", ""),
            ("HOP(ts, INTERVAL '0' DAY, INTERVAL '1' DAY)", "slide must be longer than", ""),
            ("HOP(ts, INTERVAL '-1' DAY, INTERVAL '1' DAY)", "longer than nothing", ""),
            ("TUMBLE(ts, INTERVAL '1 day 2 hours')", "was more than one", ""),
            ("TUMBLE(ts, INTERVAL '1 month 1 day')", "was more than one", ""),
            ("TUMBLE(ts, INTERVAL '101 years')", "no longer than a hundred years", ""),
            ("TUMBLE(ts, INTERVAL '1' DAY, 'Mars')", "no time zone 'Mars'; write one such", ""),
            ("TUMBLE(ts, INTERVAL '1' DAY, '../etc')", "no time zone", ""),
            ("TUMBLE(ts, INTERVAL '1' DAY, 5)", "a time zone is a text, such as", "5"),
            ("TUMBLE(ts, INTERVAL '1' DAY, k)", "a constant was expected", "k"),
            ("TUMBLE(ts, INTERVAL '7 hours', 'Asia/Tokyo')", "must divide a day", ""),
            ("TUMBLE(ts, INTERVAL '500 milliseconds')", "counts in s, the window in shorter", ""),
            ("HOP(ts, INTERVAL '2' DAY, INTERVAL '1' DAY)", "slide must not be longer", ""),
            ("HOP(ts, INTERVAL '1' DAY, INTERVAL '1' MONTH)", "HOP takes no months", ""),
            ("HOP(ts, INTERVAL '1' SECOND, INTERVAL '9 days')", "100000 windows, not more", ""),
        )
    ),
    ("window_start, sum(x) FROM (SELECT ts AS window_start, * FROM t) q GROUP BY window_start, {w}",
     "a key is called as what TUMBLE and HOP give", None),
]  # fmt: skip


@pytest.mark.parametrize(("query", "message", "place"), REFUSED)
def test_what_cannot_be_is_said_and_underlined(small, query, message, place):
    query = "SELECT " + query.replace("{w}", TWO)
    with pytest.raises(FinSqlError, match=message) as raised:
        small.sql(query)
    line, mark = str(raised.value).splitlines()[-2:]
    assert line == f"  line 1: {query}"
    assert set(mark.strip()) == {"^"}
    if place:
        begin, end = mark.index("^"), len(mark)
        assert line[begin:end] == place.replace("{w}", TWO)
