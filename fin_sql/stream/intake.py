"""Rows of an endless table in the order of event time: what is late, and what is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fin_sql.stream.source import DEAD_LETTERS, Polled

Times = npt.NDArray[np.int64]

NEVER = -(2**63)  # before all times
END = 2**63 - 1  # behind all times
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


@dataclass
class _Partition:
    """What is known of one partition, and its rows that wait for their release."""

    latest: int = NEVER
    watermark: int = NEVER
    seen_ns: int = 0  # when it gave its last row, by the steady clock
    idle: bool = False
    times: list[Times] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    offsets: list[Times] = field(default_factory=list)


@dataclass(frozen=True)
class Released:
    """Rows that come next, in the order (event time, partition, offset).

    Args:
        rows: the columns of the table.
        watermark: every row with this event time or an earlier one has been released (ns).
        arrived_ns: when the latest of the messages was there; 0 where that is not known.
    """

    rows: pa.RecordBatch
    watermark: int
    arrived_ns: int = 0


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
                least = floor(number) if floor is not None else None
                if least is not None:
                    made.watermark = least - 1

    def take(self, polled: Polled, steady_ns: int = 0) -> None:
        """Take the messages of a poll."""
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
            self._letter(polled.partition, rows, offsets, ~_mask(kept), "NULL event time", None)
            counts.bad += times.null_count
            rows, offsets = rows.filter(kept), offsets[_mask(kept)]
        if not rows.num_rows:
            return
        partition = self._partitions[polled.partition]
        partition.seen_ns, partition.idle = steady_ns, False
        counts.rows += rows.num_rows
        if self.time.arrival:
            self._fresh.append(rows)
            self._hold(rows)
            return
        ns = rows[self.time.column].view(pa.int64()).to_numpy() * self._step
        before = np.maximum.accumulate(np.concatenate(([partition.latest], ns)))
        bound = np.maximum(before[:-1], NEVER + self.time.delay_ns) - self.time.delay_ns
        late, behind = ns < bound, ns <= self.watermark
        partition.latest = int(before[-1])
        partition.watermark = max(partition.latest - self.time.delay_ns - 1, partition.watermark)
        behind &= ~late
        for mask, reason in ((late, "late"), (behind, "late_after_idle")):
            if mask.any():
                self._letter(polled.partition, rows, offsets, mask, reason, ns)
                counts.late += int(mask.sum())
        gone = late | behind
        if gone.any():
            rows, ns, offsets = rows.filter(pa.array(~gone)), ns[~gone], offsets[~gone]
        if rows.num_rows:
            partition.batches.append(rows)
            partition.times.append(ns)
            self._hold(rows)

    def _hold(self, rows: pa.RecordBatch) -> None:
        self._waiting += rows.num_rows
        self._bytes += rows.nbytes

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
        """Nothing comes from a partition for now: it holds nobody back."""
        self._partitions[number].idle = True

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
        known = list(self._partitions.values())
        if not known:
            return NEVER
        awake = [p.watermark for p in known if not p.idle]
        if awake:
            return min(awake)
        return max(max(p.latest, p.watermark) for p in known)  # the last tie group closes too

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
        for number in sorted(self._partitions):
            partition = self._partitions[number]
            kept: list[tuple[Times, pa.RecordBatch]] = []
            for ns, batch in zip(partition.times, partition.batches, strict=True):
                ready = ns <= reached
                if ready.all():
                    times.append(ns)
                    batches.append(batch)
                elif ready.any():
                    times.append(ns[ready])
                    batches.append(batch.filter(pa.array(ready)))
                    kept.append((ns[~ready], batch.filter(pa.array(~ready))))
                else:
                    kept.append((ns, batch))
            partition.times = [ns for ns, _ in kept]
            partition.batches = [batch for _, batch in kept]
        arrived, self._arrived = self._arrived, 0
        return Released(self._ordered(times, batches), reached, arrived)

    def _as_they_came(self) -> Released | None:
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return None
        self._waiting = self._bytes = 0
        rows = joined(fresh, self.schema)
        self.counts.released += rows.num_rows
        return Released(rows, NEVER, self._arrived)

    def _ordered(self, times: list[Times], batches: list[pa.RecordBatch]) -> pa.RecordBatch:
        """Rows by time; those of equal time by partition, then offset, as they stand here."""
        if not batches:
            return _nothing(self.schema)
        rows = joined(batches, self.schema)
        self._bytes -= self._bytes * rows.num_rows // max(self._waiting, 1)
        self._waiting -= rows.num_rows
        self.counts.released += rows.num_rows
        ns = np.concatenate(times)
        if len(ns) > 1 and (ns[1:] < ns[:-1]).any():
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
    if len(batches) == 1:
        return batches[0]
    if not any(pa.types.is_dictionary(f.type) for f in batches[0].schema):
        return pa.concat_batches(batches)
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0] if table.num_rows else _nothing(schema)


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
