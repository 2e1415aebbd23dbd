# Values of Avro to the columns of a batch; header only.
#
# What a column holds as Avro does is copied. All else is written as the text that JSON would have
# and read by the same code, so that both formats take and refuse the same.
from libc.math cimport isfinite
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fin_sql.catalog._avro cimport (
    ARRAY_TYPE, BOOLEAN_TYPE, BYTES_TYPE, DAY, DECIMAL_NUMBER, DOUBLE_TYPE, ENUM_TYPE, FIXED_TYPE,
    FLOAT_TYPE, INT_TYPE, LOCAL_TIME, MAP_TYPE, NULL_TYPE, Note, PLAIN,
    RECORD_TYPE, Reader, STRING_TYPE, Type, UNION_TYPE, read_block, read_bytes, read_long,
)
from fin_sql.catalog._cells cimport (
    Column, DATE, DOUBLE, ENCODED, FLOAT, INTEGER, Scratch, TEXT, TIME, put, put_null,
)
from fin_sql.catalog._numbers cimport TENS, Wide
from fin_sql.catalog._scan cimport (
    FALSE_VALUE, FINE, IS_NESTED, NONE, NO_TEXT, NUMBER, OUT_OF_RANGE, OUT_OF_YEARS, STRING, Span,
    TOO_MUCH_TEXT, TRUE_VALUE, Wrong, bad_utf8,
)
from fin_sql.catalog._texts cimport (
    Sink, write, write_char, write_date, write_decimal, write_float, write_integer, write_string,
    write_time,
)
from fin_sql.catalog._times cimport floored, in_ns


cdef inline bint read_wide(const uint8_t* p, int64_t n, Wide* value, bint* negative) noexcept nogil:
    """A number of n bytes, the largest first, as sign and size; False beyond 128 bits."""
    cdef uint8_t fill
    negative[0] = n > 0 and p[0] >> 7
    fill = 0xFF if negative[0] else 0
    while n > 16:
        if p[0] != fill:
            return False
        p += 1
        n -= 1
    value.low = value.high = <uint64_t> 0 - negative[0]
    while n > 0:
        value.high = value.high << 8 | value.low >> 56
        value.low = value.low << 8 | p[0]
        p += 1
        n -= 1
    if negative[0]:
        value.low = <uint64_t> 0 - value.low
        value.high = ~value.high + (value.low == 0)
    return True


cdef inline Wrong time_in_ns(const Type* type, int64_t value, int64_t* ns) noexcept nogil:
    """A date or a timestamp in ns since 1970 UTC."""
    cdef int64_t second = 1000000000 // type.unit if type.logical != DAY else 1
    cdef int64_t seconds
    if type.logical == DAY:
        return in_ns(value * 86400, 0, ns)
    seconds = floored(value, second)
    return in_ns(seconds, (value - seconds * second) * type.unit, ns)


cdef inline double double_at(const Type* type, const uint8_t* p) noexcept nogil:
    cdef float small
    cdef double value
    if type.what == FLOAT_TYPE:
        memcpy(&small, p, 4)
        return small
    memcpy(&value, p, 8)
    return value


cdef inline Wrong put_long(Column* c, int64_t value, int64_t row) noexcept nogil:
    if value < c.least or (value > 0 and <uint64_t> value > c.most):
        return OUT_OF_RANGE
    c.valid[row] = 1
    if c.size == 8:
        (<int64_t*> c.values)[row] = value
    elif c.size == 4:
        (<int32_t*> c.values)[row] = <int32_t> value
    elif c.size == 2:
        (<int16_t*> c.values)[row] = <int16_t> value
    else:
        (<int8_t*> c.values)[row] = <int8_t> value
    return FINE


cdef inline Wrong put_instant(Column* c, const Type* type, int64_t value,
                              int64_t row) noexcept nogil:
    cdef int64_t ns = 0
    cdef Wrong wrong = time_in_ns(type, value, &ns)
    if wrong != FINE:
        return wrong
    c.valid[row] = 1
    if c.type == DATE:
        (<int32_t*> c.values)[row] = <int32_t> floored(ns, c.unit)
    else:
        (<int64_t*> c.values)[row] = floored(ns, c.unit)
    return FINE


cdef inline void write_instant(Sink* s, const Type* type, int64_t value) noexcept nogil:
    if type.logical == DAY:
        write_date(s, value)
    else:
        write_time(s, value, type.unit, type.logical == LOCAL_TIME)


