"""Bars: open, high, low and close of a group, bars by volume and value, and gaps filled."""

from libc.math cimport isnan
from libc.stdint cimport int64_t

from fin_sql.abi cimport (
    ABSENT, EMIT, Rows, absorb, cell, define_aggregate, define_ring, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec


# ---------------------------------------------------------------- ohlc

cdef struct Ohlc:
    int64_t n
    int64_t first               # times of open and close
    int64_t last
    double open
    double high
    double low
    double close


cdef inline void ohlc_take(Ohlc* s, const Ohlc* o) noexcept nogil:
    """Take another part; of equal times its rows come last."""
    if s.n == 0 or o.first < s.first:
        s.first = o.first
        s.open = o.open
    if s.n == 0 or o.last >= s.last:
        s.last = o.last
        s.close = o.close
    if s.n == 0 or o.high > s.high:
        s.high = o.high
    if s.n == 0 or o.low < s.low:
        s.low = o.low
    s.n += o.n


cdef inline int ohlc(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Ohlc one
    one.n = 1
    one.first = one.last = x[1].i
    one.open = one.high = one.low = one.close = x[0].f
    ohlc_take(<Ohlc*> state, &one)
    return EMIT


cdef void ohlc_loop(Rows* r) noexcept nogil:
    absorb(ohlc, 2, r)


cdef int ohlc_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Ohlc* s = <const Ohlc*> state
    if s.n == 0:
        return ABSENT
    out[0].f = s.open
    out[1].f = s.high
    out[2].f = s.low
    out[3].f = s.close
    return EMIT


cdef int ohlc_merge(void* state, const void* other, const cell* p) noexcept nogil:
    if (<const Ohlc*> other).n:
        ohlc_take(<Ohlc*> state, <const Ohlc*> other)
    return EMIT


def ohlc_by_definition(price, ts):
    """First, highest, lowest and last price."""
    if not price:
        return None
    rows = sorted(zip(ts, range(len(ts)), price))
    return {"open": rows[0][2], "high": max(price), "low": min(price), "close": rows[-1][2]}


define_aggregate(Spec(
    name="ohlc",
    summary="Open, high, low and close of a group.",
    shape="aggregate",
    args=(Arg("price", unit="p", domain="positive"), Arg("ts", type="timestamp")),
    returns=Out(fields=(Out(name="open", unit="p"), Out(name="high", unit="p"),
                        Out(name="low", unit="p"), Out(name="close", unit="p"))),
    definition=ohlc_by_definition,
    source="Steidlmayer (1986); as of pandas' Resampler.ohlc",
    notes="Rows may come in any order; of equal times the first to come opens and the last to come "
          "closes.",
    bound="56 bytes a group",
    example="SELECT symbol, date_bin(INTERVAL '1' SECOND, ts) AS bar, ohlc(price, ts) FROM trades "
            "GROUP BY symbol, bar ORDER BY symbol, bar",
), ohlc, ohlc_value, ohlc_merge, sizeof(Ohlc), NULL, False, ohlc_loop)


# ---------------------------------------------------------------- volume_bars, dollar_bars

cdef struct Bars:
    int64_t bar
    double held


cdef inline int into_bar(void* state, double size, double threshold, cell* out) noexcept nogil:
    cdef Bars* s = <Bars*> state
    if size < 0.0:
        return -1
    out[0].i = s.bar
    s.held += size
    if s.held >= threshold:
        s.bar += 1
        s.held = 0.0
    return EMIT


cdef inline int volume_bars(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return into_bar(state, x[0].f, p[0].f, out)


cdef inline int dollar_bars(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return into_bar(state, x[0].f * x[1].f, p[0].f, out)


cdef void volume_bars_loop(Rows* r) noexcept nogil:
    drive(volume_bars, 1, 1, r)


cdef void dollar_bars_loop(Rows* r) noexcept nogil:
    drive(dollar_bars, 2, 1, r)


def volume_bars_by_definition(volume, threshold):
    """The number of the bar that each row falls into; the row that fills it closes it."""
    found, bar, held = [], 0, 0.0
    for v in volume:
        found.append(bar)
        held += v
        if held >= threshold:
            bar, held = bar + 1, 0.0
    return found


def dollar_bars_by_definition(price, volume, threshold):
    """The same for traded value."""
    return volume_bars_by_definition([p * v for p, v in zip(price, volume)], threshold)


BAR_NOTES = (
    "From 0, to GROUP BY. The row that fills a bar belongs to it and closes it; nothing is carried "
    "over and no trade is split, unlike in vpin."
)
BAR_ERRORS = {-1: "the size of a trade must not be negative"}

define_window(Spec(
    name="volume_bars",
    summary="Number of the volume bar that a trade falls into.",
    shape="window",
    args=(Arg("volume", unit="v", domain="positive"),),
    params=(Param("threshold", 0.0, open_low=True, unit="v", summary="volume of a bar"),),
    returns=Out(type="int64"),
    cases=({"threshold": 3.0}, {"threshold": 0.01}),
    errors=BAR_ERRORS,
    definition=volume_bars_by_definition,
    source="Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 2",
    notes=BAR_NOTES,
    example="SELECT ts, volume_bars(size, 100) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), volume_bars, sizeof(Bars), volume_bars_loop)

define_window(Spec(
    name="dollar_bars",
    summary="Number of the bar of equal traded value that a trade falls into.",
    shape="window",
    args=(Arg("price", unit="p", domain="positive"), Arg("volume", unit="v", domain="positive")),
    params=(Param("threshold", 0.0, open_low=True, unit="p*v", summary="traded value of a bar"),),
    returns=Out(type="int64"),
    cases=({"threshold": 25_000.0}, {"threshold": 100.0}),
    errors=BAR_ERRORS,
    definition=dollar_bars_by_definition,
    source="Lopez de Prado (2018), Advances in Financial Machine Learning, ch. 2",
    notes=BAR_NOTES,
    example="SELECT ts, dollar_bars(price, size, 1000000) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM trades",
), dollar_bars, sizeof(Bars), dollar_bars_loop)


# ---------------------------------------------------------------- gap_fill

cdef enum Method:
    LOCF = 0
    LINEAR = 1


cdef struct Gap:                # for lines followed by double x[limit + 1]
    int64_t rows
    int64_t at                  # the row of the last value, 0 before the first: rows count from 1
    int64_t following           # the row of the next one, as far as it was looked for
    double value


cdef int64_t gap_bytes(const cell* p) noexcept nogil:
    return sizeof(Gap) + (p[1].i + 1 if p[0].i == LINEAR else 0) * sizeof(double)


cdef inline int carried(Gap* s, int64_t limit, double x, cell* out) noexcept nogil:
    s.rows += 1
    if not isnan(x):
        s.value = x
        s.at = s.rows
    if s.at == 0 or (limit and s.rows - s.at > limit):
        return ABSENT
    out[0].f = s.value
    return EMIT


cdef inline int on_a_line(Gap* s, int64_t limit, double x, cell* out) noexcept nogil:
    """The output of the row `limit` rows before: a gap that is short enough ends by now."""
    cdef double* held = <double*> (s + 1)
    cdef int64_t size = limit + 1, row
    s.rows += 1
    held[s.rows % size] = x
    row = s.rows - limit
    if row < 1:
        return ABSENT
    out[0].f = held[row % size]
    if not isnan(out[0].f):
        s.value = out[0].f
        s.at = row
        return EMIT
    s.following = max(s.following, row + 1)
    while s.following <= s.rows and isnan(held[s.following % size]):
        s.following += 1
    if s.at == 0 or s.following > s.rows or s.following - s.at - 1 > limit:
        return ABSENT
    out[0].f = s.value + (held[s.following % size] - s.value) * (
        <double> (row - s.at) / <double> (s.following - s.at))
    return EMIT


cdef inline int gap_fill(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if p[0].i == LINEAR:
        return on_a_line(<Gap*> state, p[1].i, x[0].f, out)
    return carried(<Gap*> state, p[1].i, x[0].f, out)


cdef void gap_fill_loop(Rows* r) noexcept nogil:
    drive(gap_fill, 1, 1, r)


def gap_fill_by_definition(x, method, limit):
    """The last value before a gap, or the line between the values around it."""
    found = []
    for t, value in enumerate(x):
        before = [i for i in range(t + 1) if x[i] is not None]
        after = [i for i in range(t, len(x)) if x[i] is not None]
        if value is not None or not before:
            found.append(value)
        elif method == "locf":
            held = not limit or t - before[-1] <= limit
            found.append(x[before[-1]] if held else None)
        elif not after or after[0] - before[-1] - 1 > limit:
            found.append(None)
        else:
            a, b = before[-1], after[0]
            found.append(x[a] + (x[b] - x[a]) * (t - a) / (b - a))
    return found


def refuse_endless_lines(params):
    """A line needs to know how far ahead its end may be."""
    if params["method"] == "linear" and not params["limit"]:
        return "'linear' looks ahead: give 'limit', the rows of the longest gap to fill"
    return None


define_ring(Spec(
    name="gap_fill",
    summary="Missing values filled: with the last one, or on the line to the next.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(
        Param("method", default="locf", type="text", choices=("locf", "linear"),
              summary="'linear' looks up to limit rows ahead"),
        Param("limit", 0, 1_000_000, default=0, type="int64",
              summary="rows that are filled; 0 is all, for 'locf' alone"),
    ),
    returns=Out(unit="u"),
    nulls="own",
    cases=({}, {"limit": 1}, {"method": "linear", "limit": 1}, {"method": "linear", "limit": 3}),
    check=refuse_endless_lines,
    lookahead=lambda params: params["limit"] if params["method"] == "linear" else 0,
    definition=gap_fill_by_definition,
    source="pandas Series.ffill and Series.interpolate",
    notes="Fills the missing values of rows that are there; rows that are not are a matter of SQL. "
          "'locf' fills the first limit rows of a gap, 'linear' gaps of at most limit rows, and "
          "neither what comes before the first value. A line is known only at its end: not for a "
          "backtest.",
    bound="8 bytes a row of limit for 'linear'",
    example="SELECT ts, gap_fill(nullif(price, floor(price)), 'locf', 10) OVER (PARTITION BY "
            "symbol ORDER BY ts, seq) FROM trades",
), gap_fill, gap_bytes, gap_fill_loop)
