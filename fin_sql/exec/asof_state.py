"""What an AsofJoin keeps across restarts: right rows and waiting left rows by key, and its times.

The state of a key is some rows as an Arrow IPC stream behind a header (magic and format, checksum),
with dictionaries decoded: nothing but values.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Slots
from fin_sql.errors import StateCorruptError, StateVersionError
from fin_sql.exec.asof_rights import Waiting, of_type
from fin_sql.exec.keys import KEY_GROUPS, Keys, key_group
from fin_sql.exec.operator import CHANGES, last_states, semantic_id
from fin_sql.exec.order import Ordinals

MAGIC = b"FSQA\x01"  # the last byte is the format of this layout
PREFIX = len(MAGIC) + 4
TAIL = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # the end of an IPC stream
RIGHT = [pa.field("time", pa.int64()), pa.field("rank", pa.int64())]
LEFT = [pa.field(name, pa.int64()) for name in ("number", "source", "part", "row", "arrived")]
UNKNOWN = -(2**63)
NO_KEY = b""  # the key that the times are kept under


@dataclass(frozen=True)
class Places:
    """How far both sides have come.

    Args:
        left_mark: the watermark of the left side.
        right_mark: the one of the right side.
        left_time: no left row before it may come.
        right_time: no right row before it may come.
        left_rows: that were given.
        right_rows: that were given.
        now: the time of day.
    """

    left_mark: int | None
    right_mark: int | None
    left_time: int | None
    right_time: int | None
    left_rows: int
    right_rows: int
    now: int | None


@dataclass(frozen=True)
class Given:
    """Which left rows of a key were given out as waiting: what differs where they do."""

    group: int
    first: int
    rows: int
    arrived: tuple[int | None, int | None]

    @staticmethod
    def of(rows: pa.RecordBatch, group: int) -> Given:
        """Those of a state."""
        numbers, arrived, n = rows.column(0), rows.column(len(LEFT) - 1), rows.num_rows
        ends = (arrived[0].as_py(), arrived[n - 1].as_py())
        return Given(group, numbers[0].as_py(), n, ends)


@dataclass(frozen=True)
class Held:
    """Rows of one side, and the slot of the key of each."""

    slots: pa.Int32Array
    rows: pa.RecordBatch

    def take(self, chosen: Any) -> Held:
        """Some of the rows."""
        return Held(self.slots.take(chosen), self.rows.take(chosen))

    def by_key(self) -> Held:
        """The rows key by key, each in the order that it has."""
        return self.take(pa.array(np.argsort(self.slots.to_numpy(), kind="stable")))

    def runs(self) -> tuple[pa.Int32Array, list[pa.RecordBatch]]:
        """Each slot, and its rows, where they lie key by key."""
        slots = self.slots.to_numpy()
        begins = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]][: len(slots)])
        lengths = np.diff(np.r_[begins, len(slots)])
        parts = [
            self.rows.slice(begin, length)
            for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True)
        ]
        return pa.array(slots[begins]), parts

    def without(self, slots: pa.Int32Array) -> Held:
        """The rows of all other keys."""
        others = pc.invert(pc.is_in(self.slots, slots))
        return Held(self.slots.filter(others), self.rows.filter(others))

    def followed_by(self, other: Held) -> Held:
        """These rows, then the others."""
        slots = pa.concat_arrays([self.slots, other.slots])
        return Held(slots, pa.concat_batches([self.rows, other.rows]))


class Packing:
    """Rows of a schema as bytes, and back.

    Args:
        what: in messages.
        columns: of the rows.
    """

    def __init__(self, what: str, columns: Iterable[pa.Field]) -> None:
        self._what = what
        self.schema = pa.schema([pa.field(f.name, plain_type(f.type)) for f in columns])
        self._head = self.schema.serialize().to_pybytes()

    def rows(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        """Rows of the schema; dictionaries are decoded."""
        plain = [of_type(*pair) for pair in zip(arrays, self.schema.types, strict=True)]
        return pa.RecordBatch.from_arrays(plain, schema=self.schema)

    def pack(self, rows: pa.RecordBatch) -> bytes:
        """Rows as one state."""
        body: bytes = self._head + rows.serialize().to_pybytes() + TAIL
        return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body

    def unpack(self, states: Sequence[bytes]) -> list[pa.RecordBatch]:
        """The rows of each state.

        Raises:
            StateError: one of them is foreign or damaged.
        """
        bodies = [self._checked(state) for state in states]
        head = len(self._head)
        try:
            if all(body.startswith(self._head) for body in bodies):
                messages = b"".join(body[head : -len(TAIL)] for body in bodies)
                found = list(pa.ipc.open_stream(self._head + messages + TAIL))
            else:
                found = [self._foreign(body) for body in bodies]
            for batch in found:
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise StateCorruptError(f"{self._what} is damaged: {error}") from None
        return found

    def _checked(self, state: bytes) -> bytes:
        magic, was = MAGIC[:-1], state[: len(MAGIC)]
        if was[:-1] != magic:
            msg = f"{self._what}: these {len(state)} bytes were never written by an ASOF JOIN"
            raise StateCorruptError(msg)
        if was != MAGIC:
            msg = (
                f"{self._what} is in format {was[-1]} where this version reads {MAGIC[-1]}; "
                "start the version that wrote it, or drop the state and recompute"
            )
            raise StateVersionError(msg)
        body = state[PREFIX:]
        if zlib.crc32(body).to_bytes(4, "little") != state[len(MAGIC) : PREFIX]:
            msg = (
                f"{self._what}: the bytes are damaged (checksum); restore them from a backup, or "
                "drop the state and recompute"
            )
            raise StateCorruptError(msg)
        return body

    def _foreign(self, body: bytes) -> pa.RecordBatch:
        """Rows whose schema was written in another way, as another version of Arrow may do."""
        table = pa.ipc.open_stream(body).read_all().combine_chunks()
        if not table.schema.equals(self.schema):
            msg = (
                f"{self._what} has the columns {table.schema.names}, this query needs "
                f"{self.schema.names}; drop the state and recompute, or ask with what wrote it"
            )
            raise StateVersionError(msg)
        return (table.to_batches() or [self.nothing])[0]

    @property
    def nothing(self) -> pa.RecordBatch:
        """No rows."""
        none = [pa.nulls(0, kind) for kind in self.schema.types]
        return pa.RecordBatch.from_arrays(none, schema=self.schema)


class AsofState:
    """The state of a join as CHANGES, in three parts.

    Args:
        left: the left columns that are needed.
        right: the right columns that are put out.
        ranked: whether right rows have ranks.
        meaning: what the join computes.
    """

    def __init__(
        self, left: pa.Schema, right: pa.Schema, *, ranked: bool, meaning: tuple[object, ...]
    ) -> None:
        self._left_schema = left
        self.lefts = Packing("a waiting left row of an ASOF JOIN", [*LEFT, *left])
        self.rights = Packing("a right row of an ASOF JOIN", [*RIGHT[: 1 + ranked], *right])
        kinds = [pa.field(field.name, pa.int64()) for field in fields(Places)]
        self._places = Packing("the times of an ASOF JOIN", kinds)
        self._packings = (self.rights, self.lefts, self._places)
        self._parts = [
            semantic_id("AsofJoin", side, *meaning, *((f.name, str(f.type)) for f in p.schema))
            for side, p in zip(("right", "left", "times"), self._packings, strict=True)
        ]
        self.id = semantic_id(*self._parts)
        self.clear()

    def clear(self) -> None:
        """Forget what was given out."""
        self._given: dict[bytes, Given] = {}  # waiting left rows
        self._placed = b""
        self._gone: list[pa.RecordBatch] = []
        self._owned: set[int] | None = None  # key groups; None: all

    def forget(self, keys: Keys, slots: pa.Int32Array) -> None:
        """Keys that have no right rows any more are about to lose their slots."""
        self._gone.append(self._right_changes(keys, slots, [None] * len(slots)))

    def own(self, key_groups: Collection[int]) -> None:
        """Some key groups are this worker's, besides those that it was told before."""
        self._owned = set(key_groups) | (self._owned or set())

    def disown(self, key_groups: Collection[int]) -> None:
        """Some key groups are another worker's now."""
        gone = set(key_groups)
        self._owned = (set(range(KEY_GROUPS)) if self._owned is None else self._owned) - gone
        self._given = {key: given for key, given in self._given.items() if given.group not in gone}

    def changes(
        self, keys: Keys, changed: pa.Int32Array, rights: Held, lefts: Held, places: Places
    ) -> pa.RecordBatch:
        """What changed since the last call.

        Args:
            keys: of both sides.
            changed: slots whose right rows changed.
            rights: all right rows of those, key by key.
            lefts: all left rows that wait, key by key.
            places: how far both sides have come.
        """
        found, self._gone = self._gone, []
        slots, parts = rights.runs()
        empty = changed.filter(pc.invert(pc.is_in(changed, slots)))
        found.append(self._right_changes(keys, empty, [None] * len(empty)))
        found.append(self._right_changes(keys, slots, list(map(self.rights.pack, parts))))
        found.append(self._left_changes(keys, lefts))
        row = [pa.array([value], pa.int64()) for value in astuple(places)]
        state = self._places.pack(self._places.rows(row))
        group = key_group(NO_KEY)
        if state != self._placed and (self._owned is None or group in self._owned):
            self._placed = state
            found.append(_changes(self._parts[2], [group], [NO_KEY], [state]))
        return pa.concat_batches(found)

    def _right_changes(
        self, keys: Keys, slots: pa.Int32Array, states: Sequence[bytes | None]
    ) -> pa.RecordBatch:
        of_slots = Slots.of(slots, keys.n_slots)
        return _changes(self._parts[0], keys.groups_of(of_slots), keys.bytes_of(of_slots), states)

    def _left_changes(self, keys: Keys, lefts: Held) -> pa.RecordBatch:
        before, self._given = self._given, {}
        slots, parts = lefts.runs()
        of_slots = Slots.of(slots, keys.n_slots)
        names, groups = keys.bytes_of(of_slots).to_pylist(), keys.groups_of(of_slots).to_pylist()
        found: list[tuple[int, bytes, bytes | None]] = []
        for key, group, rows in zip(names, groups, parts, strict=True):
            given = self._given[key] = Given.of(rows, group)
            if before.pop(key, None) != given:
                found.append((group, key, self.lefts.pack(rows)))
        found += [(given.group, key, None) for key, given in before.items()]
        return _changes(self._parts[1], *(list(zip(*found, strict=True)) or [(), (), ()]))

    def read(self, changes: pa.Table, keys: Keys) -> tuple[Held, Held, Places | None]:
        """Right rows, left rows and places out of CHANGES.

        Raises:
            StateError: a state is foreign or damaged.
        """
        changes = last_states(changes)
        if unknown := sorted(set(changes["part"].unique().to_pylist()) - set(self._parts)):
            msg = f"state of parts {unknown} belongs to another query; drop it or keep that query"
            raise StateVersionError(msg)
        parts = [
            changes.filter(pc.equal(changes["part"], pa.scalar(part, pa.uint64()))).to_pydict()
            for part in self._parts
        ]
        rights, lefts, places = (
            packing.unpack(part["state"])
            for packing, part in zip(self._packings, parts, strict=True)
        )
        for key, group, rows in zip(
            *(parts[1][n] for n in ("key", "key_group")), lefts, strict=True
        ):
            self._given[key] = Given.of(rows, group)
        if places:
            self._placed = parts[2]["state"][0]
        return (
            _held(self.rights, parts[0]["key"], rights, keys),
            _held(self.lefts, parts[1]["key"], lefts, keys),
            Places(**places[0].to_pylist()[0]) if places else None,
        )

    def held_lefts(self, waiting: Iterable[Waiting], slots: Slots) -> Held:
        """The left rows that wait, key by key; `slots` has the key of each."""
        parts = [self.lefts.nothing]
        for left in waiting:
            batch, ordinals = left.batch.slice(left.at), left.ordinals.slice(left.at)
            n = batch.num_rows
            numbers, rows = left.numbers[left.at :], ordinals.rows
            if isinstance(numbers, range):
                numbers = np.arange(numbers.start, numbers.stop)
            if rows is None:
                rows = pa.array(np.arange(ordinals.first, ordinals.first + n))
            fixed = [np.full(n, number) for number in (ordinals.source, ordinals.part)]
            arrived = pa.array([left.arrived_ns] * n, pa.int64())
            arrays = [pa.array(numbers), *map(pa.array, fixed), rows, arrived]
            parts.append(self.lefts.rows([*arrays, *batch.columns]))
        return Held(slots.array(), pa.concat_batches(parts)).by_key()

    def waiting_lefts(self, held: Held) -> Iterator[tuple[pa.RecordBatch, Ordinals, Any, Any]]:
        """The same back: batches with their ordinals, their numbers and when they arrived."""
        rows = held.rows.take(pc.sort_indices(held.rows.column(0)))
        numbers, sources, parts, places, arrived = rows.columns[: len(LEFT)]
        arrays = [
            of_type(array, field.type)
            for array, field in zip(rows.columns[len(LEFT) :], self._left_schema, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._left_schema)
        marks = np.stack([a.fill_null(UNKNOWN).to_numpy() for a in (sources, parts, arrived)])
        breaks = np.flatnonzero((marks[:, 1:] != marks[:, :-1]).any(axis=0)) + 1
        for begin, end in pairwise(sorted({0, *breaks.tolist(), len(numbers)})):
            of_rows = places.slice(begin, end - begin)
            ordinals = Ordinals(sources[begin].as_py(), parts[begin].as_py(), 0, of_rows)
            which = numbers.to_numpy()[begin:end]
            yield batch.slice(begin, end - begin), ordinals, which, arrived[begin].as_py()


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _held(
    packing: Packing, names: Sequence[bytes], parts: Sequence[pa.RecordBatch], keys: Keys
) -> Held:
    """The rows of some keys, one after the other."""
    slots = keys.slots_of(pa.array(names, pa.large_binary())).array().to_numpy()
    each = np.repeat(slots, [part.num_rows for part in parts])
    return Held(pa.array(each, pa.int32()), pa.concat_batches([packing.nothing, *parts]))


def _changes(part: int, groups: Any, keys: Any, states: Sequence[bytes | None]) -> pa.RecordBatch:
    columns = [
        pa.array(np.full(len(states), part, np.uint64)),
        pa.array(groups, pa.uint16()),
        pa.array(keys, pa.large_binary()),
        pa.array(states, pa.large_binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CHANGES)
