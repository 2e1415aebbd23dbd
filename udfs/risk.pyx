"""Risk: what can be lost."""

from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_ring, drive
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._sorted cimport SortedWindow, ranked_quantile, sorted_bytes, sorted_push
from fin_sql.udfs._textbook import quantile, trailing


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
