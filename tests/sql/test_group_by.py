"""GROUP BY in our own operator: values against DuckDB and pandas, and what a SELECT may say."""

import math
from collections import defaultdict

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fin_sql
from fin_sql.errors import KernelError, SqlError
from fin_sql.testing import Market
from fin_sql.testing.compare import assert_same_bits

ROWS = 1_500

# (ours, DuckDB's): `i` is the number of the row, `vwap` makes the statement ours.
AGGREGATES = {
    "count(*)": "count(*)",
    "count(1)": "count(1)",
    "count(x)": "count(x)",
    "count(k)": "count(k)",
    "sum(x)": "sum(x)",
    "sum(c)": "sum(c)",
    "sum(v)": "sum(v)",
    "sum(f)": "sum(f::DOUBLE)",
    "sum(x * 2 + v)": "sum(x * 2 + v)",
    "avg(c)": "avg(c)",
    "mean(v)": "avg(v)",
    "avg(f)": "avg(f)",
    "min(x)": "min(x)",
    "max(x)": "max(x)",
    "min(v)": "min(v)",
    "max(f)": "max(f)",
    "min(ts)": "min(ts)",
    "max(d)": "max(d)",
    "min(s)": "min(s)",
    "var(c)": "var_samp(c)",
    "var_samp(c)": "var_samp(c)",
    "var_pop(c)": "var_pop(c)",
    "stddev(c)": "stddev_samp(c)",
    "stddev_samp(v)": "stddev_samp(v)",
    "stddev_pop(c)": "stddev_pop(c)",
    "corr(c, y)": "corr(c, y)",
    "covar(c, y)": "covar_samp(c, y)",
    "covar_samp(c, y)": "covar_samp(c, y)",
    "covar_pop(y, c)": "covar_pop(y, c)",
    "first_value(c)": "first(c ORDER BY i)",
    "last_value(c)": "last(c ORDER BY i)",
    "first_value(v) IGNORE NULLS": "first(v ORDER BY i) FILTER (v IS NOT NULL)",
    "last_value(d) IGNORE NULLS": "last(d ORDER BY i) FILTER (d IS NOT NULL)",
    "last_value(b)": "last(b ORDER BY i)",
    "first_value(c ORDER BY y, i)": "first(c ORDER BY y NULLS LAST, i)",
    "last_value(c ORDER BY y, i)": "last(c ORDER BY y NULLS LAST, i)",
    "first_value(i ORDER BY ts)": "first(i ORDER BY ts NULLS LAST, i)",
    "last_value(i ORDER BY ts)": "last(i ORDER BY ts NULLS LAST, i)",
    "first_value(i ORDER BY v, y)": "first(i ORDER BY v NULLS LAST, y NULLS LAST, i)",
    "last_value(i ORDER BY c)": "last(i ORDER BY c NULLS LAST, i)",
    "count(*) FILTER (WHERE v > 20)": "count(*) FILTER (v > 20)",
    "count(x) FILTER (WHERE b)": "count(x) FILTER (b)",
    "sum(c) FILTER (WHERE k = 'K1' OR v < 3)": "sum(c) FILTER (k = 'K1' OR v < 3)",
    "max(v) FILTER (WHERE NOT b)": "max(v) FILTER (NOT b)",
    "stddev(c) FILTER (WHERE b)": "stddev_samp(c) FILTER (b)",
    "corr(c, y) FILTER (WHERE v > 5)": "corr(c, y) FILTER (v > 5)",
    "vwap(c, w)": "sum(c * w) FILTER (c IS NOT NULL) / sum(w) FILTER (c IS NOT NULL)",
    "vwap(c, w) FILTER (WHERE b)": "sum(c * w) FILTER (b AND c IS NOT NULL) / "
    "sum(w) FILTER (b AND c IS NOT NULL)",
    # DataFusion's own, of the same groups:
    "median(c)": "median(c)",
    "count(DISTINCT k)": "count(DISTINCT k)",
    "count(DISTINCT v) FILTER (WHERE b)": "count(DISTINCT v) FILTER (b)",
    "sum(DISTINCT v)": "sum(DISTINCT v)",
    "max(k)": "max(k)",
    "bool_or(b)": "bool_or(b)",
    "array_agg(i)": "list(i ORDER BY i)",
    "array_agg(v ORDER BY c, i)": "list(v ORDER BY c NULLS LAST, i)",
    "string_agg(k, '+')": "string_agg(k, '+' ORDER BY i)",
    "sum(m)": "sum(m)",
}
GROUPINGS = {
    "": [],
    "k": ["k"],
    "v % 7": ["v % 7"],
    "z": ["z"],
    "b, k": ["b", "k"],
    "d": ["d"],
    "ts": ["ts"],
    "g, ts": ["g", "ts"],
    "k, z, g": ["k", "z", "g"],
    "f": ["f"],
    "m": ["m"],
    "upper(k), v / 10": ["upper(k)", "v // 10"],
}


