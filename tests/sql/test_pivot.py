"""PIVOT, DISTINCT ON and FILTER, against DuckDB and plain definitions."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import fin_sql
from fin_sql.errors import SqlError

SEED = 11


@pytest.fixture(scope="module")
def trades():
    rng = np.random.default_rng(SEED)
    n = 5_000
    ts = np.sort(rng.integers(0, 600 * 10**9, n))
    price = np.round(100 + rng.normal(size=n).cumsum() / 10, 2)
    return pa.table(
        {
            "ts": pa.array(ts, pa.timestamp("ns")),
            "symbol": pa.array(rng.choice(["A", "B", "C d", None], n, p=[0.4, 0.3, 0.2, 0.1])),
            "venue": pa.array(rng.choice(["x", "y"], n)),
            "price": pa.array(price, mask=rng.random(n) < 0.05),
            "size": rng.integers(1, 9, n).astype(float),
            "seq": np.arange(n),
        }
    )


@pytest.fixture(scope="module")
def ctx(trades):
    session = fin_sql.connect()
    session.register("trades", trades)
    return session


def rows(table):
    return sorted(map(repr, table.to_pylist()))


def same(ctx, own, other, trades):
    """Our query's rows are those of DuckDB's."""
    found = ctx.sql(own).to_arrow()
    asked = duckdb.sql(other).to_arrow_table()
    assert found.num_rows > 0
    assert rows(found) == rows(asked.cast(found.schema))


MINUTE = "TUMBLE(ts, INTERVAL '1' MINUTE)"


def test_pivot_of_one_aggregate(ctx, trades):
    same(
        ctx,
        "SELECT * FROM (SELECT venue, symbol, size FROM trades) "
        "PIVOT (sum(size) FOR symbol IN ('A', 'C d' AS c, 'none'))",
        "SELECT venue, sum(size) FILTER (WHERE symbol = 'A') AS \"A\", "
        "sum(size) FILTER (WHERE symbol = 'C d') AS c, "
        "sum(size) FILTER (WHERE symbol = 'none') AS \"none\" FROM trades GROUP BY venue",
        trades,
    )


def test_pivot_by_window_with_several_aggregates(ctx, trades):
    same(
        ctx,
        "SELECT * FROM trades PIVOT (last_value(price ORDER BY ts, seq) AS last, count(*) AS n, "
        "min(price) + max(price) AS both FOR symbol IN ('A' AS a, NULL AS nobody) "
        f"GROUP BY venue, {MINUTE} AS minute) p",
        "SELECT venue, time_bucket(INTERVAL 1 minute, ts) AS minute, "
        "last(price ORDER BY ts, seq) FILTER (WHERE symbol = 'A') AS a_last, "
        "count(*) FILTER (WHERE symbol = 'A') AS a_n, "
        "min(price) FILTER (WHERE symbol = 'A') + max(price) FILTER (WHERE symbol = 'A') AS a_both,"
        "last(price ORDER BY ts, seq) FILTER (WHERE symbol IS NULL) AS nobody_last, "
        "count(*) FILTER (WHERE symbol IS NULL) AS nobody_n, "
        "min(price) FILTER (WHERE symbol IS NULL) + max(price) FILTER (WHERE symbol IS NULL) "
        "AS nobody_both FROM trades GROUP BY ALL",
        trades,
    )


def test_pivot_of_a_kernel_and_of_an_aggregate_of_datafusion(ctx, trades):
    found = ctx.sql(
        "SELECT p.venue, p.a_v, p.a_m, p.a_k FROM trades PIVOT (vwap(price, size) AS v, "
        "median(size) AS m, median(size) FILTER (WHERE size > 3) AS k FOR symbol IN ('A' AS a) "
        "GROUP BY venue) p ORDER BY venue"
    ).to_arrow()
    frame = trades.to_pandas()
    for row in found.to_pylist():
        own = frame[(frame["venue"] == row["venue"]) & (frame["symbol"] == "A")]
        assert row["a_m"] == own["size"].median()
        assert row["a_k"] == own["size"][own["size"] > 3].median()
        own = own.dropna(subset=["price"])
        expected = (own["price"] * own["size"]).sum() / own["size"].sum()
        assert row["a_v"] == pytest.approx(expected, rel=1e-12)


def test_pivot_may_be_joined_and_be_an_asof_side(ctx, trades):
    found = ctx.sql(
        f"SELECT t.seq, p.a FROM trades t ASOF JOIN (SELECT * FROM trades PIVOT "
        f"(max(price) FOR symbol IN ('A' AS a) GROUP BY {MINUTE})) p "
        "MATCH_CONDITION (t.ts >= p.window_start) WHERE t.seq % 500 = 0"
    ).to_arrow()
    frame = trades.to_pandas()
    own = frame[frame["symbol"] == "A"]
    best = own.groupby(own["ts"].dt.floor("min"))["price"].max()
    for row in found.to_pylist():
        assert row["a"] == best[frame["ts"][row["seq"]].floor("min")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM trades PIVOT (sum(size) FOR symbol)", "PIVOT \\(aggregate"),
        ("SELECT * FROM trades PIVOT (sum(size) FOR symbol IN ())", "PIVOT \\(aggregate"),
        ("SELECT * FROM trades PIVOT (size FOR symbol IN ('A') GROUP BY venue)", "GROUP BY"),
        ("SELECT * FROM trades PIVOT (1 FOR symbol IN ('A') GROUP BY venue)", "takes aggregates"),
        ("SELECT * FROM trades PIVOT (sum(size) FOR symbol IN ('A', 'A'))", "called 'A'"),
        ("SELECT * FROM trades PIVOT (sum(size) FOR symbol IN ('A') ORDER BY 1)", "closing brack"),
        ("SELECT * FROM trades PIVOT (sum(nope) FOR symbol IN ('A'))", "nope"),
    ],
)
def test_a_wrong_pivot_says_what_is_wrong(ctx, query, message):
    with pytest.raises(SqlError, match=message):
        ctx.sql(query).to_arrow()


def test_pivot_is_a_name_like_any_other(trades):
    session = fin_sql.connect()
    session.register("t", pa.table({"pivot": [1, 2]}))
    found = session.sql(
        "SELECT p.pivot, diff(pivot) OVER (ORDER BY pivot) AS d FROM t p"
    ).to_arrow()
    assert found.to_pydict() == {"pivot": [1, 2], "d": [None, 1.0]}


def test_distinct_on_takes_the_first_row_in_the_given_order(ctx, trades):
    found = ctx.sql(
        "SELECT DISTINCT ON (t.symbol) t.symbol, t.seq FROM trades t ORDER BY t.symbol, t.ts DESC, "
        "t.seq DESC"
    ).to_arrow()
    frame = trades.to_pandas().sort_values(["ts", "seq"])
    last = frame.groupby("symbol", dropna=False)["seq"].last()
    assert {r["symbol"]: r["seq"] for r in found.to_pylist()} == {
        None if not isinstance(k, str) else k: v for k, v in last.items()
    }


def test_distinct_on_without_an_order_takes_the_first_row_of_the_input(ctx, trades):
    query = "SELECT DISTINCT ON (symbol, venue) symbol, venue, seq FROM trades LIMIT 6"
    frame = trades.to_pandas().drop_duplicates(["symbol", "venue"])
    for _ in range(5):
        assert ctx.sql(query).to_arrow()["seq"].to_pylist() == frame["seq"].tolist()[:6]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("part", ["second", "minute", "hour", "day", "week", "month", "quarter"])
def test_date_trunc_is_the_window_that_datafusion_means(part, unit):
    rng = np.random.default_rng(SEED)
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = rng.integers(-(10**9), 10**9, 300) * scale
    session = fin_sql.connect()
    session.register("t", pa.table({"ts": pa.array(times, pa.timestamp(unit)), "x": times * 1.0}))
    query = f"SELECT date_trunc('{part}', ts) AS w, vwap(x, x) AS v, count(*) AS n FROM t GROUP BY"
    found = session.sql(f"{query} date_trunc('{part}', ts)")
    assert "TUMBLE" in found.explain()
    plain = session.datafusion.sql(
        f"SELECT date_trunc('{part}', ts) AS w, count(*) AS n FROM t GROUP BY w"
    ).to_arrow_table()
    assert rows(found.to_arrow().select(["w", "n"])) == rows(plain)


def test_date_bin_is_the_window_that_datafusion_means(ctx):
    for width in ("7 seconds", "1 minute", "90 minutes", "7 days"):
        query = f"SELECT date_bin(INTERVAL '{width}', ts) AS w, count(*) AS n"
        own = ctx.sql(f"{query}, vwap(price, size) AS v FROM trades GROUP BY 1")
        assert "TUMBLE" in own.explain()
        plain = ctx.datafusion.sql(f"{query} FROM trades GROUP BY w").to_arrow_table()
        assert rows(own.to_arrow().select(["w", "n"])) == rows(plain)


def test_filter_leaves_rows_out_of_any_aggregate(ctx, trades):
    same(
        ctx,
        "SELECT venue, first_value(price ORDER BY ts DESC, seq DESC) FILTER (WHERE size > 4) AS f, "
        "last_value(price ORDER BY ts, seq DESC) AS l, count(*) FILTER (WHERE price > 100) AS n, "
        "sum(size) FILTER (WHERE symbol = 'A') AS s, max(minute) FILTER (WHERE size > 2) AS w"
        " FROM (SELECT *, date_trunc('minute', ts) AS minute FROM trades) "
        "GROUP BY venue, TUMBLE(ts, INTERVAL '1' DAY)",
        "SELECT venue, first(price ORDER BY ts DESC, seq DESC) FILTER (WHERE size > 4) AS f, "
        "last(price ORDER BY ts, seq DESC) AS l, count(*) FILTER (WHERE price > 100) AS n, "
        "sum(size) FILTER (WHERE symbol = 'A') AS s, "
        "max(date_trunc('minute', ts)) FILTER (WHERE size > 2) AS w FROM trades GROUP BY venue",
        trades,
    )
