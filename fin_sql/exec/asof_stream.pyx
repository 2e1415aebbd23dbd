"""The loop of an ASOF join whose left rows may meet a right row behind them, over two streams.

Right rows that lie ahead of the left side are chained by key, oldest first, as they come; the left
side passes them in the order of time. So the right row ahead of a left one is the first of its
chain, and the one before it is the last of its key that was passed.
"""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from fin_sql.columns cimport Column, Slots
from fin_sql.exec._meet cimport (
    AT_OR_AFTER, NEAREST, NO_TIES, NOTHING, TIED, absent, distance, replaces,
)
from fin_sql.exec.asof_index import DIRECTIONS, TIES
from fin_sql.exec.keys cimport Keys

cdef enum:
    END = 0x7FFFFFFFFFFFFFFF    # the watermark of a side that is over

cdef uint64_t ANY = 0xFFFFFFFFFFFFFFFF  # no tolerance


cdef struct Ahead:              # right rows of one key and time, ahead of the left side
    int64_t time
    int64_t row                 # the one that stands for them
    int64_t next                # the number of the next of its key; -1: it is the last
    int32_t slot
    int32_t tied


cdef struct Place:              # what is known of a key
    int64_t head                # the number of its first right rows ahead; -1: there are none
    int64_t tail                # and of its last ones
    int64_t back                # the last right row that was passed, for NEAREST; -1: none
    int64_t back_time
    int64_t back_tied


