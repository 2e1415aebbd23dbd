"""The standard aggregates as kernels: each group keeps the summary of its rows.

As in a window a kernel here sees rows as they are: NULL is a flag beside the value.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, Bound, Functions, Kernel, Rows, absorb, cell, loop_fn, state_of, step_fn,
    value_fn,
)
from fin_sql.exec._frames cimport (
    THERE, VALUE, Part, get, join_count, join_first, join_fn, join_joint, join_last, join_least,
    join_most, join_spread, join_sum, lift_count, lift_fn, lift_joint, lift_ordered, lift_row,
    lift_spread, lift_sum, lift_value, put,
)
from fin_sql.exec._values cimport (
    covar_pop, covar_samp, stddev_pop, stddev_samp, value_of_correlation, value_of_count,
    value_of_first, value_of_fn, value_of_mean, value_of_ordered, value_of_row, value_of_sum,
    var_pop, var_samp,
)
from fin_sql.spec import Arg, Out, Spec

# GCC gives up on inlining what many functions share; here that is the whole work of a row.
cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #undef CYTHON_INLINE
    #define CYTHON_INLINE inline __attribute__((always_inline))
    #endif
    """


cdef enum:
    MAX_ROW = 5                 # the flag, two values, two order columns
    TOO_WIDE = -1


# ---------------------------------------------------------------- rows into groups

cdef inline int fold(void* state, const cell* x, lift_fn lift, join_fn join,
                     const int numbers) noexcept nogil:
    cdef Part one, group
    get(&group, <const cell*> state, numbers)
    lift(&one, x)
    join(&group, &one)
    put(<cell*> state, &group, numbers)
    return EMIT


# With constant functions the compiler makes a loop of its own of each.
cdef inline void fold_all(Rows* rows, const int n_args, lift_fn lift, join_fn join,
                          const int numbers) noexcept nogil:
    cdef Rows r = rows[0]       # a copy that no store through a pointer can change
    cdef cell x[MAX_ROW]
    cdef Py_ssize_t i
    cdef int k
    cdef int32_t slot = 0
    for i in range(r.at, r.n):
        for k in range(n_args):
            x[k] = r.columns[k][i]
        if r.slots != NULL:
            slot = r.slots[i]
        fold(state_of(&r, slot), x, lift, join, numbers)
    rows.at = r.n
    rows.code = EMIT


cdef inline int worth(const void* state, cell* out, value_of_fn value,
                      const int numbers) noexcept nogil:
    cdef Part group
    memset(&group, 0, sizeof(Part))
    get(&group, <const cell*> state, numbers)
    return value(&group, out)


cdef int count_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_count, join_count, 0)


cdef void count_loop(Rows* r) noexcept nogil:
    fold_all(r, 1, lift_count, join_count, 0)


cdef int count_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_count, 0)


cdef int sum_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_sum, join_sum, 2)


cdef void sum_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_sum, join_sum, 2)


cdef int sum_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_sum, 2)


cdef int avg_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_mean, 2)


# A sum of integers has 128 bits, so that only a total that does not fit is an error: which rows
# come first does not matter.
cdef inline void lift_total(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0].i = x[VALUE].i if s.n else 0
    s.v[1].i = s.v[0].i >> 63


cdef inline void join_total(Part* s, const Part* o) noexcept nogil:
    cdef uint64_t low = <uint64_t> s.v[0].i + <uint64_t> o.v[0].i
    s.v[1].i += o.v[1].i + (low < <uint64_t> o.v[0].i)
    s.v[0].i = <int64_t> low
    s.n += o.n


cdef inline int value_of_total(Part* s, cell* out) noexcept nogil:
    out[0] = s.v[0]
    if s.v[1].i != s.v[0].i >> 63:
        return TOO_WIDE
    return EMIT if s.n else ABSENT


cdef int total_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_total, join_total, 2)


cdef void total_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_total, join_total, 2)


cdef int total_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_total, 2)


cdef int first_known(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_first, 1)


cdef int min_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_ordered, join_least, 1)


cdef void min_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_ordered, join_least, 1)


cdef int max_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_ordered, join_most, 1)


cdef void max_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_ordered, join_most, 1)


cdef int ordered_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_ordered, 1)


cdef int least_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_value, join_least, 1)


cdef void least_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_value, join_least, 1)


cdef int most_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_value, join_most, 1)


cdef void most_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_value, join_most, 1)


cdef int first_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_row, join_first, 2)


cdef void first_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_row, join_first, 2)


cdef int last_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_row, join_last, 2)


cdef void last_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_row, join_last, 2)


cdef int row_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_row, 2)


cdef int known_first_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_value, join_first, 1)


cdef int known_last_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_value, join_last, 1)


cdef int spread_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_spread, join_spread, 2)


