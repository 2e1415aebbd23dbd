# One message of JSON to the rows of a batch, without the GIL; header only.
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from fin_sql.catalog._batch cimport Batch, Message, complain, load_message, room_for_rows
from fin_sql.catalog._cells cimport TEXT, Column, put, repeat
from fin_sql.catalog._scan cimport (
    ABSENT, ARRAY, BAD_UTF8, BATCH_FULL, BYTE_ORDER_MARK, FINE, HALF_PAIR, NONE, NO_ARRAY,
    NO_MEMORY,
    NULL_VALUE, Span, TOO_MUCH_TEXT, WANTS_END, Wrong, bad_utf8, blank, is_ascii, likely, unlikely,
)
from fin_sql.catalog._tree cimport Elements, Run, walk
from fin_sql.catalog._where cimport Test, fulfils

cdef enum:
    MOST_REPEATED = 67108864    # bytes that a text of a message may take in all of its rows

cdef struct Json:               # what one call holds beside its batch
    Run run
    int32_t n_slots             # of a message
    int32_t n_unnest
    const Test* tests
    int32_t n_tests


cdef inline void release_json(Json* j) noexcept nogil:
    cdef int32_t k
    for k in range(j.n_unnest if j.run.elements != NULL else 0):
        free(j.run.elements[k].spans)
    free(j.run.elements)
    free(j.run.spans)
    free(j.run.ring)


cdef inline Wrong fill_column(Json* j, Batch* b, Column* c, int64_t n,
                              const Span** value) noexcept nogil:
    """Write the n rows of a message; `value` is what was written last."""
    cdef Elements* found
    cdef int64_t k, row = b.rows
    cdef int32_t u
    cdef Wrong wrong
    if not c.of_element:
        value[0] = &j.run.spans[c.slot]
        wrong = put(c, value[0], row, &b.scratch)
        if likely(n == 1) or wrong != FINE:
            return wrong
        if c.type == TEXT and value[0].kind > NULL_VALUE and value[0].length > MOST_REPEATED // n:
            return TOO_MUCH_TEXT
        return repeat(c, row, n - 1)
    for u in range(j.n_unnest):
        found = &j.run.elements[u]
        for k in range(found.n):
            value[0] = &found.spans[k * j.run.n_element_slots + c.slot]
            wrong = put(c, value[0], row, &b.scratch)
            if unlikely(wrong != FINE):
                return wrong
            row += 1
    return FINE


cdef inline Wrong fill_rows(Json* j, Batch* b, int64_t message, int64_t n) noexcept nogil:
    cdef int64_t row, end
    cdef int32_t k, u
    cdef const Span* value = NULL
    cdef Wrong wrong
    if n > INT32_MAX - b.rows:
        return BATCH_FULL
    if not room_for_rows(b, b.rows + n):
        return NO_MEMORY
    for k in range(b.n_columns):
        wrong = fill_column(j, b, &b.columns[k], n, &value)
        if unlikely(wrong != FINE):
            if value.kind == ABSENT:
                return complain(b, message, wrong, k, NONE, 0)
            if wrong == HALF_PAIR:
                return complain(b, message, wrong, k, b.scratch.fault.at - b.buffer, 6)
            return complain(b, message, wrong, k, value.begin - b.buffer, value.length)
    for row in range(b.rows, b.rows + n):
        b.source[row] = <int32_t> message
    row = b.rows
    for u in range(j.n_unnest):
        end = row + j.run.elements[u].n
        while row < end:
            b.unnest[row] = u
            row += 1
    if j.n_unnest == 0:
        b.unnest[row] = NONE
    b.rows += n
    return FINE


cdef inline Wrong take(Json* j, Batch* b, const Message* m, int64_t message) noexcept nogil:
    """Decode one message; anything but FINE stands for the whole call."""
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef int32_t k
    cdef int64_t n
    cdef bint loaded
    cdef Wrong wrong = load_message(b, m, message, &loaded)
    if not loaded:
        return wrong
    end = b.buffer + m.n
    if unlikely(not is_ascii(b.buffer, m.n)):
        p = bad_utf8(b.buffer, end)
        if p != NULL:
            return complain(b, message, BAD_UTF8, NONE, p - b.buffer, 1)
        if b.buffer[0] == 0xEF and b.buffer[1] == 0xBB and b.buffer[2] == 0xBF:
            return complain(b, message, BYTE_ORDER_MARK, NONE, 0, 3)
    j.run.text = b.scratch.text
    memset(j.run.spans, 0, j.n_slots * sizeof(Span))
    for k in range(j.n_unnest):
        j.run.elements[k].array.kind = ABSENT
        j.run.elements[k].n = 0
    p = walk(&j.run, j.run.nodes, blank(b.buffer), 0, j.run.spans)
    if unlikely(p == NULL):
        return complain(b, message, j.run.fault.wrong, NONE, j.run.fault.at - b.buffer, 1)
    p = blank(p)
    if unlikely(p != end):
        return complain(b, message, WANTS_END, NONE, p - b.buffer, 1)
    for k in range(j.n_tests):
        if not fulfils(&j.tests[k], &j.run.spans[j.tests[k].slot], b.scratch.key, b.scratch.text,
                       &b.scratch.fault):
            b.passed += 1
            return FINE
    n = 1
    if j.n_unnest:
        n = 0
        for k in range(j.n_unnest):
            if j.run.elements[k].array.kind > NULL_VALUE \
                    and j.run.elements[k].array.kind != ARRAY:
                return complain(b, message, NO_ARRAY, -2 - k,
                                j.run.elements[k].array.begin - b.buffer,
                                j.run.elements[k].array.length)
            n += j.run.elements[k].n
        if n == 0:
            b.empty += 1
            return FINE
    return fill_rows(j, b, message, n)