cdef class Chains:
    """Right rows around the left side of a join, which passes them.

    Both sides come in order of time; the caller sees to it.

    Args:
        keys: of both sides.
        direction: "<=", "<" or "nearest".
        tolerance: the largest distance; negative means any.
        ties: what is taken of right rows of equal key and time.
        ranked: a rank decides between such rows, before their order does.
        tracked: `keys` is told which of them changed.
    """

    cdef Keys keys
    cdef int way, tie
    cdef bint ranked, tracked, begun
    cdef uint64_t reach
    cdef Place* places
    cdef int64_t* ranks         # of the last right rows of each key, where they are ranked
    cdef Py_ssize_t room
    cdef Ahead* ahead           # numbered from `first` on, those up to `front` are passed
    cdef Py_ssize_t n_ahead, room_ahead
    cdef int64_t first, front
    cdef int64_t passed         # the time that the left side has come to
    cdef readonly Py_ssize_t left_at

    def __cinit__(self, Keys keys, str direction, int64_t tolerance, str ties, bint ranked=False,
                  bint tracked=False):
        self.keys, self.ranked, self.tracked = keys, ranked, tracked
        self.way, self.tie = DIRECTIONS.index(direction), TIES.index(ties)
        self.reach = ANY if tolerance < 0 else <uint64_t> tolerance

    def __dealloc__(self):
        free(self.places)
        free(self.ranks)
        free(self.ahead)

    def __len__(self):
        """How many right rows are ahead."""
        return self.first + self.n_ahead - self.front

    cdef int reserve(self) except -1:
        """Have a place for every key."""
        cdef Py_ssize_t wanted = max(64, self.keys.n_slots)
        cdef Place* places
        cdef int64_t* ranks
        if wanted <= self.room:
            return 0
        wanted = max(wanted, 2 * self.room)
        if self.ranked:
            ranks = <int64_t*> realloc(self.ranks, wanted * sizeof(int64_t))
            if ranks == NULL:
                raise MemoryError
            self.ranks = ranks
        places = <Place*> realloc(self.places, wanted * sizeof(Place))
        if places == NULL:
            raise MemoryError
        self.places = places
        while self.room < wanted:
            self.places[self.room] = Place(head=-1, tail=-1, back=NOTHING, back_time=0,
                                           back_tied=0)
            self.room += 1
        return 0

    cdef int make_room(self, Py_ssize_t more) except -1:
        """Have room for rows ahead, and give memory back that is mostly free."""
        cdef Py_ssize_t gone = self.front - self.first, held = self.n_ahead - gone
        cdef Py_ssize_t wanted = self.room_ahead
        cdef Ahead* larger
        if self.n_ahead + more <= self.room_ahead and 2 * gone < self.room_ahead:
            return 0
        if held:
            memmove(self.ahead, self.ahead + gone, held * sizeof(Ahead))
        self.first, self.n_ahead = self.front, held
        if held + more > wanted:
            wanted = max(held + more, 2 * wanted, 64)
        elif 8 * (held + more) < wanted:
            wanted = max(2 * (held + more), 64)
        if wanted != self.room_ahead:
            larger = <Ahead*> realloc(self.ahead, wanted * sizeof(Ahead))
            if larger == NULL:
                raise MemoryError
            self.ahead, self.room_ahead = larger, wanted
        return 0

    def add(self, Slots slots, Column times, Column ranks, int64_t base):
        """Take right rows, numbered from `base`; those without a key or a time are left out.

        Args:
            slots: the key of each row.
            times: its time.
            ranks: None where they have none.
            base: number of the first row.
        """
        cdef Py_ssize_t i
        cdef int32_t slot
        self.reserve()
        self.make_room(slots.n)
        with nogil:
            for i in range(slots.n):
                slot = slots.values[i] if slots.values != NULL else 0
                if slot >= 0 and not absent(times, i):
                    self.put(slot, times.values[i].i, base + i,
                             ranks.values[i].i if self.ranked else 0)

    cdef inline void put(self, int32_t slot, int64_t t, int64_t row, int64_t rank) noexcept nogil:
        cdef Place* place = &self.places[slot]
        cdef Ahead* last
        cdef int64_t number
        if self.begun and self.passes(t, self.passed):      # the left side did not wait for it
            if self.way == NEAREST:
                self.put_behind(place, slot, t, row, rank)
            return
        last = &self.ahead[place.tail - self.first] if place.head >= 0 else NULL
        if last != NULL and last.time == t:
            last.tied = 1
            if self.outranks(slot, rank):
                last.row = row
            return
        number = self.first + self.n_ahead
        self.ahead[self.n_ahead] = Ahead(time=t, row=row, next=-1, slot=slot, tied=0)
        self.n_ahead += 1
        if last != NULL:
            last.next = number
        else:
            place.head = number
        place.tail = number
        if self.ranked:
            self.ranks[slot] = rank

    cdef inline void put_behind(self, Place* place, int32_t slot, int64_t t, int64_t row,
                                int64_t rank) noexcept nogil:
        if place.back != NOTHING and place.back_time == t:
            place.back_tied = 1
            if self.outranks(slot, rank):
                place.back = row
            return
        place.back, place.back_time, place.back_tied = row, t, 0
        if self.ranked:
            self.ranks[slot] = rank

    cdef inline bint outranks(self, int32_t slot, int64_t rank) noexcept nogil:
        """Whether one more row of a key and time stands for it from now on."""
        if not self.ranked:
            return replaces(0, 0, self.tie)
        if not replaces(rank, self.ranks[slot], self.tie):
            return False
        self.ranks[slot] = rank
        return True

    cdef inline bint passes(self, int64_t right, int64_t left) noexcept nogil:
        """Whether a right row is not ahead of a left one."""
        return right < left or (right == left and self.way != AT_OR_AFTER)

    cdef inline void pass_to(self, int64_t t) noexcept nogil:
        """Pass the right rows that no left row from a time on has ahead of it."""
        cdef int64_t end = self.first + self.n_ahead
        cdef Ahead* row
        cdef Place* place
        while self.front < end:
            row = &self.ahead[self.front - self.first]
            if not self.passes(row.time, t):
                break
            place = &self.places[row.slot]
            place.head = row.next
            if self.way == NEAREST:
                place.back, place.back_time, place.back_tied = row.row, row.time, row.tied
            if self.tracked:
                self.keys.known[row.slot].changed = 1
            self.front += 1
        if not self.begun or t > self.passed:
            self.begun, self.passed = True, t

    def take_until(self, int64_t t):
        """Left rows before a time will not come any more."""
        self.reserve()
        with nogil:
            self.pass_to(t)

    def match(self, Slots left, Column times, Py_ssize_t i, bint begun, int64_t watermark, out):
        """Match left rows from i on, up to one that the watermark does not allow: `left_at`.

        A left row is let out when the watermark of the right side has come to the right row ahead
        of it, to one as far ahead as the one behind it, or to the end of the tolerance.

        Args:
            left: the key of each left row.
            times: its time.
            i: the first row.
            begun: there is a watermark.
            watermark: every right row up to it was added; END where no more will come.
            out: an int64 buffer; the right row of each left row, or -1, or -2 for ties that are an
                error.
        """
        cdef int64_t* found = <int64_t*> <uintptr_t> out.address
        cdef int32_t slot
        cdef int64_t t, met
        cdef uint64_t reach, d
        cdef bint tied
        cdef Place* place
        cdef Ahead* ahead
        self.reserve()
        with nogil:
            while i < left.n:
                slot = left.values[i] if left.values != NULL else 0
                if slot < 0 or absent(times, i):
                    found[i] = NOTHING
                    i += 1
                    continue
                t = times.values[i].i
                self.pass_to(t)
                place = &self.places[slot]
                reach, met, tied = self.reach, NOTHING, False
                if place.back != NOTHING:
                    d = distance(t, place.back_time)
                    if d <= reach:
                        reach, met, tied = d, place.back, place.back_tied
                if place.head >= 0:
                    ahead = &self.ahead[place.head - self.first]
                    d = distance(ahead.time, t)
                    if d < reach or (d == reach and met == NOTHING):
                        reach, met, tied = d, ahead.row, ahead.tied
                if watermark != END and (not begun or watermark < t
                                         or distance(watermark, t) < reach):
                    break
                found[i] = TIED if tied and self.tie == NO_TIES else met
                i += 1
        self.left_at = i

    def carried(self):
        """The right rows that are held, renumbered from 0: an int64 Arrow array."""
        cdef Py_ssize_t i, n = 0
        self.make_room(0)
        cdef Py_ssize_t begin = self.front - self.first
        target = pa.allocate_buffer(max(1, self.room + self.n_ahead) * 8)
        cdef int64_t* out = <int64_t*> <uintptr_t> target.address
        with nogil:
            for i in range(self.room):
                if self.places[i].back != NOTHING:
                    out[n] = self.places[i].back
                    self.places[i].back = n
                    n += 1
            for i in range(begin, self.n_ahead):
                out[n] = self.ahead[i].row
                self.ahead[i].row = n
                n += 1
        return pa.Array.from_buffers(pa.int64(), n, [None, target])

    def held(self):
        """The right rows that are held, those of each key in order of time, a tied one twice.

        Shapes: two int Arrow arrays of equal length: the slots and the rows.
        """
        cdef Py_ssize_t i, n = 0
        cdef Py_ssize_t most = 2 * max(1, self.room + self.n_ahead)
        first, second = pa.allocate_buffer(most * 4), pa.allocate_buffer(most * 8)
        cdef int32_t* slots = <int32_t*> <uintptr_t> first.address
        cdef int64_t* rows = <int64_t*> <uintptr_t> second.address
        cdef Ahead* ahead
        with nogil:
            for i in range(self.room):
                if self.places[i].back != NOTHING:
                    for _ in range(2 if self.tie == NO_TIES and self.places[i].back_tied else 1):
                        slots[n], rows[n] = <int32_t> i, self.places[i].back
                        n += 1
            for i in range(self.front - self.first, self.n_ahead):
                ahead = &self.ahead[i]
                for _ in range(2 if self.tie == NO_TIES and ahead.tied else 1):
                    slots[n], rows[n] = ahead.slot, ahead.row
                    n += 1
        return (pa.Array.from_buffers(pa.int32(), n, [None, first]),
                pa.Array.from_buffers(pa.int64(), n, [None, second]))

    def expire(self, int64_t t):
        """Let go of right rows that lie beyond the tolerance of left rows from a time on."""
        cdef Py_ssize_t i
        cdef Place* place
        with nogil:
            for i in range(min(self.room, self.keys.n_slots)):
                place = &self.places[i]
                if place.back != NOTHING and distance(t, place.back_time) > self.reach:
                    place.back = NOTHING
                    self.keys.known[i].changed = 1

    @property
    def bytes_held(self):
        """Bytes of the places and of the rows ahead."""
        cdef Py_ssize_t a_place = sizeof(Place) + self.ranked * sizeof(int64_t)
        return self.room * a_place + self.room_ahead * sizeof(Ahead)
