"""Right rows of an ASOF join by key and time, to which rows are added as they come."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

from fin_sql.columns cimport Column, Slots
from fin_sql.exec._meet cimport Range, absent, meet
from fin_sql.exec.asof_index import DIRECTIONS, TIES


cdef struct Past:               # the rows of one key, oldest first
    Range range
    int64_t* times
    int64_t* rows
    Py_ssize_t room


cdef class History:
    """The rows of each key in order of time, and the number of each row.

    Args:
        direction: how a left time compares with a right one, or "nearest".
        tolerance: the largest distance; negative means any.
        ties: which of several rows of one key and time is taken.
    """

    cdef Past* past
    cdef Py_ssize_t room
    cdef int way, tie
    cdef int64_t tolerance
    cdef readonly Py_ssize_t n_rows

    def __cinit__(self, str direction, int64_t tolerance, str ties):
        self.way, self.tie = DIRECTIONS.index(direction), TIES.index(ties)
        self.tolerance = tolerance

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.room):
            free(self.past[i].times)
            free(self.past[i].rows)
        free(self.past)

    cdef int reserve(self, Py_ssize_t slots) except -1:
        cdef Py_ssize_t wanted = max(slots, 2 * self.room, 64)
        cdef Past* larger
        if slots <= self.room:
            return 0
        larger = <Past*> realloc(self.past, wanted * sizeof(Past))
        if larger == NULL:
            raise MemoryError
        self.past = larger
        memset(larger + self.room, 0, (wanted - self.room) * sizeof(Past))
        self.room = wanted
        return 0

    cdef int grow(self, Past* p) except -1:
        """Have room for one more row of a key."""
        cdef Py_ssize_t held = p.range.end - p.range.begin, wanted
        cdef void* larger
        if p.range.end < p.room:
            return 0
        if p.range.begin > p.room // 2:
            memmove(p.times, p.times + p.range.begin, held * 8)
            memmove(p.rows, p.rows + p.range.begin, held * 8)
            p.range.begin, p.range.end, p.range.cursor = 0, held, 0
            return 0
        wanted = max(16, 2 * p.room)
        larger = realloc(p.times, wanted * 8)
        if larger == NULL:
            raise MemoryError
        p.times = <int64_t*> larger
        larger = realloc(p.rows, wanted * 8)
        if larger == NULL:
            raise MemoryError
        p.rows = <int64_t*> larger
        p.room = wanted
        return 0

    def first_misplaced(self, Slots slots, Column times):
        """The first row that comes before an earlier one of its key, or -1."""
        cdef Py_ssize_t i
        cdef int32_t slot
        cdef Past* p
        self.reserve(slots.top)
        last = pa.allocate_buffer(max(1, slots.top) * 8)
        cdef int64_t* newest = <int64_t*> <uintptr_t> last.address
        for i in range(slots.top):
            p = &self.past[i]
            newest[i] = p.times[p.range.end - 1] if p.range.end else <int64_t> -1 << 63
        for i in range(slots.n):
            slot = slots.values[i] if slots.values != NULL else 0
            if slot < 0 or absent(times, i):
                continue
            if times.values[i].i < newest[slot]:
                return i
            newest[slot] = times.values[i].i
        return -1

    def add(self, Slots slots, Column times, int64_t base):
        """Take rows, numbered from `base`; those without a key or a time are left out."""
        cdef Py_ssize_t i
        cdef int32_t slot
        cdef Past* p
        self.reserve(slots.top)
        for i in range(slots.n):
            slot = slots.values[i] if slots.values != NULL else 0
            if slot < 0 or absent(times, i):
                continue
            p = &self.past[slot]
            self.grow(p)
            p.times[p.range.end] = times.values[i].i
            p.rows[p.range.end] = base + i
            p.range.end += 1
            self.n_rows += 1

    cdef inline int64_t row_of(self, int32_t slot, int64_t t) noexcept nogil:
        cdef int64_t found = -1
        if 0 <= slot < self.room:
            found = meet(self.past[slot].times, &self.past[slot].range, t, self.way, self.tie,
                         self.tolerance)
            found = self.past[slot].rows[found] if found >= 0 else found
        return found

    def find(self, int32_t slot, int64_t t):
        """The number of the row that a left row of a key and time meets; -1: none, -2: tied."""
        return self.row_of(slot, t)

    def match(self, Slots slots, Column times):
        """The same for many: a buffer of int64."""
        cdef Py_ssize_t i, n = slots.n
        found = pa.allocate_buffer(n * 8)
        cdef int64_t* out = <int64_t*> <uintptr_t> found.address
        cdef int32_t slot
        with nogil:
            for i in range(n):
                slot = slots.values[i] if slots.values != NULL else 0
                out[i] = -1 if absent(times, i) else self.row_of(slot, times.values[i].i)
        return found

    def forget(self, int64_t before):
        """Let go of rows of times before this one."""
        cdef Py_ssize_t i
        cdef Past* p
        for i in range(self.room):
            p = &self.past[i]
            while p.range.begin < p.range.end and p.times[p.range.begin] < before:
                p.range.begin += 1
                self.n_rows -= 1
            p.range.cursor = max(p.range.cursor, p.range.begin)

    def renumber(self):
        """The numbers of all rows, which are numbered anew in this order: an int64 Arrow array."""
        cdef Py_ssize_t i, n = 0
        cdef int64_t k
        cdef Past* p
        target = pa.allocate_buffer(max(1, self.n_rows) * 8)
        cdef int64_t* out = <int64_t*> <uintptr_t> target.address
        for i in range(self.room):
            p = &self.past[i]
            for k in range(p.range.begin, p.range.end):
                out[n] = p.rows[k]
                p.rows[k] = n
                n += 1
        return pa.Array.from_buffers(pa.int64(), n, [None, target])
