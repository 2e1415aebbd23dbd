"""Arrow arrays to cells and back; nothing here makes an object per row."""

import pyarrow as pa
import pyarrow.compute as pc

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.string cimport memset

from fin_sql._loops cimport all_finite, finite
from fin_sql.abi cimport MISSING, cell
from fin_sql.errors import ArgumentTypeError, KernelError
from fin_sql.spec import SQL_TYPES

cdef enum:
    RUN = 512                       # rows that are looked at together; a multiple of 8

cdef int32_t NO_SLOTS = 0        # what an empty array points at

cdef double POWERS[23]          # the powers of ten that a double holds exactly
for _k in range(23):
    POWERS[_k] = 10.0 ** _k

cdef int64_t EXACT = 1 << 53    # integers up to here are doubles

ARROW_TYPES = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("ns"),
    "text": pa.string(),
}


def arrow_type(out):
    """The Arrow type of a Spec's output."""
    if not out.fields:
        return ARROW_TYPES[out.type]
    struct = pa.struct([(leaf.name, ARROW_TYPES[leaf.type]) for leaf in out.fields])
    return pa.list_(struct) if out.many else struct


def as_array(data):
    """One pyarrow Array from whatever holds a column: Arrow, NumPy, pandas, Polars, a list."""
    if isinstance(data, pa.ChunkedArray):
        data = data.combine_chunks()
    elif not isinstance(data, pa.Array):
        if hasattr(data, "__arrow_c_stream__"):
            data = pa.chunked_array(data).combine_chunks()
        else:
            data = pa.array(data)
    if isinstance(data, pa.ExtensionArray):
        data = data.storage
    return data


cdef class Column:
    """An argument as cells of 8 bytes, read in place where the type allows it."""

    @property
    def address(self):
        """Where the cells lie; for tests that prove that nothing was copied."""
        return <uintptr_t> self.values

    def slice(self, Py_ssize_t begin):
        """The rows from `begin` on."""
        cdef Column rest = Column.__new__(Column)
        rest.values = self.values + begin
        rest.valid = self.valid
        rest.valid_offset = self.valid_offset + begin
        rest.n = self.n - begin
        rest.floating = self.floating
        rest.keep = self.keep
        return rest


cdef class Slots:
    """The slot of each row."""

    @staticmethod
    def single(Py_ssize_t n):
        """All rows of one key."""
        cdef Slots slots = Slots.__new__(Slots)
        slots.n = n
        slots.top = 1
        return slots

    @staticmethod
    def of(array, Py_ssize_t top):
        """Take an int32 Arrow array without NULLs, all below `top`."""
        cdef Slots slots = Slots.__new__(Slots)
        buffer = array.buffers()[1]
        slots.n = len(array)
        slots.top = top
        slots.keep = array
        slots.values = <const int32_t*> &NO_SLOTS
        if buffer is not None:
            slots.values = (<const int32_t*> <uintptr_t> buffer.address) + <Py_ssize_t> array.offset
        return slots

    def slice(self, Py_ssize_t begin, length=None):
        """The slots of some of the rows."""
        cdef Slots part = Slots.__new__(Slots)
        part.n = self.n - begin if length is None else length
        part.top = self.top
        part.keep = self.keep
        part.values = self.values + begin if self.values != NULL else NULL
        return part

    def filter(self, mask):
        """The slots where a boolean Arrow array is true."""
        return Slots.of(self.array().filter(mask), self.top)

    def array(self):
        """The slots as an int32 Arrow array."""
        if self.values == NULL:
            return pa.repeat(pa.scalar(0, pa.int32()), self.n)
        buffer = pa.foreign_buffer(<uintptr_t> self.values, self.n * 4, self)
        return pa.Array.from_buffers(pa.int32(), self.n, [None, buffer])

    def later(self, Py_ssize_t ahead):
        """For each row, the row of its slot that comes `ahead` rows later; NULL beyond the last."""
        cdef Py_ssize_t i, k
        cdef int32_t slot
        target = pa.allocate_buffer(self.n * 8)
        seen = pa.allocate_buffer(self.top * ahead * 8)
        counts = pa.allocate_buffer(self.top * 8)
        cdef int64_t* out = <int64_t*> <uintptr_t> target.address
        cdef int64_t* ring = <int64_t*> <uintptr_t> seen.address
        cdef int64_t* count = <int64_t*> <uintptr_t> counts.address
        memset(count, 0, self.top * 8)
        with nogil:
            for i in range(self.n):
                slot = self.values[i] if self.values != NULL else 0
                k = slot * ahead + count[slot] % ahead
                if count[slot] >= ahead:
                    out[ring[k]] = i
                ring[k] = i
                out[i] = self.n             # beyond the last row, unless a later one says more
                count[slot] += 1
        rows = pa.Array.from_buffers(pa.int64(), self.n, [None, target])
        return pc.if_else(pc.less(rows, self.n), rows, pa.scalar(None, pa.int64()))

    def __len__(self):
        return self.n

    def __getitem__(self, Py_ssize_t i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return self.values[i] if self.values != NULL else 0


def column(data, str kind, str who):
    """Read `data` as cells of `kind`: "float64", "int64", "bool" or "timestamp".

    Raises:
        ArgumentTypeError: a type that does not convert; `who` names kernel and argument.
        KernelError: an integer that the kind cannot hold exactly; with its row.
    """
    return cells(converted(data, kind, who), kind == "float64")


def converted(data, str kind, who):
    """The same as an Arrow array of int64 or double."""
    array = as_array(data)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.int64() if kind != "float64" else pa.float64())
    return CONVERSIONS[kind](array, who)


