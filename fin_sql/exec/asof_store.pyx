"""Columns of right rows that are held for an ASOF join, and taken from by the number of a row."""

import pyarrow as pa
import pyarrow.compute as pc

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset


def store_of(kind):
    """An empty store for values of a type."""
    return FixedStore(kind) if is_fixed(kind) else ArrowStore(kind)


class ArrowStore:
    """Values of any type, as arrays.

    Args:
        kind: their Arrow type.
    """

    def __init__(self, kind):
        self._kind = kind
        self._parts = []            # each longer than twice the one behind it ...
        self._joined = 0            # ... as far as this one

    def __len__(self):
        return sum(map(len, self._parts))

    def append(self, array):
        """Take the values of an array."""
        self._parts.append(array)

    def _join(self):
        """Make few arrays of many, so that a value is copied a few times at most."""
        parts, first = self._parts, self._joined
        rows = sum(map(len, parts[first:]))
        while first and len(parts[first - 1]) <= 2 * rows:
            first -= 1
            rows += len(parts[first])
        if len(parts) - first > 1:
            parts[first:] = [one_array(parts[first:])]
        self._joined = len(parts)

    def take(self, rows, Py_ssize_t begin, Py_ssize_t end):
        """The values of rows, given as an int64 buffer; a negative row gives NULL."""
        self._join()
        at = pa.Array.from_buffers(pa.int64(), end - begin, [None, rows], offset=begin)
        at = pc.if_else(pc.less(at, 0), None, at)
        if len(self._parts) == 1:
            return self._parts[0].take(at)
        chunked = pa.chunked_array(self._parts or [pa.nulls(0, self._kind)])
        if pa.types.is_dictionary(chunked.type):
            chunked = chunked.unify_dictionaries()
        return one_array(chunked.take(at).chunks or [pa.nulls(0, chunked.type)])

    def one(self, Py_ssize_t row):
        """The value of a row, as Python has it."""
        self._join()
        for part in self._parts:
            if row < len(part):
                return part[row].as_py()
            row -= len(part)
        raise IndexError(row)

    def keep(self, rows):
        """Let go of all values but those of some rows, in their order."""
        self._parts = [self.take(rows.buffers()[1], 0, len(rows))]
        self._joined = 1

    @property
    def bytes_held(self):
        """Bytes of the values."""
        return sum(part.nbytes for part in self._parts)


def one_array(parts):
    """Arrays one after the other; dictionaries are made one."""
    if len(parts) == 1:
        return parts[0]
    chunked = pa.chunked_array(parts)
    if pa.types.is_dictionary(chunked.type):
        chunked = chunked.unify_dictionaries()
    return pa.concat_arrays(chunked.chunks)


def is_fixed(kind):
    """Whether the values of a type are 1, 2, 4, 8 or 16 bytes wide."""
    if pa.types.is_dictionary(kind) or pa.types.is_nested(kind) or pa.types.is_null(kind):
        return False
    try:
        return kind.bit_width in (8, 16, 32, 64, 128)
    except ValueError:
        return False


