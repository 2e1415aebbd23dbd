# The columns that values are written to, and how each type reads a value; header only.
#
# A row that turns out bad is written over by the next one: nothing of a column depends on what
# was written behind its last good row.
from libc.math cimport INFINITY, NAN
from libc.stdint cimport INT32_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from fin_sql.catalog._numbers cimport (
    TENS, Wide, as_double, as_float, digits_of, is_less, multiply, scaled,
)
from fin_sql.catalog._scan cimport (
    ABSENT, ARRAY, ESCAPED, FALSE_VALUE, FINE, Fault, HALF_PAIR, IS_NESTED, IS_NULL, NO_BOOLEAN,
    NO_DATE, NO_FORMAT, NO_MEMORY, NO_NUMBER, NO_TIME, NOT_WHOLE, NULL_VALUE, NUMBER, OBJECT,
    OUT_OF_RANGE, STRING, Shape, Span, TOO_MANY_DIGITS, BATCH_FULL, TRUE_VALUE, Wrong,
    first_bytes, likely, load, number_end, unescape, unlikely,
)
from fin_sql.catalog._times cimport DAY_SECONDS, floored, read_epoch, read_iso

cdef enum Type:
    DOUBLE
    FLOAT
    INTEGER
    BOOLEAN
    DECIMAL
    TEXT
    ENCODED                     # a text as a code of the batch's dictionary
    TIME
    DATE

cdef enum Format:               # of a time
    UNSAID
    ISO
    EPOCH

cdef struct Entry:              # of the table of a dictionary
    uint32_t mark
    int32_t code                # -1: free

cdef struct Texts:              # texts one behind the other, those of a dictionary each once
    int32_t* ends               # ends[k] is where text k begins
    uint8_t* data
    int64_t size
    Entry* table
    int64_t mask
    int32_t n                   # texts of the dictionary
    int32_t room                # that ends may hold

cdef struct Column:
    Type type
    Format format
    bint not_null
    bint of_element             # its slot is one of the element's
    int32_t slot
    int size                    # bytes of a value; a boolean takes one until the end
    int digits                  # EPOCH: a unit is 10^digits ns. DECIMAL: the scale
    int64_t unit                # TIME: ns of one of the column
    int64_t least               # INTEGER
    uint64_t most
    Wide limit                  # DECIMAL: the least that has too many digits
    uint8_t* values
    uint8_t* valid              # a byte for each row
    Texts texts

cdef struct Scratch:            # what a conversion needs beside its column
    uint8_t* text               # room for an unescaped text, and PADDING
    uint64_t key[2]             # of the hash: random, so that nobody can make texts collide
    Fault fault


cdef inline uint64_t folded(uint64_t a, uint64_t b) noexcept nogil:
    cdef uint64_t high
    cdef uint64_t low = multiply(a, b, &high)
    return low ^ high


cdef inline uint64_t hash_text(const uint8_t* p, int64_t n, const uint64_t* key) noexcept nogil:
    cdef uint64_t hashed = key[0] ^ <uint64_t> n
    if n <= 8:
        return folded(first_bytes(p, n) ^ key[1], hashed)
    while n > 16:
        hashed = folded(load(p) ^ key[1], load(p + 8) ^ hashed)
        p += 16
        n -= 16
    if n < 8:                   # the bytes before p belong to the text as well
        p -= 8 - n
        n = 8
    return folded(load(p) ^ key[1], load(p + n - 8) ^ hashed)


cdef inline bint same_text(const uint8_t* a, const uint8_t* b, int64_t n) noexcept nogil:
    if n <= 8:
        return first_bytes(a, n) == first_bytes(b, n)
    return memcmp(a, b, n) == 0


cdef inline bint room_for(Texts* t, int64_t used, int64_t n) noexcept nogil:
    """Make room for a text of n bytes, and for a word to be read at its end."""
    cdef int64_t size
    cdef uint8_t* data
    if likely(used + n + 8 <= t.size):
        return True
    size = max(2 * t.size, used + n + 8, 4096)
    data = <uint8_t*> realloc(t.data, size)
    if data == NULL:
        return False
    t.data = data
    t.size = size
    return True