cdef Column cells(object array, bint floating):
    """Wrap an array of 8-byte values."""
    cdef Column result = Column.__new__(Column)
    valid, values = array.buffers()
    result.n = len(array)
    result.floating = floating
    result.keep = array
    if values is not None:
        result.values = (<const cell*> <uintptr_t> values.address) + <Py_ssize_t> array.offset
    if valid is not None and array.null_count:
        result.valid = <const uint8_t*> <uintptr_t> valid.address
        result.valid_offset = array.offset
    return result


def refuse(array, str kind, str who):
    """Raise ArgumentTypeError with the way out."""
    msg = (
        f"{who} must be {SQL_TYPES[kind]}, was {array.type}; "
        f"write CAST(... AS {SQL_TYPES[kind]}) if that is meant"
    )
    raise ArgumentTypeError(msg)


def to_float64(array, who):
    """Numbers to doubles, each the nearest there is; integers must be exact."""
    kind = array.type
    if pa.types.is_float64(kind):
        return array
    if pa.types.is_floating(kind):
        return array.cast(pa.float64())
    if pa.types.is_uint64(kind):
        array = to_int64(array, who)
    elif pa.types.is_integer(kind):
        if kind.bit_width < 64:
            return array.cast(pa.float64())
    elif pa.types.is_decimal(kind):
        return decimals(array)
    else:
        refuse(array, "float64", who)
    return exact_doubles(array, who)


cdef exact_doubles(object array, str who):
    cdef Column source = cells(array, False)
    cdef Py_ssize_t i, n = source.n, bad = -1
    target = pa.allocate_buffer(n * 8)
    cdef double* out = <double*> <uintptr_t> target.address
    with nogil:
        for i in range(n):
            out[i] = <double> source.values[i].i
            if source.values[i].i > EXACT or source.values[i].i < -EXACT:
                if bad < 0 and is_valid(source, i):
                    bad = i
    if bad >= 0:
        msg = (
            f"{who} must be a number that DOUBLE holds exactly (up to 2^53), was "
            f"{array[bad].as_py()} at row {bad}; write CAST(... AS DOUBLE) to accept the rounding"
        )
        raise KernelError(msg)
    return with_values(array, pa.float64(), target)


cdef inline bint is_valid(Column column, Py_ssize_t i) noexcept nogil:
    if column.valid == NULL:
        return True
    i += column.valid_offset
    return column.valid[i >> 3] >> (i & 7) & 1


cdef with_values(object array, object kind, object values):
    """An array of new values with the NULLs of another."""
    if not array.null_count:
        return pa.Array.from_buffers(kind, len(array), [None, values])
    # concat drops the offset, so that the bitmap begins at the first row
    plain = pa.concat_arrays([array]) if array.offset else array
    return pa.Array.from_buffers(kind, len(array), [plain.buffers()[0], values])


