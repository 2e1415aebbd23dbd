"""One call of decode, and the Arrow rows that become of it."""

import pyarrow as pa

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc

from fin_sql.catalog._batch cimport Message, release_batch
from fin_sql.catalog._cells cimport (
    BOOLEAN, Column, DATE, DECIMAL, DOUBLE, ENCODED, EPOCH, FLOAT, INTEGER, ISO, TEXT, TIME,
    UNSAID, pack,
)
from fin_sql.catalog._scan cimport (
    BAD_BOOLEAN, BAD_BRANCH, BAD_ESCAPE, BAD_LENGTH, BAD_NUMBER, BAD_UTF8, BATCH_FULL,
    BYTE_ORDER_MARK, CONTROL_IN_STRING, EMPTY, HALF_PAIR, IS_NESTED, IS_NULL, MAX_DEPTH, NONE,
    NO_ARRAY, NO_BOOLEAN, NO_FORMAT, NO_FRAME, NO_MEMORY, NO_NUMBER, NO_TEXT, NO_TIME, NOT_WHOLE,
    OUT_OF_RANGE, OUT_OF_YEARS, TOMBSTONE, TOO_DEEP, TOO_LONG, TOO_MANY_DIGITS, TOO_MUCH_TEXT,
    UNKNOWN_SCHEMA, WANTS_COLON, WANTS_COMMA_OR_BRACE, WANTS_COMMA_OR_BRACKET, WANTS_DIGIT,
    WANTS_END, WANTS_MORE, WANTS_NAME, WANTS_VALUE, Wrong,
)
from fin_sql.catalog.rows import Bad, Decoded, sql_type
from fin_sql.errors import ArgumentTypeError, SourceError

cdef dict WORDS = {                 # code, what was required
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
    <int> NO_TEXT: ("value", "a text in UTF-8, or a decimal of up to 128 bits, was required"),
    <int> WANTS_MORE: ("syntax", "more bytes were required"),
    <int> BAD_NUMBER: ("syntax", "an int of 32 bits or a long of 64 bits was required"),
    <int> BAD_LENGTH: ("syntax", "the length of what follows was required"),
    <int> BAD_BOOLEAN: ("syntax", "the byte 0 or 1 was required"),
    <int> BAD_BRANCH: ("syntax", "the number of a branch or a symbol was required"),
    <int> NO_FRAME: ("schema", "the byte 0 and the number of a schema were required"),
    <int> UNKNOWN_SCHEMA: ("schema", ""),
}

cdef dict NS = {"s": 10 ** 9, "ms": 10 ** 6, "us": 10 ** 3, "ns": 1}


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


