# The binary encoding of Avro (1.12), and one walk over a message along its writer's schema;
# header only.
from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MIN, int32_t, int64_t, uint8_t, uint64_t

from fin_sql.catalog._scan cimport (
    BAD_BOOLEAN, BAD_BRANCH, BAD_LENGTH, BAD_NUMBER, Fault, MAX_DEPTH, NONE, TOO_DEEP, WANTS_MORE,
    fail, likely, unlikely,
)

cdef enum What:
    NULL_TYPE
    BOOLEAN_TYPE
    INT_TYPE                    # int and long; `small` tells them apart
    FLOAT_TYPE
    DOUBLE_TYPE
    BYTES_TYPE
    STRING_TYPE
    FIXED_TYPE
    ENUM_TYPE
    RECORD_TYPE
    UNION_TYPE
    ARRAY_TYPE
    MAP_TYPE

cdef enum Logical:
    PLAIN
    DECIMAL_NUMBER
    DAY
    INSTANT
    LOCAL_TIME                  # a timestamp without a zone

cdef struct Symbol:             # a member of a record or a symbol of an enum
    const uint8_t* text
    int64_t n

cdef struct Type:
    What what
    Logical logical
    bint small                  # an int, which has 32 bits
    bint empty                  # values take no byte
    bint noted                  # at or below it something is wanted
    int32_t slot
    int32_t scale
    int64_t size                # of a fixed
    int64_t unit                # ns of one of a timestamp
    const int32_t* children
    const Symbol* names
    int32_t n                   # children, or symbols

cdef struct Note:               # where a wanted value lies
    const uint8_t* begin
    const uint8_t* end
    int32_t type                # NONE: the message has none

cdef struct Reader:
    const Type* types
    Note* notes
    const uint8_t* end          # of the message
    Fault fault


cdef inline const uint8_t* read_long(const uint8_t* p, const uint8_t* end, int64_t* value,
                                     Fault* fault) noexcept nogil:
    """Read a zigzag number of up to 10 bytes."""
    cdef const uint8_t* begin = p
    cdef uint64_t bits = 0
    cdef int shift = 0
    while True:
        if unlikely(p >= end):
            return fail(fault, WANTS_MORE, p)
        bits |= <uint64_t> (p[0] & 0x7F) << shift
        if p[0] < 0x80:
            break
        p += 1
        shift += 7
        if shift == 63 and p < end and p[0] > 1:
            return fail(fault, BAD_NUMBER, begin)
    value[0] = <int64_t> (bits >> 1) ^ -<int64_t> (bits & 1)
    return p + 1


cdef inline const uint8_t* read_bytes(const uint8_t* p, const uint8_t* end, int64_t* n,
                                      Fault* fault) noexcept nogil:
    """Read the length of bytes that follow; returns where they begin."""
    cdef const uint8_t* begin = p
    p = read_long(p, end, n, fault)
    if unlikely(p == NULL):
        return NULL
    if unlikely(n[0] < 0 or n[0] > end - p):
        return fail(fault, BAD_LENGTH, begin)
    return p


cdef inline const uint8_t* read_block(const uint8_t* p, const uint8_t* end, int64_t* count,
                                      const uint8_t** block_end, Fault* fault) noexcept nogil:
    """Read how many items follow, and where they end if that is told."""
    cdef const uint8_t* begin = p
    cdef int64_t size
    block_end[0] = NULL
    p = read_long(p, end, count, fault)
    if p != NULL and count[0] < 0:
        if count[0] == INT64_MIN:
            return fail(fault, BAD_LENGTH, begin)
        count[0] = -count[0]
        p = read_bytes(p, end, &size, fault)
        if p != NULL:
            block_end[0] = p + size
    return p


cdef inline const uint8_t* pass_items(Reader* r, const Type* type, const uint8_t* p,
                                      int depth) noexcept nogil:
    """Pass over an array or a map: blocks of items, the last of them empty."""
    cdef const Type* item = &r.types[type.children[0]]
    cdef const uint8_t* begin
    cdef const uint8_t* block_end
    cdef int64_t count, size
    while True:
        begin = p
        p = read_block(p, r.end, &count, &block_end, &r.fault)
        if unlikely(p == NULL) or count == 0:
            return p
        if type.what == ARRAY_TYPE and item.empty:
            count = 0                   # however many: they take no byte
        elif unlikely(count > r.end - p):
            return fail(&r.fault, BAD_LENGTH, begin)
        while count:
            if type.what == MAP_TYPE:
                p = read_bytes(p, r.end, &size, &r.fault)
                if unlikely(p == NULL):
                    return NULL
                p += size
            p = pass_value(r, item, p, depth)
            if unlikely(p == NULL):
                return NULL
            count -= 1
        if unlikely(block_end != NULL and p != block_end):
            return fail(&r.fault, BAD_LENGTH, begin)


cdef inline const uint8_t* pass_value(Reader* r, const Type* type, const uint8_t* p,
                                      int depth) noexcept nogil:
    """Pass over a value inside of `depth` others, and note what is wanted of it."""
    cdef const uint8_t* begin = p
    cdef int64_t n
    cdef int32_t k
    if type.empty and not type.noted:
        return p
    if type.what == INT_TYPE:
        p = read_long(p, r.end, &n, &r.fault)
        if type.small and p != NULL and not INT32_MIN <= n <= INT32_MAX:
            return fail(&r.fault, BAD_NUMBER, begin)
    elif type.what == STRING_TYPE or type.what == BYTES_TYPE:
        p = read_bytes(p, r.end, &n, &r.fault)
        if likely(p != NULL):
            p += n
    elif type.what == DOUBLE_TYPE or type.what == FLOAT_TYPE or type.what == FIXED_TYPE:
        if unlikely(type.size > r.end - p):
            return fail(&r.fault, WANTS_MORE, r.end)
        p += type.size
    elif type.what == BOOLEAN_TYPE:
        if unlikely(p >= r.end):
            return fail(&r.fault, WANTS_MORE, p)
        if unlikely(p[0] > 1):
            return fail(&r.fault, BAD_BOOLEAN, p)
        p += 1
    elif type.what == ENUM_TYPE or type.what == UNION_TYPE:
        p = read_long(p, r.end, &n, &r.fault)
        if p != NULL and not 0 <= n < type.n:
            return fail(&r.fault, BAD_BRANCH, begin)
        if p != NULL and type.what == UNION_TYPE:
            if depth == MAX_DEPTH:
                return fail(&r.fault, TOO_DEEP, begin)
            return pass_value(r, &r.types[type.children[n]], p, depth + 1)
    elif type.what != NULL_TYPE:
        if depth == MAX_DEPTH:
            return fail(&r.fault, TOO_DEEP, begin)
        if type.what == RECORD_TYPE:
            for k in range(type.n):
                p = pass_value(r, &r.types[type.children[k]], p, depth + 1)
                if unlikely(p == NULL):
                    return NULL
        else:
            p = pass_items(r, type, p, depth + 1)
    if p != NULL and type.slot != NONE:
        r.notes[type.slot] = Note(begin=begin, end=p, type=<int32_t> (type - r.types))
    return p
