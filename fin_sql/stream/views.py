"""The rows of a view: appended by the pipeline, read by any thread at any time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fin_sql.errors import SourceError
from fin_sql.exec.keys import Keys
from fin_sql.states import Cancel
from fin_sql.stream.intake import LATE, LATE_AFTER_IDLE, NO_TIME, Sizes
from fin_sql.stream.source import DEAD_LETTERS
from fin_sql.stream.stages import times_ns

SEGMENT_ROWS = 65_536
FRESH, FRESH_ROWS = 16, 4_096  # small batches are joined when there are so many
OF_TIME = (NO_TIME, LATE, LATE_AFTER_IDLE)


@dataclass(frozen=True)
class Retain:
    """How much of a view is kept.

    Args:
        ns: rows whose event time lies further back than this, seen from the latest row, go.
        bytes: the oldest rows go beyond about so many.
        time: the column of the event time; "" where rows have none.
        ascending: rows come in the order of the event time.
    """

    ns: int | None = None
    bytes: int = 256 << 20
    time: str = ""
    ascending: bool = True


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
        self._fresh: list[pa.RecordBatch] = []  # small ones, behind the others
        self._fresh_bytes, self._measure = 0, Sizes()
        self._batches: deque[pa.RecordBatch] = deque()
        self._sizes: deque[int] = deque()
        self._latest: int | None = None
        self._grown = threading.Condition()
        self.bytes_held = 0
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
        self._fresh.append(rows)
        size = self._measure.of(rows)
        self._fresh_bytes += size
        self.bytes_held += size
        if len(self._fresh) >= FRESH or rows.num_rows > FRESH_ROWS:
            self._settle()
        gone = self._drop(rows)
        made = Snapshot(
            (*self._batches, *self._fresh), before.first + gone, before.rows + rows.num_rows - gone
        )
        with self._grown:
            self._snapshot = made
            self._grown.notify_all()

    def _settle(self) -> None:
        """Join the small batches, and put them behind the others."""
        fresh, self._fresh = self._fresh, []
        whole = pa.concat_batches(fresh) if len(fresh) > 1 else fresh[0]
        self.bytes_held -= self._fresh_bytes
        self._fresh_bytes = 0
        for begin in range(0, whole.num_rows, SEGMENT_ROWS):
            self._add(whole.slice(begin, SEGMENT_ROWS))

    def _add(self, part: pa.RecordBatch) -> None:
        """Put a batch at the end, joined with those before it while they are not much larger."""
        batches, sizes = self._batches, self._sizes
        parts = [part]
        rows = part.num_rows
        while batches and batches[-1].num_rows <= 2 * rows:
            if rows + batches[-1].num_rows > SEGMENT_ROWS:
                break
            rows += batches[-1].num_rows
            parts.append(batches.pop())
            self.bytes_held -= sizes.pop()
        whole = pa.concat_batches(parts[::-1]) if len(parts) > 1 else part
        batches.append(whole)
        sizes.append(whole.nbytes)
        self.bytes_held += sizes[-1]

    def _drop(self, rows: pa.RecordBatch) -> int:
        """Let go of what is too old or too much; returns how many rows that were."""
        gone = 0
        while len(self._batches) > 1 and self.bytes_held > self.retain.bytes:
            gone += self._drop_first()
        if self.retain.ns is None or not self.retain.time:
            return gone
        newest = int(times_ns(rows[self.retain.time]).max())
        self._latest = newest if self._latest is None else max(newest, self._latest)
        edge = self._latest - self.retain.ns
        while True:
            if not self._batches:
                self._settle()
            if self._latest_of(self._batches[0]) >= edge:
                break
            gone += self._drop_first()
        times = times_ns(self._batches[0][self.retain.time])
        if self.retain.ascending and times[0] < edge:
            old = int(np.searchsorted(times, edge))
            kept = self._batches[0].slice(old)
            self._batches[0] = kept
            self.bytes_held += kept.nbytes - self._sizes[0]
            self._sizes[0] = kept.nbytes
            gone += old
        return gone

    def _latest_of(self, batch: pa.RecordBatch) -> int:
        times = times_ns(batch[self.retain.time])
        return int(times[-1] if self.retain.ascending else times.max())

    def _drop_first(self) -> int:
        self.bytes_held -= self._sizes.popleft()
        return int(self._batches.popleft().num_rows)

    def finish(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        with self._grown:
            if not self.ended:
                self.ended, self.error = True, error
            self._grown.notify_all()

    def follow(
        self, begin: int | None = None, cancel: Cancel | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows from a number on (None: the next one that comes), until nothing more comes.

        Raises:
            SourceError: rows that come next are not kept any more: the reader is too slow.
            CancelledError: it was cancelled.
            FinSqlError: what the query of the view has failed with.
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
            for batch in _behind(found, at):
                if cancel is not None:
                    cancel.check()
                at += batch.num_rows
                yield batch
            if ended:  # nothing was added since
                if error is not None:
                    raise error
                return


def _behind(snapshot: Snapshot, at: int) -> list[pa.RecordBatch]:
    """The rows of a snapshot from a number on."""
    found: list[pa.RecordBatch] = []
    wanted = snapshot.next - at
    for batch in reversed(snapshot.batches):
        if wanted <= 0:
            break
        found.append(batch.slice(max(0, batch.num_rows - wanted)))
        wanted -= batch.num_rows
    return found[::-1]


class Letters(RetainedView):
    """Dead letters of a table, each once, however often the table is read."""

    def __init__(self, bytes: int) -> None:
        super().__init__(DEAD_LETTERS, Retain(bytes=bytes))
        self._seen: dict[tuple[int, str], int] = {}  # the last offset by partition and reason

    def append(self, rows: pa.RecordBatch) -> None:
        """Add letters; one thread does."""
        fresh = []
        before = dict(self._seen)
        wanted = ("partition", "offset", "reason")
        for partition, offset, reason in zip(*(rows[n].to_pylist() for n in wanted), strict=True):
            key = (partition, reason if reason in OF_TIME else "")
            fresh.append(offset > before.get(key, -1))
            self._seen[key] = max(offset, self._seen.get(key, -1))
        super().append(rows.filter(pa.array(fresh, pa.bool_())))


class KeyedView:
    """The latest row of each key, in the order in which keys came first.

    Args:
        schema: of the rows.
        key: its columns.
    """

    def __init__(self, schema: pa.Schema, key: Sequence[str]) -> None:
        self.schema, self.key = schema, tuple(key)
        self._keys = Keys()
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

    def finish(self, error: Exception | None = None) -> None:
        """Nothing more comes: the rows stay as they are."""

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


def _plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        a if a.type == f.type else a.cast(f.type)
        for a, f in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
