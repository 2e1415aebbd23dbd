"""AsofJoin: each left row with the right row of its key that is next to it in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Column, Slots, column
from fin_sql.errors import NotStreamableError, OrderError, SqlError
from fin_sql.exec.asof_index import DIRECTIONS, TIES, AsofIndex
from fin_sql.exec.asof_loops import FixedStore, Merge, first_tied, is_fixed
from fin_sql.exec.keys import Keys
from fin_sql.exec.operator import Operator
from fin_sql.exec.order import Order, Ordinals, Piece
from fin_sql.states import Cancel

Loop = Literal["time", "key", "index"]
END = 2**63 - 1
EARLIEST = -(2**63)
HELD = 1 << 18  # right rows that are held before those that no key needs are let go


class ArrowStore:
    """Values of any type, as the arrays that they came in."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._parts: list[pa.Array] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def append(self, array: pa.Array) -> None:
        """Take the values of an array."""
        self._parts.append(array)

    def _whole(self) -> pa.Array:
        if len(self._parts) != 1:
            chunked = pa.chunked_array(self._parts or [pa.nulls(0, self._kind)])
            if pa.types.is_dictionary(chunked.type):
                chunked = chunked.unify_dictionaries()
            self._parts = [pa.concat_arrays(chunked.chunks)]
        return self._parts[0]

    def take(self, rows: pa.Buffer, begin: int, end: int) -> pa.Array:
        """The values of rows, given as an int64 buffer; a negative row gives NULL."""
        at = pa.Array.from_buffers(pa.int64(), end - begin, [None, rows], offset=begin)
        return self._whole().take(pc.if_else(pc.less(at, 0), None, at))

    def one(self, row: int) -> Any:
        """The value of a row, as Python has it."""
        return self._whole()[row].as_py()

    def keep(self, rows: pa.Array) -> None:
        """Let go of all values but those of some rows, in their order."""
        self._parts = [self._whole().take(rows)]

    @property
    def bytes_held(self) -> int:
        """Bytes of the values."""
        return sum(part.nbytes for part in self._parts)


@dataclass
class _Waiting:
    """Rows of a batch that are not done with."""

    batch: pa.RecordBatch
    ordinals: Ordinals
    slots: Slots
    times: Column
    base: int = 0  # number of a right batch's first row
    at: int = 0


