"""How rows lie with respect to keys and order columns: one pass that proves it."""

import pyarrow as pa
import pyarrow.compute as pc

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from fin_sql.abi cimport cell
from fin_sql.columns cimport Column, Slots
from fin_sql.exec.order import Verdict

cdef enum:
    MAX_ORDER = 6


cdef struct Place:
    cell at[MAX_ORDER]


cdef class LayoutProof:
    """The order of rows, batch after batch.

    Rows whose order columns have a NULL or a NaN have no place; they are left out.

    Args:
        doubles: for each order column whether it is compared as a double.
    """

    cdef int n_columns
    cdef int64_t doubles
    cdef Place last             # of all rows
    cdef Place* of_key
    cdef uint8_t* seen          # a key was there
    cdef Py_ssize_t room
    cdef int32_t key
    cdef readonly bint by_time, within, contiguous
    cdef readonly Py_ssize_t rows, without_place
    cdef bint begun
    cdef list runs              # the keys in the order of their runs

    def __cinit__(self, doubles):
        self.n_columns = len(doubles)
        if self.n_columns > MAX_ORDER:
            raise ValueError(f"an order has at most {MAX_ORDER} columns, not {len(doubles)}")
        self.doubles = sum(1 << k for k, double in enumerate(doubles) if double)
        self.by_time = self.within = self.contiguous = True
        self.key = -1
        self.runs = []

    def __dealloc__(self):
        free(self.of_key)
        free(self.seen)

    cdef int reserve(self, Py_ssize_t wanted) except -1:
        cdef void* larger
        if wanted <= self.room:
            return 0
        wanted = max(wanted, 2 * self.room, 64)
        larger = realloc(self.of_key, wanted * sizeof(Place))
        if larger == NULL:
            raise MemoryError
        self.of_key = <Place*> larger
        larger = realloc(self.seen, wanted)
        if larger == NULL:
            raise MemoryError
        self.seen = <uint8_t*> larger
        memset(self.seen + self.room, 0, wanted - self.room)
        self.room = wanted
        return 0

    def feed(self, Slots slots, list columns):
        """Take a batch: the key of each row, and its order columns.

        Returns:
            Whether anything but NONE is still possible.
        """
        cdef const cell* values[MAX_ORDER]
        cdef Column column
        cdef Py_ssize_t i, n = slots.n, n_runs = 0
        cdef int32_t slot
        cdef int k, order
        cdef bint there
        cdef Place place
        if not self.within:
            return False
        self.reserve(slots.top)
        started = pa.allocate_buffer(4 * max(1, n) if self.contiguous else 4)
        cdef int32_t* runs = <int32_t*> <uintptr_t> started.address
        for k, column in enumerate(columns):
            values[k] = column.values
        nulls = [column for column in columns if (<Column> column).valid != NULL]
        for i in range(n):
            there = True
            for column in nulls:
                there = there and present(column, i)
            for k in range(self.n_columns):
                place.at[k] = values[k][i]
                if self.doubles >> k & 1 and place.at[k].f != place.at[k].f:
                    there = False
            if not there:
                self.without_place += 1
                continue
            slot = slots.values[i] if slots.values != NULL else 0
            if self.by_time and self.begun:
                self.by_time = self.compare(&self.last, &place) <= 0
            self.last = place
            self.begun = True
            if slot != self.key:
                self.key = slot
                if self.contiguous:
                    self.contiguous = not self.seen[slot]
                    runs[n_runs] = slot
                    n_runs += 1
            if self.seen[slot]:
                order = self.compare(&self.of_key[slot], &place)
                if order > 0:
                    self.within = self.by_time = False
                    return False
            self.seen[slot] = 1
            self.of_key[slot] = place
        self.rows += n
        if self.contiguous and n_runs:
            self.runs.append(pa.Array.from_buffers(pa.int32(), n_runs, [None, started]))
        return True

    cdef inline int compare(self, Place* a, Place* b) noexcept nogil:
        cdef int k
        for k in range(self.n_columns):
            if self.doubles >> k & 1:
                if a.at[k].f != b.at[k].f:
                    return -1 if a.at[k].f < b.at[k].f else 1
            elif a.at[k].i != b.at[k].i:
                return -1 if a.at[k].i < b.at[k].i else 1
        return 0

    def verdict(self, keys):
        """What was proven, of rows whose slots are of these Keys."""
        if self.by_time:
            return Verdict.TIME
        if not self.within:
            return Verdict.NONE
        if not self.contiguous:
            return Verdict.WITHIN
        slots = pa.concat_arrays(self.runs)
        found = keys.bytes_of(Slots.of(slots, self.room)).cast(pa.large_binary())
        ascending = pc.all(pc.less(found.slice(0, len(found) - 1), found.slice(1))).as_py()
        return Verdict.KEY if ascending or len(found) < 2 else Verdict.RUNS


cdef inline bint present(Column column, Py_ssize_t i) noexcept nogil:
    i += column.valid_offset
    return column.valid[i >> 3] >> (i & 7) & 1
