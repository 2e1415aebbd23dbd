"""JSON messages to Arrow rows: no object per row or field, no GIL while they are read.

What is JSON is RFC 8259 to the letter: UTF-8, no byte order mark, nothing behind the value, no
NaN or Infinity outside of a text, up to 128 objects and arrays inside of each other. What a
column takes beyond its own kind of value:

- Numbers inside of texts count as numbers, if JSON would write them so.
- DOUBLE and FLOAT are the nearest there is; beyond the largest they are infinite. The texts "NaN",
  "Infinity" and "-Infinity" are taken.
- Integers are exact, and may be written `1e3` or `5.0`; DECIMAL is exact.
- BOOLEAN takes 0 and 1, "true" and "false".
- VARCHAR takes any value: a text as its characters, anything else as it is written. Half of a
  surrogate pair is no text.
- TIMESTAMP and DATE: counts since 1970 in the unit of the format, or ISO 8601 texts
  (`YYYY-MM-DD`, `YYYY-MM-DD{T| }HH:MM[:SS[.fffffffff]][Z|+HH:MM]`), without a zone UTC. What
  is below the column's unit is cut off downwards. Years outside of 1677 to 2262 are bad.

A member that is missing or null is NULL. Members that no path names are passed over. Of equal
names the last one counts.
"""

import os

import pyarrow as pa

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from fin_sql.catalog._batch cimport Batch, Message, release_batch, take
from fin_sql.catalog._cells cimport (
    BOOLEAN, Column, DATE, DECIMAL, DOUBLE, ENCODED, EPOCH, FLOAT, INTEGER, ISO, TEXT, TIME,
    UNSAID, encode_text, pack,
)
from fin_sql.catalog._numbers cimport fill_fives
from fin_sql.catalog._scan cimport (
    BAD_ESCAPE, BAD_UTF8, BATCH_FULL, BYTE_ORDER_MARK, CONTROL_IN_STRING, EMPTY, FINE, HALF_PAIR,
    IS_NESTED, IS_NULL, MAX_DEPTH, NO_ARRAY, NO_BOOLEAN, NO_FORMAT, NO_MEMORY, NO_NUMBER, NO_TIME,
    NOT_WHOLE, OUT_OF_RANGE, OUT_OF_YEARS, PADDING, Span, TOMBSTONE, TOO_DEEP, TOO_LONG,
    TOO_MANY_DIGITS, TOO_MUCH_TEXT, WANTS_COLON, WANTS_COMMA_OR_BRACE, WANTS_COMMA_OR_BRACKET,
    WANTS_DIGIT, WANTS_END, WANTS_NAME, WANTS_VALUE, Wrong,
)
from fin_sql.catalog._tree cimport Elements, Index, NONE, Name, Node, hash_name, name_of
from fin_sql.catalog._where cimport Constant, IN, MISSING, NOT_IN, PRESENT, Test
from fin_sql.catalog.paths import parse_path
from fin_sql.catalog.rows import Bad, Decoded, check_fields, constant_of, sql_type
from fin_sql.errors import ArgumentTypeError, SourceError

fill_fives()

cdef dict WORDS = {                 # code, what was required; None: told in full
    <int> TOMBSTONE: ("tombstone", "the message is a tombstone: it has a key and no value"),
    <int> EMPTY: ("empty", "the message has no byte"),
    <int> TOO_LONG: ("size", "the message is longer than 2 GB"),
    <int> TOO_MUCH_TEXT: ("size", "its text would take over 64 MB in the rows of the message"),
    <int> BAD_UTF8: ("encoding", "UTF-8 was required"),
    <int> BYTE_ORDER_MARK: ("encoding", "UTF-8 without a byte order mark was required"),
    <int> TOO_DEEP: ("depth", f"at most {MAX_DEPTH} objects and arrays may stand in each other"),
    <int> WANTS_VALUE: ("syntax", "a value was required"),
    <int> WANTS_DIGIT: ("syntax", "a digit was required"),
    <int> WANTS_NAME: ("syntax", "a name in double quotes was required"),
    <int> WANTS_COLON: ("syntax", "':' was required"),
    <int> WANTS_COMMA_OR_BRACE: ("syntax", "',' or '}' was required"),
    <int> WANTS_COMMA_OR_BRACKET: ("syntax", "',' or ']' was required"),
    <int> WANTS_END: ("syntax", "the end of the message was required"),
    <int> CONTROL_IN_STRING: ("syntax", "an escape was required in place of a control character"),
    <int> BAD_ESCAPE: ("syntax", "an escape of JSON was required"),
    <int> NO_ARRAY: ("unnest", "an array was required"),
    <int> IS_NULL: ("null", "a value was required, for it is NOT NULL"),
    <int> IS_NESTED: ("value", "a single value was required; VARCHAR takes objects and arrays"),
    <int> NO_NUMBER: ("value", "a number was required"),
    <int> NOT_WHOLE: ("value", "a whole number was required"),
    <int> OUT_OF_RANGE: ("value", "a number in the range of the type was required"),
    <int> TOO_MANY_DIGITS: ("value", "no more digits behind the point were allowed"),
    <int> NO_BOOLEAN: ("value", "true, false, 0 or 1 was required"),
    <int> NO_TIME: ("value", "a time as in '2026-01-31T09:30:00.5Z' was required"),
    <int> NO_FORMAT: ("value", "a format was required, such as 'epoch_ms', to read a number"),
    <int> OUT_OF_YEARS: ("value", "a time within the years 1677 to 2262 was required"),
    <int> HALF_PAIR: ("value", "a whole surrogate pair was required"),
}

