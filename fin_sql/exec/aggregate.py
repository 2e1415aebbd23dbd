"""KernelAggregate: rows folded, one by one and in order, into the state of their group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Column, Slots, column
from fin_sql.errors import KernelError, NotStreamableError
from fin_sql.exec.calls import Call, Computed, ordered_cells
from fin_sql.exec.folded import FOLDED, bind
from fin_sql.exec.keys import Keys, first_rows
from fin_sql.exec.operator import Operator
from fin_sql.exec.order import Piece
from fin_sql.exec.time_windows import NO_TIME, Timeline, TimeWindow
from fin_sql.states import Cancel, States

WINDOW_START, WINDOW_END = "window_start", "window_end"
SPREAD_ROWS = 4_096  # of a batch whose calls are worth other threads
REPEATED = 1 << 20  # rows of a part that is repeated for each of the windows they fall into


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
        self._appeared: list[pa.Array] = []
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
        for part in self.parts(piece.batch):
            self.take(part)
        return []

    def parts(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """A batch in parts that stay small when each row is repeated for all of its windows."""
        windows = self._timeline.groups.overlapping if self._timeline else 1
        step = max(REPEATED // windows, 1) if windows > 1 else max(len(batch), 1)
        for begin in range(0, len(batch), step):
            yield batch.slice(begin, step)

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
        if self._threads > 1 and len(batch) >= SPREAD_ROWS:
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
        """Keep the values of each key that is new, by its slot."""
        known, self._known = self._known, max(self._known, slots.top if len(batch) else 0)
        if self._known == known:
            return
        rows = first_rows(slots)
        found = slots.array().take(rows)
        new = pc.greater_equal(found, known)
        rows, found = rows.filter(new), found.filter(new)
        # Those of a dictionary have slots in its own order, and NULL behind them.
        self._appeared.append(found)
        rows = rows.take(pc.sort_indices(found))
        for name in self._plain:
            values = batch[name].take(rows)
            kind = self._schema.field(name).type
            self._values[name].append(values if values.type == kind else values.cast(kind))

    def groups(self, beside: Mapping[str, pa.Array] | None = None) -> pa.RecordBatch:
        """Key, window and values of each group: by window, then in the order of their first rows.

        Args:
            beside: more columns, with a value for each group as `take` numbers them.
        """
        self._wait()
        order = None
        if self.window and self._timeline:
            starts = self._timeline.groups.windows()[0].to_numpy()
            if (starts[1:] < starts[:-1]).any():
                order = np.argsort(starts, kind="stable")
        elif self._appeared and self._timeline is None:
            appeared = pa.concat_arrays(self._appeared).to_numpy()
            if not np.array_equal(appeared, np.arange(len(appeared))):
                order = appeared
        found = self.rows(order)
        for name, values in (beside or {}).items():
            found = found.append_column(name, values if order is None else values.take(order))
        return found

    def rows(self, chosen: npt.NDArray[np.integer[Any]] | None = None) -> pa.RecordBatch:
        """Key, window and values of some groups, or of all as they are numbered."""
        n = self.n_groups if chosen is None else len(chosen)
        picked = None if chosen is None else pa.array(chosen.astype(np.int32))
        fields: list[tuple[str, pa.Array]] = []
        windows: list[pa.Array] = []
        of_key = picked
        if self._timeline is not None:
            assert self._time is not None
            kind = self._schema.field(self._time).type
            of_key = self._timeline.groups.keys_of()
            for cells in self._timeline.groups.windows():
                windows.append(_times(cells if picked is None else cells.take(picked), kind))
            of_key = of_key if picked is None else of_key.take(picked)
        for name in self.keys:
            if name in self._values:
                values = self._key_values(name)
                fields.append((name, values if of_key is None else values.take(of_key)))
            else:
                fields.append((name, windows[0]))
        if self.window:
            fields += zip((WINDOW_START, WINDOW_END), windows, strict=True)
        slots = None if picked is None else Slots.of(picked, self.n_groups)
        for call, folded, states in zip(self.calls, self._folded, self._states, strict=True):
            states.reserve(self.n_groups)
            fields.append((call.name, self._values_of(call, folded, states, n, slots)))
        if not fields:
            return pa.record_batch({"_": pa.nulls(n)}).select([])
        names, arrays = zip(*fields, strict=True)
        return pa.RecordBatch.from_arrays(list(arrays), list(names))

    def _key_values(self, name: str) -> pa.Array:
        """The values of a key column by the slots of the keys."""
        parts = self._values[name]
        found = pa.concat_arrays(parts) if parts else pa.nulls(0, self._schema.field(name).type)
        self._values[name] = [found]
        return found

    def _values_of(
        self, call: Call, folded: Folded, states: States, n: int, slots: Slots | None
    ) -> pa.Array:
        try:
            return folded.finish(states.values(n, slots))
        except KernelError as error:
            if not folded.standard:
                raise
            shown = "".join(f" of '{arg}'" for arg in call.args if not arg.startswith("__"))
            msg = (
                f"{call.kernel}{shown}: the total of a group does not fit BIGINT; sum "
                "CAST(... AS DOUBLE), or CAST(... AS DECIMAL(38, 0))"
            )
            raise KernelError(msg, error.row, error.code) from None

    def changes(self) -> pa.RecordBatch:  # noqa: D102
        msg = "groups cannot be checkpointed yet"
        raise NotStreamableError(msg)

    def bytes_held(self) -> int:  # noqa: D102
        held: int = self._keys.bytes_held + sum(states.bytes_held for states in self._states)
        held += sum(part.nbytes for parts in self._values.values() for part in parts)
        held += sum(part.nbytes for part in self._appeared)
        return held + (self._timeline.groups.bytes_held if self._timeline else 0)


def _times(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Times of a type; NO_TIME is NULL."""
    values = cells.to_numpy()
    return pa.array(values, mask=values == np.int64(NO_TIME)).view(kind)


def aggregate_type(call: Call, schema: pa.Schema) -> pa.DataType:
    """The type of a call's value."""
    return Folded(call, schema).type