cdef class Call:
    """What one call of decode holds; it is freed with it."""

    def __dealloc__(self):
        release_batch(&self.batch)
        free(self.messages)

    cdef int take_up(self, object messages) except -1:
        """Look up where the bytes of the messages lie."""
        cdef Py_ssize_t i
        self.held = tuple(messages)
        self.n = len(self.held)
        self.messages = <Message*> zeros(self.n, sizeof(Message))
        for i in range(self.n):
            one = self.held[i]
            if isinstance(one, bytes):
                self.messages[i].bytes = <const uint8_t*> PyBytes_AS_STRING(one)
                self.messages[i].n = PyBytes_GET_SIZE(one)
            elif one is not None:
                msg = f"a message must be bytes or None, message {i} was {type(one).__name__}"
                raise ArgumentTypeError(msg)
        return 0

    cdef int check(self, Wrong wrong, int64_t message) except -1:
        """Raise what stands for the whole call."""
        if wrong == NO_MEMORY:
            raise MemoryError
        if wrong == BATCH_FULL:
            msg = (
                f"message {message}: the rows of one call outgrow 2 GB of text in a column, or "
                "2^31 rows; decode fewer messages at a time"
            )
            raise SourceError(msg)
        return 0

    cdef object decoded(self, tuple fields, object schema, tuple unnest):
        """Hand over what was written."""
        cdef int64_t n = self.batch.rows
        cdef int k
        bad = self.bad(fields, unnest)
        source = buffer_of(<void**> &self.batch.source, n * 4)
        path = buffer_of(<void**> &self.batch.unnest, n * 4)
        kinds = schema.types
        arrays = [self.array(&self.batch.columns[k], kinds[k]) for k in range(len(kinds))]
        return Decoded(
            pa.RecordBatch.from_arrays(arrays, schema=schema),
            pa.Array.from_buffers(pa.int32(), n, [None, source]),
            pa.Array.from_buffers(pa.int32(), n, [None, path]),
            bad, self.batch.passed, self.batch.empty,
        )

    cdef object array(self, Column* c, object kind):
        """The rows of a column as an Arrow array."""
        cdef int64_t nulls, n = self.batch.rows
        if n == 0:
            return pa.array([], kind)
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
        values = _texts(c, c.texts.n, [None], 0) if c.texts.n else pa.array([], pa.string())
        return pa.DictionaryArray.from_arrays(codes, values, safe=False)

    cdef object bad(self, tuple fields, tuple unnest):
        """What is told of the bad messages."""
        cdef int64_t k
        found = [self.batch.bad[k] for k in range(self.batch.n_bad)]
        return Bad(
            pa.array([one["message"] for one in found], pa.int32()),
            pa.array([WORDS[one["wrong"]][0] for one in found], pa.string()),
            pa.array([self.reason(one, self.held[one["message"]], fields, unnest) for one in found],
                     pa.string()),
        )

    cdef str reason(self, dict bad, bytes message, tuple fields, tuple unnest):
        """A sentence: the column, the byte, what was required and what was there."""
        wanted = WORDS[bad["wrong"]][1]
        at, length, column = bad["at"], bad["length"], bad["column"]
        if bad["wrong"] == UNKNOWN_SCHEMA:
            return self.refused[int.from_bytes(message[1:5], "big")]
        who = []
        if column >= 0:
            one = fields[column]
            who.append(f"column '{one.name}' ({sql_type(one.type)})")
        elif column != NONE:
            who.append(f"UNNEST '{unnest[-2 - column]}'")
        if at == NONE:
            if column >= 0:
                wanted = f"{wanted}, and the message has none at {fields[column].path}"
            return f"{' '.join(who)}: {wanted}" if who else wanted
        who.append(f"at byte {at}")
        if at == len(message):
            was = "the message ends"
            if bad["wrong"] == CONTROL_IN_STRING:
                wanted = "a closing quote was required"
        else:
            piece = message[at:at + min(length, 40)]
            shown = piece if self.binary else piece.decode("utf-8", "replace")
            was = f"was {shown!r}" + (" ..." if length > 40 else "")
        return f"{' '.join(who)}: {wanted}, {was}"


cdef void* zeros(int64_t n, int64_t size) except NULL:
    cdef void* block = calloc(max(n, 1), size)
    if block == NULL:
        raise MemoryError
    return block


cdef Column* lay_columns(tuple fields, list slots, object encoded) except NULL:
    """Say of each column what it is made of, and which slot its values are noted in."""
    cdef Column* c
    cdef Column* columns = <Column*> zeros(len(fields), sizeof(Column))
    for k, one in enumerate(fields):
        c = &columns[<int> k]
        kind = one.type
        c.of_element = one.place.origin == "@"
        c.slot = slots[k]
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
    return columns


cdef object schema_of(tuple fields, object encoded):
    """The schema of the rows."""
    return pa.schema([
        pa.field(one.name, pa.dictionary(pa.int32(), one.type) if one.name in encoded else one.type,
                 nullable=not one.not_null)
        for one in fields
    ])


cdef _texts(Column* c, int64_t n, list buffers, int64_t nulls):
    cdef int64_t size = c.texts.ends[n]
    buffers.append(buffer_of(<void**> &c.texts.ends, (n + 1) * 4))
    buffers.append(buffer_of(<void**> &c.texts.data, size))
    return pa.Array.from_buffers(pa.string(), n, buffers, nulls)
