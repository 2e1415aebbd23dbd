"""States as bytes behind a header, and back; anything foreign or damaged is refused.

Layout: magic and format (5 bytes), checksum of all that follows (8), length of the name (1), name,
version (4), hash of the parameters (8), then the state without its trailing zero bytes: all-zero
bytes are the empty state, so that a ring that is not full yet takes no more room than it uses.
"""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy

from fin_sql.abi cimport Bound, Room
from fin_sql.columns cimport Slots
from fin_sql.errors import StateCorruptError, StateVersionError
from fin_sql.states cimport States

MAGIC = b"FSQL\x01"             # the last byte is the format of this layout

cdef enum:
    PREFIX = 13                 # magic, format, checksum
    FINE = 0
    FOREIGN = 1
    DAMAGED = 2
    OTHER = 3


cdef uint64_t checksum(const uint8_t* data, int64_t n) noexcept nogil:
    """FNV-1a over words of 8 bytes, with a last mix."""
    cdef uint64_t hashed = <uint64_t> 0xCBF29CE484222325 ^ <uint64_t> n
    cdef uint64_t word
    cdef int64_t i = 0
    while i + 8 <= n:
        memcpy(&word, data + i, 8)
        hashed = (hashed ^ word) * <uint64_t> 0x100000001B3
        hashed ^= hashed >> 29
        i += 8
    while i < n:
        hashed = (hashed ^ data[i]) * <uint64_t> 0x100000001B3
        i += 1
    return hashed ^ (hashed >> 32)


cdef int64_t used(const char* block, int64_t n) noexcept nogil:
    while n and not block[n - 1]:
        n -= 1
    return n


def pack(States states, Slots slots):
    """The states of some slots, each with its header: a binary Arrow array of slots.n."""
    cdef Py_ssize_t i, n = slots.n
    cdef const uint8_t* header = states.bound.header
    cdef bytes magic_bytes = MAGIC
    cdef const uint8_t* magic = magic_bytes
    cdef int64_t head = PREFIX + len(states.bound.header), held, total = 0
    cdef int64_t* ends
    cdef uint8_t* at
    cdef uint64_t sum_
    cdef int32_t slot
    states.reserve(slots.top)
    offsets = pa.allocate_buffer((n + 1) * 8)
    ends = <int64_t*> <uintptr_t> offsets.address
    ends[0] = 0
    with nogil:
        for i in range(n):
            slot = slots.values[i] if slots.values != NULL else 0
            total += head + used(states.block(slot), states.block_bytes(slot))
            ends[i + 1] = total
    data = pa.allocate_buffer(total)
    cdef uint8_t* out = <uint8_t*> <uintptr_t> data.address
    with nogil:
        for i in range(n):
            slot = slots.values[i] if slots.values != NULL else 0
            at = out + ends[i]
            held = ends[i + 1] - ends[i]
            memcpy(at, magic, 5)
            memcpy(at + PREFIX, header, head - PREFIX)
            if held > head:
                memcpy(at + head, states.block(slot), held - head)
            sum_ = checksum(at + PREFIX, held - PREFIX)
            memcpy(at + 5, &sum_, 8)
    return pa.Array.from_buffers(pa.large_binary(), n, [None, offsets, data])


cdef int examine(Bound bound, const uint8_t* magic, const uint8_t* header, int64_t head,
                 const uint8_t* data, int64_t n) noexcept nogil:
    cdef uint64_t sum_
    if n < PREFIX or memcmp(data, magic, 5):
        return FOREIGN
    memcpy(&sum_, data + 5, 8)
    if n < PREFIX + 13 or sum_ != checksum(data + PREFIX, n - PREFIX):
        return DAMAGED
    if n < PREFIX + head or memcmp(data + PREFIX, header, head):
        return OTHER
    return FINE


def verify(States states, packed):
    """Raise what `unpack` would, and change nothing."""
    place(states, None, packed)


def unpack(States states, Slots slots, packed):
    """Put packed states into slots; nothing is changed unless every one of them is accepted.

    Raises:
        StateVersionError: written by another kernel, version, or with other parameters.
        StateCorruptError: damaged, or never state of fin_sql.
    """
    place(states, slots, packed)