def decimals(array):
    """Decimals to doubles, correctly rounded (DataFusion's and pyarrow's casts are not)."""
    if array.type.precision > 38:
        return array.cast(pa.string()).cast(pa.float64())
    array = array.cast(pa.decimal128(38, array.type.scale))
    if array.offset:
        array = pa.concat_arrays([array])
    cdef int scale = array.type.scale
    cdef Py_ssize_t i, n = len(array)
    if not n:
        return pa.array([], pa.float64())
    if not -22 <= scale <= 22:
        return array.cast(pa.string()).cast(pa.float64())
    cdef const int64_t* words = <const int64_t*> <uintptr_t> array.buffers()[1].address
    target = pa.allocate_buffer(n * 8)
    hard = pa.allocate_buffer(n)
    cdef double* out = <double*> <uintptr_t> target.address
    cdef uint8_t* slow = <uint8_t*> <uintptr_t> hard.address
    cdef int64_t low
    cdef Py_ssize_t n_slow = 0
    with nogil:
        for i in range(n):
            low = words[2 * i]
            slow[i] = words[2 * i + 1] != low >> 63 or low > EXACT or low < -EXACT
            n_slow += slow[i]
            # One rounding of two exact operands is the correct rounding of the quotient.
            if scale >= 0:
                out[i] = <double> low / POWERS[scale]
            else:
                out[i] = <double> low * POWERS[-scale]
    result = with_values(array, pa.float64(), target)
    if n_slow:
        bits = pa.Array.from_buffers(pa.uint8(), n, [None, hard]).cast(pa.bool_())
        texts = array.filter(bits).cast(pa.string()).cast(pa.float64())
        result = pc.replace_with_mask(result, bits, texts)
    return result


def to_int64(array, who):
    """Integers to BIGINT."""
    if pa.types.is_int64(array.type):
        return array
    if not pa.types.is_integer(array.type):
        refuse(array, "int64", who)
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise KernelError(f"{who} must be BIGINT: {error}") from None


def to_bool(array, who):
    """Booleans to 0 and 1."""
    if not pa.types.is_boolean(array.type):
        refuse(array, "bool", who)
    return array.cast(pa.int64())


def to_timestamp(array, who):
    """Times of any unit and zone, dates and BIGINT nanoseconds to ns since 1970 UTC."""
    kind = array.type
    if pa.types.is_integer(kind):
        return to_int64(array, who)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        refuse(array, "timestamp", who)
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    try:
        return array.cast(pa.timestamp("ns", zone)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise KernelError(f"{who} must lie within the years 1677 to 2262: {error}") from None


CONVERSIONS = {
    "float64": to_float64,
    "int64": to_int64,
    "bool": to_bool,
    "timestamp": to_timestamp,
}


def build(out, list values, emitted, Py_ssize_t n, Py_ssize_t nulls):
    """Make the Arrow array of a Spec's output.

    Args:
        out: the Out.
        values: a buffer of cells for each leaf.
        emitted: the validity bitmap of the rows, as a buffer.
        n: rows.
        nulls: how many of them are NULL.
    """
    if not out.fields:
        return leaf_array(out, values[0], n, emitted if nulls else None, nulls)
    children = []
    for leaf, cells_of_leaf in zip(out.fields, values):
        bitmap, missing = leaf_bitmap(leaf.type == "float64", cells_of_leaf, n)
        children.append(leaf_array(leaf, cells_of_leaf, n, bitmap if missing else None, missing))
    kind = arrow_type(out)
    validity = emitted if nulls else None
    return pa.Array.from_buffers(kind, n, [validity], nulls, children=children)


cdef leaf_bitmap(bint floating, object buffer, Py_ssize_t n):
    """The validity of a STRUCT's field, and its NULLs: NaN and MISSING are NULL."""
    cdef const cell* values = <const cell*> <uintptr_t> buffer.address
    cdef Py_ssize_t begin, i, m, missing = 0
    cdef bint there
    cdef uint8_t byte = 0
    if floating and all_finite(values, n):
        return None, 0
    bitmap = pa.allocate_buffer((n + 7) // 8)
    cdef uint8_t* bits = <uint8_t*> <uintptr_t> bitmap.address
    with nogil:
        begin = 0
        while begin < n:
            m = min(RUN, n - begin)
            if floating and all_finite(values + begin, m):
                memset(bits + (begin >> 3), 0xFF, (m + 7) >> 3)
                m = begin + m
            else:
                m = begin + m
                for i in range(begin, m):
                    there = finite(values[i]) if floating else values[i].i != MISSING
                    missing += not there
                    byte |= there << (i & 7)
                    if i & 7 == 7 or i == n - 1:
                        bits[i >> 3] = byte
                        byte = 0
            begin = m
    return bitmap, missing


cdef leaf_array(object leaf, object buffer, Py_ssize_t n, object bitmap, Py_ssize_t nulls):
    if leaf.type in ("float64", "int64", "timestamp"):
        return pa.Array.from_buffers(ARROW_TYPES[leaf.type], n, [bitmap, buffer], nulls)
    numbers = pa.Array.from_buffers(pa.int64(), n, [bitmap, buffer], nulls)
    if leaf.type == "bool":
        return numbers.cast(pa.bool_())
    return pa.array(leaf.choices, pa.string()).take(numbers)
