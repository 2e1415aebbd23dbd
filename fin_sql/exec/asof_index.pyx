"""Right rows of an ASOF join by key and time, and the search for the row that a left row meets."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memset

from fin_sql.columns cimport Column, Slots

DIRECTIONS = (">=", ">", "<=", "<", "nearest")
TIES = ("last", "first", "error")

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


cdef class AsofIndex:
    """The right side of a bounded ASOF join: for each key its rows in order of time.

    Args:
        slots: the key of each right row; -1 where it can match nothing.
        times: its time.
    """

    cdef object _times, _rows, _ranges
    cdef Py_ssize_t n_keys
    cdef readonly bint ordered  # whether the rows of every key came in order

    def __cinit__(self, Slots slots, Column times):
        cdef Py_ssize_t i, n = slots.n
        cdef int32_t slot
        cdef int64_t at, begin = 0
        self.n_keys = slots.top
        self._ranges = pa.allocate_buffer(max(1, self.n_keys) * sizeof(Range))
        self._times = pa.allocate_buffer(max(1, n) * 8)
        self._rows = pa.allocate_buffer(max(1, n) * 8)
        cdef Range* ranges = <Range*> <uintptr_t> self._ranges.address
        cdef int64_t* sorted_times = <int64_t*> <uintptr_t> self._times.address
        cdef int64_t* rows = <int64_t*> <uintptr_t> self._rows.address
        cdef bint ordered = True
        memset(ranges, 0, self.n_keys * sizeof(Range))
        with nogil:
            for i in range(n):
                slot = slots.values[i] if slots.values != NULL else 0
                if slot >= 0 and not absent(times, i):
                    ranges[slot].end += 1
            for i in range(self.n_keys):
                at = ranges[i].end
                ranges[i].begin = ranges[i].end = ranges[i].cursor = begin
                begin += at
            for i in range(n):
                slot = slots.values[i] if slots.values != NULL else 0
                if slot < 0 or absent(times, i):
                    continue
                at = ranges[slot].end
                ordered &= at == ranges[slot].begin or sorted_times[at - 1] <= times.values[i].i
                sorted_times[at] = times.values[i].i
                rows[at] = i
                ranges[slot].end = at + 1
        self.ordered = ordered

    def match(self, Slots slots, Column times, str direction, int64_t tolerance, str ties):
        """The right row that each left row meets.

        Shapes: n left rows in; a buffer of n int64, -1 where nothing matches, -2 where several
        do and `ties` is "error".

        Args:
            slots: the key of each left row; -1, or one that the right side does not have, matches
                nothing.
            times: its time.
            direction: how the left time must compare with the right one, or "nearest".
            tolerance: the largest distance, inclusive; negative means any.
            ties: which of several right rows of one key and time is taken.
        """
        cdef Py_ssize_t i, n = slots.n
        cdef int way = DIRECTIONS.index(direction), tie = TIES.index(ties)
        cdef const int64_t* right_times = <const int64_t*> <uintptr_t> self._times.address
        cdef const int64_t* rows = <const int64_t*> <uintptr_t> self._rows.address
        cdef Range* ranges = <Range*> <uintptr_t> self._ranges.address
        found = pa.allocate_buffer(n * 8)
        cdef int64_t* out = <int64_t*> <uintptr_t> found.address
        cdef int32_t slot
        cdef int64_t row
        with nogil:
            for i in range(n):
                slot = slots.values[i] if slots.values != NULL else 0
                row = NOTHING
                if 0 <= slot < self.n_keys and not absent(times, i):
                    row = meet(right_times, &ranges[slot], times.values[i].i, way, tie, tolerance)
                out[i] = rows[row] if row >= 0 else row
        return found


cdef inline int64_t distance(int64_t a, int64_t b) noexcept nogil:
    """|a - b| as far as an int64 holds it."""
    cdef int64_t low = min(a, b), high = max(a, b)
    if low < 0 and high > low + <int64_t> 0x7FFFFFFFFFFFFFFF:
        return <int64_t> 0x7FFFFFFFFFFFFFFF
    return high - low


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
        if row >= 0 and (tolerance < 0 or distance(t, times[row]) <= tolerance):
            return before(times, r, above, tie)
        if other >= 0 and (tolerance < 0 or distance(t, times[other]) <= tolerance):
            return after(times, r, above, tie)
        return NOTHING
    above = first_above(times, r, t, way == BEFORE or way == AT_OR_AFTER)
    if way == AT_OR_BEFORE or way == BEFORE:
        row = above - 1 if above > r.begin else NOTHING
    else:
        row = above if above < r.end else NOTHING
    if row < 0 or (tolerance >= 0 and distance(t, times[row]) > tolerance):
        return NOTHING
    if way == AT_OR_BEFORE or way == BEFORE:
        return before(times, r, above, tie)
    return after(times, r, above, tie)
