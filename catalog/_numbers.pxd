# Decimal numbers to doubles, floats and whole numbers, each exactly or correctly rounded;
# header only. Nothing here depends on the locale.
#
# Doubles: Clinger, "How to read floating point numbers accurately" (1990), where both operands
# are exact; else Lemire, "Number parsing at a gigabyte per second" (2021); else strtod over
# digits and an exponent alone, in which no locale has a say.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport strtod, strtof
from libc.string cimport memcpy

from fin_sql.catalog._scan cimport Shape, likely

cdef extern from *:
    """
    static inline uint64_t fin_sql_multiply(uint64_t a, uint64_t b, uint64_t *high) {
        unsigned __int128 product = (unsigned __int128) a * b;
        *high = (uint64_t) (product >> 64);
        return (uint64_t) product;
    }
    #define fin_sql_leading_zeros(word) __builtin_clzll(word)
    /* the upper 128 bits of 5^q for q from -342 to 308, filled by who includes this */
    static uint64_t fin_sql_fives[2 * 651];
    /* the powers of ten that a double holds exactly */
    static const double fin_sql_tens[] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    """
    uint64_t multiply "fin_sql_multiply" (uint64_t a, uint64_t b, uint64_t* high) noexcept nogil
    int leading_zeros "fin_sql_leading_zeros" (uint64_t word) noexcept nogil
    uint64_t FIVES "fin_sql_fives" [1302]
    const double TENS "fin_sql_tens" [23]

cdef enum:
    LEAST_TEN = -342            # digits of a whole of 64 bits times 10 to less are zero
    MOST_TEN = 308
    EXACT_DIGITS = 19           # so many always fit into 64 bits
    ALL_DIGITS = 800            # more can only say that the number is a little larger

cdef struct Wide:               # a whole number of 128 bits, without a sign
    uint64_t low
    uint64_t high


cdef inline uint64_t digits_of(const Shape* s) noexcept nogil:
    """All digits of a number of up to EXACT_DIGITS as one whole number."""
    cdef int64_t k
    cdef uint64_t value = 0
    for k in range(s.n_whole):
        value = 10 * value + (s.whole[k] - c'0')
    for k in range(s.n_part):
        value = 10 * value + (s.part[k] - c'0')
    return value


cdef inline uint64_t first_digits(const Shape* s, int64_t* exponent, bint* more) noexcept nogil:
    """The first EXACT_DIGITS that count, what power of ten they stand at, whether others follow."""
    cdef int64_t k, taken = 0
    cdef uint64_t value = 0
    cdef uint8_t digit
    more[0] = False
    exponent[0] = s.exponent - s.n_part
    for k in range(s.n_whole + s.n_part):
        digit = (s.whole[k] if k < s.n_whole else s.part[k - s.n_whole]) - c'0'
        if taken < EXACT_DIGITS:
            value = 10 * value + digit
            taken += value != 0
        else:
            exponent[0] += 1
            more[0] |= digit != 0
    return value


cdef inline bint nearest(uint64_t digits, int64_t q, uint64_t* bits) noexcept nogil:
    """The bits of the double that is nearest to digits x 10^q; False where that is not sure."""
    cdef uint64_t low, high, second, mantissa, over
    cdef int64_t power
    cdef int zeros, upper
    bits[0] = 0
    if digits == 0 or q < LEAST_TEN:
        return True
    if q > MOST_TEN:
        bits[0] = <uint64_t> 0x7FF << 52
        return True
    zeros = leading_zeros(digits)
    digits <<= zeros
    low = multiply(digits, FIVES[2 * (q - LEAST_TEN)], &high)
    if high & 0x1FF == 0x1FF:
        multiply(digits, FIVES[2 * (q - LEAST_TEN) + 1], &second)
        low += second
        high += second > low
    if low == <uint64_t> 0xFFFFFFFFFFFFFFFF and (q < -27 or q > 55):
        return False
    upper = <int> (high >> 63)
    mantissa = high >> (upper + 9)
    power = ((217706 * q) >> 16) + 63 + upper - zeros + 1023
    if power <= 0:                      # subnormal
        if power <= -63:
            return True
        mantissa >>= 1 - power
        mantissa += mantissa & 1
        bits[0] = mantissa >> 1         # a carry makes it the least normal number by itself
        return True
    if low <= 1 and -4 <= q <= 23 and mantissa & 3 == 1:
        if mantissa << (upper + 9) == high:
            mantissa &= ~<uint64_t> 1   # exactly between two: to the even one
    mantissa += mantissa & 1
    mantissa >>= 1
    over = mantissa >> 53
    mantissa >>= over
    power += over
    if power >= 0x7FF:
        bits[0] = <uint64_t> 0x7FF << 52
    else:
        bits[0] = mantissa & ~(<uint64_t> 1 << 52) | <uint64_t> power << 52
    return True


cdef inline void plain_text(const Shape* s, char* out) noexcept nogil:
    """Write a number as digits and an exponent, with all digits that can matter."""
    cdef int64_t k, taken = 0, exponent = s.exponent - s.n_part
    cdef uint8_t digit
    cdef bint more = False
    cdef int n = 0
    cdef char[24] reversed_digits
    for k in range(s.n_whole + s.n_part):
        digit = s.whole[k] if k < s.n_whole else s.part[k - s.n_whole]
        if taken < ALL_DIGITS:
            out[taken] = digit
            taken += taken > 0 or digit != c'0'
        else:
            exponent += 1
            more |= digit != c'0'
    if taken == 0:
        out[0] = c'0'
        taken = 1
    if more:
        out[taken] = c'1'
        taken += 1
        exponent -= 1
    out[taken] = c'e'
    out[taken + 1] = c'-' if exponent < 0 else c'+'
    taken += 2
    # strtod takes what fits into a long; beyond these every number is nothing or endless
    exponent = min(exponent if exponent >= 0 else -exponent, <int64_t> 1000000)
    while True:
        reversed_digits[n] = <char> (c'0' + exponent % 10)
        exponent //= 10
        n += 1
        if exponent == 0:
            break
    while n:
        n -= 1
        out[taken] = reversed_digits[n]
        taken += 1
    out[taken] = 0


