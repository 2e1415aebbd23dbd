# Values as JSON, written behind each other into one buffer. Needs C++17, for std::to_chars.
from libc.math cimport fabs, isfinite, isnan
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

cdef extern from "<charconv>" namespace "std" nogil:
    cdef enum class chars_format "std::chars_format":
        fixed
        scientific

    cdef cppclass to_chars_result:
        char* ptr

    to_chars_result to_chars(char*, char*, double, chars_format)
    to_chars_result to_chars(char*, char*, float, chars_format)
    to_chars_result to_chars(char*, char*, long long)
    to_chars_result to_chars(char*, char*, unsigned long long)

cdef enum:
    FINE = 0
    NO_MEMORY = -1
    NO_YEAR = -2                # out of 1 to 9999, for which ISO 8601 has no common form
    NUMBER_ROOM = 40            # no number is longer
    TIME_ROOM = 40


cdef struct Text:               # what has been written
    char* data
    int64_t n
    int64_t room


cdef inline int reserve(Text* out, int64_t more) noexcept nogil:
    """Make room."""
    cdef int64_t room
    cdef char* data
    if out.room - out.n >= more:
        return FINE
    room = max(2 * out.room, out.n + more, <int64_t> 4096)
    data = <char*> realloc(out.data, room)
    if data == NULL:
        return NO_MEMORY
    out.data = data
    out.room = room
    return FINE


cdef inline int put(Text* out, const char* bytes, int64_t n) noexcept nogil:
    if reserve(out, n):
        return NO_MEMORY
    memcpy(out.data + out.n, bytes, n)
    out.n += n
    return FINE


cdef inline int put_integer(Text* out, int64_t value) noexcept nogil:
    cdef char* at
    if reserve(out, NUMBER_ROOM):
        return NO_MEMORY
    at = out.data + out.n
    out.n = to_chars(at, at + NUMBER_ROOM, <long long> value).ptr - out.data
    return FINE


cdef inline int put_unsigned(Text* out, uint64_t value) noexcept nogil:
    cdef char* at
    if reserve(out, NUMBER_ROOM):
        return NO_MEMORY
    at = out.data + out.n
    out.n = to_chars(at, at + NUMBER_ROOM, <unsigned long long> value).ptr - out.data
    return FINE


cdef inline int put_double(Text* out, double value, bint special) noexcept nogil:
    """As Python's repr(): digits in full from 1e-4 to 1e16, an exponent beyond."""
    cdef double size = fabs(value)
    cdef char* at
    if not isfinite(value):
        return put_special(out, value, special)
    if reserve(out, NUMBER_ROOM):
        return NO_MEMORY
    at = out.data + out.n
    if size != 0 and (size < 1e-4 or size >= 1e16):
        out.n = to_chars(at, at + NUMBER_ROOM, value, chars_format.scientific).ptr - out.data
        return FINE
    out.n = to_chars(at, at + NUMBER_ROOM, value, chars_format.fixed).ptr - out.data
    return keep_double(out, at)


cdef inline int put_float(Text* out, float value, bint special) noexcept nogil:
    cdef double size = fabs(value)
    cdef char* at
    if not isfinite(value):
        return put_special(out, value, special)
    if reserve(out, NUMBER_ROOM):
        return NO_MEMORY
    at = out.data + out.n
    if size != 0 and (size < 1e-4 or size >= 16777216.0):   # 2^24: digits beyond are none of its
        out.n = to_chars(at, at + NUMBER_ROOM, value, chars_format.scientific).ptr - out.data
        return FINE
    out.n = to_chars(at, at + NUMBER_ROOM, value, chars_format.fixed).ptr - out.data
    return keep_double(out, at)


cdef inline int keep_double(Text* out, const char* at) noexcept nogil:
    """A whole number ends in .0, so that it stays a double for who reads it."""
    while at < out.data + out.n:
        if at[0] == c".":
            return FINE
        at += 1
    return put(out, ".0", 2)


cdef inline int put_special(Text* out, double value, bint special) noexcept nogil:
    """NaN and the infinities, for which JSON has no number."""
    if not special:
        return put(out, "null", 4)
    if isnan(value):
        return put(out, '"NaN"', 5)
    return put(out, '"Infinity"', 10) if value > 0 else put(out, '"-Infinity"', 11)


