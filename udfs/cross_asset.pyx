"""Two assets: covariance of prices that do not come together, leads, spreads and hedges."""

from libc.math cimport fabs, isnan, sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, MISSING, NO_MEMORY, Rows, cell, define_aggregate, define_ring,
    define_scalar, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._ordered cimport Ordered, ordered_add, ordered_copy, ordered_merge
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value
from fin_sql.udfs._textbook import correlation
from fin_sql.udfs._window cimport Joint, JointWindow, correlated, joint_bytes, joint_push


# ---------------------------------------------------------------- hayashi_yoshida_cov, _corr

# Prices of one time are one event, the last of each leg. A change of `a` meets that part of b's
# path that its interval touches: from b's last price at or before its begin to b's first at or
# after its end. It waits in `open` for that end, and `debt` keeps how far its begin lay below the
# last price of b.
cdef struct Event:
    int64_t there
    int64_t time
    double a                    # NaN: none
    double b


cdef struct Pair:
    int64_t n_a                 # prices, different times
    int64_t n_b
    double a                    # last prices
    double b
    double first_b
    double base                 # b's last price when a's last one came
    int64_t based               # whether there was one
    double open
    double debt
    Sum covariance
    Sum var_a
    Sum var_b


cdef struct Yoshida:            # followed by its rows: time, a, b
    Ordered rows
    Event event                 # the one that may still get prices
    Pair pair


cdef inline void take_event(Pair* s, const Event* e) noexcept nogil:
    cdef bint has_a = not isnan(e.a), has_b = not isnan(e.b)
    cdef double change
    if has_b and s.n_b == 0:
        s.first_b = s.b = e.b
    if has_a and s.n_a and (s.n_b or has_b):
        change = e.a - s.a
        s.open += change
        s.debt += change * ((s.base if s.based else s.first_b) - s.b)
    if has_a:
        if s.n_a:
            sum_add(&s.var_a, (e.a - s.a) * (e.a - s.a))
        s.a = e.a
        s.n_a += 1
    if has_b:
        change = e.b - s.b
        sum_add(&s.covariance, change * s.open - s.debt)
        sum_add(&s.var_b, change * change)
        s.open = s.debt = 0.0
        s.b = e.b
        s.n_b += 1
    if has_a:
        s.base = s.b
        s.based = s.n_b > 0


cdef inline void take_row(Event* e, Pair* s, int64_t time, double a, double b) noexcept nogil:
    if not e.there or e.time != time:
        if e.there:
            take_event(s, e)
        e.there = 1
        e.time = time
        e.a = a
        e.b = b
        return
    if not isnan(a):
        e.a = a
    if not isnan(b):
        e.b = b


