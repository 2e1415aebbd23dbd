"""Operators and fragments in a row: what goes into one comes out of the others, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.exec.operator import Operator
from fin_sql.exec.order import Piece
from fin_sql.stream.intake import NEVER

Times = npt.NDArray[np.int64]
Conform = Callable[[pa.RecordBatch], pa.RecordBatch]


class Taker(Protocol):
    """Where a stage puts its rows."""

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Take rows."""

    def advance(self, input: int, watermark: int) -> None:
        """Note that all rows up to an event time have come."""


class Stage:
    """Gives its output to any number of takers."""

    ticks = False  # whether it wants to know the time of day

    def __init__(self) -> None:
        self._takers: list[tuple[Any, int]] = []
        self._reached = NEVER

    def feeds(self, taker: Any, input: int = 0) -> None:
        """Give the output to a taker as well."""
        self._takers.append((taker, input))

    def give(self, batch: pa.RecordBatch) -> None:
        """Hand rows on."""
        if batch.num_rows:
            for taker, input in self._takers:
                taker.rows(input, batch)

    def reach(self, watermark: int) -> None:
        """Hand a watermark on, if it is news."""
        if watermark > self._reached:
            self._reached = watermark
            for taker, input in self._takers:
                taker.advance(input, watermark)

    def clock(self, now_ns: int) -> None:
        """Note the time of day."""

    @property
    def bytes_held(self) -> int:
        """Bytes of state and of waiting rows."""
        return 0

    def close(self) -> None:
        """Free everything."""


class Rows(Stage):
    """Rows of a table on their way in: columns under the names of the plan."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._columns = list(columns)
        self._flats = [flat for _, flat in self._columns]
        self._places: list[int] = []

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Take rows of the table, whose columns always come in one order."""
        if not self._flats:
            self.give(pa.record_batch({"_": pa.nulls(batch.num_rows)}).select([]))
            return
        if not self._places:
            self._places = [batch.schema.get_field_index(name) for name, _ in self._columns]
        arrays = [batch.column(place) for place in self._places]
        self.give(pa.RecordBatch.from_arrays(arrays, self._flats))

    def advance(self, input: int, watermark: int) -> None:
        """Pass the watermark on."""
        self.reach(watermark)


class Each(Stage):
    """A function of a batch, of which each row is computed by itself."""

    def __init__(self, change: Callable[[pa.RecordBatch], pa.RecordBatch | None]) -> None:
        super().__init__()
        self._change = change

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Change rows and hand them on."""
        changed = self._change(batch)
        if changed is not None:
            self.give(changed)

    def advance(self, input: int, watermark: int) -> None:
        """Pass the watermark on."""
        self.reach(watermark)


class Operated(Stage):
    """An operator."""

    def __init__(self, operator: Operator, prepare: Sequence[Conform | None] = ()) -> None:
        super().__init__()
        self.operator, self._prepare = operator, tuple(prepare)
        self.ticks = type(operator).clock is not Operator.clock
        self._inputs = [NEVER] * max(1, len(operator.inputs))

    def _out(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.give(piece.batch)

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Take rows of an input."""
        prepare = self._prepare[input] if input < len(self._prepare) else None
        if prepare is not None:
            batch = prepare(batch)
        self._out(self.operator.process(input, Piece(batch)))

    def advance(self, input: int, watermark: int) -> None:
        """Take the watermark of an input."""
        self._inputs[input] = max(watermark, self._inputs[input])
        self._out(self.operator.advance(input, watermark))
        self._reach()

    def _reach(self) -> None:
        reached = self.operator.watermark()
        self.reach(min(self._inputs) if reached is None else reached)

    def clock(self, now_ns: int) -> None:
        """Note the time of day."""
        self._out(self.operator.clock(now_ns))
        self._reach()

    @property
    def bytes_held(self) -> int:
        """Bytes of the operator."""
        return self.operator.bytes_held()

    def close(self) -> None:
        """Close the operator."""
        self.operator.close()


