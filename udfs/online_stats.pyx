"""Online statistics: means, variances and returns in one pass."""

from libc.math cimport NAN, fabs, isnan, log, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, Rows, cell, define_aggregate, define_ring, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._sorted cimport (
    SortedWindow, ranked_mad, ranked_median, sorted_bytes, sorted_push, sorted_rows,
)
from fin_sql.udfs._textbook import (
    LONGEST_FILTER, exponential_weights, frac_diff_weights, mean, moment, quantile, trailing,
    weighted_comoment,
)
from fin_sql.udfs._window cimport Spread, SpreadWindow, correlated, spread_bytes, spread_push


# ---------------------------------------------------------------- log_returns

cdef struct LogReturns:
    double before               # log of the price of the row before, NaN where it had none
    int64_t seen


cdef inline int log_returns(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef LogReturns* s = <LogReturns*> state
    cdef double now = log(x[0].f) if x[0].f > 0.0 else NAN
    cdef int64_t seen = s.seen
    out[0].f = now - s.before
    s.before = now
    s.seen = 1
    return EMIT if seen else ABSENT


cdef void log_returns_loop(Rows* r) noexcept nogil:
    drive(log_returns, 1, 1, r)


def log_returns_by_definition(price):
    """ln(p[t] / p[t-1])."""
    from math import log as ln

    usable = [v is not None and v > 0 for v in price]
    return [
        ln(price[t]) - ln(price[t - 1]) if t and usable[t] and usable[t - 1] else None
        for t in range(len(price))
    ]


define_window(Spec(
    name="log_returns",
    summary="Logarithmic return against the row before.",
    shape="window",
    args=(Arg("price", unit="p", domain="positive"),),
    returns=Out(unit="1"),
    nulls="row",
    definition=log_returns_by_definition,
    source="Campbell, Lo and MacKinlay (1997), section 1.4",
    notes="A missing price, or one that is not positive, blanks two rows.",
    example="SELECT ts, log_returns(price) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), log_returns, sizeof(LogReturns), log_returns_loop)


# ---------------------------------------------------------------- welford_mean_var

cdef struct Welford:
    int64_t n
    double mean
    double m2


cdef int welford(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Welford* s = <Welford*> state
    cdef double d = x[0].f - s.mean
    s.n += 1
    s.mean += d / s.n
    s.m2 += d * (x[0].f - s.mean)
    return EMIT


cdef int welford_back(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Welford* s = <Welford*> state
    cdef double d = x[0].f - s.mean
    s.n -= 1
    if s.n <= 0:
        memset(s, 0, sizeof(Welford))
        return EMIT
    s.mean -= d / s.n
    s.m2 -= d * (x[0].f - s.mean)
    if s.m2 < 0.0 or s.n == 1:
        s.m2 = 0.0
    return EMIT


cdef int welford_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Welford* s = <const Welford*> state
    out[0].i = s.n
    out[1].f = s.mean if s.n > 0 else NAN
    out[2].f = s.m2 / (s.n - 1) if s.n > 1 else NAN
    out[3].f = sqrt(out[2].f)
    return EMIT


cdef int welford_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Welford* s = <Welford*> state
    cdef const Welford* o = <const Welford*> other
    cdef double d = o.mean - s.mean
    cdef double n = <double> (s.n + o.n)
    if o.n == 0:
        return EMIT
    if s.n == 0:
        s[0] = o[0]
        return EMIT
    s.mean += d * (o.n / n)
    s.m2 += o.m2 + d * d * (s.n * (o.n / n))
    s.n += o.n
    return EMIT


def welford_mean_var_by_definition(x):
    """Count, mean, sample variance and its square root."""
    n = len(x)
    var = moment(x, 2) / (n - 1) if n > 1 else None
    return {"n": n, "mean": mean(x) if n else None, "var": var,
            "std": var ** 0.5 if n > 1 else None}


define_aggregate(Spec(
    name="welford_mean_var",
    summary="Count, mean, sample variance and standard deviation.",
    shape="aggregate",
    args=(Arg("x", unit="u"),),
    returns=Out(fields=(Out("int64", name="n"), Out(name="mean", unit="u"),
                        Out(name="var", unit="u^2"), Out(name="std", unit="u"))),
    definition=welford_mean_var_by_definition,
    source="Welford (1962), Technometrics 4(3); Chan, Golub and LeVeque (1979)",
    bound="24 bytes a group",
    example="SELECT symbol, welford_mean_var(price) FROM trades GROUP BY symbol ORDER BY symbol",
), welford, welford_value, welford_merge, sizeof(Welford), welford_back)


# ---------------------------------------------------------------- ewma

cdef struct Ewma:
    double mean
    double weight               # of the rows so far; adjust only
    bint seen


cdef inline int ewma(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Ewma* s = <Ewma*> state
    cdef double alpha = p[0].f
    if not s.seen:
        s.mean = x[0].f
        s.weight = 1.0
        s.seen = True
    elif p[1].i:
        s.weight = 1.0 + (1.0 - alpha) * s.weight
        s.mean = s.mean + (x[0].f - s.mean) / s.weight
    else:
        s.mean = s.mean + alpha * (x[0].f - s.mean)
    out[0].f = s.mean
    return EMIT


cdef void ewma_loop(Rows* r) noexcept nogil:
    drive(ewma, 1, 1, r)


def ewma_by_definition(x, alpha, adjust):
    """m[0] = x[0]; m[t] = alpha x[t] + (1 - alpha) m[t-1]; adjusted: normalised weights."""
    found = []
    for t in range(len(x)):
        if adjust:
            weights = [(1 - alpha) ** (t - i) for i in range(t + 1)]
            found.append(sum(w * v for w, v in zip(weights, x)) / sum(weights))
        else:
            found.append(x[0] if t == 0 else alpha * x[t] + (1 - alpha) * found[-1])
    return found


define_window(Spec(
    name="ewma",
    summary="Exponentially weighted mean; alpha is the weight of the newest value.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(
        Param("alpha", 0.0, 1.0, open_low=True, summary="2/(span+1) = 1/(1+com) = 1 - lambda"),
        Param("adjust", type="bool", default=False,
              summary="normalise the weights, as pandas does"),
    ),
    returns=Out(unit="u"),
    cases=({"alpha": 0.06}, {"alpha": 0.5, "adjust": True}, {"alpha": 1.0}),
    definition=ewma_by_definition,
    source="Roberts (1959), Technometrics 1(3); Finch (2009)",
    notes="First value at row 1. For RiskMetrics with decay lambda take riskmetrics_vol.",
    example="SELECT ts, ewma(price, 0.06, false) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), ewma, sizeof(Ewma), ewma_loop)


# ---------------------------------------------------------------- ewcov, ewcorr

cdef struct Ewcov:
    double mx
    double my
    double cxx
    double cyy
    double cxy
    double s2                   # sum of the squared weights
    int64_t seen


cdef inline void ewcov_move(Ewcov* s, double alpha, double x, double y) noexcept nogil:
    cdef double dx = x - s.mx, dy = y - s.my
    if not s.seen:
        s.mx, s.my = x, y
        s.s2 = 1.0
        s.seen = 1
        return
    s.mx += alpha * dx
    s.my += alpha * dy
    s.cxx = (1.0 - alpha) * (s.cxx + alpha * dx * dx)
    s.cyy = (1.0 - alpha) * (s.cyy + alpha * dy * dy)
    s.cxy = (1.0 - alpha) * (s.cxy + alpha * dx * dy)
    s.s2 = (1.0 - alpha) * (1.0 - alpha) * s.s2 + alpha * alpha


cdef inline int ewcov(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Ewcov* s = <Ewcov*> state
    ewcov_move(s, p[0].f, x[0].f, x[1].f)
    if p[1].i:
        out[0].f = s.cxy
        return EMIT
    if s.s2 >= 1.0:
        return ABSENT
    out[0].f = s.cxy / (1.0 - s.s2)
    return EMIT


cdef inline int ewcorr(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Ewcov* s = <Ewcov*> state
    ewcov_move(s, p[0].f, x[0].f, x[1].f)
    if not (s.cxx > 0.0 and s.cyy > 0.0):
        return ABSENT
    out[0].f = correlated(s.cxy, s.cxx, s.cyy)
    return EMIT


cdef void ewcov_loop(Rows* r) noexcept nogil:
    drive(ewcov, 2, 1, r)


cdef void ewcorr_loop(Rows* r) noexcept nogil:
    drive(ewcorr, 2, 1, r)


def ewcov_by_definition(x, y, alpha, bias):
    """Covariance under exponential weights, over 1 - sum of squared weights if unbiased."""
    found = []
    for t in range(1, len(x) + 1):
        weights = exponential_weights(t, alpha)
        left = 1 if bias else 1 - sum(w * w for w in weights)
        found.append(weighted_comoment(x[:t], y[:t], weights) / left if left > 0 else None)
    return found


def ewcorr_by_definition(x, y, alpha):
    """Correlation under exponential weights."""
    found = []
    for t in range(1, len(x) + 1):
        weights = exponential_weights(t, alpha)
        xx = weighted_comoment(x[:t], x[:t], weights)
        yy = weighted_comoment(y[:t], y[:t], weights)
        constant = len(set(x[:t])) == 1 or len(set(y[:t])) == 1 or alpha == 1
        xy = weighted_comoment(x[:t], y[:t], weights)
        found.append(None if constant else xy / (xx * yy) ** 0.5)
    return found


def alpha_param():
    """The weight of the newest value."""
    return Param("alpha", 0.0, 1.0, open_low=True, summary="weight of the newest value")


define_window(Spec(
    name="ewcov",
    summary="Exponentially weighted covariance.",
    shape="window",
    args=(Arg("x", unit="u"), Arg("y", unit="v")),
    params=(alpha_param(), Param("bias", type="bool", default=True,
                                 summary="false divides by 1 - sum of squared weights")),
    returns=Out(unit="u*v"),
    cases=({"alpha": 0.5}, {"alpha": 0.06, "bias": False}, {"alpha": 0.06}),
    definition=ewcov_by_definition,
    source="Finch (2009), Incremental calculation of weighted mean and variance; West (1979)",
    notes="Equals pandas ewm(alpha, adjust=False).cov(bias=True); pandas' defaults are the others.",
    example="SELECT ts, ewcov(bid, ask, 0.06, true) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM quotes",
), ewcov, sizeof(Ewcov), ewcov_loop)

define_window(Spec(
    name="ewcorr",
    summary="Exponentially weighted correlation.",
    shape="window",
    args=(Arg("x", unit="u"), Arg("y", unit="v")),
    params=(alpha_param(),),
    returns=Out(unit="1"),
    cases=({"alpha": 0.5}, {"alpha": 0.06}),
    tolerance=1e-7,
    definition=ewcorr_by_definition,
    source="Finch (2009), Incremental calculation of weighted mean and variance",
    notes="NULL while one side has not moved.",
    example="SELECT ts, ewcorr(bid, ask, 0.06) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM quotes",
), ewcorr, sizeof(Ewcov), ewcorr_loop)


# ---------------------------------------------------------------- rolling_zscore

cdef int64_t rolling_zscore_bytes(const cell* p) noexcept nogil:
    return spread_bytes(p[0].i)


cdef inline int rolling_zscore(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Spread found
    if not spread_push(<SpreadWindow*> state, p[0].i, p + 2, x[0].f, &found):
        return ABSENT
    if not found.m2 > 0.0:
        return ABSENT
    out[0].f = (x[0].f - found.mean) / sqrt(found.m2 / (p[0].i - p[1].i))
    return EMIT


cdef void rolling_zscore_loop(Rows* r) noexcept nogil:
    drive(rolling_zscore, 1, 1, r)


def rolling_zscore_by_definition(x, window, ddof):
    """(x - mean) / std of the last `window` rows."""
    def score(v):
        if len(set(v)) == 1:
            return None
        return (v[len(v) - 1] - mean(v)) / (moment(v, 2) / (window - ddof)) ** 0.5

    return trailing(x, window, score)


define_ring(Spec(
    name="rolling_zscore",
    summary="How many standard deviations a value lies off the mean of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("window", 2, 10_000_000, default=100, type="int64", summary="rows"),
            Param("ddof", 0, 1, default=1, type="int64", summary="1 for a sample")),
    returns=Out(unit="1"),
    nulls="row",
    cases=({"window": 5}, {"window": 8, "ddof": 0}, {"window": 2}),
    prepare=lambda params: [0.0] + [1.0 / k for k in range(1, params["window"] + 1)],
    tolerance=1e-8,
    definition=rolling_zscore_by_definition,
    source="Standard score over a trailing window",
    notes="The window includes the row itself. NULL where it is constant. SciPy's ddof is 0.",
    bound="24 bytes a row of the window",
    example="SELECT ts, rolling_zscore(price, 100, 1) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_zscore, rolling_zscore_bytes, rolling_zscore_loop)


# ---------------------------------------------------------------- robust_hampel

cdef int64_t robust_hampel_bytes(const cell* p) noexcept nogil:
    return sorted_bytes(p[0].i)


cdef int robust_hampel(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef SortedWindow* s = <SortedWindow*> state
    cdef int64_t w = p[0].i, back = w >> 1 if p[2].i else 0
    cdef double* ranked = sorted_push(s, w, x[0].f)
    cdef double median, sigma, value
    if s.n < w:
        return ABSENT
    back = s.at - 1 - back
    value = sorted_rows(s)[back if back >= 0 else back + w]
    median = ranked_median(ranked, w)
    # 1 / quantile of the normal distribution at 3/4
    sigma = 1.4826022185056018 * ranked_mad(ranked, w, median)
    out[3].i = fabs(value - median) > p[1].f * sigma
    out[0].f = median if out[3].i else value
    out[1].f = median
    out[2].f = sigma
    return EMIT


def robust_hampel_by_definition(x, window, n_sigmas, centered):
    """An outlier lies more than n sigmas, by the scaled MAD, off the median."""
    def judge(v):
        value = v[window // 2 if centered else window - 1]
        median = quantile(v, 0.5)
        sigma = 1.4826022185056018 * quantile([abs(u - median) for u in v], 0.5)
        outlier = abs(value - median) > n_sigmas * sigma
        return {"filtered": median if outlier else value, "median": median, "sigma": sigma,
                "is_outlier": outlier}

    found = trailing(x, window, judge)
    ahead = window // 2 if centered else 0
    return (found + [None] * ahead)[ahead:]


def refuse_even(params):
    """A centred window has a middle."""
    if params["centered"] and params["window"] % 2 == 0:
        return f"'window' must be odd where it is centered, was {params['window']}"
    return None


define_ring(Spec(
    name="robust_hampel",
    summary="Outliers against the median and the median absolute deviation of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(
        Param("window", 1, 1_000_000, default=7, type="int64", summary="rows"),
        Param("n_sigmas", 0.0, default=3.0),
        Param("centered", type="bool", default=False,
              summary="true looks window/2 rows ahead, for cleaning history"),
    ),
    returns=Out(fields=(Out(name="filtered", unit="u"), Out(name="median", unit="u"),
                        Out(name="sigma", unit="u"), Out("bool", name="is_outlier"))),
    nulls="row",
    cases=({"window": 5}, {"window": 6, "n_sigmas": 1.0}, {"window": 5, "centered": True}),
    check=refuse_even,
    lookahead=lambda params: params["window"] // 2 if params["centered"] else 0,
    definition=robust_hampel_by_definition,
    source="Hampel (1974), JASA 69; Davies and Gather (1993); Pearson (2005)",
    notes="Where sigma is 0 any value off the median is an outlier.",
    bound="16 bytes a row of the window",
    example="SELECT ts, robust_hampel(price, 7, 3.0, false) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM trades",
), robust_hampel, robust_hampel_bytes)


# ---------------------------------------------------------------- frac_diff

cdef struct FracDiff:           # followed by double x[2 K]: the ring, and the ring again
    int64_t at
    int64_t clean               # rows since the last missing one, at most K


cdef int64_t frac_diff_bytes(const cell* p) noexcept nogil:
    return sizeof(FracDiff) + 2 * <int64_t> p[2].f * sizeof(double)


cdef int frac_diff(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef FracDiff* s = <FracDiff*> state
    cdef int64_t n = <int64_t> p[2].f, k
    cdef double* ring = <double*> (s + 1)
    cdef const cell* weight = p + 3             # the oldest row's first
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    ring[s.at] = ring[s.at + n] = x[0].f
    s.at = s.at + 1 if s.at + 1 < n else 0
    s.clean = 0 if isnan(x[0].f) else min(s.clean + 1, n)
    if s.clean < n:
        return ABSENT
    ring += s.at
    for k in range(0, n - 3, 4):                # four sums, always the same four
        a += weight[k].f * ring[k]
        b += weight[k + 1].f * ring[k + 1]
        c += weight[k + 2].f * ring[k + 2]
        d += weight[k + 3].f * ring[k + 3]
    for k in range(n - n % 4, n):
        a += weight[k].f * ring[k]
    out[0].f = (a + b) + (c + d)
    return EMIT


def refuse_long(params):
    """The filter has a length that a row can pay for."""
    tau = params["tau"]
    if tau > 1 and tau != int(tau):
        return f"'tau' must be below 1, or a whole number of rows, was {tau:g}"
    if len(frac_diff_weights(params["d"], min(tau, LONGEST_FILTER + 1))) > LONGEST_FILTER:
        return f"needs more than {LONGEST_FILTER} weights; raise 'tau' = {tau:g}"
    return None


def frac_diff_by_definition(x, d, tau):
    """Sum of w[k] x[t-k]."""
    weights = frac_diff_weights(d, tau)
    return trailing(x, len(weights),
                    lambda v: sum(w * u for w, u in zip(weights, reversed(v))))


def prepare_frac_diff(params):
    """The number of weights, then the weights, the oldest row's first."""
    weights = frac_diff_weights(params["d"], params["tau"])
    return [float(len(weights)), *reversed(weights)]


define_ring(Spec(
    name="frac_diff",
    summary="Fractional difference of order d over a window of fixed width.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("d", 0.0, 10.0, summary="order; 0 is the series, 1 the first difference"),
            Param("tau", 0.0, LONGEST_FILTER, open_low=True, default=1e-5,
                  summary="least weight; from 1 on the number of weights")),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"d": 0.4, "tau": 0.05}, {"d": 1.0}, {"d": 0.0}, {"d": 0.7, "tau": 7.0}),
    check=refuse_long,
    prepare=prepare_frac_diff,
    definition=frac_diff_by_definition,
    source="Hosking (1981), Biometrika 68(1); Lopez de Prado (2018), ch. 5",
    notes="The cost of a row grows with the number of weights: 1458 at d = 0.4 and tau = 1e-5, "
          "282 at 1e-4, 11 at 1e-2.",
    bound="16 bytes a weight",
    example="SELECT ts, frac_diff(price, 0.4, 0.001) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), frac_diff, frac_diff_bytes)
