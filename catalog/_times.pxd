# Times as texts (ISO 8601) and as counts since 1970 UTC, to nanoseconds; header only.
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t

from fin_sql.catalog._numbers cimport EXACT_DIGITS, TENS, Wide, digits_of, scaled
from fin_sql.catalog._scan cimport FINE, NO_TIME, OUT_OF_YEARS, Shape, Wrong, is_digit

cdef enum:
    DAY_SECONDS = 86400


cdef inline int two_digits(const uint8_t* p) noexcept nogil:
    """A number of two digits; -1 where they are none."""
    if is_digit(p[0]) and is_digit(p[1]):
        return 10 * (p[0] - c'0') + (p[1] - c'0')
    return -1


cdef inline int days_of_month(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline int64_t day_number(int year, int month, int day) noexcept nogil:
    """Days since 1970-01-01 in the Gregorian calendar.

    Years begin in March here, so that the leap day is the last (Hinnant, "chrono-compatible
    low-level date algorithms").
    """
    cdef int64_t y = year - (month <= 2)
    cdef int64_t era = (y if y >= 0 else y - 399) // 400
    cdef int64_t of_era = y - 400 * era
    cdef int64_t of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


cdef inline Wrong in_ns(int64_t seconds, int64_t fraction, int64_t* ns) noexcept nogil:
    """Join seconds and nanoseconds from 0 to 999 999 999."""
    cdef int64_t most = INT64_MAX // 1000000000
    if not -most - 1 <= seconds <= most:
        return OUT_OF_YEARS
    if seconds < 0:
        seconds += 1
        fraction -= 1000000000
        # the least of 64 bits stands for no time elsewhere
        if seconds * 1000000000 < INT64_MIN + 1 - fraction:
            return OUT_OF_YEARS
    elif seconds * 1000000000 > INT64_MAX - fraction:
        return OUT_OF_YEARS
    ns[0] = seconds * 1000000000 + fraction
    return FINE


cdef inline Wrong read_iso(const uint8_t* p, const uint8_t* end, int64_t* ns) noexcept nogil:
    """Read a text as nanoseconds since 1970 UTC.

    YYYY-MM-DD, or YYYY-MM-DD{T| }HH:MM[:SS[.f to .fffffffff]][Z|{+|-}HH[[:]MM]]; without a zone it
    is UTC. There are no leap seconds and no hour 24.
    """
    cdef int century = two_digits(p), year = two_digits(p + 2), month, day
    cdef int hour = 0, minute = 0, second = 0, ahead = 0, ahead_minutes = 0, sign
    cdef int64_t fraction = 0, unit = 1000000000
    if end - p < 10 or century < 0 or year < 0 or p[4] != c'-' or p[7] != c'-':
        return NO_TIME
    year += 100 * century
    month = two_digits(p + 5)
    day = two_digits(p + 8)
    if not 1 <= month <= 12 or not 1 <= day <= days_of_month(year, month):
        return NO_TIME
    p += 10
    sign = 0
    if p != end:
        if p[0] | 0x20 != c't' and p[0] != c' ':
            return NO_TIME
        hour = two_digits(p + 1)
        minute = two_digits(p + 4)
        if end - p < 6 or p[3] != c':' or not 0 <= hour <= 23 or not 0 <= minute <= 59:
            return NO_TIME
        p += 6
        if p[0] == c':':
            second = two_digits(p + 1)
            if end - p < 3 or not 0 <= second <= 59:
                return NO_TIME
            p += 3
            if p[0] == c'.':
                p += 1
                while is_digit(p[0]) and unit > 1:
                    unit //= 10
                    fraction += unit * (p[0] - c'0')
                    p += 1
                if unit == 1000000000:
                    return NO_TIME
        if p[0] | 0x20 == c'z':
            p += 1
        elif p[0] == c'+' or p[0] == c'-':
            sign = 1 if p[0] == c'+' else -1
            ahead = two_digits(p + 1)
            p += 3
            if p != end:
                p += p[0] == c':'
                ahead_minutes = two_digits(p)
                p += 2
            if not 0 <= ahead <= 23 or not 0 <= ahead_minutes <= 59:
                return NO_TIME
        if p != end:
            return NO_TIME
    return in_ns(day_number(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second
                 - sign * (ahead * 3600 + ahead_minutes * 60), fraction, ns)


cdef inline Wrong read_epoch(const Shape* s, int digits, int64_t* ns) noexcept nogil:
    """Read a count of units of 10^digits nanoseconds; what is below a nanosecond is cut off.

    It is cut downwards, so that no time moves behind a later one or into the next window.
    """
    cdef Wide whole
    cdef bint rest = False
    cdef int64_t unit
    if s.exponent == 0 and s.n_whole + s.n_part < EXACT_DIGITS and s.n_part <= digits:
        unit = <int64_t> TENS[digits - s.n_part]
        whole.low = digits_of(s)
        if whole.low > <uint64_t> (INT64_MAX // unit):
            return OUT_OF_YEARS
        whole.low *= unit
    elif not scaled(s, digits, &whole, &rest) or whole.high or whole.low > <uint64_t> INT64_MAX:
        return OUT_OF_YEARS
    ns[0] = <int64_t> whole.low
    if s.negative:
        if ns[0] == INT64_MAX and rest:
            return OUT_OF_YEARS
        ns[0] = -ns[0] - rest
    return FINE


cdef inline int64_t floored(int64_t ns, int64_t unit) noexcept nogil:
    """How many whole units, downwards."""
    cdef int64_t whole = ns // unit             # C: towards zero
    return whole - (ns % unit < 0)
