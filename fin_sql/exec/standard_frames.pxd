# The frames of the standard window functions, over summaries of rows; header only.
#
# A frame is a queue in two parts. An element of the front holds the summary of its row and all
# front rows behind it; the rows behind the front are summed up in `back`. When the front has run
# out, what is left becomes the front. So a row is joined to others, in order, and never taken out
# again: a NaN or a spike leaves with its row, a constant stays exactly constant, and what is joined
# depends on the rows of the key alone.
#
# Each row has a stamp: its number within the key (ROWS) or its time (RANGE). NULL rows are not
# kept, they only move the frame on.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from fin_sql.abi cimport EMIT, GROW, Room, Rows, cell


cdef enum:
    THERE = 0                   # where a row's cells are: 1 or, beside NULL, 0
    VALUE = 1
    SECOND = 2
    TIME = 3
    ROWS_BACK = 0               # parameters: rows of the frame
    END_BACK = 1                # how many rows before the current one the frame ends
    TIME_BACK = 2
    MAX_ROWS = 3                # of a RANGE frame
    MASK = 4                    # of the ring of a ROWS frame: its elements less one
    KIND = 5
    WIDEST = 5                  # cells of a summary

    ALL = 0                     # kinds of frames
    ROWS = 1
    RANGE = 2

    TOO_MANY = -1               # codes
    OVERFLOW = -2


# `n` and `m` rows, at least one each, that follow each other.
ctypedef void (*lift_fn)(cell* v, const cell* x) noexcept nogil
ctypedef void (*join_fn)(cell* v, int64_t n, const cell* o, int64_t m) noexcept nogil
ctypedef int (*value_of_fn)(const cell* v, int64_t n, cell* out) noexcept nogil


cdef struct Ring:               # followed by its elements: a stamp, and the cells of a summary
    Room room                   # RANGE only
    int64_t begin               # rows that have left; a row lies at its number modulo the ring
    int64_t middle              # behind the front
    int64_t end                 # rows that have come
    int64_t mask                # RANGE only: elements less one
    int64_t rows                # ROWS only: of the key, NULL rows among them
    cell back[WIDEST]


cdef struct Running:            # all rows before
    int64_t n
    cell v[WIDEST]


cdef struct Waiting:            # before these, followed by cells: rows that the frame comes to later
    int64_t n
    int64_t at


cdef inline int64_t ring_size(int64_t rows) noexcept nogil:
    """The power of two that holds them."""
    cdef int64_t size = 1
    while size < rows:
        size *= 2
    return size


cdef inline int64_t waiting_bytes(const cell* p, int64_t n_cells) noexcept nogil:
    return sizeof(Waiting) + p[END_BACK].i * n_cells * sizeof(cell) if p[END_BACK].i else 0


cdef inline int64_t ring_bytes(const cell* p, int64_t width) noexcept nogil:
    return sizeof(Ring) + (p[MASK].i + 1) * (width + 1) * sizeof(cell)


# The row that the frame comes to now, where it ends before the current one; False before the first.
cdef inline bint delayed(Waiting* w, int64_t behind, const int n_cells, cell* x) noexcept nogil:
    cdef cell* waiting = <cell*> (w + 1) + n_cells * w.at
    cdef cell now
    cdef int i
    for i in range(n_cells):
        now = x[i]
        x[i] = waiting[i]
        waiting[i] = now
    w.at = w.at + 1 if w.at + 1 < behind else 0
    w.n += 1
    return w.n > behind


cdef inline bint laid_out(const Ring* s, const int element) noexcept nogil:
    # A restored block is as long as its bytes: too short where the last ones were zero.
    return s.mask == 0 or <int64_t> sizeof(Ring) + (s.mask + 1) * element <= s.room.bytes


cdef inline bint widened(Ring* s, const int element) noexcept nogil:
    """Double a ring that grows, if its block has the room."""
    cdef char* at = <char*> (s + 1)
    cdef int64_t mask = 2 * s.mask + 1, k
    if <int64_t> sizeof(Ring) + (mask + 1) * element > s.room.bytes:
        return False
    for k in range(s.begin, s.end):
        if (k & mask) != (k & s.mask):
            memcpy(at + (k & mask) * element, at + (k & s.mask) * element, element)
    s.mask = mask
    return True


# Let the rows before `first` go and make room for one more; 0, GROW or a code. GROW may come after
# some have gone: they are not asked for again.
cdef inline int move_on(Ring* s, const cell* p, int64_t mask, int64_t first, bint there,
                        const int kind, const int width) noexcept nogil:
    cdef const cell* e = <const cell*> (s + 1)
    cdef int64_t begin = s.begin
    while begin < s.end and e[(begin & mask) * (width + 1)].i < first:
        begin += 1
    s.begin = begin
    if kind == RANGE and there:
        if s.end - begin >= p[MAX_ROWS].i:
            return TOO_MANY
        if s.end - begin > mask and not widened(s, (width + 1) * sizeof(cell)):
            return GROW
    return 0