def rows(seed, n=ROWS):
    """Rows in no order of time, with ties, NULLs, NaN and both zeros."""
    rng = np.random.default_rng(seed)

    def some(values, share=0.1):
        return pa.array(values, mask=rng.random(n) < share)

    x = np.round(rng.normal(size=n), 2)
    x[rng.random(n) < 0.02] = np.nan
    x[rng.random(n) < 0.01] = np.inf
    v = rng.integers(0, 100, n)
    return pa.table(
        {
            "i": np.arange(n),
            "ts": some(rng.integers(-500, 500, n) * 10**9).cast(pa.timestamp("ns")),
            "k": some(rng.choice(["K1", "K2", "k3", ""], n)),
            "g": some(rng.integers(0, 3, n)).cast(pa.int32()),
            "z": some(rng.choice([0.0, -0.0, np.nan, 1.5, np.inf], n)),
            "b": some(rng.random(n) < 0.5),
            "d": some(rng.integers(-20, 20, n)).cast(pa.int32()).cast(pa.date32()),
            "m": some(rng.integers(-9, 9, n)).cast(pa.decimal128(24, 4)),
            "s": some(v).cast(pa.int16()),
            "v": some(v),
            "f": some(rng.integers(-3, 3, n) / 4).cast(pa.float32()),
            "x": some(x),
            "c": some(np.round(rng.normal(size=n), 2) + 0.0),
            "y": some(np.round(rng.normal(size=n), 1) + 0.0),
            "w": np.round(rng.random(n) + 0.1, 2),
        }
    )


def session(table, threads=2):
    ctx = fin_sql.connect(threads=threads)
    ctx.register("t", table)
    return ctx


@pytest.fixture(scope="module", params=[1, 2, 3])
def drawn(request):
    table = rows(request.param)
    return table, session(table)


def key_of(values):
    """A key as Python compares it: NaN equals itself, and -0.0 is 0.0."""
    return tuple(
        "NaN" if isinstance(v, float) and math.isnan(v) else 0.0 if v == 0 else v for v in values
    )


def alike(found, wanted):
    if isinstance(wanted, float) and isinstance(found, float):
        if math.isnan(wanted) or math.isnan(found):
            return math.isnan(wanted) and math.isnan(found)
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(wanted, float) and math.isnan(wanted):
        return found is None  # of too few rows, or of constants: NULL here
    return found == wanted


def by_key(table, keys):
    rows = table.to_pylist()
    return {key_of([row[f"key{j}"] for j in range(keys)]): row for row in rows}


@pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda g: g or "none")
def test_values_are_those_of_duckdb(drawn, grouping):
    table, ctx = drawn
    keys = GROUPINGS[grouping]
    ours = [f"{key} AS key{j}" for j, key in enumerate(grouping.split(", ") if grouping else [])]
    ours += [f"{call} AS c{j}" for j, call in enumerate(AGGREGATES)]
    query = f"SELECT {', '.join(ours)} FROM t" + (f" GROUP BY {grouping}" if keys else "")
    assert "KernelAggregate" in ctx.sql(query).explain()
    found = by_key(ctx.sql(query).to_arrow(), len(keys))
    theirs = [f"{key} AS key{j}" for j, key in enumerate(keys)]
    theirs += [f"{call} AS c{j}" for j, call in enumerate(AGGREGATES.values())]
    t = table  # noqa: F841  DuckDB reads it by its name
    wanted = by_key(
        duckdb.sql(
            f"SELECT {', '.join(theirs)} FROM t" + (f" GROUP BY {', '.join(keys)}" if keys else "")
        ).to_arrow_table(),
        len(keys),
    )
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        for j, call in enumerate(AGGREGATES):
            left, right = found[key][f"c{j}"], row[f"c{j}"]
            if not alike(left, right):
                pytest.fail(f"{call} of {key}: {str(left)[:99]}, DuckDB {str(right)[:99]}")


