"""Risk: what can be lost."""

from math import fsum
from statistics import NormalDist

from libc.stdint cimport int64_t

from fin_sql.abi cimport (
    ABSENT, EMIT, Rows, cell, define_ring, define_scalar, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._sorted cimport SortedWindow, ranked_quantile, sorted_bytes, sorted_push
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value
from fin_sql.udfs._textbook import quantile, trailing


# ---------------------------------------------------------------- cusum

cdef struct Cusum:
    double pos
    double neg


cdef inline int cusum(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Cusum* s = <Cusum*> state
    cdef double k = p[1].f, h = p[2].f, off = x[0].f - p[0].f
    s.pos = max(0.0, s.pos + off - k)
    s.neg = max(0.0, s.neg - off - k)
    out[0].f = s.pos
    out[1].f = s.neg
    out[2].i = 0
    if s.pos > h and s.pos >= s.neg:
        out[2].i = 1
    elif s.neg > h:
        out[2].i = -1
    if p[3].i:
        if out[2].i > 0:
            s.pos = 0.0
        elif out[2].i < 0:
            s.neg = 0.0
    return EMIT


cdef void cusum_loop(Rows* r) noexcept nogil:
    drive(cusum, 1, 3, r)


def cusum_by_definition(x, target, k, h, reset):
    """The largest sum of any run of rows up to this one, of what exceeds the target by k."""
    found, pos_from, neg_from = [], 0, 0
    for t in range(len(x)):
        over = [v - target - k for v in x[:t + 1]]
        under = [target - k - v for v in x[:t + 1]]
        pos = max(0.0, *(fsum(over[i:]) for i in range(pos_from, t + 1)))
        neg = max(0.0, *(fsum(under[i:]) for i in range(neg_from, t + 1)))
        alarm = 0
        if max(pos, neg) > h:
            alarm = 1 if pos >= neg else -1
        if reset and alarm > 0:
            pos_from = t + 1
        if reset and alarm < 0:
            neg_from = t + 1
        found.append({"pos": pos, "neg": neg, "alarm": alarm})
    return found


define_window(Spec(
    name="cusum",
    summary="Cumulative sums above and below a target, and their alarms.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("target", default=0.0, unit="u"),
            Param("k", 0.0, default=0.5, unit="u", summary="slack: half the shift to find"),
            Param("h", 0.0, default=5.0, unit="u", summary="alarm above this"),
            Param("reset", type="bool", default=False, summary="begin anew after an alarm")),
    returns=Out(fields=(Out(name="pos", unit="u"), Out(name="neg", unit="u"),
                        Out("int64", name="alarm"))),
    cases=({"k": 0.25, "h": 2.47}, {"target": 0.11, "k": 0.0, "h": 1.57, "reset": True}),
    definition=cusum_by_definition,
    source="Page (1954), Biometrika 41; Montgomery, Introduction to Statistical Quality Control",
    notes="alarm is 1 above, -1 below, 0 without; the larger side wins. k and h are in units of x. "
          "The row of an alarm shows the sum that raised it; with reset the side begins at 0 on "
          "the next row. The event filter of Lopez de Prado has k = 0 and reset.",
    example="SELECT ts, cusum(price, 100, 0.5, 5, false) OVER (PARTITION BY symbol "
            "ORDER BY ts, seq) FROM trades",
), cusum, sizeof(Cusum), cusum_loop)


# ---------------------------------------------------------------- historical_var

cdef int64_t historical_var_bytes(const cell* p) noexcept nogil:
    return sorted_bytes(p[1].i)


cdef inline int historical_var(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef SortedWindow* s = <SortedWindow*> state
    cdef double* ranked = sorted_push(s, p[1].i, x[0].f)
    if s.n < p[1].i:
        return ABSENT
    out[0].f = -ranked_quantile(ranked, s.n, p[0].f)
    return EMIT


cdef void historical_var_loop(Rows* r) noexcept nogil:
    drive(historical_var, 1, 1, r)


def historical_var_by_definition(pnl, alpha, window):
    """The alpha-quantile (type 7) of the last rows, with its sign turned."""
    return trailing(pnl, window, lambda v: -quantile(v, alpha))


define_ring(Spec(
    name="historical_var",
    summary="Value at risk: the loss that a share alpha of the last rows exceeded.",
    shape="window",
    args=(Arg("pnl", unit="u"),),
    params=(
        Param("alpha", 0.0, 1.0, open_low=True, open_high=True, default=0.05,
              summary="tail probability, not the confidence"),
        Param("window", 1, 1_000_000, default=250, type="int64", summary="rows"),
    ),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 4, "alpha": 0.3}, {"window": 10, "alpha": 0.1}, {"window": 1}),
    definition=historical_var_by_definition,
    source="Jorion (2006), Value at Risk, 3rd ed., ch. 10; quantile type 7",
    notes="Positive is a loss. The ranks of the window are kept as a sorted array: a row costs a "
          "search and one move of memory, which grows with windows of many thousands.",
    bound="16 bytes a row of the window",
    example="SELECT ts, historical_var(pnl, 0.05, 100) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM (SELECT *, price - lag(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS pnl "
            "FROM trades)",
), historical_var, historical_var_bytes, historical_var_loop)


# ---------------------------------------------------------------- historical_cvar

