"""A seeded market: trades and quotes for tests, examples and measurements.

One simulation yields both tables, so a trade's price is the bid or the ask of the quote that
prevails for its symbol at its venue. Time is simulated in blocks; what a block draws depends on
the seed, the fields and the number of the block, and what it inherits (prices, sides, quotes,
pending rows) on earlier blocks only. Hence a longer run begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["QUOTES_SCHEMA", "TRADES_SCHEMA", "Market"]

_Floats: TypeAlias = npt.NDArray[np.float64]
_Integers: TypeAlias = npt.NDArray[np.int64]
_Arrivals: TypeAlias = tuple[_Integers, _Integers]
_Columns: TypeAlias = dict[str, npt.NDArray[Any]]

_WHERE = [("ts", pa.timestamp("ns")), ("symbol", pa.string()), ("venue", pa.string())]
_TRADED = [("price", pa.float64()), ("size", pa.float64()), ("side", pa.int64())]
_QUOTED = [(name, pa.float64()) for name in ("bid", "ask", "bid_size", "ask_size")]
TRADES_SCHEMA = pa.schema([*_WHERE, *_TRADED, ("seq", pa.int64())])
QUOTES_SCHEMA = pa.schema([*_WHERE, *_QUOTED, ("seq", pa.int64())])

_SECOND_NS = 1_000_000_000
_YEAR_NS = 365.25 * 86_400 * _SECOND_NS
_LAST_NS = 2**63 - 1
_OPENING_STEP_NS = 1_000
_QUOTE_LAG_NS = 50_000_000
_FIRST_BLOCK_ROWS = 8_192
_BLOCK_DOUBLINGS = 5
_KNOWN_PRICES = {"BTC-USD": 95_000.0, "ETH-USD": 3_300.0, "SOL-USD": 190.0, "XRP-USD": 2.3}
_TYPICAL_NOTIONAL = 2_000.0
_SIDE_PERSISTENCE = 0.5
_IMPACT_SHARE = 0.3
_VOLATILITY_SPREAD = 0.35
_VOLATILITY_MEMORY_SECONDS = 1_800.0
_EXTRA_SPREAD_TICKS = 1.2


@dataclass(frozen=True)
class Market:
    """A market that is the same whenever its seed and fields are the same.

    Trades arrive as a Hawkes process: every trade excites others of its symbol. The mid of a
    symbol is a martingale that moves with every trade and quote, so busy times are volatile
    times, and volatility has calmer and wilder spells; part of a move is the surprise in the
    side of a trade. Sides persist. Venues quote one after another, so two venues may be crossed
    for a moment. Each venue quotes each symbol once at the opening, halted or not.

    `late` and `nulls` disturb the rows of the same market; any other field makes another one.
    Equal bytes are promised for one version of numpy on one kind of machine.

    Attributes:
        seed: Chooses the market, at least 0.
        symbols: Names, the most active first.
        venues: Names, the most active first.
        start_ns: Time of the opening, ns since 1970 UTC.
        trades_per_second: Mean rate of all symbols together while none is halted.
        quotes_per_trade: Mean number of quotes for each trade.
        excitation: Mean number of trades that one trade sets off directly, at most 0.999.
        memory_ns: Mean time from a trade to one that it sets off.
        ties: Share of the rows of a table with the timestamp of the row before.
        gaps: Share of the time in which a symbol is halted: no trades, no quotes.
        gap_ns: Length of the shortest halt; longer ones are multiples.
        late: Share of rows that are held up on their way, so that later ones overtake them.
        late_by_ns: The longest hold-up; no row is later behind another than this.
        nulls: Share of NULLs in every price and size column.
        volatility: Of the mid, as a fraction per square root of a year.
        prices: First mid of each symbol; empty for prices chosen by name.
        tick_sizes: Price step of each symbol; empty for about 1/10000 of the price.
        lot_sizes: Size step of each symbol; empty for about 1/100 of a usual trade.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    seed: int = 0
    symbols: tuple[str, ...] = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD")
    venues: tuple[str, ...] = ("alpha", "beta", "gamma")
    start_ns: int = 1_767_623_400 * _SECOND_NS
    trades_per_second: float = 200.0
    quotes_per_trade: float = 3.0
    excitation: float = 0.6
    memory_ns: int = 100_000_000
    ties: float = 0.1
    gaps: float = 0.02
    gap_ns: int = 2 * _SECOND_NS
    late: float = 0.0
    late_by_ns: int = 250_000_000
    nulls: float = 0.0
    volatility: float = 0.6
    prices: tuple[float, ...] = ()
    tick_sizes: tuple[float, ...] = ()
    lot_sizes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field in ("symbols", "venues"):
            names = getattr(self, field)
            named = isinstance(names, tuple) and all(isinstance(n, str) and n for n in names)
            if not named or not names or len(set(names)) < len(names):
                _refuse(field, "a tuple of different names", names, "give at least one name")
        for field, low, high in (
            ("trades_per_second", 1e-5, 1e6),
            ("quotes_per_trade", 0.01, 100),
            ("volatility", 0, 100),
            *((share, 0, 0.999) for share in ("excitation", "ties", "gaps")),
            *((share, 0, 1) for share in ("late", "nulls")),
        ):
            number = getattr(self, field)
            if not low <= number <= high:
                _refuse(field, f"in [{low:g}, {high:g}]", number, "give a number in that range")
        for field in ("seed", "start_ns", "memory_ns", "gap_ns", "late_by_ns"):
            integer = getattr(self, field)
            least = 0 if field in ("seed", "start_ns") else 1
            bits = 42 if field == "memory_ns" else 61
            if not isinstance(integer, int) or not least <= integer < 2**bits:
                _refuse(field, f"an integer in [{least}, 2**{bits})", integer, "give a Python int")
        for field in ("prices", "tick_sizes", "lot_sizes"):
            numbers = getattr(self, field)
            if not isinstance(numbers, tuple) or len(numbers) not in (0, len(self.symbols)):
                required = f"an empty tuple or one of {len(self.symbols)} numbers"
                _refuse(field, required, numbers, "give one number for each of 'symbols'")
            if not all(0 < number < float("inf") for number in numbers):
                _refuse(field, "positive and finite", numbers, "give numbers above 0")
        prices, ticks, _ = _levels(self)
        if np.any(prices < 2 * ticks):
            _refuse("tick_sizes", "at most half of each price", self.tick_sizes, "give finer ones")

    def events(self, seconds: float) -> tuple[pa.Table, pa.Table]:
        """Return the trades and quotes that arrive in the first seconds of the market.

        Rows come in order of arrival, numbered by `seq` through both tables. With `late` = 0
        that is the order of (ts, seq), in which the market happened. Fewer seconds give the
        first rows of more seconds.

        Shapes: two tables, of TRADES_SCHEMA and of QUOTES_SCHEMA.
        Units: ts in ns UTC without a zone; side +1 when the buyer began the trade, else -1.

        Raises:
            ValueError: `seconds` is negative, or the market would run past the year 2262.
        """
        if not 0 <= seconds < float("inf"):
            _refuse(
                "seconds", "in [0, inf)", seconds, "give the length of the run", "Market.events"
            )
        until = int(seconds * _SECOND_NS)
        kept: tuple[list[_Columns], list[_Columns]] = [], []
        for end, *arrived in _Simulation(self, with_quotes=True).blocks():
            for parts, rows in zip(kept, arrived, strict=True):
                parts.append(_take(rows, rows["arrival"] < until))
            if end >= until:
                break
        trades = _table(self, _join(kept[0]), TRADES_SCHEMA)
        return trades, _table(self, _join(kept[1]), QUOTES_SCHEMA)

    def trades(self, rows: int) -> pa.Table:
        """Return the first trades to arrive; fewer rows are the first of more rows.

        Shapes: `rows` rows of TRADES_SCHEMA; units as `events`.

        Raises:
            ValueError: `rows` is negative, or the market would run past the year 2262.
        """
        return _table(self, _first(self, rows, "trades"), TRADES_SCHEMA)

    def quotes(self, rows: int) -> pa.Table:
        """Return the first quotes to arrive; as `trades`, but of QUOTES_SCHEMA."""
        return _table(self, _first(self, rows, "quotes"), QUOTES_SCHEMA)


