"""Liquidity: price impact and spreads from prices alone."""

from math import exp as textbook_exp, log as textbook_log, sqrt as textbook_sqrt

from libc.math cimport NAN, fabs, fmax, fmin, isnan, log, sqrt, tanh
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, NO_MEMORY, Rows, cell, define_aggregate, define_ring, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._ordered cimport Ordered, ordered_add, ordered_copy, ordered_merge
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value
from fin_sql.udfs._textbook import comoment, moment, trailing
from fin_sql.udfs._window cimport (
    Joint, JointWindow, PlainWindow, added, joint_add, joint_bytes, joint_push, joint_start,
    plain_bytes, plain_push,
)


def window_param(least):
    """The length of a window in rows."""
    return Param("window", least, 10_000_000, default=20, type="int64", summary="rows")


def inverses(params):
    """1/k for k = 0 .. window; the first is not used."""
    return [0.0] + [1.0 / k for k in range(1, params["window"] + 1)]


CHANGES = (
    "(SELECT *, diff(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS change FROM trades)"
)
OVER = "OVER (PARTITION BY symbol ORDER BY ts, seq)"


# ---------------------------------------------------------------- kyle_lambda

cdef int64_t kyle_bytes(const cell* p) noexcept nogil:
    return joint_bytes(p[0].i)


