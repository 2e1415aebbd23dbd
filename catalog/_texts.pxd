# Values as texts: shortest numbers, decimals, ISO times, strings of JSON; header only.
#
# Texts are written to a Sink, which refuses to grow beyond MOST_WRITTEN.
from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport fabs, frexp, isinf, isnan
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from fin_sql.catalog._numbers cimport Wide, as_double, as_float
from fin_sql.catalog._scan cimport Fault, Shape, is_digit, number_end

cdef extern from *:
    """
    /* v = v / by; returns what is left over */
    static inline uint64_t fin_sql_divide(uint64_t *high, uint64_t *low, uint64_t by) {
        unsigned __int128 v = (unsigned __int128) *high << 64 | *low;
        uint64_t rest = (uint64_t) (v % by);
        v /= by;
        *high = (uint64_t) (v >> 64);
        *low = (uint64_t) v;
        return rest;
    }
    """
    uint64_t divide "fin_sql_divide" (uint64_t* high, uint64_t* low, uint64_t by) noexcept nogil

cdef enum:
    MOST_WRITTEN = 67108864     # bytes of one text
    MOST_DIGITS = 64            # that number_digits may write

cdef struct Sink:
    uint8_t* data
    int64_t n
    int64_t room
    bint full                   # something did not fit; what is there is of no use
    bint odd                    # something was no text


cdef inline void write(Sink* s, const void* p, int64_t n) noexcept nogil:
    cdef int64_t room
    cdef uint8_t* data
    if s.n + n + 8 > s.room:    # a word may be read at the end of a text
        room = max(2 * s.room, s.n + n + 256)
        data = <uint8_t*> realloc(s.data, room) if s.n + n <= MOST_WRITTEN else NULL
        if data == NULL:
            s.full = True
            return
        s.data = data
        s.room = room
    memcpy(s.data + s.n, p, n)
    s.n += n


cdef inline void write_char(Sink* s, char c) noexcept nogil:
    write(s, &c, 1)


cdef inline void write_padded(Sink* s, uint64_t value, int width) noexcept nogil:
    """A number with zeros before it, to so many digits at least."""
    cdef char[24] digits
    cdef int n = 24
    while value or width > 0:
        n -= 1
        width -= 1
        digits[n] = <char> (c'0' + value % 10)
        value //= 10
    write(s, &digits[n], 24 - n)


cdef inline void write_integer(Sink* s, int64_t value) noexcept nogil:
    if value < 0:
        write_char(s, c'-')
    write_padded(s, <uint64_t> 0 - <uint64_t> value if value < 0 else <uint64_t> value, 1)


cdef inline void write_decimal(Sink* s, Wide value, bint negative, int64_t scale) noexcept nogil:
    """A whole number x 10^-scale, with all its digits behind the point."""
    cdef char[MOST_DIGITS] digits
    cdef int64_t n = 0, k
    while value.low or value.high or n == 0:
        digits[n] = <char> (c'0' + divide(&value.high, &value.low, 10))
        n += 1
    if negative:
        write_char(s, c'-')
    if scale > 38:                      # rather than hundreds of zeros
        for k in range(n):
            write_char(s, digits[n - 1 - k])
        write(s, b"e-", 2)
        write_padded(s, <uint64_t> scale, 1)
        return
    while n <= scale:
        digits[n] = c'0'
        n += 1
    for k in range(n):
        if n - k == scale:
            write_char(s, c'.')
        write_char(s, digits[n - 1 - k])


cdef inline bint reads_as(const char* text, double value, bint small, Shape* shape) noexcept nogil:
    cdef Fault fault
    number_end(<const uint8_t*> text, shape, &fault)
    return as_float(shape) == <float> value if small else as_double(shape) == value


cdef inline void add_one(char* text, int n) noexcept nogil:
    """Raise the last of the first n characters of a number, 9 to 0 and on to the one before."""
    n -= 1
    while n > 0 and (text[n] == c'9' or text[n] == c'.'):
        if text[n] == c'9':
            text[n] = c'0'
        n -= 1
    if is_digit(text[n]) and text[n] != c'9':
        text[n] += 1


