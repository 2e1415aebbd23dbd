"""The loops of an ASOF join, and the right rows that they point into."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from fin_sql.abi cimport cell
from fin_sql.columns cimport Column, Slots
from fin_sql.exec._meet cimport absent
from fin_sql.exec.keys cimport Keys, Known

cdef enum:
    NOTHING = -1
    TIED = -2                   # several rows, and ties are an error

cdef enum Tie:
    LAST = 0
    FIRST = 1
    NO_TIES = 2

TIES = ("last", "first", "error")


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


cdef class Merge:
    """Two cursors over sides that come in one order, and the last right row of each key.

    Args:
        keys: of both sides.
        strict: a right row of the left row's own time does not count.
        tolerance: the largest distance; negative means any.
        ties: what is taken of right rows of equal key and time.
        by_key: the sides come in order of key and time, not of time.
    """

    cdef Keys keys
    cdef bint strict, by_key
    cdef int tie
    cdef int64_t tolerance
    cdef Latest* latest
    cdef Py_ssize_t room
    cdef int32_t left_key, right_key        # of the last rows, by key
    cdef int64_t left_time, right_time
    cdef readonly bint left_seen, right_seen
    cdef readonly Py_ssize_t left_at, right_at

    def __cinit__(self, Keys keys, bint strict, int64_t tolerance, str ties, bint by_key):
        self.keys, self.strict, self.by_key = keys, strict, by_key
        self.tolerance, self.tie = tolerance, TIES.index(ties)
        self.left_key = self.right_key = -1

    def __dealloc__(self):
        free(self.latest)

    cdef int reserve(self) except -1:
        """Have a place for every key."""
        cdef Py_ssize_t wanted = max(1024, self.keys.n_slots)
        cdef Latest* larger
        if wanted <= self.room:
            return 0
        wanted = max(wanted, 2 * self.room)
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

    def first_misplaced(self, bint right, Slots slots, Column times):
        """The first row of a batch that came too late, or -1; else its last place is remembered."""
        cdef Py_ssize_t i, n = slots.n
        cdef int32_t slot, key = self.right_key if right else self.left_key
        cdef int64_t t, last = self.right_time if right else self.left_time
        cdef bint seen = self.right_seen if right else self.left_seen, runs
        cdef Py_ssize_t found = -1
        self.reserve()
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
            if right:
                self.right_key, self.right_time, self.right_seen = key, last, seen
            else:
                self.left_key, self.left_time, self.left_seen = key, last, seen
        return found

    def last_time(self, bint right):
        """The time of the last row in its place."""
        return self.right_time if right else self.left_time

    def by_time(self, Slots left, Column left_times, Py_ssize_t i, bint begun, int64_t watermark,
                Slots right, Column right_times, Py_ssize_t j, int64_t base, bint more, out):
        """Match left rows from i on, taking right rows from j on.

        Stops at the end of the left rows, at one that the watermark does not reach, or, where
        there is `more` behind these right rows, at their end. `left_at` and `right_at` tell where.

        Args:
            begun: there is a watermark.
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
        self.reserve()
        with nogil:
            if plain and ls != NULL and rs != NULL and self.tie == LAST and self.tolerance < 0:
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
                    if not absent(right_times, j):
                        self.take(rs[j] if rs != NULL else 0, right_times.values[j].i, base + j)
                    j += 1
                if j == m and more:
                    break
                latest = &self.latest[slot]
                found[i] = self.met(latest, t)
                i += 1
        self.left_at, self.right_at = i, j

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
                        self.take(other, right_times.values[j].i, base + j)
                    j += 1
                if j == m and not complete:
                    break
                found[i] = self.met(&self.latest[slot], t)
                i += 1
        self.left_at, self.right_at = i, j

    cdef inline void take(self, int32_t slot, int64_t t, int64_t row) noexcept nogil:
        cdef Latest* latest
        if slot < 0:
            return
        latest = &self.latest[slot]
        if self.tie != LAST:
            if latest.row >= 0 and latest.time == t:
                latest.tied = 1
                return
            latest.tied = 0
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
        for i in range(self.room):
            if self.latest[i].row >= 0:
                out[n] = self.latest[i].row
                self.latest[i].row = n
                n += 1
        return pa.Array.from_buffers(pa.int64(), n, [None, target])

    @property
    def bytes_held(self):
        """Bytes of the places."""
        return self.room * sizeof(Latest)


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


def is_fixed(kind):
    """Whether the values of a type are 1, 2, 4, 8 or 16 bytes wide."""
    if pa.types.is_dictionary(kind) or pa.types.is_nested(kind) or pa.types.is_null(kind):
        return False
    try:
        return kind.bit_width in (8, 16, 32, 64, 128)
    except ValueError:
        return False