cdef dict OPERATORS = {
    "=": <int> IN, "in": <int> IN, "<>": <int> NOT_IN,
    "is null": <int> MISSING, "is not null": <int> PRESENT,
}
cdef dict NS = {"s": 10 ** 9, "ms": 10 ** 6, "us": 10 ** 3, "ns": 1}


class _Place:
    """A place while the tree is built."""

    def __init__(self):
        self.wanted = False
        self.unnest = NONE
        self.members = {}
        self.elements = {}

    def at(self, path):
        place = self
        for step in path.steps:
            inner = place.elements if isinstance(step, int) else place.members
            place = inner.setdefault(step, _Place())
        return place


cdef class _Memory:
    """A block of memory, as long as a buffer needs it."""

    cdef void* block

    def __dealloc__(self):
        free(self.block)


cdef buffer_of(void** block, int64_t size):
    """Hand a block over to an Arrow buffer."""
    cdef void* trimmed = realloc(block[0], max(size, 1))
    cdef _Memory memory = _Memory.__new__(_Memory)
    memory.block = trimmed if trimmed != NULL else block[0]
    block[0] = NULL
    return pa.foreign_buffer(<uintptr_t> memory.block, size, memory)


cdef class _Call:
    """What one call of decode holds."""

    cdef Batch batch
    cdef Message* messages

    def __dealloc__(self):
        release_batch(&self.batch)
        free(self.messages)


cdef void* zeros(int64_t n, int64_t size) except NULL:
    cdef void* block = calloc(max(n, 1), size)
    if block == NULL:
        raise MemoryError
    return block


