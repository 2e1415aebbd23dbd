"""Volatility from open, high, low and close."""

from math import log as textbook_log

from libc.math cimport NAN, fabs, fmax, isnan, log, sqrt
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_ring, define_window, drive
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._textbook import mean, moment, trailing
from fin_sql.udfs._window cimport (
    PlainWindow, Spread, SpreadWindow, added, plain_bytes, plain_push, spread_bytes, spread_push,
)

cdef double LN2 = 0.6931471805599453


def price(name):
    """A price column."""
    return Arg(name, unit="p", domain="positive")


RANGE = (Arg("high", unit="p", domain="high"), Arg("low", unit="p", domain="low"))
BAR = (price("open"), *RANGE, price("close"))
BARS = (
    "(SELECT symbol, seq / 50 AS bar, first_value(price ORDER BY seq) AS open, "
    "max(price) AS high, min(price) AS low, last_value(price ORDER BY seq) AS close "
    "FROM trades GROUP BY symbol, seq / 50)"
)


def window_param(least):
    """The length of a window in rows."""
    return Param("window", least, 10_000_000, default=20, type="int64", summary="rows")


cdef inline bint is_range(double high, double low) noexcept nogil:
    """Whether a row has a range; a missing value is none."""
    return low > 0.0 and high >= low


# ---------------------------------------------------------------- parkinson_vol

cdef int64_t mean_bytes(const cell* p) noexcept nogil:
    return plain_bytes(p[0].i)


cdef inline int root_of_mean(void* state, const cell* p, double x, double* out) noexcept nogil:
    if not plain_push(<PlainWindow*> state, added, p[0].i, x, out):
        return ABSENT
    out[0] = sqrt(out[0] / <double> p[0].i) if out[0] >= 0.0 else NAN
    return EMIT