cdef class FixedStore:
    """Values of one width, one after the other, and which of them are there.

    Args:
        kind: their Arrow type.
    """

    cdef object kind
    cdef Py_ssize_t width, n, room
    cdef uint8_t* values
    cdef uint8_t* valid         # a byte each; NULL while none is missing

    def __cinit__(self, kind):
        self.kind = kind
        self.width = kind.bit_width // 8

    def __dealloc__(self):
        free(self.values)
        free(self.valid)

    def __len__(self):
        return self.n

    cdef int reserve(self, Py_ssize_t wanted) except -1:
        cdef uint8_t* larger
        if wanted <= self.room:
            return 0
        wanted = max(wanted, 2 * self.room, 1024)
        larger = <uint8_t*> realloc(self.values, wanted * self.width)
        if larger == NULL:
            raise MemoryError
        self.values = larger
        if self.valid != NULL:
            larger = <uint8_t*> realloc(self.valid, wanted)
            if larger == NULL:
                raise MemoryError
            self.valid = larger
        self.room = wanted
        return 0

    def append(self, array):
        """Take the values of an array."""
        cdef Py_ssize_t i, n = len(array), offset = array.offset
        cdef const uint8_t* bits
        if n == 0:
            return
        self.reserve(self.n + n)
        valid, data = array.buffers()
        memcpy(self.values + self.n * self.width,
               (<const uint8_t*> <uintptr_t> data.address) + offset * self.width, n * self.width)
        if array.null_count and self.valid == NULL:
            self.valid = <uint8_t*> realloc(NULL, self.room)
            if self.valid == NULL:
                raise MemoryError
            memset(self.valid, 1, self.n)
        if self.valid != NULL:
            memset(self.valid + self.n, 1, n)
            if array.null_count:
                bits = <const uint8_t*> <uintptr_t> valid.address
                for i in range(n):
                    self.valid[self.n + i] = bits[(offset + i) >> 3] >> ((offset + i) & 7) & 1
        self.n += n

    def take(self, rows, Py_ssize_t begin, Py_ssize_t end):
        """The values of rows, given as an int64 buffer; a negative row gives NULL."""
        cdef Py_ssize_t i, n = end - begin, missing = 0
        cdef const int64_t* at = (<const int64_t*> <uintptr_t> rows.address) + begin
        data = pa.allocate_buffer(n * self.width)
        flags = pa.allocate_buffer((n + 7) // 8)
        cdef uint8_t* out = <uint8_t*> <uintptr_t> data.address
        cdef uint8_t* bits = <uint8_t*> <uintptr_t> flags.address
        with nogil:
            missing = self.mark(at, n, bits)
            if self.width == 8:
                gather[int64_t](<const int64_t*> self.values, at, n, <int64_t*> out)
            elif self.width == 4:
                gather[int32_t](<const int32_t*> self.values, at, n, <int32_t*> out)
            else:
                for i in range(n):
                    if at[i] >= 0:
                        memcpy(out + i * self.width, self.values + at[i] * self.width, self.width)
                    else:
                        memset(out + i * self.width, 0, self.width)
        return pa.Array.from_buffers(self.kind, n, [flags if missing else None, data], missing)

    def one(self, int64_t row):
        """The value of a row, as Python has it."""
        if self.valid != NULL and not self.valid[row]:
            return None
        data = pa.py_buffer((<char*> self.values)[row * self.width:(row + 1) * self.width])
        return pa.Array.from_buffers(self.kind, 1, [None, data])[0].as_py()

    cdef Py_ssize_t mark(self, const int64_t* at, Py_ssize_t n, uint8_t* bits) noexcept nogil:
        """Write which rows are there; returns how many are not."""
        cdef Py_ssize_t i, k, missing = 0
        cdef uint8_t byte, there
        for i in range(0, n, 8):
            byte = 0
            for k in range(min(8, n - i)):
                there = at[i + k] >= 0
                if there and self.valid != NULL:
                    there = self.valid[at[i + k]]
                byte |= there << k
                missing += not there
            bits[i >> 3] = byte
        return missing

    def keep(self, rows):
        """Let go of all values but those of some rows, given as an int64 array, in their order."""
        cdef Py_ssize_t n = len(rows)
        kept = self.take(rows.buffers()[1], 0, n)
        self.n = 0
        if 4 * n < self.room:
            free(self.values)
            free(self.valid)
            self.values = self.valid = NULL
            self.room = 0
        self.append(kept)

    @property
    def bytes_held(self):
        """Bytes of the values."""
        return self.room * (self.width + (self.valid != NULL))


ctypedef fused Word:
    int32_t
    int64_t


cdef inline void gather(const Word* values, const int64_t* at, Py_ssize_t n,
                        Word* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = values[at[i]] if at[i] >= 0 else 0