cdef inline double slow_double(const Shape* s) noexcept nogil:
    cdef char[ALL_DIGITS + 32] text
    plain_text(s, text)
    return strtod(text, NULL)


cdef inline double as_double(const Shape* s) noexcept nogil:
    """The nearest double, ties to even; beyond the largest it is infinite."""
    cdef uint64_t digits, bits, above
    cdef int64_t q = s.exponent - s.n_part
    cdef bint more = False
    cdef double value
    if likely(s.n_whole + s.n_part <= EXACT_DIGITS):
        digits = digits_of(s)
    else:
        digits = first_digits(s, &q, &more)
    if likely(digits <= <uint64_t> 1 << 53 and -22 <= q <= 22 and not more):
        value = <double> digits
        value = value / TENS[-q] if q < 0 else value * TENS[q]
    elif (nearest(digits, q, &bits)
            and (not more or (nearest(digits + 1, q, &above) and above == bits))):
        memcpy(&value, &bits, 8)
    else:
        value = slow_double(s)
    return -value if s.negative else value


cdef inline float as_float(const Shape* s) noexcept nogil:
    """The nearest float; rounding a double again could miss it."""
    cdef char[ALL_DIGITS + 32] text
    cdef uint64_t bits
    cdef double value = as_double(s)
    memcpy(&bits, &value, 8)
    bits &= <uint64_t> 0x7FFFFFFFFFFFFFFF
    # between two floats, or among the subnormal ones, or where they end
    if (bits & 0x1FFFFFFF != 0x10000000 and bits >> 52 >= 1023 - 126 and bits >> 52 < 1023 + 127) \
            or bits == 0 and digits_are_zero(s):
        return <float> value
    plain_text(s, text)
    return -strtof(text, NULL) if s.negative else strtof(text, NULL)


cdef inline bint digits_are_zero(const Shape* s) noexcept nogil:
    cdef int64_t k
    for k in range(s.n_whole):
        if s.whole[k] != c'0':
            return False
    for k in range(s.n_part):
        if s.part[k] != c'0':
            return False
    return True


cdef inline bint push_digit(Wide* w, uint64_t digit) noexcept nogil:
    """Append a digit; False if the number outgrows 128 bits."""
    cdef uint64_t carry, over
    w.low = multiply(w.low, 10, &carry)
    w.low += digit
    carry += w.low < digit
    w.high = multiply(w.high, 10, &over)
    w.high += carry
    return over == 0 and w.high >= carry


cdef inline bint scaled(const Shape* s, int64_t shift, Wide* out, bint* rest) noexcept nogil:
    """The whole part of a number without its sign x 10^shift; False if it outgrows 128 bits.

    `rest` tells whether anything but zeros was cut off behind it.
    """
    cdef int64_t k, n = s.n_whole + s.n_part
    cdef int64_t point = s.n_whole + s.exponent + shift     # so many digits make the whole part
    cdef uint8_t digit
    out.low = 0
    out.high = 0
    rest[0] = False
    for k in range(n):
        digit = (s.whole[k] if k < s.n_whole else s.part[k - s.n_whole]) - c'0'
        if k < point:
            if not push_digit(out, digit):
                return False
        elif digit != 0:
            rest[0] = True
            break
    if out.low == 0 and out.high == 0:
        return True
    while n < point:
        if not push_digit(out, 0):
            return False
        n += 1
    return True


cdef inline bint is_less(Wide a, Wide b) noexcept nogil:
    return a.high < b.high or (a.high == b.high and a.low < b.low)


cdef inline bint same_number(const Shape* s, bint negative, const uint8_t* digits, int64_t n,
                             int64_t exponent) noexcept nogil:
    """Whether a number is +-digits x 10^exponent, whose digits neither begin nor end in zero."""
    cdef int64_t k, first, last = s.n_whole + s.n_part - 1
    if digits_are_zero(s):
        return n == 0
    first = 0
    while digit_at(s, first) == c'0':
        first += 1
    while digit_at(s, last) == c'0':
        last -= 1
    if s.negative != negative or last - first + 1 != n:
        return False
    if s.exponent + s.n_whole - 1 - last != exponent:
        return False
    for k in range(n):
        if digit_at(s, first + k) != digits[k]:
            return False
    return True


cdef inline uint8_t digit_at(const Shape* s, int64_t k) noexcept nogil:
    return s.whole[k] if k < s.n_whole else s.part[k - s.n_whole]


cdef inline void fill_fives() noexcept:
    """Compute the table of powers; who includes this header does so once, at import."""
    for q in range(LEAST_TEN, MOST_TEN + 1):
        if q < -27:
            five = 5 ** -q
            five = (1 << (2 * five.bit_length() + 128)) // five + 1
        elif q < 0:                     # a division by 5^-q may be exact: not too small
            five = 5 ** -q
            five = (1 << (five.bit_length() + 127)) // five + 1
        else:
            five = 5 ** q << 128
        five >>= five.bit_length() - 128
        FIVES[2 * (q - LEAST_TEN)] = five >> 64
        FIVES[2 * (q - LEAST_TEN) + 1] = five & 0xFFFFFFFFFFFFFFFF