cdef class JsonDecoder:
    """Turns JSON messages into rows.

    All paths are one tree, and a message is walked over once along it. It may be used by several
    threads at a time.

    Args:
        fields: the columns.
        unnest: paths of arrays, each element of which is a row, in the order of the paths and of
            the elements; a path that a message does not have, or is null there, gives none.
            Without paths each message is a row.
        where: the conditions; a message that fails one is passed over, whatever its fields hold.
            It must still be JSON.
        encoded: VARCHAR columns to be given as dictionaries.

    Raises:
        SqlError: a path, a condition or a combination that is not possible.
    """

    cdef Node* nodes
    cdef Name* names
    cdef Index* indices
    cdef Column* columns
    cdef Test* tests
    cdef Constant* numbers
    cdef int32_t n_nodes, n_columns, n_tests, n_slots, n_element_slots, n_ring, element
    cdef uint64_t[2] key
    cdef list keep                  # texts that nodes and numbers point into
    cdef readonly tuple fields
    cdef readonly tuple unnest
    cdef readonly tuple where
    cdef readonly object schema

    def __init__(self, fields, unnest=(), where=(), encoded=()):
        self.fields = tuple(fields)
        self.where = tuple(where)
        paths = [parse_path(path, "UNNEST") for path in unnest]
        self.unnest = tuple(map(str, paths))
        encoded = frozenset(encoded)
        check_fields(self.fields, paths, encoded)
        self.keep = []
        memcpy(self.key, PyBytes_AS_STRING(os.urandom(16)), 16)
        self.schema = pa.schema([
            pa.field(f.name, pa.dictionary(pa.int32(), f.type) if f.name in encoded else f.type,
                     nullable=not f.not_null)
            for f in self.fields
        ])
        message, element = _Place(), _Place()
        for u, path in enumerate(paths):
            message.at(path).unnest = u
        for one in (*self.fields, *self.where):
            (element if one.place.origin == "@" else message).at(one.place).wanted = True
        self._plant(message, element)
        self._lay_columns(message, element, encoded)
        self._lay_tests(message)

    def __dealloc__(self):
        cdef int32_t k
        for k in range(self.n_tests):
            free(self.tests[k].texts.ends)
            free(self.tests[k].texts.data)
            free(self.tests[k].texts.table)
        free(self.nodes)
        free(self.names)
        free(self.indices)
        free(self.columns)
        free(self.tests)
        free(self.numbers)

    cdef int _plant(self, object message, object element) except -1:
        """Lay out both trees, node by node."""
        cdef int64_t n_nodes = 0, n_names = 0, n_indices = 0
        for place in (*_all(message), *_all(element)):
            n_nodes += 1
            n_names += _table_size(place.members)
            n_indices += len(place.elements)
        self.nodes = <Node*> zeros(n_nodes, sizeof(Node))
        self.names = <Name*> zeros(n_names, sizeof(Name))
        self.indices = <Index*> zeros(n_indices, sizeof(Index))
        cdef Name* names = self.names
        cdef Index* indices = self.indices
        self._plant_place(message, &names, &indices, &self.n_slots)
        if element.wanted or element.members or element.elements:
            self.element = self.n_nodes
            self._plant_place(element, &names, &indices, &self.n_element_slots)
        return 0

    cdef int32_t _plant_place(self, object place, Name** names, Index** indices,
                              int32_t* n_slots) except -1:
        """Lay out a place and all below it; returns its number."""
        cdef int32_t child, number = self.n_nodes
        cdef Node* node = &self.nodes[number]
        cdef uint32_t at
        cdef bytes text
        cdef Name name
        self.n_nodes += 1
        node.slot = place.slot = NONE
        node.unnest = place.unnest
        node.leaf = place.unnest == NONE and not place.members and not place.elements
        node.below = <uint64_t> 1 << <int> place.unnest if place.unnest != NONE else 0
        node.first_slot = n_slots[0]
        if place.wanted:
            node.slot = place.slot = n_slots[0]
            n_slots[0] += 1
        if place.members:
            node.names = names[0]
            node.mask = _table_size(place.members) - 1
            names[0] += node.mask + 1
            for at in range(node.mask + 1):
                node.names[at].node = NONE
        for word, inner in place.members.items():
            child = self._plant_place(inner, names, indices, n_slots)
            node.below |= self.nodes[child].below
            text = word.encode() + bytes(PADDING)
            self.keep.append(text)
            name = name_of(<const uint8_t*> PyBytes_AS_STRING(text), len(text) - PADDING)
            name.node = child
            at = hash_name(name.first, name.last, name.length) & node.mask
            while node.names[at].node != NONE:
                at = (at + 1) & node.mask
            node.names[at] = name
        front = sorted(k for k in place.elements if k >= 0)
        back = sorted(k for k in place.elements if k < 0)
        node.indices = indices[0]
        node.n_indices = <int32_t> len(front)
        node.from_end = indices[0] + node.n_indices
        node.n_from_end = <int32_t> len(back)
        indices[0] += node.n_indices + node.n_from_end
        for k, element in enumerate((*front, *back)):
            child = self._plant_place(place.elements[element], names, indices, n_slots)
            node.below |= self.nodes[child].below
            node.indices[<int> k] = Index(element=abs(element), node=child)
        if back:
            node.ring = self.n_ring
            node.ring_size = -back[0]
            self.n_ring += node.ring_size
        node.n_slots = n_slots[0] - node.first_slot
        return number

    cdef int _lay_columns(self, object message, object element, object encoded) except -1:
        """Say of each column what it is made of, and where from."""
        cdef Column* c
        self.columns = <Column*> zeros(len(self.fields), sizeof(Column))
        for one in self.fields:
            c = &self.columns[self.n_columns]
            self.n_columns += 1
            kind = one.type
            c.of_element = one.place.origin == "@"
            c.slot = (element if c.of_element else message).at(one.place).slot
            c.not_null = one.not_null
            c.size = max(kind.bit_width // 8, 1) if kind != pa.string() else 4
            if kind == pa.string():
                c.type = ENCODED if one.name in encoded else TEXT
            elif kind == pa.float64():
                c.type = DOUBLE
            elif kind == pa.float32():
                c.type = FLOAT
            elif kind == pa.bool_():
                c.type, c.least, c.most = BOOLEAN, 0, 1
            elif pa.types.is_integer(kind):
                bits = kind.bit_width
                c.type = INTEGER
                signed = pa.types.is_signed_integer(kind)
                c.least = -(1 << (bits - 1)) if signed else 0
                c.most = (1 << (bits - signed)) - 1
            elif pa.types.is_decimal(kind):
                c.type, c.digits = DECIMAL, kind.scale
                c.limit.low = 10 ** kind.precision & 0xFFFFFFFFFFFFFFFF
                c.limit.high = 10 ** kind.precision >> 64
            else:
                c.type = DATE if kind == pa.date32() else TIME
                c.unit = 86400 * 10 ** 9 if c.type == DATE else NS[kind.unit]
                c.format = {"": UNSAID, "iso": ISO}.get(one.format, EPOCH)
                if c.format == EPOCH:
                    c.digits = len(str(NS[one.format.removeprefix("epoch_")])) - 1
        return 0

    cdef int _lay_tests(self, object message) except -1:
        """Lay out the conditions."""
        cdef Test* test
        cdef Constant* number
        cdef bytes text
        cdef int32_t code
        self.tests = <Test*> zeros(len(self.where), sizeof(Test))
        number = self.numbers = <Constant*> zeros(sum(len(one.values) for one in self.where),
                                                  sizeof(Constant))
        for one in self.where:
            test = &self.tests[self.n_tests]
            self.n_tests += 1
            test.operator = OPERATORS[one.op]
            test.slot = message.at(one.place).slot
            test.numbers = number
            for value in one.values:
                constant = constant_of(value, "")
                if constant.text is not None:
                    text = constant.text + bytes(PADDING)
                    if encode_text(&test.texts, <const uint8_t*> PyBytes_AS_STRING(text),
                                   len(constant.text), self.key, &code) != FINE:
                        raise MemoryError
                if constant.number is not None:
                    negative, text, exponent = constant.number
                    self.keep.append(text)
                    number.negative, number.was_text = negative, constant.text is not None
                    number.digits = <const uint8_t*> PyBytes_AS_STRING(text)
                    number.n, number.exponent = len(text), exponent
                    number += 1
            test.n_numbers = <int32_t> (number - test.numbers)
        return 0

    def decode(self, messages):
        """Decode some messages; what is wrong with one of them costs that one alone.

        Args:
            messages: a list of bytes; None is a tombstone, which is a bad message.

        Raises:
            ArgumentTypeError: a message that is neither bytes nor None.
            SourceError: the texts of a column, or the rows, outgrow one Arrow batch.
        """
        cdef _Call call = _Call.__new__(_Call)
        cdef Batch* b = &call.batch
        cdef Py_ssize_t i, n
        cdef Wrong wrong = FINE
        held = tuple(messages)          # none of them may be freed while it is read
        n = len(held)
        call.messages = <Message*> zeros(n, sizeof(Message))
        for i in range(n):
            one = held[i]
            if isinstance(one, bytes):
                call.messages[i].bytes = <const uint8_t*> PyBytes_AS_STRING(one)
                call.messages[i].n = PyBytes_GET_SIZE(one)
            elif one is not None:
                msg = f"a message must be bytes or None, message {i} was {type(one).__name__}"
                raise ArgumentTypeError(msg)
        self._open(b)
        with nogil:
            for i in range(n):
                wrong = take(b, &call.messages[i], i)
                if wrong != FINE:
                    break
        if wrong == NO_MEMORY:
            raise MemoryError
        if wrong == BATCH_FULL:
            msg = (
                f"message {i}: the rows of one call outgrow 2 GB of text in a column, or 2^31 "
                "rows; decode fewer messages at a time"
            )
            raise SourceError(msg)
        passed, empty, bad = b.passed, b.empty, self._bad(b, held)
        source = pa.Array.from_buffers(
            pa.int32(), b.rows, [None, buffer_of(<void**> &b.source, b.rows * 4)])
        path = pa.Array.from_buffers(
            pa.int32(), b.rows, [None, buffer_of(<void**> &b.unnest, b.rows * 4)])
        arrays = [self._array(k, &b.columns[k], b.rows) for k in range(self.n_columns)]
        rows = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return Decoded(rows, source, path, bad, passed, empty)

    cdef int _open(self, Batch* b) except -1:
        """Make ready for messages."""
        b.run.nodes = self.nodes
        b.run.element = &self.nodes[self.element] if self.n_element_slots else NULL
        b.n_slots = self.n_slots
        b.run.n_element_slots = self.n_element_slots
        b.n_unnest = <int32_t> len(self.unnest)
        b.n_columns = self.n_columns
        b.tests = self.tests
        b.n_tests = self.n_tests
        memcpy(b.scratch.key, self.key, 16)
        b.run.spans = <Span*> zeros(b.n_slots, sizeof(Span))
        b.run.elements = <Elements*> zeros(b.n_unnest, sizeof(Elements))
        b.run.ring = <const uint8_t**> zeros(self.n_ring, sizeof(void*))
        b.columns = <Column*> zeros(b.n_columns, sizeof(Column))
        memcpy(b.columns, self.columns, b.n_columns * sizeof(Column))
        return 0

    cdef _array(self, int k, Column* c, int64_t n):
        """The rows of a column as an Arrow array."""
        cdef int64_t nulls
        kind = self.fields[k].type
        if n == 0:
            return pa.array([], self.schema.types[k])
        nulls = pack(c.valid, n)
        bitmap = buffer_of(<void**> &c.valid, (n + 7) // 8) if nulls else None
        if c.type == TEXT:
            return _texts(c, n, [bitmap], nulls)
        if c.type == BOOLEAN:
            pack(c.values, n)
        buffers = [bitmap, buffer_of(<void**> &c.values,
                                     (n + 7) // 8 if c.type == BOOLEAN else n * c.size)]
        if c.type != ENCODED:
            return pa.Array.from_buffers(kind, n, buffers, nulls)
        codes = pa.Array.from_buffers(pa.int32(), n, buffers, nulls)
        values = _texts(c, c.texts.n, [None], 0) if c.texts.n else pa.array([], kind)
        return pa.DictionaryArray.from_arrays(codes, values, safe=False)

    cdef _bad(self, Batch* b, tuple held):
        """What is told of the bad messages."""
        cdef int64_t k
        found = [b.bad[k] for k in range(b.n_bad)]
        return Bad(
            pa.array([one["message"] for one in found], pa.int32()),
            pa.array([WORDS[one["wrong"]][0] for one in found], pa.string()),
            pa.array([self._reason(one, held[one["message"]]) for one in found], pa.string()),
        )

    def _reason(self, dict bad, bytes message):
        """A sentence: the column, the byte, what was required and what was there."""
        wanted = WORDS[bad["wrong"]][1]
        at, length, column = bad["at"], bad["length"], bad["column"]
        who = []
        if column >= 0:
            one = self.fields[column]
            who.append(f"column '{one.name}' ({sql_type(one.type)})")
        elif column != NONE:
            who.append(f"UNNEST '{self.unnest[-2 - column]}'")
        if at == NONE:
            if column >= 0:
                wanted = f"{wanted}, and the message has none at {self.fields[column].path}"
            return f"{' '.join(who)}: {wanted}" if who else wanted
        who.append(f"at byte {at}")
        if at == len(message):
            was = "the message ends"
            if bad["wrong"] == CONTROL_IN_STRING:
                wanted = "a closing quote was required"
        else:
            shown = message[at:at + min(length, 40)].decode("utf-8", "replace")
            was = f"was {shown!r}" + (" ..." if length > 40 else "")
        return f"{' '.join(who)}: {wanted}, {was}"


def _all(place):
    """A place and all below it."""
    yield place
    for inner in (*place.members.values(), *place.elements.values()):
        yield from _all(inner)


def _table_size(members):
    """How long the table of some names is: a power of two, at most half full."""
    return 1 << (2 * len(members) - 1).bit_length() if members else 0


cdef _texts(Column* c, int64_t n, list buffers, int64_t nulls):
    cdef int64_t size = c.texts.ends[n]
    buffers.append(buffer_of(<void**> &c.texts.ends, (n + 1) * 4))
    buffers.append(buffer_of(<void**> &c.texts.data, size))
    return pa.Array.from_buffers(pa.string(), n, buffers, nulls)