cdef inline int put_text(Text* out, const uint8_t* text, int64_t n) noexcept nogil:
    """A text in quotes; runs of what needs no escape are copied whole."""
    cdef const char* hexadecimal = "0123456789abcdef"
    cdef int64_t begin = 0, i
    cdef uint8_t byte
    cdef char escape
    if reserve(out, 6 * n + 2):
        return NO_MEMORY
    out.data[out.n] = c'"'
    out.n += 1
    for i in range(n):
        byte = text[i]
        if byte >= 0x20 and byte != c'"' and byte != c"\\":
            continue
        memcpy(out.data + out.n, text + begin, i - begin)
        out.n += i - begin
        begin = i + 1
        escape = 0
        if byte == c'"' or byte == c"\\":
            escape = <char> byte
        elif byte == c"\n":
            escape = c"n"
        elif byte == c"\r":
            escape = c"r"
        elif byte == c"\t":
            escape = c"t"
        elif byte == c"\b":
            escape = c"b"
        elif byte == c"\f":
            escape = c"f"
        out.data[out.n] = c"\\"
        if escape:
            out.data[out.n + 1] = escape
            out.n += 2
        else:
            memcpy(out.data + out.n + 1, "u00", 3)
            out.data[out.n + 4] = hexadecimal[byte >> 4]
            out.data[out.n + 5] = hexadecimal[byte & 15]
            out.n += 6
    memcpy(out.data + out.n, text + begin, n - begin)
    out.n += n - begin
    out.data[out.n] = c'"'
    out.n += 1
    return FINE


cdef inline int put_base64(Text* out, const uint8_t* bytes, int64_t n) noexcept nogil:
    cdef const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef int64_t i
    cdef int k, left
    cdef uint64_t three
    if reserve(out, (n + 2) // 3 * 4 + 2):
        return NO_MEMORY
    out.data[out.n] = c'"'
    out.n += 1
    for i in range(0, n, 3):
        left = <int> min(n - i, <int64_t> 3)
        three = <uint64_t> bytes[i] << 16
        if left > 1:
            three |= <uint64_t> bytes[i + 1] << 8
        if left > 2:
            three |= bytes[i + 2]
        for k in range(4):
            out.data[out.n] = digits[three >> (18 - 6 * k) & 63] if k <= left else c"="
            out.n += 1
    out.data[out.n] = c'"'
    out.n += 1
    return FINE


# ------------------------------------------------------------ times


cdef inline void digits_of(char* at, int64_t value, int n) noexcept nogil:
    """A number with zeros before it."""
    cdef int k
    for k in range(n - 1, -1, -1):
        at[k] = <char> (48 + value % 10)
        value //= 10


cdef inline int64_t floor_div(int64_t a, int64_t b) noexcept nogil:
    """C rounds to zero, and times before 1970 are negative."""
    return a // b - (a % b < 0)


cdef inline int write_date(Text* out, int64_t days) noexcept nogil:
    """YYYY-MM-DD of a day since 1970, by the calendar of 400 years of 146 097 days."""
    cdef int64_t shifted = days + 719468            # from 1 March of the year 0
    cdef int64_t era = floor_div(shifted, 146097)
    cdef int64_t day_of_era = shifted - era * 146097
    cdef int64_t year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524
                                - day_of_era // 146096) // 365
    cdef int64_t day = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int64_t month = (5 * day + 2) // 153       # from March on
    cdef int64_t year = year_of_era + era * 400 + (1 if month >= 10 else 0)
    cdef char* at = out.data + out.n
    if year < 1 or year > 9999:
        return NO_YEAR
    digits_of(at, year, 4)
    at[4] = c"-"
    digits_of(at + 5, month + 3 if month < 10 else month - 9, 2)
    at[7] = c"-"
    digits_of(at + 8, day - (153 * month + 2) // 5 + 1, 2)
    out.n += 10
    return FINE


cdef inline void write_clock(Text* out, int64_t count, int64_t per_second,
                             int digits) noexcept nogil:
    """HH:MM:SS.fff of a count since midnight."""
    cdef int64_t seconds = count // per_second
    cdef char* at = out.data + out.n
    digits_of(at, seconds // 3600, 2)
    at[2] = c":"
    digits_of(at + 3, seconds // 60 % 60, 2)
    at[5] = c":"
    digits_of(at + 6, seconds % 60, 2)
    out.n += 8
    if digits:
        at[8] = c"."
        digits_of(at + 9, count % per_second, digits)
        out.n += 1 + digits


cdef inline int put_date(Text* out, int64_t days) noexcept nogil:
    cdef int code
    if reserve(out, TIME_ROOM):
        return NO_MEMORY
    out.data[out.n] = c'"'
    out.n += 1
    code = write_date(out, days)
    return code if code else put(out, '"', 1)


cdef inline int put_clock(Text* out, int64_t count, int64_t per_second, int digits) noexcept nogil:
    if reserve(out, TIME_ROOM):
        return NO_MEMORY
    out.data[out.n] = c'"'
    out.n += 1
    write_clock(out, count, per_second, digits)
    return put(out, '"', 1)


cdef inline int put_moment(Text* out, int64_t count, int64_t per_second, int digits) noexcept nogil:
    cdef int64_t per_day = 86400 * per_second
    cdef int64_t days = floor_div(count, per_day)
    cdef int code
    if reserve(out, TIME_ROOM):
        return NO_MEMORY
    out.data[out.n] = c'"'
    out.n += 1
    code = write_date(out, days)
    if code:
        return code
    out.data[out.n] = c"T"
    out.n += 1
    write_clock(out, count - days * per_day, per_second, digits)
    return put(out, 'Z"', 2)
