"""A view holds the bits that a SELECT over the same log gives, however the log is cut."""

import pytest
from query_tables import FILES, header, tables
from streamed import Logs, same_rows

CONTINUOUS = [name for name in FILES if header(name).mode == "continuous"]
MARKETS = {"crypto": 0, "rough": 250_000_000, "week": 0}
STATIC = ("splits",)
SECOND = 1_000_000_000


def market_of(name):
    """A simulated market that has what a query reads."""
    wanted = set(header(name).tables)
    return [market for market in MARKETS if wanted <= set(tables(market))]


def in_time(rows):
    return rows.sort_by([("ts", "ascending")]) if "ts" in rows.column_names else rows


CASES = [(name, market) for name in CONTINUOUS for market in market_of(name)]


def test_there_are_continuous_queries():
    assert len(CONTINUOUS) >= 10
    assert {name for name, _ in CASES} == set(CONTINUOUS)


@pytest.mark.parametrize(("name", "market"), CASES)
def test_every_continuous_query(name, market):
    wanted = header(name).tables
    rows = {table: in_time(tables(market)[table]) for table in wanted}
    sql = FILES[name].read_text()
    for seed, partitions in enumerate((1, 3, 7)):
        logs = Logs(rows, partitions, seed=seed, static=STATIC)
        batch = logs.batch(sql, seed + 10)
        assert batch.num_rows
        same_rows(logs.stream(sql, seed), batch, f"{partitions} partitions")
    same_rows(logs.stream(sql, 5, threaded=True), batch, "threads")


@pytest.mark.parametrize(("name", "market"), CASES)
def test_late_rows_are_the_same_on_both_sides(name, market):
    wanted = header(name).tables
    rows = {table: in_time(tables(market)[table]) for table in wanted}
    sql = FILES[name].read_text()
    logs = Logs(rows, 2, None, 3, disorder_ns=2 * SECOND, delay_ns=SECOND, static=STATIC)
    batch = logs.batch(sql, 4)
    same_rows(logs.stream(sql, 5), batch, name)
    for table, counts in logs.counts.items():
        assert counts.released + counts.late == rows[table].num_rows
    if market == "crypto" and "bars" not in wanted:  # bars are a minute apart
        assert any(counts.late for counts in logs.counts.values())
