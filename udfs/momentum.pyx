"""Momentum: oscillators and trend filters, by the conventions of TA-Lib."""

from libc.math cimport NAN, isnan
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_ring, define_window, drive
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._textbook import mean, trailing
from fin_sql.udfs._window cimport PlainWindow, added, plain_bytes, plain_push


# ---------------------------------------------------------------- rsi

cdef struct Rsi:
    double before
    double gain
    double loss
    int64_t rows


cdef inline int rsi(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Rsi* s = <Rsi*> state
    cdef double n = <double> p[0].i, by_n = p[1].f
    cdef double change = x[0].f - s.before
    cdef double gain = change if change > 0.0 else 0.0
    cdef double loss = -change if change < 0.0 else 0.0
    s.before = x[0].f
    s.rows += 1
    if s.rows == 1:
        return ABSENT
    if s.rows <= p[0].i + 1:
        s.gain += gain * by_n
        s.loss += loss * by_n
        if s.rows <= p[0].i:
            return ABSENT
    else:
        s.gain = (s.gain * (n - 1.0) + gain) * by_n
        s.loss = (s.loss * (n - 1.0) + loss) * by_n
    if s.gain + s.loss == 0.0:
        return ABSENT
    out[0].f = 100.0 * (s.gain / (s.gain + s.loss))
    return EMIT


cdef void rsi_loop(Rows* r) noexcept nogil:
    drive(rsi, 1, 1, r)


def rsi_by_definition(x, period):
    """100 G / (G + L), Wilder's averages of gains and losses, seeded by their plain means."""
    found, gain, loss = [None] * min(len(x), period), 0.0, 0.0
    for t in range(period, len(x)):
        changes = [x[i] - x[i - 1] for i in range(t - period + 1, t + 1)]
        if t == period:
            gain = sum(max(c, 0.0) for c in changes) / period
            loss = sum(max(-c, 0.0) for c in changes) / period
        else:
            gain = (gain * (period - 1) + max(x[t] - x[t - 1], 0.0)) / period
            loss = (loss * (period - 1) + max(x[t - 1] - x[t], 0.0)) / period
        found.append(100 * gain / (gain + loss) if gain + loss else None)
    return found


define_window(Spec(
    name="rsi",
    summary="Relative strength index, 0 to 100.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("period", 1, 10_000_000, default=14, type="int64", summary="rows"),),
    returns=Out(unit="1"),
    cases=({"period": 1}, {"period": 4}, {}),
    prepare=lambda params: [1.0 / params["period"]],
    tolerance=1e-9,
    definition=rsi_by_definition,
    source="Wilder (1978), New Concepts in Technical Trading Systems",
    notes="First value at row period + 1. A series that never moved gives NULL, where TA-Lib "
          "gives 0. An ewm from the first change, as often seen, is not Wilder's.",
    example="SELECT ts, rsi(price, 14) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), rsi, sizeof(Rsi), rsi_loop)


# ---------------------------------------------------------------- sma

cdef int64_t sma_bytes(const cell* p) noexcept nogil:
    return plain_bytes(p[0].i)


cdef inline int sma(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if not plain_push(<PlainWindow*> state, added, p[0].i, x[0].f, &out[0].f):
        return ABSENT
    out[0].f /= <double> p[0].i
    return EMIT


cdef void sma_loop(Rows* r) noexcept nogil:
    drive(sma, 1, 1, r)


def sma_by_definition(x, window):
    """Mean of the last rows."""
    return trailing(x, window, mean)


define_ring(Spec(
    name="sma",
    summary="Simple moving average: the mean of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("window", 1, 10_000_000, default=20, type="int64", summary="rows"),),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 1}, {"window": 5}, {"window": 9}),
    definition=sma_by_definition,
    source="Murphy (1999), Technical Analysis of the Financial Markets, ch. 9",
    bound="16 bytes a row of the window",
    example="SELECT ts, sma(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), sma, sma_bytes, sma_loop)


# ---------------------------------------------------------------- ema

cdef inline double ema_step(double before, double x, int64_t row, int64_t n,
                            double alpha) noexcept nogil:
    """An average whose seed is the mean of its first n values; row counts from 1."""
    if row <= n:
        return before + (x - before) / row
    return before + alpha * (x - before)


cdef struct Ema:
    int64_t rows
    double value


cdef inline int ema(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Ema* s = <Ema*> state
    cdef int64_t n = <int64_t> p[1].f
    s.rows += 1
    s.value = ema_step(s.value, x[0].f, s.rows, n, p[2].f)
    out[0].f = s.value
    return EMIT if s.rows >= n else ABSENT


cdef void ema_loop(Rows* r) noexcept nogil:
    drive(ema, 1, 1, r)


def period_and_alpha(params):
    """The rows of the seed, and the weight of a new value."""
    given = params["period_or_alpha"]
    return [given, 2.0 / (given + 1.0)] if given >= 1.0 else [1.0, given]


def refuse_half_periods(params):
    """A period is a whole number of rows."""
    given = params["period_or_alpha"]
    if given > 1.0 and given != int(given):
        return f"'period_or_alpha' must be a whole period or an alpha below 1, was {given}"
    return None


def ema_seeded(x, n):
    """Exponential average, alpha = 2/(n+1), from the mean of the first n values on."""
    found = [None] * min(n - 1, len(x))
    for t in range(n - 1, len(x)):
        found.append(sum(x[:n]) / n if t == n - 1 else
                     found[-1] + 2 / (n + 1) * (x[t] - found[-1]))
    return found


def ema_by_definition(x, period_or_alpha):
    """Exponential average: of a period seeded by a mean, of an alpha by the first value."""
    if period_or_alpha >= 1:
        return ema_seeded(x, int(period_or_alpha))
    found = []
    for value in x:
        found.append(found[-1] + period_or_alpha * (value - found[-1]) if found else value)
    return found


define_window(Spec(
    name="ema",
    summary="Exponential moving average of a period, or with an alpha.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("period_or_alpha", 0.0, 10_000_000, open_low=True,
                  summary="a period in rows, or below 1 the weight of the new value"),),
    returns=Out(unit="u"),
    cases=({"period_or_alpha": 1}, {"period_or_alpha": 5}, {"period_or_alpha": 0.3}),
    check=refuse_half_periods,
    prepare=period_and_alpha,
    tolerance=1e-9,
    definition=ema_by_definition,
    source="Murphy (1999), Technical Analysis of the Financial Markets, ch. 9; TA-Lib EMA",
    notes="A period n has alpha = 2/(n+1) and begins at row n with the mean of n rows, as in "
          "TA-Lib; an alpha begins with the first value and is ewma. pandas' ewm(span=n) begins "
          "with the first value too: the two come together as the seed fades.",
    example="SELECT ts, ema(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), ema, sizeof(Ema), ema_loop)


# ---------------------------------------------------------------- macd

cdef enum Seed:
    SEED_TALIB = 0
    SEED_SMA = 1
    SEED_FIRST = 2


cdef struct Macd:
    int64_t rows
    double fast
    double slow
    double signal
    int64_t lines               # rows of the macd line so far


cdef inline int macd(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Macd* s = <Macd*> state
    cdef int64_t fast = min(p[0].i, p[1].i), slow = max(p[0].i, p[1].i), signal = p[2].i
    cdef int64_t seed = p[3].i, row, before = slow - fast
    cdef double by_fast = p[4].f, by_slow = p[5].f, by_signal = p[6].f, line
    s.rows += 1
    row = s.rows
    if seed == SEED_FIRST:
        s.fast = x[0].f if row == 1 else s.fast + by_fast * (x[0].f - s.fast)
        s.slow = x[0].f if row == 1 else s.slow + by_slow * (x[0].f - s.slow)
        line = s.fast - s.slow
        s.signal = line if row == 1 else s.signal + by_signal * (line - s.signal)
    else:
        s.slow = ema_step(s.slow, x[0].f, row, slow, by_slow)
        if seed == SEED_SMA:
            s.fast = ema_step(s.fast, x[0].f, row, fast, by_fast)
        elif row > before:      # TA-Lib seeds both averages at row `slow`
            s.fast = ema_step(s.fast, x[0].f, row - before, fast, by_fast)
        if row < slow:
            return ABSENT
        line = s.fast - s.slow
        s.lines += 1
        s.signal = ema_step(s.signal, line, s.lines, signal, by_signal)
        if s.lines < signal:
            out[0].f = line
            out[1].f = out[2].f = NAN
            return EMIT if seed == SEED_SMA else ABSENT
    out[0].f = line
    out[1].f = s.signal
    out[2].f = line - s.signal
    return EMIT


cdef void macd_loop(Rows* r) noexcept nogil:
    drive(macd, 1, 3, r)


def macd_by_definition(x, fast, slow, signal, seed):
    """Difference of two exponential averages, and the average of that difference."""
    fast, slow = min(fast, slow), max(fast, slow)
    if seed == "first":
        def average(v, n):
            found = []
            for value in v:
                found.append(found[-1] + 2 / (n + 1) * (value - found[-1]) if found else value)
            return found
        line = [a - b for a, b in zip(average(x, fast), average(x, slow))]
        smooth = average(line, signal)
        return [{"macd": a, "signal": b, "hist": a - b} for a, b in zip(line, smooth)]
    skipped = slow - fast if seed == "talib" else 0
    quick = [None] * skipped + ema_seeded(x[skipped:], fast)
    line = [a - b for a, b in zip(quick, ema_seeded(x, slow)) if a is not None and b is not None]
    smooth = ema_seeded(line, signal)
    found = [None] * min(slow - 1, len(x))
    for a, b in zip(line, smooth):
        if b is None:
            found.append({"macd": a, "signal": None, "hist": None} if seed == "sma" else None)
        else:
            found.append({"macd": a, "signal": b, "hist": a - b})
    return found


def smoothings(params):
    """Weights 2 / (n + 1) of the faster, the slower and the signal average."""
    fast, slow = sorted((params["fast"], params["slow"]))
    return [2.0 / (n + 1.0) for n in (fast, slow, params["signal"])]


def period_param(name, default):
    """A number of rows."""
    return Param(name, 1, 10_000_000, default=default, type="int64", summary="rows")


define_window(Spec(
    name="macd",
    summary="Moving average convergence and divergence.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(
        period_param("fast", 12), period_param("slow", 26), period_param("signal", 9),
        Param("seed", default="talib", type="text", choices=("talib", "sma", "first"),
              summary="how the averages begin"),
    ),
    returns=Out(fields=(Out(name="macd", unit="u"), Out(name="signal", unit="u"),
                        Out(name="hist", unit="u"))),
    cases=({"fast": 3, "slow": 6, "signal": 4}, {"fast": 3, "slow": 6, "signal": 4, "seed": "sma"},
           {"fast": 5, "slow": 2, "signal": 3, "seed": "first"}, {}),
    tolerance=1e-9,
    prepare=smoothings,
    definition=macd_by_definition,
    source="Appel (1979), The Moving Average Convergence-Divergence Trading Method",
    notes="'talib' begins both averages at row slow and gives NULL before row slow + signal - 1; "
          "'sma' seeds each on its own; 'first' begins with the first value. The three differ by "
          "more than a point for long. fast and slow may be swapped.",
    example="SELECT ts, macd(price, 12, 26, 9, 'talib') OVER "
            "(PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), macd, sizeof(Macd), macd_loop)


# ---------------------------------------------------------------- kalman_1d

cdef struct Kalman:
    int64_t seen
    double level
    double variance


cdef inline int kalman_1d(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Kalman* s = <Kalman*> state
    cdef double q = p[0].f, r = p[1].f, prior
    if isnan(x[0].f):           # time passes: what is known becomes less certain
        s.variance += q if s.seen else 0.0
        return ABSENT
    if not s.seen:
        s.seen = 1
        s.level = x[0].f
        s.variance = r
    else:
        prior = s.variance + q
        s.level += prior / (prior + r) * (x[0].f - s.level)
        s.variance = r * (prior / (prior + r))      # (1 - K) prior, without the difference
    out[0].f = s.level
    return EMIT


cdef void kalman_1d_loop(Rows* r) noexcept nogil:
    drive(kalman_1d, 1, 1, r)


def kalman_1d_by_definition(z, q, r):
    """Predict, then correct, by the textbook."""
    found, level, variance = [], None, 0.0
    for value in z:
        if level is not None:
            variance += q
        if value is None:
            found.append(None)
            continue
        if level is None:
            level, variance = value, r
        else:
            gain = variance / (variance + r)
            level, variance = level + gain * (value - level), (1 - gain) * variance
        found.append(level)
    return found


define_window(Spec(
    name="kalman_1d",
    summary="Kalman filter of a level that wanders (local-level model).",
    shape="window",
    args=(Arg("z", unit="u"),),
    params=(
        Param("q", 0.0, default=0.001, unit="u^2", summary="variance of a step of the level"),
        Param("r", 0.0, open_low=True, default=0.1, unit="u^2",
              summary="variance of an observation"),
    ),
    returns=Out(unit="u"),
    nulls="own",
    cases=({}, {"q": 0.5, "r": 0.5}, {"q": 0.0, "r": 2.0}),
    tolerance=1e-9,
    definition=kalman_1d_by_definition,
    source="Kalman (1960); Durbin and Koopman (2012), Time Series Analysis, 2nd ed., 2.2",
    notes="Begins with the first value and variance r, the exact diffuse prior. A missing row "
          "gives NULL and adds q to the variance.",
    example="SELECT ts, kalman_1d(price, 0.01, 1.0) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), kalman_1d, sizeof(Kalman), kalman_1d_loop)
