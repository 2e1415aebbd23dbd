# One call of decode: raw messages to columns, without the GIL; header only.
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from fin_sql.catalog._cells cimport TEXT, Column, Scratch, put, release, repeat, reserve
from fin_sql.catalog._scan cimport (
    ABSENT, ARRAY, BAD_UTF8, BATCH_FULL, BYTE_ORDER_MARK, EMPTY, FINE, HALF_PAIR, NO_ARRAY,
    NO_MEMORY, NULL_VALUE, PADDING, Span, TOMBSTONE, TOO_LONG, TOO_MUCH_TEXT, WANTS_END, Wrong,
    bad_utf8, blank, is_ascii, likely, unlikely,
)
from fin_sql.catalog._tree cimport Elements, NONE, Run, walk
from fin_sql.catalog._where cimport Test, fulfils

cdef enum:
    MOST_BYTES = 2147483000     # of a message
    MOST_REPEATED = 67108864    # bytes that a text of a message may take in all of its rows

cdef struct Message:
    const uint8_t* bytes        # NULL: a tombstone
    int64_t n

cdef struct Complaint:          # a bad message
    int32_t message
    Wrong wrong
    int32_t column              # NONE
    int64_t at                  # a byte; NONE
    int64_t length              # of what was wrong there

cdef struct Batch:
    Run run
    Scratch scratch
    uint8_t* buffer             # the message that is walked over, and PADDING zeros
    int64_t buffer_room
    int32_t n_slots             # of a message
    int32_t n_unnest
    Column* columns
    int32_t n_columns
    const Test* tests
    int32_t n_tests
    int32_t* source
    int32_t* unnest
    int64_t rows
    int64_t room
    Complaint* bad
    int64_t n_bad
    int64_t bad_room
    int64_t passed
    int64_t empty


cdef inline void release_batch(Batch* b) noexcept nogil:
    cdef int32_t k
    for k in range(b.n_columns if b.columns != NULL else 0):
        release(&b.columns[k])
    for k in range(b.n_unnest if b.run.elements != NULL else 0):
        free(b.run.elements[k].spans)
    free(b.columns)
    free(b.run.elements)
    free(b.run.spans)
    free(b.run.ring)
    free(b.run.text)
    free(b.buffer)
    free(b.source)
    free(b.unnest)
    free(b.bad)


cdef inline Wrong complain(Batch* b, int64_t message, Wrong wrong, int32_t column, int64_t at,
                           int64_t length) noexcept nogil:
    """Note a bad message."""
    cdef Complaint* bad
    cdef int64_t room
    if wrong == NO_MEMORY or wrong == BATCH_FULL:
        return wrong
    if b.n_bad == b.bad_room:
        room = max(2 * b.bad_room, <int64_t> 16)
        bad = <Complaint*> realloc(b.bad, room * sizeof(Complaint))
        if bad == NULL:
            return NO_MEMORY
        b.bad = bad
        b.bad_room = room
    b.bad[b.n_bad] = Complaint(message=<int32_t> message, wrong=wrong, column=column, at=at,
                               length=length)
    b.n_bad += 1
    return FINE


cdef inline bint room_for_message(Batch* b, int64_t n) noexcept nogil:
    cdef int64_t room
    if likely(n + PADDING <= b.buffer_room):
        return True
    room = n + n // 2 + 4096
    free(b.buffer)
    free(b.run.text)
    b.buffer = <uint8_t*> malloc(room)
    b.run.text = <uint8_t*> malloc(room)
    b.scratch.text = b.run.text
    b.buffer_room = room if b.buffer != NULL and b.run.text != NULL else 0
    return b.buffer_room > 0


cdef inline bint room_for_rows(Batch* b, int64_t rows) noexcept nogil:
    cdef int64_t room
    cdef int32_t k
    cdef int32_t* source
    cdef int32_t* unnest
    if likely(rows <= b.room):
        return True
    room = max(rows, 2 * b.room)
    source = <int32_t*> realloc(b.source, room * sizeof(int32_t))
    if source != NULL:
        b.source = source
    unnest = <int32_t*> realloc(b.unnest, room * sizeof(int32_t))
    if unnest != NULL:
        b.unnest = unnest
    if source == NULL or unnest == NULL:
        return False
    for k in range(b.n_columns):
        if not reserve(&b.columns[k], room):
            return False
    b.room = room
    return True


