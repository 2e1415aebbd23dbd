# The rows of a group in order of time, for aggregates that need it; header only.
#
# GROUP BY hands rows to partial groups in any turn, and the groups to each other: what depends on
# the order keeps its rows. Rows that come in order are summed up on the way by their kernel, and
# `stale` says that one did not, and that the sum is to be made anew from the rows.
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memmove

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
    """Take a row, behind those of its time; returns GROW where there is no room for it."""
    cdef int64_t each = width + 1, low = s.n, high, middle
    cdef cell* rows = ordered_rows(s, head)
    if ordered_full(s, head, width, 1):
        return GROW
    if s.n and rows[(s.n - 1) * each].i > time:
        low, high = 0, s.n
        while low < high:
            middle = (low + high) >> 1
            if rows[middle * each].i > time:
                high = middle
            else:
                low = middle + 1
        memmove(rows + (low + 1) * each, rows + low * each, (s.n - low) * each * sizeof(cell))
        s.stale = 1
    rows[low * each].i = time
    memcpy(rows + low * each + 1, values, width * sizeof(cell))
    s.n += 1
    return EMIT


cdef inline int ordered_merge(Ordered* s, const Ordered* o, int64_t head,
                              int64_t width) noexcept nogil:
    """Take the rows of another part; of equal times its rows come last."""
    cdef int64_t each = width + 1, i = s.n - 1, j = o.n - 1, k
    cdef size_t size = each * sizeof(cell)
    cdef cell* rows = ordered_rows(s, head)
    cdef const cell* other = ordered_rows(o, head)
    if ordered_full(s, head, width, o.n):
        return GROW
    for k in range(s.n + o.n - 1, -1, -1):
        if j < 0:
            break
        if i >= 0 and rows[i * each].i > other[j * each].i:
            memcpy(rows + k * each, rows + i * each, size)
            i -= 1
        else:
            memcpy(rows + k * each, other + j * each, size)
            j -= 1
    s.n += o.n
    s.stale = 1
    return EMIT
