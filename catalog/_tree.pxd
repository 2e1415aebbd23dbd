# The places of all columns and conditions as a tree, and one walk over a message along it;
# header only.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp, memset

from fin_sql.catalog._scan cimport (
    ABSENT, ARRAY, ESCAPED, Fault, MAX_DEPTH, NONE, NO_MEMORY, OBJECT, Span, TOO_DEEP,
    WANTS_COMMA_OR_BRACE, WANTS_COMMA_OR_BRACKET, WANTS_NAME, blank, colon_end, fail, first_bytes,
    likely, load, nested_end, scalar_end, string_end, unescape, unlikely, value_end,
)

cdef struct Name:               # of a member that somebody wants
    uint64_t first              # its first 8 bytes
    uint64_t last               # its last 8, where it has more than 8
    int32_t length
    int32_t node                # NONE: free
    const uint8_t* text

cdef struct Index:
    int32_t element             # from the front, 0 is the first; or from the end, 1 is the last
    int32_t node

cdef struct Node:               # a place
    int32_t slot                # where its value is noted; NONE
    int32_t unnest              # the UNNEST path that ends here; NONE
    bint leaf                   # nothing inside of it is wanted
    Name* names                 # a hash table of mask + 1; NULL: no member is wanted
    uint32_t mask
    Index* indices              # ascending
    int32_t n_indices
    Index* from_end
    int32_t n_from_end
    int32_t ring                # where in the run's ring the last elements are noted
    int32_t ring_size
    int32_t first_slot          # the slots at and below it
    int32_t n_slots
    uint64_t below              # a bit for each UNNEST path at and below it

cdef struct Elements:           # of one UNNEST path in one message
    Span array                  # what stands at the path
    Span* spans                 # the slots of each element
    int64_t n
    int64_t room

cdef struct Run:                # one walk
    const Node* nodes           # node 0 is the message
    const Node* element         # NULL: nothing of an element is wanted
    Span* spans                 # the slots of the message
    int32_t n_element_slots
    Elements* elements
    const uint8_t** ring
    uint8_t* text               # room for an unescaped name
    Fault fault


cdef inline uint32_t hash_name(uint64_t first, uint64_t last, int64_t n) noexcept nogil:
    cdef uint64_t mixed = first + last * <uint64_t> 0x9E3779B97F4A7C15 + <uint64_t> n
    return <uint32_t> (mixed * <uint64_t> 0xD6E8FEB86659FD93 >> 40)


cdef inline Name name_of(const uint8_t* p, int64_t n) noexcept nogil:
    """How a name is looked for; 8 bytes are read even if it is shorter."""
    cdef Name name
    name.first = first_bytes(p, min(n, <int64_t> 8))
    name.last = load(p + n - 8) if n > 8 else 0
    name.length = <int32_t> n
    name.node = NONE
    name.text = p
    return name


cdef inline const Node* member(Run* run, const Node* node, const uint8_t* p, const uint8_t* end,
                               uint8_t kind) noexcept nogil:
    """The place of a member; NULL if nobody wants it."""
    cdef Name name
    cdef const Name* known
    cdef uint32_t at
    if unlikely(kind == ESCAPED):
        end = unescape(p, end, run.text, &run.fault)
        if end == NULL:                 # half of a surrogate pair: no path has it
            return NULL
        p = run.text
    name = name_of(p, end - p)
    at = hash_name(name.first, name.last, name.length) & node.mask
    while node.names[at].node != NONE:
        known = &node.names[at]
        if known.first == name.first and known.last == name.last and known.length == name.length:
            if name.length <= 16 or memcmp(known.text, p, name.length) == 0:
                return &run.nodes[known.node]
        at = (at + 1) & node.mask
    return NULL


cdef inline void forget(Run* run, const Node* node, Span* spans) noexcept nogil:
    """Take back what was noted at and below a place: of equal names the last one counts."""
    cdef uint64_t below = node.below
    cdef int u = 0
    memset(spans + node.first_slot, 0, node.n_slots * sizeof(Span))
    while below:
        if below & 1:
            run.elements[u].array.kind = ABSENT
            run.elements[u].n = 0
        below >>= 1
        u += 1


