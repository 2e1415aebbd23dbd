# What one call of decode holds, whatever the format: messages, columns, bad messages; header only.
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from fin_sql.catalog._cells cimport Column, Scratch, release, reserve
from fin_sql.catalog._scan cimport (
    BATCH_FULL, EMPTY, FINE, NONE, NO_MEMORY, PADDING, TOMBSTONE, TOO_LONG, Wrong, likely,
)

cdef enum:
    MOST_BYTES = 2147483000     # of a message

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
    uint8_t* buffer             # the message that is read, and PADDING zeros
    int64_t buffer_room
    Scratch scratch             # its text is as large as the buffer
    Column* columns
    int32_t n_columns
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
    free(b.columns)
    free(b.scratch.text)
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
    free(b.scratch.text)
    b.buffer = <uint8_t*> malloc(room)
    b.scratch.text = <uint8_t*> malloc(room)
    b.buffer_room = room if b.buffer != NULL and b.scratch.text != NULL else 0
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


cdef inline Wrong load_message(Batch* b, const Message* m, int64_t message,
                               bint* loaded) noexcept nogil:
    """Copy a message to the buffer; anything but FINE stands for the whole call."""
    loaded[0] = False
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
    loaded[0] = True
    return FINE
