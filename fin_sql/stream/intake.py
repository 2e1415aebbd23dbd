"""Rows of an endless table in the order of event time: what is late, and what is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fin_sql.stream.source import DEAD_LETTERS, Polled

MEASURED = 2_048  # rows between two measurements of their bytes
Times = npt.NDArray[np.int64]

NEVER = -(2**63)  # before all times
END = 2**63 - 1  # behind all times
NO_TIME, LATE, LATE_AFTER_IDLE = "NULL event time", "late", "late_after_idle"
STEP = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True)
class EventTime:
    """Which column is the event time, and how far behind the latest one a row may come.

    Args:
        column: a time.
        delay_ns: a row is late where its time lies further than this before the latest time of the
            rows before it in its partition.
        idle_ns: a partition that gave no row for so long does not hold the others back; None: it
            always does.
        arrival: rows are taken as they come, and none is late.
    """

    column: str
    delay_ns: int = 0
    idle_ns: int | None = 200_000_000
    arrival: bool = False


@dataclass
class Counts:
    """What became of the messages: rows = released + waiting, messages may hold several rows."""

    messages: int = 0
    rows: int = 0
    late: int = 0
    bad: int = 0
    passed: int = 0
    released: int = 0


@dataclass(slots=True)
class _Held:
    """Rows of one poll that wait for their release."""

    times: Times
    rows: pa.RecordBatch
    ascending: bool
    first: int
    last: int
    bytes: int


@dataclass(slots=True)
class _Partition:
    """What is known of one partition, and its rows that wait for their release."""

    latest: int = NEVER
    watermark: int = NEVER
    seen_ns: int = 0  # when it gave its last row, by the steady clock
    idle: bool = False
    resting: bool = False  # it gives no more, but others may come behind it
    held: list[_Held] = field(default_factory=list)


@dataclass(frozen=True)
class Released:
    """Rows that come next, in the order (event time, partition, offset).

    Args:
        rows: the columns of the table.
        watermark: every row with this event time or an earlier one has been released (ns).
        arrived_ns: when the latest of the messages was there; 0 where that is not known.
        bytes: about how many the rows have.
    """

    rows: pa.RecordBatch
    watermark: int
    arrived_ns: int = 0
    bytes: int = 0


class Intake:
    """Takes what a source gives, and gives it on in the order of event time.

    Row i of a partition is late iff its time is less than the latest time of the rows before it,
    less the delay: a property of the log alone. The watermark of a partition is 1 ns before that
    bound, so that rows of equal time are never late for each other. The watermark of the table, the
    least of its partitions', only decides when rows are released, whole groups of equal time
    together.

    Args:
        schema: of the rows.
        time: the event time.
        source: what dead letters call it.
        letters: takes dead letters, batches of DEAD_LETTERS.
    """

    def __init__(
        self,
        schema: pa.Schema,
        time: EventTime,
        source: str,
        letters: Callable[[pa.RecordBatch], None],
    ) -> None:
        self.schema, self.time, self.source, self.letters = schema, time, source, letters
        self.counts = Counts()
        self.watermark = NEVER
        self._step = STEP[schema.field(time.column).type.unit]
        self._partitions: dict[int, _Partition] = {}
        self._waiting = self._bytes = 0
        self._arrived = 0
        self._fresh: list[pa.RecordBatch] = []  # of order = 'arrival'

    # ------------------------------------------------------------ in

    def begin(
        self,
        partitions: Sequence[int],
        steady_ns: int = 0,
        floor: Callable[[int], int | None] | None = None,
    ) -> None:
        """Wait for these partitions from now on.

        Args:
            partitions: which.
            steady_ns: now, by the steady clock.
            floor: gives the time that no row of a partition comes before, where that is known.
        """
        for number in partitions:
            if number not in self._partitions:
                made = self._partitions[number] = _Partition(seen_ns=steady_ns)
                self._partitions = dict(sorted(self._partitions.items()))
                least = floor(number) if floor is not None else None
                if least is not None:
                    made.watermark = least - 1

    def take(self, polled: Polled, steady_ns: int = 0, bytes: int | None = None) -> None:
        """Take the messages of a poll.

        Args:
            polled: what came.
            steady_ns: now, by the steady clock.
            bytes: how many the rows have, where that is known.
        """
        self.begin([polled.partition], steady_ns)
        counts, rows = self.counts, polled.rows
        counts.messages += polled.messages
        counts.passed += polled.passed
        self._arrived = max(self._arrived, polled.arrived_ns)
        if polled.bad is not None and polled.bad.num_rows:
            counts.bad += polled.bad.num_rows
            self.letters(polled.bad)
        offsets = polled.offsets.to_numpy()
        times = rows[self.time.column]
        if times.null_count:
            kept = times.is_valid()
            self._letter(polled.partition, rows, offsets, ~_mask(kept), NO_TIME, None)
            counts.bad += times.null_count
            rows, offsets = rows.filter(kept), offsets[_mask(kept)]
        if not rows.num_rows:
            return
        partition = self._partitions[polled.partition]
        partition.seen_ns, partition.idle, partition.resting = steady_ns, False, False
        counts.rows += rows.num_rows
        bytes = rows.nbytes if bytes is None else bytes
        if self.time.arrival:
            self._fresh.append(rows)
            self._waiting += rows.num_rows
            self._bytes += bytes
            return
        ns = rows[self.time.column].view(pa.int64()).to_numpy()
        if self._step > 1:
            ns = ns * self._step
        ascending = bool((ns[1:] >= ns[:-1]).all())
        first = int(ns[0] if ascending else ns.min())
        if ascending and first > self.watermark and first >= partition.latest - self.time.delay_ns:
            partition.latest = max(int(ns[-1]), partition.latest)
        else:
            gone = self._gone(polled.partition, rows, offsets, ns)
            if gone.any():
                rows, ns = rows.filter(pa.array(~gone)), ns[~gone]
        bound = partition.latest - self.time.delay_ns - 1
        partition.watermark = max(bound, partition.watermark)
        if rows.num_rows:
            first, last = (int(ns[0]), int(ns[-1])) if ascending else (int(ns.min()), int(ns.max()))
            partition.held.append(_Held(ns, rows, ascending, first, last, bytes))
            self._waiting += rows.num_rows
            self._bytes += bytes

    def _gone(
        self, number: int, rows: pa.RecordBatch, offsets: Times, ns: Times
    ) -> npt.NDArray[np.bool_]:
        """Which rows come too late; they become dead letters."""
        partition = self._partitions[number]
        before = np.maximum.accumulate(np.concatenate(([partition.latest], ns)))
        bound = np.maximum(before[:-1], NEVER + self.time.delay_ns) - self.time.delay_ns
        late, behind = ns < bound, ns <= self.watermark
        partition.latest = int(before[-1])
        behind &= ~late
        for mask, reason in ((late, LATE), (behind, LATE_AFTER_IDLE)):
            if mask.any():
                self._letter(number, rows, offsets, mask, reason, ns)
                self.counts.late += int(mask.sum())
        return late | behind

    def _letter(
        self,
        number: int,
        rows: pa.RecordBatch,
        offsets: Times,
        mask: npt.NDArray[np.bool_],
        reason: str,
        ns: Times | None,
    ) -> None:
        n = int(mask.sum())
        times = pa.nulls(n, pa.timestamp("ns"))
        if ns is not None:
            times = pa.array(ns[mask]).view(pa.timestamp("ns"))
        columns = [
            pa.repeat(self.source, n),
            pa.repeat(pa.scalar(number, pa.int32()), n),
            pa.array(offsets[mask]),
            pa.repeat(reason, n),
            times,
            pa.nulls(n, pa.binary()),
        ]
        self.letters(pa.RecordBatch.from_arrays(columns, schema=DEAD_LETTERS))

    # ------------------------------------------------------------ out

    def end(self, number: int) -> None:
        """Nothing more comes from a partition."""
        self.begin([number])
        self._partitions[number].watermark = END

    def rest(self, number: int) -> None:
        """Nothing more comes from a partition, and others may come that go on where it stopped.

        It holds nobody back. While all partitions rest, the one that has come the furthest says how
        far the table is, and what comes then may be late by the delay, as within a partition.
        """
        self._partitions[number].resting = True

    def note_idle(self, steady_ns: int, lag: Mapping[int, int] | None = None) -> None:
        """Let partitions that have been silent for too long hold nobody back.

        Args:
            steady_ns: now, by the steady clock.
            lag: messages that are there and were not given: where some are, or none can tell, a
                partition is behind and not silent.
        """
        if self.time.idle_ns is None or self.time.arrival:
            return
        for number, partition in self._partitions.items():
            if lag is not None and lag.get(number) != 0 and not partition.idle:
                partition.seen_ns = steady_ns
            elif steady_ns - partition.seen_ns >= self.time.idle_ns:
                partition.idle = True

    def _reached(self) -> int:
        awake = least = None
        for p in self._partitions.values():
            if not p.idle:
                awake = True
                if not p.resting and (least is None or p.watermark < least):
                    least = p.watermark
        if least is not None:
            return least
        known = self._partitions.values()
        if awake:
            return max(p.watermark for p in known)
        # All are silent: the last tie group closes too.
        return max((max(p.latest, p.watermark) for p in known), default=NEVER)

    def release(self) -> Released | None:
        """The rows that are complete now; None where nothing has changed."""
        if self.time.arrival:
            return self._as_they_came()
        reached = self._reached()
        if reached <= self.watermark:
            return None
        self.watermark = reached
        times: list[Times] = []
        batches: list[pa.RecordBatch] = []
        before = self._bytes
        for partition in self._partitions.values():
            if partition.held:
                partition.held = self._ready(partition.held, reached, times, batches)
        arrived, self._arrived = self._arrived, 0
        return Released(self._ordered(times, batches), reached, arrived, before - self._bytes)

    def _ready(
        self, held: list[_Held], reached: int, times: list[Times], batches: list[pa.RecordBatch]
    ) -> list[_Held]:
        """Take what a watermark has passed; returns what goes on waiting."""
        kept = []
        for part in held:
            if part.last <= reached:
                times.append(part.times)
                batches.append(part.rows)
                self._bytes -= part.bytes
            elif part.first > reached:
                kept.append(part)
            else:
                kept.append(self._split(part, reached, times, batches))
        return kept

    def _split(
        self, part: _Held, reached: int, times: list[Times], batches: list[pa.RecordBatch]
    ) -> _Held:
        ns, rows = part.times, part.rows
        if part.ascending:
            n = int(np.searchsorted(ns, reached, side="right"))
            times.append(ns[:n])
            batches.append(rows.slice(0, n))
            ns, rows = ns[n:], rows.slice(n)
        else:
            ready = ns <= reached
            times.append(ns[ready])
            batches.append(rows.filter(pa.array(ready)))
            ns, rows = ns[~ready], rows.filter(pa.array(~ready))
        left = part.bytes * len(ns) // len(part.times)
        self._bytes -= part.bytes - left
        first = int(ns[0] if part.ascending else ns.min())
        return _Held(ns, rows, part.ascending, first, part.last, left)

    def _as_they_came(self) -> Released | None:
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return None
        self._waiting = self._bytes = 0
        arrived, self._arrived = self._arrived, 0
        rows = joined(fresh, self.schema)
        self.counts.released += rows.num_rows
        return Released(rows, NEVER, arrived)

    def _ordered(self, times: list[Times], batches: list[pa.RecordBatch]) -> pa.RecordBatch:
        """Rows by time; those of equal time by partition, then offset, as they stand here."""
        rows = joined(batches, self.schema)
        if not batches:
            return rows
        self._waiting -= rows.num_rows
        self.counts.released += rows.num_rows
        ns = times[0] if len(times) == 1 else np.concatenate(times)
        if (ns[1:] < ns[:-1]).any():
            # A stable sort of runs that are nearly in order: a merge.
            rows = rows.take(pa.array(np.argsort(ns, kind="stable")))
        return rows

    @property
    def waiting(self) -> int:
        """Rows that are held until the watermark passes them."""
        return self._waiting

    @property
    def bytes_held(self) -> int:
        """About how many bytes the rows that wait have."""
        return self._bytes


def joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Batches as one; dictionaries of their own become one."""
    if not batches:
        return _nothing(schema)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


class Sizes:
    """About how many bytes batches have: now and then one is asked, which takes long."""

    def __init__(self) -> None:
        self._of_row = 0.0
        self._left = 0

    def of(self, rows: pa.RecordBatch) -> int:
        """The bytes of a batch, of the same kind as those before it."""
        n: int = rows.num_rows
        if n and n > self._left:
            self._of_row = rows.nbytes / n
            self._left = MEASURED
        self._left -= n
        return int(n * self._of_row)


def _nothing(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


def _mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(array.to_numpy(zero_copy_only=False), bool)


def bounded_rows(
    poll: Callable[[], list[Polled]],
    ended: Callable[[int], bool],
    partitions: Callable[[], Sequence[int]],
    intake: Intake,
) -> Iterator[Released]:
    """All rows that a bounded source has, by the same rules as a stream's."""
    intake.begin(partitions())
    done: set[int] = set()
    while True:
        found = poll()
        for polled in found:
            intake.take(polled)
        for number in partitions():
            intake.begin([number])
            if number not in done and ended(number):
                done.add(number)
                intake.end(number)
        released = intake.release()
        if released is not None and released.rows.num_rows:
            yield released
        if done >= set(partitions()) and intake.watermark == END:
            return
        if not found and done >= set(partitions()):
            return