@pytest.mark.parametrize("seed", range(6))
def test_a_sum_of_integers_is_exact_or_an_error(seed):
    rng, limit = np.random.default_rng(seed), 2**63
    values = [int(v) for v in rng.integers(-limit, limit - 1, 40, endpoint=True)]
    groups = rng.integers(0, 12, 40).tolist()
    for g in range(12, 16):  # just inside and just outside
        near = [limit - 1, 7, -limit, -7, 1 - g % 2 + 2 * (g > 13)]
        values, groups = [*values, *near, limit - 1], [*groups, *[g] * 6]
    totals = defaultdict(int)
    for g, v in zip(groups, values, strict=True):
        totals[g] += v
    table = pa.table({"g": groups, "v": pa.array(values, pa.int64())})
    ctx, fits = session(table), 0
    for g, total in totals.items():
        query = ctx.sql(f"SELECT sum(v) AS s, vwap(1, 1) AS w FROM t WHERE g = {g}")
        if -limit <= total < limit:
            fits += 1
            assert query.to_arrow()["s"].to_pylist() == [total]
        else:
            with pytest.raises(KernelError, match="sum of 'v': the total of a group does not fit"):
                query.to_arrow()
    assert 0 < fits < len(totals)
    exact = ctx.sql("SELECT g, sum(CAST(v AS DECIMAL(38, 0))) AS s, vwap(1, 1) FROM t GROUP BY g")
    found = exact.to_arrow()
    assert (
        dict(zip(found["g"].to_pylist(), map(int, found["s"].to_pylist()), strict=True)) == totals
    )


# Of AGGREGATES those that DataFusion computes.
LEFT = ["median(c)", "count(DISTINCT k)", "count(DISTINCT v) FILTER (WHERE b)", "sum(DISTINCT v)",
        "max(k)", "bool_or(b)", "array_agg(i)", "array_agg(v ORDER BY c, i)",
        "string_agg(k, '+')", "sum(m)"]  # fmt: skip


@pytest.mark.parametrize("call", AGGREGATES)
def test_who_computes_an_aggregate(drawn, call):
    _, ctx = drawn
    explained = ctx.sql(f"SELECT {call} AS r, vwap(w, i) AS v FROM t GROUP BY g").explain()
    assert ("AS __o0" in explained) == (call in LEFT)
    assert "KernelAggregate" in explained


@pytest.mark.parametrize("keys", ["", "k", "TUMBLE(ts, INTERVAL '1' MINUTE)", "k, ts"])
def test_no_rows(drawn, keys):
    table, full = drawn
    calls = ", ".join(f"{call} AS c{j}" for j, call in enumerate(AGGREGATES))
    by = f"GROUP BY {keys}" if keys else ""
    empty = session(table.slice(0, 0))
    for ctx, where in ((empty, ""), (full, "WHERE i < 0"), (full, "WHERE false")):
        found = ctx.sql(f"SELECT {calls} FROM t {where} {by}").to_arrow()
        assert found.schema == full.sql(f"SELECT {calls} FROM t {by}").schema
        assert found.num_rows == (not keys)
    if not keys:
        theirs = ", ".join(f"{call} AS c{j}" for j, call in enumerate(AGGREGATES.values()))
        t = table.slice(0, 0)  # noqa: F841
        wanted = duckdb.sql(f"SELECT {theirs} FROM t").fetchall()[0]
        assert list(found.to_pylist()[0].values()) == list(wanted)


def test_keys_that_are_equal():
    z = [float("nan"), -0.0, None, 0.0, -float("nan"), None, 0.0, 1e-320]
    ctx = session(pa.table({"z": z, "i": [1, 2, 4, 8, 16, 32, 64, 128]}))
    found = ctx.sql("SELECT z, sum(i) AS s, vwap(1, 1) AS v FROM t GROUP BY z").to_arrow()
    assert found["s"].to_pylist() == [17, 74, 36, 128]
    assert [str(v) for v in found["z"].to_pylist()] == ["nan", "-0.0", "None", "1e-320"]