cdef void spread_loop(Rows* r) noexcept nogil:
    fold_all(r, 2, lift_spread, join_spread, 2)


cdef int var_samp_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, var_samp, 2)


cdef int var_pop_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, var_pop, 2)


cdef int stddev_samp_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, stddev_samp, 2)


cdef int stddev_pop_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, stddev_pop, 2)


cdef int joint_step(void* s, const cell* p, const cell* x, cell* out) noexcept nogil:
    return fold(s, x, lift_joint, join_joint, 5)


cdef int covar_samp_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, covar_samp, 5)


cdef int covar_pop_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, covar_pop, 5)


cdef int corr_value(const void* s, const cell* p, cell* out) noexcept nogil:
    return worth(s, out, value_of_correlation, 5)


# ---------------------------------------------------------------- first_value, last_value ORDER BY

cdef struct Placed:             # the row that is first or last so far
    int64_t n
    cell value
    int64_t there
    int64_t place[2]


# Columns: the flag, the value, and two of the order as integers that compare as it does.
cdef inline bint before(const Placed* s, const cell* x) noexcept nogil:
    if x[2].i != s.place[0]:
        return x[2].i < s.place[0]
    return x[3].i < s.place[1]


cdef inline void place(Placed* s, const cell* x) noexcept nogil:
    s.value = x[1]
    s.there = x[THERE].i
    s.place[0] = x[2].i
    s.place[1] = x[3].i


cdef inline int first_by(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Placed* s = <Placed*> state
    if s.n == 0 or before(s, x):        # of rows of one place the first to come
        place(s, x)
    s.n += 1
    return EMIT


cdef inline int last_by(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Placed* s = <Placed*> state
    if s.n == 0 or not before(s, x):    # the last to come
        place(s, x)
    s.n += 1
    return EMIT


cdef void first_by_loop(Rows* r) noexcept nogil:
    absorb(first_by, 4, r)


cdef void last_by_loop(Rows* r) noexcept nogil:
    absorb(last_by, 4, r)


cdef int placed_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Placed* s = <const Placed*> state
    out[0] = s.value
    return EMIT if s.n and s.there else 1


# ---------------------------------------------------------------- as kernels

FOLDED = {}


cdef add(str name, int n_args, int64_t size, step_fn step, value_fn value, loop_fn loop=NULL):
    cdef Kernel made = Kernel.__new__(Kernel)
    words = ("there", "x", "y") if size != sizeof(Placed) else ("there", "x", "place", "then")
    made.spec = Spec(
        name=name,
        summary="A standard aggregate.",
        shape="aggregate",
        args=tuple(Arg(word, "int64") for word in words[:n_args]),
        returns=Out("int64"),
        nulls="row",
        definition=None,
        source="",
        example="",
        errors={TOO_WIDE: "its total does not fit BIGINT"},
    )
    made.family = "standard"
    made.n_args, made.n_outs = n_args, 1
    memset(&made.c, 0, sizeof(Functions))
    made.c.step, made.c.value, made.c.loop, made.c.size = step, value, loop, size
    FOLDED[name] = made


cdef int64_t cells(int numbers):
    return (1 + numbers) * sizeof(cell)


add("count", 1, cells(0), count_step, count_value, count_loop)
add("sum", 2, cells(2), sum_step, sum_value, sum_loop)
add("total", 2, cells(2), total_step, total_value, total_loop)
add("avg", 2, cells(2), sum_step, avg_value, sum_loop)
add("min", 2, cells(1), min_step, ordered_value, min_loop)
add("max", 2, cells(1), max_step, ordered_value, max_loop)
add("least", 2, cells(1), least_step, first_known, least_loop)
add("most", 2, cells(1), most_step, first_known, most_loop)
add("first_value", 2, cells(2), first_step, row_value, first_loop)
add("last_value", 2, cells(2), last_step, row_value, last_loop)
add("known_first_value", 2, cells(1), known_first_step, first_known)
add("known_last_value", 2, cells(1), known_last_step, first_known)
add("var_samp", 2, cells(2), spread_step, var_samp_value, spread_loop)
add("var_pop", 2, cells(2), spread_step, var_pop_value, spread_loop)
add("stddev_samp", 2, cells(2), spread_step, stddev_samp_value, spread_loop)
add("stddev_pop", 2, cells(2), spread_step, stddev_pop_value, spread_loop)
add("covar_samp", 3, cells(5), joint_step, covar_samp_value)
add("covar_pop", 3, cells(5), joint_step, covar_pop_value)
add("corr", 3, cells(5), joint_step, corr_value)
add("first_by", 4, sizeof(Placed), first_by, placed_value, first_by_loop)
add("last_by", 4, sizeof(Placed), last_by, placed_value, last_by_loop)


def bind(Kernel made):
    """A kernel of this module."""
    return Bound(made, {})