cdef inline Wrong append_text(Texts* t, int64_t k, const uint8_t* p, int64_t n) noexcept nogil:
    """Write text k behind the text before it."""
    cdef int64_t used = t.ends[k]
    if unlikely(n > INT32_MAX - used):
        return BATCH_FULL
    if not room_for(t, used, n):
        return NO_MEMORY
    memcpy(t.data + used, p, n)
    t.ends[k + 1] = <int32_t> (used + n)
    return FINE


cdef inline bint grow_table(Texts* t, const uint64_t* key) noexcept nogil:
    """Double what a dictionary can hold."""
    cdef int64_t k, at, size = 2 * (t.mask + 1) if t.table != NULL else 64
    cdef uint64_t hashed
    cdef Entry* table = <Entry*> malloc(size * sizeof(Entry))
    cdef int32_t* ends = <int32_t*> realloc(t.ends, (size // 2 + 1) * sizeof(int32_t))
    if ends != NULL:
        t.ends = ends
    if table == NULL or ends == NULL or not room_for(t, 0, 0):
        free(table)
        return False
    if t.table == NULL:
        t.ends[0] = 0
    memset(table, 0xFF, size * sizeof(Entry))
    for k in range(t.n):
        hashed = hash_text(t.data + t.ends[k], t.ends[k + 1] - t.ends[k], key)
        at = hashed & (size - 1)
        while table[at].code >= 0:
            at = (at + 1) & (size - 1)
        table[at].mark = <uint32_t> (hashed >> 32)
        table[at].code = <int32_t> k
    free(t.table)
    t.table = table
    t.mask = size - 1
    return True


cdef inline int64_t find_text(const Texts* t, const uint8_t* p, int64_t n, uint64_t hashed,
                              int32_t* code) noexcept nogil:
    """The code of a text, or -1; returns where it stands in the table, or could."""
    cdef int64_t at = hashed & t.mask
    cdef uint32_t mark = <uint32_t> (hashed >> 32)
    cdef int32_t k
    while t.table[at].code >= 0:
        k = t.table[at].code
        if t.table[at].mark == mark and t.ends[k + 1] - t.ends[k] == n:
            if likely(same_text(t.data + t.ends[k], p, n)):
                code[0] = k
                return at
        at = (at + 1) & t.mask
    code[0] = -1
    return at


cdef inline Wrong encode_text(Texts* t, const uint8_t* p, int64_t n, const uint64_t* key,
                              int32_t* code) noexcept nogil:
    """The code of a text, a new one where the batch has not had it."""
    cdef uint64_t hashed = hash_text(p, n, key)
    cdef int64_t at
    cdef Wrong wrong
    if unlikely(2 * t.n >= t.mask):
        if not grow_table(t, key):
            return NO_MEMORY
    at = find_text(t, p, n, hashed, code)
    if likely(code[0] >= 0):
        return FINE
    wrong = append_text(t, t.n, p, n)
    if wrong == FINE:
        code[0] = t.n
        t.table[at] = Entry(mark=<uint32_t> (hashed >> 32), code=t.n)
        t.n += 1
    return wrong


cdef inline bint reads(uint8_t kind, const uint8_t* p, const uint8_t* end,
                       Shape* shape, Fault* fault) noexcept nogil:
    """Whether a value is a number, or a text that is one."""
    return kind >= NUMBER and number_end(p, shape, fault) == end


cdef inline Wrong put_integer(Column* c, const Shape* s, int64_t row) noexcept nogil:
    cdef Wide whole
    cdef bint rest
    cdef int64_t value
    if likely(s.n_part == 0 and s.exponent == 0 and s.n_whole <= 18):
        whole.low = digits_of(s)
    else:
        if not scaled(s, 0, &whole, &rest):
            return OUT_OF_RANGE
        if rest:
            return NOT_WHOLE
        if whole.high:
            return OUT_OF_RANGE
    if s.negative:
        if whole.low > <uint64_t> 0 - <uint64_t> c.least:
            return OUT_OF_RANGE
        whole.low = <uint64_t> 0 - whole.low
    elif whole.low > c.most:
        return OUT_OF_RANGE
    value = <int64_t> whole.low
    if c.size == 8:
        (<int64_t*> c.values)[row] = value
    elif c.size == 4:
        (<int32_t*> c.values)[row] = <int32_t> value
    elif c.size == 2:
        (<int16_t*> c.values)[row] = <int16_t> value
    else:
        (<int8_t*> c.values)[row] = <int8_t> value
    return FINE


cdef inline Wrong put_decimal(Column* c, const Shape* s, int64_t row) noexcept nogil:
    cdef Wide whole
    cdef bint rest = False
    cdef int64_t behind = c.digits - s.n_part
    if s.exponent == 0 and s.n_whole + s.n_part <= 18 and 0 <= behind <= 18:
        whole.low = multiply(digits_of(s), <uint64_t> TENS[behind], &whole.high)
    elif not scaled(s, c.digits, &whole, &rest):
        return OUT_OF_RANGE
    if rest:
        return TOO_MANY_DIGITS
    if not is_less(whole, c.limit):
        return OUT_OF_RANGE
    if s.negative:
        whole.low = <uint64_t> 0 - whole.low
        whole.high = ~whole.high + (whole.low == 0)
    (<Wide*> c.values)[row] = whole
    return FINE


cdef inline Wrong put_boolean(Column* c, uint8_t kind, const uint8_t* p, const uint8_t* end,
                              int64_t row, Fault* fault) noexcept nogil:
    cdef Shape shape
    if kind == TRUE_VALUE or kind == FALSE_VALUE:
        c.values[row] = kind == TRUE_VALUE
        return FINE
    if kind != NUMBER:
        if end - p == 4 and memcmp(p, b"true", 4) == 0:
            c.values[row] = 1
            return FINE
        if end - p == 5 and memcmp(p, b"false", 5) == 0:
            c.values[row] = 0
            return FINE
    if not reads(kind, p, end, &shape, fault) or put_integer(c, &shape, row) != FINE:
        return NO_BOOLEAN
    return FINE


cdef inline Wrong put_time(Column* c, uint8_t kind, const uint8_t* p, const uint8_t* end,
                           int64_t row, Fault* fault) noexcept nogil:
    cdef Shape shape
    cdef Wrong wrong
    cdef int64_t ns = 0
    if c.format == EPOCH:
        if not reads(kind, p, end, &shape, fault):
            return NO_NUMBER
        wrong = read_epoch(&shape, c.digits, &ns)
    elif kind >= STRING:
        wrong = read_iso(p, end, &ns)
    else:
        return NO_FORMAT if c.format == UNSAID and kind == NUMBER else NO_TIME
    if wrong != FINE:
        return wrong
    if c.type == DATE:
        (<int32_t*> c.values)[row] = <int32_t> floored(ns, c.unit)
    else:
        (<int64_t*> c.values)[row] = ns if c.unit == 1 else floored(ns, c.unit)
    return FINE


cdef inline Wrong put_double(Column* c, uint8_t kind, const uint8_t* p, const uint8_t* end,
                             int64_t row, Fault* fault) noexcept nogil:
    cdef Shape shape
    cdef double value
    if likely(reads(kind, p, end, &shape, fault)):
        if c.type == FLOAT:
            (<float*> c.values)[row] = as_float(&shape)
        else:
            (<double*> c.values)[row] = as_double(&shape)
        return FINE
    if kind < STRING:
        return NO_NUMBER
    if end - p == 3 and memcmp(p, b"NaN", 3) == 0:
        value = NAN
    elif end - p == 8 and memcmp(p, b"Infinity", 8) == 0:
        value = INFINITY
    elif end - p == 9 and memcmp(p, b"-Infinity", 9) == 0:
        value = -INFINITY
    else:
        return NO_NUMBER
    if c.type == FLOAT:
        (<float*> c.values)[row] = <float> value
    else:
        (<double*> c.values)[row] = value
    return FINE


cdef inline Wrong put_null(Column* c, int64_t row) noexcept nogil:
    c.valid[row] = 0
    if c.not_null:
        return IS_NULL
    if c.type == TEXT:
        c.texts.ends[row + 1] = c.texts.ends[row]
    else:
        memset(c.values + row * c.size, 0, c.size)
    return FINE


cdef inline Wrong put(Column* c, const Span* span, int64_t row, Scratch* s) noexcept nogil:
    """Write a value to a row of a column; what it is not fit for is told."""
    cdef const uint8_t* p = span.begin
    cdef const uint8_t* end = p + span.length
    cdef uint8_t kind = span.kind
    cdef Shape shape
    if kind <= NULL_VALUE:
        return put_null(c, row)
    c.valid[row] = 1
    if unlikely(kind == ESCAPED):
        end = unescape(p, end, s.text, &s.fault)
        if end == NULL:
            return HALF_PAIR
        p = s.text
        (<uint8_t*> end)[0] = 0
    if c.type == TEXT:
        return append_text(&c.texts, row, p, end - p)
    if c.type == ENCODED:
        return encode_text(&c.texts, p, end - p, s.key, <int32_t*> c.values + row)
    if unlikely(kind >= OBJECT):
        return IS_NESTED
    if c.type == DOUBLE or c.type == FLOAT:
        return put_double(c, kind, p, end, row, &s.fault)
    if c.type == TIME or c.type == DATE:
        return put_time(c, kind, p, end, row, &s.fault)
    if c.type == BOOLEAN:
        return put_boolean(c, kind, p, end, row, &s.fault)
    if not reads(kind, p, end, &shape, &s.fault):
        return NO_NUMBER
    if c.type == INTEGER:
        return put_integer(c, &shape, row)
    return put_decimal(c, &shape, row)


cdef inline Wrong repeat(Column* c, int64_t row, int64_t n) noexcept nogil:
    """Write the value of a row to the n rows behind it."""
    cdef int64_t k
    cdef Wrong wrong = FINE
    memset(c.valid + row + 1, c.valid[row], n)
    if c.type == TEXT:
        for k in range(row, row + n):
            wrong = append_again(&c.texts, k)
            if wrong != FINE:
                return wrong
    else:
        for k in range(row + 1, row + n + 1):
            memcpy(c.values + k * c.size, c.values + row * c.size, c.size)
    return FINE


cdef inline Wrong append_again(Texts* t, int64_t k) noexcept nogil:
    """Write text k a second time, as text k + 1."""
    cdef int64_t n = t.ends[k + 1] - t.ends[k]
    if not room_for(t, t.ends[k + 1], n):           # may move the text
        return NO_MEMORY
    return append_text(t, k + 1, t.data + t.ends[k], n)


cdef inline bint reserve(Column* c, int64_t rows) noexcept nogil:
    """Make room for so many rows."""
    cdef uint8_t* values
    cdef uint8_t* valid = <uint8_t*> realloc(c.valid, rows)
    if valid == NULL:
        return False
    c.valid = valid
    if c.type == TEXT:
        values = <uint8_t*> realloc(c.texts.ends, (rows + 1) * sizeof(int32_t))
        if values != NULL:
            if c.texts.ends == NULL:
                (<int32_t*> values)[0] = 0
            c.texts.ends = <int32_t*> values
    else:
        values = <uint8_t*> realloc(c.values, rows * c.size)
        if values != NULL:
            c.values = values
    return values != NULL


cdef inline void release(Column* c) noexcept nogil:
    free(c.values)
    free(c.valid)
    free(c.texts.ends)
    free(c.texts.data)
    free(c.texts.table)


cdef inline int64_t pack(uint8_t* flags, int64_t n) noexcept nogil:
    """Turn n bytes of 0 and 1 into bits, in place; returns how many were 0.

    What is left of the last byte is zero.
    """
    cdef int64_t k, ones = 0
    cdef uint64_t word
    for k in range(0, n, 8):
        if n - k >= 8:
            word = load(flags + k)
        else:
            word = 0
            memcpy(&word, flags + k, n - k)
        ones += (word * <uint64_t> 0x0101010101010101) >> 56
        flags[k >> 3] = <uint8_t> ((word * <uint64_t> 0x0102040810204080) >> 56)
    return n - ones
