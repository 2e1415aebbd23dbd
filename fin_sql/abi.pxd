# The C contract of a kernel. It ships in the wheel: cimport it to write kernels of your own.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t


cdef union cell:            # one value: a double, or an integer, boolean, time in ns, text index
    double f
    int64_t i


cdef enum:
    EMIT = 0                # out holds the row's output
    ABSENT = 1              # SQL NULL: not warm yet, or undefined
    GROW = 2                # the block is too small, nothing was changed: enlarge it, call again
    MAX_ARGS = 8
    MAX_OUTS = 8


cdef enum:                  # codes of the driver; a kernel's own are -1 .. -99
    REJECTED = -100
    TOO_LARGE = -101
    NO_MEMORY = -102


cdef extern from *:
    """
    #define FIN_SQL_MISSING INT64_MIN
    """
    const int64_t MISSING "FIN_SQL_MISSING"   # a missing integer; a missing double is NaN


# A state is plain old data: all-zero bytes are the empty state, and it may be moved by memcpy.
# The state of a kernel that grows begins with Room, whose bytes the container writes.
cdef struct Room:
    int64_t bytes


ctypedef int (*step_fn)(void* state, const cell* p, const cell* x, cell* out) noexcept nogil
ctypedef int (*value_fn)(const void* state, const cell* p, cell* out) noexcept nogil
ctypedef int (*merge_fn)(void* state, const void* other, const cell* p) noexcept nogil
ctypedef int64_t (*size_fn)(const cell* p) noexcept nogil
ctypedef int64_t (*count_fn)(const cell* p, const cell* x) noexcept nogil


cdef struct Rows:           # a run of rows, as a loop over a step function sees them
    Py_ssize_t n
    Py_ssize_t at           # in: first row to do; out: n, or the row that stopped the loop
    int code                # out: GROW or the negative code that stopped it
    const int32_t* slots    # NULL: all rows are of slot 0
    const cell* columns[MAX_ARGS]
    const uint8_t* missing  # NULL: no row lacks an argument
    cell* outs[MAX_OUTS]
    uint8_t* emitted
    char* states
    Py_ssize_t size
    char** blocks           # of kernels that grow; else NULL
    const cell* p


ctypedef void (*loop_fn)(Rows* r) noexcept nogil


cdef inline void* state_of(const Rows* r, int32_t slot) noexcept nogil:
    if r.blocks != NULL:
        return r.blocks[slot]
    return r.states + slot * r.size


# With a constant step and constant counts the compiler inlines the step into the loop:
# `cdef void x_loop(Rows* r) noexcept nogil: drive(x, 1, 1, r)` is all that a hot kernel adds, and
# the word `inline` at its step.
cdef inline void drive(step_fn step, const int n_args, const int n_outs, Rows* rows) noexcept nogil:
    cdef Rows r = rows[0]       # a copy that no store through a pointer can change
    cdef cell x[MAX_ARGS]
    cdef cell out[MAX_OUTS]
    cdef Py_ssize_t i
    cdef int k, code
    cdef int32_t slot = 0
    for i in range(r.at, r.n):
        if r.missing != NULL and r.missing[i]:
            r.emitted[i] = 0
            continue
        for k in range(n_args):
            x[k] = r.columns[k][i]
        if r.slots != NULL:
            slot = r.slots[i]
        code = step(state_of(&r, slot), r.p, x, out)
        r.emitted[i] = code == EMIT
        if code == EMIT:
            for k in range(n_outs):
                r.outs[k][i] = out[k]
        elif code != ABSENT:
            rows.at = i
            rows.code = code
            return
    rows.at = r.n
    rows.code = EMIT


# The same of an aggregate: it takes rows in, or out, and shows nothing.
cdef inline void absorb(step_fn step, const int n_args, Rows* rows) noexcept nogil:
    cdef Rows r = rows[0]
    cdef cell x[MAX_ARGS]
    cdef Py_ssize_t i
    cdef int k, code
    cdef int32_t slot = 0
    for i in range(r.at, r.n):
        if r.missing != NULL and r.missing[i]:
            continue
        for k in range(n_args):
            x[k] = r.columns[k][i]
        if r.slots != NULL:
            slot = r.slots[i]
        code = step(state_of(&r, slot), r.p, x, NULL)
        if code == GROW or code < 0:
            rows.at = i
            rows.code = code
            return
    rows.at = r.n
    rows.code = EMIT


cdef struct Functions:
    step_fn step
    value_fn value
    merge_fn merge
    step_fn retract
    loop_fn loop
    size_fn sizer
    count_fn count
    int64_t size


cdef class Kernel:
    cdef readonly object spec
    cdef readonly str family
    cdef readonly bint grows
    cdef Functions c
    cdef int n_args, n_outs


cdef class Bound:           # a kernel with its parameters
    cdef readonly Kernel kernel
    cdef readonly dict params
    cdef readonly int64_t state_size
    cdef readonly bytes header
    cdef cell* p
    cdef uint64_t params_hash


# Take up a kernel. `size` is the bytes of its state, or `sizer` tells them from the parameters.
cdef object define_scalar(object spec, step_fn step, count_fn count=*)
cdef object define_window(object spec, step_fn step, int64_t size, loop_fn loop=*)
cdef object define_ring(object spec, step_fn step, size_fn sizer, loop_fn loop=*)
cdef object define_aggregate(object spec, step_fn step, value_fn value, merge_fn merge,
                             int64_t size, step_fn retract=*, bint grows=*, loop_fn loop=*)