cdef inline int kyle_lambda(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Joint found
    if not joint_push(<JointWindow*> state, p[0].i, p + 1, x[1].f, x[0].f, &found):
        return ABSENT
    if not found.cxx > 0.0:
        return ABSENT
    out[0].f = found.cxy / found.cxx
    return EMIT


cdef void kyle_lambda_loop(Rows* r) noexcept nogil:
    drive(kyle_lambda, 2, 1, r)


def slope(rows):
    """Least squares of the first on the second, with an intercept."""
    y, x = [a for a, _ in rows], [b for _, b in rows]
    return comoment(x, y) / moment(x, 2) if len(set(x)) > 1 else None


def kyle_lambda_by_definition(price_change, signed_volume, window):
    """Slope of the price changes on the signed volumes of the last rows."""
    return trailing(list(zip(price_change, signed_volume)), window, slope)


define_ring(Spec(
    name="kyle_lambda",
    summary="Price impact: slope of price changes on signed volume over the last rows.",
    shape="window",
    args=(Arg("price_change", unit="p"), Arg("signed_volume", unit="v")),
    params=(window_param(2),),
    returns=Out(unit="p*v^-1"),
    nulls="row",
    cases=({"window": 2}, {"window": 6}, {"window": 9}),
    prepare=inverses,
    tolerance=1e-7,
    definition=kyle_lambda_by_definition,
    source="Kyle (1985), Econometrica 53(6); Hasbrouck (2009), Journal of Finance 64(3)",
    notes="With an intercept; over a group it is regr_slope(price_change, signed_volume). Volumes "
          "that are all equal give NULL. Returns against traded value give a relative lambda.",
    bound="56 bytes a row of the window",
    example=f"SELECT ts, kyle_lambda(change, signed_volume(side, size), 50) {OVER} "
            f"FROM {CHANGES}",
), kyle_lambda, kyle_bytes, kyle_lambda_loop)


# ---------------------------------------------------------------- amihud_illiquidity

cdef int64_t amihud_bytes(const cell* p) noexcept nogil:
    return plain_bytes(p[0].i)


cdef inline int amihud(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double ratio = fabs(x[0].f) / x[1].f if x[1].f > 0.0 else NAN
    if not plain_push(<PlainWindow*> state, added, p[0].i, ratio, &out[0].f):
        return ABSENT
    out[0].f /= <double> p[0].i
    return EMIT


cdef void amihud_loop(Rows* r) noexcept nogil:
    drive(amihud, 2, 1, r)


def amihud_illiquidity_by_definition(r, dollar_volume, window):
    """Mean of |r| over the traded value."""
    ratios = [
        abs(a) / b if a is not None and b is not None and b > 0 else None
        for a, b in zip(r, dollar_volume)
    ]
    return trailing(ratios, window, lambda v: sum(v) / window)


AMIHUD = (Arg("r", unit="r"), Arg("dollar_volume", unit="d", domain="positive"))

define_ring(Spec(
    name="amihud_illiquidity",
    summary="Mean of the absolute return over the traded value of the last rows.",
    shape="window",
    args=AMIHUD,
    params=(window_param(1),),
    returns=Out(unit="r*d^-1"),
    nulls="row",
    cases=({"window": 1}, {"window": 5}, {"window": 9}),
    definition=amihud_illiquidity_by_definition,
    source="Amihud (2002), Journal of Financial Markets 5(1), eq. 1",
    notes="A row without traded value is missing. Papers multiply by 1e6.",
    bound="16 bytes a row of the window",
    example=f"SELECT ts, amihud_illiquidity(change / price, price * size, 50) {OVER} "
            f"FROM {CHANGES}",
), amihud, amihud_bytes, amihud_loop)


# ---------------------------------------------------------------- amihud_illiquidity_agg

cdef struct Amihud:
    Sum ratios
    int64_t n


cdef inline int amihud_move(Amihud* s, double r, double value, int sign) noexcept nogil:
    if value > 0.0:
        sum_add(&s.ratios, sign * (fabs(r) / value))
        s.n += sign
        if s.n == 0:
            s.ratios.total = s.ratios.lost = 0.0
    return EMIT


cdef int amihud_agg(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return amihud_move(<Amihud*> state, x[0].f, x[1].f, 1)


cdef int amihud_back(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return amihud_move(<Amihud*> state, x[0].f, x[1].f, -1)


cdef int amihud_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Amihud* s = <const Amihud*> state
    if s.n == 0:
        return ABSENT
    out[0].f = sum_value(&s.ratios) / <double> s.n
    return EMIT


cdef int amihud_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Amihud* s = <Amihud*> state
    cdef const Amihud* o = <const Amihud*> other
    sum_add(&s.ratios, o.ratios.total)
    sum_add(&s.ratios, o.ratios.lost)
    s.n += o.n
    return EMIT


def amihud_illiquidity_agg_by_definition(r, dollar_volume):
    """Mean of |r| over the traded value, of rows that have one."""
    ratios = [abs(a) / b for a, b in zip(r, dollar_volume) if b > 0]
    return sum(ratios) / len(ratios) if ratios else None


define_aggregate(Spec(
    name="amihud_illiquidity_agg",
    form_of="amihud_illiquidity",
    summary="Mean of the absolute return over the traded value of a group.",
    shape="aggregate",
    args=AMIHUD,
    returns=Out(unit="r*d^-1"),
    cases=({}, {}),
    definition=amihud_illiquidity_agg_by_definition,
    source="Amihud (2002), Journal of Financial Markets 5(1), eq. 1",
    bound="24 bytes a group",
    example="SELECT symbol, amihud_illiquidity_agg(change / price, price * size) "
            f"FROM {CHANGES} GROUP BY symbol ORDER BY symbol",
), amihud_agg, amihud_value, amihud_merge, sizeof(Amihud), amihud_back)


# ---------------------------------------------------------------- roll_spread

cdef struct Roll:               # followed by a JointWindow
    int64_t seen
    double before


cdef int64_t roll_bytes(const cell* p) noexcept nogil:
    return sizeof(Roll) + joint_bytes(p[0].i)


cdef inline double roll_of(double covariance) noexcept nogil:
    return 2.0 * sqrt(-covariance) if covariance < 0.0 else 0.0


cdef inline int roll_spread(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Roll* s = <Roll*> state
    cdef double before = s.before
    cdef bint seen = s.seen
    cdef Joint found
    s.before = x[0].f
    s.seen = 1
    if not seen:
        return ABSENT
    if not joint_push(<JointWindow*> (s + 1), p[0].i, p + 1, x[0].f, before, &found):
        return ABSENT
    if isnan(found.cxy):
        return ABSENT
    out[0].f = roll_of(found.cxy / <double> (p[0].i - 1))
    return EMIT


cdef void roll_spread_loop(Rows* r) noexcept nogil:
    drive(roll_spread, 1, 1, r)


def roll_by_definition(pairs):
    """2 sqrt(-covariance) of neighbouring changes; 0 where that is not negative."""
    if len(pairs) < 2:
        return None
    covariance = comoment([a for a, _ in pairs], [b for _, b in pairs]) / (len(pairs) - 1)
    return 2 * textbook_sqrt(-covariance) if covariance < 0 else 0.0


def roll_spread_by_definition(change, window):
    """Roll's spread over the last pairs of changes."""
    pairs = [None, *zip(change[1:], change)][:len(change)]
    return trailing(pairs, window, roll_by_definition)


define_ring(Spec(
    name="roll_spread",
    summary="Roll's spread: what the bounce between bid and ask tells, over the last rows.",
    shape="window",
    args=(Arg("change", unit="p"),),
    params=(window_param(2),),
    returns=Out(unit="p"),
    nulls="row",
    cases=({"window": 2}, {"window": 6}, {}),
    prepare=inverses,
    tolerance=1e-7,
    definition=roll_spread_by_definition,
    source="Roll (1984), Journal of Finance 39(4), eq. 1",
    notes="Over `window` pairs of neighbouring changes, each leg about its own mean, ddof 1: the "
          "first value comes at row window + 2 of the prices. A covariance that is not negative "
          "gives 0. Changes of price give a spread in price, log returns a relative one.",
    bound="56 bytes a row of the window",
    example=f"SELECT ts, roll_spread(change, 50) {OVER} FROM {CHANGES}",
), roll_spread, roll_bytes, roll_spread_loop)


# ---------------------------------------------------------------- roll_spread_agg

cdef struct Bounces:            # followed by its rows: time, change
    Ordered rows
    Joint pairs
    double before


cdef inline void bounce(Bounces* s, int64_t n, double change) noexcept nogil:
    """Add the pair that the n-th row makes with the one before it."""
    if n == 2:
        joint_start(&s.pairs, change, s.before)
    elif n > 2:
        joint_add(&s.pairs, change, s.before, 1.0 / <double> (n - 1))
    s.before = change


cdef int roll_spread_agg(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Bounces* s = <Bounces*> state
    if ordered_add(&s.rows, sizeof(Bounces), 1, x[1].i, x) == GROW:
        return GROW
    if not s.rows.stale:
        bounce(s, s.rows.n, x[0].f)
    return EMIT


cdef int roll_spread_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Bounces* s = <const Bounces*> state
    cdef cell* rows
    cdef Bounces anew
    cdef double covariance = s.pairs.cxy
    cdef int64_t i
    if s.rows.n < 3:
        return ABSENT
    if s.rows.stale:
        rows = ordered_copy(&s.rows, sizeof(Bounces), 1)
        if rows == NULL:
            return NO_MEMORY
        memset(&anew, 0, sizeof(Bounces))
        for i in range(s.rows.n):
            bounce(&anew, i + 1, rows[2 * i + 1].f)
        free(rows)
        covariance = anew.pairs.cxy
    out[0].f = roll_of(covariance / <double> (s.rows.n - 2))
    return EMIT


cdef int roll_spread_merge(void* state, const void* other, const cell* p) noexcept nogil:
    return ordered_merge(<Ordered*> state, <const Ordered*> other, sizeof(Bounces), 1)


def roll_spread_agg_by_definition(change, ts):
    """Roll's spread over all pairs of changes that follow each other in time."""
    order = sorted(range(len(ts)), key=lambda i: ts[i])
    changes = [change[i] for i in order]
    return roll_by_definition(list(zip(changes[1:], changes)))


define_aggregate(Spec(
    name="roll_spread_agg",
    form_of="roll_spread",
    summary="Roll's spread of a group, in order of time.",
    shape="aggregate",
    args=(Arg("change", unit="p"), Arg("ts", type="timestamp")),
    returns=Out(unit="p"),
    cases=({}, {}, {}, {}),     # data of chance often do not bounce: then it is 0
    tolerance=1e-7,
    definition=roll_spread_agg_by_definition,
    source="Roll (1984), Journal of Finance 39(4), eq. 1",
    notes="NULL for less than three changes.",
    bound="16 bytes a row of the group: its rows are kept, as partial groups meet in any order",
    example=f"SELECT symbol, roll_spread_agg(change, ts) FROM {CHANGES} "
            "GROUP BY symbol ORDER BY symbol",
), roll_spread_agg, roll_spread_value, roll_spread_merge, sizeof(Bounces) + 4 * 2 * sizeof(cell),
    NULL, True)


# ---------------------------------------------------------------- corwin_schultz_spread

cdef struct CorwinSchultz:
    int64_t there               # whether the row before has a range
    double high                 # logs
    double low
    double close                # NaN: none


cdef inline int corwin_schultz(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef CorwinSchultz* s = <CorwinSchultz*> state
    cdef CorwinSchultz before = s[0]
    cdef double k = 3.0 - 2.0 * sqrt(2.0), beta, gamma, gap = 0.0, alpha
    s.there = x[1].f > 0.0 and x[0].f >= x[1].f
    if not s.there:
        return ABSENT
    s.high = log(x[0].f)
    s.low = log(x[1].f)
    s.close = log(x[2].f) if x[2].f > 0.0 else NAN
    if not before.there:
        return ABSENT
    if not isnan(before.close):
        gap = fmax(0.0, before.close - s.high) + fmin(0.0, before.close - s.low)
    beta = (before.high - before.low) ** 2 + (s.high - s.low) ** 2
    gamma = (fmax(before.high, s.high + gap) - fmin(before.low, s.low + gap)) ** 2
    alpha = (sqrt(2.0 * beta) - sqrt(beta)) / k - sqrt(gamma / k)
    out[0].f = fmax(0.0, 2.0 * tanh(alpha / 2.0))
    return EMIT


cdef void corwin_schultz_loop(Rows* r) noexcept nogil:
    drive(corwin_schultz, 3, 1, r)


def corwin_schultz_spread_by_definition(high, low, close):
    """2 (e^alpha - 1) / (1 + e^alpha) of the ranges of two rows and of both together."""
    found = [None][:len(high)]
    for t in range(1, len(high)):
        hs, ls = high[t - 1:t + 1], low[t - 1:t + 1]
        if None in (*hs, *ls) or any(not h >= b > 0 for h, b in zip(hs, ls)):
            found.append(None)
            continue
        beta = sum(textbook_log(h / b) ** 2 for h, b in zip(hs, ls))
        shift = 1.0
        if close[t - 1] is not None and close[t - 1] > 0:
            shift = max(1.0, close[t - 1] / hs[1]) * min(1.0, close[t - 1] / ls[1])
        gamma = textbook_log(max(hs[0], hs[1] * shift) / min(ls[0], ls[1] * shift)) ** 2
        k = 3 - 2 * 2 ** 0.5
        alpha = ((2 * beta) ** 0.5 - beta ** 0.5) / k - (gamma / k) ** 0.5
        found.append(max(0.0, 2 * (textbook_exp(alpha) - 1) / (1 + textbook_exp(alpha))))
    return found


define_window(Spec(
    name="corwin_schultz_spread",
    summary="Relative spread from the highs and lows of two rows.",
    shape="window",
    args=(Arg("high", unit="p", domain="high"), Arg("low", unit="p", domain="low"),
          Arg("close", unit="p", domain="positive", default=None)),
    returns=Out(),
    nulls="own",
    tolerance=1e-7,
    definition=corwin_schultz_spread_by_definition,
    source="Corwin and Schultz (2012), Journal of Finance 67(2), eq. 14 and 18",
    notes="With the close, a gap over night is taken out of the range of both rows together. A "
          "negative estimate gives 0; a high below its low, one that is not positive, or missing, "
          "NULL in its row and the next; without a close there is no gap. A month's value is the "
          "mean over its pairs of days.",
    example="SELECT symbol, corwin_schultz_spread(high, low, close) OVER (PARTITION BY symbol "
            "ORDER BY bar) FROM (SELECT symbol, seq / 50 AS bar, max(price) AS high, "
            "min(price) AS low, last_value(price ORDER BY seq) AS close "
            "FROM trades GROUP BY symbol, seq / 50) ORDER BY symbol, bar",
), corwin_schultz, sizeof(CorwinSchultz), corwin_schultz_loop)
