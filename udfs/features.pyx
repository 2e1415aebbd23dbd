"""Features: differences, rolling moments and extremes."""

from libc.math cimport NAN, sqrt
from libc.stdint cimport int64_t

from fin_sql import registry
from fin_sql.abi cimport ABSENT, EMIT, Rows, cell, define_ring, define_scalar, drive
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._textbook import correlation, moment, trailing
from fin_sql.udfs._window cimport (
    Joint, JointWindow, PlainWindow, Shape, ShapeWindow, Spread, SpreadWindow,
    correlated, greater, joint_bytes, joint_push, lesser, plain_bytes, plain_push, shape_bytes,
    shape_push, spread_bytes, spread_push,
)

LONGEST = 10_000_000


def window_param(default, least=1):
    """The length of a window in rows."""
    return Param("window", least, LONGEST, default=default, type="int64", summary="rows")


def inverses(params):
    """1/k for k = 0 .. window; the first is not used."""
    return [0.0] + [1.0 / k for k in range(1, params["window"] + 1)]


# ---------------------------------------------------------------- lag

registry.add_builtin("features", Spec(
    name="lag",
    summary="The value k rows before; DataFusion's own function.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("k", 0, LONGEST, default=1, type="int64", summary="rows"),),
    returns=Out(unit="u"),
    definition=None,
    source="SQL:2003",
    example="SELECT ts, lag(price, 2) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM trades",
))


# ---------------------------------------------------------------- diff

cdef struct Diff:               # followed by double x[k]
    int64_t at
    int64_t full


cdef int64_t diff_bytes(const cell* p) noexcept nogil:
    return sizeof(Diff) + p[0].i * sizeof(double)


