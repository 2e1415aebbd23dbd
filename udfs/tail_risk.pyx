"""Risk beyond what was seen: extreme value theory."""

from libc.math cimport INFINITY, NAN, expm1, fabs, isfinite, log, log1p
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from fin_sql.abi cimport ABSENT, EMIT, GROW, NO_MEMORY, Room, cell, define_aggregate
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._sorted cimport ranked_quantile
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value
from fin_sql.udfs._textbook import mean, quantile


# ---------------------------------------------------------------- generalised Pareto fit

cdef struct Pareto:             # of excesses that were divided by the largest
    double xi
    double beta
    double likelihood           # logarithm, of one value


cdef double profile(const double* y, int64_t n, double s, Pareto* fit) noexcept nogil:
    """The fit under xi / beta = exp(s) - 1, and the slope of its likelihood.

    Grimshaw's condition h = 0 holds at xi = 0 always, so it says nothing near there. Dividing that
    root out leaves a slope that is exact everywhere: mean(y^2 b) / beta - mean(y / (1 + z)), with
    z = y xi / beta and b = (log1p(z) / z - 1 / (1 + z)) / z.
    """
    cdef double theta = expm1(s), logs = 0.0, falls = 0.0, bends = 0.0, sum = 0.0, z, b
    cdef int64_t i
    cdef int k
    for i in range(n):
        z = theta * y[i]
        if fabs(z) < 0.1:
            b = 0.0
            for k in range(15, -1, -1):
                b = (k + 1.0) / (k + 2.0) - z * b
        else:
            b = (log1p(z) / z - 1.0 / (1.0 + z)) / z
        logs += log1p(z)
        falls += y[i] / (1.0 + z)
        bends += y[i] * y[i] * b
        sum += y[i]
    fit.xi = logs / n
    fit.beta = fit.xi / theta if theta != 0.0 else sum / n
    fit.likelihood = -log(fit.beta) - fit.xi - 1.0
    return bends / n / fit.beta - falls / n


cdef bint fit_pareto(const double* y, int64_t n, Pareto* best) noexcept nogil:
    """The highest of the likelihood's maxima with xi > -1; False where there is none.

    Beyond xi = -1 the likelihood has no bound. Every maximum lies below Grimshaw's limit.
    """
    cdef double s = -25.0, before = -26.0, slope, last = -1.0, low, high, middle
    cdef double least = y[0], top = 0.0
    cdef Pareto fit
    cdef int64_t i
    cdef int _k
    best.xi = best.beta = 0.0
    best.likelihood = -INFINITY
    for i in range(n):
        top += y[i] / n
    top = min(700.0, log1p(2.0 * (top - least) / least / least) if least > 1e-150 else 700.0) + 0.5
    while s <= top:
        slope = profile(y, n, s, &fit)
        if not fit.xi > -1.0:
            slope = -1.0
        elif last > 0.0 and slope <= 0.0:
            low, high = before, s
            for _k in range(100):
                middle = low + (high - low) / 2.0
                if middle <= low or middle >= high:
                    break
                if profile(y, n, middle, &fit) > 0.0:
                    low = middle
                else:
                    high = middle
            profile(y, n, high, &fit)
            if fit.likelihood > best.likelihood:
                best[0] = fit
        before, last = s, slope
        s += max(0.125, 0.05 * fabs(s))
    return best.likelihood > -INFINITY


def pareto_by_definition(y):
    """Shape and scale of the highest maximum of the likelihood with xi > -1: grid, then thirds."""
    from math import exp as e, log as ln, log1p as ln1p

    def fit(s):
        theta = (e(s) - 1) / max(y)
        xi = mean([ln1p(theta * v) for v in y])
        return xi, xi / theta if theta else mean(y)

    def likelihood(s):
        xi, beta = fit(s)
        return -ln(beta) - xi - 1

    grid = [0.05 * step for step in range(-240, 600)]
    grid = [s for s in grid if fit(s)[0] > -1]
    heights = [likelihood(s) for s in grid]
    found = []
    for i in range(1, len(grid) - 1):
        if heights[i - 1] < heights[i] >= heights[i + 1]:
            low, high = grid[i - 1], grid[i + 1]
            for _ in range(80):
                a, b = low + (high - low) / 3, high - (high - low) / 3
                low, high = (a, high) if likelihood(a) < likelihood(b) else (low, b)
            found.append((heights[i], (low + high) / 2))
    return fit(max(found)[1]) if found else None


# ---------------------------------------------------------------- evt_pot_var

cdef enum:
    LEAST_EXCESSES = 10


cdef struct Losses:             # followed by double pnl[n], in order of arrival
    Room room
    int64_t n


