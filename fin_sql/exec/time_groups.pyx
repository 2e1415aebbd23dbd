"""Groups of a key and a window of time: rows to slots, one slot for each pair."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from fin_sql.columns cimport Slots

cdef enum:
    NOWHERE = -1


cdef extern from *:
    """
    #define FIN_SQL_NO_TIME INT64_MIN
    """
    const int64_t NO_TIME "FIN_SQL_NO_TIME"       # of rows whose time is NULL: a window of its own


cdef struct Group:
    int32_t key
    int32_t slot                # NOWHERE: free
    int64_t start


cdef struct Recent:             # the window of a key that its last row fell into
    int64_t start
    int64_t end
    int32_t slot


cdef inline int64_t floored(int64_t t, int64_t width, int64_t origin) noexcept nogil:
    cdef int64_t rest = (t - origin) % width        # C: towards zero
    return t - rest - (width if rest < 0 else 0)


cdef class TimeGroups:
    """Slots of (key, window), where a window is a stretch of time that begins at its start.

    Rows come by key in long stretches of one window, so that nearly all of them find their slot
    beside their key.

    Args:
        width: of a window, in units of the time column; 0 where `bounds` are given instead.
        origin: a time at which a window begins.
        slide: a window begins at each multiple of it; `width` where windows do not overlap.
    """

    cdef int64_t width, origin, slide
    cdef int64_t* bounds        # ascending starts, and the end of the last window
    cdef Py_ssize_t n_bounds
    cdef Group* table
    cdef Py_ssize_t mask
    cdef Recent* recent
    cdef Py_ssize_t n_recent
    cdef int64_t* starts        # of the window of each slot
    cdef int64_t* ends
    cdef int32_t* keys          # the key of each slot
    cdef Py_ssize_t capacity
    cdef readonly Py_ssize_t n_slots

    def __cinit__(self, int64_t width=0, int64_t origin=0, int64_t slide=0):
        self.width, self.origin = width, origin
        self.slide = slide or width
        self.grow()

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
        return 1 if not self.width else -(-self.width // self.slide)

    @property
    def bytes_held(self):
        """Bytes of the table and of the slots."""
        return (self.mask + 1) * sizeof(Group) + self.capacity * 20 + self.n_recent * sizeof(Recent)

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
        cdef Py_ssize_t size = 2 * (self.mask + 1) if self.mask else 1024
        cdef Py_ssize_t i, at
        cdef Group* table = <Group*> malloc(size * sizeof(Group))
        cdef int64_t* starts = <int64_t*> realloc(self.starts, size // 2 * sizeof(int64_t))
        cdef int64_t* ends = <int64_t*> realloc(self.ends, size // 2 * sizeof(int64_t))
        cdef int32_t* keys = <int32_t*> realloc(self.keys, size // 2 * sizeof(int32_t))
        self.starts = starts if starts != NULL else self.starts
        self.ends = ends if ends != NULL else self.ends
        self.keys = keys if keys != NULL else self.keys
        if table == NULL or starts == NULL or ends == NULL or keys == NULL:
            free(table)
            raise MemoryError
        memset(table, 0xFF, size * sizeof(Group))
        free(self.table)
        self.table = table
        self.mask = size - 1
        self.capacity = size // 2
        for i in range(self.n_slots):
            at = self.place(keys[i], starts[i])
            table[at] = Group(key=keys[i], slot=<int32_t> i, start=starts[i])
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
        cdef Py_ssize_t at = self.place(key, start)
        cdef int32_t slot = self.table[at].slot
        if slot != NOWHERE:
            return slot
        if self.n_slots == self.capacity:
            self.grow()
            at = self.place(key, start)
        slot = <int32_t> self.n_slots
        self.table[at] = Group(key=key, slot=slot, start=start)
        self.starts[slot] = start
        self.ends[slot] = end
        self.keys[slot] = key
        self.n_slots += 1
        return slot

    cdef int window(self, int64_t t, Recent* found) noexcept nogil:
        """The window of a time: the last one that has begun."""
        cdef Py_ssize_t low = 0, high = self.n_bounds - 1, middle
        if t == NO_TIME:
            found.start = found.end = NO_TIME
            return 0
        if self.slide:
            found.start = floored(t, self.slide, self.origin)
            found.end = found.start + self.slide
            return 0
        while low + 1 < high:
            middle = (low + high) >> 1
            if self.bounds[middle] <= t:
                low = middle
            else:
                high = middle
        found.start = self.bounds[low]
        found.end = self.bounds[low + 1]
        return 0

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
            room[i] = Recent(start=0, end=0, slot=0)        # an empty window
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
                    recent.slot = self.find(key, recent.start, recent.end)
                out[i] = recent.slot
        return self.made(target, n)

    def overlapped(self, Slots keys, object times):
        """(row, slot) of each row in each of its windows: an int64 Arrow array and Slots."""
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
                while True:
                    out[made] = self.find(key, start,
                                          NO_TIME if t[i] == NO_TIME else start + self.width)
                    rows[made] = i
                    made += 1
                    if t[i] == NO_TIME or start - self.slide + self.width <= t[i]:
                        break
                    start -= self.slide
        return (pa.Array.from_buffers(pa.int64(), made, [None, places]), self.made(target, made))

    cdef Slots made(self, object target, Py_ssize_t n):
        return Slots.of(pa.Array.from_buffers(pa.int32(), n, [None, target]), self.n_slots)

    def windows(self, Py_ssize_t first=0):
        """Start and end of the window of each slot from `first` on: two int64 Arrow arrays."""
        found = []
        cdef Py_ssize_t i, n = self.n_slots - first
        cdef int64_t* source
        cdef int64_t* out
        for k in range(2):
            source = self.starts if k == 0 else self.ends
            buffer = pa.allocate_buffer(n * sizeof(int64_t))
            out = <int64_t*> <uintptr_t> buffer.address
            for i in range(n):
                out[i] = source[first + i]
            found.append(pa.Array.from_buffers(pa.int64(), n, [None, buffer]))
        return tuple(found)
