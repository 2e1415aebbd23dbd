# distutils: language = c++
# distutils: extra_compile_args = -std=c++17
"""Rows to JSON: an object a row, without an object of Python or the GIL while they are written.

- DOUBLE is the shortest text that reads back as the same bits, as Python writes it (`0.1`,
  `100000.0`, `1e+16`); FLOAT the shortest that reads back as the same FLOAT.
- Integers and DECIMAL are exact, whatever their size.
- TIMESTAMP is `2026-01-05T14:30:00.123456789Z` in UTC, with as many digits as its unit has, or a
  count since 1970, rounded downwards; DATE is `2026-01-05`, TIME `14:30:00.123`.
- VARCHAR is UTF-8 as it is, but for what JSON wants escaped. VARBINARY is base64.
- A STRUCT is an object, a LIST an array, a MAP an object of its keys, which must be VARCHAR.
"""

import pyarrow as pa
import pyarrow.compute as pc

from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t,
)
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fin_sql.catalog._json_text cimport (
    FINE, NO_MEMORY, NO_YEAR, Text, floor_div, put, put_base64, put_clock, put_date, put_double,
    put_float, put_integer, put_moment, put_text, put_unsigned,
)
from fin_sql.errors import ArgumentTypeError, KernelError

cdef enum Kind:
    NOTHING, BOOLEAN, INT_1, INT_2, INT_4, INT_8, UINT_1, UINT_2, UINT_4, UINT_8, FLOAT, DOUBLE,
    TEXT, NUMBER, BINARY, DATE_4, DATE_8, TIME_4, TIME_8, MOMENT, LISTED, FIXED, STRUCT, MAPPED

cdef dict PLAIN = {
    pa.null(): <int> NOTHING, pa.bool_(): <int> BOOLEAN,
    pa.int8(): <int> INT_1, pa.int16(): <int> INT_2, pa.int32(): <int> INT_4,
    pa.int64(): <int> INT_8, pa.uint8(): <int> UINT_1, pa.uint16(): <int> UINT_2,
    pa.uint32(): <int> UINT_4, pa.uint64(): <int> UINT_8, pa.float32(): <int> FLOAT,
    pa.float64(): <int> DOUBLE, pa.date32(): <int> DATE_4, pa.date64(): <int> DATE_8,
    pa.time32("s"): <int> TIME_4, pa.time32("ms"): <int> TIME_4, pa.time64("us"): <int> TIME_8,
    pa.time64("ns"): <int> TIME_8,
}
cdef dict UNITS = {"s": (1, 0), "ms": (10**3, 3), "us": (10**6, 6), "ns": (10**9, 9)}
cdef int64_t DAY_MS = 86_400_000


cdef struct Node:               # an array, and how its values are written
    Kind kind
    const uint8_t* valid        # NULL: all of them are
    int64_t offset              # of the array's first row in its buffers
    const uint8_t* values
    const int64_t* ends         # where the texts and lists of the rows begin
    int64_t size                # values of a fixed list
    int64_t per_second          # of times
    int64_t counted             # of times that are written as counts: how many a second
    int digits                  # of the fraction of a second
    bint special                # NaN and the infinities are texts
    const char* head            # a STRUCT's field: ,"name":
    int64_t n_head
    Node* children
    int n_children