@pytest.mark.parametrize("memory_limit", [1, 1 << 30])
def test_many_groups_beside_datafusion(memory_limit):
    rng, n = np.random.default_rng(4), 300_000
    t = pa.table({"g": rng.integers(0, 110_000, n), "x": np.round(rng.normal(size=n), 2) + 0.0})
    ctx = fin_sql.connect(threads=2, memory_limit=memory_limit)
    ctx.register("t", t)
    found = ctx.sql(
        "SELECT g, sum(x + 0) AS s, vwap(1, x) AS v, count(DISTINCT x) AS d, median(x) AS m, "
        "array_agg(x ORDER BY x DESC)[1] AS top, min(x) AS low FROM t WHERE x < 2 GROUP BY g"
    ).to_pandas()
    rows = t.to_pandas().query("x < 2")
    wanted = rows.groupby("g", sort=False).x.agg(["sum", "nunique", "median", "max", "min"])
    assert len(found) > 100_000
    assert list(found.g) == list(wanted.index)
    assert list(found.d) == list(wanted["nunique"])
    assert list(found.low) == list(wanted["min"])
    assert list(found.top) == list(wanted["max"])
    np.testing.assert_allclose(found.s, wanted["sum"], atol=1e-12)
    np.testing.assert_allclose(found.m, wanted["median"], atol=1e-12)


def test_groups_over_an_asof_join():
    market = Market(seed=8)
    trades, quotes = market.trades(4_000), market.quotes(4_000)
    ctx = fin_sql.connect(threads=2)
    ctx.register("trades", trades)
    ctx.register("quotes", quotes)
    found = ctx.sql("""
        SELECT t.symbol, window_start, vwap(t.price, t.size) AS vwap, avg(q.ask - q.bid) AS spread,
            count(q.bid) AS quoted, last_value(q.bid) AS bid, count(*) AS n
        FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts > q.ts) ON t.symbol = q.symbol
        GROUP BY t.symbol, TUMBLE(t.ts, INTERVAL '1' SECOND) HAVING count(*) > 3
    """).to_pandas()
    left = trades.to_pandas()
    right = quotes.to_pandas().drop_duplicates(["symbol", "ts"], keep="last")
    met = pd.merge_asof(left, right[["ts", "symbol", "bid", "ask"]], on="ts", by="symbol",
                        allow_exact_matches=False)  # fmt: skip
    met["window"] = met.ts.dt.floor("s")
    met["spread"], met["value"] = met.ask - met.bid, met.price * met["size"]
    groups = met.groupby(["symbol", "window"], sort=False)
    groups = [(key, g) for key, g in groups if len(g) > 3]
    assert len(groups) > 20
    assert list(zip(found.symbol, found.window_start, strict=True)) == [key for key, _ in groups]
    for row, (_, g) in zip(found.itertuples(), groups, strict=True):
        assert (row.n, row.quoted) == (len(g), g.bid.count())
        assert row.vwap == pytest.approx(g.value.sum() / g["size"].sum(), rel=1e-12)
        assert row.spread == pytest.approx(g.spread.mean(), rel=1e-9, nan_ok=True)
        assert row.bid == pytest.approx(g.bid.iloc[-1], nan_ok=True)


# ---------------------------------------------------------------- order, and the same bits