cdef inline void write_float(Sink* s, double value, bint small) noexcept nogil:
    """The shortest digits that read as the same double, or the same float, as Python writes them.

    What is no number is the text that JSON's DOUBLE takes.
    """
    cdef char[40] text
    cdef Shape shape
    cdef int precision, first, last, n, k, power, exponent
    cdef bint halved
    if isnan(value):
        write(s, b"NaN", 3)
        return
    if isinf(value):
        if value < 0:
            write_char(s, c'-')
        write(s, b"Infinity", 8)
        return
    # What 6 or 15 digits can say is said by them, and zeros behind; but not where bits are fewer.
    first = 5 if small else 14
    last = 8 if small else 16
    # Below a power of two doubles are closer, so that the next digit up may do where the nearest
    # one does not.
    halved = fabs(frexp(value, &exponent)) == 0.5
    if fabs(value) < (FLT_MIN if small else DBL_MIN):
        first = 0
    for precision in range(first, last + 1):
        snprintf(text, 40, b"%.*e", precision, value)
        if precision:
            text[1 + (text[0] == c'-')] = c'.'      # whatever the locale has there
        if reads_as(text, value, small, &shape) or precision == last:
            break
        if halved:
            add_one(text, (text[0] == c'-') + 1 + (precision + 1 if precision else 0))
            if reads_as(text, value, small, &shape):
                break
    power = <int> shape.exponent
    n = <int> shape.n_part
    while n and shape.part[n - 1] == c'0':
        n -= 1
    if shape.negative:
        write_char(s, c'-')
    if not -4 <= power < 16:
        write_char(s, shape.whole[0])
        if n:
            write_char(s, c'.')
            write(s, shape.part, n)
        write_char(s, c'e')
        write_char(s, c'-' if power < 0 else c'+')
        write_padded(s, -power if power < 0 else power, 2)
    elif power < 0:
        write(s, b"0.", 2)
        while power < -1:
            write_char(s, c'0')
            power += 1
        write_char(s, shape.whole[0])
        write(s, shape.part, n)
    else:
        write_char(s, shape.whole[0])
        for k in range(max(power, n)):
            if k == power:
                write_char(s, c'.')
            write_char(s, shape.part[k] if k < n else c'0')
        if n <= power:
            write(s, b".0", 2)


cdef inline void write_date(Sink* s, int64_t days) noexcept nogil:
    """YYYY-MM-DD of a day since 1970; the inverse of day_number."""
    cdef int64_t shifted = days + 719468
    cdef int64_t era = (shifted if shifted >= 0 else shifted - 146096) // 146097
    cdef int64_t of_era = shifted - era * 146097
    cdef int64_t year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    cdef int64_t of_year = of_era - (365 * year + year // 4 - year // 100)
    cdef int64_t month = (5 * of_year + 2) // 153
    year += era * 400 + (month >= 10)
    if year < 0:
        write_char(s, c'-')
        year = -year
    write_padded(s, year, 4)
    write_char(s, c'-')
    write_padded(s, month + 3 if month < 10 else month - 9, 2)
    write_char(s, c'-')
    write_padded(s, of_year - (153 * month + 2) // 5 + 1, 2)


cdef inline void write_time(Sink* s, int64_t value, int64_t unit, bint local) noexcept nogil:
    """A count of units of so many nanoseconds as a time of ISO 8601, with the unit's digits."""
    cdef int64_t second = 1000000000 // unit
    cdef int64_t seconds = value // second - (value % second < 0)
    cdef int64_t days = seconds // 86400 - (seconds % 86400 < 0)
    cdef int64_t of_day = seconds - days * 86400
    write_date(s, days)
    write_char(s, c'T')
    write_padded(s, of_day // 3600, 2)
    write_char(s, c':')
    write_padded(s, of_day // 60 % 60, 2)
    write_char(s, c':')
    write_padded(s, of_day % 60, 2)
    write_char(s, c'.')
    write_padded(s, value - seconds * second, 9 if unit == 1 else 6 if unit == 1000 else 3)
    if not local:
        write_char(s, c'Z')


cdef inline void write_string(Sink* s, const uint8_t* p, int64_t n) noexcept nogil:
    """A string of JSON, with the escapes that it needs."""
    cdef const uint8_t* end = p + n
    cdef const uint8_t* begin
    cdef const char* short_names = b"btn.fr"    # of 8 to 13; 11 has none
    cdef const char* hexadecimal = b"0123456789abcdef"
    write_char(s, c'"')
    while p < end and not s.full:
        begin = p
        while p < end and p[0] >= 0x20 and p[0] != c'"' and p[0] != c'\\':
            p += 1
        write(s, begin, p - begin)
        if p == end:
            break
        write_char(s, c'\\')
        if p[0] >= 0x20:
            write_char(s, p[0])
        elif 8 <= p[0] <= 13 and p[0] != 11:
            write_char(s, short_names[p[0] - 8])
        else:
            write(s, b"u00", 3)
            write_char(s, hexadecimal[p[0] >> 4])
            write_char(s, hexadecimal[p[0] & 15])
        p += 1
    write_char(s, c'"')