cdef class _Tree:
    """The nodes of an array, and all that they read from."""

    cdef Node root
    cdef Text out
    cdef list kept

    def __cinit__(self):
        self.kept = []

    def __dealloc__(self):
        clear(&self.root)
        free(self.out.data)

    cdef int build(self, Node* node, array, str times, bint special, str who) except -1:
        """Make the node of an array, and those of the arrays inside of it."""
        cdef int i
        code, array, ends, children = _prepared(array, who)
        buffers = array.buffers()
        self.kept.append((array, buffers, ends))
        node.kind = <Kind> <int> code
        node.offset = array.offset
        node.special = special
        if array.null_count and buffers[0] is not None:
            node.valid = <const uint8_t*> <uintptr_t> buffers[0].address
        if len(buffers) > 1 and buffers[1] is not None:
            node.values = <const uint8_t*> <uintptr_t> buffers[1].address
        if node.kind in (TEXT, NUMBER, BINARY):
            node.values = NULL
            if buffers[2] is not None:
                node.values = <const uint8_t*> <uintptr_t> buffers[2].address
        if ends is not None:
            node.ends = <const int64_t*> <uintptr_t> ends.buffers()[1].address
            node.ends += <int64_t> ends.offset
        if node.kind == FIXED:
            node.size = array.type.list_size
        if node.kind in (TIME_4, TIME_8, MOMENT):
            node.per_second, node.digits = UNITS[array.type.unit]
            if node.kind == MOMENT and times != "iso":
                node.counted = UNITS[times.removeprefix("epoch_")][0]
        if not children:
            return 0
        node.children = <Node*> calloc(len(children), sizeof(Node))
        if node.children == NULL:
            raise MemoryError
        node.n_children = <int> len(children)
        for i, (name, inner) in enumerate(children):
            if name is not None:
                head = (b"," if i else b"") + encode_values(pa.array([name]))[0].as_py() + b":"
                self.kept.append(head)
                node.children[i].head = head
                node.children[i].n_head = len(head)
            place = who if name is None else f"{who}.{name}" if who else name
            self.build(&node.children[i], inner, times, special, place)
        return 0

    cdef object written(self, int64_t n, bint nulls, names):
        """The rows as LARGE_BINARY; with `nulls` a NULL is empty, else it is written."""
        cdef int64_t i = 0
        cdef int code = FINE
        ends = pa.allocate_buffer((n + 1) * 8)
        cdef int64_t* end = <int64_t*> <uintptr_t> ends.address
        end[0] = 0
        with nogil:
            for i in range(n):
                if not nulls or there(&self.root, i):
                    code = write(&self.out, &self.root, i)
                    if code != FINE:
                        break
                end[i + 1] = self.out.n
        if code == NO_MEMORY:
            raise MemoryError
        if code == NO_YEAR:
            at = [k for k in range(self.root.n_children)
                  if write(&self.out, &self.root.children[k], i) == NO_YEAR]
            who = f"column '{names[at[0]]}'" if at and names else "a value"
            msg = (
                f"{who}: a time must lie within the years 1 to 9999, was another in row {i}; "
                "write times as counts (times = 'epoch_ms'), or leave such rows out"
            )
            raise KernelError(msg, int(i))
        data = pa.allocate_buffer(self.out.n)
        if self.out.n:
            memcpy(<void*> <uintptr_t> data.address, self.out.data, self.out.n)
        return pa.Array.from_buffers(pa.large_binary(), n, [None, ends, data])


