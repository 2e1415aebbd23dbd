"""KernelAggregate: rows folded, one by one and in order, into the state of their group."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Column, Slots, column
from fin_sql.errors import NotStreamableError
from fin_sql.exec.calls import Call, Computed, ordered_cells
from fin_sql.exec.folded import FOLDED, bind
from fin_sql.exec.keys import Keys, first_rows
from fin_sql.exec.operator import Operator
from fin_sql.exec.order import Piece
from fin_sql.exec.time_windows import NO_TIME, Timeline, TimeWindow
from fin_sql.states import Cancel, States

WINDOW_START, WINDOW_END = "window_start", "window_end"


class Folded(Computed):
    """What KernelAggregate does for a call: a bound aggregate, its columns and its value.

    Args:
        call: an aggregate kernel or a standard function; its constant `order` has the columns that
            first_value and last_value order their rows by, each with whether it descends.
        schema: of the input.
    """

    def __init__(self, call: Call, schema: pa.Schema) -> None:
        super().__init__(call, schema, ())
        self.order: tuple[tuple[str, bool], ...] = ()
        if self.standard:
            self.order = tuple(call.params.get("order", ()))
            name = self.bound.kernel.spec.name.removesuffix(" rows")
            if self.order:
                name = {"first_value": "first_by", "last_value": "last_by"}[name]
            self.bound = bind(FOLDED[name])

    def columns(self, rows: pa.RecordBatch, more: int = 0) -> list[Column]:  # noqa: D102
        if not self.order:
            return super().columns(rows, more)
        found = self.flagged(rows)
        for name, descends in (*self.order, *self.order)[:2]:
            cells = ordered_cells(rows[name])
            cells = pc.bit_wise_not(cells) if descends else cells
            found.append(column(cells, "int64", "the order"))
        return found


class KernelAggregate(Operator):
    """One row for each group, in the order in which groups appear.

    Args:
        calls: what to compute.
        schema: of the input.
        keys: columns whose values make a group; none, and no window, is one group of all rows.
        window: windows of time that make a group together with the keys.
        cancel: a flag that stops it from another thread.
        threads: that the calls are spread over; the results are the same.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        schema: pa.Schema,
        keys: Sequence[str] = (),
        window: TimeWindow | None = None,
        *,
        cancel: Cancel | None = None,
        threads: int = 1,
    ) -> None:
        self.calls = tuple(calls)
        self.keys, self.window, self.cancel = tuple(keys), window, cancel
        self._schema = schema
        self._folded = [Folded(call, schema) for call in self.calls]
        self._threads = min(threads, len(self._folded))
        self._pool: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []
        # The last key that is a time changes as slowly as a window does.
        times = [k for k in self.keys if pa.types.is_timestamp(schema.field(k).type)]
        self._time = window.time if window else times[-1] if times else None
        self._plain = [k for k in self.keys if window or k != self._time]
        self.close()

    def close(self) -> None:  # noqa: D102
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._running = []
        self._keys = Keys()
        self._timeline: Timeline | None = None
        if self._time is not None:
            self._timeline = Timeline(self.window, self._schema.field(self._time).type)
        self._states = [States(folded.bound) for folded in self._folded]
        self._values: dict[str, list[pa.Array]] = {name: [] for name in self._plain}
        self._known = 0

    def watermark(self) -> int | None:  # noqa: D102
        return None  # groups are complete at the end

    @property
    def n_groups(self) -> int:
        """How many groups there are; all rows are one, even where there are none."""
        if self._timeline is not None:
            return self._timeline.groups.n_slots
        return self._known if self.keys else 1

    def process(self, input: int, piece: Piece) -> list[Piece]:  # noqa: D102
        self.take(piece.batch)
        return []

    def take(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Slots]:
        """Fold some rows; returns them, repeated for each window they fall into, and their groups.

        Raises:
            KernelError: a kernel refused a row.
            CancelledError: the query was cancelled.
        """
        slots = self._keys.intern([batch[name] for name in self._plain], len(batch))
        self._note(batch, slots)
        if self._timeline is not None:
            groups = self._timeline.groups
            cells = self._timeline.cells(batch[self._time])
            if groups.overlapping > 1:
                rows, slots = groups.overlapped(slots, cells)
                batch = batch.take(rows)
            else:
                slots = groups.slots(slots, cells)
        self._wait()
        kept = self._kept(batch, slots)
        jobs = [
            (folded, states, *kept[folded.call.kept])
            for folded, states in zip(self._folded, self._states, strict=True)
        ]
        if self._threads > 1:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads)
            self._running = [self._pool.submit(self._fold, *job) for job in jobs]
        else:
            for job in jobs:
                self._fold(*job)
        return batch, slots

    def _kept(self, batch: pa.RecordBatch, slots: Slots) -> dict[str, tuple[pa.RecordBatch, Slots]]:
        """The rows that each condition is true for, and their groups; "" has all."""
        found = {"": (batch, slots)}
        for name in dict.fromkeys(call.kept for call in self.calls if call.kept):
            mask = batch[name]
            if mask.true_count == len(mask):
                found[name] = (batch, slots)
            else:
                groups = Slots.of(slots.array().filter(mask), slots.top)
                found[name] = (batch.filter(mask), groups)
        return found

    def _wait(self) -> None:
        """Batches are folded one after another, each while the groups of the next are found."""
        running, self._running = self._running, []
        for job in running:
            job.result()

    def _fold(self, folded: Folded, states: States, batch: pa.RecordBatch, slots: Slots) -> None:
        states.fold(folded.columns(batch), slots, self.cancel)

    def _note(self, batch: pa.RecordBatch, slots: Slots) -> None:
        """Keep the values of each key that is new."""
        known, self._known = self._known, max(self._known, slots.top if len(batch) else 0)
        if self._known == known:
            return
        rows = first_rows(slots)
        new = slots.array().take(rows).to_numpy() >= known
        rows = rows.filter(pa.array(new))
        for name in self._plain:
            values = batch[name].take(rows)
            kind = self._schema.field(name).type
            self._values[name].append(values if values.type == kind else values.cast(kind))

    def groups(self) -> pa.RecordBatch:
        """Key, window and values of each group."""
        self._wait()
        fields: list[tuple[str, pa.Array]] = []
        windows: tuple[pa.Array, pa.Array] | None = None
        of_key: pa.Array | None = None
        if self._timeline is not None:
            assert self._time is not None
            kind = self._schema.field(self._time).type
            found = self._timeline.groups.windows()
            windows = (_times(found[0], kind), _times(found[1], kind))
            of_key = self._timeline.groups.keys_of()
        for name in self.keys:
            if name in self._values:
                parts = self._values[name]
                kind = self._schema.field(name).type
                values = pa.concat_arrays(parts) if parts else pa.nulls(0, kind)
                fields.append((name, values if of_key is None else values.take(of_key)))
            elif windows:
                fields.append((name, windows[0]))
        if self.window and windows:
            fields += zip((WINDOW_START, WINDOW_END), windows, strict=True)
        for call, folded, states in zip(self.calls, self._folded, self._states, strict=True):
            states.reserve(self.n_groups)
            fields.append((call.name, folded.finish(states.values(self.n_groups))))
        if not fields:
            return pa.record_batch({"_": pa.nulls(self.n_groups)}).select([])
        names, arrays = zip(*fields, strict=True)
        return pa.RecordBatch.from_arrays(list(arrays), list(names))

    def changes(self) -> pa.RecordBatch:  # noqa: D102
        msg = "groups cannot be checkpointed yet"
        raise NotStreamableError(msg)

    def bytes_held(self) -> int:  # noqa: D102
        held = self._keys.bytes_held + sum(states.bytes_held for states in self._states)
        return held + (self._timeline.groups.bytes_held if self._timeline else 0)


def _times(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Times of a type; NO_TIME is NULL."""
    values = cells.to_numpy()
    return pa.array(values, mask=values == np.int64(NO_TIME)).view(kind)


def aggregate_type(call: Call, schema: pa.Schema) -> pa.DataType:
    """The type of a call's value."""
    return Folded(call, schema).type
