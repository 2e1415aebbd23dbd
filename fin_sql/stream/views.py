"""The rows of a view: appended by the pipeline, read by any thread at any time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import SourceError
from fin_sql.exec.keys import Keys
from fin_sql.states import Cancel

SEGMENT_ROWS = 65_536
STEP = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True)
class Retain:
    """How much of a view is kept.

    Args:
        ns: rows whose event time lies further back than this, seen from the latest row, may go.
        bytes: the oldest rows go beyond so many.
        time: the column of the event time; "" where rows have none.
    """

    ns: int | None = None
    bytes: int = 256 << 20
    time: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The rows of a view at one moment; it never changes.

    Args:
        batches: the rows, oldest first.
        first: number of the first row, counted from the beginning of the view.
        rows: how many there are.
    """

    batches: tuple[pa.RecordBatch, ...] = ()
    first: int = 0
    rows: int = 0

    @property
    def next(self) -> int:
        """The number of the row that comes next."""
        return self.first + self.rows


class RetainedView:
    """The last rows of a query, in their order.

    The pipeline's thread appends; readers take a snapshot, which is one reference, and never make
    it wait. Small batches at the end are joined into segments as they become many.

    Args:
        schema: of the rows.
        retain: how much is kept.
    """

    def __init__(self, schema: pa.Schema, retain: Retain) -> None:
        self.schema, self.retain = schema, retain
        self._snapshot = Snapshot()
        self._grown = threading.Condition()
        self._latest: int | None = None
        self.ended = False
        self.error: Exception | None = None

    def snapshot(self) -> Snapshot:
        """The rows that are there now."""
        return self._snapshot

    def append(self, rows: pa.RecordBatch) -> None:
        """Add rows; one thread does."""
        if not rows.num_rows:
            return
        before = self._snapshot
        batches = [*before.batches, rows]
        batches = _in_segments(batches)
        first, batches = self._dropped(before.first, batches, rows)
        made = Snapshot(tuple(batches), first, sum(b.num_rows for b in batches))
        with self._grown:
            self._snapshot = made
            self._grown.notify_all()

    def _dropped(
        self, first: int, batches: list[pa.RecordBatch], rows: pa.RecordBatch
    ) -> tuple[int, list[pa.RecordBatch]]:
        """Let go of whole batches that are too old or too many."""
        held = sum(b.nbytes for b in batches)
        edge = None
        if self.retain.ns is not None and self.retain.time:
            newest = _last_time(rows[self.retain.time])
            if newest is not None:
                self._latest = max(newest, self._latest if self._latest is not None else newest)
            if self._latest is not None:
                edge = self._latest - self.retain.ns
        while len(batches) > 1:
            old = False
            if edge is not None:
                last = _last_time(batches[0][self.retain.time])
                old = last is not None and last < edge
            if not old and held <= self.retain.bytes:
                break
            held -= batches[0].nbytes
            first += batches[0].num_rows
            batches.pop(0)
        return first, batches

    def finish(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        with self._grown:
            self.ended, self.error = True, error
            self._grown.notify_all()

    def follow(
        self, begin: int | None = None, cancel: Cancel | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows from a number on (None: the next one that comes), for ever.

        Raises:
            SourceError: rows that come next are not kept any more: the reader is too slow.
            CancelledError: it was cancelled.
        """
        at = self._snapshot.next if begin is None else begin
        while True:
            with self._grown:
                while self._snapshot.next <= at and not self.ended:
                    self._grown.wait(0.1)
                    if cancel is not None:
                        cancel.check()
                found, ended, error = self._snapshot, self.ended, self.error
            if at < found.first:
                msg = (
                    f"a reader of a view is {found.first - at} rows behind what is kept; read "
                    "faster, or raise retain"
                )
                raise SourceError(msg)
            place = found.first
            for batch in found.batches:
                if place + batch.num_rows > at:
                    yield batch.slice(max(0, at - place))
                    at = place + batch.num_rows
                place += batch.num_rows
            if ended and self._snapshot.next <= at:
                if error is not None:
                    raise error
                return

    @property
    def bytes_held(self) -> int:
        """Bytes of the rows."""
        return sum(b.nbytes for b in self._snapshot.batches)


class KeyedView:
    """The latest row of each key, in the order in which keys came first.

    Args:
        schema: of the rows.
        key: its columns.
    """

    def __init__(self, schema: pa.Schema, key: Sequence[str]) -> None:
        self.schema, self.key = schema, tuple(key)
        self._keys = Keys()
        self._rows = RetainedView(schema, Retain(bytes=1 << 62))  # what subscribers follow
        self._table: pa.RecordBatch | None = None
        self._pending: list[pa.RecordBatch] = []
        self._lock = threading.Lock()

    def append(self, rows: pa.RecordBatch) -> None:
        """Put rows in the place of those of their keys."""
        if not rows.num_rows:
            return
        with self._lock:
            self._pending.append(rows)
            if sum(b.num_rows for b in self._pending) >= SEGMENT_ROWS:
                self._fold()

    def _fold(self) -> None:
        """Take the pending rows into the table."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        parts = [*([self._table] if self._table is not None else []), *pending]
        table = pa.Table.from_batches([_plain(b, self.schema) for b in parts]).combine_chunks()
        rows = table.to_batches()[0]
        slots = self._keys.intern([rows[name] for name in self.key], rows.num_rows)
        places = np.full(slots.top, -1, np.int64)
        places[slots.array().to_numpy()] = np.arange(rows.num_rows)  # the last one stays
        self._table = rows.take(pa.array(places[places >= 0]))

    def snapshot(self) -> Snapshot:
        """The rows that are there now."""
        with self._lock:
            self._fold()
            if self._table is None:
                return Snapshot()
            return Snapshot((self._table,), 0, self._table.num_rows)

    @property
    def bytes_held(self) -> int:
        """Bytes of the rows."""
        with self._lock:
            held: int = sum(b.nbytes for b in self._pending)
            return held + int(self._table.nbytes if self._table is not None else 0)


def _in_segments(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Join the last batches while each is not larger than what follows it: log n of them stay."""
    while len(batches) > 1:
        before, last = batches[-2], batches[-1]
        if before.num_rows > 2 * last.num_rows or before.num_rows + last.num_rows > SEGMENT_ROWS:
            break
        batches[-2:] = [pa.concat_batches([before, last])]
    return batches


def _plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        a if a.type == f.type else a.cast(f.type)
        for a, f in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _last_time(array: pa.Array) -> int | None:
    """The latest time of a column in ns."""
    latest = pc.max(array)
    if not latest.is_valid:
        return None
    value: int = latest.cast(pa.timestamp(array.type.unit)).value
    return value * STEP[array.type.unit]
