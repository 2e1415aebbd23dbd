"""The standard window functions as kernels: one pass, and nothing is ever subtracted.

A kernel here sees rows as they are: NULL is a flag beside the value, NaN and the infinities are
values, so that doubles travel as their bits.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, Bound, Functions, Kernel, Rows, cell, drive, loop_fn, size_fn, step_fn,
)
from fin_sql.exec._frames cimport (
    THERE, VALUE, Element, Part, Queue, blocks_bytes, in_rows, in_time, join_count,
    join_first, join_fn, join_integer, join_joint, join_last, join_least, join_most, join_spread,
    join_sum, lift_count, lift_fn, lift_integer, lift_joint, lift_ordered, lift_row, lift_spread,
    lift_sum, lift_value,
)
from fin_sql.exec._values cimport (
    covar_pop, covar_samp, stddev_pop, stddev_samp, value_of_correlation, value_of_count,
    value_of_first, value_of_fn, value_of_mean, value_of_ordered, value_of_row, value_of_sum,
    var_pop, var_samp,
)
from fin_sql.spec import Arg, Out, Param, Spec


cdef inline int framed(void* state, const cell* p, const cell* x, cell* out, int time_at,
                       lift_fn lift, join_fn join, value_of_fn value,
                       const int numbers) noexcept nogil:
    cdef Part found
    if time_at:
        if in_time(state, p, x, x[time_at], lift, join, &found) == GROW:
            return GROW
    else:
        in_rows(state, p, x, lift, join, numbers, &found)
    return value(&found, out)


# A step for ROWS and one for RANGE, in which all but the state is constant; a loop for those that
# many people use.
cdef inline int count_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_count, join_count, value_of_count, 0)


cdef void count_loop(Rows* r) noexcept nogil:
    drive(count_rows, 3, 1, r)


cdef int count_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_count, join_count, value_of_count, 0)


cdef inline int sum_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_sum, join_sum, value_of_sum, 2)


cdef void sum_loop(Rows* r) noexcept nogil:
    drive(sum_rows, 3, 1, r)


cdef int sum_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_sum, join_sum, value_of_sum, 2)


cdef inline int total_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_integer, join_integer, value_of_first, 1)


cdef void total_loop(Rows* r) noexcept nogil:
    drive(total_rows, 3, 1, r)


cdef int total_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_integer, join_integer, value_of_first, 1)


cdef inline int avg_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_sum, join_sum, value_of_mean, 2)


cdef void avg_loop(Rows* r) noexcept nogil:
    drive(avg_rows, 3, 1, r)


cdef int avg_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_sum, join_sum, value_of_mean, 2)


cdef inline int min_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_ordered, join_least, value_of_ordered, 1)


cdef void min_loop(Rows* r) noexcept nogil:
    drive(min_rows, 3, 1, r)


cdef int min_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_ordered, join_least, value_of_ordered, 1)


cdef inline int max_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_ordered, join_most, value_of_ordered, 1)


cdef void max_loop(Rows* r) noexcept nogil:
    drive(max_rows, 3, 1, r)


cdef int max_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_ordered, join_most, value_of_ordered, 1)


cdef int least_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_value, join_least, value_of_first, 1)


cdef int least_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_value, join_least, value_of_first, 1)


cdef int most_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_value, join_most, value_of_first, 1)


cdef int most_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_value, join_most, value_of_first, 1)


cdef int first_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_row, join_first, value_of_row, 2)


cdef int first_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_row, join_first, value_of_row, 2)


cdef int last_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_row, join_last, value_of_row, 2)


cdef int last_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_row, join_last, value_of_row, 2)


cdef int known_first_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_value, join_first, value_of_first, 1)


cdef int known_first_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_value, join_first, value_of_first, 1)


cdef int known_last_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_value, join_last, value_of_first, 1)


cdef int known_last_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_value, join_last, value_of_first, 1)


cdef int var_samp_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_spread, join_spread, var_samp, 2)


cdef int var_samp_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_spread, join_spread, var_samp, 2)


cdef int var_pop_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_spread, join_spread, var_pop, 2)


cdef int var_pop_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_spread, join_spread, var_pop, 2)


cdef inline int stddev_samp_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_spread, join_spread, stddev_samp, 2)


cdef void stddev_samp_loop(Rows* r) noexcept nogil:
    drive(stddev_samp_rows, 3, 1, r)


cdef int stddev_samp_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_spread, join_spread, stddev_samp, 2)


cdef int stddev_pop_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_spread, join_spread, stddev_pop, 2)


cdef int stddev_pop_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_spread, join_spread, stddev_pop, 2)


cdef int covar_samp_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_joint, join_joint, covar_samp, 5)


cdef int covar_samp_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_joint, join_joint, covar_samp, 5)


cdef int covar_pop_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_joint, join_joint, covar_pop, 5)


cdef int covar_pop_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_joint, join_joint, covar_pop, 5)


cdef int corr_rows(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 0, lift_joint, join_joint, value_of_correlation, 5)


cdef int corr_time(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return framed(s, p, x, out, 3, lift_joint, join_joint, value_of_correlation, 5)


# ---------------------------------------------------------------- by place

cdef struct Number:
    int64_t n


cdef int row_number(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Number* s = <Number*> state
    s.n += 1
    out[0].i = s.n
    return EMIT


cdef struct Lagged:             # followed by offset cells of values and offset flags
    int64_t n
    int64_t at


cdef int64_t lag_bytes(const cell* p) noexcept nogil:
    return sizeof(Lagged) + p[0].i * 2 * sizeof(cell)


# Parameters: offset, IGNORE NULLS, whether there is a default, its bits.
cdef int lag(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Lagged* s = <Lagged*> state
    cdef cell* held = <cell*> (s + 1)
    cdef int64_t k = p[0].i
    cdef bint there, exists
    if k == 0:
        out[0] = x[VALUE]
        return EMIT if x[THERE].i else ABSENT
    exists = s.n >= k
    out[0] = held[2 * s.at]
    there = held[2 * s.at + 1].i
    if not (p[1].i and not x[THERE].i):
        held[2 * s.at] = x[VALUE]
        held[2 * s.at + 1].i = x[THERE].i
        s.at = s.at + 1 if s.at + 1 < k else 0
        s.n += 1
    if not exists:
        out[0] = p[3]
        return EMIT if p[2].i else ABSENT
    return EMIT if there else ABSENT


cdef struct Nth:
    int64_t n
    cell value
    int64_t there


# Parameters: which, IGNORE NULLS.
cdef int nth_value(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Nth* s = <Nth*> state
    if x[THERE].i or not p[1].i:
        s.n += 1
        if s.n == p[0].i:
            s.value = x[VALUE]
            s.there = x[THERE].i
    out[0] = s.value
    return EMIT if s.there else ABSENT


# ---------------------------------------------------------------- as kernels

cdef object kernel(str name, int n_args, tuple params, step_fn step, int64_t size,
                   size_fn sizer, bint grows, loop_fn loop=NULL):
    cdef Kernel made = Kernel.__new__(Kernel)
    made.spec = Spec(
        name=name,
        summary="A standard window function.",
        shape="window",
        args=tuple(Arg(word, "int64") for word in ("there", "x", "y", "t")[:n_args]),
        params=tuple(Param(word, type="int64") for word in params),
        returns=Out("int64"),
        nulls="row",
        definition=None,
        source="",
        example="",
        bound="it keeps every row of the time that its frame looks back",
    )
    made.family = "standard"
    made.n_args, made.n_outs = n_args, 1
    made.grows = grows
    memset(&made.c, 0, sizeof(Functions))
    made.c.step, made.c.size, made.c.sizer, made.c.loop = step, size, sizer, loop
    return made


FRAMED = {}
NUMBERS_OF = {}                 # of the summaries of each
cdef add(str name, int numbers, step_fn rows, step_fn time, loop_fn loop=NULL):
    NUMBERS_OF[name] = numbers
    frame = ("rows_back", "end_back", "time_back", "numbers")
    FRAMED[name, "rows"] = kernel(f"{name} rows", 3, frame, rows, 0, blocks_bytes, False, loop)
    FRAMED[name, "range"] = kernel(
        f"{name} range", 4, frame, time, sizeof(Queue) + 4 * sizeof(Element), NULL, True)


add("count", 0, count_rows, count_time, count_loop)
add("sum", 2, sum_rows, sum_time, sum_loop)
add("total", 1, total_rows, total_time, total_loop)
add("avg", 2, avg_rows, avg_time, avg_loop)
add("min", 1, min_rows, min_time, min_loop)
add("max", 1, max_rows, max_time, max_loop)
add("least", 1, least_rows, least_time)
add("most", 1, most_rows, most_time)
add("first_value", 2, first_rows, first_time)
add("last_value", 2, last_rows, last_time)
add("known_first_value", 1, known_first_rows, known_first_time)
add("known_last_value", 1, known_last_rows, known_last_time)
add("var_samp", 2, var_samp_rows, var_samp_time)
add("var_pop", 2, var_pop_rows, var_pop_time)
add("stddev_samp", 2, stddev_samp_rows, stddev_samp_time, stddev_samp_loop)
add("stddev_pop", 2, stddev_pop_rows, stddev_pop_time)
add("covar_samp", 5, covar_samp_rows, covar_samp_time)
add("covar_pop", 5, covar_pop_rows, covar_pop_time)
add("corr", 5, corr_rows, corr_time)

ROW_NUMBER = kernel("row_number", 1, (), row_number, sizeof(Number), NULL, False)
LAG = kernel("lag rows", 2, ("offset", "ignore_nulls", "has_default", "default"), lag, 0,
             lag_bytes, False)
NTH_VALUE = kernel("nth_value rows", 2, ("n", "ignore_nulls"), nth_value, sizeof(Nth), NULL, False)


def bind(Kernel made, **params):
    """A kernel of this module with its parameters."""
    return Bound(made, params)
