"""The right side of an ASOF join: its columns, and the loops that find what a left row meets.

A loop numbers right rows as they come. `match` takes left rows from the first that was not matched
yet, as far as it can, and gives a buffer with the number of the right row that each meets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from fin_sql.columns import Column, Slots, column
from fin_sql.errors import OrderError
from fin_sql.exec.asof_index import AsofIndex
from fin_sql.exec.asof_loops import Merge
from fin_sql.exec.asof_store import one_array, store_of
from fin_sql.exec.asof_stream import Chains
from fin_sql.exec.keys import Keys
from fin_sql.exec.order import Ordinals

ROW = 12  # bytes of a key and a time


@dataclass
class Waiting:
    """Left rows that are not all done with.

    Args:
        batch: the rows.
        ordinals: where they stood.
        slots: the key of each.
        times: the time of each.
        numbers: of each, among all left rows.
        arrived_ns: the time of day at which they came, where it is known.
        at: how many are done with.
    """

    batch: pa.RecordBatch
    ordinals: Ordinals
    slots: Slots
    times: Column
    numbers: range | Any
    arrived_ns: int | None = None
    at: int = 0

    @property
    def done(self) -> bool:
        """Whether all are done with."""
        return self.at == int(self.batch.num_rows)


@dataclass
class Rows:
    """Right rows without their columns.

    Args:
        slots: the key of each.
        ns: the time of each.
        times: the same as cells.
        ranks: what decides between rows of equal key and time; None: their order.
        base: number of the first.
        at: how many were passed.
    """

    slots: Slots
    ns: pa.Int64Array
    times: Column
    ranks: Column | None
    base: int
    at: int = 0


class Values:
    """Columns of right rows, which are numbered as they come."""

    def __init__(self) -> None:
        self._stores: list[Any] | None = None
        self._kinds: list[pa.DataType] = []
        self.rows = 0

    def append(self, columns: Sequence[pa.Array], rows: int) -> None:
        """Take rows; their types are those of the first ones."""
        if self._stores is None:
            self._kinds = [array.type for array in columns]
            self._stores = [store_of(kind) for kind in self._kinds]
        for store, array, kind in zip(self._stores, columns, self._kinds, strict=True):
            store.append(of_type(array, kind))
        self.rows += rows

    def take(self, rows: pa.Buffer, begin: int, end: int, first: int = 0) -> list[pa.Array] | None:
        """The values of rows, given as an int64 buffer; None where there never was a row.

        Args:
            rows: their numbers; a negative one gives NULL.
            begin: the first of them.
            end: behind the last one.
            first: the first column that is wanted.
        """
        if self._stores is None:
            return None
        return [store.take(rows, begin, end) for store in self._stores[first:]]

    def keep(self, rows: pa.Int64Array) -> None:
        """Let go of all rows but some, which are numbered from 0."""
        for store in self._stores or ():
            store.keep(rows)
        self.rows = len(rows)

    @property
    def bytes_held(self) -> int:
        """Bytes of the values."""
        return sum(store.bytes_held for store in self._stores or ())


class Rights(Protocol):
    """What a loop does with right rows."""

    def add(self, rows: Rows) -> None:
        """Take right rows."""

    def match(self, left: Waiting, watermark: int | None, over: bool) -> pa.Buffer:
        """Match left rows as far as the watermark of the right side allows."""

    @property
    def bytes_held(self) -> int:
        """Bytes of keys, times and places."""


class Passing(Rights, Protocol):
    """What a loop does that lets right rows go when the left side has passed them."""

    def take_until(self, t: int) -> None:
        """Left rows before a time will not come any more."""

    def expire(self, t: int) -> None:
        """Let go of rows that are too old for left rows from a time on."""

    def ahead(self, rows: int) -> int:
        """How many of `rows` rows the left side has not passed."""

    def carried(self, rows: int) -> pa.Int64Array:
        """Those of `rows` rows that are held, which are numbered anew in this order."""

    def held(self) -> tuple[pa.Int32Array, pa.Int64Array]:
        """Slots and numbers of the rows that are held, those of a key in order of time."""


class Behind:
    """For ">=" and ">": the last right row of each key, and those that are ahead of the left side.

    Args:
        merge: the loop.
        by_key: the sides come in order of key and time, not of time.
    """

    def __init__(self, merge: Merge, *, by_key: bool) -> None:
        self._merge, self._by_key = merge, by_key
        self._rows: deque[Rows] = deque()

    def add(self, rows: Rows) -> None:  # noqa: D102
        self._rows.append(rows)

    def match(self, left: Waiting, watermark: int | None, over: bool) -> pa.Buffer:  # noqa: D102
        n = int(left.batch.num_rows)
        out = pa.allocate_buffer(8 * n)
        while left.at < n:
            self._drop_passed(1)
            right = self._rows[0] if self._rows else _nothing()
            more = len(self._rows) > 1
            if self._by_key:
                self._merge.by_keys(
                    left.slots, left.times, left.at, over and not more,
                    right.slots, right.times, right.at, right.base, out,
                )  # fmt: skip
            else:
                self._merge.by_time(
                    left.slots, left.times, left.at, watermark is not None, watermark or 0,
                    right.slots, right.times, right.ranks, right.at, right.base, more, out,
                )  # fmt: skip
            left.at, right.at = self._merge.left_at, self._merge.right_at
            if right.at < len(right.slots) or not more:
                break
        return out

    def _drop_passed(self, kept: int) -> None:
        while len(self._rows) > kept and self._rows[0].at == len(self._rows[0].slots):
            self._rows.popleft()

    def take_until(self, t: int) -> None:  # noqa: D102
        for right in self._rows:
            right.at = self._merge.take_until(
                right.slots, right.times, right.ranks, right.at, right.base, t
            )
            if right.at < len(right.slots):
                break
        self._drop_passed(0)

    def expire(self, t: int) -> None:  # noqa: D102
        self._merge.expire(t)

    def ahead(self, rows: int) -> int:  # noqa: D102
        return rows - self._rows[0].base - self._rows[0].at if self._rows else 0

    def carried(self, rows: int) -> pa.Int64Array:  # noqa: D102
        self._drop_passed(0)
        first = self._rows[0].base if self._rows else rows
        latest = self._merge.carried()
        for right in self._rows:
            right.base += len(latest) - first
        return pa.concat_arrays([latest, pa.array(np.arange(first, rows))])

    def held(self) -> tuple[pa.Int32Array, pa.Int64Array]:  # noqa: D102
        slots, rows = self._merge.held()
        parts = [(slots, rows)]
        for right in self._rows:
            numbers = np.arange(right.base + right.at, right.base + len(right.slots))
            parts.append((right.slots.slice(right.at).array(), pa.array(numbers)))
        slots, rows = (pa.concat_arrays(arrays) for arrays in zip(*parts, strict=True))
        known = pa.array(slots.to_numpy() >= 0)
        return slots.filter(known), rows.filter(known)

    @property
    def bytes_held(self) -> int:
        """Bytes of the places, and of keys and times ahead."""
        return self._merge.bytes_held + ROW * sum(len(right.slots) for right in self._rows)


class Around:
    """For "<=", "<" and "nearest" over two streams.

    Args:
        chains: the loop.
    """

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self.take_until, self.expire = chains.take_until, chains.expire
        self.held = chains.held

    def add(self, rows: Rows) -> None:  # noqa: D102
        self._chains.add(rows.slots, rows.times, rows.ranks, rows.base)

    def match(self, left: Waiting, watermark: int | None, over: bool) -> pa.Buffer:  # noqa: D102
        out = pa.allocate_buffer(8 * int(left.batch.num_rows))
        self._chains.match(
            left.slots, left.times, left.at, watermark is not None, watermark or 0, out
        )
        left.at = self._chains.left_at
        return out

    def ahead(self, rows: int) -> int:  # noqa: D102
        return len(self._chains)

    def carried(self, rows: int) -> pa.Int64Array:  # noqa: D102
        return self._chains.carried()

    @property
    def bytes_held(self) -> int:
        """Bytes of the places, and of rows ahead."""
        return self._chains.bytes_held


class Indexed:
    """All right rows, each key in order of time, for left rows in any order.

    Args:
        keys: of both sides.
        direction: how the left time compares with the right one.
        tolerance: the largest distance; negative means any.
        ties: what is taken of right rows of equal key and time.
        order: that the right rows must come in, in words.
    """

    def __init__(self, keys: Keys, direction: str, tolerance: int, ties: str, order: str) -> None:
        self._keys, self._order = keys, order
        self._how = direction, tolerance, ties
        self._parts: list[Rows] = []
        self._index: AsofIndex | None = None

    def add(self, rows: Rows) -> None:  # noqa: D102
        self._parts.append(rows)

    def match(self, left: Waiting, watermark: int | None, over: bool) -> pa.Buffer:  # noqa: D102
        if not over:
            return pa.py_buffer(b"")
        if self._index is None:
            self._index = self._indexed()
        left.at = int(left.batch.num_rows)
        return self._index.match(left.slots, left.times, *self._how)

    def _indexed(self) -> AsofIndex:
        parts, self._parts = self._parts, []
        slots = one_array([rows.slots.array() for rows in parts] or [pa.array([], pa.int32())])
        times = one_array([rows.ns for rows in parts] or [pa.array([], pa.int64())])
        index = AsofIndex(Slots.of(slots, max(1, self._keys.n_slots)), cells(times))
        if not index.ordered:
            msg = (
                f"right side of an ASOF JOIN: the rows must come in the order {self._order}; "
                "correct order_by, or leave it out and they are sorted"
            )
            raise OrderError(msg)
        return index

    @property
    def bytes_held(self) -> int:
        """Bytes of keys and times."""
        held = sum(ROW * len(rows.slots) for rows in self._parts)
        return held + (self._index.bytes_held if self._index else 0)


def of_type(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values in another type."""
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return array if array.type == kind else array.cast(kind)


def cells(ns: pa.Int64Array) -> Column:
    """Integers as a loop reads them."""
    return column(ns, "int64", "ASOF JOIN")


def _nothing() -> Rows:
    none = pa.array([], pa.int64())
    return Rows(Slots.of(none.cast(pa.int32()), 1), none, cells(none), None, 0)