class _Simulation:
    """The state that one block of time hands to the next; times are in ns since the opening."""

    def __init__(self, market: Market, *, with_quotes: bool) -> None:
        self.market = market
        self.with_quotes = with_quotes
        symbols, venues = len(market.symbols), len(market.venues)
        self.prices, self.ticks, self.lots = _levels(market)
        activity = np.arange(1, symbols + 1) ** -0.7
        activity /= activity.sum()
        self.symbol_bounds = np.cumsum(activity)
        self.venue_bounds = np.cumsum(1 / np.arange(1, venues + 1))
        self.trades_per_ns = market.trades_per_second / _SECOND_NS
        self.rows_per_ns = self.trades_per_ns * (1 + market.quotes_per_trade)
        self.move_scale = market.volatility / np.sqrt(self.rows_per_ns * _YEAR_NS * activity)
        self.halt_phase = (np.arange(symbols) * 0.618 % 1 * market.gap_ns).astype(np.int64)
        self.opening_ns = symbols * venues * _OPENING_STEP_NS

        self.random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(market.seed)))
        self.halt_salt = self.random.integers(2**63, dtype=np.uint64)
        self.log_mid = np.log(self.prices)
        self.log_volatility = _VOLATILITY_SPREAD * self.random.standard_normal(symbols)
        self.side = np.where(self.random.random(symbols) < 0.5, -1, 1).astype(np.int64)
        self.book = np.zeros((2, symbols * venues))
        self.quote_rate = self.trades_per_ns * market.quotes_per_trade / 2
        self.next_trades = self._echoes(self.trades_per_ns * market.excitation, market.memory_ns)
        self.next_quotes = self._echoes(self.quote_rate, _QUOTE_LAG_NS)
        self.held: tuple[list[_Columns], list[_Columns]] = [], []
        self.placed = self.arrived = 0

    def blocks(self) -> Iterator[tuple[int, _Columns, _Columns]]:
        """Yield the end of each block with the trades and the quotes that arrive in it."""
        end = self.opening_ns
        for block in count():
            rows = _FIRST_BLOCK_ROWS << min(block, _BLOCK_DOUBLINGS)
            begin, end = end, end + max(1, int(rows / self.rows_per_ns))
            if self.market.start_ns + end + self.market.late_by_ns > _LAST_NS:
                advice = "ask for fewer rows or raise 'trades_per_second'"
                _refuse("start_ns", f"at least {end} ns before 2262", self.market.start_ns, advice)
            yield end, *self._arrive(block, end, self._happen(block, begin, end))

    def _stream(self, block: int, purpose: int) -> np.random.Generator:
        # A stream for each purpose: hold-ups, NULLs and unwanted quotes leave the others alone.
        sequence = np.random.SeedSequence(self.market.seed, spawn_key=(block, purpose))
        return np.random.Generator(np.random.PCG64(sequence))

    def _echoes(self, rate: float, lag_ns: int) -> _Arrivals:
        # What the time before the opening sets off: without it the rate would start too low.
        rows = int(self.random.poisson(rate * lag_ns))
        return self.opening_ns + self._lags(rows, lag_ns), self._draw(self.symbol_bounds, rows)

    def _fresh(self, rate: float, begin: int, end: int) -> _Arrivals:
        rows = int(self.random.poisson(rate * (end - begin)))
        return self.random.integers(begin, end, rows), self._draw(self.symbol_bounds, rows)

    def _lags(self, rows: int, mean_ns: int) -> _Integers:
        return (self.random.standard_exponential(rows) * mean_ns).astype(np.int64)

    def _draw(self, bounds: _Floats, rows: int) -> _Integers:
        # Without the last bound no rounding can draw a number past the end.
        drawn = self.random.random(rows) * bounds[-1]
        return np.asarray(np.searchsorted(bounds[:-1], drawn, side="right"), np.int64)

    def _trading(self, arrivals: _Arrivals) -> _Arrivals:
        """Keep what arrives while its symbol is not halted."""
        if not self.market.gaps:
            return arrivals
        times, symbols = arrivals
        # Hashed, not drawn: whether a symbol trades at a time must not depend on the blocks.
        window = (times + self.halt_phase[symbols]) // self.market.gap_ns
        bits = window.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + self.halt_salt
        bits ^= symbols.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
        trading = (bits >> np.uint64(11)) * 2.0**-53 >= self.market.gaps
        return times[trading], symbols[trading]

    def _settle(self, parts: list[_Arrivals], end: int) -> tuple[_Arrivals, _Arrivals]:
        """Sort, halt and tie the rows of a table; return them, and those of later blocks."""
        times, symbols = (np.concatenate(column) for column in zip(*parts, strict=True))
        now = times < end
        later = times[~now], symbols[~now]
        times, symbols = times[now], symbols[now]
        order = _time_order(times)
        times, symbols = self._trading((times[order], symbols[order]))
        source = np.arange(len(times))
        source[1:][self.random.random(max(0, len(times) - 1)) < self.market.ties] = 0
        # A tie may move a row back into a halt of its symbol.
        return self._trading((times[np.maximum.accumulate(source)], symbols)), later

    def _trade_arrivals(self, begin: int, end: int) -> _Arrivals:
        fresh = self._fresh(self.trades_per_ns * (1 - self.market.excitation), begin, end)
        parts = [self.next_trades, fresh]
        times, symbols = (np.concatenate(column) for column in zip(*parts, strict=True))
        while len(times):
            # A trade due in a later block sets off its own when that block comes.
            times, symbols = times[times < end], symbols[times < end]
            children = self.random.poisson(self.market.excitation, len(times))
            times, symbols = np.repeat(times, children), np.repeat(symbols, children)
            times = times + self._lags(len(times), self.market.memory_ns)
            parts.append((times, symbols))
        trades, self.next_trades = self._settle(parts, end)
        return trades

    def _quote_arrivals(self, trades: _Arrivals, begin: int, end: int) -> _Arrivals:
        answers = self.random.poisson(self.market.quotes_per_trade / 2, len(trades[0]))
        times, symbols = np.repeat(trades[0], answers), np.repeat(trades[1], answers)
        answered = times + self._lags(len(times), _QUOTE_LAG_NS), symbols
        parts = [self.next_quotes, answered, self._fresh(self.quote_rate, begin, end)]
        quotes, self.next_quotes = self._settle(parts, end)
        return quotes

    def _happen(self, block: int, begin: int, end: int) -> tuple[_Columns, _Columns]:
        """Simulate one block in the order of the market."""
        self.random = self._stream(block, 0)
        venues = len(self.market.venues)
        trades = self._trade_arrivals(begin, end)
        quotes = self._quote_arrivals(trades, begin, end)
        parts = [(*rows, self._draw(self.venue_bounds, len(rows[0]))) for rows in (quotes, trades)]
        if block == 0:
            pairs = np.arange(self.book.shape[1])
            parts.insert(0, (pairs * _OPENING_STEP_NS, pairs // venues, pairs % venues))
        times, symbol, venue = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(times, kind="stable")
        times, symbol, venue = times[order], symbol[order], venue[order]
        quotes_end = len(times) - len(trades[0])
        quote, trade = np.flatnonzero(order < quotes_end), np.flatnonzero(order >= quotes_end)

        side, surprise = self._sides(symbol[trade])
        volatility = self._volatility(symbol, times - begin, end - begin)
        mid = self._mid(symbol, volatility, trade, surprise)
        tick = self.ticks[symbol]
        extra = self.random.standard_exponential(len(times)) * _EXTRA_SPREAD_TICKS * volatility
        spread = 1 + np.floor(extra)
        bid = np.maximum(1, np.rint(mid / tick - spread / 2))
        book = np.stack([bid, bid + spread])
        last_bid, last_ask = self._prevailing(symbol * venues + venue, quote, trade, book)

        place = self.placed + np.arange(len(times))
        self.placed += len(times)
        columns = {"time": times, "place": place, "symbol": symbol, "venue": venue}
        trade_rows, quote_rows = _take(columns, trade), _take(columns, quote)
        trade_rows["side"] = side
        trade_rows["price"] = _on_grid(np.where(side > 0, last_ask, last_bid), tick[trade])
        self._decorate(self._stream(block, 2), trade_rows, "size")
        if self.with_quotes:
            quote_rows["bid"], quote_rows["ask"] = _on_grid(book[:, quote], tick[quote])
            self._decorate(self._stream(block, 3), quote_rows, "bid_size", "ask_size")
        return trade_rows, quote_rows

    def _sides(self, symbol: _Integers) -> tuple[_Integers, _Floats]:
        """Return the side of each trade and its surprise, of mean 0 and variance 1."""
        flips = self.random.random(len(symbol)) < (1 - _SIDE_PERSISTENCE) / 2
        side = self.side[symbol] * (1 - 2 * (_running_sum(flips.astype(np.int64), symbol) % 2))
        self.side[symbol] = side
        expected = _SIDE_PERSISTENCE * np.where(flips, -side, side)
        return side, (side - expected) / np.sqrt(1 - _SIDE_PERSISTENCE**2)

    def _volatility(self, symbol: _Integers, elapsed: _Integers, length: int) -> _Floats:
        """Return the factor of each row, and move its logarithm on over the block."""
        before = self.log_volatility
        kept = np.exp(-length / _SECOND_NS / _VOLATILITY_MEMORY_SECONDS)
        news = self.random.standard_normal(len(before)) * _VOLATILITY_SPREAD
        self.log_volatility = kept * before + np.sqrt(1 - kept**2) * news
        slope = (self.log_volatility - before) / length
        logarithm = before[symbol] + slope[symbol] * elapsed
        return np.asarray(np.exp(logarithm - _VOLATILITY_SPREAD**2))

    def _mid(
        self, symbol: _Integers, volatility: _Floats, trade: _Integers, surprise: _Floats
    ) -> _Floats:
        shock = self.random.standard_normal(len(symbol))
        shock[trade] *= np.sqrt(1 - _IMPACT_SHARE)
        shock[trade] += np.sqrt(_IMPACT_SHARE) * surprise
        scale = self.move_scale[symbol] * volatility
        # The mid is the martingale, not its logarithm: hence half the variance off.
        log_mid = self.log_mid[symbol] + _running_sum(scale * (shock - scale / 2), symbol)
        self.log_mid[symbol] = log_mid
        return np.asarray(np.exp(log_mid))

    def _prevailing(
        self, pair: _Integers, quote: _Integers, trade: _Integers, book: _Floats
    ) -> _Floats:
        """Return the bid and the ask before each trade, in ticks; remember the last ones."""
        order = _group_order(pair)
        is_quote = np.zeros(len(pair), np.bool_)
        is_quote[quote] = True
        # Ranks grow along `order`: their maximum so far is the last quote, of whatever pair.
        rank = np.where(is_quote[order], np.arange(len(order)), 0)
        last = np.empty_like(order)
        last[order] = order[np.maximum.accumulate(rank)]
        source = last[trade]
        known = is_quote[source] & (pair[source] == pair[trade])
        found = np.where(known, book[:, source], self.book[:, pair[trade]])
        self.book[:, pair[quote]] = book[:, quote]
        return found

    def _decorate(self, stream: np.random.Generator, rows: _Columns, *sizes: str) -> None:
        """Add sizes, then make NULLs, written as NaN until the table is built."""
        lots = self.lots[rows["symbol"]]
        usual = _TYPICAL_NOTIONAL * len(sizes) / self.prices[rows["symbol"]] / lots
        for name in sizes:
            drawn = np.exp(stream.standard_normal(len(lots)))
            rows[name] = _on_grid(np.maximum(1, np.rint(usual * drawn)), lots)
        if self.market.nulls:
            prices = ("price",) if "price" in rows else ("bid", "ask")
            for name in (*prices, *sizes):
                rows[name][stream.random(len(lots)) < self.market.nulls] = np.nan

    def _arrive(
        self, block: int, end: int, happened: tuple[_Columns, _Columns]
    ) -> tuple[_Columns, _Columns]:
        """Hold up the late rows and number those that arrive before the end of the block."""
        for rows in happened:
            rows["arrival"], rows["seq"] = rows["time"], rows["place"]
        if not self.market.late:
            return happened
        stream = self._stream(block, 1)
        total = len(happened[0]["time"]) + len(happened[1]["time"])
        held_up = stream.random(total) < self.market.late
        delay = held_up * stream.integers(1, self.market.late_by_ns, total, endpoint=True)
        for rows, held in zip(happened, self.held, strict=True):
            rows["arrival"] = rows["time"] + delay[rows["place"] - (self.placed - total)]
            held.append(rows)
        trades, quotes = _join(self.held[0]), _join(self.held[1])
        arrival, place = (np.concatenate([trades[n], quotes[n]]) for n in ("arrival", "place"))
        seq = np.empty_like(place)
        seq[np.lexsort((place, arrival))] = self.arrived + np.arange(len(place))
        self.arrived += int(np.count_nonzero(arrival < end))
        trades["seq"], quotes["seq"] = np.split(seq, [len(trades["seq"])])
        trades, quotes = (_take(rows, np.argsort(rows["seq"])) for rows in (trades, quotes))
        for rows, held in zip((trades, quotes), self.held, strict=True):
            held[:] = [_take(rows, rows["arrival"] >= end)]
        return _take(trades, trades["arrival"] < end), _take(quotes, quotes["arrival"] < end)


def _refuse(name: str, required: str, was: object, do: str, who: str = "Market") -> NoReturn:
    msg = f"{who}: '{name}' must be {required}, was {was!r}; {do}"
    raise ValueError(msg)


def _levels(market: Market) -> tuple[_Floats, _Floats, _Floats]:
    """Return the first price, the tick size and the lot size of each symbol."""
    named = [
        _KNOWN_PRICES.get(name, round(10 ** (1 + number * 0.618 % 1 * 2), 2))
        for number, name in enumerate(market.symbols)
    ]
    prices = np.array(market.prices or named, np.float64)
    ticks = np.array(market.tick_sizes or 10 ** (np.floor(np.log10(prices)) - 4), np.float64)
    usual = _TYPICAL_NOTIONAL / prices
    lots = np.array(market.lot_sizes or 10 ** (np.floor(np.log10(usual)) - 2), np.float64)
    return prices, ticks, lots


def _on_grid(steps: npt.NDArray[Any], size: _Floats) -> _Floats:
    # 3 * 0.1 is not 0.3 but 3 / 10 is: divide where the step is one part of a whole number.
    parts = np.rint(1 / size)
    exact = (size < 1) & (np.abs(size * parts - 1) < 1e-9)
    return np.where(exact, steps / np.maximum(1, parts), steps * size)


def _time_order(times: _Integers) -> _Integers:
    """Return the stable order; sorting packed values beats a stable argsort fivefold."""
    bits = len(times).bit_length()
    if not len(times) or int(times.max() - times.min()) >= 1 << (63 - bits):
        return np.argsort(times, kind="stable")
    packed = (times - times.min()) << bits | np.arange(len(times))
    return np.sort(packed) & ((1 << bits) - 1)


def _group_order(groups: _Integers) -> _Integers:
    # numpy sorts 16 bits by radix, ten times faster.
    small = np.max(groups, initial=0) < 2**16
    return np.argsort(groups.astype(np.uint16) if small else groups, kind="stable")


def _running_sum(values: npt.NDArray[Any], groups: _Integers) -> npt.NDArray[Any]:
    """Return the running sum within each group, in the order of the rows."""
    order = _group_order(groups)
    values, groups = values[order], groups[order]
    total = np.cumsum(values)
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    before = total[first] - values[first]
    sums = np.empty_like(total)
    sums[order] = total - np.repeat(before, np.diff(first, append=len(groups)))
    return sums


def _take(rows: _Columns, chosen: npt.NDArray[Any]) -> _Columns:
    return {name: column[chosen] for name, column in rows.items()}


def _join(parts: list[_Columns]) -> _Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _first(market: Market, rows: int, table: str) -> _Columns:
    if not isinstance(rows, int) or rows < 0:
        _refuse(
            "rows", "an integer of at least 0", rows, "give a number of rows", f"Market.{table}"
        )
    parts: list[_Columns] = []
    found = 0
    for _, trades, quotes in _Simulation(market, with_quotes=table == "quotes").blocks():
        parts.append(trades if table == "trades" else quotes)
        found += len(parts[-1]["seq"])
        if found >= rows:
            break
    return _take(_join(parts), np.arange(rows))


def _table(market: Market, rows: _Columns, schema: pa.Schema) -> pa.Table:
    columns = {
        "ts": pa.array(rows["time"] + market.start_ns).view(pa.timestamp("ns")),
        "symbol": pa.array(market.symbols).take(pa.array(rows["symbol"])),
        "venue": pa.array(market.venues).take(pa.array(rows["venue"])),
    }
    for name in schema.names[3:]:
        columns[name] = pa.array(rows[name], from_pandas=True)
    return pa.table(columns, schema=schema)
