"""Online statistics: means, variances and returns in one pass."""

from libc.math cimport log

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_window, drive
from fin_sql.spec import Arg, Out, Param, Spec


# ---------------------------------------------------------------- ewma

cdef struct Ewma:
    double mean
    double weight               # of the rows so far; adjust only
    bint seen


cdef int ewma(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
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
        Param("adjust", type="bool", default=False, summary="normalise the weights, as pandas does"),
    ),
    returns=Out(unit="u"),
    cases=({"alpha": 0.06}, {"alpha": 0.5, "adjust": True}, {"alpha": 1.0}),
    definition=ewma_by_definition,
    source="Roberts (1959), Technometrics 1(3); Finch (2009)",
    notes="First value at row 1. For RiskMetrics with decay lambda take riskmetrics_vol.",
    example="SELECT ts, ewma(price, 0.06, false) OVER (PARTITION BY symbol ORDER BY ts) FROM trades",
), ewma, sizeof(Ewma), ewma_loop)