cdef inline void write_bytes(Sink* s, const Type* type, const uint8_t* p, int64_t n) noexcept nogil:
    """A decimal as a number; other bytes as a string, if they are UTF-8."""
    cdef Wide whole
    cdef bint negative
    if type.logical == DECIMAL_NUMBER:
        if read_wide(p, n, &whole, &negative):
            write_decimal(s, whole, negative, type.scale)
        else:
            s.odd = True
    elif bad_utf8(p, p + n) == NULL:
        write_string(s, p, n)
    else:
        s.odd = True


cdef inline const uint8_t* write_value(Sink* s, Reader* r, const Type* type,
                                       const uint8_t* p) noexcept nogil:
    """Write a value that was passed over before as JSON; returns where it ends.

    NULL where the text grows too long: what follows is not read.
    """
    cdef int64_t n
    cdef int32_t k
    if type.what == UNION_TYPE:
        p = read_long(p, r.end, &n, &r.fault)
        return write_value(s, r, &r.types[type.children[n]], p)
    if type.what == RECORD_TYPE:
        write_char(s, c'{')
        for k in range(type.n):
            if k:
                write_char(s, c',')
            write_string(s, type.names[k].text, type.names[k].n)
            write_char(s, c':')
            p = write_value(s, r, &r.types[type.children[k]], p)
            if p == NULL:
                return NULL
        write_char(s, c'}')
    elif type.what == ARRAY_TYPE or type.what == MAP_TYPE:
        return write_items(s, r, type, p)
    elif type.what == NULL_TYPE:
        write(s, b"null", 4)
    elif type.what == BOOLEAN_TYPE:
        if p[0]:
            write(s, b"true", 4)
        else:
            write(s, b"false", 5)
        p += 1
    elif type.what == FLOAT_TYPE or type.what == DOUBLE_TYPE:
        if isfinite(double_at(type, p)):
            write_float(s, double_at(type, p), type.what == FLOAT_TYPE)
        else:                           # JSON has no such number, only the text
            write_char(s, c'"')
            write_float(s, double_at(type, p), False)
            write_char(s, c'"')
        p += type.size
    elif type.what == ENUM_TYPE:
        p = read_long(p, r.end, &n, &r.fault)
        write_string(s, type.names[n].text, type.names[n].n)
    elif type.what == INT_TYPE and type.logical == PLAIN:
        p = read_long(p, r.end, &n, &r.fault)
        write_integer(s, n)
    elif type.what == INT_TYPE:
        p = read_long(p, r.end, &n, &r.fault)
        write_char(s, c'"')
        write_instant(s, type, n)
        write_char(s, c'"')
    else:
        n = type.size
        if type.what != FIXED_TYPE:
            p = read_bytes(p, r.end, &n, &r.fault)
        write_bytes(s, type, p, n)
        p += n
    if s.full:
        return NULL
    return p


cdef inline const uint8_t* write_items(Sink* s, Reader* r, const Type* type,
                                       const uint8_t* p) noexcept nogil:
    cdef const Type* item = &r.types[type.children[0]]
    cdef const uint8_t* block_end
    cdef bint first = True
    cdef int64_t count, n
    write_char(s, c'{' if type.what == MAP_TYPE else c'[')
    while True:
        p = read_block(p, r.end, &count, &block_end, &r.fault)
        if count == 0:
            break
        while count:
            count -= 1
            if not first:
                write_char(s, c',')
            first = False
            if type.what == MAP_TYPE:
                p = read_bytes(p, r.end, &n, &r.fault)
                s.odd |= bad_utf8(p, p + n) != NULL
                write_string(s, p, n)
                write_char(s, c':')
                p += n
            p = write_value(s, r, item, p)
            if p == NULL:
                return NULL
    write_char(s, c'}' if type.what == MAP_TYPE else c']')
    if s.full:
        return NULL
    return p


cdef inline Wrong put_text(Column* c, uint8_t kind, const uint8_t* p, int64_t n, int64_t row,
                           Scratch* s) noexcept nogil:
    cdef Span span
    span.begin = p
    span.length = <uint32_t> n
    span.kind = kind
    return put(c, &span, row, s)


cdef inline Wrong put_sink(Column* c, uint8_t kind, Sink* sink, int64_t row,
                           Scratch* s) noexcept nogil:
    """Write what a sink holds, read as JSON would have it."""
    write_char(sink, 0)                 # numbers end where no digit follows
    if sink.full:
        return TOO_MUCH_TEXT
    if sink.odd:
        return NO_TEXT
    return put_text(c, kind, sink.data, sink.n - 1, row, s)


