# The rows of a group in order of time, for aggregates that need it; header only.
#
# GROUP BY hands rows to partial groups in any turn, and the groups to each other: what depends on
# the order keeps its rows, as they come. Rows that come in order are summed up on the way by their
# kernel, and `stale` says that one did not, and that the sum is to be made anew from a copy in
# order.
from libc.stdint cimport int64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from fin_sql.abi cimport EMIT, GROW, Room, cell


cdef struct Ordered:            # begins the state; behind it rows of a time and `width` values
    Room room
    int64_t n
    int64_t stale


cdef inline cell* ordered_rows(const void* state, int64_t head) noexcept nogil:
    """The rows, behind `head` bytes of the kernel's own."""
    return <cell*> (<char*> state + head)


cdef inline bint ordered_full(const Ordered* s, int64_t head, int64_t width,
                              int64_t more) noexcept nogil:
    return head + (s.n + more) * (width + 1) * <int64_t> sizeof(cell) > s.room.bytes


cdef inline int ordered_add(Ordered* s, int64_t head, int64_t width, int64_t time,
                            const cell* values) noexcept nogil:
    """Take a row; returns GROW where there is no room for it."""
    cdef int64_t each = width + 1
    cdef cell* row = ordered_rows(s, head) + s.n * each
    if ordered_full(s, head, width, 1):
        return GROW
    if s.n and (row - each)[0].i > time:
        s.stale = 1
    row[0].i = time
    memcpy(row + 1, values, width * sizeof(cell))
    s.n += 1
    return EMIT


cdef inline int ordered_merge(Ordered* s, const Ordered* o, int64_t head,
                              int64_t width) noexcept nogil:
    """Take the rows of another part; of equal times its rows come last."""
    cdef int64_t each = width + 1
    if ordered_full(s, head, width, o.n):
        return GROW
    memcpy(ordered_rows(s, head) + s.n * each, ordered_rows(o, head), o.n * each * sizeof(cell))
    s.n += o.n
    s.stale = 1
    return EMIT


cdef inline int64_t run_end(const cell* rows, int64_t begin, int64_t n,
                            int64_t each) noexcept nogil:
    """Where the rows that begin at a place stop to be in order."""
    cdef int64_t i = min(begin + 1, n)
    while i < n and rows[(i - 1) * each].i <= rows[i * each].i:
        i += 1
    return i


cdef inline cell* ordered_copy(const Ordered* s, int64_t head, int64_t width) noexcept nogil:
    """The rows in order of time, those of one time as they came; NULL without memory.

    Runs that are in order are merged, two by two: rows of two parts, one behind the other, cost one
    pass. The caller frees the copy.
    """
    cdef int64_t each = width + 1, begin, middle, end, i, j, k, runs = 2
    cdef size_t size = each * sizeof(cell)
    cdef cell* found = <cell*> malloc(2 * s.n * size + 1)
    cdef cell* rows = found
    cdef cell* target = found + s.n * each
    if found == NULL:
        return NULL
    memcpy(rows, ordered_rows(s, head), s.n * size)
    while runs > 1:
        begin = runs = 0
        while begin < s.n:
            i, middle = begin, run_end(rows, begin, s.n, each)
            j, end = middle, run_end(rows, middle, s.n, each)
            for k in range(begin, end):
                if j == end or (i < middle and rows[i * each].i <= rows[j * each].i):
                    memcpy(target + k * each, rows + i * each, size)
                    i += 1
                else:
                    memcpy(target + k * each, rows + j * each, size)
                    j += 1
            begin = end
            runs += 1
        rows, target = target, rows
    if rows != found:
        memcpy(found, rows, s.n * size)
    return found
