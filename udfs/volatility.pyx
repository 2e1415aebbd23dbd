"""Volatility of returns."""

from math import pi, sqrt as textbook_sqrt

from libc.math cimport M_PI, fabs, sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, NO_MEMORY, Rows, cell, define_aggregate, define_ring, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._ordered cimport Ordered, ordered_add, ordered_copy, ordered_merge
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value
from fin_sql.udfs._textbook import trailing
from fin_sql.udfs._window cimport PlainWindow, added, plain_bytes, plain_push

cdef double MEDRV = M_PI / (6.0 - 4.0 * sqrt(3.0) + M_PI)


def window_param(least):
    """The length of a window in rows."""
    return Param("window", least, 10_000_000, default=20, type="int64", summary="rows")


RETURNS = Arg("r", unit="r")
LOG_RETURNS = (
    "(SELECT *, log_returns(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS r FROM trades)"
)
OVER = "OVER (PARTITION BY symbol ORDER BY ts, seq)"


# ---------------------------------------------------------------- realized_var

cdef int64_t realized_var_bytes(const cell* p) noexcept nogil:
    return plain_bytes(p[0].i)


cdef inline int realized_var(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef bint full = plain_push(<PlainWindow*> state, added, p[0].i, x[0].f * x[0].f, &out[0].f)
    return EMIT if full else ABSENT


cdef void realized_var_loop(Rows* r) noexcept nogil:
    drive(realized_var, 1, 1, r)


def realized_var_by_definition(r, window):
    """Sum of the squares of the last returns."""
    return trailing(r, window, lambda v: sum(x * x for x in v))


define_ring(Spec(
    name="realized_var",
    summary="Realised variance: sum of the squared returns of the last rows.",
    shape="window",
    args=(RETURNS,),
    params=(window_param(1),),
    returns=Out(unit="r^2"),
    nulls="row",
    cases=({"window": 1}, {"window": 5}, {}),
    definition=realized_var_by_definition,
    source="Andersen and Bollerslev (1998), International Economic Review 39(4)",
    notes="Of the returns that it is given: neither annualised nor in percent.",
    bound="16 bytes a row of the window",
    example=f"SELECT ts, realized_var(r, 50) {OVER} FROM {LOG_RETURNS}",
), realized_var, realized_var_bytes, realized_var_loop)


# ---------------------------------------------------------------- realized_var_agg

cdef struct RealizedVar:
    Sum squares
    int64_t n


cdef int realized_var_agg(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef RealizedVar* s = <RealizedVar*> state
    sum_add(&s.squares, x[0].f * x[0].f)
    s.n += 1
    return EMIT


cdef int realized_var_back(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef RealizedVar* s = <RealizedVar*> state
    sum_add(&s.squares, -x[0].f * x[0].f)
    s.n -= 1
    if s.n == 0:
        s.squares.total = s.squares.lost = 0.0
    return EMIT


cdef int realized_var_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const RealizedVar* s = <const RealizedVar*> state
    cdef double total = sum_value(&s.squares)
    if s.n == 0:
        return ABSENT
    out[0].f = total if not total < 0.0 else 0.0
    return EMIT


cdef int realized_var_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef RealizedVar* s = <RealizedVar*> state
    cdef const RealizedVar* o = <const RealizedVar*> other
    sum_add(&s.squares, o.squares.total)
    sum_add(&s.squares, o.squares.lost)
    s.n += o.n
    return EMIT


def realized_var_agg_by_definition(r):
    """Sum of the squares."""
    return sum(x * x for x in r) if r else None


define_aggregate(Spec(
    name="realized_var_agg",
    form_of="realized_var",
    summary="Realised variance of a group: sum of its squared returns.",
    shape="aggregate",
    args=(RETURNS,),
    returns=Out(unit="r^2"),
    definition=realized_var_agg_by_definition,
    source="Andersen and Bollerslev (1998), International Economic Review 39(4)",
    bound="24 bytes a group",
    example=f"SELECT symbol, realized_var_agg(r) FROM {LOG_RETURNS} "
            "GROUP BY symbol ORDER BY symbol",
), realized_var_agg, realized_var_value, realized_var_merge, sizeof(RealizedVar),
    realized_var_back)


# ---------------------------------------------------------------- bipower_var

cdef struct Bipower:            # followed by a PlainWindow of w - 1 products
    int64_t seen
    double before


cdef int64_t bipower_bytes(const cell* p) noexcept nogil:
    return sizeof(Bipower) + plain_bytes(p[0].i - 1)


cdef inline int bipower_var(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Bipower* s = <Bipower*> state
    cdef double now = fabs(x[0].f), before = s.before
    cdef bint seen = s.seen
    s.before = now
    s.seen = 1
    if not seen:
        return ABSENT
    if not plain_push(<PlainWindow*> (s + 1), added, p[0].i - 1, before * now, &out[0].f):
        return ABSENT
    out[0].f *= M_PI / 2.0
    return EMIT


cdef void bipower_var_loop(Rows* r) noexcept nogil:
    drive(bipower_var, 1, 1, r)


def bipower_of(v):
    """pi/2 times the sum of the products of neighbours."""
    return pi / 2 * sum(abs(a * b) for a, b in zip(v, v[1:])) if len(v) > 1 else None


def bipower_var_by_definition(r, window):
    """pi/2 times the sum of the window - 1 products of neighbouring returns."""
    return trailing(r, window, bipower_of)


define_ring(Spec(
    name="bipower_var",
    summary="Bipower variation of the last rows: the variance that jumps leave alone.",
    shape="window",
    args=(RETURNS,),
    params=(window_param(2),),
    returns=Out(unit="r^2"),
    nulls="row",
    cases=({"window": 2}, {"window": 5}, {}),
    definition=bipower_var_by_definition,
    source="Barndorff-Nielsen and Shephard (2004), Journal of Financial Econometrics 2(1)",
    notes="window - 1 products, all of returns inside the window; without the factor w / (w - 1) "
          "that some add for few rows.",
    bound="16 bytes a row of the window",
    example=f"SELECT ts, bipower_var(r, 50) {OVER} FROM {LOG_RETURNS}",
), bipower_var, bipower_bytes, bipower_var_loop)


# ---------------------------------------------------------------- bipower_var_agg, medrv_agg

cdef struct Neighbours:         # followed by its rows: time, return
    Ordered rows
    Sum total
    double last                 # |return| of the last two rows
    double before


cdef inline double middle_of(double a, double b, double c) noexcept nogil:
    """The median of three; NaN if one is."""
    cdef double low = a if a < b else b, high = b if a < b else a
    cdef double found = low if c < low else (high if c > high else c)
    return found + 0.0 * (a + b + c)


cdef inline void neighbour(Neighbours* s, int64_t n, double r, bint median) noexcept nogil:
    """Add what the n-th row brings."""
    cdef double now = fabs(r), middle
    if median and n > 2:
        middle = middle_of(s.before, s.last, now)
        sum_add(&s.total, middle * middle)
    elif not median and n > 1:
        sum_add(&s.total, s.last * now)
    s.before = s.last
    s.last = now


cdef inline int take_neighbour(void* state, const cell* x, bint median) noexcept nogil:
    cdef Neighbours* s = <Neighbours*> state
    if ordered_add(&s.rows, sizeof(Neighbours), 1, x[1].i, x) == GROW:
        return GROW
    if not s.rows.stale:
        neighbour(s, s.rows.n, x[0].f, median)
    return EMIT


cdef inline int neighbours_total(const void* state, bint median, double* total) noexcept nogil:
    cdef const Neighbours* s = <const Neighbours*> state
    cdef cell* rows
    cdef Neighbours anew
    cdef int64_t i
    total[0] = sum_value(&s.total)
    if s.rows.stale:
        rows = ordered_copy(&s.rows, sizeof(Neighbours), 1)
        if rows == NULL:
            return NO_MEMORY
        memset(&anew, 0, sizeof(Neighbours))
        for i in range(s.rows.n):
            neighbour(&anew, i + 1, rows[2 * i + 1].f, median)
        free(rows)
        total[0] = sum_value(&anew.total)
    return EMIT


cdef int bipower_var_agg(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return take_neighbour(state, x, False)


cdef int bipower_var_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef double total
    if (<const Neighbours*> state).rows.n < 2:
        return ABSENT
    if neighbours_total(state, False, &total) == NO_MEMORY:
        return NO_MEMORY
    out[0].f = M_PI / 2.0 * total
    return EMIT


cdef int medrv_agg(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return take_neighbour(state, x, True)


cdef int medrv_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef double n = <double> (<const Neighbours*> state).rows.n, total
    if n < 3.0:
        return ABSENT
    if neighbours_total(state, True, &total) == NO_MEMORY:
        return NO_MEMORY
    out[0].f = MEDRV * (n / (n - 2.0)) * total
    return EMIT


cdef int neighbours_merge(void* state, const void* other, const cell* p) noexcept nogil:
    return ordered_merge(<Ordered*> state, <const Ordered*> other, sizeof(Neighbours), 1)


def in_time(ts, *columns):
    """Columns in order of time; rows of one time as they came."""
    order = sorted(range(len(ts)), key=lambda i: ts[i])
    return [[column[i] for i in order] for column in columns]


def bipower_var_agg_by_definition(r, ts):
    """pi/2 times the sum of the products of neighbours in time."""
    return bipower_of(in_time(ts, r)[0])


def medrv_of(v):
    """The median of each three neighbours, squared, summed and scaled."""
    n, scale = len(v), pi / (6 - 4 * textbook_sqrt(3) + pi)
    squares = [sorted(map(abs, v[i:i + 3]))[1] ** 2 for i in range(n - 2)]
    return scale * n / (n - 2) * sum(squares) if n > 2 else None


def medrv_agg_by_definition(r, ts):
    """MedRV of the returns in order of time."""
    return medrv_of(in_time(ts, r)[0])


TIMED = (RETURNS, Arg("ts", type="timestamp"))
ORDER_KEPT = "16 bytes a row of the group: its rows are kept, as partial groups meet in any order"

define_aggregate(Spec(
    name="bipower_var_agg",
    form_of="bipower_var",
    summary="Bipower variation of a group, in order of time.",
    shape="aggregate",
    args=TIMED,
    returns=Out(unit="r^2"),
    definition=bipower_var_agg_by_definition,
    source="Barndorff-Nielsen and Shephard (2004), Journal of Financial Econometrics 2(1)",
    bound=ORDER_KEPT,
    example=f"SELECT symbol, bipower_var_agg(r, ts) FROM {LOG_RETURNS} "
            "GROUP BY symbol ORDER BY symbol",
), bipower_var_agg, bipower_var_value, neighbours_merge, sizeof(Neighbours) + 4 * 2 * sizeof(cell),
    NULL, True)

define_aggregate(Spec(
    name="medrv_agg",
    form_of="medrv",
    summary="Median realised variance of a group, in order of time.",
    shape="aggregate",
    args=TIMED,
    returns=Out(unit="r^2"),
    definition=medrv_agg_by_definition,
    source="Andersen, Dobrev and Schaumburg (2012), Journal of Econometrics 169(1)",
    bound=ORDER_KEPT,
    example=f"SELECT symbol, medrv_agg(r, ts) FROM {LOG_RETURNS} GROUP BY symbol ORDER BY symbol",
), medrv_agg, medrv_value, neighbours_merge, sizeof(Neighbours) + 4 * 2 * sizeof(cell), NULL, True)


# ---------------------------------------------------------------- medrv

cdef struct Medrv:              # followed by a PlainWindow of w - 2 squared medians
    int64_t rows
    double before
    double last


cdef int64_t medrv_bytes(const cell* p) noexcept nogil:
    return sizeof(Medrv) + plain_bytes(p[0].i - 2)


cdef inline int medrv(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Medrv* s = <Medrv*> state
    cdef double now = fabs(x[0].f), middle = middle_of(s.before, s.last, now)
    cdef double w = <double> p[0].i
    s.before = s.last
    s.last = now
    s.rows += s.rows < 3
    if s.rows < 3:
        return ABSENT
    if not plain_push(<PlainWindow*> (s + 1), added, p[0].i - 2, middle * middle, &out[0].f):
        return ABSENT
    out[0].f *= MEDRV * (w / (w - 2.0))
    return EMIT


cdef void medrv_loop(Rows* r) noexcept nogil:
    drive(medrv, 1, 1, r)


def medrv_by_definition(r, window):
    """MedRV of the last rows."""
    return trailing(r, window, medrv_of)


define_ring(Spec(
    name="medrv",
    summary="Median realised variance of the last rows, which jumps and zeros leave alone.",
    shape="window",
    args=(RETURNS,),
    params=(window_param(3),),
    returns=Out(unit="r^2"),
    nulls="row",
    cases=({"window": 3}, {"window": 5}, {}),
    definition=medrv_by_definition,
    source="Andersen, Dobrev and Schaumburg (2012), Journal of Econometrics 169(1)",
    notes="Each triple of neighbours enters with its last row, so that nothing looks ahead.",
    bound="16 bytes a row of the window",
    example=f"SELECT ts, medrv(r, 50) {OVER} FROM {LOG_RETURNS}",
), medrv, medrv_bytes, medrv_loop)


# ---------------------------------------------------------------- riskmetrics_vol

cdef struct Riskmetrics:
    int64_t seen
    double variance


cdef inline int riskmetrics_vol(void* state, const cell* p, const cell* x,
                                cell* out) noexcept nogil:
    cdef Riskmetrics* s = <Riskmetrics*> state
    cdef double square = x[0].f * x[0].f
    s.variance = p[0].f * s.variance + (1.0 - p[0].f) * square if s.seen else square
    s.seen = 1
    out[0].f = sqrt(s.variance)
    return EMIT


cdef void riskmetrics_vol_loop(Rows* r) noexcept nogil:
    drive(riskmetrics_vol, 1, 1, r)


def riskmetrics_vol_by_definition(r, **params):
    """Root of the weighted mean of the squared returns, weights falling by lambda a row."""
    decay, found = params["lambda"], []
    for t in range(len(r)):
        weights = [(1 - decay) * decay ** (t - i) if i else decay ** t for i in range(t + 1)]
        found.append(textbook_sqrt(sum(w * v * v for w, v in zip(weights, r))))
    return found


define_window(Spec(
    name="riskmetrics_vol",
    summary="Exponentially weighted volatility of returns, by RiskMetrics.",
    shape="window",
    args=(RETURNS,),
    params=(Param("lambda", 0.0, 1.0, open_low=True, open_high=True, default=0.94,
                  summary="weight of the past: 0.94 for days, 0.97 for months"),),
    returns=Out(unit="r"),
    cases=({}, {"lambda": 0.5}),
    tolerance=1e-9,
    definition=riskmetrics_vol_by_definition,
    source="J.P. Morgan and Reuters (1996), RiskMetrics Technical Document, 4th ed., ch. 5",
    notes="What is known at the end of the row, for the next one: the arch package has the same "
          "series a row later. The first squared return is the seed. Not annualised. The alpha of "
          "ewma is 1 - lambda.",
    example=f"SELECT ts, riskmetrics_vol(r, 0.94) {OVER} FROM {LOG_RETURNS}",
), riskmetrics_vol, sizeof(Riskmetrics), riskmetrics_vol_loop)