@pytest.fixture(scope="module")
def wide():
    """Rows whose sums depend on their order, and a table that each of them meets twice."""
    rng, n = np.random.default_rng(7), 60_000
    ctx = fin_sql.connect(threads=2)
    table = pa.table(
        {
            "i": rng.permutation(n),
            "ts": pa.array(rng.integers(0, n // 4, n)).cast(pa.timestamp("ms")),
            "k": rng.integers(0, 30, n),
            "u": rng.integers(0, 999, n),
            "x": rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n),
            "y": rng.normal(size=n),
            "p": rng.random(n) + 1.0,
            "s": rng.random(n),
        }
    )
    # In many batches, as those that DataFusion spreads over its threads.
    ctx.register("t", pa.concat_tables([table.slice(b, 4_000) for b in range(0, n, 4_000)]))
    ctx.datafusion.sql("CREATE VIEW theirs AS SELECT DISTINCT * FROM t")
    ctx.register("u", pa.table({"u": np.repeat(range(999), 2), "w": rng.normal(size=1998)}))
    return ctx, table


# FROM, and the order that its rows are folded in.
FRAGMENTS = {
    "(SELECT DISTINCT * FROM t) q": "ts, i, k, u, x, y, p, s",
    "(SELECT x, y, k, u, p, s, i, ts FROM t INTERSECT SELECT x, y, k, u, p, s, i, ts FROM t) q": (
        "ts, x, y, k, u, p, s, i"
    ),
    "(SELECT k, u, x, max(i) AS i, min(p) AS p, min(s) AS s FROM t GROUP BY k, u, x) q": (
        "k, u, x, i, p, s"
    ),
    "(SELECT p.*, w FROM t p JOIN u ON p.u = u.u) q": "(SELECT n), w",
    "(SELECT p.*, w FROM t p JOIN u ON p.u = u.u WHERE x > 0) q": "(SELECT n), w",
    "(SELECT * FROM (SELECT DISTINCT * FROM t) r ORDER BY u) q": "u, ts, i",
    "(SELECT * FROM (SELECT DISTINCT * FROM t) r WHERE y > 0) q": "ts, i, k, u, x, y, p, s",
    "(SELECT * FROM t WHERE x > 0 UNION SELECT * FROM t WHERE y > 0) q": "ts, i, k, u, x, y, p, s",
    "(SELECT * FROM t WHERE x > 0) q": "(SELECT n)",
    "theirs": "ts, i, k, u, x, y, p, s",
}


@pytest.mark.parametrize("source", FRAGMENTS)
def test_bits_are_the_same_in_every_run_and_follow_the_stated_order(wide, source):
    ctx, table = wide
    query = f"SELECT k, sum(x) AS sx, first_value(i) AS head, last_value(i) AS tail, vwap(p, s) AS v FROM {source} GROUP BY k"  # noqa: E501
    first = ctx.sql(query).to_arrow().combine_chunks()
    for _ in range(19):
        again = ctx.sql(query).to_arrow().combine_chunks()
        for name in first.column_names:
            assert_same_bits(again[name].chunk(0), first[name].chunk(0), name)
    t = table.append_column("n", pa.array(np.arange(len(table))))  # noqa: F841
    u = ctx.sql("SELECT * FROM u").to_arrow()  # noqa: F841
    theirs = table  # noqa: F841
    order = FRAGMENTS[source]
    inner = source.replace("p.*", "p.*, n") if "JOIN" in source else source
    inner = source.replace("SELECT *", "SELECT *, n") if source.count("SELECT") == 1 else inner
    order = order.replace("(SELECT n)", "n")
    wanted = duckdb.sql(
        f"SELECT k, list(x ORDER BY {order}) AS x, first(i ORDER BY {order}) AS head, "
        f"last(i ORDER BY {order}) AS tail FROM {inner} GROUP BY k"
    ).fetchall()
    found = {row["k"]: row for row in first.to_pylist()}
    assert len(found) == len(wanted) == 30
    for k, x, head, tail in wanted:
        row = found[k]
        assert (row["head"], row["tail"]) == (head, tail)
        assert row["sx"] == compensated(x)


def compensated(values):
    """Neumaier's sum, as the definition of a folded one: bits depend on the order."""
    total = lost = 0.0
    for x in values:
        t = total + x
        z = t - total
        lost += (total - (t - z)) + (x - z)
        total = t
    return total + lost


TIED = "(SELECT b, ts, a, k FROM (SELECT DISTINCT * FROM t) r)"


@pytest.mark.parametrize(
    ("query", "more"),
    [
        (f"SELECT k, first_value(a) AS r, vwap(a, 1){{}} FROM {TIED} q GROUP BY k", ", min(b)"),
        (f"SELECT k, sum(a) AS r, vwap(a, 1){{}} FROM {TIED} q GROUP BY k", ", max(b)"),
        (f"SELECT a, diff(a) OVER (ORDER BY ts) AS r{{}} FROM {TIED} q", ", b"),
        (f"SELECT q.a AS r{{}} FROM l ASOF JOIN {TIED} q MATCH_CONDITION (l.ts >= q.ts)", ", q.b"),
    ],
)
def test_a_column_more_leaves_the_others_as_they_are(query, more):
    rng, n = np.random.default_rng(12), 3_000
    ts = pa.array(rng.integers(0, 40, n)).cast(pa.timestamp("s"))
    columns = {"b": rng.normal(size=n), "ts": ts, "a": rng.normal(size=n) * 1e9 ** rng.random(n)}
    ctx = session(pa.table({**columns, "k": rng.integers(0, 5, n)}))
    ctx.register("l", pa.table({"ts": pa.array(range(40)).cast(pa.timestamp("s"))}))
    one = ctx.sql(query.format("")).to_arrow()
    other = ctx.sql(query.format(more)).to_arrow()
    order = [one.column_names[0], one.column_names[1]] if one.num_columns > 1 else ["r"]
    by = [(name, "ascending") for name in order]
    left, right = (found.select(order).sort_by(by).combine_chunks() for found in (one, other))
    for name in order:
        assert_same_bits(left[name].chunk(0), right[name].chunk(0), name)


@pytest.mark.parametrize(
    "calls",
    [
        "array_agg(i)",
        "string_agg(CAST(i AS VARCHAR), ',')",
        "regr_slope(x, y)",
        "approx_percentile_cont(x, 0.5)",
        "first_value(i) FILTER (WHERE y > 0)",
        "array_agg(i), array_agg(u ORDER BY i), vwap(p, s)",
    ],
)
@pytest.mark.parametrize("by", ["k", None])
def test_aggregates_of_datafusion_take_the_rows_in_order(wide, calls, by):
    ctx, table = wide
    query = f"SELECT {calls}, vwap(p, s) AS v FROM t {'GROUP BY k' if by else ''}"
    first = ctx.sql(query).to_arrow().combine_chunks()
    for _ in range(9):
        assert ctx.sql(query).to_arrow().combine_chunks().equals(first)
    rows = table.to_pandas()
    groups = [g for _, g in rows.groupby("k", sort=False)] if by else [rows]
    column = first.column(0).to_pylist()
    if calls.startswith("array_agg"):
        assert column == [g.i.tolist() for g in groups]
    if calls.startswith("string_agg"):
        assert column == [",".join(map(str, g.i)) for g in groups]
    if calls.startswith("first_value"):
        assert column == [g.i[g.y > 0].iloc[0] for g in groups]
    if calls.startswith("regr_slope"):
        wanted = [np.polyfit(g.y, g.x, 1)[0] for g in groups]
        np.testing.assert_allclose(column, wanted, rtol=1e-6)


def test_a_values_list_has_the_order_that_it_is_written_in():
    ctx = fin_sql.connect(threads=2)
    values = "(VALUES ('b', 3.0, 1), ('a', 2.0, 1), ('b', 1.0, 2)) AS t (k, x, w)"
    found = ctx.sql(f"SELECT k, first_value(x) AS x, vwap(x, w) AS v FROM {values} GROUP BY k")
    assert found.to_arrow().to_pydict() == {"k": ["b", "a"], "x": [3.0, 2.0], "v": [5 / 3, 2.0]}


# ---------------------------------------------------------------- SET deterministic


def test_deterministic_takes_every_sum_of_doubles():
    rng = np.random.default_rng(20261125)
    n = 300_000
    session = fin_sql.connect(threads=2)
    session.register("t", pa.table({"k": rng.integers(0, 5, n), "x": rng.normal(size=n) * 1e6}))
    query = "SELECT k, sum(x) AS s, avg(x) AS a, regr_slope(x, k) AS r FROM t GROUP BY k ORDER BY k"
    plain = session.sql(query).to_arrow()
    session.sql("SET deterministic = on")
    assert session.sql("SHOW deterministic").to_arrow().to_pylist() == [
        {"name": "deterministic", "value": "on"}
    ]
    found = session.sql(query)
    assert "KernelAggregate" in found.explain()
    whole = found.to_arrow()
    for _ in range(8):
        again = session.sql(query).to_arrow()
        for name in whole.column_names:
            assert_same_bits(again[name].combine_chunks(), whole[name].combine_chunks(), name)
    np.testing.assert_allclose(whole["s"].to_numpy(), plain["s"].to_numpy(), rtol=1e-9)
    session.sql("SET deterministic TO false")
    assert "KernelAggregate" not in session.sql(query).explain()


def test_deterministic_refuses_what_only_datafusion_can_sum():
    session = fin_sql.connect()
    session.register("t", pa.table({"k": [1, 2], "x": [1.0, 2.0]}))
    session.sql("SET deterministic = true")
    with pytest.raises(SqlError, match="GROUPING SETS"):
        session.sql("SELECT k, sum(x) FROM t GROUP BY ROLLUP (k)")
    assert (
        session.sql("SELECT k, count(*) AS n FROM t GROUP BY ROLLUP (k)").to_arrow().num_rows == 3
    )


def test_a_setting_takes_its_own_values():
    session = fin_sql.connect()
    for wrong in ("SET deterministic = maybe", "SET windows = polars", "SET deterministic on"):
        with pytest.raises(SqlError, match="was expected"):
            session.sql(wrong)
    session.sql("SET windows = datafusion")
    query = "SELECT sum(x) OVER (ORDER BY x) AS s FROM (VALUES (1.0), (2.0)) t(x)"
    assert "KernelWindow" not in session.sql(query).explain()
    session.sql("SET windows = 'fin_sql'")
    assert "KernelWindow" in session.sql(query).explain()