cdef int64_t block_of(const uint8_t* state, int64_t n, bint grows) noexcept nogil:
    """The bytes of the block that a packed state came from; its trailing zeros were left out."""
    cdef Room room
    if not grows or n < <int64_t> sizeof(Room):
        return n
    memcpy(&room, state, sizeof(Room))      # it may lie at any place
    return max(n, room.bytes)


cdef int place(States states, Slots slots, packed) except -1:
    """Examine packed states, then put them into slots where there are any."""
    packed = packed.cast(pa.large_binary())
    if packed.offset:
        packed = pa.concat_arrays([packed])
    cdef Py_ssize_t i, n = len(packed)
    cdef const uint8_t* header = states.bound.header
    cdef bytes magic_bytes = MAGIC
    cdef const uint8_t* magic = magic_bytes
    cdef int64_t head = len(states.bound.header), room, at
    cdef int64_t held
    cdef const int64_t* ends
    cdef const uint8_t* data = NULL
    cdef int code = FINE
    cdef int32_t slot
    cdef bint grows = states.bound.kernel.grows
    if not n:
        return 0
    ends = <const int64_t*> <uintptr_t> packed.buffers()[1].address
    if packed.buffers()[2] is not None:
        data = <const uint8_t*> <uintptr_t> packed.buffers()[2].address
    for i in range(n):
        code = examine(states.bound, magic, header, head, data + ends[i], ends[i + 1] - ends[i])
        room = states.max_state_bytes if grows else states.size
        if code == FINE:
            at = ends[i] + PREFIX + head
            if block_of(data + at, ends[i + 1] - at, grows) > room:
                code = DAMAGED
        if code != FINE:
            raise refusal(states.bound, packed[i].as_py(), code)
    if slots is None:
        return 0
    states.reserve(slots.top)
    for i in range(n):
        slot = slots.values[i] if slots.values != NULL else 0
        room = ends[i + 1] - ends[i] - PREFIX - head
        states.clear(slot)
        at = ends[i] + PREFIX + head
        while grows and states.block_bytes(slot) < block_of(data + at, room, grows):
            if states.enlarge(slot) != 0:
                raise MemoryError
        held = states.block_bytes(slot)
        if room:
            memcpy(states.block(slot), data + ends[i] + PREFIX + head, room)
        if grows:
            (<Room*> states.block(slot)).bytes = held
    return 0


cdef refusal(Bound bound, bytes data, int code):
    """The error for state that was not accepted, with what an operator can do."""
    who = f"state of {bound.kernel.spec.who}"
    if code == FOREIGN and data[:4] == MAGIC[:4]:
        return StateVersionError(
            f"{who}: is in format {data[4]} where this version reads {MAGIC[4]}; "
            "start the version that wrote it, or drop the state and recompute"
        )
    if code == FOREIGN:
        return StateCorruptError(
            f"{who}: these {len(data)} bytes were never written by fin_sql; nothing was changed"
        )
    if code == DAMAGED:
        return StateCorruptError(
            f"{who}: the bytes are damaged (checksum or length); restore them from a backup, or "
            "drop the state and recompute"
        )
    length = data[PREFIX]
    name = data[PREFIX + 1:PREFIX + 1 + length].decode(errors="replace")
    version = int.from_bytes(data[PREFIX + 1 + length:PREFIX + 5 + length], "little")
    if name != bound.kernel.spec.name:
        what = f"was written by kernel '{name}'"
    elif version != bound.kernel.spec.version:
        what = f"has version {version} where this is version {bound.kernel.spec.version}"
    else:
        what = f"was written with other parameters than {bound}"
    return StateVersionError(f"{who}: {what}; drop it and recompute, or ask with what wrote it")


def snapshot(States states, Py_ssize_t slot=0):
    """The state of one slot as bytes."""
    return pack(states, Slots.of(pa.array([slot], pa.int32()), slot + 1))[0].as_py()


def restore(States states, bytes data, Py_ssize_t slot=0):
    """Put the bytes of a snapshot into a slot; raises as `unpack` does."""
    packed = pa.array([data], pa.large_binary())
    unpack(states, Slots.of(pa.array([slot], pa.int32()), slot + 1), packed)
