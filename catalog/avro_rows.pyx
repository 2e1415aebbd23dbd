"""Avro messages to Arrow rows: no object per row or field, no GIL while they are read.

A message is one record in the binary encoding of Avro 1.12, alone or behind the frame of a schema
registry (the byte 0, then the number of the writer's schema in four bytes). Columns are found by
the names of the writer's record; a union has the value of its branch. What a column takes is what
it takes of JSON (see json_rows), with these kinds of values beside:

- A decimal is exact. A float or double counts as the shortest number that reads as the same.
- A date, and a timestamp of millis, micros or nanos, with a zone or local, are times by
  themselves: the format of the column is for plain numbers and texts. As VARCHAR they are ISO 8601,
  as BIGINT the count that was written. Other logical types have no meaning here.
- An enum is the text of its symbol; bytes and fixed are texts if they are UTF-8.
- VARCHAR takes a record, an array or a map as JSON. Other columns do not, and no path leads
  into an array or a map.

A member that the writer's schema does not have is NULL. Texts that nobody wants are passed over
unread; all lengths and numbers are checked.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fin_sql.catalog._avro cimport (
    ARRAY_TYPE, BOOLEAN_TYPE, BYTES_TYPE, DAY, DECIMAL_NUMBER, DOUBLE_TYPE, ENUM_TYPE, FIXED_TYPE,
    FLOAT_TYPE, INSTANT, INT_TYPE, LOCAL_TIME, MAP_TYPE, NULL_TYPE, Note, PLAIN, RECORD_TYPE,
    Reader, STRING_TYPE, Symbol, Type, UNION_TYPE, pass_value,
)
from fin_sql.catalog._avro_cells cimport put_avro
from fin_sql.catalog._batch cimport Batch, Message, complain, load_message, room_for_rows
from fin_sql.catalog._cells cimport Column
from fin_sql.catalog._numbers cimport fill_fives
from fin_sql.catalog._scan cimport (
    FINE, NONE, NO_FRAME, NO_MEMORY, PADDING, UNKNOWN_SCHEMA, WANTS_END, Wrong, unlikely,
)
from fin_sql.catalog._texts cimport Sink
from fin_sql.catalog.arrow_rows cimport Call, lay_columns, schema_of, zeros
from fin_sql.catalog.avro_schema import Place, read_schema, types_of
from fin_sql.catalog.rows import check_fields
from fin_sql.errors import SqlError

fill_fives()

cdef enum:
    FRAME = 5                       # bytes before a record that comes from a schema registry

cdef dict WHATS = {
    "null": <int> NULL_TYPE, "boolean": <int> BOOLEAN_TYPE, "int": <int> INT_TYPE,
    "long": <int> INT_TYPE, "float": <int> FLOAT_TYPE, "double": <int> DOUBLE_TYPE,
    "bytes": <int> BYTES_TYPE, "string": <int> STRING_TYPE, "fixed": <int> FIXED_TYPE,
    "enum": <int> ENUM_TYPE, "record": <int> RECORD_TYPE, "union": <int> UNION_TYPE,
    "array": <int> ARRAY_TYPE, "map": <int> MAP_TYPE,
}
cdef dict LOGICALS = {
    "": <int> PLAIN, "decimal": <int> DECIMAL_NUMBER, "date": <int> DAY,
    "timestamp": <int> INSTANT,
}
cdef dict SIZES = {"float": 4, "double": 8}


cdef class _Schema:
    """A writer's schema, laid out for the walk; its first type is the message."""

    cdef Type* types
    cdef int32_t* children
    cdef Symbol* symbols
    cdef list keep                  # the texts of the symbols

    def __cinit__(self, root):
        cdef Type* type
        cdef Symbol* symbol
        cdef int32_t* child
        cdef bytes text
        every = types_of(root)
        number = {id(one): k for k, one in enumerate(every)}
        self.types = <Type*> zeros(len(every), sizeof(Type))
        self.children = child = <int32_t*> zeros(sum(len(one.children) for one in every),
                                                 sizeof(int32_t))
        self.symbols = symbol = <Symbol*> zeros(sum(len(one.names) for one in every),
                                                sizeof(Symbol))
        self.keep = []
        for k, one in enumerate(every):
            type = &self.types[<int> k]
            type.what = WHATS[one.what]
            type.logical = LOCAL_TIME if one.local else LOGICALS[one.logical]
            type.small = one.what == "int"
            type.empty, type.noted, type.slot = one.empty, one.noted, one.slot
            type.scale, type.unit = one.scale, one.unit
            type.size = SIZES.get(one.what, one.size)
            type.n = <int32_t> max(len(one.children), len(one.names))
            type.children, type.names = child, symbol
            for inner in one.children:
                child[0] = number[id(inner)]
                child += 1
            for name in one.names:
                text = name.encode() + bytes(PADDING)
                self.keep.append(text)
                symbol.text = <const uint8_t*> PyBytes_AS_STRING(text)
                symbol.n = len(text) - PADDING
                symbol += 1

    def __dealloc__(self):
        free(self.types)
        free(self.children)
        free(self.symbols)


