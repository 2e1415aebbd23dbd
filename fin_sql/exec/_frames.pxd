# Summaries of the rows of a frame, joined in order and never taken apart; header only.
#
# The rows of a ROWS frame come in blocks as long as the frame: a frame is the end of one block and
# the beginning of the next. Those of a RANGE frame are a queue, whose front is summed up anew when
# it has run out. Both depend on the rows of the key alone, never on batches.
from libc.math cimport fabs
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memmove, memset

from fin_sql.abi cimport EMIT, GROW, Room, cell


cdef struct Part:               # a summary of some rows that follow each other
    int64_t n                   # those that are not NULL
    cell v[5]


# Only the numbers that a summary has are copied, one by one: a copy of the whole would have to wait
# until single ones that were just written reach memory.
cdef inline void copy(Part* to, const Part* other, const int numbers) noexcept nogil:
    to.n = other.n
    if numbers > 0:
        to.v[0] = other.v[0]
    if numbers > 1:
        to.v[1] = other.v[1]
    if numbers > 2:
        to.v[2], to.v[3], to.v[4] = other.v[2], other.v[3], other.v[4]


# In a block a summary takes the room of the numbers that it has: the states of a thousand keys then
# stay near the processor.
cdef inline void put(cell* at, const Part* part, const int numbers) noexcept nogil:
    at[0].i = part.n
    if numbers > 0:
        at[1] = part.v[0]
    if numbers > 1:
        at[2] = part.v[1]
    if numbers > 2:
        at[3], at[4], at[5] = part.v[2], part.v[3], part.v[4]


cdef inline void get(Part* part, const cell* at, const int numbers) noexcept nogil:
    part.n = at[0].i
    if numbers > 0:
        part.v[0] = at[1]
    if numbers > 1:
        part.v[1] = at[2]
    if numbers > 2:
        part.v[2], part.v[3], part.v[4] = at[3], at[4], at[5]


ctypedef void (*lift_fn)(Part* part, const cell* x) noexcept nogil
ctypedef void (*join_fn)(Part* left, const Part* right) noexcept nogil


cdef enum:                      # where a row's cells are
    THERE = 0
    VALUE = 1
    SECOND = 2
    ROWS_BACK = 0               # parameters: rows of the frame, 0 is all before
    END_BACK = 1                # how many rows before the current one the frame ends
    TIME_BACK = 2
    NUMBERS = 3                 # that a summary has beside its count


# ---------------------------------------------------------------- summaries

cdef inline void lift_value(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0] = x[VALUE]


# A double as an integer of the same order; NaN is the greatest, whatever its sign.
cdef inline int64_t ordered(cell c) noexcept nogil:
    cdef int64_t nan = -<int64_t> (c.f != c.f)
    cdef int64_t bits = (c.i & ~nan) | (<int64_t> 0x7FF8000000000000 & nan)
    return bits ^ (bits >> 63 & <int64_t> 0x7FFFFFFFFFFFFFFF)


cdef inline void lift_ordered(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0].i = ordered(x[VALUE])


cdef inline void lift_sum(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0].f = x[VALUE].f if s.n else 0.0
    s.v[1].f = 0.0


cdef inline void lift_integer(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0].i = x[VALUE].i if s.n else 0