class Windowed(Operated):
    """A window whose rows come in whole groups of equal time, in the order of its ORDER BY.

    Args:
        operator: a KernelWindow.
        prepare: what makes its input.
        order_by: its order columns; rows that a release brings in another order are put into it,
            and back.
        join: makes one batch of several.
    """

    def __init__(
        self,
        operator: Operator,
        prepare: Conform | None,
        order_by: Sequence[str],
        join: Callable[[list[pa.RecordBatch]], pa.RecordBatch],
    ) -> None:
        super().__init__(operator, (prepare,))
        self._order_by, self._join = tuple(order_by), join
        self._held: list[pa.RecordBatch] = []

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Hold rows until their time is complete."""
        self._held.append(batch)

    def advance(self, input: int, watermark: int) -> None:
        """Compute what is complete: what a watermark follows ends with whole groups."""
        held, self._held = self._held, []
        if held:
            self._compute(self._join(held))
        super().advance(input, watermark)

    def _compute(self, batch: pa.RecordBatch) -> None:
        order = None
        if len(self._order_by) > 1:
            order = pc.sort_indices(batch, [(name, "ascending") for name in self._order_by])
            numbers = order.to_numpy()
            if (numbers[1:] > numbers[:-1]).all():
                order = None
        if order is None:
            super().rows(0, batch)
            return
        back = np.empty(len(order), np.int64)
        back[order.to_numpy()] = np.arange(len(order))
        prepare = self._prepare[0]
        batch = prepare(batch) if prepare is not None else batch
        pieces = self.operator.process(0, Piece(batch.take(order)))
        for piece in pieces:
            self.give(piece.batch.take(pa.array(back)))

    @property
    def bytes_held(self) -> int:
        """Bytes of the operator and of the rows that wait."""
        held: int = super().bytes_held
        return held + int(sum(batch.nbytes for batch in self._held))


class Merged(Stage):
    """UNION ALL: the rows of several inputs in the order of event time, then of the inputs."""

    def __init__(self, inputs: int, time: str, schema: pa.Schema, conform: Conform) -> None:
        super().__init__()
        self._time, self._schema, self._conform = time, schema, conform
        self._held: list[deque[tuple[Times, pa.RecordBatch]]] = [deque() for _ in range(inputs)]
        self._inputs = [NEVER] * inputs

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Hold rows of an input, which come in the order of time."""
        batch = self._conform(batch)
        self._held[input].append((times_ns(batch[self._time]), batch))

    def advance(self, input: int, watermark: int) -> None:
        """Give what all inputs have come up to."""
        self._inputs[input] = max(watermark, self._inputs[input])
        reached = min(self._inputs)
        ready = [part for held in self._held for part in _up_to(held, reached)]
        if ready:
            times = np.concatenate([part for part, _ in ready])
            rows = pa.concat_batches([part for _, part in ready])
            if (times[1:] < times[:-1]).any():
                rows = rows.take(pa.array(times.argsort(kind="stable")))
            self.give(rows)
        self.reach(reached)

    @property
    def bytes_held(self) -> int:
        """Bytes of the rows that wait."""
        return sum(batch.nbytes for held in self._held for _, batch in tuple(held))


def _up_to(
    held: deque[tuple[Times, pa.RecordBatch]], reached: int
) -> Iterator[tuple[Times, pa.RecordBatch]]:
    """Take the rows up to a time off the front."""
    while held and held[0][0][0] <= reached:
        times, batch = held.popleft()
        n = int(np.searchsorted(times, reached, side="right"))
        yield times[:n], batch.slice(0, n)
        if n < len(times):
            held.appendleft((times[n:], batch.slice(n)))


class Collector:
    """The end of a graph: rows of a query, handed to a function in the types of its schema."""

    def __init__(
        self,
        take: Callable[[pa.RecordBatch], None],
        conform: Conform,
        reached: Callable[[int], None] | None = None,
    ) -> None:
        self._take, self._conform, self._reached = take, conform, reached

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Take rows."""
        self._take(self._conform(batch))

    def advance(self, input: int, watermark: int) -> None:
        """Take a watermark."""
        if self._reached is not None:
            self._reached(watermark)


def times_ns(array: pa.Array) -> Times:
    """Times as integers in ns."""
    step = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[array.type.unit]
    found: Times = array.view(pa.int64()).to_numpy()
    return found if step == 1 else found * step