cdef inline int historical_cvar(void* state, const cell* p, const cell* x,
                                cell* out) noexcept nogil:
    cdef SortedWindow* s = <SortedWindow*> state
    cdef double* ranked = sorted_push(s, p[1].i, x[0].f)
    cdef int64_t last = <int64_t> ((s.n - 1) * p[0].f), k = 0
    cdef Sum tail
    if s.n < p[1].i:
        return ABSENT
    tail.total = tail.lost = 0.0
    while k < s.n and ranked[k] <= ranked[last]:        # ties with the last one included
        sum_add(&tail, ranked[k])
        k += 1
    out[0].f = -sum_value(&tail) / k
    return EMIT


cdef void historical_cvar_loop(Rows* r) noexcept nogil:
    drive(historical_cvar, 1, 1, r)


def historical_cvar_by_definition(pnl, alpha, window):
    """The mean of what lies at or below the alpha-quantile (type 7), with its sign turned."""
    def tail(v):
        worst = [u for u in v if u <= quantile(v, alpha)]
        return -fsum(worst) / len(worst)

    return trailing(pnl, window, tail)


define_ring(Spec(
    name="historical_cvar",
    summary="Expected shortfall: the mean loss in the worst share alpha of the last rows.",
    shape="window",
    args=(Arg("pnl", unit="u"),),
    params=(
        Param("alpha", 0.0, 1.0, open_low=True, open_high=True, default=0.05,
              summary="tail probability, not the confidence"),
        Param("window", 1, 1_000_000, default=250, type="int64", summary="rows"),
    ),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 4, "alpha": 0.3}, {"window": 10, "alpha": 0.1}, {"window": 21, "alpha": 0.4},
           {"window": 1}),
    definition=historical_cvar_by_definition,
    source="Rockafellar and Uryasev (2000), Journal of Risk 2(3); Acerbi and Tasche (2002)",
    notes="Positive is a loss. The rows at or below the quantile of type 7 count whole: where "
          "alpha times the window is no whole number, the fractional weights of Acerbi and Tasche "
          "give another value.",
    bound="16 bytes a row of the window",
    example="SELECT ts, historical_cvar(pnl, 0.05, 100) OVER (PARTITION BY symbol ORDER BY ts, seq)"
            " FROM (SELECT *, price - lag(price) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "AS pnl FROM trades)",
), historical_cvar, historical_var_bytes, historical_cvar_loop)


# ---------------------------------------------------------------- cornish_fisher_var

cdef int cornish_fisher_var(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double skew = x[2].f, kurt = x[3].f, z = p[2].f
    # derivative of the quantile by z: square z^2 + skew / 3 z + level
    cdef double square = kurt / 8.0 - skew * skew / 6.0
    cdef double level = 1.0 - kurt / 8.0 + 5.0 * skew * skew / 36.0
    if x[1].f < 0.0:
        return ABSENT
    if p[1].i and (square < 0.0 or level < 0.0 or skew * skew / 9.0 > 4.0 * square * level):
        return ABSENT
    z += (z * z - 1.0) * skew / 6.0 + (z * z * z - 3.0 * z) * kurt / 24.0 \
        - (2.0 * z * z * z - 5.0 * z) * skew * skew / 36.0
    out[0].f = -(x[0].f + x[1].f * z)
    return EMIT


def cornish_fisher_var_by_definition(mean, std, skew, ex_kurt, alpha, strict):
    """Hermite polynomials of the normal quantile, which bisection finds."""
    from math import erfc

    low, high = -40.0, 40.0
    for _ in range(200):
        z = (low + high) / 2
        low, high = (z, high) if erfc(-z / 2 ** 0.5) / 2 < alpha else (low, z)
    he2, he3 = z ** 2 - 1, z ** 3 - 3 * z
    if strict:
        a, b = ex_kurt / 8 - skew ** 2 / 6, skew / 3
        c = 1 - ex_kurt / 8 + 5 * skew ** 2 / 36
        lowest = c - b * b / (4 * a) if a > 0 else (c if a == b == 0 else -1)
        if lowest < 0:
            return None
    return -mean - std * (z + he2 * skew / 6 + he3 * ex_kurt / 24
                          - (2 * he3 + z) * skew ** 2 / 36)


define_scalar(Spec(
    name="cornish_fisher_var",
    summary="Value at risk from four moments.",
    shape="scalar",
    args=(Arg("mean", unit="u"), Arg("std", unit="u", domain="positive"), Arg("skew"),
          Arg("ex_kurt")),
    params=(
        Param("alpha", 0.0, 1.0, open_low=True, open_high=True, default=0.05,
              summary="tail probability, not the confidence"),
        Param("strict", type="bool", default=False,
              summary="NULL where the quantile would not grow with alpha everywhere"),
    ),
    returns=Out(unit="u"),
    nulls="propagate",
    cases=({}, {"alpha": 0.01}, {"alpha": 0.4, "strict": True}),
    prepare=lambda params: [NormalDist().inv_cdf(params["alpha"])],
    definition=cornish_fisher_var_by_definition,
    source="Cornish and Fisher (1937); Zangari (1996); Favre and Galeano (2002)",
    notes="Positive is a loss. ex_kurt is the excess over 3. Made for population moments; unbiased "
          "ones, such as those of rolling_skew and rolling_kurt, give slightly other values. "
          "strict keeps to the domain of Maillard (2012).",
    example="SELECT symbol, cornish_fisher_var(avg(r), stddev_pop(r), -0.4, 1.8, 0.05, false) "
            "FROM (SELECT symbol, log_returns(price) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "AS r FROM trades) GROUP BY symbol ORDER BY symbol",
), cornish_fisher_var)