cdef class FixedStore:
    """Values of one width, one after the other, and which of them are there.

    Args:
        kind: their Arrow type.
    """

    cdef object kind
    cdef Py_ssize_t width, n, room
    cdef uint8_t* values
    cdef uint8_t* valid         # a byte each; NULL while none is missing

    def __cinit__(self, kind):
        self.kind = kind
        self.width = kind.bit_width // 8

    def __dealloc__(self):
        free(self.values)
        free(self.valid)

    def __len__(self):
        return self.n

    cdef int reserve(self, Py_ssize_t wanted) except -1:
        cdef uint8_t* larger
        if wanted <= self.room:
            return 0
        wanted = max(wanted, 2 * self.room, 1024)
        larger = <uint8_t*> realloc(self.values, wanted * self.width)
        if larger == NULL:
            raise MemoryError
        self.values = larger
        if self.valid != NULL:
            larger = <uint8_t*> realloc(self.valid, wanted)
            if larger == NULL:
                raise MemoryError
            self.valid = larger
        self.room = wanted
        return 0

    def append(self, array):
        """Take the values of an array."""
        cdef Py_ssize_t i, n = len(array), offset = array.offset
        cdef const uint8_t* bits
        if n == 0:
            return
        self.reserve(self.n + n)
        valid, data = array.buffers()
        memcpy(self.values + self.n * self.width,
               (<const uint8_t*> <uintptr_t> data.address) + offset * self.width, n * self.width)
        if array.null_count and self.valid == NULL:
            self.valid = <uint8_t*> realloc(NULL, self.room)
            if self.valid == NULL:
                raise MemoryError
            memset(self.valid, 1, self.n)
        if self.valid != NULL:
            memset(self.valid + self.n, 1, n)
            if array.null_count:
                bits = <const uint8_t*> <uintptr_t> valid.address
                for i in range(n):
                    self.valid[self.n + i] = bits[(offset + i) >> 3] >> ((offset + i) & 7) & 1
        self.n += n

    def take(self, rows, Py_ssize_t begin, Py_ssize_t end):
        """The values of rows, given as an int64 buffer; a negative row gives NULL."""
        cdef Py_ssize_t i, n = end - begin, missing = 0
        cdef const int64_t* at = (<const int64_t*> <uintptr_t> rows.address) + begin
        data = pa.allocate_buffer(n * self.width)
        flags = pa.allocate_buffer((n + 7) // 8)
        cdef uint8_t* out = <uint8_t*> <uintptr_t> data.address
        cdef uint8_t* bits = <uint8_t*> <uintptr_t> flags.address
        with nogil:
            missing = self.mark(at, n, bits)
            if self.width == 8:
                gather[int64_t](<const int64_t*> self.values, at, n, <int64_t*> out)
            elif self.width == 4:
                gather[int32_t](<const int32_t*> self.values, at, n, <int32_t*> out)
            else:
                for i in range(n):
                    if at[i] >= 0:
                        memcpy(out + i * self.width, self.values + at[i] * self.width, self.width)
                    else:
                        memset(out + i * self.width, 0, self.width)
        return pa.Array.from_buffers(self.kind, n, [flags if missing else None, data], missing)

    def one(self, int64_t row):
        """The value of a row, as Python has it."""
        if self.valid != NULL and not self.valid[row]:
            return None
        data = pa.py_buffer((<char*> self.values)[row * self.width:(row + 1) * self.width])
        return pa.Array.from_buffers(self.kind, 1, [None, data])[0].as_py()

    cdef Py_ssize_t mark(self, const int64_t* at, Py_ssize_t n, uint8_t* bits) noexcept nogil:
        """Write which rows are there; returns how many are not."""
        cdef Py_ssize_t i, k, missing = 0
        cdef uint8_t byte, there
        for i in range(0, n, 8):
            byte = 0
            for k in range(min(8, n - i)):
                there = at[i + k] >= 0
                if there and self.valid != NULL:
                    there = self.valid[at[i + k]]
                byte |= there << k
                missing += not there
            bits[i >> 3] = byte
        return missing

    def keep(self, rows):
        """Let go of all values but those of some rows, given as an int64 array, in their order."""
        cdef Py_ssize_t n = len(rows)
        kept = self.take(rows.buffers()[1], 0, n)
        self.n = 0
        if 4 * n < self.room:
            free(self.values)
            free(self.valid)
            self.values = self.valid = NULL
            self.room = 0
        self.append(kept)

    @property
    def bytes_held(self):
        """Bytes of the values."""
        return self.room * (self.width + (self.valid != NULL))


ctypedef fused Word:
    int32_t
    int64_t


cdef inline void gather(const Word* values, const int64_t* at, Py_ssize_t n,
                        Word* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = values[at[i]] if at[i] >= 0 else 0
