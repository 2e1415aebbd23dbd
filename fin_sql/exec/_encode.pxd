# Key values as bytes: type-tagged, in order, the same for every width of a type; header only.
from libc.math cimport isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum Kind:
    WORD                        # int64 in order: integers, booleans, dates, times
    UNSIGNED
    DOUBLE
    WIDE                        # decimal128
    BYTES                       # 32-bit offsets
    LONG_BYTES                  # 64-bit offsets
    NOTHING                     # the null type

cdef enum Tag:
    TAG_NULL = 0x01             # NULLs are one key, before all others
    TAG_BOOL = 0x10
    TAG_INT = 0x20
    TAG_UINT = 0x21             # beyond the range of int64, so after every TAG_INT
    TAG_DOUBLE = 0x30
    TAG_DECIMAL = 0x38
    TAG_TEXT = 0x40
    TAG_BINARY = 0x48
    TAG_TIME = 0x50
    TAG_DATE = 0x58
    TAG_CLOCK = 0x60


cdef struct Source:             # one key column
    Kind kind
    uint8_t tag
    uint8_t scale
    const uint8_t* values
    const int32_t* ends
    const int64_t* long_ends
    const uint8_t* valid
    Py_ssize_t offset


cdef inline bint present(const Source* s, Py_ssize_t i) noexcept nogil:
    if s.kind == NOTHING:
        return False
    return s.valid == NULL or s.valid[(s.offset + i) >> 3] >> ((s.offset + i) & 7) & 1


cdef inline const uint8_t* text_at(const Source* s, Py_ssize_t i, int64_t* length) noexcept nogil:
    cdef int64_t begin
    i += s.offset
    if s.kind == BYTES:
        begin = s.ends[i]
        length[0] = s.ends[i + 1] - begin
    else:
        begin = s.long_ends[i]
        length[0] = s.long_ends[i + 1] - begin
    return s.values + begin


cdef inline void put_word(uint8_t* out, uint64_t word) noexcept nogil:
    cdef int k
    for k in range(8):          # most significant byte first, so that bytes compare as numbers
        out[k] = <uint8_t> (word >> (56 - 8 * k))


cdef inline uint64_t ordered_double(double value) noexcept nogil:
    """The bits of a double as an unsigned integer of the same order; -0.0 is 0.0, NaN is one."""
    cdef uint64_t bits
    if isnan(value):
        return <uint64_t> 0xFFFFFFFFFFFFFFFF
    value = value + 0.0
    memcpy(&bits, &value, 8)
    return ~bits if bits >> 63 else bits | (<uint64_t> 1 << 63)


cdef inline int64_t room_for(const Source* s, Py_ssize_t i) noexcept nogil:
    """The most bytes that a value can take."""
    cdef int64_t length
    if s.kind != BYTES and s.kind != LONG_BYTES:
        return 18
    if not present(s, i):
        return 1
    text_at(s, i, &length)
    return 2 * length + 3


cdef inline int64_t encode(const Source* s, Py_ssize_t i, bint last, uint8_t* out) noexcept nogil:
    """Write the bytes of a value; returns how many.

    A text that another column follows is ended by 0 0, and a zero inside it is written 0 1.
    """
    cdef const uint64_t* words
    cdef const uint8_t* text
    cdef int64_t length, k, at = 1
    if not present(s, i):
        out[0] = TAG_NULL
        return 1
    out[0] = s.tag
    if s.kind == WORD:
        words = <const uint64_t*> s.values
        put_word(out + 1, words[s.offset + i] ^ (<uint64_t> 1 << 63))
        return 9
    if s.kind == UNSIGNED:
        words = <const uint64_t*> s.values
        out[0] = TAG_UINT if words[s.offset + i] >> 63 else TAG_INT
        put_word(out + 1, words[s.offset + i] | (<uint64_t> 1 << 63))
        return 9
    if s.kind == DOUBLE:
        put_word(out + 1, ordered_double((<const double*> s.values)[s.offset + i]))
        return 9
    if s.kind == WIDE:
        words = <const uint64_t*> s.values
        out[1] = s.scale
        put_word(out + 2, words[2 * (s.offset + i) + 1] ^ (<uint64_t> 1 << 63))
        put_word(out + 10, words[2 * (s.offset + i)])
        return 18
    text = text_at(s, i, &length)
    if last:
        if length:
            memcpy(out + 1, text, length)
        return 1 + length
    for k in range(length):
        out[at] = text[k]
        at += 1
        if text[k] == 0:
            out[at] = 1
            at += 1
    out[at] = 0
    out[at + 1] = 0
    return at + 2


cdef inline uint64_t load_tail(const uint8_t* p, int64_t n) noexcept nogil:
    """The last n < 8 bytes as one word, without reading past them."""
    cdef uint32_t low = 0, high = 0
    if n >= 4:
        memcpy(&low, p, 4)
        memcpy(&high, p + n - 4, 4)
        return <uint64_t> high << 32 | low
    if n == 0:
        return 0
    return <uint64_t> p[0] | <uint64_t> p[n >> 1] << 8 | <uint64_t> p[n - 1] << 16


cdef inline uint64_t hash_bytes(const uint8_t* p, int64_t n) noexcept nogil:
    cdef uint64_t hashed = <uint64_t> n * <uint64_t> 0x9E3779B97F4A7C15
    cdef uint64_t word
    while n >= 8:
        memcpy(&word, p, 8)
        hashed = (hashed ^ word) * <uint64_t> 0xD6E8FEB86659FD93
        hashed ^= hashed >> 32
        p += 8
        n -= 8
    hashed = (hashed ^ load_tail(p, n)) * <uint64_t> 0xD6E8FEB86659FD93
    # A product carries upwards only: fold it and multiply again, for the table takes low bits.
    hashed = (hashed ^ hashed >> 32) * <uint64_t> 0xD6E8FEB86659FD93
    return hashed ^ hashed >> 32


cdef inline bint same_bytes(const uint8_t* a, const uint8_t* b, int64_t n) noexcept nogil:
    cdef uint64_t left, right
    while n >= 8:
        memcpy(&left, a, 8)
        memcpy(&right, b, 8)
        if left != right:
            return False
        a += 8
        b += 8
        n -= 8
    return load_tail(a, n) == load_tail(b, n)