cdef inline Wrong put_bytes(Column* c, const Type* type, const uint8_t* p, int64_t n, int64_t row,
                            Scratch* s, Sink* sink) noexcept nogil:
    cdef Wide whole
    cdef bint negative
    if type.logical == DECIMAL_NUMBER:
        if not read_wide(p, n, &whole, &negative):
            return OUT_OF_RANGE
        if c.type == DOUBLE and not whole.high and whole.low <= <uint64_t> 1 << 53 \
                and type.scale <= 22:
            c.valid[row] = 1
            (<double*> c.values)[row] = (-1.0 if negative else 1.0) * (
                <double> whole.low / TENS[type.scale])
            return FINE
        write_decimal(sink, whole, negative, type.scale)
        return put_sink(c, NUMBER, sink, row, s)
    if bad_utf8(p, p + n) != NULL:
        return NO_TEXT
    if c.type == TEXT or c.type == ENCODED:
        return put_text(c, STRING, p, n, row, s)
    memcpy(s.text, p, n)                # what follows a number in the message may be a digit
    s.text[n] = 0
    return put_text(c, STRING, s.text, n, row, s)


cdef inline Wrong put_int(Column* c, const Type* type, int64_t value, int64_t row, Scratch* s,
                          Sink* sink) noexcept nogil:
    cdef Wrong wrong
    cdef int64_t ns
    if c.type == INTEGER:
        return put_long(c, value, row)
    if type.logical and (c.type == TIME or c.type == DATE):
        return put_instant(c, type, value, row)
    if c.type == DOUBLE:
        c.valid[row] = 1
        (<double*> c.values)[row] = <double> value
        return FINE
    if c.type == FLOAT:
        c.valid[row] = 1
        (<float*> c.values)[row] = <float> value
        return FINE
    if type.logical and (c.type == TEXT or c.type == ENCODED):
        wrong = time_in_ns(type, value, &ns)
        if wrong != FINE:
            return wrong
        write_instant(sink, type, value)
        return put_sink(c, STRING, sink, row, s)
    write_integer(sink, value)
    return put_sink(c, NUMBER, sink, row, s)


cdef inline Wrong put_float(Column* c, const Type* type, double value, int64_t row, Scratch* s,
                            Sink* sink) noexcept nogil:
    if c.type == DOUBLE:
        c.valid[row] = 1
        (<double*> c.values)[row] = value
        return FINE
    if c.type == FLOAT:
        c.valid[row] = 1
        (<float*> c.values)[row] = <float> value
        return FINE
    write_float(sink, value, type.what == FLOAT_TYPE)
    return put_sink(c, NUMBER if isfinite(value) else STRING, sink, row, s)


cdef inline Wrong put_avro(Column* c, Reader* r, const Note* note, int64_t row, Scratch* s,
                           Sink* sink) noexcept nogil:
    """Write a noted value to a row of a column; what it is not fit for is told."""
    cdef const Type* type
    cdef const uint8_t* p = note.begin
    cdef int64_t n
    sink.n = 0
    sink.full = sink.odd = False
    if note.type == NONE:
        return put_null(c, row)
    type = &r.types[note.type]
    if type.what == NULL_TYPE:
        return put_null(c, row)
    if type.what == INT_TYPE:
        read_long(p, r.end, &n, &r.fault)
        return put_int(c, type, n, row, s, sink)
    if type.what == DOUBLE_TYPE or type.what == FLOAT_TYPE:
        return put_float(c, type, double_at(type, p), row, s, sink)
    if type.what == STRING_TYPE or type.what == BYTES_TYPE:
        p = read_bytes(p, r.end, &n, &r.fault)
        return put_bytes(c, type, p, n, row, s, sink)
    if type.what == FIXED_TYPE:
        return put_bytes(c, type, p, type.size, row, s, sink)
    if type.what == ENUM_TYPE:
        read_long(p, r.end, &n, &r.fault)
        return put_bytes(c, type, type.names[n].text, type.names[n].n, row, s, sink)
    if type.what == BOOLEAN_TYPE:
        if p[0]:
            return put_text(c, TRUE_VALUE, b"true\0\0\0\0", 4, row, s)
        return put_text(c, FALSE_VALUE, b"false\0\0\0", 5, row, s)
    if c.type != TEXT and c.type != ENCODED:
        return IS_NESTED
    write_value(sink, r, type, p)
    return put_sink(c, STRING, sink, row, s)