# A row goes into the frame. `width`, the cells of a summary, and the functions are constant at
# every call, so that the compiler makes a loop of each.
cdef inline int take(Ring* s, const cell* p, const cell* x, int64_t stamp, int64_t first,
                     const int kind, const int width, lift_fn lift, join_fn join) noexcept nogil:
    cdef cell* e = <cell*> (s + 1)
    cdef cell* row = NULL
    cdef bint there = x[THERE].i
    cdef int64_t mask = s.mask if kind == RANGE else p[MASK].i, k
    cdef int i, code
    if kind == RANGE and not laid_out(s, (width + 1) * sizeof(cell)):
        return GROW
    code = move_on(s, p, mask, first, there, kind, width)
    if code:
        return code
    if kind == RANGE:
        mask = s.mask
    if there:
        row = e + (s.end & mask) * (width + 1)
        row[0].i = stamp
        lift(row + 1, x)
        s.end += 1
    if s.begin > s.middle:      # the front has run out, with some of the rows behind it
        for k in range(s.end - 2, s.begin - 1, -1):
            join(e + (k & mask) * (width + 1) + 1, 1,
                 e + ((k + 1) & mask) * (width + 1) + 1, s.end - 1 - k)
        s.middle = s.end
    elif there:
        if s.end - 1 == s.middle:
            for i in range(width):
                s.back[i] = row[1 + i]
        else:
            join(s.back, s.end - 1 - s.middle, row + 1, 1)
    return 0


cdef inline int value_of(const Ring* s, int64_t mask, cell* out, const int width, join_fn join,
                         value_of_fn value) noexcept nogil:
    """The value of the frame as it is."""
    cdef const cell* e = <const cell*> (s + 1) + (s.begin & mask) * (width + 1) + 1
    cdef cell found[WIDEST]
    cdef int i
    if s.begin >= s.middle:
        return value(s.back, s.end - s.begin, out)
    if s.middle == s.end:
        return value(e, s.end - s.begin, out)
    for i in range(width):
        found[i] = e[i]
    join(found, s.middle - s.begin, s.back, s.end - s.middle)
    return value(found, s.end - s.begin, out)


# ---------------------------------------------------------------- loops

cdef inline int step(char* state, const cell* p, cell* x, cell* out, const int kind,
                     const int n_cells, const int width, lift_fn lift, join_fn join,
                     value_of_fn value) noexcept nogil:
    cdef Ring* s
    cdef Running* running
    cdef cell lifted[WIDEST]
    cdef int code
    cdef int64_t row
    cdef bint entered = True
    if kind != RANGE and p[END_BACK].i:
        entered = delayed(<Waiting*> state, p[END_BACK].i, n_cells, x)
        state += waiting_bytes(p, n_cells)
    if kind == ALL:
        running = <Running*> state
        if entered and x[THERE].i:
            lift(lifted, x)
            if running.n:
                join(running.v, running.n, lifted, 1)
            else:
                for code in range(width):
                    running.v[code] = lifted[code]
            running.n += 1
        return value(running.v, running.n, out)
    s = <Ring*> state
    if kind == ROWS:
        if entered:
            row = s.rows
            s.rows += 1
            take(s, p, x, row, row - p[ROWS_BACK].i + 1, kind, width, lift, join)
        return value_of(s, p[MASK].i, out, width, join, value)
    code = take(s, p, x, x[TIME].i, x[TIME].i - p[TIME_BACK].i, kind, width, lift, join)
    return code if code else value_of(s, s.mask, out, width, join, value)


cdef inline void loop(Rows* rows, const int kind, const int n_cells, const int width,
                      lift_fn lift, join_fn join, value_of_fn value) noexcept nogil:
    cdef Rows r = rows[0]       # a copy that no store through a pointer can change
    cdef cell x[4]
    cdef cell out
    cdef Py_ssize_t i
    cdef int32_t slot = 0
    cdef int k, code
    out.i = 0
    for i in range(r.at, r.n):
        for k in range(n_cells):
            x[k] = r.columns[k][i]
        if kind == RANGE:
            x[TIME] = r.columns[TIME][i]
        if r.slots != NULL:
            slot = r.slots[i]
        code = step(r.blocks[slot] if kind == RANGE else r.states + slot * r.size, r.p, x, &out,
                    kind, n_cells, width, lift, join, value)
        r.emitted[i] = code == EMIT
        r.outs[0][i] = out
        if code == GROW or code < 0:
            rows.at = i
            rows.code = code
            return
    rows.at = r.n
    rows.code = EMIT


cdef inline void over(Rows* r, const int n_cells, const int width, lift_fn lift, join_fn join,
                      value_of_fn value) noexcept nogil:
    """The rows of any frame."""
    if r.p[KIND].i == ALL:
        loop(r, ALL, n_cells, width, lift, join, value)
    elif r.p[KIND].i == ROWS:
        loop(r, ROWS, n_cells, width, lift, join, value)
    else:
        loop(r, RANGE, n_cells, width, lift, join, value)