cdef inline int diff(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Diff* s = <Diff*> state
    cdef double* rows = <double*> (s + 1)
    cdef bint there = s.full
    out[0].f = x[0].f - rows[s.at]
    rows[s.at] = x[0].f
    s.at += 1
    if s.at == p[0].i:
        s.at = 0
        s.full = 1
    return EMIT if there else ABSENT


cdef void diff_loop(Rows* r) noexcept nogil:
    drive(diff, 1, 1, r)


def diff_by_definition(x, k):
    """x[t] - x[t-k]."""
    return [
        None if t < k or x[t] is None or x[t - k] is None else x[t] - x[t - k]
        for t in range(len(x))
    ]


define_ring(Spec(
    name="diff",
    summary="Change against the value k rows before.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("k", 1, LONGEST, default=1, type="int64", summary="rows"),),
    returns=Out(unit="u"),
    nulls="row",
    cases=({}, {"k": 3}),
    definition=diff_by_definition,
    source="SQL LAG with RESPECT NULLS; pandas Series.diff",
    bound="8 bytes for each of k rows",
    example="SELECT ts, diff(price, 1) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), diff, diff_bytes, diff_loop)


# ---------------------------------------------------------------- rolling_min, rolling_max

cdef int64_t extreme_bytes(const cell* p) noexcept nogil:
    return plain_bytes(p[0].i)


cdef inline int rolling_min(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef bint full = plain_push(<PlainWindow*> state, lesser, p[0].i, x[0].f, &out[0].f)
    return EMIT if full else ABSENT


cdef inline int rolling_max(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef bint full = plain_push(<PlainWindow*> state, greater, p[0].i, x[0].f, &out[0].f)
    return EMIT if full else ABSENT


cdef void rolling_min_loop(Rows* r) noexcept nogil:
    drive(rolling_min, 1, 1, r)


cdef void rolling_max_loop(Rows* r) noexcept nogil:
    drive(rolling_max, 1, 1, r)


def rolling_min_by_definition(x, window):
    """The least of the last `window` rows."""
    return trailing(x, window, min)


def rolling_max_by_definition(x, window):
    """The greatest of the last `window` rows."""
    return trailing(x, window, max)


define_ring(Spec(
    name="rolling_min",
    summary="Least value of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(window_param(20),),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 1}, {"window": 3}, {"window": 8}),
    definition=rolling_min_by_definition,
    source="van Herk (1992), Pattern Recognition Letters 13(7)",
    bound="16 bytes a row of the window",
    example="SELECT ts, rolling_min(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_min, extreme_bytes, rolling_min_loop)

define_ring(Spec(
    name="rolling_max",
    summary="Greatest value of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(window_param(20),),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 1}, {"window": 3}, {"window": 8}),
    definition=rolling_max_by_definition,
    source="van Herk (1992), Pattern Recognition Letters 13(7)",
    bound="16 bytes a row of the window",
    example="SELECT ts, rolling_max(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_max, extreme_bytes, rolling_max_loop)


# ---------------------------------------------------------------- rolling_std

cdef int64_t rolling_std_bytes(const cell* p) noexcept nogil:
    return spread_bytes(p[0].i)


cdef inline int rolling_std(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Spread found
    if not spread_push(<SpreadWindow*> state, p[0].i, p + 2, x[0].f, &found):
        return ABSENT
    out[0].f = sqrt(found.m2 / (p[0].i - p[1].i))
    return EMIT


cdef void rolling_std_loop(Rows* r) noexcept nogil:
    drive(rolling_std, 1, 1, r)


def rolling_std_by_definition(x, window, ddof):
    """Square root of the sum of squared deviations over window - ddof."""
    return trailing(x, window, lambda v: (moment(v, 2) / (window - ddof)) ** 0.5)


def refuse_ddof(params):
    """A window must have more rows than degrees of freedom are taken off."""
    if params["window"] <= params["ddof"]:
        return f"'window' must be greater than 'ddof' = {params['ddof']}, was {params['window']}"
    return None


define_ring(Spec(
    name="rolling_std",
    summary="Standard deviation of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(window_param(20),
            Param("ddof", 0, 1, default=1, type="int64", summary="1 for a sample")),
    returns=Out(unit="u"),
    nulls="row",
    cases=({"window": 2}, {"window": 5}, {"window": 8, "ddof": 0}),
    check=refuse_ddof,
    prepare=inverses,
    definition=rolling_std_by_definition,
    source="Welford (1962), Technometrics 4(3); Chan, Golub and LeVeque (1979)",
    notes="A window of equal values gives exactly 0.",
    bound="24 bytes a row of the window",
    example="SELECT ts, rolling_std(price, 20, 1) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_std, rolling_std_bytes, rolling_std_loop)


# ---------------------------------------------------------------- rolling_skew, rolling_kurt

cdef int64_t shape_state(const cell* p) noexcept nogil:
    return shape_bytes(p[0].i)


cdef int rolling_skew(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Shape found
    cdef double n = <double> p[0].i
    if not shape_push(<ShapeWindow*> state, p[0].i, p + 1, x[0].f, &found):
        return ABSENT
    if not found.m2 > 0.0:
        return ABSENT
    # n sqrt(n-1) / (n-2) times m3 / m2^1.5, in an order that neither overflows nor underflows
    out[0].f = n * sqrt(n - 1.0) / (n - 2.0) * (found.m3 / found.m2 / sqrt(found.m2))
    return EMIT


cdef int rolling_kurt(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Shape found
    cdef double n = <double> p[0].i
    if not shape_push(<ShapeWindow*> state, p[0].i, p + 1, x[0].f, &found):
        return ABSENT
    if not found.m2 > 0.0:
        return ABSENT
    out[0].f = ((n - 1.0) / ((n - 2.0) * (n - 3.0))
                * ((n + 1.0) * n * (found.m4 / found.m2 / found.m2) - 3.0 * (n - 1.0)))
    return EMIT


def skew_of(v):
    """G1, the bias-corrected skewness."""
    n, m2 = len(v), moment(v, 2)
    return n * (n - 1) ** 0.5 / (n - 2) * moment(v, 3) / m2 ** 1.5 if len(set(v)) > 1 else None


def kurt_of(v):
    """G2, the bias-corrected excess kurtosis."""
    n, m2 = len(v), moment(v, 2)
    if len(set(v)) == 1:
        return None
    factor = (n - 1) / ((n - 2) * (n - 3))
    return factor * ((n + 1) * n * moment(v, 4) / m2 ** 2 - 3 * (n - 1))


def rolling_skew_by_definition(x, window):
    """G1 of the last `window` rows."""
    return trailing(x, window, skew_of)


def rolling_kurt_by_definition(x, window):
    """G2 of the last `window` rows."""
    return trailing(x, window, kurt_of)


define_ring(Spec(
    name="rolling_skew",
    summary="Bias-corrected skewness (G1) of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(window_param(20, 3),),
    returns=Out(unit="1"),
    nulls="row",
    cases=({"window": 3}, {"window": 5}, {"window": 9}),
    prepare=inverses,
    tolerance=1e-8,
    definition=rolling_skew_by_definition,
    source="Joanes and Gill (1998), The Statistician 47(1); Pebay (2008)",
    notes="A constant window gives NULL. Polars and SciPy default to the biased form.",
    bound="40 bytes a row of the window",
    example="SELECT ts, rolling_skew(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_skew, shape_state)

define_ring(Spec(
    name="rolling_kurt",
    summary="Bias-corrected excess kurtosis (G2) of the last rows.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(window_param(20, 4),),
    returns=Out(unit="1"),
    nulls="row",
    cases=({"window": 4}, {"window": 6}, {"window": 9}),
    prepare=inverses,
    tolerance=1e-8,
    definition=rolling_kurt_by_definition,
    source="Joanes and Gill (1998), The Statistician 47(1); Pebay (2008)",
    notes="Excess: a normal distribution has 0. A constant window gives NULL.",
    bound="40 bytes a row of the window",
    example="SELECT ts, rolling_kurt(price, 20) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), rolling_kurt, shape_state)


# ---------------------------------------------------------------- autocorr

cdef struct Autocorr:           # followed by double x[lag], then a JointWindow
    int64_t at
    int64_t full


cdef int64_t autocorr_bytes(const cell* p) noexcept nogil:
    return sizeof(Autocorr) + p[0].i * sizeof(double) + joint_bytes(p[1].i)


cdef int autocorr(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Autocorr* s = <Autocorr*> state
    cdef double* rows = <double*> (s + 1)
    cdef double before = rows[s.at]
    cdef bint paired = s.full
    cdef Joint found
    rows[s.at] = x[0].f
    s.at += 1
    if s.at == p[0].i:
        s.at = 0
        s.full = 1
    if not paired:
        return ABSENT
    if not joint_push(<JointWindow*> (rows + p[0].i), p[1].i, p + 2, x[0].f, before, &found):
        return ABSENT
    if not (found.cxx > 0.0 and found.cyy > 0.0):
        return ABSENT
    out[0].f = correlated(found.cxy, found.cxx, found.cyy)
    return EMIT


def autocorr_by_definition(x, lag, window):
    """Pearson's correlation of the last `window` pairs (x[i], x[i-lag])."""
    pairs = [None] * lag + [(x[i], x[i - lag]) for i in range(lag, len(x))]
    return trailing(pairs[:len(x)], window,
                    lambda v: correlation([a for a, _ in v], [b for _, b in v]))


define_ring(Spec(
    name="autocorr",
    summary="Correlation of a series with itself, lag rows before, over the last pairs.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("lag", 1, LONGEST, default=1, type="int64", summary="rows"),
            window_param(100, 2)),
    returns=Out(unit="1"),
    nulls="row",
    cases=({"lag": 1, "window": 3}, {"lag": 2, "window": 6}),
    prepare=inverses,
    tolerance=1e-7,
    definition=autocorr_by_definition,
    source="Box and Jenkins (1976), ch. 2, as a Pearson correlation",
    notes="Each leg has its own mean, as in pandas; statsmodels' acf takes a common one.",
    bound="56 bytes a row of the window and 8 bytes a row of the lag",
    example="SELECT ts, autocorr(diff, 1, 50) OVER (PARTITION BY symbol ORDER BY ts, seq) FROM "
            "(SELECT *, price - lag(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS diff "
            "FROM trades)",
), autocorr, autocorr_bytes)


# ---------------------------------------------------------------- signed_volume

cdef int signed_volume(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].f = x[1].f * ((x[0].f > 0.0) - (x[0].f < 0.0)) if x[0].f == x[0].f else NAN
    return EMIT


def signed_volume_by_definition(side, volume):
    """sign(side) volume."""
    return volume if side > 0 else -volume if side < 0 else 0.0 * volume


define_scalar(Spec(
    name="signed_volume",
    summary="Volume with the sign of the side.",
    shape="scalar",
    args=(Arg("side", domain="sign"), Arg("volume", unit="v", domain="positive")),
    returns=Out(unit="v"),
    nulls="propagate",
    definition=signed_volume_by_definition,
    source="Hasbrouck (1991), Journal of Finance 46(1)",
    notes="Any signed number serves as a side; 0 gives 0.",
    example="SELECT ts, signed_volume(side, size) FROM trades",
), signed_volume)