def _prepared(array, str who):
    """How an array is written: its kind, itself, the ends of its rows, its children with names."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _prepared(array.dictionary_decode(), who)
    if kind in PLAIN:
        return PLAIN[kind], array, None, []
    if pa.types.is_timestamp(kind):
        return <int> MOMENT, array, None, []
    if kind == pa.float16():
        return <int> FLOAT, array.cast(pa.float32()), None, []
    if pa.types.is_decimal(kind):
        return _with_ends(<int> NUMBER, array.cast(pa.string()).cast(pa.large_string()))
    if kind in (pa.string(), pa.string_view(), pa.large_string()):
        return _with_ends(<int> TEXT, array.cast(pa.large_string()))
    if kind in (pa.binary(), pa.binary_view(), pa.large_binary()):
        return _with_ends(<int> BINARY, array.cast(pa.large_binary()))
    if pa.types.is_fixed_size_binary(kind):
        return _with_ends(<int> BINARY, array.cast(pa.binary()).cast(pa.large_binary()))
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return <int> STRUCT, array, None, [(f.name, array.field(i)) for i, f in enumerate(fields)]
    if pa.types.is_fixed_size_list(kind):
        return <int> FIXED, array, None, [(None, array.values)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return <int> LISTED, array, _ends(array), [(None, array.values)]
    if pa.types.is_map(kind) and kind.key_type in (pa.string(), pa.large_string()):
        return <int> MAPPED, array, _ends(array), [(None, array.keys), (None, array.items)]
    msg = f"column '{who}': {kind} has no form in JSON; cast it to VARCHAR or to a number"
    raise ArgumentTypeError(msg)


def _with_ends(code, array):
    return code, array, _ends(array), []


def _ends(array):
    """Where the rows of texts or lists begin and end, int64."""
    n = len(array)
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return pa.array([0] * (n + 1), pa.int64())
    wide = pa.types.is_large_list(array.type) or pa.types.is_large_string(array.type) \
        or pa.types.is_large_binary(array.type)
    kind = pa.int64() if wide else pa.int32()
    return pa.Array.from_buffers(kind, n + 1, [None, buffer], offset=array.offset).cast(pa.int64())


cdef void clear(Node* node) noexcept nogil:
    cdef int i
    for i in range(node.n_children):
        clear(&node.children[i])
    free(node.children)
    node.children = NULL
    node.n_children = 0


cdef inline bint there(const Node* node, int64_t i) noexcept nogil:
    i += node.offset
    return node.kind != NOTHING and (node.valid == NULL or node.valid[i >> 3] >> (i & 7) & 1)


cdef int write(Text* out, const Node* node, int64_t i) noexcept nogil:
    """Write the value of a row."""
    cdef int64_t at = i + node.offset, count
    cdef Kind kind = node.kind
    if not there(node, i):
        return put(out, "null", 4)
    if kind == DOUBLE:
        return put_double(out, (<const double*> node.values)[at], node.special)
    if kind == TEXT:
        return put_text(out, node.values + node.ends[i], node.ends[i + 1] - node.ends[i])
    if kind == INT_8:
        return put_integer(out, (<const int64_t*> node.values)[at])
    if kind == MOMENT:
        count = (<const int64_t*> node.values)[at]
        if not node.counted:
            return put_moment(out, count, node.per_second, node.digits)
        return write_count(out, count, node.per_second, node.counted)
    if kind in (LISTED, FIXED, STRUCT, MAPPED):
        return write_nested(out, node, i)
    if kind == BOOLEAN:
        if node.values[at >> 3] >> (at & 7) & 1:
            return put(out, "true", 4)
        return put(out, "false", 5)
    if kind == FLOAT:
        return put_float(out, (<const float*> node.values)[at], node.special)
    if kind == NUMBER:
        return put(out, <const char*> node.values + node.ends[i], node.ends[i + 1] - node.ends[i])
    if kind == BINARY:
        return put_base64(out, node.values + node.ends[i], node.ends[i + 1] - node.ends[i])
    if kind == INT_1:
        return put_integer(out, (<const int8_t*> node.values)[at])
    if kind == INT_2:
        return put_integer(out, (<const int16_t*> node.values)[at])
    if kind == INT_4:
        return put_integer(out, (<const int32_t*> node.values)[at])
    if kind == UINT_1:
        return put_unsigned(out, node.values[at])
    if kind == UINT_2:
        return put_unsigned(out, (<const uint16_t*> node.values)[at])
    if kind == UINT_4:
        return put_unsigned(out, (<const uint32_t*> node.values)[at])
    if kind == UINT_8:
        return put_unsigned(out, (<const uint64_t*> node.values)[at])
    if kind == DATE_4:
        return put_date(out, (<const int32_t*> node.values)[at])
    if kind == DATE_8:
        return put_date(out, floor_div((<const int64_t*> node.values)[at], DAY_MS))
    if kind == TIME_4:
        return put_clock(out, (<const int32_t*> node.values)[at], node.per_second, node.digits)
    return put_clock(out, (<const int64_t*> node.values)[at], node.per_second, node.digits)


cdef int write_count(Text* out, int64_t count, int64_t per_second, int64_t wanted) noexcept nogil:
    """A time as a count of another unit: zeros behind it, or rounded downwards."""
    cdef int code
    if wanted <= per_second:
        return put_integer(out, floor_div(count, per_second // wanted))
    code = put_integer(out, count)
    if code or count == 0:
        return code
    while wanted > per_second and code == FINE:
        code = put(out, "0", 1)
        wanted //= 10
    return code


cdef int write_nested(Text* out, const Node* node, int64_t i) noexcept nogil:
    cdef const Node* child
    cdef int64_t begin, end, k
    cdef int code, c
    cdef bint braces = node.kind in (STRUCT, MAPPED)
    code = put(out, "{" if braces else "[", 1)
    if node.kind == STRUCT:
        for c in range(node.n_children):
            child = &node.children[c]
            if code == FINE:
                code = put(out, child.head, child.n_head)
            if code == FINE:
                code = write(out, child, i)
    else:
        if node.kind == FIXED:
            begin = (node.offset + i) * node.size
            end = begin + node.size
        else:
            begin = node.ends[i]
            end = node.ends[i + 1]
        for k in range(begin, end):
            if k > begin and code == FINE:
                code = put(out, ",", 1)
            if node.kind == MAPPED and code == FINE:
                code = write(out, &node.children[0], k)
                if code == FINE:
                    code = put(out, ":", 1)
            if code == FINE:
                code = write(out, &node.children[node.n_children - 1], k)
    if code != FINE:
        return code
    return put(out, "}" if braces else "]", 1)


def encode_rows(batch, str times="iso", str nan="null"):
    """Each row as an object, LARGE_BINARY.

    Args:
        batch: a RecordBatch.
        times: how times stand: iso, epoch_s, epoch_ms, epoch_us or epoch_ns.
        nan: what NaN and the infinities become: null, or text ("NaN", "Infinity", "-Infinity").

    Raises:
        ArgumentTypeError: a column whose type has no form in JSON.
        KernelError: a time whose year is not within 1 to 9999; with its row.
    """
    cdef _Tree tree = _Tree()
    rows = batch.to_struct_array() if batch.num_columns else pa.array([{}] * batch.num_rows)
    tree.build(&tree.root, rows, times, nan == "text", "")
    return tree.written(batch.num_rows, False, batch.schema.names)


def encode_values(array, str times="iso", str nan="null"):
    """Each value as JSON, LARGE_BINARY; NULL stays NULL.

    Args:
        array: an Array.
        times: as of encode_rows.
        nan: as of encode_rows.

    Raises:
        ArgumentTypeError: a type that has no form in JSON.
        KernelError: a time whose year is not within 1 to 9999; with its row.
    """
    cdef _Tree tree = _Tree()
    tree.build(&tree.root, array, times, nan == "text", "")
    found = tree.written(len(array), True, None)
    return pc.if_else(array.is_valid(), found, None) if array.null_count else found