cdef class _AvroCall(Call):
    """A call, and what the walk over its messages needs."""

    cdef Reader reader
    cdef Sink sink
    cdef const Type** schemas       # of each message; NULL: it is refused

    def __dealloc__(self):
        free(self.reader.notes)
        free(self.sink.data)
        free(self.schemas)


cdef Wrong take(Batch* b, Reader* r, Sink* sink, int32_t n_slots, const Message* m,
                const Type* schema, int64_t frame, int64_t message) noexcept nogil:
    """Decode one message; anything but FINE stands for the whole call."""
    cdef bint loaded
    cdef const uint8_t* p
    cdef int32_t k
    cdef Note* note
    cdef int64_t row = b.rows
    cdef Wrong wrong = load_message(b, m, message, &loaded)
    if not loaded:
        return wrong
    if frame:
        if m.n < frame or b.buffer[0] != 0:
            return complain(b, message, NO_FRAME, NONE, 0, min(m.n, frame))
        if schema == NULL:
            return complain(b, message, UNKNOWN_SCHEMA, NONE, NONE, 0)
    for k in range(n_slots):
        r.notes[k].type = NONE
    r.types = schema
    r.end = b.buffer + m.n
    p = pass_value(r, schema, b.buffer + frame, 0)
    if unlikely(p == NULL):
        return complain(b, message, r.fault.wrong, NONE, r.fault.at - b.buffer, 1)
    if unlikely(p != r.end):
        return complain(b, message, WANTS_END, NONE, p - b.buffer, 1)
    if not room_for_rows(b, row + 1):
        return NO_MEMORY
    for k in range(b.n_columns):
        note = &r.notes[b.columns[k].slot]
        wrong = put_avro(&b.columns[k], r, note, row, &b.scratch, sink)
        if unlikely(wrong != FINE):
            if note.type == NONE:
                return complain(b, message, wrong, k, NONE, 0)
            return complain(b, message, wrong, k, note.begin - b.buffer, note.end - note.begin)
    b.source[row] = <int32_t> message
    b.unnest[row] = NONE
    b.rows += 1
    return FINE


