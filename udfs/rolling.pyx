"""Rolling statistics beside those of the features: order statistics, pairs, and performance."""

from libc.math cimport sqrt
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_ring, define_window, drive
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._sorted cimport (
    SortedWindow, ranked_median, ranked_quantile, sorted_bytes, sorted_push,
)
from fin_sql.udfs._textbook import comoment, correlation, mean, moment, quantile, trailing
from fin_sql.udfs._window cimport (
    Joint, JointWindow, Spread, SpreadWindow, correlated, joint_bytes, joint_push, spread_bytes,
    spread_push,
)


def window_param(default, least=1, most=10_000_000):
    """The length of a window in rows."""
    return Param("window", least, most, default=default, type="int64", summary="rows")


def inverses(params):
    """1/k for k = 0 .. window; the first is not used."""
    return [0.0] + [1.0 / k for k in range(1, params["window"] + 1)]


RANKS = "16 bytes a row of the window"
SORTED = (
    "The ranks of the window are kept as a sorted array: a row costs a search and one move of "
    "memory, which grows with windows of many thousands."
)


# ---------------------------------------------------------------- rolling_median

cdef int64_t median_bytes(const cell* p) noexcept nogil:
    return sorted_bytes(p[0].i)


cdef inline int rolling_median(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef SortedWindow* s = <SortedWindow*> state
    cdef double* ranked = sorted_push(s, p[0].i, x[0].f)
    if s.n < p[0].i:
        return ABSENT
    out[0].f = ranked_median(ranked, s.n)
    return EMIT


cdef void rolling_median_loop(Rows* r) noexcept nogil:
    drive(rolling_median, 1, 1, r)


def rolling_median_by_definition(x, window):
    """The median of the last rows."""
    return trailing(x, window, lambda v: quantile(v, 0.5))


define_ring(Spec(
    name="rolling_median",
    summary="Median of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(window_param(20, 1, 1_000_000),),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 1}, {"window": 4}, {"window": 9}),
    definition=rolling_median_by_definition,
    source="Hyndman and Fan (1996), The American Statistician 50(4)",
    notes=SORTED,
    bound=RANKS,
    example="SELECT ts, rolling_median(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_median, median_bytes, rolling_median_loop)


# ---------------------------------------------------------------- rolling_quantile

cdef int64_t quantile_bytes(const cell* p) noexcept nogil:
    return sorted_bytes(p[1].i)


cdef inline int rolling_quantile(void* state, const cell* p, const cell* x,
                                 cell* out) noexcept nogil:
    cdef SortedWindow* s = <SortedWindow*> state
    cdef double* ranked = sorted_push(s, p[1].i, x[0].f)
    if s.n < p[1].i:
        return ABSENT
    out[0].f = ranked_quantile(ranked, s.n, p[0].f)
    return EMIT


cdef void rolling_quantile_loop(Rows* r) noexcept nogil:
    drive(rolling_quantile, 1, 1, r)


def rolling_quantile_by_definition(x, q, window):
    """The type-7 quantile of the last rows."""
    return trailing(x, window, lambda v: quantile(v, q))


define_ring(Spec(
    name="rolling_quantile",
    summary="Quantile of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("q", 0.0, 1.0), window_param(20, 1, 1_000_000)),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"q": 0.0, "window": 3}, {"q": 0.3, "window": 4}, {"q": 1.0, "window": 9}),
    definition=rolling_quantile_by_definition,
    source="Hyndman and Fan (1996), The American Statistician 50(4), type 7",
    notes="Linear between the order statistics, as in pandas; Polars takes the nearest of them "
          f"unless told otherwise. {SORTED}",
    bound=RANKS,
    example="SELECT ts, rolling_quantile(price, 0.9, 50) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM trades",
), rolling_quantile, quantile_bytes, rolling_quantile_loop)


# ---------------------------------------------------------------- rolling_corr, rolling_beta

cdef int64_t pairs_bytes(const cell* p) noexcept nogil:
    return joint_bytes(p[0].i)


cdef inline int rolling_corr(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Joint found
    if not joint_push(<JointWindow*> state, p[0].i, p + 1, x[0].f, x[1].f, &found):
        return ABSENT
    if not (found.cxx > 0.0 and found.cyy > 0.0):
        return ABSENT
    out[0].f = correlated(found.cxy, found.cxx, found.cyy)
    return EMIT


cdef void rolling_corr_loop(Rows* r) noexcept nogil:
    drive(rolling_corr, 2, 1, r)


cdef inline int rolling_beta(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Joint found
    if not joint_push(<JointWindow*> state, p[0].i, p + 1, x[1].f, x[0].f, &found):
        return ABSENT
    if not found.cxx > 0.0:
        return ABSENT
    out[0].f = found.cxy / found.cxx
    return EMIT


cdef void rolling_beta_loop(Rows* r) noexcept nogil:
    drive(rolling_beta, 2, 1, r)


def rolling_corr_by_definition(x, y, window):
    """Pearson's correlation of the last rows."""
    return trailing(list(zip(x, y)), window,
                    lambda v: correlation([a for a, _ in v], [b for _, b in v]))


def beta(pairs):
    """Covariance of both over the variance of the second."""
    y, x = [a for a, _ in pairs], [b for _, b in pairs]
    return comoment(x, y) / moment(x, 2) if len(set(x)) > 1 else None


def rolling_beta_by_definition(y, x, window):
    """Slope of y on x over the last rows."""
    return trailing(list(zip(y, x)), window, beta)


PAIRS = "56 bytes a row of the window"
BOTH = "(SELECT *, diff(bid) OVER w AS b, diff(ask) OVER w AS a FROM quotes " \
       "WINDOW w AS (PARTITION BY symbol ORDER BY ts, seq))"

define_ring(Spec(
    name="rolling_corr",
    summary="Correlation of two columns over the last rows.",
    shape="window",
    args=(Arg("x", unit="u"), Arg("y", unit="w")),
    params=(window_param(20, 2),),
    returns=Out(),
    nulls="row",
    cases=({"window": 3}, {"window": 6}, {"window": 9}),
    prepare=inverses,
    tolerance=1e-7,
    definition=rolling_corr_by_definition,
    source="Pearson (1895); Chan, Golub and LeVeque (1979)",
    notes="NULL where a column does not change in the window.",
    bound=PAIRS,
    example=f"SELECT ts, rolling_corr(b, a, 50) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            f"FROM {BOTH}",
), rolling_corr, pairs_bytes, rolling_corr_loop)

define_ring(Spec(
    name="rolling_beta",
    summary="Slope of y on x over the last rows: how an asset moves with its market.",
    shape="window",
    args=(Arg("y", unit="u"), Arg("x", unit="w")),
    params=(window_param(20, 2),),
    returns=Out(unit="u*w^-1"),
    nulls="row",
    cases=({"window": 2}, {"window": 6}, {"window": 9}),
    prepare=inverses,
    tolerance=1e-7,
    definition=rolling_beta_by_definition,
    source="Sharpe (1964), Journal of Finance 19(3)",
    notes="The dependent column comes first, as in regr_slope(y, x). NULL where x does not change "
          "in the window.",
    bound=PAIRS,
    example=f"SELECT ts, rolling_beta(b, a, 50) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            f"FROM {BOTH}",
), rolling_beta, pairs_bytes, rolling_beta_loop)


# ---------------------------------------------------------------- rolling_sharpe

cdef int64_t sharpe_bytes(const cell* p) noexcept nogil:
    return spread_bytes(p[0].i)


cdef inline int rolling_sharpe(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Spread found
    if not spread_push(<SpreadWindow*> state, p[0].i, p + 3, x[0].f - p[2].f, &found):
        return ABSENT
    if not found.m2 > 0.0:
        return ABSENT
    out[0].f = found.mean / sqrt(found.m2 / <double> (p[0].i - 1)) * sqrt(p[1].f)
    return EMIT


cdef void rolling_sharpe_loop(Rows* r) noexcept nogil:
    drive(rolling_sharpe, 1, 1, r)


def rolling_sharpe_by_definition(r, window, periods, rf_per_period):
    """Mean over standard deviation of the excess returns, times the root of the periods."""
    def ratio(v):
        excess = [x - rf_per_period for x in v]
        if len(set(v)) == 1:
            return None
        return mean(excess) / (moment(excess, 2) / (window - 1)) ** 0.5 * periods ** 0.5
    return trailing(r, window, ratio)


define_ring(Spec(
    name="rolling_sharpe",
    summary="Sharpe ratio of the last returns.",
    shape="window",
    args=(Arg("r", unit="r"),),
    params=(window_param(252, 2),
            Param("periods", 0.0, open_low=True, default=252.0, summary="rows of a year"),
            Param("rf_per_period", default=0.0, unit="r", summary="risk-free return of a row")),
    returns=Out(),
    nulls="row",
    cases=({"window": 3}, {"window": 6, "periods": 1.0, "rf_per_period": 0.1}),
    prepare=inverses,
    tolerance=1e-8,
    definition=rolling_sharpe_by_definition,
    source="Sharpe (1994), Journal of Portfolio Management 21(1)",
    notes="ddof 1. Returns that are all equal give NULL.",
    bound="24 bytes a row of the window",
    example="SELECT ts, rolling_sharpe(r, 50, 252, 0.0) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM (SELECT *, log_returns(price) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "AS r FROM trades)",
), rolling_sharpe, sharpe_bytes, rolling_sharpe_loop)


# ---------------------------------------------------------------- drawdown

cdef struct Drawdown:
    int64_t seen
    double peak
    double worst
    int64_t under               # rows since the peak


cdef inline int drawdown(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Drawdown* s = <Drawdown*> state
    if not s.seen or x[0].f >= s.peak:
        s.peak = x[0].f
        s.under = -1
    s.seen = 1
    s.under += 1
    if not s.peak > 0.0:
        return ABSENT
    out[0].f = s.peak
    out[1].f = x[0].f / s.peak - 1.0
    if out[1].f < s.worst:
        s.worst = out[1].f
    out[2].f = s.worst
    out[3].i = s.under
    return EMIT


cdef void drawdown_loop(Rows* r) noexcept nogil:
    drive(drawdown, 1, 4, r)


def drawdown_by_definition(equity):
    """Equity over its highest so far, less 1; the least of that; and the rows since the peak."""
    found, worst = [], 0.0
    for t, value in enumerate(equity):
        peak = max(equity[:t + 1])
        if peak <= 0:
            found.append(None)
            continue
        at = max(i for i in range(t + 1) if equity[i] == peak)
        worst = min(worst, value / peak - 1)
        found.append({"peak": peak, "drawdown": value / peak - 1, "max_drawdown": worst,
                      "bars_under_water": t - at})
    return found


define_window(Spec(
    name="drawdown",
    summary="How far equity lies below its highest value so far, the worst of that, and for long.",
    shape="window",
    args=(Arg("equity", unit="u", domain="positive"),),
    returns=Out(fields=(Out(name="peak", unit="u"), Out(name="drawdown"), Out(name="max_drawdown"),
                        Out(name="bars_under_water", type="int64"))),
    definition=drawdown_by_definition,
    source="Magdon-Ismail and Atiya (2004), Risk 17(10)",
    notes="drawdown and max_drawdown are at most 0. A peak that is not positive gives NULL.",
    example="SELECT ts, drawdown(price) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), drawdown, sizeof(Drawdown), drawdown_loop)
