"""Keys interned by value: they outlive batches, dictionaries and restarts."""

import pyarrow as pa
import xxhash

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from fin_sql.columns cimport Slots
from fin_sql.columns import as_array
from fin_sql.errors import ArgumentTypeError, KernelError
from fin_sql.exec._encode cimport (
    BYTES, DOUBLE, LONG_BYTES, NOTHING, TAG_BINARY, TAG_BOOL, TAG_CLOCK, TAG_DATE, TAG_DECIMAL,
    TAG_DOUBLE, TAG_INT, TAG_NULL, TAG_TEXT, TAG_TIME, UNSIGNED, WIDE, WORD,
    Source, encode, hash_bytes, present, room_for, same_bytes, text_at,
)

KEY_GROUPS = 1024

cdef enum:
    MAX_COLUMNS = 16


cdef class Keys:
    """A slot for each distinct key, by value; NULLs are equal to each other.

    The bytes of a key are type-tagged and order-preserving, and do not depend on the width of
    the type or on a dictionary's codes.
    """

    def __cinit__(self):
        self.grow()

    def __dealloc__(self):
        free(self.table)
        free(self.known)
        free(self.arena)
        free(self.spare)
        free(self.fresh)

    cdef int grow(self) except -1 nogil:
        """Double the table and what is known of the slots."""
        cdef Py_ssize_t size = 2 * (self.mask + 1) if self.mask else 64
        cdef Py_ssize_t i, at
        cdef Entry* table = <Entry*> malloc(size * sizeof(Entry))
        cdef Known* known = <Known*> realloc(self.known, (size // 2) * sizeof(Known))
        cdef int32_t* spare = <int32_t*> realloc(self.spare, (size // 2) * sizeof(int32_t))
        cdef int32_t* fresh = <int32_t*> realloc(self.fresh, (size // 2) * sizeof(int32_t))
        self.known = known if known != NULL else self.known
        self.spare = spare if spare != NULL else self.spare
        self.fresh = fresh if fresh != NULL else self.fresh
        if table == NULL or known == NULL or spare == NULL or fresh == NULL:
            free(table)
            raise MemoryError
        memset(table, 0xFF, size * sizeof(Entry))
        for i in range(self.n_slots):
            if known[i].length >= 0:
                at = known[i].hashed & (size - 1)
                while table[at].slot >= 0:
                    at = (at + 1) & (size - 1)
                table[at].slot = <int32_t> i
                table[at].mark = <uint32_t> (known[i].hashed >> 32)
        free(self.table)
        self.table = table
        self.mask = size - 1
        self.capacity = size // 2
        return 0

    cdef int32_t find(self, uint8_t tag, const uint8_t* rest, int64_t n) except -1 nogil:
        """The slot of a key, a new one where it was not known.

        A key comes as its first byte and the rest, so that a text is looked up where it lies.
        """
        cdef uint64_t hashed = hash_bytes(rest, n) + tag
        cdef uint32_t mark = <uint32_t> (hashed >> 32)
        cdef Py_ssize_t at = hashed & self.mask
        cdef Entry entry = self.table[at]
        cdef Known* known
        while entry.slot >= 0:
            if entry.mark == mark:
                known = &self.known[entry.slot]
                if known.length == n and known.tag == tag:
                    if same_bytes(self.arena + known.at, rest, n):
                        return entry.slot
            at = (at + 1) & self.mask
            entry = self.table[at]
        return self.add(tag, rest, n, hashed)

    cdef int32_t add(self, uint8_t tag, const uint8_t* rest, int64_t n,
                     uint64_t hashed) except -1 nogil:
        cdef int32_t slot
        cdef int64_t size
        cdef uint8_t* arena
        cdef Py_ssize_t at
        if self.n_spare == 0 and self.n_slots == self.capacity:
            self.grow()
        if self.arena_used + n > self.arena_size:
            size = max(2 * self.arena_size, self.arena_used + n, 4096)
            arena = <uint8_t*> realloc(self.arena, size)
            if arena == NULL:
                raise MemoryError
            self.arena = arena
            self.arena_size = size
        if self.n_spare:
            self.n_spare -= 1
            slot = self.spare[self.n_spare]
        else:
            slot = <int32_t> self.n_slots
            self.n_slots += 1
        if n:
            memcpy(self.arena + self.arena_used, rest, n)
        self.known[slot] = Known(hashed=hashed, at=self.arena_used, length=<int32_t> n, tag=tag,
                                 group=-1, tick=self.tick, changed=0)
        self.arena_used += n
        self.n_keys += 1
        if self.n_fresh < self.capacity:
            self.fresh[self.n_fresh] = slot
            self.n_fresh += 1
        at = hashed & self.mask
        while self.table[at].slot >= 0:
            at = (at + 1) & self.mask
        self.table[at].slot = slot
        self.table[at].mark = <uint32_t> (hashed >> 32)
        return slot

    cdef int forget(self, int32_t slot) except -1 nogil:
        """Take a key out; its slot is used again."""
        cdef Py_ssize_t hole, at, home
        cdef Known* known = &self.known[slot]
        if known.length < 0:
            return 0
        hole = known.hashed & self.mask
        while self.table[hole].slot != slot:
            hole = (hole + 1) & self.mask
        at = hole
        while True:             # close the gap, so that no probe ends before its key
            at = (at + 1) & self.mask
            if self.table[at].slot < 0:
                break
            home = self.known[self.table[at].slot].hashed & self.mask
            if (at - home) & self.mask >= (at - hole) & self.mask:
                self.table[hole] = self.table[at]
                hole = at
        self.table[hole].slot = -1
        self.arena_garbage += known.length
        known.length = -1
        known.changed = 0
        self.spare[self.n_spare] = slot
        self.n_spare += 1
        self.n_keys -= 1
        return 0

    def intern(self, list columns, Py_ssize_t n):
        """The slots of n rows whose key columns these are; without columns all are one key.

        Raises:
            ArgumentTypeError: a key column of a nested type.
        """
        arrays = [as_array(column) for column in columns]
        if not arrays:
            self.find(0, NULL, 0)
            return Slots.single(n)
        if len(arrays) == 1 and len(arrays[0]) == n and pa.types.is_dictionary(arrays[0].type):
            return self._intern_dictionary(arrays[0])
        return self._intern_rows(arrays, n)

    cdef Slots _intern_dictionary(self, object array):
        """Look each value of the dictionary up once, then the codes; unused values are no keys."""
        cdef Py_ssize_t i, n = len(array), n_values = len(array.dictionary)
        cdef int32_t nothing = -1
        cdef bint identity
        codes = array.indices
        if codes.type != pa.int32():
            codes = codes.cast(pa.int32())
        if not self.known_dictionary(array.dictionary):
            self.remap = pa.allocate_buffer(n_values * 4)
            self.dictionary = array.dictionary
            self.unresolved = n_values
            memset(<void*> <uintptr_t> self.remap.address, 0xFF, n_values * 4)
        cdef int32_t* found = <int32_t*> <uintptr_t> self.remap.address
        self._resolve(codes, found, n_values)
        identity = self.unresolved == 0 and not codes.null_count
        for i in range(n_values if identity else 0):
            identity = identity and found[i] == i
        if identity:
            return Slots.of(codes, self.n_slots)
        if codes.null_count:
            nothing = self.find(TAG_NULL, NULL, 0)
            codes = codes.fill_null(n_values)
        cdef Slots of_codes = Slots.of(codes, n_values + 1)
        target = pa.allocate_buffer(n * 4)
        cdef int32_t* out = <int32_t*> <uintptr_t> target.address
        with nogil:
            for i in range(n):
                out[i] = found[of_codes.values[i]] if of_codes.values[i] < n_values else nothing
        return Slots.of(pa.Array.from_buffers(pa.int32(), n, [None, target]), self.n_slots)

    cdef bint known_dictionary(self, object values):
        """Make the current dictionary the one of these values, if it was one of the last two."""
        for _ in range(2):          # two, for the two sides of a join come in turns
            if self.remap is not None and same_buffers(self.dictionary, values):
                return True
            self.dictionary, self.dictionary_before = self.dictionary_before, self.dictionary
            self.remap, self.remap_before = self.remap_before, self.remap
            self.unresolved, self.unresolved_before = self.unresolved_before, self.unresolved
        self.dictionary_before, self.remap_before = self.dictionary, self.remap
        self.unresolved_before = self.unresolved
        return False

    cdef int _resolve(self, object codes, int32_t* found, Py_ssize_t n_values) except -1:
        """Intern the values that these codes are the first to use."""
        cdef Py_ssize_t i, n_used = 0
        cdef Slots rows = Slots.of(codes.drop_null(), n_values)
        cdef Slots slots
        if not self.unresolved:
            return 0
        buffer = pa.allocate_buffer(self.unresolved * 4)
        cdef int32_t* used = <int32_t*> <uintptr_t> buffer.address
        with nogil:
            for i in range(rows.n):
                if found[rows.values[i]] == -1:
                    found[rows.values[i]] = -2
                    used[n_used] = rows.values[i]
                    n_used += 1
                    if n_used == self.unresolved:
                        break
        if n_used == n_values:      # in the order of the dictionary: its codes may be the slots
            for i in range(n_values):
                used[i] = <int32_t> i
        chosen = self.dictionary.take(pa.Array.from_buffers(pa.int32(), n_used, [None, buffer]))
        slots = self._intern_rows([chosen], n_used)
        for i in range(n_used):
            found[used[i]] = slots.values[i]
        self.unresolved -= n_used
        return 0

    cdef Slots _intern_rows(self, list arrays, Py_ssize_t n):
        cdef Source sources[MAX_COLUMNS]
        cdef Py_ssize_t i, k, n_sources = len(arrays)
        cdef int64_t length, wanted, size = 4096
        cdef const uint8_t* text
        cdef KeyColumn column
        if n_sources > MAX_COLUMNS:
            raise ArgumentTypeError(f"a key may have {MAX_COLUMNS} columns, not {n_sources}")
        for array in arrays:
            if len(array) != n:
                raise ArgumentTypeError(f"a key column must have {n} rows, has {len(array)}")
        columns = [KeyColumn(array) for array in arrays]
        for k, column in enumerate(columns):
            sources[k] = column.source
        slots = pa.allocate_buffer(n * 4)
        cdef int32_t* out = <int32_t*> <uintptr_t> slots.address
        cdef uint8_t* key = <uint8_t*> malloc(size)
        cdef uint8_t* larger
        if key == NULL:
            raise MemoryError
        try:
            with nogil:
                if n_sources == 1 and (sources[0].kind == BYTES or sources[0].kind == LONG_BYTES):
                    for i in range(n):
                        if present(&sources[0], i):
                            text = text_at(&sources[0], i, &length)
                            out[i] = self.find(sources[0].tag, text, length)
                        else:
                            out[i] = self.find(TAG_NULL, NULL, 0)
                else:
                    for i in range(n):
                        wanted = 0
                        for k in range(n_sources):
                            wanted += room_for(&sources[k], i)
                        if wanted > size:
                            size = 2 * wanted
                            larger = <uint8_t*> realloc(key, size)
                            if larger == NULL:
                                raise MemoryError
                            key = larger
                        length = 0
                        for k in range(n_sources):
                            length += encode(&sources[k], i, k == n_sources - 1, key + length)
                        out[i] = self.find(key[0], key + 1, length - 1)
        finally:
            free(key)
        return Slots.of(pa.Array.from_buffers(pa.int32(), n, [None, slots]), self.n_slots)

    def touch(self, Slots slots):
        """Note that the keys of these rows changed, now; a row of slot -1 has none."""
        cdef Py_ssize_t i
        cdef Known* known = self.known
        self.tick += 1
        cdef uint32_t tick = self.tick
        if slots.values == NULL:
            known[0].changed = 1
            known[0].tick = tick
            return
        with nogil:
            for i in range(slots.n):
                if slots.values[i] >= 0:
                    known[slots.values[i]].changed = 1
                    known[slots.values[i]].tick = tick

    def changed(self):
        """The slots of the keys that changed since the last call, which forgets them."""
        cdef Py_ssize_t i, n = 0
        target = pa.allocate_buffer(self.n_slots * 4)
        cdef int32_t* out = <int32_t*> <uintptr_t> target.address
        for i in range(self.n_slots):
            if self.known[i].changed:
                self.known[i].changed = 0
                out[n] = <int32_t> i
                n += 1
        return Slots.of(pa.Array.from_buffers(pa.int32(), n, [None, target]), self.n_slots)

    def added(self):
        """The slots of the keys that were added since the last call, and are still known."""
        cdef Py_ssize_t i
        fresh = [self.fresh[i] for i in range(self.n_fresh)
                 if self.known[self.fresh[i]].length >= 0]
        self.n_fresh = 0
        return Slots.of(pa.array(fresh, pa.int32()), self.n_slots)

    def live(self):
        """The slots of all known keys."""
        cdef Py_ssize_t i
        found = pa.array([i for i in range(self.n_slots) if self.known[i].length >= 0], pa.int32())
        return Slots.of(found, self.n_slots)

    def coldest(self, Py_ssize_t n):
        """The n slots whose keys were touched the longest ago, coldest first."""
        cdef Py_ssize_t i
        ages = [(self.known[i].tick, i) for i in range(self.n_slots) if self.known[i].length >= 0]
        ages.sort()
        found = pa.array([slot for _, slot in ages[:n]], pa.int32())
        return Slots.of(found, self.n_slots)

    def bytes_of(self, Slots slots):
        """The bytes of some keys: a binary Arrow array."""
        cdef Py_ssize_t i
        cdef Known* known
        cdef int64_t total = 0
        offsets = pa.allocate_buffer((slots.n + 1) * 8)
        cdef int64_t* ends = <int64_t*> <uintptr_t> offsets.address
        ends[0] = 0
        for i in range(slots.n):
            known = &self.known[slots.values[i] if slots.values != NULL else 0]
            total += known.length + (known.tag != 0)
            ends[i + 1] = total
        data = pa.allocate_buffer(total)
        cdef uint8_t* out = <uint8_t*> <uintptr_t> data.address
        for i in range(slots.n):
            known = &self.known[slots.values[i] if slots.values != NULL else 0]
            if known.tag:
                out[ends[i]] = known.tag
            if known.length > 0:
                memcpy(out + ends[i] + 1, self.arena + known.at, known.length)
        return pa.Array.from_buffers(pa.large_binary(), slots.n, [None, offsets, data])

    def groups_of(self, Slots slots):
        """The key groups of some keys, xxh3 of their bytes modulo 1 024: a uint16 Arrow array."""
        cdef Py_ssize_t i
        cdef int32_t slot
        keys = None
        target = pa.allocate_buffer(slots.n * 2)
        cdef uint16_t* out = <uint16_t*> <uintptr_t> target.address
        for i in range(slots.n):
            slot = slots.values[i] if slots.values != NULL else 0
            if self.known[slot].group < 0:
                keys = self.bytes_of(slots) if keys is None else keys
                self.known[slot].group = key_group(keys[i].as_py())
            out[i] = <uint16_t> self.known[slot].group
        return pa.Array.from_buffers(pa.uint16(), slots.n, [None, target])

    def slots_of(self, keys):
        """The slots of keys given as bytes, as `bytes_of` gives them; unknown ones are added."""
        cdef bytes key
        cdef const uint8_t* text
        found = []
        for key in keys.to_pylist():
            text = key
            found.append(self.find(text[0], text + 1, len(key) - 1) if key
                         else self.find(0, NULL, 0))
        return Slots.of(pa.array(found, pa.int32()), self.n_slots)

    def drop(self, Slots slots):
        """Forget some keys; their slots are used again."""
        cdef Py_ssize_t i
        self.remap = self.dictionary = self.remap_before = self.dictionary_before = None
        for i in range(slots.n):
            self.forget(slots.values[i] if slots.values != NULL else 0)
        if self.arena_garbage > 4096 and 2 * self.arena_garbage > self.arena_used:
            self._compact()

    def compacted(self, Slots live):
        """The same keys, the i-th of `live` in slot i; all others are forgotten."""
        cdef Py_ssize_t i
        cdef Known* old
        cdef Known* new
        cdef int32_t slot
        cdef Keys keys = Keys()
        keys.tick = self.tick
        for i in range(live.n):
            old = &self.known[live.values[i]]
            slot = keys.add(old.tag, self.arena + old.at, old.length, old.hashed)
            new = &keys.known[slot]
            new.group, new.tick, new.changed = old.group, old.tick, old.changed
        keys.n_fresh = 0
        return keys

    cdef int _compact(self) except -1:
        """Rewrite the arena without the bytes of forgotten keys."""
        cdef Py_ssize_t i
        cdef int64_t used = 0
        cdef Known* known
        cdef uint8_t* arena = <uint8_t*> malloc(self.arena_used - self.arena_garbage + 1)
        if arena == NULL:
            raise MemoryError
        for i in range(self.n_slots):
            known = &self.known[i]
            if known.length > 0:
                memcpy(arena + used, self.arena + known.at, known.length)
                known.at = used
                used += known.length
        free(self.arena)
        self.arena = arena
        self.arena_size = self.arena_used - self.arena_garbage + 1
        self.arena_used = used
        self.arena_garbage = 0
        return 0

    @property
    def bytes_held(self):
        """Bytes of the table, the slots and the keys."""
        cdef Py_ssize_t a_slot = sizeof(Known) + sizeof(int32_t)
        return (self.mask + 1) * sizeof(Entry) + self.capacity * a_slot + self.arena_size


def key_group(bytes key):
    """Which of the 1 024 groups, the unit of distribution, a key belongs to."""
    return xxhash.xxh3_64_intdigest(key) % KEY_GROUPS


def first_rows(Slots slots):
    """The first row of each slot, in the order of their appearance: an int64 Arrow array."""
    cdef Py_ssize_t i, n = 0
    cdef int32_t slot
    seen = bytearray(slots.top)
    cdef uint8_t[::1] mark = seen
    target = pa.allocate_buffer(slots.top * 8)
    cdef int64_t* out = <int64_t*> <uintptr_t> target.address
    for i in range(slots.n):
        slot = slots.values[i] if slots.values != NULL else 0
        if not mark[slot]:
            mark[slot] = 1
            out[n] = i
            n += 1
    return pa.Array.from_buffers(pa.int64(), n, [None, target])


cdef bint same_buffers(object left, object right):
    """Whether two arrays are the same memory; the first is held, so no address is used twice."""
    if left.type != right.type or len(left) != len(right) or left.offset != right.offset:
        return False
    return all(
        (a.address if a else 0) == (b.address if b else 0)
        for a, b in zip(left.buffers(), right.buffers())
    )


# What a column of a type becomes before it is encoded: test, tag, kind, casts on the way.
KEY_TYPES = (
    (pa.types.is_null, TAG_NULL, NOTHING, ()),
    (pa.types.is_boolean, TAG_BOOL, WORD, (pa.int64(),)),
    (pa.types.is_uint64, TAG_INT, UNSIGNED, ()),
    (pa.types.is_integer, TAG_INT, WORD, (pa.int64(),)),
    (pa.types.is_floating, TAG_DOUBLE, DOUBLE, (pa.float64(),)),
    (pa.types.is_date, TAG_DATE, WORD, (pa.date32(), pa.int32(), pa.int64())),
    (pa.types.is_time, TAG_CLOCK, WORD, (pa.time64("ns"), pa.int64())),
    (pa.types.is_timestamp, TAG_TIME, WORD, (pa.timestamp("ns"), pa.int64())),
    (pa.types.is_string, TAG_TEXT, BYTES, ()),
    (pa.types.is_large_string, TAG_TEXT, LONG_BYTES, ()),
    (pa.types.is_string_view, TAG_TEXT, LONG_BYTES, (pa.large_string(),)),
    (pa.types.is_binary, TAG_BINARY, BYTES, ()),
    (pa.types.is_large_binary, TAG_BINARY, LONG_BYTES, ()),
    (pa.types.is_binary_view, TAG_BINARY, LONG_BYTES, (pa.large_binary(),)),
    (pa.types.is_fixed_size_binary, TAG_BINARY, BYTES, (pa.binary(),)),
)


cdef class KeyColumn:
    """A key column in one of the few forms that are encoded."""

    cdef Source source
    cdef object array

    def __cinit__(self, array):
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = array.type
        memset(&self.source, 0, sizeof(Source))
        if pa.types.is_decimal(kind) and kind.precision <= 38:
            self.source.scale = kind.scale & 0xFF
            chosen = (TAG_DECIMAL, WIDE, (pa.decimal128(38, kind.scale),))
        else:
            chosen = next((rest for test, *rest in KEY_TYPES if test(kind)), None)
        if chosen is None:
            msg = f"a key must be a number, text, time or boolean, was {kind}; take a part of it"
            raise ArgumentTypeError(msg)
        self.source.tag, self.source.kind, casts = chosen
        if pa.types.is_timestamp(kind) and kind.tz:
            casts = (pa.timestamp("ns", kind.tz), *casts)
        try:
            for target in casts:
                if array.type != target:
                    array = array.cast(target)
        except pa.ArrowInvalid as error:
            raise KernelError(f"a key of type {kind} is out of range: {error}") from None
        self.array = array
        self.source.offset = array.offset
        buffers = [buffer.address if buffer else 0 for buffer in array.buffers()]
        if self.source.kind == NOTHING:
            return
        if array.null_count:
            self.source.valid = <const uint8_t*> <uintptr_t> buffers[0]
        self.source.values = <const uint8_t*> <uintptr_t> buffers[-1]
        self.source.ends = <const int32_t*> <uintptr_t> buffers[1]
        self.source.long_ends = <const int64_t*> <uintptr_t> buffers[1]
