# The search for the right row that a left row meets, among the rows of its key; header only.
from libc.stdint cimport int64_t, uint64_t

from fin_sql.columns cimport Column

cdef enum Direction:
    AT_OR_BEFORE = 0            # left time >= right time
    BEFORE = 1
    AT_OR_AFTER = 2
    AFTER = 3
    NEAREST = 4

cdef enum Tie:
    LAST = 0
    FIRST = 1
    NO_TIES = 2

cdef enum:
    NOTHING = -1
    TIED = -2


cdef struct Range:              # the rows of one key, and where the last left row of it stood
    int64_t begin
    int64_t end
    int64_t cursor


cdef inline bint absent(Column column, Py_ssize_t i) noexcept nogil:
    if column.valid == NULL:
        return False
    i += column.valid_offset
    return not column.valid[i >> 3] >> (i & 7) & 1


cdef inline int64_t first_above(const int64_t* times, Range* r, int64_t t,
                                bint equal) noexcept nogil:
    """The first row of a key with a time > t (>= t where `equal`).

    Left rows mostly come in order, so the search gallops away from where the last one ended.
    """
    cdef int64_t low = r.cursor, high, step = 1
    cdef int64_t middle
    if low > r.begin and (times[low - 1] > t or (equal and times[low - 1] == t)):
        low, high = r.begin, low - 1
    else:
        high = low
        while high < r.end and (times[high] < t or (times[high] == t and not equal)):
            low = high + 1
            high += step
            step *= 2
        if high > r.end:
            high = r.end
    while low < high:
        middle = (low + high) >> 1
        if times[middle] < t or (times[middle] == t and not equal):
            low = middle + 1
        else:
            high = middle
    r.cursor = low
    return low


cdef inline int64_t before(const int64_t* times, Range* r, int64_t above, int tie) noexcept nogil:
    """The row that stands for the last time below `above`, or why there is none."""
    cdef int64_t row = above - 1
    if row < r.begin:
        return NOTHING
    if tie == LAST:
        return row
    if row > r.begin and times[row - 1] == times[row]:
        if tie == NO_TIES:
            return TIED
        while row > r.begin and times[row - 1] == times[row]:
            row -= 1
    return row


cdef inline int64_t after(const int64_t* times, Range* r, int64_t row, int tie) noexcept nogil:
    """The row that stands for the first time from `row` on, or why there is none."""
    if row >= r.end:
        return NOTHING
    if tie == FIRST:
        return row
    if row + 1 < r.end and times[row + 1] == times[row]:
        if tie == NO_TIES:
            return TIED
        while row + 1 < r.end and times[row + 1] == times[row]:
            row += 1
    return row


cdef inline uint64_t distance(int64_t a, int64_t b) noexcept nogil:
    """|a - b|, which an int64 may not hold."""
    return <uint64_t> max(a, b) - <uint64_t> min(a, b)


cdef inline bint replaces(int64_t rank, int64_t other, int tie) noexcept nogil:
    """Whether a row stands for its key and time in place of an earlier one, by their ranks."""
    if tie == LAST:
        return rank >= other
    return tie == FIRST and rank < other


cdef inline int64_t meet(const int64_t* times, Range* r, int64_t t, int way, int tie,
                         int64_t tolerance) noexcept nogil:
    cdef int64_t above, row, other
    if way == NEAREST:          # a time first: the smaller distance, then the earlier one
        above = first_above(times, r, t, False)
        row = above - 1 if above > r.begin else NOTHING
        other = above if above < r.end else NOTHING
        if row >= 0 and other >= 0:
            if distance(t, times[row]) <= distance(times[other], t):
                other = NOTHING
            else:
                row = NOTHING
        if row >= 0 and (tolerance < 0 or distance(t, times[row]) <= <uint64_t> tolerance):
            return before(times, r, above, tie)
        if other >= 0 and (tolerance < 0 or distance(t, times[other]) <= <uint64_t> tolerance):
            return after(times, r, above, tie)
        return NOTHING
    above = first_above(times, r, t, way == BEFORE or way == AT_OR_AFTER)
    if way == AT_OR_BEFORE or way == BEFORE:
        row = above - 1 if above > r.begin else NOTHING
    else:
        row = above if above < r.end else NOTHING
    if row < 0 or (tolerance >= 0 and distance(t, times[row]) > <uint64_t> tolerance):
        return NOTHING
    if way == AT_OR_BEFORE or way == BEFORE:
        return before(times, r, above, tie)
    return after(times, r, above, tie)
