"""Groups of a key and a window of time: rows to slots, one slot for each pair."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from fin_sql.columns cimport Slots
from fin_sql.errors import KernelError

cdef enum:
    NOWHERE = -1


cdef extern from *:
    """
    #define FIN_SQL_NO_TIME INT64_MIN
    #define FIN_SQL_MAX_TIME INT64_MAX
    """
    const int64_t NO_TIME "FIN_SQL_NO_TIME"       # of rows whose time is NULL: a window of its own
    const int64_t MAX_TIME "FIN_SQL_MAX_TIME"


cdef struct Group:
    int32_t key
    int32_t slot                # NOWHERE: free
    int64_t start


cdef struct Recent:             # of a key: the window that its last row fell into
    int64_t start
    int64_t end
    int64_t top                 # the end of its latest window
    int32_t slot


cdef inline int64_t floored(int64_t t, int64_t width, int64_t origin) noexcept nogil:
    cdef int64_t rest = (t - origin) % width        # C: towards zero
    return t - rest - (width if rest < 0 else 0)


cdef class TimeGroups:
    """Slots of (key, window), where a window is a stretch of time that begins at its start.

    Rows come by key in long stretches of one window, so that nearly all of them find their slot
    beside their key; and while the windows of each key come in the order of time, a window that is
    not there is a new one. Only behind the first row that goes back are they looked up.

    Args:
        width: of a window, in units of the time column; 0 where `bounds` are given instead.
        origin: a time at which a window begins.
        slide: a window begins at each multiple of it; `width` where windows do not overlap.
        part: with `bounds` what is between two of them is cut into windows of this width, the last
            of which may be shorter.
    """

    cdef int64_t width, origin, slide, part
    cdef int64_t* bounds        # ascending starts, and the end of the last window
    cdef Py_ssize_t n_bounds
    cdef Group* table           # NULL until a window is looked up
    cdef Py_ssize_t mask
    cdef Recent* recent
    cdef Py_ssize_t n_recent
    cdef int64_t* starts        # of the window of each slot
    cdef int64_t* ends
    cdef int32_t* keys          # the key of each slot
    cdef Py_ssize_t capacity
    cdef readonly Py_ssize_t n_slots

    def __cinit__(self, int64_t width=0, int64_t origin=0, int64_t slide=0, int64_t part=0):
        self.width, self.origin, self.part = width, origin, part
        self.slide = slide or width

    def __dealloc__(self):
        free(self.bounds)
        free(self.table)
        free(self.recent)
        free(self.starts)
        free(self.ends)
        free(self.keys)

    @property
    def overlapping(self):
        """How many windows a row falls into at most."""
        return 1 if not self.width else (self.width + self.slide - 1) // self.slide

    @property
    def bytes_held(self):
        """Bytes of the table and of the slots."""
        cdef Py_ssize_t table = (self.mask + 1) * sizeof(Group) if self.table != NULL else 0
        cdef Py_ssize_t recent = self.n_recent * sizeof(Recent)
        return table + recent + self.capacity * 20 + self.n_bounds * sizeof(int64_t)

    def within(self, object bounds):
        """Take the starts of windows, and the end of the last one: an int64 Arrow array.

        They hold the windows of all rows that come next.
        """
        cdef Py_ssize_t i, n = len(bounds), first = bounds.offset
        cdef const int64_t* source = <const int64_t*> <uintptr_t> bounds.buffers()[1].address
        cdef int64_t* room = <int64_t*> realloc(self.bounds, n * sizeof(int64_t))
        if room == NULL:
            raise MemoryError
        for i in range(n):
            room[i] = source[first + i]
        self.bounds = room
        self.n_bounds = n

    cdef int grow(self) except -1 nogil:
        """Double the room for slots, and the table if there is one."""
        cdef Py_ssize_t n = max(2 * self.capacity, 512)
        cdef int64_t* starts = <int64_t*> realloc(self.starts, n * sizeof(int64_t))
        cdef int64_t* ends = <int64_t*> realloc(self.ends, n * sizeof(int64_t))
        cdef int32_t* keys = <int32_t*> realloc(self.keys, n * sizeof(int32_t))
        self.starts = starts if starts != NULL else self.starts
        self.ends = ends if ends != NULL else self.ends
        self.keys = keys if keys != NULL else self.keys
        if starts == NULL or ends == NULL or keys == NULL:
            raise MemoryError
        self.capacity = n
        if self.table != NULL:
            self.index()
        return 0

    cdef int index(self) except -1 nogil:
        """Lay all slots into a table that has room for as many as there is capacity."""
        cdef Py_ssize_t size = 2 * max(self.capacity, 512), i
        cdef Group* table = <Group*> malloc(size * sizeof(Group))
        if table == NULL:
            raise MemoryError
        memset(table, 0xFF, size * sizeof(Group))
        free(self.table)
        self.table = table
        self.mask = size - 1
        for i in range(self.n_slots):
            table[self.place(self.keys[i], self.starts[i])] = Group(
                key=self.keys[i], slot=<int32_t> i, start=self.starts[i])
        return 0

    cdef Py_ssize_t place(self, int32_t key, int64_t start) noexcept nogil:
        """Where a pair stands in the table, or would."""
        cdef uint64_t hashed = (<uint64_t> start * <uint64_t> 0x9E3779B97F4A7C15
                                + <uint64_t> key) * <uint64_t> 0xD1342543DE82EF95
        cdef Py_ssize_t at = (hashed ^ (hashed >> 32)) & self.mask
        while self.table[at].slot != NOWHERE:
            if self.table[at].key == key and self.table[at].start == start:
                break
            at = (at + 1) & self.mask
        return at

    cdef int32_t find(self, int32_t key, int64_t start, int64_t end) except -2 nogil:
        """The slot of a pair, a new one where it was not known."""
        cdef int32_t slot
        if self.table == NULL:
            self.index()
        slot = self.table[self.place(key, start)].slot
        return slot if slot != NOWHERE else self.add(key, start, end)

    cdef int32_t add(self, int32_t key, int64_t start, int64_t end) except -2 nogil:
        cdef int32_t slot = <int32_t> self.n_slots
        if self.n_slots == self.capacity:
            self.grow()
        self.starts[slot] = start
        self.ends[slot] = end
        self.keys[slot] = key
        if self.table != NULL:
            self.table[self.place(key, start)] = Group(key=key, slot=slot, start=start)
        self.n_slots += 1
        return slot

    cdef int window(self, int64_t t, Recent* found) except -1 nogil:
        """The window of a time: the last one that has begun."""
        cdef Py_ssize_t low = 0, high = self.n_bounds - 1, middle
        if t == NO_TIME:
            found.start = found.end = NO_TIME
            return 0
        if self.slide:
            found.start = floored(t, self.slide, self.origin)
            found.end = found.start + self.slide
            if not found.start <= t < found.end:
                self.refuse(t)
            return 0
        while low + 1 < high:
            middle = (low + high) >> 1
            if self.bounds[middle] <= t:
                low = middle
            else:
                high = middle
        found.start = self.bounds[low]
        found.end = self.bounds[low + 1]
        if self.part:
            found.start += (t - found.start) // self.part * self.part
            found.end = min(found.end, found.start + self.part)
        return 0

    cdef int refuse(self, int64_t t) except -1 nogil:
        with gil:
            raise KernelError(f"the window of a time must begin and end within 64 bits; was {t}")

    cdef int meet(self, Slots keys) except -1:
        """Make room for what is recent of each key."""
        cdef Py_ssize_t n = max(keys.top, 1), i
        cdef Recent* room
        if n <= self.n_recent:
            return 0
        n = max(n, 2 * self.n_recent)
        room = <Recent*> realloc(self.recent, n * sizeof(Recent))
        if room == NULL:
            raise MemoryError
        for i in range(self.n_recent, n):
            room[i] = Recent(start=0, end=0, top=NO_TIME + 1, slot=0)    # an empty window
        self.recent = room
        self.n_recent = n
        return 0

    def slots(self, Slots keys, object times):
        """The slot of each row; shapes: n keys, n times (int64, none NULL but NO_TIME)."""
        cdef Py_ssize_t i, n = keys.n
        cdef const int64_t* t = <const int64_t*> <uintptr_t> times.buffers()[1].address
        target = pa.allocate_buffer(n * sizeof(int32_t))
        t += <int64_t> times.offset
        cdef int32_t* out = <int32_t*> <uintptr_t> target.address
        cdef int32_t key = 0
        cdef Recent* recent
        self.meet(keys)
        with nogil:
            for i in range(n):
                if keys.values != NULL:
                    key = keys.values[i]
                recent = &self.recent[key]
                if not recent.start <= t[i] < recent.end:
                    self.window(t[i], recent)
                    if t[i] >= recent.top:
                        recent.top = recent.end
                        recent.slot = self.add(key, recent.start, recent.end)
                    else:
                        recent.slot = self.find(key, recent.start, recent.end)
                out[i] = recent.slot
        return self.made(target, n)

    def overlapped(self, Slots keys, object times):
        """(row, slot) of each row in each of its windows, the earliest first: an int64 Arrow array
        and Slots."""
        cdef Py_ssize_t i, n = keys.n, made = 0, most = n * self.overlapping
        cdef const int64_t* t = <const int64_t*> <uintptr_t> times.buffers()[1].address
        target = pa.allocate_buffer(most * sizeof(int32_t))
        t += <int64_t> times.offset
        places = pa.allocate_buffer(most * sizeof(int64_t))
        cdef int32_t* out = <int32_t*> <uintptr_t> target.address
        cdef int64_t* rows = <int64_t*> <uintptr_t> places.address
        cdef int32_t key = 0
        cdef int64_t start
        cdef Recent last
        with nogil:
            for i in range(n):
                if keys.values != NULL:
                    key = keys.values[i]
                self.window(t[i], &last)
                start = last.start
                if t[i] != NO_TIME:     # from the first of its windows that has not ended
                    start -= (self.width - 1 - (t[i] - start)) // self.slide * self.slide
                    if start > t[i] or t[i] > MAX_TIME - self.width:
                        self.refuse(t[i])
                while start <= t[i]:
                    out[made] = self.find(key, start,
                                          NO_TIME if t[i] == NO_TIME else start + self.width)
                    rows[made] = i
                    made += 1
                    start += self.slide
        return (pa.Array.from_buffers(pa.int64(), made, [None, places]), self.made(target, made))

    cdef Slots made(self, object target, Py_ssize_t n):
        return Slots.of(pa.Array.from_buffers(pa.int32(), n, [None, target]), self.n_slots)

    @property
    def earliest_end(self):
        """The least end of all windows."""
        cdef Py_ssize_t i
        cdef int64_t least = 0x7FFFFFFFFFFFFFFF
        with nogil:
            for i in range(self.n_slots):
                least = min(least, self.ends[i])
        return least

    def keep(self, Slots live):
        """Move the i-th of `live`, which ascend, to slot i, and forget all others."""
        cdef Py_ssize_t i
        cdef int32_t slot
        for i in range(live.n):
            slot = live.values[i]
            self.starts[i] = self.starts[slot]
            self.ends[i] = self.ends[slot]
            self.keys[i] = self.keys[slot]
        self.n_slots = live.n
        self._begin_anew()

    def renumber(self, object numbers):
        """Give keys other numbers: the i-th of an int32 Arrow array is that of key i."""
        cdef Slots found = Slots.of(numbers, self.n_slots)
        cdef Py_ssize_t i
        for i in range(self.n_slots):
            self.keys[i] = found.values[self.keys[i]]
        self._begin_anew()

    cdef int _begin_anew(self) except -1:
        """Look all windows up from now on: no row is known to go on with one."""
        cdef Py_ssize_t i
        for i in range(self.n_recent):
            self.recent[i] = Recent(start=0, end=0, top=0x7FFFFFFFFFFFFFFF, slot=0)
        self.index()
        return 0

    def windows(self):
        """Start and end of the window of each slot: two int64 Arrow arrays."""
        return (copied(self.starts, self.n_slots, pa.int64()),
                copied(self.ends, self.n_slots, pa.int64()))

    def keys_of(self):
        """The key of each slot: an int32 Arrow array."""
        return copied(self.keys, self.n_slots, pa.int32())


cdef object copied(const void* source, Py_ssize_t n, object kind):
    """Values of a fixed width as an Arrow array."""
    buffer = pa.allocate_buffer(n * kind.bit_width // 8)
    if n:
        memcpy(<void*> <uintptr_t> buffer.address, source, buffer.size)
    return pa.Array.from_buffers(kind, n, [None, buffer])
