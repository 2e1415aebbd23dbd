"""The loops of an ASOF join whose left rows meet the last right row before them."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp

from fin_sql.abi cimport cell
from fin_sql.columns cimport Column, Slots
from fin_sql.exec._meet cimport LAST, NO_TIES, NOTHING, TIED, absent, replaces
from fin_sql.exec.asof_index import TIES
from fin_sql.exec.keys cimport Keys, Known


cdef struct Latest:             # the right row that the next left row of a key meets
    int64_t row
    int64_t time
    int64_t tied


cdef inline int compare(Keys keys, int32_t left, int32_t right) noexcept nogil:
    """The order of two keys by their bytes."""
    cdef Known* a = &keys.known[left]
    cdef Known* b = &keys.known[right]
    cdef int64_t n = a.length if a.length < b.length else b.length
    cdef int found
    if a.tag != b.tag:
        return -1 if a.tag < b.tag else 1
    found = memcmp(keys.arena + a.at, keys.arena + b.at, n)
    if found:
        return found
    return (a.length > b.length) - (a.length < b.length)


cdef inline bint in_order(Column times, bint seen, int64_t last) noexcept nogil:
    """Whether times ascend, from the last one on; without a branch for each."""
    cdef Py_ssize_t i
    cdef bint broken = seen and times.values[0].i < last
    for i in range(1, times.n):
        broken |= times.values[i].i < times.values[i - 1].i
    return not broken


cdef inline Py_ssize_t end_of_run(const int32_t* slots, Column times, Py_ssize_t i) noexcept nogil:
    """The first row behind i that is of another key, or before the row before it."""
    cdef int32_t slot = slots[i]
    i += 1
    while i < times.n and slots[i] == slot and times.values[i].i >= times.values[i - 1].i:
        i += 1
    return i


cdef inline bint reaches(int64_t right, int64_t left, bint strict) noexcept nogil:
    """Whether a left row of a time may meet a right row of one."""
    return right < left if strict else right <= left


cdef inline void merge(Latest* latest, bint strict, const int32_t* ls, const cell* lt,
                       Py_ssize_t n, Py_ssize_t* left_at, const int32_t* rs, const cell* rt,
                       Py_ssize_t m, Py_ssize_t* right_at, int64_t base,
                       int64_t* out) noexcept nogil:
    """Rows of both sides in the order of time, while both have some.

    Which side is next is as good as random: each step does the work of either, without a branch.
    """
    cdef Py_ssize_t i = left_at[0], j = right_at[0]
    cdef int64_t taken, known, row, left, right
    while i < n and j < m:
        left, right = ls[i], rs[j]
        taken = -<int64_t> (reaches(rt[j].i, lt[i].i, strict))  # a mask
        right = left ^ ((left ^ right) & taken)
        known = ~(right >> 63)                                  # a NULL key meets nothing
        right &= known
        row = latest[right].row
        out[i] = row | ~known
        latest[right].row = row ^ ((row ^ (base + j)) & taken & known)
        j -= taken
        i += 1 + taken
    left_at[0] = i
    right_at[0] = j


cdef inline void merge_run(Latest* latest, bint strict, int32_t slot, const int32_t* ls,
                           const cell* lt, Py_ssize_t n, Py_ssize_t* left_at, const int32_t* rs,
                           const cell* rt, Py_ssize_t m, Py_ssize_t* right_at, int64_t base,
                           int64_t* out) noexcept nogil:
    """The same for rows of one key, while both sides have some of it."""
    cdef Py_ssize_t i = left_at[0], j = right_at[0]
    cdef int64_t taken, row = latest.row
    while i < n and j < m and ls[i] == slot and rs[j] == slot:
        taken = -<int64_t> (reaches(rt[j].i, lt[i].i, strict))
        out[i] = row
        row ^= (row ^ (base + j)) & taken
        j -= taken
        i += 1 + taken
    latest.row = row
    left_at[0] = i
    right_at[0] = j


cdef class Course:
    """The order of the rows of a side, and how far they have come.

    Args:
        keys: of both sides, where the rows come in order of key and time; None: in order of time.
    """

    cdef Keys keys
    cdef bint by_key
    cdef int32_t key            # of the last row in its place, by key
    cdef readonly int64_t time  # no row before it may come, by time
    cdef readonly bint seen

    def __cinit__(self, Keys keys=None):
        self.keys, self.by_key, self.key = keys, keys is not None, -1

    def first_misplaced(self, Slots slots, Column times):
        """The first row of a batch that came too late, or -1; else its last place is remembered."""
        cdef Py_ssize_t i, n = slots.n
        cdef int32_t slot, key = self.key
        cdef int64_t t, last = self.time
        cdef bint seen = self.seen, runs
        cdef Py_ssize_t found = -1
        with nogil:
            if not self.by_key and times.valid == NULL and n and in_order(times, seen, last):
                seen, last, n = True, times.values[n - 1].i, 0
            runs = self.by_key and times.valid == NULL and slots.values != NULL
            i = -1
            while i + 1 < n:
                i += 1
                slot = slots.values[i] if slots.values != NULL else 0
                if absent(times, i) or (slot < 0 and self.by_key):
                    continue
                t = times.values[i].i
                if seen and self.by_key and slot != key:
                    if compare(self.keys, slot, key) < 0:
                        found = i
                        break
                elif seen and t < last:
                    found = i
                    break
                if runs:
                    i = end_of_run(slots.values, times, i) - 1
                    t = times.values[i].i
                seen, key, last = True, slot, t
        if found < 0:
            self.key, self.time, self.seen = key, last, seen
        return found

    def goes_on_from(self, int64_t t):
        """Rows before a time come too late from now on."""
        if not self.seen or self.time < t:
            self.seen, self.time = True, t


def first_time(Column times, Py_ssize_t i):
    """The time of the first row from i on that has one, or None."""
    while i < times.n and absent(times, i):
        i += 1
    return times.values[i].i if i < times.n else None


cdef class Merge:
    """Two cursors over sides that come in one order, and the last right row of each key.

    Args:
        keys: of both sides.
        strict: a right row of the left row's own time does not count.
        tolerance: the largest distance; negative means any.
        ties: what is taken of right rows of equal key and time.
        ranked: a rank decides between right rows of equal key and time, before their order does.
    """

    cdef Keys keys
    cdef bint strict, ranked
    cdef int tie
    cdef int64_t tolerance
    cdef Latest* latest
    cdef int64_t* ranks         # of the latest rows, where they are ranked
    cdef Py_ssize_t room
    cdef readonly Py_ssize_t left_at, right_at

    def __cinit__(self, Keys keys, bint strict, int64_t tolerance, str ties, bint ranked=False):
        self.keys, self.strict, self.ranked = keys, strict, ranked
        self.tolerance, self.tie = tolerance, TIES.index(ties)

    def __dealloc__(self):
        free(self.latest)
        free(self.ranks)

    cdef int reserve(self) except -1:
        """Have a place for every key."""
        cdef Py_ssize_t wanted = max(1024, self.keys.n_slots)
        cdef Latest* larger
        cdef int64_t* ranks
        if wanted <= self.room:
            return 0
        wanted = max(wanted, 2 * self.room)
        if self.ranked:
            ranks = <int64_t*> realloc(self.ranks, wanted * sizeof(int64_t))
            if ranks == NULL:
                raise MemoryError
            self.ranks = ranks
        larger = <Latest*> realloc(self.latest, wanted * sizeof(Latest))
        if larger == NULL:
            raise MemoryError
        self.latest = larger
        while self.room < wanted:
            self.latest[self.room].row = NOTHING
            self.latest[self.room].time = 0
            self.latest[self.room].tied = 0
            self.room += 1
        return 0

    def by_time(self, Slots left, Column left_times, Py_ssize_t i, bint begun, int64_t watermark,
                Slots right, Column right_times, Column ranks, Py_ssize_t j, int64_t base,
                bint more, out):
        """Match left rows from i on, taking right rows from j on.

        Stops at the end of the left rows, at one that the watermark does not reach, or, where
        there is `more` behind these right rows, at their end. `left_at` and `right_at` tell where.

        Args:
            begun: there is a watermark.
            ranks: of the right rows; None where they have none.
            base: number of the first of these right rows.
            out: an int64 buffer; the right row of each left row, or -1.
        """
        cdef Py_ssize_t n = left.n, m = right.n
        cdef int64_t* found = <int64_t*> <uintptr_t> out.address
        cdef const int32_t* ls = left.values
        cdef const int32_t* rs = right.values
        cdef int64_t t
        cdef int32_t slot
        cdef Latest* latest
        cdef bint plain = left_times.valid == NULL and right_times.valid == NULL
        plain = plain and ls != NULL and rs != NULL and self.tie == LAST and self.tolerance < 0
        self.reserve()
        with nogil:
            if plain and not self.ranked:
                if self.strict:
                    merge(self.latest, True, ls, left_times.values, n, &i, rs,
                          right_times.values, m, &j, base, found)
                else:
                    merge(self.latest, False, ls, left_times.values, n, &i, rs,
                          right_times.values, m, &j, base, found)
            while i < n:
                slot = ls[i] if ls != NULL else 0
                if slot < 0 or absent(left_times, i):
                    found[i] = NOTHING
                    i += 1
                    continue
                t = left_times.values[i].i
                if not begun or (t > watermark and not (self.strict and t - 1 == watermark)):
                    break
                while j < m and (absent(right_times, j)
                                 or reaches(right_times.values[j].i, t, self.strict)):
                    self.take_row(right, right_times, ranks, j, base)
                    j += 1
                if j == m and more:
                    break
                latest = &self.latest[slot]
                found[i] = self.met(latest, t)
                i += 1
        self.left_at, self.right_at = i, j

    def take_until(self, Slots right, Column right_times, Column ranks, Py_ssize_t j, int64_t base,
                   int64_t t):
        """Take the right rows from j on that a left row of a time may meet; returns their end."""
        self.reserve()
        with nogil:
            while j < right.n and (absent(right_times, j)
                                   or reaches(right_times.values[j].i, t, self.strict)):
                self.take_row(right, right_times, ranks, j, base)
                j += 1
        return j

    cdef inline void take_row(self, Slots right, Column times, Column ranks, Py_ssize_t j,
                              int64_t base) noexcept nogil:
        if not absent(times, j):
            self.take(right.values[j] if right.values != NULL else 0, times.values[j].i, base + j,
                      ranks.values[j].i if self.ranked else 0)

    def by_keys(self, Slots left, Column left_times, Py_ssize_t i, bint complete,
                Slots right, Column right_times, Py_ssize_t j, int64_t base, out):
        """The same for sides in order of key and time; `complete`: no right row will follow."""
        cdef Py_ssize_t n = left.n, m = right.n
        cdef int64_t* found = <int64_t*> <uintptr_t> out.address
        cdef int64_t t
        cdef int32_t slot, other, known = -1, to = -1
        cdef int order = 0
        cdef const int32_t* ls = left.values
        cdef const int32_t* rs = right.values
        cdef bint plain = left_times.valid == NULL and right_times.valid == NULL
        plain = plain and ls != NULL and rs != NULL and self.tie == LAST and self.tolerance < 0
        self.reserve()
        with nogil:
            while i < n:
                slot = ls[i] if ls != NULL else 0
                if plain and slot >= 0 and j < m and rs[j] == slot:
                    if self.strict:
                        merge_run(&self.latest[slot], True, slot, ls, left_times.values, n, &i, rs,
                                  right_times.values, m, &j, base, found)
                    else:
                        merge_run(&self.latest[slot], False, slot, ls, left_times.values, n, &i,
                                  rs, right_times.values, m, &j, base, found)
                    if i == n:
                        break
                    slot = ls[i]
                if slot < 0 or absent(left_times, i):
                    found[i] = NOTHING
                    i += 1
                    continue
                t = left_times.values[i].i
                while j < m:
                    other = rs[j] if rs != NULL else 0
                    if other < 0 or absent(right_times, j):
                        j += 1
                        continue
                    if other != known or slot != to:
                        order = 0 if other == slot else compare(self.keys, other, slot)
                        known, to = other, slot
                    if order > 0 or (order == 0 and not reaches(right_times.values[j].i, t,
                                                                self.strict)):
                        break
                    if order == 0:
                        self.take(other, right_times.values[j].i, base + j, 0)
                    j += 1
                if j == m and not complete:
                    break
                found[i] = self.met(&self.latest[slot], t)
                i += 1
        self.left_at, self.right_at = i, j

    cdef inline void take(self, int32_t slot, int64_t t, int64_t row, int64_t rank) noexcept nogil:
        cdef Latest* latest
        if slot < 0:
            return
        latest = &self.latest[slot]
        if self.tie != LAST or self.ranked:
            if latest.row >= 0 and latest.time == t:
                latest.tied = 1
                if not replaces(rank, self.ranks[slot] if self.ranked else 0, self.tie):
                    return
            else:
                latest.tied = 0
            if self.ranked:
                self.ranks[slot] = rank
        latest.row = row
        latest.time = t

    cdef inline int64_t met(self, Latest* latest, int64_t t) noexcept nogil:
        if latest.row < 0:
            return NOTHING
        cdef uint64_t distance = <uint64_t> t - <uint64_t> latest.time
        if self.tolerance >= 0 and distance > <uint64_t> self.tolerance:
            return NOTHING
        if self.tie == NO_TIES and latest.tied:
            return TIED
        return latest.row

    def carried(self):
        """The right rows that are still pointed at, renumbered from 0: an int64 Arrow array."""
        cdef Py_ssize_t i, n = 0
        target = pa.allocate_buffer(max(1, self.room) * 8)
        cdef int64_t* out = <int64_t*> <uintptr_t> target.address
        with nogil:
            for i in range(self.room):
                if self.latest[i].row >= 0:
                    out[n] = self.latest[i].row
                    self.latest[i].row = n
                    n += 1
        return pa.Array.from_buffers(pa.int64(), n, [None, target])

    def held(self):
        """The right rows that are still pointed at, a tied one twice.

        Shapes: two int Arrow arrays of equal length: the slots, ascending, and the rows.
        """
        cdef Py_ssize_t i, n = 0
        first = pa.allocate_buffer(max(1, self.room) * 8)
        second = pa.allocate_buffer(max(1, self.room) * 16)
        cdef int32_t* slots = <int32_t*> <uintptr_t> first.address
        cdef int64_t* rows = <int64_t*> <uintptr_t> second.address
        with nogil:
            for i in range(self.room):
                for _ in range(2 if self.tie == NO_TIES and self.latest[i].tied else 1):
                    if self.latest[i].row >= 0:
                        slots[n] = <int32_t> i
                        rows[n] = self.latest[i].row
                        n += 1
        return (pa.Array.from_buffers(pa.int32(), n, [None, first]),
                pa.Array.from_buffers(pa.int64(), n, [None, second]))

    def expire(self, int64_t t):
        """Let go of right rows that lie beyond the tolerance of left rows from a time on."""
        cdef Py_ssize_t i
        if self.tolerance < 0:
            return
        with nogil:
            for i in range(min(self.room, self.keys.n_slots)):
                if self.latest[i].row >= 0 and self.met(&self.latest[i], t) == NOTHING:
                    self.latest[i].row = NOTHING
                    self.keys.known[i].changed = 1

    @property
    def bytes_held(self):
        """Bytes of the places."""
        return self.room * (sizeof(Latest) + self.ranked * sizeof(int64_t))


def first_tied(out, Py_ssize_t begin, Py_ssize_t end):
    """The first row that met several right rows, or -1."""
    cdef const int64_t* found = <const int64_t*> <uintptr_t> out.address
    cdef Py_ssize_t i, at = -1
    with nogil:
        for i in range(begin, end):
            if found[i] == TIED:
                at = i
                break
    return at
