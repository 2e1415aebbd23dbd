# Conditions on messages; header only.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from fin_sql.catalog._cells cimport Texts, find_text, hash_text
from fin_sql.catalog._numbers cimport same_number
from fin_sql.catalog._scan cimport (
    ESCAPED, FALSE_VALUE, Fault, NULL_VALUE, NUMBER, OBJECT, STRING, Shape, Span, TRUE_VALUE,
    number_end, unescape,
)

cdef enum Operator:
    IN                          # of one value: =
    NOT_IN                      # of one value: <>
    MISSING
    PRESENT

cdef struct Constant:           # a number as sign, digits and exponent
    bint negative
    bint was_text               # equals numbers alone, not texts that read as one
    const uint8_t* digits
    int64_t n
    int64_t exponent

cdef struct Test:               # a condition
    Operator operator
    int32_t slot
    Texts texts                 # the values that were texts
    Constant* numbers           # the values that read as a number
    int32_t n_numbers


cdef inline bint among_numbers(const Test* t, const Shape* s, bint is_text) noexcept nogil:
    cdef int32_t k
    cdef const Constant* number
    for k in range(t.n_numbers):
        number = &t.numbers[k]
        if not (is_text and number.was_text):
            if same_number(s, number.negative, number.digits, number.n, number.exponent):
                return True
    return False


cdef inline bint among(const Test* t, const Span* span, const uint64_t* key, uint8_t* text,
                       Fault* fault) noexcept nogil:
    """Whether a value is one of the condition's."""
    cdef const uint8_t* p = span.begin
    cdef const uint8_t* end = p + span.length
    cdef int32_t code = -1
    cdef Shape shape
    if span.kind == NUMBER:
        number_end(p, &shape, fault)
        return among_numbers(t, &shape, False)
    if span.kind >= OBJECT:
        return False
    if span.kind == ESCAPED:
        end = unescape(p, end, text, fault)
        if end == NULL:                 # half of a surrogate pair: no text has it
            return False
        p = text
        (<uint8_t*> end)[0] = 0
    if t.texts.table != NULL:
        find_text(&t.texts, p, end - p, hash_text(p, end - p, key), &code)
    if code >= 0:
        return True
    return (span.kind >= STRING and t.n_numbers and number_end(p, &shape, fault) == end
            and among_numbers(t, &shape, True))


cdef inline bint fulfils(const Test* t, const Span* span, const uint64_t* key, uint8_t* text,
                         Fault* fault) noexcept nogil:
    if span.kind <= NULL_VALUE:
        return t.operator == MISSING
    if t.operator == MISSING or t.operator == PRESENT:
        return t.operator == PRESENT
    return among(t, span, key, text, fault) == (t.operator == IN)