cdef inline Wrong fill_column(Batch* b, Column* c, int64_t n, const Span** value) noexcept nogil:
    """Write the n rows of a message; `value` is what was written last."""
    cdef Elements* found
    cdef int64_t k, row = b.rows
    cdef int32_t u
    cdef Wrong wrong
    if not c.of_element:
        value[0] = &b.run.spans[c.slot]
        wrong = put(c, value[0], row, &b.scratch)
        if likely(n == 1) or wrong != FINE:
            return wrong
        if c.type == TEXT and value[0].kind > NULL_VALUE and value[0].length > MOST_REPEATED // n:
            return TOO_MUCH_TEXT
        return repeat(c, row, n - 1)
    for u in range(b.n_unnest):
        found = &b.run.elements[u]
        for k in range(found.n):
            value[0] = &found.spans[k * b.run.n_element_slots + c.slot]
            wrong = put(c, value[0], row, &b.scratch)
            if unlikely(wrong != FINE):
                return wrong
            row += 1
    return FINE


cdef inline Wrong fill_rows(Batch* b, int64_t message, int64_t n) noexcept nogil:
    cdef int64_t row, end
    cdef int32_t k, u
    cdef const Span* value = NULL
    cdef Wrong wrong
    if n > INT32_MAX - b.rows:
        return BATCH_FULL
    if not room_for_rows(b, b.rows + n):
        return NO_MEMORY
    for k in range(b.n_columns):
        wrong = fill_column(b, &b.columns[k], n, &value)
        if unlikely(wrong != FINE):
            if value.kind == ABSENT:
                return complain(b, message, wrong, k, NONE, 0)
            if wrong == HALF_PAIR:
                return complain(b, message, wrong, k, b.scratch.fault.at - b.buffer, 6)
            return complain(b, message, wrong, k, value.begin - b.buffer, value.length)
    for row in range(b.rows, b.rows + n):
        b.source[row] = <int32_t> message
    row = b.rows
    for u in range(b.n_unnest):
        end = row + b.run.elements[u].n
        while row < end:
            b.unnest[row] = u
            row += 1
    if b.n_unnest == 0:
        b.unnest[row] = NONE
    b.rows += n
    return FINE


cdef inline Wrong take(Batch* b, const Message* m, int64_t message) noexcept nogil:
    """Decode one message; anything but FINE stands for the whole call."""
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef int32_t k
    cdef int64_t n
    if m.bytes == NULL:
        return complain(b, message, TOMBSTONE, NONE, NONE, 0)
    if m.n == 0:
        return complain(b, message, EMPTY, NONE, NONE, 0)
    if m.n > MOST_BYTES:
        return complain(b, message, TOO_LONG, NONE, NONE, 0)
    if not room_for_message(b, m.n):
        return NO_MEMORY
    memcpy(b.buffer, m.bytes, m.n)
    memset(b.buffer + m.n, 0, PADDING)
    end = b.buffer + m.n
    if unlikely(not is_ascii(b.buffer, m.n)):
        p = bad_utf8(b.buffer, end)
        if p != NULL:
            return complain(b, message, BAD_UTF8, NONE, p - b.buffer, 1)
        if b.buffer[0] == 0xEF and b.buffer[1] == 0xBB and b.buffer[2] == 0xBF:
            return complain(b, message, BYTE_ORDER_MARK, NONE, 0, 3)
    memset(b.run.spans, 0, b.n_slots * sizeof(Span))
    for k in range(b.n_unnest):
        b.run.elements[k].array.kind = ABSENT
        b.run.elements[k].n = 0
    p = walk(&b.run, b.run.nodes, blank(b.buffer), 0, b.run.spans)
    if unlikely(p == NULL):
        return complain(b, message, b.run.fault.wrong, NONE, b.run.fault.at - b.buffer, 1)
    p = blank(p)
    if unlikely(p != end):
        return complain(b, message, WANTS_END, NONE, p - b.buffer, 1)
    for k in range(b.n_tests):
        if not fulfils(&b.tests[k], &b.run.spans[b.tests[k].slot], b.scratch.key, b.scratch.text,
                       &b.scratch.fault):
            b.passed += 1
            return FINE
    n = 1
    if b.n_unnest:
        n = 0
        for k in range(b.n_unnest):
            if b.run.elements[k].array.kind > NULL_VALUE \
                    and b.run.elements[k].array.kind != ARRAY:
                return complain(b, message, NO_ARRAY, -2 - k,
                                b.run.elements[k].array.begin - b.buffer,
                                b.run.elements[k].array.length)
            n += b.run.elements[k].n
        if n == 0:
            b.empty += 1
            return FINE
    return fill_rows(b, message, n)