class AsofJoin(Operator):
    """Appends the columns of the right row that each left row meets; left rows keep their order.

    Args:
        left: columns of the left side.
        right: columns of the right side.
        on: the left and the right time.
        by: pairs of key columns.
        direction: how the left time compares with the right one: ">=", ">", "<=", "<", "nearest".
        tolerance_ns: the largest distance, inclusive; of integer times in their unit.
        how: "inner" leaves out left rows that meet nothing.
        ties: which of several right rows of equal key and time is taken: "last", "first", "error".
        payload: (right column, its name in the output).
        keep: the left columns that are put out; None is all.
        loop: how the sides lie. "time": both in order of time; the state is the last right row of
            each key. "key": both in order of key and time. "index": the right side is held whole,
            each key of it in order of time; the left side comes in any order. The first two know
            ">=" and ">".
        cancel: stops it from another thread.
    """

    inputs = ("left", "right")

    def __init__(
        self,
        left: pa.Schema,
        right: pa.Schema,
        *,
        on: tuple[str, str],
        by: Sequence[tuple[str, str]] = (),
        direction: str = ">=",
        tolerance_ns: int | None = None,
        how: str = "left",
        ties: str = "last",
        payload: Sequence[tuple[str, str]] = (),
        keep: Sequence[str] | None = None,
        loop: Loop = "time",
        cancel: Cancel | None = None,
    ) -> None:
        if direction not in DIRECTIONS or ties not in TIES or how not in ("left", "inner"):
            raise SqlError(f"AsofJoin: not known: {direction!r}, {ties!r} or {how!r}")
        if loop != "index" and direction not in (">=", ">"):
            raise SqlError(f"AsofJoin: '{direction}' needs loop='index', was '{loop}'")
        self.on, self.by, self.how, self.ties = on, tuple(by), how, ties
        self.direction, self.loop = direction, loop
        self.payload = tuple(payload)
        self.keep = tuple(left.names if keep is None else keep)
        self.cancel = cancel
        self._tolerance = -1 if tolerance_ns is None else tolerance_ns
        self._right = right
        fields = [left.field(name) for name in self.keep]
        fields += [right.field(c).with_name(n).with_nullable(True) for c, n in self.payload]
        self.schema = pa.schema(fields)
        self.close()

    def close(self) -> None:  # noqa: D102
        self._keys = Keys()
        self._merge = Merge(
            self._keys, self.direction == ">", self._tolerance, self.ties, self.loop == "key"
        )
        self._stores: list[Any] | None = None
        self._held = 0  # right rows in the stores
        self._index: AsofIndex | None = None
        self._index_rows: list[tuple[Slots, pa.Array]] = []
        self._lefts: deque[_Waiting] = deque()
        self._rights: deque[_Waiting] = deque()
        self._watermark: int | None = None
        self._over = [False, False]
        self._rows = [0, 0]

    def needs(self, input: int = 0) -> Order:  # noqa: D102
        if self.loop == "index" and input == 0:
            return Order()
        keys = tuple(pair[input] for pair in self.by)
        if self.loop == "key":
            return Order((*keys, self.on[input]))
        return Order((self.on[input],), keys if self.loop == "index" else ())

    def gives(self) -> Order:  # noqa: D102
        return self.needs(0)

    @property
    def waiting(self) -> bool:
        """Whether left rows wait for right ones."""
        return bool(self._lefts)

    def wants(self) -> int:
        """The input whose next batch lets it go on."""
        if self._over[1]:
            return 0
        if self.loop == "index":
            return 1
        return 1 if self._lefts else 0

    # ------------------------------------------------------------ rows in

    def process(self, input: int, piece: Piece) -> list[Piece]:  # noqa: D102
        batch = piece.batch
        if self.cancel is not None:
            self.cancel.check()
        if not batch.num_rows:
            return []
        slots = key_slots(self._keys, batch, [pair[input] for pair in self.by])
        name = self.on[input]
        times = column(batch[name], "timestamp", f"ASOF JOIN: {self.inputs[input]} time '{name}'")
        if self.loop != "index":
            self._follow(input, batch, slots, times)
        self._rows[input] += batch.num_rows
        waiting = _Waiting(batch, piece.ordinals, slots, times)
        if input == 0:
            if self.loop == "index":
                return self._looked_up(waiting) if self._index else self._hold_left(waiting)
            self._lefts.append(waiting)
        else:
            self._add_right(waiting)
        return self._go() if self.loop != "index" else []

    def _hold_left(self, waiting: _Waiting) -> list[Piece]:
        self._lefts.append(waiting)
        return []

    def _follow(self, input: int, batch: pa.RecordBatch, slots: Slots, times: Column) -> None:
        row = self._merge.first_misplaced(bool(input), slots, times)
        if row < 0:
            return
        names = (*(pair[input] for pair in self.by), self.on[input])
        shown = ", ".join(
            f"{n} = {batch[n].slice(row, 1).cast(pa.string())[0].as_py()}" for n in names
        )
        before = "the row before it"
        if self.loop == "time":
            kind = _plain_time(batch[self.on[input]])
            before = str(pa.scalar(self._before(input, batch, row), kind).cast(pa.string()))
        msg = (
            f"{self.inputs[input]} side of an ASOF JOIN: row {self._rows[input] + row} ({shown}) "
            f"comes behind {before}; the rows must come in the order {self.needs(input)}: correct "
            "order_by, or leave it out and they are sorted"
        )
        raise OrderError(msg)

    def _before(self, input: int, batch: pa.RecordBatch, row: int) -> int:
        """The time of the last row before one that has a time."""
        there = batch[self.on[input]].slice(0, row).drop_null()
        if not len(there):
            return int(self._merge.last_time(bool(input)))
        kind = _plain_time(there)
        return int(there.slice(len(there) - 1).cast(kind)[0].cast(pa.int64()).as_py())

    def _add_right(self, waiting: _Waiting) -> None:
        if self._stores is None:
            self._stores = [
                FixedStore(kind) if is_fixed(kind) else ArrowStore(kind)
                for kind in (waiting.batch[name].type for name, _ in self.payload)
            ]
        waiting.base = self._held
        for store, (name, _) in zip(self._stores, self.payload, strict=True):
            store.append(waiting.batch[name])
        self._held += waiting.batch.num_rows
        if self.loop == "index":
            self._index_rows.append((waiting.slots, waiting.batch[self.on[1]]))
            return
        self._rights.append(waiting)
        if self.loop == "time" and self._merge.right_seen:
            self._reached(self._merge.last_time(True) - 1)

    def advance(self, input: int, watermark_ns: int) -> list[Piece]:  # noqa: D102
        if watermark_ns == END:
            self._over[input] = True
        if input == 0:
            return []
        self._reached(watermark_ns)
        if self.loop == "index":
            if not self._over[1]:
                return []
            self._index = self._indexed()
            lefts, self._lefts = self._lefts, deque()
            return [piece for waiting in lefts for piece in self._looked_up(waiting)]
        return self._go()

    def _reached(self, watermark: int) -> None:
        """Every right row up to this time was seen."""
        if watermark >= EARLIEST and (self._watermark is None or watermark > self._watermark):
            self._watermark = watermark

    # ------------------------------------------------------------ rows out

    def _go(self) -> list[Piece]:
        """Match what can be matched."""
        pieces: list[Piece] = []
        while self._lefts:
            left = self._lefts[0]
            n = left.batch.num_rows
            out = pa.allocate_buffer(8 * n)
            begin = left.at
            self._match(left, out)
            if left.at > begin:
                pieces += self._put_out(left, out, begin, left.at)
            if left.at < n:
                break
            self._lefts.popleft()
        self._let_go()
        return pieces

    def _match(self, left: _Waiting, out: pa.Buffer) -> None:
        n = left.batch.num_rows
        while left.at < n:
            while len(self._rights) > 1 and self._rights[0].at == self._rights[0].batch.num_rows:
                self._rights.popleft()
            right = self._rights[0] if self._rights else _nothing(self._held)
            more = len(self._rights) > 1
            if self.loop == "key":
                self._merge.by_keys(
                    left.slots, left.times, left.at, self._over[1] and not more,
                    right.slots, right.times, right.at, right.base, out,
                )  # fmt: skip
            else:
                self._merge.by_time(
                    left.slots, left.times, left.at, self._watermark is not None,
                    self._watermark or 0, right.slots, right.times, right.at, right.base, more, out,
                )  # fmt: skip
            left.at, right.at = self._merge.left_at, self._merge.right_at
            if right.at < right.batch.num_rows or not more:
                return

    def _put_out(self, left: _Waiting, out: pa.Buffer, begin: int, end: int) -> list[Piece]:
        if self.ties == "error" and (row := first_tied(out, begin, end)) >= 0:
            raise self._tied(left.batch, row)
        batch = left.batch.slice(begin, end - begin)
        ordinals = left.ordinals.slice(begin, end - begin)
        stores = self._stores or []
        columns = [store.take(out, begin, end) for store in stores]
        if self._stores is None:
            columns = [
                pa.nulls(end - begin, self._right.field(name).type) for name, _ in self.payload
            ]
        columns = [*(batch[name] for name in self.keep), *columns]
        found = _no_columns(end - begin)
        if columns:
            found = pa.RecordBatch.from_arrays(columns, self.schema.names)
        if self.how == "inner":
            rows = pa.Array.from_buffers(pa.int64(), end - begin, [None, out], offset=begin)
            met = pc.greater_equal(rows, 0)
            kept = met.true_count
            if kept < len(met):
                found = found.filter(met) if found.num_columns else _no_columns(kept)
                numbers = pc.add(pc.indices_nonzero(met).cast(pa.int64()), ordinals.first)
                ordinals = Ordinals(ordinals.source, ordinals.part, 0, numbers)
        return [Piece(found, ordinals)] if found.num_rows else []

    def _tied(self, batch: pa.RecordBatch, row: int) -> SqlError:
        names = (*(one for one, _ in self.by), self.on[0])
        shown = ", ".join(
            f"{name} = {batch[name].slice(row, 1).cast(pa.string())[0].as_py()}" for name in names
        )
        return SqlError(
            f"ASOF JOIN: the left row with {shown} meets several right rows of one key "
            "and time; take TIES LAST or TIES FIRST, or order them by TIES ... BY a column"
        )

    def _let_go(self) -> None:
        """Forget right rows that no left row can meet any more."""
        if self.loop == "index" or self._held < HELD + 2 * self._keys.n_slots or not self._stores:
            return
        while self._rights and self._rights[0].at == self._rights[0].batch.num_rows:
            self._rights.popleft()
        if self._rights and self._held - self._rights[0].base > self._held // 2:
            return
        first = self._rights[0].base if self._rights else self._held
        carried = self._merge.carried()
        waiting = pa.array(np.arange(first, self._held))
        rows = pa.concat_arrays([carried, waiting])
        for store in self._stores:
            store.keep(rows)
        for right in self._rights:
            right.base += len(carried) - first
        self._held = len(rows)

    # ------------------------------------------------------------ the index

    def _indexed(self) -> AsofIndex:
        slots = pa.array([], pa.int32())
        times = pa.array([], pa.int64())
        if self._index_rows:
            slots = pa.concat_arrays([of_rows.array() for of_rows, _ in self._index_rows])
            times = pa.concat_arrays([array for _, array in self._index_rows])
        self._index_rows = []
        who = f"ASOF JOIN: right time '{self.on[1]}'"
        index = AsofIndex(
            Slots.of(slots, max(1, self._keys.n_slots)), column(times, "timestamp", who)
        )
        if not index.ordered:
            msg = (
                f"right side of an ASOF JOIN: the rows must come in the order {self.needs(1)}; "
                "correct order_by, or leave it out and they are sorted"
            )
            raise OrderError(msg)
        return index

    def _looked_up(self, left: _Waiting) -> list[Piece]:
        assert self._index is not None
        out = self._index.match(left.slots, left.times, self.direction, self._tolerance, self.ties)
        return self._put_out(left, out, 0, left.batch.num_rows)

    # ------------------------------------------------------------ state

    def changes(self) -> pa.RecordBatch:  # noqa: D102
        raise NotStreamableError("an ASOF JOIN cannot be checkpointed yet")

    def bytes_held(self) -> int:  # noqa: D102
        stores = sum(store.bytes_held for store in self._stores or ())
        waiting = sum(w.batch.nbytes for w in (*self._lefts, *self._rights))
        return int(stores + waiting + self._keys.bytes_held + self._merge.bytes_held)


