"""The market simulator and the stream doubles that fin_sql ships for tests."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from fin_sql.testing.market import QUOTES_SCHEMA, TRADES_SCHEMA, Market
from fin_sql.testing.stream import CRASH, END, WAIT, Clock, ListSink, ListSource, SimulatedCrash

SECOND_NS = 1_000_000_000
MANY_SYMBOLS = tuple(f"S{number:04d}" for number in range(1000))
ROUGH = Market(seed=7, late=0.05, nulls=0.02, ties=0.3, gaps=0.1)
MARKETS = {
    "default": Market(),
    "rough": ROUGH,
    "late for longer than a block": Market(late=0.1, late_by_ns=30 * SECOND_NS),
    "many symbols": Market(symbols=MANY_SYMBOLS),
    "slow": Market(trades_per_second=1e-3),
    "fast": Market(trades_per_second=1e6, memory_ns=1_000_000),
}
any_market = pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS.keys())


def stamps(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(table["ts"].cast(pa.int64()).to_numpy())


def column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table[name].to_numpy())


def share_of_ties(table: pa.Table) -> float:
    return float(np.mean(np.diff(stamps(table)) == 0))


def counts_per_second(market: Market, rows: int) -> npt.NDArray[np.int64]:
    seconds = (stamps(market.trades(rows)) - market.start_ns) // SECOND_NS
    return np.bincount(seconds)[:-1]


def digest(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


@any_market
def test_tables_have_the_promised_schema_and_size(market: Market) -> None:
    trades, quotes = market.trades(3000), market.quotes(4000)
    trades.validate(full=True)
    quotes.validate(full=True)
    assert trades.schema == TRADES_SCHEMA
    assert quotes.schema == QUOTES_SCHEMA
    assert (len(trades), len(quotes)) == (3000, 4000)
    assert trades.schema.field("ts").type == pa.timestamp("ns")


def test_no_rows_and_no_seconds_give_empty_tables() -> None:
    assert Market().trades(0).equals(TRADES_SCHEMA.empty_table())
    assert Market().quotes(0).equals(QUOTES_SCHEMA.empty_table())
    assert [len(table) for table in Market().events(0)] == [0, 0]


@any_market
def test_the_same_market_gives_the_same_bytes(market: Market) -> None:
    assert digest(market.trades(5000)) == digest(replace(market).trades(5000))
    assert digest(market.quotes(5000)) == digest(replace(market).quotes(5000))
    assert digest(market.trades(5000)) != digest(replace(market, seed=99).trades(5000))


def test_another_process_gives_the_same_bytes() -> None:
    program = (
        "import test_testing as t; print(t.digest(t.ROUGH.trades(4000)), "
        "t.digest(t.ROUGH.quotes(4000)))"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [digest(ROUGH.trades(4000)), digest(ROUGH.quotes(4000))]


@any_market
def test_a_longer_run_begins_with_the_shorter(market: Market) -> None:
    trades, quotes = market.trades(20_000), market.quotes(20_000)
    for rows in (1, 17, 1999, 2050, 7000, 19_999):
        assert market.trades(rows).equals(trades.slice(0, rows))
        assert market.quotes(rows).equals(quotes.slice(0, rows))


@pytest.mark.parametrize("market", [Market(), ROUGH], ids=["default", "rough"])
def test_events_are_the_first_rows_of_trades_and_of_quotes(market: Market) -> None:
    for seconds in (0.000_005, 3, 10.24, 45):
        trades, quotes = market.events(seconds)
        assert trades.equals(market.trades(len(trades)))
        assert quotes.equals(market.quotes(len(quotes)))
    assert len(trades) > 5000


@any_market
def test_seq_numbers_the_rows_of_both_tables_and_sorts_them_by_time(market: Market) -> None:
    tables = market.events(8000 / market.trades_per_second)
    for table in tables:
        assert np.all(np.diff(column(table, "seq")) > 0)
    both = pa.concat_tables([table.select(["ts", "seq"]) for table in tables]).sort_by("seq")
    assert np.array_equal(column(both, "seq"), np.arange(len(both)))
    assert np.all(np.diff(stamps(both)) >= 0) == (market.late == 0)


@pytest.mark.parametrize(
    "market",
    [
        Market(seed=3),
        Market(seed=4, ties=0.6, gaps=0.3),
        Market(seed=5, symbols=MANY_SYMBOLS),
        Market(seed=6, symbols=("ONE",), venues=("only",), quotes_per_trade=0.1),
    ],
    ids=["default", "ties and gaps", "many symbols", "few quotes"],
)
def test_a_trade_is_at_the_prevailing_quote_of_its_symbol_and_venue(market: Market) -> None:
    trades, quotes = market.events(60)
    quote_keys = np.stack([stamps(quotes), column(quotes, "seq")])
    columns = {name: column(quotes, name) for name in ("symbol", "venue", "bid", "ask")}
    for row in np.linspace(0, len(trades) - 1, 400).astype(int):
        trade = trades.slice(row, 1).to_pylist()[0]
        here = (columns["symbol"] == trade["symbol"]) & (columns["venue"] == trade["venue"])
        stamp = stamps(trades)[row]
        before = (quote_keys[0] < stamp) | (
            (quote_keys[0] == stamp) & (quote_keys[1] < trade["seq"])
        )
        last = np.flatnonzero(here & before)[-1]
        expected = columns["ask" if trade["side"] == 1 else "bid"][last]
        assert trade["price"] == expected
        assert columns["bid"][last] < columns["ask"][last]


def test_prices_and_sizes_lie_on_their_grids() -> None:
    market = Market(
        symbols=("A", "B"), prices=(50.0, 2000.0), tick_sizes=(0.01, 0.25), lot_sizes=(100.0, 0.1)
    )
    trades, quotes = market.events(60)
    for table, name in [(trades, n) for n in ("price", "size")] + [
        (quotes, n) for n in ("bid", "ask", "bid_size", "ask_size")
    ]:
        steps = market.lot_sizes if "size" in name else market.tick_sizes
        for symbol, step in zip(market.symbols, steps, strict=True):
            values = column(table, name)[column(table, "symbol") == symbol]
            assert np.all(values >= step)
            assert np.array_equal(values, np.round(np.rint(values / step) * step, 2))


def test_the_first_quotes_are_at_the_prices_asked_for() -> None:
    market = Market(symbols=("A", "B"), prices=(50.0, 2000.0), tick_sizes=(0.01, 0.01))
    opening = market.quotes(6).to_pydict()
    assert opening["symbol"] == ["A"] * 3 + ["B"] * 3
    middle = [(bid + ask) / 2 for bid, ask in zip(opening["bid"], opening["ask"], strict=True)]
    assert middle == pytest.approx([50.0] * 3 + [2000.0] * 3, rel=1e-3)


def test_the_spread_is_at_least_a_tick_and_varies() -> None:
    market = Market(symbols=("A",), prices=(50.0,), tick_sizes=(0.01,))
    quotes = market.quotes(5000)
    ticks = np.rint((column(quotes, "ask") - column(quotes, "bid")) / 0.01)
    assert ticks.min() == 1
    assert len(np.unique(ticks)) >= 4


def test_the_mid_is_as_volatile_as_asked() -> None:
    market = Market(trades_per_second=5.0, volatility=0.8, symbols=tuple("ABCDEFGH"), gaps=0)
    quotes = market.quotes(400_000)
    minutes = (stamps(quotes) - market.start_ns) // (60 * SECOND_NS)
    middle = np.log((column(quotes, "bid") + column(quotes, "ask")) / 2)
    moves = []
    for symbol in market.symbols:
        chosen = column(quotes, "symbol") == symbol
        moves.append(np.diff(middle[chosen][np.flatnonzero(np.diff(minutes[chosen]))]))
    per_year = np.sqrt(365.25 * 24 * 60)
    assert np.concatenate(moves).std() * per_year == pytest.approx(0.8, rel=0.25)


def test_the_mid_is_a_martingale() -> None:
    quotes = Market(symbols=MANY_SYMBOLS, trades_per_second=1.0, volatility=8.0).quotes(150_000)
    middle = (column(quotes, "bid") + column(quotes, "ask")) / 2
    names, first = np.unique(column(quotes, "symbol"), return_index=True)
    last = len(middle) - 1 - np.unique(column(quotes, "symbol")[::-1], return_index=True)[1]
    growth = middle[last] / middle[first]
    assert len(names) == 1000
    assert growth.std() > 0.2
    assert growth.mean() == pytest.approx(1, abs=0.03)


def test_no_block_repeats_another() -> None:
    sizes = column(Market(symbols=("A",)).trades(100_000), "size")
    runs = np.lib.stride_tricks.sliding_window_view(sizes, 5)
    assert len(np.unique(runs, axis=0)) > 0.99 * len(runs)


def test_trades_come_at_the_rate_asked_for() -> None:
    for market in (Market(gaps=0.0), Market(trades_per_second=3000.0, gaps=0.0)):
        trades, quotes = market.events(100_000 / market.trades_per_second)
        assert len(trades) == pytest.approx(100_000, rel=0.05)
        assert len(quotes) == pytest.approx(300_000, rel=0.05)


def test_excited_trades_cluster_and_unexcited_ones_do_not() -> None:
    excited = counts_per_second(Market(excitation=0.6, gaps=0.0), 200_000)
    assert excited.var() / excited.mean() > 4
    alone = counts_per_second(Market(excitation=0.0, gaps=0.0, ties=0.0), 200_000)
    assert 0.8 < alone.var() / alone.mean() < 1.25


@pytest.mark.parametrize("name", ["default", "many symbols"])
def test_sides_persist_within_a_symbol(name: str) -> None:
    trades = MARKETS[name].trades(50_000)
    order = np.argsort(column(trades, "symbol"), kind="stable")
    side, symbol = column(trades, "side")[order], column(trades, "symbol")[order]
    assert set(side) == {-1, 1}
    kept = (side[1:] * side[:-1])[symbol[1:] == symbol[:-1]]
    assert kept.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("ties", [0.0, 0.1, 0.5, 0.9])
def test_the_share_of_ties_is_near_what_was_asked(ties: float) -> None:
    trades, quotes = Market(ties=ties).events(200)
    assert share_of_ties(trades) == pytest.approx(ties, abs=0.02)
    assert share_of_ties(quotes) == pytest.approx(ties, abs=0.02)


@pytest.mark.parametrize("gaps", [0.0, 0.1, 0.4])
def test_a_symbol_is_silent_for_the_share_of_gaps(gaps: float) -> None:
    market = Market(gaps=gaps, gap_ns=SECOND_NS, trades_per_second=2000.0, excitation=0.0)
    seconds = 120
    tables = market.events(seconds)
    silent = 0.0
    for symbol in market.symbols:
        times = np.concatenate(
            [stamps(table)[column(table, "symbol") == symbol] for table in tables]
        )
        pauses = np.diff(np.sort(times)) / SECOND_NS
        silent += pauses[pauses > 0.3].sum()
    assert silent / seconds / len(market.symbols) == pytest.approx(gaps, abs=0.08)


def test_a_halt_is_without_a_single_row() -> None:
    market = Market(gaps=0.5, gap_ns=SECOND_NS, trades_per_second=4000.0, ties=0.9, excitation=0)
    for table in market.events(60):
        times = stamps(table)[column(table, "symbol") == market.symbols[0]] - market.start_ns
        rows = np.bincount(times[times >= 2 * SECOND_NS] // SECOND_NS)[2:]
        assert 10 < np.count_nonzero(rows) < 50
        assert rows[rows > 0].min() > 500


def test_late_rows_exist_and_are_late_by_no_more_than_was_asked() -> None:
    tables = Market(late=0.1, late_by_ns=400_000_000).events(200)
    both = pa.concat_tables([table.select(["ts", "seq"]) for table in tables]).sort_by("seq")
    for table in (*tables, both):
        behind = np.maximum.accumulate(stamps(table)) - stamps(table)
        assert np.mean(behind > 0) == pytest.approx(0.1, abs=0.02)
        assert 300_000_000 < behind.max() <= 400_000_000


def test_late_rows_are_the_rows_of_the_punctual_market() -> None:
    punctual, late = Market(), Market(late=0.2)
    columns = ["ts", "symbol", "venue", "price", "size", "side"]
    keys = [(name, "ascending") for name in columns]
    end = punctual.start_ns + 30 * SECOND_NS
    seen = []
    for market in (punctual, late):
        trades = market.events(31)[0].select(columns)
        seen.append(trades.filter(pa.array(stamps(trades) < end)).sort_by(keys))
    assert seen[0].equals(seen[1])


def test_nulls_are_near_the_share_asked_and_hide_what_was_there() -> None:
    whole, holed = Market(), Market(nulls=0.1)
    for before, after, names in (
        (whole.trades(20_000), holed.trades(20_000), {"price", "size"}),
        (whole.quotes(20_000), holed.quotes(20_000), {"bid", "ask", "bid_size", "ask_size"}),
    ):
        for name in before.column_names:
            valid = after[name].is_valid()
            assert before[name].filter(valid).equals(after[name].filter(valid))
            share = after[name].null_count / 20_000
            assert share == pytest.approx(0.1 if name in names else 0.0, abs=0.01)
            assert before[name].null_count == 0


REFUSED: dict[str, list[Any]] = {
    "symbols": [(), "BTC-USD", ["A", "B"], ("A", "A"), ("A", "")],
    "venues": [()],
    "seed": [-1, 1.5],
    "start_ns": [-1],
    "trades_per_second": [0.0, float("nan")],
    "quotes_per_trade": [0.0],
    "excitation": [1.0, -0.1],
    "memory_ns": [0],
    "ties": [1.0],
    "gaps": [1.0, float("nan")],
    "gap_ns": [0],
    "late": [1.1],
    "late_by_ns": [0, 1e9],
    "nulls": [-0.1],
    "volatility": [-1.0],
    "prices": [(1.0,), (1.0, 2.0, 3.0, -4.0), (1.0, 2.0, 3.0, float("inf"))],
    "tick_sizes": [(0.1, 0.1, 0.1), (1.0, 1.0, 1.0, 5.0)],
    "lot_sizes": [(1.0, 1.0, 1.0, 0.0)],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f in REFUSED for v in REFUSED[f]])
def test_a_bad_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^Market: '{field}' must be .*, was .*; "):
        Market(**{field: value})


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Market\.trades: 'rows' must be"):
        Market().trades(-1)
    with pytest.raises(ValueError, match=r"Market\.quotes: 'rows' must be"):
        Market().quotes(1.5)  # type: ignore[arg-type]
    for seconds in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"Market\.events: 'seconds' must be"):
            Market().events(seconds)


def test_a_market_that_would_outlive_its_timestamps_is_refused() -> None:
    with pytest.raises(ValueError, match="2262"):
        Market(trades_per_second=1e-5).trades(1_000_000)


def batch(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"x": pa.array(values, pa.int64())})


def values(rows: pa.RecordBatch | None) -> list[int] | None:
    return None if rows is None else rows["x"].to_pylist()


def read(source: ListSource, position: int = 0) -> list[tuple[int, list[int] | None]]:
    return [(after, values(rows)) for after, rows in source.read(position)]


def test_a_clock_stands_still_until_it_is_moved_either_way() -> None:
    assert Clock().now_ns() == 0
    clock = Clock(now_ns=100)
    assert clock.now_ns() == clock.now_ns() == 100
    clock.advance(50)
    assert clock.now_ns() == 150
    clock.set(10)
    assert clock.now_ns() == 10


def test_a_clock_advances_by_no_negative_time() -> None:
    with pytest.raises(ValueError, match=r"Clock\.advance: 'ns' must be at least 0, was -1; "):
        Clock().advance(-1)


def test_a_read_gives_each_item_with_the_position_after_it() -> None:
    source = ListSource([batch(1), batch(2, 3), batch()])
    assert read(source) == [(1, [1]), (2, [2, 3]), (3, [])]


def test_a_read_resumes_after_a_committed_position() -> None:
    source = ListSource([batch(1), batch(2), batch(3)])
    assert read(source, 1) == [(2, [2]), (3, [3])]
    assert read(source, 3) == []
    assert read(source) == [(1, [1]), (2, [2]), (3, [3])]


def test_a_position_outside_the_source_is_refused_at_once() -> None:
    for position in (-1, 2):
        with pytest.raises(ValueError, match=r"'position' must be in \[0, 1\]"):
            ListSource([batch(1)]).read(position)


def test_each_crash_is_raised_the_first_time_only() -> None:
    source = ListSource([batch(1), CRASH, batch(2), CRASH])
    running = source.read()
    assert next(running)[0] == 1
    with pytest.raises(SimulatedCrash, match="item 1"):
        next(running)
    with pytest.raises(SimulatedCrash, match="item 3"):
        read(source, 1)
    assert read(source, 1) == [(3, [2])]
    assert read(source, 0) == [(1, [1]), (3, [2])]


def test_an_end_stops_one_read_and_a_later_one_resumes_after_it() -> None:
    source = ListSource([batch(1), END, batch(2)])
    assert read(source) == [(1, [1])]
    assert read(source, 1) == [(3, [2])]
    assert read(source) == [(1, [1]), (3, [2])]


def test_a_wait_gives_none_on_every_read() -> None:
    source = ListSource([WAIT, batch(1), WAIT])
    for _ in range(2):
        assert read(source) == [(1, None), (2, [1]), (3, None)]
    assert read(source, 1) == [(2, [1]), (3, None)]


def test_a_table_is_given_as_one_batch() -> None:
    table = pa.Table.from_batches([batch(1), batch(2, 3)])
    empty = table.slice(0, 0)
    source = ListSource([table, empty])
    given = [rows for _, rows in source.read()]
    assert all(isinstance(rows, pa.RecordBatch) for rows in given)
    assert [values(rows) for rows in given] == [[1, 2, 3], []]
    assert given[1] is not None
    assert given[1].schema == table.schema


def test_batches_of_different_schemas_are_refused() -> None:
    other = pa.RecordBatch.from_pydict({"x": pa.array([1.0])})
    with pytest.raises(
        ValueError, match=r"item 2 must have the schema \(x int64\), had \(x double"
    ):
        ListSource([batch(1), WAIT, other])
    with pytest.raises(ValueError, match="item 0 must have the schema"):
        ListSource([other], schema=batch().schema)
    sink = ListSink()
    sink.write(batch(1))
    with pytest.raises(ValueError, match=r"ListSink\.write: batch must have the schema"):
        sink.write(other)
    assert sink.rows == 1


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(TypeError, match="item 1 must be a RecordBatch or a Table, was dict"):
        ListSource([WAIT, {"x": 1}])
    with pytest.raises(TypeError, match="must be a RecordBatch or a Table, was Sentinel"):
        ListSink().write(WAIT)


def test_a_schema_is_given_or_found_or_missed() -> None:
    schema = batch().schema
    assert ListSource([WAIT, batch(1)]).schema == schema
    assert ListSource([], schema=schema).schema == schema
    assert ListSink(schema).table().equals(schema.empty_table())
    with pytest.raises(ValueError, match="ListSource: the schema must be known"):
        assert ListSource([WAIT]).schema
    with pytest.raises(ValueError, match="ListSink: the schema must be known"):
        ListSink().table()


def test_a_sink_keeps_batches_as_written() -> None:
    sink = ListSink()
    sink.write(batch(1, 2))
    sink.write(pa.Table.from_batches([batch(3), batch(4)]))
    assert [values(rows) for rows in sink.batches] == [[1, 2], [3, 4]]
    assert sink.table()["x"].to_pylist() == [1, 2, 3, 4]
    assert sink.rows == 4


@pytest.mark.parametrize("n_rows", range(7))
def test_a_truncated_sink_keeps_the_first_rows_and_takes_more(n_rows: int) -> None:
    sink = ListSink()
    for rows in (batch(0, 1), batch(), batch(2, 3, 4), batch(5)):
        sink.write(rows)
    sink.truncate(n_rows)
    assert sink.rows == n_rows
    assert sink.table()["x"].to_pylist() == list(range(n_rows))
    for wrong in (-1, n_rows + 1):
        with pytest.raises(ValueError, match=rf"'n_rows' must be in \[0, {n_rows}\]"):
            sink.truncate(wrong)
    sink.write(batch(9))
    assert sink.table()["x"].to_pylist() == [*range(n_rows), 9]


def test_a_recovered_run_writes_every_row_once() -> None:
    source = ListSource([batch(1), batch(2), CRASH, WAIT, batch(3), END, batch(4)])
    sink = ListSink()
    committed, committed_rows, crashes = 0, 0, 0
    while committed < 7:
        sink.truncate(committed_rows)
        try:
            for position, rows in source.read(committed):
                if rows is not None:
                    sink.write(rows)
                if position != 2:
                    committed, committed_rows = position, sink.rows
        except SimulatedCrash:
            crashes += 1
    assert crashes == 1
    assert sink.table()["x"].to_pylist() == [1, 2, 3, 4]
