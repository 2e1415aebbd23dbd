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
  (`YYYY-MM-DD`, `YYYY-MM-DD{T| }HH:MM[:SS[.fffffffff]][Z|±HH[[:]MM]]`), without a zone UTC. What
  is below the column's unit is cut off downwards. Years outside of 1677 to 2262 are bad.

A member that is missing or null is NULL. Members that no path names are passed over. Of equal
names the last one counts.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fin_sql.catalog._batch cimport Batch
from fin_sql.catalog._cells cimport Column, encode_text
from fin_sql.catalog._json cimport Json, release_json, take
from fin_sql.catalog._numbers cimport fill_fives
from fin_sql.catalog._scan cimport FINE, NONE, PADDING, Span, Wrong
from fin_sql.catalog._tree cimport Elements, Index, Name, Node, hash_name, name_of
from fin_sql.catalog._where cimport Constant, IN, MISSING, NOT_IN, PRESENT, Test
from fin_sql.catalog.arrow_rows cimport Call, lay_columns, schema_of, zeros
from fin_sql.catalog.paths import parse_path
from fin_sql.catalog.rows import check_fields, constant_of

fill_fives()

cdef dict OPERATORS = {
    "=": <int> IN, "in": <int> IN, "<>": <int> NOT_IN,
    "is null": <int> MISSING, "is not null": <int> PRESENT,
}


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


cdef class _JsonCall(Call):
    """A call, and what the walk over its messages needs."""

    cdef Json json

    def __dealloc__(self):
        release_json(&self.json)


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
    cdef int32_t n_nodes, n_tests, n_slots, n_element_slots, n_ring, element
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
        self.schema = schema_of(self.fields, encoded)
        message, element = _Place(), _Place()
        for u, path in enumerate(paths):
            message.at(path).unnest = u
        for one in (*self.fields, *self.where):
            (element if one.place.origin == "@" else message).at(one.place).wanted = True
        self._plant(message, element)
        slots = [(element if one.place.origin == "@" else message).at(one.place).slot
                 for one in self.fields]
        self.columns = lay_columns(self.fields, slots, encoded)
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
            messages: bytes; None is a tombstone, which is a bad message.

        Raises:
            ArgumentTypeError: a message that is neither bytes nor None.
            SourceError: the texts of a column, or the rows, outgrow one Arrow batch.
        """
        cdef _JsonCall call = _JsonCall.__new__(_JsonCall)
        cdef Py_ssize_t i = 0
        cdef Wrong wrong = FINE
        call.take_up(messages)
        self._open(&call.json, &call.batch)
        with nogil:
            for i in range(call.n):
                wrong = take(&call.json, &call.batch, &call.messages[i], i)
                if wrong != FINE:
                    break
        call.check(wrong, i)
        return call.decoded(self.fields, self.schema, self.unnest)

    cdef int _open(self, Json* j, Batch* b) except -1:
        """Make ready for messages."""
        b.columns = <Column*> zeros(len(self.fields), sizeof(Column))
        b.n_columns = <int32_t> len(self.fields)
        memcpy(b.columns, self.columns, b.n_columns * sizeof(Column))
        memcpy(b.scratch.key, self.key, 16)
        j.run.nodes = self.nodes
        j.run.element = &self.nodes[self.element] if self.n_element_slots else NULL
        j.run.n_element_slots = self.n_element_slots
        j.n_slots = self.n_slots
        j.n_unnest = <int32_t> len(self.unnest)
        j.tests = self.tests
        j.n_tests = self.n_tests
        j.run.spans = <Span*> zeros(j.n_slots, sizeof(Span))
        j.run.elements = <Elements*> zeros(j.n_unnest, sizeof(Elements))
        j.run.ring = <const uint8_t**> zeros(self.n_ring, sizeof(void*))
        return 0


def _all(place):
    """A place and all below it."""
    yield place
    for inner in (*place.members.values(), *place.elements.values()):
        yield from _all(inner)


def _table_size(members):
    """How long the table of some names is: a power of two, at most half full."""
    return 1 << (2 * len(members) - 1).bit_length() if members else 0