def key_slots(keys: Keys, batch: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Slots:
    """The key of each row, -1 where a part of it is NULL or NaN."""
    columns = [batch[name] for name in names]
    slots = keys.intern(columns, batch.num_rows)
    nothing = None
    for array in columns:
        missing = _missing(array)
        if missing is not None:
            nothing = missing if nothing is None else pc.or_(nothing, missing)
    if nothing is None:
        return slots
    none = pa.scalar(-1, pa.int32())
    return Slots.of(pc.if_else(nothing, none, slots.array()), slots.top)


def _missing(array: pa.Array) -> pa.Array | None:
    """Where a key column is NULL or NaN; None if nowhere."""
    if pa.types.is_dictionary(array.type):
        values = _missing(array.dictionary)
        missing = array.indices.is_null()
        if values is not None:
            missing = pc.or_(missing, values.take(array.indices).fill_null(True))
    elif array.null_count or pa.types.is_floating(array.type):
        missing = array.is_null(nan_is_null=True)
    else:
        return None
    return missing if missing.true_count else None


def keys_compare(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether keys of two types may be equal: by value, but a number is never a text.

    Decimals must have one scale, as keys are compared by their digits.
    """

    def kind(of: pa.DataType) -> str:
        if pa.types.is_dictionary(of):
            return kind(of.value_type)
        if of in (pa.string(), pa.large_string(), pa.string_view()):
            return "text"
        kinds = ("integer", "floating", "decimal", "boolean", "date", "time", "timestamp")
        found = next((name for name in kinds if getattr(pa.types, f"is_{name}")(of)), "binary")
        return f"{found} {of.scale}" if found == "decimal" else found

    return pa.types.is_null(left) or pa.types.is_null(right) or kind(left) == kind(right)


def times_compare(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether times compare: both with a zone, both without, or both integers."""
    return is_timed(left) == is_timed(right) and (
        (getattr(left, "tz", None) is None) == (getattr(right, "tz", None) is None)
    )


def is_timed(kind: pa.DataType) -> bool:
    """Whether a type is a timestamp or a date."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _nothing(base: int) -> _Waiting:
    times = column(pa.array([], pa.int64()), "timestamp", "")
    return _Waiting(_no_columns(0), Ordinals(), Slots.of(pa.array([], pa.int32()), 1), times, base)


def _no_columns(rows: int) -> pa.RecordBatch:
    return pa.record_batch({"_": pa.nulls(rows)}).select([])


def _plain_time(array: pa.Array) -> pa.DataType:
    kind = array.type
    return kind if pa.types.is_integer(kind) else pa.timestamp("ns", getattr(kind, "tz", None))