cdef inline void lift_count(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i


cdef inline void lift_spread(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0].f = x[VALUE].f
    s.v[1].f = 0.0 * fabs(x[VALUE].f)   # NaN of what has no deviation, else 0


cdef inline void lift_joint(Part* s, const cell* x) noexcept nogil:
    s.n = x[THERE].i
    s.v[0].f = x[VALUE].f
    s.v[1].f = x[SECOND].f
    s.v[2].f = 0.0 * fabs(x[VALUE].f)
    s.v[3].f = 0.0 * fabs(x[SECOND].f)
    s.v[4].f = 0.0 * fabs(x[VALUE].f) * fabs(x[SECOND].f)


cdef inline void lift_row(Part* s, const cell* x) noexcept nogil:
    s.n = 1                     # a row counts whether its value is there or not
    s.v[0] = x[VALUE]
    s.v[1].i = x[THERE].i


cdef inline void join_sum(Part* s, const Part* o) noexcept nogil:
    # Knuth's sum of two: what rounding loses, without asking which is larger.
    cdef double x = o.v[0].f, total = s.v[0].f
    cdef double t = total + x
    cdef double z = t - total
    s.v[1].f += o.v[1].f + ((total - (t - z)) + (x - z))
    s.v[0].f = t
    s.n += o.n


cdef inline void join_integer(Part* s, const Part* o) noexcept nogil:
    s.v[0].i = <int64_t> (<uint64_t> s.v[0].i + <uint64_t> o.v[0].i)
    s.n += o.n


cdef inline void join_count(Part* s, const Part* o) noexcept nogil:
    s.n += o.n


cdef inline void join_spread(Part* s, const Part* o) noexcept nogil:
    cdef double d, share
    if o.n == 0:
        return
    if s.n == 0:
        s[0] = o[0]
        return
    d = o.v[0].f - s.v[0].f
    share = <double> o.n / <double> (s.n + o.n)
    s.v[0].f += d * share
    s.v[1].f += o.v[1].f + d * d * (<double> s.n * share)
    s.n += o.n


cdef inline void join_joint(Part* s, const Part* o) noexcept nogil:
    cdef double dx, dy, share, weight
    if o.n == 0:
        return
    if s.n == 0:
        s[0] = o[0]
        return
    dx = o.v[0].f - s.v[0].f
    dy = o.v[1].f - s.v[1].f
    share = <double> o.n / <double> (s.n + o.n)
    weight = <double> s.n * share
    s.v[0].f += dx * share
    s.v[1].f += dy * share
    s.v[2].f += o.v[2].f + dx * dx * weight
    s.v[3].f += o.v[3].f + dy * dy * weight
    s.v[4].f += o.v[4].f + dx * dy * weight
    s.n += o.n


# By a mask: in prices which of two is less is as good as random.
cdef inline void choose(Part* s, const Part* o, bint better) noexcept nogil:
    cdef int64_t mask = -<int64_t> ((o.n != 0) & ((s.n == 0) | better))
    s.v[0].i ^= (s.v[0].i ^ o.v[0].i) & mask
    s.n += o.n


cdef inline void join_least(Part* s, const Part* o) noexcept nogil:
    choose(s, o, o.v[0].i < s.v[0].i)


cdef inline void join_most(Part* s, const Part* o) noexcept nogil:
    choose(s, o, o.v[0].i > s.v[0].i)


cdef inline void join_first(Part* s, const Part* o) noexcept nogil:
    if not s.n:
        s.v[0], s.v[1] = o.v[0], o.v[1]
    s.n += o.n


cdef inline void join_last(Part* s, const Part* o) noexcept nogil:
    if o.n:
        s.v[0], s.v[1] = o.v[0], o.v[1]
    s.n += o.n


# ---------------------------------------------------------------- frames

cdef struct Blocks:             # followed by w ends and w rows, and cell[3] delayed[d]
    int64_t at                  # rows in the block that fills
    int64_t full                # whether a block is complete
    int64_t delayed             # rows that wait to enter the frame, and where the next goes
    int64_t next
    Part back


cdef inline int64_t blocks_bytes(const cell* p) noexcept nogil:
    cdef int64_t cells = 2 * p[ROWS_BACK].i * (1 + p[NUMBERS].i) + 3 * p[END_BACK].i
    return sizeof(Blocks) + cells * <int64_t> sizeof(cell)


cdef inline void in_rows(void* state, const cell* p, const cell* x, lift_fn lift, join_fn join,
                         const int numbers, Part* found) noexcept nogil:
    """Take a row; `found` is the summary of its frame."""
    cdef Blocks* s = <Blocks*> state
    cdef int64_t w = p[ROWS_BACK].i, d = p[END_BACK].i, j, k
    cdef int64_t each = 1 + numbers
    cdef cell* ends = <cell*> (s + 1)
    cdef cell* rows = ends + each * w
    cdef cell* waiting
    cdef cell entering[3]
    cdef Part one, back
    entering[0], entering[1], entering[2] = x[0], x[1], x[2]
    if d:
        waiting = rows + each * w + 3 * s.next
        for k in range(3):
            entering[k] = waiting[k]
            waiting[k] = x[k]
        s.next = s.next + 1 if s.next + 1 < d else 0
        if s.delayed < d:       # the frame ends before the first row
            s.delayed += 1
            memset(found, 0, sizeof(Part))
            return
    lift(&one, entering)
    j = s.at
    copy(&back, &s.back, numbers)
    if j == 0 and w:
        copy(&back, &one, numbers)
    else:
        join(&back, &one)
    copy(&s.back, &back, numbers)
    copy(found, &back, numbers)
    if w == 0:
        return
    put(rows + each * j, &one, numbers)
    if j + 1 < w:
        s.at = j + 1
        if s.full:
            get(found, ends + each * (j + 1), numbers)
            join(found, &back)
        return
    copy(&back, &one, numbers)  # the block is full: sum up its ends
    put(ends + each * (w - 1), &back, numbers)
    for k in range(w - 2, 0, -1):
        get(&one, rows + each * k, numbers)
        join(&one, &back)
        copy(&back, &one, numbers)
        put(ends + each * k, &one, numbers)
    s.at = 0
    s.full = 1


cdef struct Element:
    int64_t time
    Part row
    Part end                    # from this row to the last one of the front


cdef struct Queue:              # followed by its elements
    Room room
    int64_t begin
    int64_t middle              # behind the front, whose ends are summed up
    int64_t end
    Part back                   # from the middle on


cdef inline int in_time(void* state, const cell* p, const cell* x, cell t, lift_fn lift,
                        join_fn join, Part* found) noexcept nogil:
    cdef Queue* s = <Queue*> state
    cdef Element* e = <Element*> (s + 1)
    cdef int64_t room = (s.room.bytes - <int64_t> sizeof(Queue)) // <int64_t> sizeof(Element), k
    if s.end == room:
        if s.begin <= room // 2:
            return GROW
        memmove(e, e + s.begin, (s.end - s.begin) * sizeof(Element))
        s.middle = s.middle - s.begin if s.middle > s.begin else 0
        s.end -= s.begin
        s.begin = 0
    memset(&e[s.end], 0, sizeof(Element))
    e[s.end].time = t.i
    lift(&e[s.end].row, x)
    if s.end == s.middle:
        s.back = e[s.end].row
    else:
        join(&s.back, &e[s.end].row)
    s.end += 1
    while <uint64_t> t.i - <uint64_t> e[s.begin].time > <uint64_t> p[TIME_BACK].i:
        s.begin += 1
        if s.begin > s.middle:  # the front has run out: what is left becomes the front
            e[s.end - 1].end = e[s.end - 1].row
            for k in range(s.end - 2, s.begin - 1, -1):
                e[k].end = e[k].row
                join(&e[k].end, &e[k + 1].end)
            s.middle = s.end
    if s.begin < s.middle:
        found[0] = e[s.begin].end
        if s.middle < s.end:
            join(found, &s.back)
    else:
        found[0] = s.back
    return EMIT
