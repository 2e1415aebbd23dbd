"""Right rows of an ASOF join by key and time, and the search for the row that a left row meets."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memset

from fin_sql.columns cimport Column, Slots
from fin_sql.exec._meet cimport NOTHING, Range, absent, meet

DIRECTIONS = (">=", ">", "<=", "<", "nearest")
TIES = ("last", "first", "error")


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

    @property
    def bytes_held(self):
        """Bytes of the rows and of the places of the keys."""
        return self._times.size + self._rows.size + self._ranges.size
