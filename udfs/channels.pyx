"""Momentum, by the highest, the lowest and the spread of the last rows."""

from libc.math cimport NAN, isnan, sqrt
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_ring, drive
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._textbook import mean, moment, trailing
from fin_sql.udfs._window cimport (
    PlainWindow, Spread, SpreadWindow, added, greater, lesser, plain_bytes, plain_push,
    spread_bytes, spread_push,
)


def rows_param(name, default, least=1):
    """A number of rows."""
    return Param(name, least, 10_000_000, default=default, type="int64", summary="rows")


def inverses(params):
    """1/k for k = 0 .. window; the first is not used."""
    return [0.0] + [1.0 / k for k in range(1, params["window"] + 1)]


RANGE = (Arg("high", unit="p", domain="high"), Arg("low", unit="p", domain="low"))
BARS = (
    "(SELECT symbol, seq / 50 AS bar, max(price) AS high, min(price) AS low, "
    "last_value(price ORDER BY seq) AS close FROM trades GROUP BY symbol, seq / 50)"
)


# ---------------------------------------------------------------- bollinger_bands

cdef int64_t bollinger_bytes(const cell* p) noexcept nogil:
    return spread_bytes(p[0].i)


cdef inline int bollinger(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Spread found
    cdef double width
    if not spread_push(<SpreadWindow*> state, p[0].i, p + 2, x[0].f, &found):
        return ABSENT
    if isnan(found.m2):
        return ABSENT
    width = p[1].f * sqrt(found.m2 / <double> p[0].i)
    out[0].f = found.mean
    out[1].f = found.mean + width
    out[2].f = found.mean - width
    return EMIT


cdef void bollinger_loop(Rows* r) noexcept nogil:
    drive(bollinger, 1, 3, r)


def bollinger_bands_by_definition(x, window, k):
    """The mean, and k population standard deviations to both sides."""
    def bands(v):
        width = k * (moment(v, 2) / window) ** 0.5
        return {"mid": mean(v), "upper": mean(v) + width, "lower": mean(v) - width}
    return trailing(x, window, bands)


define_ring(Spec(
    name="bollinger_bands",
    family="momentum",
    summary="Moving average with a band of k standard deviations to both sides.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(rows_param("window", 20), Param("k", 0.0, default=2.0, summary="deviations")),
    returns=Out(fields=(Out(name="mid", unit="u"), Out(name="upper", unit="u"),
                        Out(name="lower", unit="u"))),
    nulls="row",
    cases=({"window": 1}, {"window": 5}, {"window": 9, "k": 1.5}),
    prepare=inverses,
    tolerance=1e-9,
    definition=bollinger_bands_by_definition,
    source="Bollinger (2001), Bollinger on Bollinger Bands",
    notes="Population deviations (ddof 0), as in TA-Lib; with ddof 1 the bands of 20 rows would be "
          "2.6 % wider.",
    bound="24 bytes a row of the window",
    example="SELECT ts, bollinger_bands(price, 20, 2.0) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM trades",
), bollinger, bollinger_bytes, bollinger_loop)


# ---------------------------------------------------------------- donchian_channel

cdef int64_t donchian_bytes(const cell* p) noexcept nogil:
    return 2 * plain_bytes(p[0].i)


cdef inline int donchian(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef PlainWindow* highs = <PlainWindow*> state
    cdef PlainWindow* lows = <PlainWindow*> (<char*> state + plain_bytes(p[0].i))
    cdef bint full = plain_push(highs, greater, p[0].i, x[0].f, &out[0].f)
    plain_push(lows, lesser, p[0].i, x[1].f, &out[1].f)
    if not full or isnan(out[0].f + out[1].f):
        return ABSENT
    out[2].f = (out[0].f + out[1].f) / 2.0
    return EMIT


cdef void donchian_loop(Rows* r) noexcept nogil:
    drive(donchian, 2, 3, r)


def donchian_channel_by_definition(high, low, window):
    """The highest high, the lowest low, and their middle."""
    def channel(rows):
        top, bottom = max(h for h, _ in rows), min(b for _, b in rows)
        return {"high": top, "low": bottom, "mid": (top + bottom) / 2}
    return trailing(list(zip(high, low)), window, channel)


define_ring(Spec(
    name="donchian_channel",
    family="momentum",
    summary="Highest high and lowest low of the last rows.",
    shape="window",
    args=RANGE,
    params=(rows_param("window", 20),),
    returns=Out(fields=(Out(name="high", unit="p"), Out(name="low", unit="p"),
                        Out(name="mid", unit="p"))),
    nulls="row",
    cases=({"window": 1}, {"window": 5}, {"window": 9}),
    definition=donchian_channel_by_definition,
    source="Donchian (1960), Commodities 5; van Herk (1992)",
    notes="With the current row: who trades breakouts lags it by one. Of one price, give it twice.",
    bound="32 bytes a row of the window",
    example="SELECT ts, donchian_channel(price, price, 20) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM trades",
), donchian, donchian_bytes, donchian_loop)


# ---------------------------------------------------------------- stochastic_osc

# Parameters: rows of K, of D, and of the mean that K is made smooth by. The state is two windows of
# extremes, one of raw values and one of K.
cdef int64_t stochastic_bytes(const cell* p) noexcept nogil:
    return 2 * plain_bytes(p[0].i) + plain_bytes(p[2].i) + plain_bytes(p[1].i)


cdef inline int stochastic(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef PlainWindow* highs = <PlainWindow*> state
    cdef PlainWindow* lows = <PlainWindow*> (<char*> highs + plain_bytes(p[0].i))
    cdef PlainWindow* raw = <PlainWindow*> (<char*> lows + plain_bytes(p[0].i))
    cdef PlainWindow* smooth = <PlainWindow*> (<char*> raw + plain_bytes(p[2].i))
    cdef double top, bottom, k
    cdef bint full = plain_push(highs, greater, p[0].i, x[0].f, &top)
    plain_push(lows, lesser, p[0].i, x[1].f, &bottom)
    if not full:
        return ABSENT
    k = 100.0 * ((x[2].f - bottom) / (top - bottom)) if top != bottom else NAN
    if not plain_push(raw, added, p[2].i, k, &out[0].f):
        return ABSENT
    out[0].f /= <double> p[2].i
    if plain_push(smooth, added, p[1].i, out[0].f, &out[1].f):
        out[1].f /= <double> p[1].i
    else:
        out[1].f = NAN
    return ABSENT if isnan(out[0].f) and isnan(out[1].f) else EMIT


cdef void stochastic_loop(Rows* r) noexcept nogil:
    drive(stochastic, 3, 2, r)


def stochastic_osc_by_definition(high, low, close, k_period, d_period, k_smooth):
    """100 (C - LL) / (HH - LL), its mean, and the mean of that."""
    def place(rows):
        top, bottom = max(h for h, _, _ in rows), min(b for _, b, _ in rows)
        return 100 * (rows[-1][2] - bottom) / (top - bottom) if top != bottom else None
    # A close counts in its own row alone.
    ranges = [(h, b, 0.0) for h, b in zip(high, low)]
    raw = []
    for t, c in enumerate(close):
        rows = [*ranges[max(0, t + 1 - k_period):t], (high[t], low[t], c)]
        whole = len(rows) == k_period and not any(None in row for row in rows)
        raw.append(place(rows) if whole else None)
    slow = trailing(raw, k_smooth, mean)
    both = zip(slow, trailing(slow, d_period, mean))
    return [None if k is None and d is None else {"k": k, "d": d} for k, d in both]


define_ring(Spec(
    name="stochastic_osc",
    family="momentum",
    summary="Where the close lies between the lowest low and the highest high, 0 to 100.",
    shape="window",
    args=(*RANGE, Arg("close", unit="p", domain="positive")),
    params=(rows_param("k_period", 14), rows_param("d_period", 3), rows_param("k_smooth", 1)),
    returns=Out(fields=(Out(name="k"), Out(name="d"))),
    nulls="row",
    cases=({"k_period": 1}, {"k_period": 4, "d_period": 2},
           {"k_period": 3, "d_period": 2, "k_smooth": 2}),
    tolerance=1e-8,
    definition=stochastic_osc_by_definition,
    source="Lane (1984), Technical Analysis of Stocks and Commodities 2(3)",
    notes="d is the mean of the last d_period k; k_smooth = 3 gives the slow form. A range of 0 "
          "gives NULL, where TA-Lib gives 0.",
    bound="32 bytes a row of k_period, 16 a row of the others",
    example="SELECT bar, stochastic_osc(high, low, close, 14, 3, 1) OVER (PARTITION BY symbol "
            f"ORDER BY bar) FROM {BARS} ORDER BY symbol, bar",
), stochastic, stochastic_bytes, stochastic_loop)