cdef inline int parkinson(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double r = log(x[0].f / x[1].f) if is_range(x[0].f, x[1].f) else NAN
    return root_of_mean(state, p, r * r / (4.0 * LN2), &out[0].f)


cdef void parkinson_loop(Rows* r) noexcept nogil:
    drive(parkinson, 2, 1, r)


def parkinson_vol_by_definition(high, low, window):
    """Root of the mean of ln(H/L)^2 / (4 ln 2)."""
    rows = [
        None if h is None or b is None or not h >= b > 0 else textbook_log(h / b) ** 2
        for h, b in zip(high, low)
    ]
    return trailing(rows, window, lambda v: (mean(v) / (4 * textbook_log(2))) ** 0.5)


define_ring(Spec(
    name="parkinson_vol",
    summary="Volatility from highs and lows.",
    shape="window",
    args=RANGE,
    params=(window_param(1),),
    returns=Out(),
    nulls="row",
    cases=({"window": 1}, {"window": 5}),
    definition=parkinson_vol_by_definition,
    source="Parkinson (1980), Journal of Business 53(1)",
    notes="Per row, not annualised. A high below its low, or a price that is not positive, is a "
          "missing row.",
    bound="16 bytes a row of the window",
    example=f"SELECT bar, parkinson_vol(high, low, 5) OVER (PARTITION BY symbol ORDER BY bar) "
            f"FROM {BARS} ORDER BY symbol, bar",
), parkinson, mean_bytes, parkinson_loop)


# ---------------------------------------------------------------- gk_vol

cdef inline bint is_bar(const cell* x) noexcept nogil:
    """Whether open, high, low and close are positive and the range is one."""
    return x[0].f > 0.0 and x[3].f > 0.0 and is_range(x[1].f, x[2].f)


cdef inline int gk(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double h, c, term = NAN
    if is_bar(x):
        h, c = log(x[1].f / x[2].f), log(x[3].f / x[0].f)
        term = 0.5 * h * h - (2.0 * LN2 - 1.0) * c * c
    return root_of_mean(state, p, term, &out[0].f)


cdef void gk_loop(Rows* r) noexcept nogil:
    drive(gk, 4, 1, r)


def bars_of(open, high, low, close):
    """Rows as tuples, None for those that are no bar."""
    return [
        None if None in row or not (row[0] > 0 and row[3] > 0 and row[1] >= row[2] > 0) else row
        for row in zip(open, high, low, close)
    ]


def gk_vol_by_definition(open, high, low, close, window):
    """Root of the mean of ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2."""
    def value(rows):
        found = mean([
            textbook_log(h / b) ** 2 / 2 - (2 * textbook_log(2) - 1) * textbook_log(c / o) ** 2
            for o, h, b, c in rows
        ])
        return found ** 0.5 if found >= 0 else None
    return trailing(bars_of(open, high, low, close), window, value)


define_ring(Spec(
    name="gk_vol",
    summary="Volatility from open, high, low and close, by Garman and Klass.",
    shape="window",
    args=BAR,
    params=(window_param(1),),
    returns=Out(),
    nulls="row",
    cases=({"window": 1}, {"window": 4}),
    tolerance=1e-8,
    definition=gk_vol_by_definition,
    source="Garman and Klass (1980), Journal of Business 53(1)",
    notes="The simple estimator, 0.5 and 2 ln 2 - 1. A mean below 0 gives NULL.",
    bound="16 bytes a row of the window",
    example="SELECT bar, gk_vol(open, high, low, close, 5) OVER (PARTITION BY symbol ORDER BY bar) "
            f"FROM {BARS} ORDER BY symbol, bar",
), gk, mean_bytes, gk_loop)


# ---------------------------------------------------------------- rogers_satchell_vol

cdef inline double rogers_satchell_of(const cell* x) noexcept nogil:
    cdef double o, h, b, c
    if not is_bar(x):
        return NAN
    o, h, b, c = log(x[0].f), log(x[1].f), log(x[2].f), log(x[3].f)
    return (h - c) * (h - o) + (b - c) * (b - o)


cdef inline int rogers_satchell(void* state, const cell* p, const cell* x,
                                cell* out) noexcept nogil:
    return root_of_mean(state, p, rogers_satchell_of(x), &out[0].f)


cdef void rogers_satchell_loop(Rows* r) noexcept nogil:
    drive(rogers_satchell, 4, 1, r)


def rogers_satchell_by_definition(row):
    """ln(H/C) ln(H/O) + ln(L/C) ln(L/O)."""
    o, h, b, c = row
    ln = textbook_log
    return ln(h / c) * ln(h / o) + ln(b / c) * ln(b / o)


def rogers_satchell_vol_by_definition(open, high, low, close, window):
    """Root of the mean of the rows' estimates."""
    def value(rows):
        found = mean([rogers_satchell_by_definition(row) for row in rows])
        return found ** 0.5 if found >= 0 else None
    return trailing(bars_of(open, high, low, close), window, value)


define_ring(Spec(
    name="rogers_satchell_vol",
    summary="Volatility from open, high, low and close, whatever the drift.",
    shape="window",
    args=BAR,
    params=(window_param(1),),
    returns=Out(),
    nulls="row",
    cases=({"window": 1}, {"window": 4}),
    tolerance=1e-8,
    definition=rogers_satchell_vol_by_definition,
    source="Rogers and Satchell (1991), Annals of Applied Probability 1(4)",
    notes="A mean below 0, of bars whose open or close lies outside their range, gives NULL.",
    bound="16 bytes a row of the window",
    example="SELECT bar, rogers_satchell_vol(open, high, low, close, 5) OVER (PARTITION BY symbol "
            f"ORDER BY bar) FROM {BARS} ORDER BY symbol, bar",
), rogers_satchell, mean_bytes, rogers_satchell_loop)


# ---------------------------------------------------------------- yang_zhang_vol

cdef struct YangZhang:          # followed by windows of the gaps, the moves and the ranges
    int64_t seen
    double close                # the last one; NaN where the row was no bar


cdef int64_t yang_zhang_bytes(const cell* p) noexcept nogil:
    return sizeof(YangZhang) + 2 * spread_bytes(p[0].i) + plain_bytes(p[0].i)


cdef inline int yang_zhang(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef YangZhang* s = <YangZhang*> state
    cdef SpreadWindow* gaps = <SpreadWindow*> (s + 1)
    cdef SpreadWindow* moves = <SpreadWindow*> (<char*> gaps + spread_bytes(p[0].i))
    cdef PlainWindow* ranges = <PlainWindow*> (<char*> moves + spread_bytes(p[0].i))
    cdef double w = <double> p[0].i, k = 0.34 / (1.34 + (w + 1.0) / (w - 1.0))
    cdef double before = s.close, term, total
    cdef bint seen = s.seen, full
    cdef Spread gap, move
    term = rogers_satchell_of(x)
    s.seen = 1
    s.close = x[3].f if not isnan(term) else NAN
    if not seen:
        return ABSENT
    full = spread_push(gaps, p[0].i, p + 1, log(x[0].f / before) if not isnan(term) else NAN, &gap)
    spread_push(moves, p[0].i, p + 1, log(x[3].f / x[0].f) if not isnan(term) else NAN, &move)
    plain_push(ranges, added, p[0].i, term, &total)
    if not full:
        return ABSENT
    total = (gap.m2 + k * move.m2) / (w - 1.0) + (1.0 - k) * total / w
    out[0].f = sqrt(total) if total >= 0.0 else NAN
    return EMIT


cdef void yang_zhang_loop(Rows* r) noexcept nogil:
    drive(yang_zhang, 4, 1, r)


def yang_zhang_vol_by_definition(open, high, low, close, window):
    """Root of var(ln O/C before) + k var(ln C/O) + (1 - k) times the mean of Rogers-Satchell."""
    bars = bars_of(open, high, low, close)
    rows = [None] + [
        None if a is None or b is None else (textbook_log(b[0] / a[3]), b)
        for a, b in zip(bars, bars[1:])
    ]
    k = 0.34 / (1.34 + (window + 1) / (window - 1))

    def value(rows):
        moves = [textbook_log(bar[3] / bar[0]) for _, bar in rows]
        ranges = mean([rogers_satchell_by_definition(bar) for _, bar in rows])
        spread = moment([gap for gap, _ in rows], 2) + k * moment(moves, 2)
        found = spread / (window - 1) + (1 - k) * ranges
        return found ** 0.5 if found >= 0 else None
    return trailing(rows[:len(bars)], window, value)


def inverses(params):
    """1/k for k = 0 .. window; the first is not used."""
    return [0.0] + [1.0 / k for k in range(1, params["window"] + 1)]


define_ring(Spec(
    name="yang_zhang_vol",
    summary="Volatility from open, high, low and close, gaps between the bars included.",
    shape="window",
    args=BAR,
    params=(window_param(2),),
    returns=Out(),
    nulls="row",
    cases=({"window": 2}, {"window": 3}),
    prepare=inverses,
    tolerance=1e-7,
    definition=yang_zhang_vol_by_definition,
    source="Yang and Zhang (2000), Journal of Business 73(3)",
    notes="First value at row window + 1. Variances with ddof 1, per row, not annualised.",
    bound="64 bytes a row of the window",
    example="SELECT bar, yang_zhang_vol(open, high, low, close, 5) OVER (PARTITION BY symbol ORDER "
            f"BY bar) FROM {BARS} ORDER BY symbol, bar",
), yang_zhang, yang_zhang_bytes, yang_zhang_loop)


# ---------------------------------------------------------------- atr

cdef struct Atr:
    int64_t rows
    double close
    double value


cdef inline int atr(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Atr* s = <Atr*> state
    cdef double n = <double> p[0].i, span
    span = fmax(x[0].f - x[1].f, fmax(fabs(x[0].f - s.close), fabs(x[1].f - s.close)))
    s.close = x[2].f
    s.rows += 1
    if s.rows == 1:
        return ABSENT
    if s.rows <= p[0].i + 1:
        s.value += (span - s.value) / <double> (s.rows - 1)
    else:
        s.value += (span - s.value) / n
    out[0].f = s.value
    return EMIT if s.rows > p[0].i else ABSENT


cdef void atr_loop(Rows* r) noexcept nogil:
    drive(atr, 3, 1, r)


def atr_by_definition(high, low, close, period):
    """Wilder's average of the true range, seeded by a plain mean."""
    spans = [max(h - b, abs(h - c), abs(b - c)) for h, b, c in zip(high[1:], low[1:], close)]
    found = [None] * min(period, len(high))
    for t in range(period, len(high)):
        if t == period:
            found.append(mean(spans[:period]))
        else:
            found.append((found[-1] * (period - 1) + spans[t - 1]) / period)
    return found


define_window(Spec(
    name="atr",
    summary="Average true range.",
    shape="window",
    args=(*RANGE, price("close")),
    params=(Param("period", 1, 10_000_000, default=14, type="int64", summary="rows"),),
    returns=Out(unit="p"),
    cases=({"period": 1}, {"period": 4}, {}),
    definition=atr_by_definition,
    source="Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib ATR",
    notes="First value at row period + 1. The first row has no close before it and no true range.",
    example=f"SELECT bar, atr(high, low, close, 5) OVER (PARTITION BY symbol ORDER BY bar) "
            f"FROM {BARS} ORDER BY symbol, bar",
), atr, sizeof(Atr), atr_loop)