cdef int evt_take(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Losses* s = <Losses*> state
    if <int64_t> (sizeof(Losses) + (s.n + 1) * sizeof(double)) > s.room.bytes:
        return GROW
    (<double*> (s + 1))[s.n] = x[0].f
    s.n += 1
    return EMIT


cdef int evt_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Losses* s = <Losses*> state
    cdef const Losses* o = <const Losses*> other
    if <int64_t> (sizeof(Losses) + (s.n + o.n) * sizeof(double)) > s.room.bytes:
        return GROW
    memcpy(<double*> (s + 1) + s.n, <const double*> (o + 1), o.n * sizeof(double))
    s.n += o.n
    return EMIT


cdef int ascending(const void* a, const void* b) noexcept nogil:
    cdef double left = (<const double*> a)[0], right = (<const double*> b)[0]
    return (left > right) - (left < right)


cdef int evt_of_ranked(double* losses, int64_t n, const cell* p, cell* out) noexcept nogil:
    cdef double alpha = p[0].f, largest = losses[n - 1]
    cdef double u = p[2].f if p[2].f > 0.0 else ranked_quantile(losses, n, p[1].f)
    cdef int64_t first = n, i, m
    cdef double xi, beta, reach
    cdef Pareto fit
    while first > 0 and losses[first - 1] > u:
        first -= 1
    m = n - first
    if m < LEAST_EXCESSES or n * alpha >= m or not isfinite(largest - u):
        return ABSENT
    for i in range(first, n):
        losses[i] = (losses[i] - u) / (largest - u)
    if not fit_pareto(losses + first, m, &fit):
        return ABSENT
    xi, beta = fit.xi, fit.beta * (largest - u)
    reach = log(m / (n * alpha))
    out[0].f = u + beta * (expm1(xi * reach) / xi if fabs(xi) > 1e-8 else reach)
    out[1].f = (out[0].f + beta - xi * u) / (1.0 - xi) if xi < 1.0 else NAN
    out[2].f = xi
    out[3].f = beta
    out[4].f = u
    out[5].i = m
    return EMIT


cdef int evt_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Losses* s = <const Losses*> state
    cdef const double* pnl = <const double*> (s + 1)
    cdef double* losses
    cdef int64_t i
    cdef int code
    if s.n < LEAST_EXCESSES:
        return ABSENT
    losses = <double*> malloc(s.n * sizeof(double))
    if losses == NULL:
        return NO_MEMORY
    for i in range(s.n):
        losses[i] = -pnl[i]
    qsort(losses, s.n, sizeof(double), ascending)
    code = evt_of_ranked(losses, s.n, p, out)
    free(losses)
    return code


def evt_pot_var_by_definition(pnl, alpha, threshold_q, threshold):
    """Quantile and mean beyond it of a Pareto tail that was fitted to the largest losses."""
    from math import log as ln

    losses = [-v for v in pnl]
    if not losses:
        return None
    u = threshold or quantile(losses, threshold_q)
    y = [v - u for v in losses if v > u]
    share = mean([float(v > u) for v in losses])
    fit = pareto_by_definition(y) if len(y) >= LEAST_EXCESSES and alpha < share else None
    if fit is None:
        return None
    xi, beta = fit
    var = u + (beta / xi * ((alpha / share) ** -xi - 1) if xi else beta * ln(share / alpha))
    es = var / (1 - xi) + (beta - xi * u) / (1 - xi) if xi < 1 else None
    return {"var": var, "es": es, "xi": xi, "beta": beta, "threshold": u, "n_exceed": len(y)}


define_aggregate(Spec(
    name="evt_pot_var",
    summary="Value at risk and expected shortfall from a Pareto tail fitted to the worst losses.",
    shape="aggregate",
    family="risk",
    args=(Arg("pnl", unit="u"),),
    params=(
        Param("alpha", 0.0, 1.0, open_low=True, open_high=True, default=0.01,
              summary="tail probability, not the confidence"),
        Param("threshold_q", 0.0, 1.0, open_low=True, open_high=True, default=0.95,
              summary="the tail begins at this quantile of the losses"),
        Param("threshold", 0.0, default=0.0, unit="u",
              summary="or at this loss; 0 takes the quantile"),
    ),
    returns=Out(fields=(
        Out(name="var", unit="u"), Out(name="es", unit="u"), Out(name="xi"),
        Out(name="beta", unit="u"), Out(name="threshold", unit="u"), Out("int64", name="n_exceed"),
    )),
    cases=({"alpha": 0.05, "threshold_q": 0.7}, {"threshold_q": 0.5},
           {"alpha": 0.1, "threshold": 0.35}),
    tolerance=1e-5,
    definition=evt_pot_var_by_definition,
    source="McNeil (1997), ASTIN Bulletin 27(1); McNeil and Frey (2000); Grimshaw (1993)",
    notes="pnl is negative for a loss; var and es are positive for one. Maximum likelihood along "
          "its profile, the highest maximum with xi > -1. NULL with fewer than 10 excesses, where "
          "alpha is not beyond the threshold, and where the likelihood has no maximum; es is NULL "
          "from xi = 1 on, as that mean is infinite. Each value costs a sort of the group.",
    bound="8 bytes a value",
    example="SELECT symbol, evt_pot_var(pnl, 0.01, 0.95, 0) FROM (SELECT symbol, price - "
            "lag(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS pnl FROM trades) "
            "GROUP BY symbol ORDER BY symbol",
), evt_take, evt_value, evt_merge, sizeof(Losses), NULL, True)


# ---------------------------------------------------------------- historical_var_agg and cvar

cdef inline int of_ranked(const void* state, const cell* p, bint beyond, cell* out) noexcept nogil:
    """The quantile of the values, or the mean of what is at or below it."""
    cdef const Losses* s = <const Losses*> state
    cdef double* ranked
    cdef Sum tail
    cdef int64_t k = 0
    cdef double level
    if s.n == 0:
        return ABSENT
    ranked = <double*> malloc(s.n * sizeof(double))
    if ranked == NULL:
        return NO_MEMORY
    memcpy(ranked, s + 1, s.n * sizeof(double))
    qsort(ranked, s.n, sizeof(double), ascending)
    level = ranked_quantile(ranked, s.n, p[0].f)
    out[0].f = -level
    if beyond:
        level = ranked[<int64_t> ((s.n - 1) * p[0].f)]
        tail.total = tail.lost = 0.0
        while k < s.n and ranked[k] <= level:   # ties with the last one included
            sum_add(&tail, ranked[k])
            k += 1
        out[0].f = -sum_value(&tail) / <double> k
    free(ranked)
    return EMIT


cdef int historical_var_value(const void* state, const cell* p, cell* out) noexcept nogil:
    return of_ranked(state, p, False, out)


cdef int historical_cvar_value(const void* state, const cell* p, cell* out) noexcept nogil:
    return of_ranked(state, p, True, out)


def historical_var_agg_by_definition(pnl, alpha):
    """The alpha-quantile (type 7) of the values, with its sign turned."""
    return -quantile(pnl, alpha) if pnl else None


def historical_cvar_agg_by_definition(pnl, alpha):
    """The mean of what lies at or below the alpha-quantile, with its sign turned."""
    worst = [v for v in pnl if v <= quantile(pnl, alpha)]
    return -mean(worst) if worst else None


ALPHA = Param("alpha", 0.0, 1.0, open_low=True, open_high=True, default=0.05,
              summary="tail probability, not the confidence")
ALPHAS = tuple({"alpha": share} for share in (0.01, 0.02, 0.05, 0.1, 0.9, 0.95, 0.98, 0.99))
PNL = (
    "(SELECT symbol, price - lag(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS pnl "
    "FROM trades)"
)

define_aggregate(Spec(
    name="historical_var_agg",
    form_of="historical_var",
    family="risk",
    summary="Value at risk of a group: the loss that a share alpha of its rows exceeded.",
    shape="aggregate",
    args=(Arg("pnl", unit="u"),),
    params=(ALPHA,),
    returns=Out(unit="u"),
    cases=ALPHAS,
    definition=historical_var_agg_by_definition,
    source="Jorion (2006), Value at Risk, 3rd ed., ch. 10; quantile type 7",
    notes="Positive is a loss. Each value costs a sort of the group.",
    bound="8 bytes a value",
    example=f"SELECT symbol, historical_var_agg(pnl, 0.05) FROM {PNL} "
            "GROUP BY symbol ORDER BY symbol",
), evt_take, historical_var_value, evt_merge, sizeof(Losses), NULL, True)

define_aggregate(Spec(
    name="historical_cvar_agg",
    form_of="historical_cvar",
    family="risk",
    summary="Expected shortfall of a group: the mean loss in the worst share alpha of its rows.",
    shape="aggregate",
    args=(Arg("pnl", unit="u"),),
    params=(ALPHA,),
    returns=Out(unit="u"),
    cases=ALPHAS,
    definition=historical_cvar_agg_by_definition,
    source="Rockafellar and Uryasev (2000), Journal of Risk 2(3)",
    notes="Positive is a loss. Each value costs a sort of the group.",
    bound="8 bytes a value",
    example=f"SELECT symbol, historical_cvar_agg(pnl, 0.05) FROM {PNL} "
            "GROUP BY symbol ORDER BY symbol",
), evt_take, historical_cvar_value, evt_merge, sizeof(Losses), NULL, True)
