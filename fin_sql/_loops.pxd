# Inner loops of the drivers; header only.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, MAX_ARGS, MAX_OUTS, MISSING, Rows, cell, state_of, step_fn, value_fn,
)
from fin_sql.columns cimport Column


cdef enum:
    BLOCK = 8192                # rows between two looks at the cancel flag; a multiple of 8


cdef struct Given:              # a column without its object
    const cell* values
    const uint8_t* valid        # NULL: no row is NULL
    Py_ssize_t valid_offset
    bint floating


cdef inline Given given_by(Column column) noexcept:
    return Given(values=column.values, valid=column.valid, valid_offset=column.valid_offset,
                 floating=column.floating)


cdef struct Scratch:            # what one run needs beside its columns
    uint8_t* missing
    uint8_t* emitted
    cell* patched               # BLOCK cells for each argument


cdef inline int allocate(Scratch* scratch, int n_args) except -1:
    scratch.missing = <uint8_t*> malloc(2 * BLOCK + n_args * BLOCK * sizeof(cell))
    if scratch.missing == NULL:
        raise MemoryError
    scratch.emitted = scratch.missing + BLOCK
    scratch.patched = <cell*> (scratch.missing + 2 * BLOCK)
    return 0


cdef inline void release(Scratch* scratch) noexcept nogil:
    free(scratch.missing)


# The exponent of NaN and infinities is all ones: adding one to it carries into the sign bit.
cdef inline uint64_t carried(cell c) noexcept nogil:
    return (<uint64_t> c.i & <uint64_t> 0x7FF0000000000000) + <uint64_t> 0x0010000000000000


cdef inline bint finite(cell c) noexcept nogil:
    return not carried(c) >> 63


cdef inline bint all_finite(const cell* values, Py_ssize_t n) noexcept nogil:
    cdef uint64_t seen = 0
    cdef Py_ssize_t i
    for i in range(n):
        seen |= carried(values[i])
    return not seen >> 63


cdef inline bint find_missing(const Given* column, Py_ssize_t begin, Py_ssize_t n, bint strict,
                              uint8_t* missing) noexcept nogil:
    """Mark the rows without a value; NaN and infinities count where `strict`."""
    cdef const cell* values = column.values + begin
    cdef bint found = strict and column.floating and not all_finite(values, n)
    cdef Py_ssize_t i, bit
    if found:
        for i in range(n):
            missing[i] |= not finite(values[i])
    if column.valid != NULL:
        for i in range(n):
            bit = column.valid_offset + begin + i
            if not column.valid[bit >> 3] >> (bit & 7) & 1:
                missing[i] = 1
                found = True
    return found


cdef inline void follow(step_fn step, value_fn value, int n_args, int n_outs,
                        Rows* r) noexcept nogil:
    """The running value of an aggregate: a row that it skips shows the value before."""
    cdef cell x[MAX_ARGS]
    cdef cell out[MAX_OUTS]
    cdef Py_ssize_t i
    cdef int k, code
    cdef void* state
    for i in range(r.at, r.n):
        state = state_of(r, r.slots[i] if r.slots != NULL else 0)
        code = EMIT
        if r.missing == NULL or not r.missing[i]:
            for k in range(n_args):
                x[k] = r.columns[k][i]
            code = step(state, r.p, x, NULL)
        if code == EMIT or code == ABSENT:
            code = value(state, r.p, out)
        if code == GROW or code < 0:
            r.at = i
            r.code = code
            return
        r.emitted[i] = code == EMIT
        for k in range(n_outs):
            r.outs[k][i] = out[k]
    r.at = r.n
    r.code = EMIT


cdef inline bint was_finite(Rows* r, Py_ssize_t i, int n_args) noexcept nogil:
    cdef int k
    for k in range(n_args):
        if not finite(r.columns[k][i]):
            return False
    return True


cdef inline Py_ssize_t finish(Rows* r, bint single, const bint* floating, int n_outs, int n_args,
                              bint strict, uint8_t* bits) noexcept nogil:
    """Blank the rows without output, pack their validity; returns how many there are.

    A double that is not finite is NULL, but for scalars over arguments that were not.
    """
    cdef Py_ssize_t i, emitted = 0
    cdef int k
    cdef cell blank
    cdef uint8_t byte = 0
    if single and floating[0] and not all_finite(r.outs[0], r.n):
        for i in range(r.n):
            if r.emitted[i] and not finite(r.outs[0][i]):
                r.emitted[i] = not strict and not was_finite(r, i, n_args)
    for i in range(r.n):
        emitted += r.emitted[i]
    if emitted == r.n:
        memset(bits, 0xFF, (r.n + 7) >> 3)
        return 0
    for k in range(n_outs):
        blank.i = 0 if single else (0x7FF8000000000000 if floating[k] else MISSING)
        for i in range(r.n):
            if not r.emitted[i]:
                r.outs[k][i] = blank
    for i in range(r.n):
        byte |= r.emitted[i] << (i & 7)
        if i & 7 == 7 or i == r.n - 1:
            bits[i >> 3] = byte
            byte = 0
    return r.n - emitted