cdef inline const uint8_t* walk(Run* run, const Node* node, const uint8_t* p, int depth,
                                Span* spans) noexcept nogil:
    """Pass over the value at a place, inside of `depth` others, and note what is wanted of it."""
    cdef Span span
    cdef const uint8_t* end
    span.begin = p
    if p[0] == c'{':
        end = walk_object(run, node, p, depth, spans) if node.names != NULL \
            else nested_end(p, depth, &run.fault)
        span.kind = OBJECT
        span.length = <uint32_t> (end - p)
    elif p[0] == c'[':
        end = nested_end(p, depth, &run.fault) if node.leaf \
            else walk_array(run, node, p, depth, spans)
        span.kind = ARRAY
        span.length = <uint32_t> (end - p)
    else:
        end = scalar_end(p, &span, &run.fault)
    if end != NULL:
        if node.slot != NONE:
            spans[node.slot] = span
        if node.unnest != NONE:
            run.elements[node.unnest].array = span
    return end


cdef inline const uint8_t* walk_object(Run* run, const Node* node, const uint8_t* p, int depth,
                                       Span* spans) noexcept nogil:
    cdef const uint8_t* name
    cdef const uint8_t* end
    cdef const Node* child
    cdef uint8_t kind
    cdef uint64_t bit, seen = 0
    if depth == MAX_DEPTH:
        return fail(&run.fault, TOO_DEEP, p)
    depth += 1
    p = blank(p + 1)
    if p[0] == c'}':
        return p + 1
    while True:
        if unlikely(p[0] != c'"'):
            return fail(&run.fault, WANTS_NAME, p)
        name = p + 1
        end = string_end(name, &kind, &run.fault)
        if unlikely(end == NULL):
            return NULL
        p = colon_end(end + 1, &run.fault)
        if unlikely(p == NULL):
            return NULL
        child = member(run, node, name, end, kind)
        if child == NULL:
            p = value_end(p, depth, &run.fault)
        elif child.leaf and p[0] != c'{' and p[0] != c'[':
            p = scalar_end(p, &spans[child.slot], &run.fault)
        else:
            # Two places may share a bit: what is forgotten of the second was not noted yet.
            bit = <uint64_t> 1 << (child.first_slot & 63)
            if unlikely(seen & bit != 0):
                forget(run, child, spans)
            seen |= bit
            p = walk(run, child, p, depth, spans)
        if unlikely(p == NULL):
            return NULL
        p = blank(p)
        if p[0] == c'}':
            return p + 1
        if unlikely(p[0] != c','):
            return fail(&run.fault, WANTS_COMMA_OR_BRACE, p)
        p = blank(p + 1)


cdef inline Span* next_element(Run* run, int32_t unnest) noexcept nogil:
    """The slots of one more element, with nothing noted; NULL without memory."""
    cdef Elements* found = &run.elements[unnest]
    cdef int64_t room, size = run.n_element_slots * sizeof(Span)
    cdef Span* spans
    if found.n == found.room and size:
        room = max(2 * found.room, <int64_t> 16)
        spans = <Span*> realloc(found.spans, room * size)
        if spans == NULL:
            return NULL
        found.spans = spans
        found.room = room
    spans = found.spans + found.n * run.n_element_slots
    if size:
        memset(spans, 0, size)
    found.n += 1
    return spans


cdef inline const uint8_t* walk_array(Run* run, const Node* node, const uint8_t* p, int depth,
                                      Span* spans) noexcept nogil:
    cdef const uint8_t* end
    cdef Span* slots
    cdef int64_t k = 0, next_index = 0, back
    if depth == MAX_DEPTH:
        return fail(&run.fault, TOO_DEEP, p)
    depth += 1
    p = blank(p + 1)
    if p[0] == c']':
        return p + 1
    while True:
        end = NULL
        if node.unnest != NONE:
            if run.element != NULL:
                slots = next_element(run, node.unnest)
                if slots == NULL:
                    return fail(&run.fault, NO_MEMORY, p)
                end = walk(run, run.element, p, depth, slots)
                if unlikely(end == NULL):
                    return NULL
            else:
                run.elements[node.unnest].n += 1
        if node.ring_size:
            run.ring[node.ring + k % node.ring_size] = p
        if next_index < node.n_indices and node.indices[next_index].element == k:
            end = walk(run, &run.nodes[node.indices[next_index].node], p, depth, spans)
            next_index += 1
        elif end == NULL:
            end = value_end(p, depth, &run.fault)
        if unlikely(end == NULL):
            return NULL
        k += 1
        p = blank(end)
        if p[0] == c']':
            break
        if unlikely(p[0] != c','):
            return fail(&run.fault, WANTS_COMMA_OR_BRACKET, p)
        p = blank(p + 1)
    for next_index in range(node.n_from_end):
        back = node.from_end[next_index].element
        if back <= k:
            end = walk(run, &run.nodes[node.from_end[next_index].node],
                       run.ring[node.ring + (k - back) % node.ring_size], depth, spans)
            if end == NULL:
                return NULL
    return p + 1