cdef class AvroDecoder:
    """Turns Avro messages into rows; it may be used by several threads at a time.

    Args:
        fields: the columns; their paths are `$` and names of members.
        schema: the writer's schema of all messages, as JSON.
        schemas: instead of it, the schemas by their numbers in a registry, for messages that begin
            with such a number. It is asked once for each number that occurs; one that it does not
            have makes its messages bad, and is asked for again by the next call.
        encoded: VARCHAR columns to be given as dictionaries.

    Raises:
        SqlError: a schema, a path or a combination that is not possible.
    """

    cdef Column* columns
    cdef uint64_t[2] key
    cdef int32_t n_slots
    cdef _Schema one                # None: the messages tell
    cdef object schemas
    cdef dict known                 # by number: _Schema, or why it cannot be used
    cdef object places
    cdef readonly tuple fields
    cdef readonly object schema

    def __init__(self, fields, schema=None, schemas=None, encoded=()):
        self.fields = tuple(fields)
        encoded = frozenset(encoded)
        check_fields(self.fields, (), encoded)
        if (schema is None) == (schemas is None):
            raise SqlError("an Avro decoder must have either a schema or schemas by number")
        self.places = Place()
        slots = []
        for field in self.fields:
            steps = field.place.steps
            if any(isinstance(step, int) for step in steps):
                msg = (
                    f"column '{field.name}': the path {field.path!r} counts elements, and a path "
                    "of Avro names members alone; take the array as VARCHAR"
                )
                raise SqlError(msg)
            place = self.places.at(steps)
            if place.slot == NONE:
                place.slot = self.n_slots
                self.n_slots += 1
            slots.append(place.slot)
        self.schema = schema_of(self.fields, encoded)
        self.columns = lay_columns(self.fields, slots, encoded)
        self.schemas, self.known = schemas, {}
        memcpy(self.key, PyBytes_AS_STRING(os.urandom(16)), 16)
        if schema is not None:
            self.one = _Schema(read_schema(schema, self.places, "schema"))

    def __dealloc__(self):
        free(self.columns)

    def decode(self, messages):
        """Decode some messages; what is wrong with one of them costs that one alone.

        Args:
            messages: bytes; None is a tombstone, which is a bad message.

        Raises:
            ArgumentTypeError: a message that is neither bytes nor None.
            SourceError: the texts of a column, or the rows, outgrow one Arrow batch.
        """
        cdef _AvroCall call = _AvroCall.__new__(_AvroCall)
        cdef Batch* b = &call.batch
        cdef Py_ssize_t i = 0
        cdef Wrong wrong = FINE
        cdef int64_t frame = 0 if self.one is not None else FRAME
        call.take_up(messages)
        call.binary = True
        call.refused = {}
        call.reader.notes = <Note*> zeros(self.n_slots, sizeof(Note))
        call.schemas = <const Type**> zeros(call.n, sizeof(void*))
        held = self._find_schemas(call)
        b.columns = <Column*> zeros(len(self.fields), sizeof(Column))
        b.n_columns = <int32_t> len(self.fields)
        memcpy(b.columns, self.columns, b.n_columns * sizeof(Column))
        memcpy(b.scratch.key, self.key, 16)
        with nogil:
            for i in range(call.n):
                wrong = take(b, &call.reader, &call.sink, self.n_slots, &call.messages[i],
                             call.schemas[i], frame, i)
                if wrong != FINE:
                    break
        call.check(wrong, i)
        del held
        return call.decoded(self.fields, self.schema, ())

    cdef dict _find_schemas(self, _AvroCall call):
        """Look up the schema of each message; returns those that must live as long as the call."""
        cdef Py_ssize_t i
        cdef const uint8_t* p
        cdef uint32_t number
        cdef int64_t last = -1
        cdef const Type* types = NULL
        found = {}
        if self.one is not None:
            types = self.one.types
        for i in range(call.n):
            if self.one is None and call.messages[i].n >= FRAME:
                p = call.messages[i].bytes
                number = <uint32_t> p[1] << 24 | <uint32_t> p[2] << 16 | <uint32_t> p[3] << 8 | p[4]
                if p[0] == 0 and number != last:
                    last = number
                    if number not in found:
                        found[number] = self._schema_of(number)
                    types = NULL
                    if isinstance(found[number], _Schema):
                        types = (<_Schema> found[number]).types
                    else:
                        call.refused[number] = found[number]
            call.schemas[i] = types
        return found

    cdef object _schema_of(self, uint32_t number):
        """The schema of a number, or why it cannot be used."""
        if number in self.known:
            return self.known[number]
        try:
            text = self.schemas[number]
        except KeyError:
            return f"the schema {number} is not known; register it, or give it to the decoder"
        try:
            found = _Schema(read_schema(text, self.places, f"schema {number}"))
        except SqlError as error:
            found = str(error)
        self.known[number] = found
        return found