cdef int yoshida(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Yoshida* s = <Yoshida*> state
    if x[0].i == MISSING or (isnan(x[1].f) and isnan(x[2].f)):
        return EMIT
    if ordered_add(&s.rows, sizeof(Yoshida), 2, x[0].i, x + 1) == GROW:
        return GROW
    if not s.rows.stale:
        take_row(&s.event, &s.pair, x[0].i, x[1].f, x[2].f)
    return EMIT


cdef int yoshida_pair(const Yoshida* s, Pair* pair) noexcept nogil:
    """The sums with the last event in them."""
    cdef cell* rows
    cdef Event event = s.event
    cdef int64_t i
    pair[0] = s.pair
    if s.rows.stale:
        rows = ordered_copy(&s.rows, sizeof(Yoshida), 2)
        if rows == NULL:
            return NO_MEMORY
        memset(pair, 0, sizeof(Pair))
        memset(&event, 0, sizeof(Event))
        for i in range(s.rows.n):
            take_row(&event, pair, rows[3 * i].i, rows[3 * i + 1].f, rows[3 * i + 2].f)
        free(rows)
    if event.there:
        take_event(pair, &event)
    sum_add(&pair.covariance, -pair.debt)       # what waits ends at the last price of b
    return EMIT


cdef int yoshida_cov(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef Pair pair
    if yoshida_pair(<const Yoshida*> state, &pair) == NO_MEMORY:
        return NO_MEMORY
    if pair.n_a < 2 or pair.n_b < 2:
        return ABSENT
    out[0].f = sum_value(&pair.covariance)
    return EMIT


cdef int yoshida_corr(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef Pair pair
    cdef double var_a, var_b
    if yoshida_pair(<const Yoshida*> state, &pair) == NO_MEMORY:
        return NO_MEMORY
    var_a, var_b = sum_value(&pair.var_a), sum_value(&pair.var_b)
    if pair.n_a < 2 or pair.n_b < 2 or not (var_a > 0.0 and var_b > 0.0):
        return ABSENT
    out[0].f = sum_value(&pair.covariance) / sqrt(var_a) / sqrt(var_b)
    return EMIT


cdef int yoshida_merge(void* state, const void* other, const cell* p) noexcept nogil:
    return ordered_merge(<Ordered*> state, <const Ordered*> other, sizeof(Yoshida), 2)


def changes_by_definition(ts, prices):
    """(begin, end, change) between the last prices of each time."""
    last = {}
    for time, price in sorted(
        ((t, p) for t, p in zip(ts, prices) if t is not None and p is not None),
        key=lambda row: row[0],
    ):
        last[time] = price
    times = list(last)
    return [(t0, t1, last[t1] - last[t0]) for t0, t1 in zip(times, times[1:])]


def hayashi_yoshida_cov_by_definition(ts, log_px_a, log_px_b):
    """Sum of da * db over all pairs of intervals, open at their begin, that overlap."""
    from math import fsum

    a, b = changes_by_definition(ts, log_px_a), changes_by_definition(ts, log_px_b)
    if not a or not b:
        return None
    return fsum(da * db for begin, end, da in a for since, until, db in b
                if begin < until and since < end)


def hayashi_yoshida_corr_by_definition(ts, log_px_a, log_px_b):
    """The covariance over the root of the product of both realized variances."""
    covariance = hayashi_yoshida_cov_by_definition(ts, log_px_a, log_px_b)
    var_a, var_b = (sum(change**2 for _, _, change in changes_by_definition(ts, prices))
                    for prices in (log_px_a, log_px_b))
    if covariance is None or var_a == 0 or var_b == 0:
        return None
    return covariance / (var_a * var_b) ** 0.5


LEGS = (Arg("ts", type="timestamp"), Arg("log_px_a", unit="u"), Arg("log_px_b", unit="w"))
YOSHIDA_NOTES = (
    "Rows carry one leg or both, the other NULL, as from a UNION ALL of both; they may come in any "
    "order. Of a leg's prices at one time the last one counts. {} NULL while a leg has less than "
    "two prices. For a running value write OVER (.. ROWS UNBOUNDED PRECEDING)."
)
YOSHIDA_BOUND = "24 bytes a row of the group: all are kept, as partial groups meet in any order"
TWO_LEGS = (
    "(SELECT ts, CASE WHEN symbol = (SELECT min(symbol) FROM trades) THEN ln(price) END AS a, "
    "CASE WHEN symbol = (SELECT max(symbol) FROM trades) THEN ln(price) END AS b FROM trades)"
)

define_aggregate(Spec(
    name="hayashi_yoshida_cov",
    summary="Covariance of two assets whose prices come at times of their own.",
    shape="aggregate",
    args=LEGS,
    returns=Out(unit="u*w"),
    nulls="own",
    cases=({}, {}, {}, {}),
    definition=hayashi_yoshida_cov_by_definition,
    source="Hayashi and Yoshida (2005), Bernoulli 11(2)",
    notes=YOSHIDA_NOTES.format("Of prices at common times it is the realized covariance."),
    bound=YOSHIDA_BOUND,
    example=f"SELECT hayashi_yoshida_cov(ts, a, b) FROM {TWO_LEGS}",
), yoshida, yoshida_cov, yoshida_merge, sizeof(Yoshida) + 4 * 3 * sizeof(cell), NULL, True)

define_aggregate(Spec(
    name="hayashi_yoshida_corr",
    summary="Correlation of two assets whose prices come at times of their own.",
    shape="aggregate",
    args=LEGS,
    returns=Out(),
    nulls="own",
    cases=({}, {}, {}, {}),
    definition=hayashi_yoshida_corr_by_definition,
    source="Hayashi and Yoshida (2005), Bernoulli 11(2)",
    notes=YOSHIDA_NOTES.format("It may lie outside of [-1, 1]. A leg that never moves gives NULL."),
    bound=YOSHIDA_BOUND,
    example=f"SELECT hayashi_yoshida_corr(ts, a, b) FROM {TWO_LEGS}",
), yoshida, yoshida_corr, yoshida_merge, sizeof(Yoshida) + 4 * 3 * sizeof(cell), NULL, True)


# ---------------------------------------------------------------- xcorr_leadlag

cdef struct LeadLag:            # followed by double xy[2 (max_lag + 1)], 2 max_lag + 1 JointWindows
    int64_t at
    int64_t rows                # at most max_lag + window


cdef int64_t leadlag_bytes(const cell* p) noexcept nogil:
    cdef int64_t most = p[0].i
    return sizeof(LeadLag) + 2 * (most + 1) * sizeof(double) + (2 * most + 1) * joint_bytes(p[1].i)


cdef int leadlag(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef LeadLag* s = <LeadLag*> state
    cdef int64_t most = p[0].i, w = p[1].i, j, lag, then
    cdef double* xs = <double*> (s + 1)
    cdef double* ys = xs + most + 1
    cdef char* windows = <char*> (ys + most + 1)
    cdef bint known = True, found = False
    cdef double r
    cdef Joint joint
    xs[s.at] = x[0].f
    ys[s.at] = x[1].f
    s.rows += s.rows < most + w
    for j in range(2 * most + 1):           # lags 0, 1, -1, 2, -2, ..
        lag = (j + 1) >> 1
        if s.rows <= lag:
            break
        then = s.at - lag if s.at >= lag else s.at - lag + most + 1
        if j & 1:
            full = joint_push(<JointWindow*> (windows + j * joint_bytes(w)), w, p + 2,
                              xs[then], x[1].f, &joint)
        else:
            full = joint_push(<JointWindow*> (windows + j * joint_bytes(w)), w, p + 2,
                              x[0].f, ys[then], &joint)
        if not full or isnan(joint.cxy):
            known = False
        elif joint.cxx > 0.0 and joint.cyy > 0.0:
            r = correlated(joint.cxy, joint.cxx, joint.cyy)
            if not found or fabs(r) > fabs(out[1].f) + 1e-10:
                found = True
                out[0].i = lag if j & 1 else -lag
                out[1].f = r
    s.at = s.at + 1 if s.at < most else 0
    return EMIT if known and found and s.rows == most + w else ABSENT


def xcorr_leadlag_by_definition(x, y, max_lag, window):
    """The lag of the largest |corr(x[i - lag], y[i])| over the last pairs."""
    found = []
    for t in range(len(x)):
        best = None
        for lag in sorted(range(-max_lag, max_lag + 1), key=lambda k: (abs(k), -k)):
            rows = range(t - window + 1, t + 1)
            pairs = [(x[i - max(lag, 0)], y[i + min(lag, 0)]) for i in rows
                     if t >= window + max_lag - 1]
            if not pairs or any(a is None or b is None for a, b in pairs):
                best = None
                break
            r = correlation([a for a, _ in pairs], [b for _, b in pairs])
            if r is not None and (best is None or abs(r) > abs(best["corr"]) + 1e-10):
                best = {"lag": lag, "corr": r}
        found.append(best)
    return found


define_ring(Spec(
    name="xcorr_leadlag",
    summary="Which of two series leads, by how many rows, and how closely the other follows.",
    shape="window",
    args=(Arg("x", unit="u"), Arg("y", unit="w")),
    params=(Param("max_lag", 0, 1_000, default=10, type="int64", summary="rows"),
            Param("window", 2, 1_000_000, default=50, type="int64", summary="pairs of rows")),
    returns=Out(fields=(Out("int64", name="lag"), Out(name="corr"))),
    nulls="row",
    cases=({"max_lag": 2, "window": 6}, {"max_lag": 0, "window": 5}, {"max_lag": 3, "window": 8}),
    prepare=lambda params: [0.0] + [1.0 / k for k in range(1, params["window"] + 1)],
    tolerance=1e-8,
    definition=xcorr_leadlag_by_definition,
    source="Campbell, Lo and MacKinlay (1997), The Econometrics of Financial Markets, ch. 2",
    notes="A positive lag: x leads y. First value at row window + max_lag. Of correlations of one "
          "size (within 1e-10) the smaller lag wins, of k and -k the positive one. A lag at which "
          "one side is constant is left out. Give returns: prices correlate at any lag.",
    bound="56 bytes a row of the window for each of 2 max_lag + 1 lags",
    example="SELECT ts, xcorr_leadlag(price, size, 3, 30) OVER (PARTITION BY symbol "
            "ORDER BY ts, seq) FROM trades",
), leadlag, leadlag_bytes)


# ---------------------------------------------------------------- pairs_spread

cdef int pairs_spread(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].f = x[0].f - x[2].f * x[1].f
    return EMIT


def pairs_spread_by_definition(px_a, px_b, hedge_ratio):
    """px_a - hedge_ratio * px_b."""
    return px_a - hedge_ratio * px_b


define_scalar(Spec(
    name="pairs_spread",
    summary="One asset less its hedge in another.",
    shape="scalar",
    args=(Arg("px_a", unit="p", domain="positive"), Arg("px_b", unit="p", domain="positive"),
          Arg("hedge_ratio", default=1.0)),
    returns=Out(unit="p"),
    nulls="propagate",
    definition=pairs_spread_by_definition,
    source="Vidyamurthy (2004), Pairs Trading, ch. 5",
    notes="Of logs: pairs_spread(ln(a), ln(b), beta). The ratio may be a column, such as that of "
          "kalman_hedge_ratio.",
    example="SELECT ts, pairs_spread(bid, ask, 0.5) FROM quotes",
), pairs_spread)


# ---------------------------------------------------------------- kalman_hedge_ratio

cdef struct Hedge:
    int64_t seen
    double beta
    double variance


cdef inline int kalman_hedge_ratio(void* state, const cell* p, const cell* x,
                                   cell* out) noexcept nogil:
    cdef Hedge* s = <Hedge*> state
    cdef double q = p[0].f, r = p[1].f, b = x[1].f, prior, total
    prior = s.variance + q if s.seen else 1.0
    s.seen = 1
    if isnan(x[0].f) or isnan(b):
        s.variance = prior
        return ABSENT
    total = b * b * prior + r
    out[1].f = x[0].f - s.beta * b
    out[2].f = sqrt(total)
    s.beta += prior * b / total * out[1].f
    s.variance = prior * r / total          # (1 - K b) prior, without the difference
    out[0].f = s.beta
    return EMIT


cdef void kalman_hedge_ratio_loop(Rows* r) noexcept nogil:
    drive(kalman_hedge_ratio, 2, 3, r)


def kalman_hedge_ratio_by_definition(px_a, px_b, q, r):
    """Predict, then correct: px_a = beta px_b + noise, beta wanders."""
    from fractions import Fraction

    found, beta, variance = [], Fraction(0), None
    for a, b in zip(px_a, px_b):
        variance = Fraction(1) if variance is None else variance + Fraction(q)
        if a is None or b is None:
            found.append(None)
            continue
        a, b = Fraction(a), Fraction(b)
        total = b * b * variance + Fraction(r)
        gain, error = variance * b / total, a - beta * b
        beta += gain * error
        variance *= 1 - gain * b
        beta, variance = (v.limit_denominator(10**40) for v in (beta, variance))
        found.append({"hedge_ratio": float(beta), "spread": float(error),
                      "spread_std": float(total) ** 0.5})
    return found


HEDGE = (Out(name="hedge_ratio"), Out(name="spread", unit="p"), Out(name="spread_std", unit="p"))
PRICES = (Arg("px_a", unit="p", domain="positive"), Arg("px_b", unit="p", domain="positive"))
NOISE = Param("r", 0.0, open_low=True, default=0.001, unit="p^2",
              summary="variance of px_a's noise")

define_window(Spec(
    name="kalman_hedge_ratio",
    summary="How much of b hedges a, by a regression whose slope wanders; the spread, and its std.",
    shape="window",
    args=PRICES,
    params=(Param("q", 0.0, default=1e-5, summary="variance of a step of the ratio"), NOISE),
    returns=Out(fields=HEDGE),
    nulls="own",
    cases=({}, {"q": 0.01, "r": 2.0}, {"q": 0.0, "r": 0.5}),
    tolerance=1e-8,
    definition=kalman_hedge_ratio_by_definition,
    source="Kalman (1960); Chan (2013), Algorithmic Trading, ch. 3",
    notes="spread is the innovation, px_a less what was expected of px_b before the row, and "
          "spread_std its standard deviation: trade on spread / spread_std. The ratio is 0 with "
          "variance 1 before the first row. A missing row gives NULL and adds q to the variance.",
    example="SELECT ts, kalman_hedge_ratio(ask, bid) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM quotes",
), kalman_hedge_ratio, sizeof(Hedge), kalman_hedge_ratio_loop)


# ---------------------------------------------------------------- kalman_hedge_ratio2

cdef struct HedgeLine:          # a = beta b + alpha
    int64_t seen
    double beta
    double alpha
    double bb                   # covariance matrix of the two
    double ba
    double aa


cdef int kalman_hedge_line(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef HedgeLine* s = <HedgeLine*> state
    cdef double q = p[2].f, r = p[1].f, b = x[1].f
    cdef double bb, ba, aa, total, kb, ka, ib, ia, error
    bb = s.bb + q if s.seen else 1.0
    aa = s.aa + q if s.seen else 1.0
    ba = s.ba
    s.seen = 1
    if isnan(x[0].f) or isnan(b):
        s.bb = bb
        s.aa = aa
        return ABSENT
    total = b * b * bb + 2.0 * b * ba + aa + r
    kb = (b * bb + ba) / total
    ka = (b * ba + aa) / total
    error = x[0].f - s.beta * b - s.alpha
    s.beta += kb * error
    s.alpha += ka * error
    # Joseph: (I - K H) P (I - K H)' + K r K' stays symmetric and positive; H = (b, 1)
    ib = 1.0 - kb * b
    ia = 1.0 - ka
    s.bb = ib * ib * bb - 2.0 * ib * kb * ba + kb * kb * (aa + r)
    s.ba = -ib * ka * b * bb + (ib * ia + kb * ka * b) * ba - kb * ia * aa + kb * ka * r
    s.aa = ka * ka * b * b * bb - 2.0 * ka * b * ia * ba + ia * ia * aa + ka * ka * r
    out[0].f = s.beta
    out[1].f = error
    out[2].f = sqrt(total)
    out[3].f = s.alpha
    return EMIT


def kalman_hedge_ratio2_by_definition(px_a, px_b, delta, r):
    """Predict, then correct: px_a = beta px_b + alpha + noise, both wander by delta/(1-delta)."""
    from fractions import Fraction as F

    found, mean, cov, q = [], [F(0), F(0)], None, F(delta / (1 - delta))
    for a, b in zip(px_a, px_b):
        cov = [[F(1), F(0)], [F(0), F(1)]] if cov is None else (
            [[cov[0][0] + q, cov[0][1]], [cov[1][0], cov[1][1] + q]])
        if a is None or b is None:
            found.append(None)
            continue
        h = (F(b), F(1))
        ph = [row[0] * h[0] + row[1] * h[1] for row in cov]
        total = h[0] * ph[0] + h[1] * ph[1] + F(r)
        error = F(a) - h[0] * mean[0] - h[1] * mean[1]
        mean = [(m + v / total * error).limit_denominator(10**40) for m, v in zip(mean, ph)]
        cov = [[(cov[i][j] - ph[i] * ph[j] / total).limit_denominator(10**40) for j in (0, 1)]
               for i in (0, 1)]
        found.append({"hedge_ratio": float(mean[0]), "spread": float(error),
                      "spread_std": float(total) ** 0.5, "intercept": float(mean[1])})
    return found


define_window(Spec(
    name="kalman_hedge_ratio2",
    form_of="kalman_hedge_ratio",
    summary="The same with an intercept that wanders too.",
    shape="window",
    args=tuple(Arg(arg.name, domain="positive") for arg in PRICES),
    params=(Param("delta", 0.0, 1.0, open_high=True, default=1e-4,
                  summary="delta / (1 - delta) is the variance of a step of ratio and intercept"),
            Param("r", 0.0, open_low=True, default=0.001, summary="variance of px_a's noise")),
    returns=Out(fields=tuple(Out(name=out.name, unit=None) for out in HEDGE)
                + (Out(name="intercept", unit=None),)),
    nulls="own",
    cases=({}, {"delta": 0.01, "r": 2.0}, {"delta": 0.0, "r": 0.5}),
    prepare=lambda params: [params["delta"] / (1.0 - params["delta"])],
    tolerance=1e-6,
    definition=kalman_hedge_ratio2_by_definition,
    source="Chan (2013), Algorithmic Trading, ch. 3",
    notes="Ratio and intercept are 0 with variance 1, and independent, before the first row. A "
          "missing row gives NULL and adds to both variances.",
    example="SELECT ts, kalman_hedge_ratio2(ask, bid) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM quotes",
), kalman_hedge_line, sizeof(HedgeLine))
