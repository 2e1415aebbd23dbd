"""Momentum: oscillators and trend filters, by the conventions of TA-Lib."""

from libc.math cimport NAN
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_window, drive
from fin_sql.spec import Arg, Out, Param, Spec


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


cdef inline double ema_step(double before, double x, int64_t row, int64_t n,
                            double alpha) noexcept nogil:
    """An average whose seed is the mean of its first n values; row counts from 1."""
    if row <= n:
        return before + (x - before) / row
    return before + alpha * (x - before)


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


def ema_seeded(x, n):
    """Exponential average, alpha = 2/(n+1), from the mean of the first n values on."""
    found = [None] * min(n - 1, len(x))
    for t in range(n - 1, len(x)):
        found.append(sum(x[:n]) / n if t == n - 1 else
                     found[-1] + 2 / (n + 1) * (x[t] - found[-1]))
    return found


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
