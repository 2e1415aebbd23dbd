# The grammar of JSON (RFC 8259) over bytes that zeros follow; header only.
#
# A message lies in a buffer with PADDING zeros behind it. Zero stands nowhere in JSON, so every
# loop ends there, and words of 8 bytes may be read at any byte of the message.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #define fin_sql_first_bit(word) __builtin_ctzll(word)
    /* beyond it every number is nothing or endless, however many digits it has */
    #define FIN_SQL_MOST_EXPONENT INT64_C(1000000000000)
    #define fin_sql_likely(x) __builtin_expect(!!(x), 1)
    #define fin_sql_unlikely(x) __builtin_expect(!!(x), 0)
    """
    int first_bit "fin_sql_first_bit" (uint64_t word) noexcept nogil
    const int64_t MOST_EXPONENT "FIN_SQL_MOST_EXPONENT"
    bint likely "fin_sql_likely" (bint x) noexcept nogil
    bint unlikely "fin_sql_unlikely" (bint x) noexcept nogil

cdef enum:
    PADDING = 64
    MAX_DEPTH = 128
    NONE = -1                   # the number of a column, byte, node, slot or path that is not there

cdef enum Kind:                 # of a value
    ABSENT
    NULL_VALUE
    FALSE_VALUE
    TRUE_VALUE
    NUMBER
    STRING                      # begin and end leave the quotes out
    ESCAPED                     # a string with escapes
    OBJECT
    ARRAY

cdef enum Wrong:                # what was wrong with a message
    FINE
    NO_MEMORY
    TOMBSTONE
    EMPTY
    TOO_LONG
    BAD_UTF8
    TOO_DEEP
    BYTE_ORDER_MARK
    WANTS_VALUE
    WANTS_DIGIT
    WANTS_NAME
    WANTS_COLON
    WANTS_COMMA_OR_BRACE
    WANTS_COMMA_OR_BRACKET
    WANTS_END
    CONTROL_IN_STRING
    BAD_ESCAPE
    NO_ARRAY
    IS_NULL
    IS_NESTED
    NO_NUMBER
    NOT_WHOLE
    OUT_OF_RANGE
    TOO_MANY_DIGITS
    NO_BOOLEAN
    NO_TIME
    NO_DATE
    NO_FORMAT
    OUT_OF_YEARS
    HALF_PAIR
    TOO_MUCH_TEXT
    BAD_BOOLEAN                 # the rest: of Avro
    BAD_BRANCH
    BAD_LENGTH
    BAD_NUMBER
    WANTS_MORE
    NO_FRAME
    UNKNOWN_SCHEMA
    NO_TEXT
    BATCH_FULL                  # not the message's fault: the call fails

cdef struct Span:               # a value in a message
    const uint8_t* begin
    uint32_t length
    uint8_t kind

cdef struct Fault:
    Wrong wrong
    const uint8_t* at

cdef struct Shape:              # a number
    bint negative
    const uint8_t* whole        # the digits before the point
    int64_t n_whole
    const uint8_t* part         # the digits behind it
    int64_t n_part
    int64_t exponent


cdef inline const uint8_t* fail(Fault* fault, Wrong wrong, const uint8_t* at) noexcept nogil:
    fault.wrong = wrong
    fault.at = at
    return NULL


cdef inline uint64_t load(const uint8_t* p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint64_t first_bytes(const uint8_t* p, int64_t n) noexcept nogil:
    """The first n <= 8 bytes as a word; 8 are read."""
    return load(p) & ~<uint64_t> 0 >> (64 - 8 * n) if n else 0


cdef inline const uint8_t* blank(const uint8_t* p) noexcept nogil:
    """The first byte that is not white space."""
    if likely(p[0] > 0x20):
        return p
    while p[0] == c' ' or p[0] == c'\n' or p[0] == c'\r' or p[0] == c'\t':
        p += 1
    return p


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return <uint8_t> (c - c'0') < 10


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    """What a hexadecimal digit is worth; -1 for any other byte."""
    if is_digit(c):
        return c - c'0'
    c |= 0x20
    return c - c'a' + 10 if <uint8_t> (c - c'a') < 6 else -1


cdef inline int hex_word(const uint8_t* p) noexcept nogil:
    """What four hexadecimal digits are worth; -1 where one of them is none."""
    cdef int k, digit, word = 0
    for k in range(4):
        digit = hex_digit(p[k])
        if digit < 0:
            return -1
        word = word << 4 | digit
    return word


cdef inline const uint8_t* number_end(const uint8_t* p, Shape* s, Fault* fault) noexcept nogil:
    """Where the number that begins at `p` ends, and what it is made of."""
    cdef bint down
    s.negative = p[0] == c'-'
    p += s.negative
    s.whole = p
    if unlikely(not is_digit(p[0])):
        return fail(fault, WANTS_DIGIT, p)
    p += 1
    if s.whole[0] != c'0':
        while is_digit(p[0]):
            p += 1
    s.n_whole = p - s.whole
    s.n_part = 0
    s.exponent = 0
    if p[0] == c'.':
        p += 1
        s.part = p
        if unlikely(not is_digit(p[0])):
            return fail(fault, WANTS_DIGIT, p)
        while is_digit(p[0]):
            p += 1
        s.n_part = p - s.part
    if unlikely(p[0] | 0x20 == c'e'):
        p += 1
        down = p[0] == c'-'
        p += down or p[0] == c'+'
        if not is_digit(p[0]):
            return fail(fault, WANTS_DIGIT, p)
        while is_digit(p[0]):
            if s.exponent < MOST_EXPONENT:
                s.exponent = 10 * s.exponent + (p[0] - c'0')
            p += 1
        s.exponent = min(s.exponent, MOST_EXPONENT)
        if down:
            s.exponent = -s.exponent
    return p


cdef inline uint64_t special(uint64_t word) noexcept nogil:
    """Marks the first byte that ends the plain run of a string: a quote, a backslash, a control.

    What stands above the first mark may be wrong.
    """
    cdef uint64_t ones = <uint64_t> 0x0101010101010101
    cdef uint64_t quote = word ^ <uint64_t> 0x2222222222222222
    cdef uint64_t slash = word ^ <uint64_t> 0x5C5C5C5C5C5C5C5C
    return (((quote - ones) & ~quote) | ((slash - ones) & ~slash)
            | ((word - 0x20 * ones) & ~word)) & <uint64_t> 0x8080808080808080


cdef inline const uint8_t* string_end(const uint8_t* p, uint8_t* kind,
                                      Fault* fault) noexcept nogil:
    """The closing quote of a string whose first character is at `p`."""
    cdef uint64_t hits
    kind[0] = STRING
    while True:
        hits = special(load(p))
        if hits == 0:
            p += 8
            continue
        p += first_bit(hits) >> 3
        if likely(p[0] == c'"'):
            return p
        if p[0] != c'\\':
            return fail(fault, CONTROL_IN_STRING, p)
        kind[0] = ESCAPED
        p += 1
        if p[0] == c'u':
            if hex_word(p + 1) < 0:
                return fail(fault, BAD_ESCAPE, p - 1)
            p += 5
        elif (p[0] == c'"' or p[0] == c'\\' or p[0] == c'/' or p[0] == c'b' or p[0] == c'f'
                or p[0] == c'n' or p[0] == c'r' or p[0] == c't'):
            p += 1
        else:
            return fail(fault, BAD_ESCAPE, p - 1)


cdef inline bint spells(const uint8_t* p, const char* four) noexcept nogil:
    """Whether the next four bytes are these."""
    cdef uint32_t found, wanted
    memcpy(&found, p, 4)
    memcpy(&wanted, four, 4)
    return found == wanted


cdef inline const uint8_t* scalar_end(const uint8_t* p, Span* span, Fault* fault) noexcept nogil:
    """Read the text, number or word that begins at `p`; returns what stands behind it."""
    cdef const uint8_t* end
    cdef Shape shape
    span.begin = p
    if p[0] == c'"':
        span.begin = p + 1
        end = string_end(p + 1, &span.kind, fault)
        if unlikely(end == NULL):
            return NULL
        span.length = <uint32_t> (end - p - 1)
        return end + 1
    if is_digit(p[0]) or p[0] == c'-':
        span.kind = NUMBER
        end = number_end(p, &shape, fault)
        if unlikely(end == NULL):
            return NULL
    elif spells(p, b"true"):
        span.kind = TRUE_VALUE
        end = p + 4
    elif spells(p, b"null"):
        span.kind = NULL_VALUE
        end = p + 4
    elif p[0] == c'f' and spells(p + 1, b"alse"):
        span.kind = FALSE_VALUE
        end = p + 5
    else:
        return fail(fault, WANTS_VALUE, p)
    span.length = <uint32_t> (end - p)
    return end


cdef inline const uint8_t* colon_end(const uint8_t* p, Fault* fault) noexcept nogil:
    """What stands behind the colon that must follow a name."""
    p = blank(p)
    if unlikely(p[0] != c':'):
        return fail(fault, WANTS_COLON, p)
    return blank(p + 1)


cdef inline const uint8_t* name_end(const uint8_t* p, Fault* fault) noexcept nogil:
    """What stands behind a name and its colon."""
    cdef uint8_t kind
    if unlikely(p[0] != c'"'):
        return fail(fault, WANTS_NAME, p)
    p = string_end(p + 1, &kind, fault)
    return colon_end(p + 1, fault) if p != NULL else NULL


cdef inline const uint8_t* nested_end(const uint8_t* p, int depth, Fault* fault) noexcept nogil:
    """Pass over the object or array that begins at `p`, inside of `depth` others."""
    cdef uint8_t opened[MAX_DEPTH + 1]
    cdef int base = depth
    cdef Span span
    while True:
        # a value begins at p
        if p[0] == c'{' or p[0] == c'[':
            if depth == MAX_DEPTH:
                return fail(fault, TOO_DEEP, p)
            depth += 1
            opened[depth] = p[0]
            p = blank(p + 1)
            # the closing bracket comes two behind the opening one, in ASCII
            if p[0] != opened[depth] + 2:
                if opened[depth] == c'{':
                    p = name_end(p, fault)
                    if p == NULL:
                        return NULL
                continue
        else:
            p = scalar_end(p, &span, fault)
            if p == NULL:
                return NULL
            p = blank(p)
        # a value has ended, or a bracket closes at p
        while p[0] == opened[depth] + 2:
            depth -= 1
            if depth == base:
                return p + 1
            p = blank(p + 1)
        if unlikely(p[0] != c','):
            return fail(fault, WANTS_COMMA_OR_BRACE if opened[depth] == c'{'
                        else WANTS_COMMA_OR_BRACKET, p)
        p = blank(p + 1)
        if opened[depth] == c'{':
            p = name_end(p, fault)
            if p == NULL:
                return NULL


cdef inline const uint8_t* value_end(const uint8_t* p, int depth, Fault* fault) noexcept nogil:
    """Pass over the value that begins at `p`, inside of `depth` others."""
    cdef Span span
    if p[0] == c'{' or p[0] == c'[':
        return nested_end(p, depth, fault)
    return scalar_end(p, &span, fault)


cdef inline bint is_ascii(const uint8_t* p, int64_t n) noexcept nogil:
    cdef int64_t k
    cdef uint64_t word, seen = 0
    for k in range(0, n, 8):            # the zeros behind the message fill the last word
        memcpy(&word, p + k, 8)
        seen |= word
    return seen & <uint64_t> 0x8080808080808080 == 0


cdef inline const uint8_t* bad_utf8(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """The first byte that begins no character of UTF-8 (RFC 3629); NULL if there is none.

    Up to 8 bytes behind the end are read.
    """
    cdef uint32_t c
    cdef int k, n
    while p < end:
        if load(p) & <uint64_t> 0x8080808080808080 == 0:
            p += 8
            continue
        c = p[0]
        if c < 0x80:
            p += 1
            continue
        if c >= 0xC2 and c < 0xE0:
            n = 1
        elif c >= 0xE0 and c < 0xF0:
            n = 2
            if (c == 0xE0 and p[1] < 0xA0) or (c == 0xED and p[1] >= 0xA0):
                return p                # longer than need be, or a half of a surrogate pair
        elif c >= 0xF0 and c < 0xF5:
            n = 3
            if (c == 0xF0 and p[1] < 0x90) or (c == 0xF4 and p[1] >= 0x90):
                return p                # longer than need be, or beyond U+10FFFF
        else:
            return p
        if n >= end - p:
            return p
        for k in range(1, n + 1):
            if p[k] & 0xC0 != 0x80:
                return p
        p += n + 1
    return NULL


cdef inline uint8_t* put_utf8(uint8_t* out, uint32_t c) noexcept nogil:
    if c < 0x80:
        out[0] = <uint8_t> c
        return out + 1
    if c < 0x800:
        out[0] = <uint8_t> (0xC0 | c >> 6)
        out[1] = <uint8_t> (0x80 | c & 0x3F)
        return out + 2
    if c < 0x10000:
        out[0] = <uint8_t> (0xE0 | c >> 12)
        out[1] = <uint8_t> (0x80 | c >> 6 & 0x3F)
        out[2] = <uint8_t> (0x80 | c & 0x3F)
        return out + 3
    out[0] = <uint8_t> (0xF0 | c >> 18)
    out[1] = <uint8_t> (0x80 | c >> 12 & 0x3F)
    out[2] = <uint8_t> (0x80 | c >> 6 & 0x3F)
    out[3] = <uint8_t> (0x80 | c & 0x3F)
    return out + 4


cdef inline uint8_t* unescape(const uint8_t* p, const uint8_t* end, uint8_t* out,
                              Fault* fault) noexcept nogil:
    """Write what a string with sound escapes means; it is never longer than the string.

    A half of a surrogate pair is no character, and fails.
    """
    cdef uint32_t c, low
    while p < end:
        if p[0] != c'\\':
            out[0] = p[0]
            out += 1
            p += 1
            continue
        c = p[1]
        if c != c'u':
            if c == c'b':
                c = 8
            elif c == c'f':
                c = 12
            elif c == c'n':
                c = 10
            elif c == c'r':
                c = 13
            elif c == c't':
                c = 9
            out[0] = <uint8_t> c
            out += 1
            p += 2
            continue
        c = hex_word(p + 2)
        if c & 0xF800 == 0xD800:
            low = hex_word(p + 8) if p + 6 < end and p[6] == c'\\' and p[7] == c'u' else 0
            if c >= 0xDC00 or low & 0xFC00 != 0xDC00:
                fail(fault, HALF_PAIR, p)
                return NULL
            c = 0x10000 + ((c & 0x3FF) << 10) + (low & 0x3FF)
            p += 6
        out = put_utf8(out, c)
        p += 6
    return out
