"""A source at work: one thread reads and decodes, the pipeline's thread takes what is there."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Sequence

from fin_sql.stream.intake import END, NEVER, Intake, Released, Sizes
from fin_sql.stream.source import Polled, StreamSource
from fin_sql.stream.tables import MAX_MESSAGES, StreamingTable, prepared
from fin_sql.stream.time import Clock

QUEUED_BYTES = 64 << 20
TAKEN_ROWS = 65_536  # of one step: between two of them a pipeline hears of other things
POLL_NS = 20_000_000


class Feed:
    """The rows of one streaming table for all queries that began together.

    Args:
        table: which.
        clock: for idle partitions.
        wake: set when there is something to take.
        bounded: ends at what is there now.
        threaded: read in a thread of its own; else whenever rows are taken.
        queued_bytes: the source waits while so much was read and not taken.
    """

    def __init__(
        self,
        table: StreamingTable,
        clock: Clock,
        wake: threading.Event,
        *,
        bounded: bool = False,
        threaded: bool = True,
        queued_bytes: int = QUEUED_BYTES,
    ) -> None:
        self.table, self.clock, self.wake, self.bounded = table, clock, wake, bounded
        self.source: StreamSource = table.make()
        self.intake: Intake = table.intake(table.letters.append)
        self.threaded = threaded
        self.waits_for = ""  # the table that is behind, while this one is too far ahead
        self.lag: dict[int, int] = {}
        self._most, self._sizes = queued_bytes, Sizes()
        self._queue: deque[tuple[Polled, int]] = deque()
        self._queued: Counter[int] = Counter()  # polls by partition
        self._bytes = 0
        self._room = threading.Condition()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._partitions: tuple[int, ...] = ()
        self._over: Collection[int] = ()
        self._resting: Collection[int] = ()
        self._read_all = False
        self._ahead: deque[tuple[int, int]] = deque()
        self.bytes_ahead = 0

    # ------------------------------------------------------------ reading

    def open(self) -> None:
        """Begin to read.

        Raises:
            SourceError: it cannot be reached; nothing is left open.
        """
        try:
            self.source.open(bounded=self.bounded)
            self._look()
        except BaseException:
            self.source.close()
            raise
        self._begin(self.clock.steady_ns())
        if self.threaded:
            self._thread = threading.Thread(
                target=self._work, name=f"fin_sql read {self.table.name}", daemon=True
            )
            self._thread.start()

    def _look(self, found: Sequence[Polled] = ()) -> None:
        """Note what the source gave and what it says of itself, as one."""
        partitions = tuple(self.source.partitions())
        over = {*filter(self.source.ended, partitions)}
        rests = getattr(self.source, "rests", None)
        resting = {*filter(rests, partitions)} if rests is not None else ()
        lag = self.source.lag()
        sized = [(p, self._sizes.of(p.rows)) for p in found]
        with self._room:
            self._partitions, self._over, self._resting, self.lag = partitions, over, resting, lag
            self._queue.extend(sized)
            self._queued.update(p.partition for p in found)
            self._bytes += sum(size for _, size in sized)
            all_over = len(over) == len(partitions)
            self._read_all = all_over and (self.bounded or bool(partitions))

    def _begin(self, now: int) -> None:
        """Wait for the partitions that are there now."""
        self.intake.begin(self._partitions, now, getattr(self.source, "floor", None))

    def _work(self) -> None:
        try:
            while not (self._stopped.is_set() or self._read_all):
                begin = self.clock.steady_ns()
                if not self._poll(POLL_NS):  # a source need not wait by itself
                    rest = POLL_NS - (self.clock.steady_ns() - begin)
                    if rest > 0:
                        self.clock.wait(self._stopped, rest)
                with self._room:
                    while self._bytes > self._most and not self._stopped.is_set():
                        self._room.wait(0.1)
        except Exception as error:
            self._error = error
        self.wake.set()

    def _poll(self, timeout_ns: int) -> bool:
        found = [prepared(self.table, p) for p in self.source.poll(MAX_MESSAGES, timeout_ns)]
        self._look(found)
        if found or self._read_all:
            self.wake.set()
        return bool(found)

    # ------------------------------------------------------------ what was read

    def take(self) -> Released | None:
        """What is complete now; None where there is nothing new.

        Raises:
            SourceError: the source failed, and all that it had given was taken.
        """
        if self._error is not None and not self._queue:
            raise self._error
        if not self.threaded and not self._read_all:
            self._poll(0)
        now = self.clock.steady_ns()
        found: list[tuple[Polled, int]] = []
        rows = 0
        with self._room:
            while self._queue and rows < TAKEN_ROWS:
                polled, size = self._queue.popleft()
                found.append((polled, size))
                rows += polled.rows.num_rows
                self._bytes -= size
                self._queued[polled.partition] -= 1
            waiting = +self._queued
            over, resting, lag = self._over, self._resting, self.lag
            partitions = self._partitions
            self._room.notify_all()
        for polled, size in found:
            self.intake.take(polled, now, size)
        self._begin(now)
        for number in over:
            if number not in waiting:
                self.intake.end(number)
        for number in resting:
            if number not in waiting:
                self.intake.rest(number)
        if not self.bounded:
            behind = {k: lag.get(k, 1) or int(k in waiting) for k in partitions}
            self.intake.note_idle(now, behind)
        return self.intake.release()

    @property
    def waits(self) -> bool:
        """Whether messages are there that were not taken yet."""
        return bool(self._queue)

    @property
    def ended(self) -> bool:
        """Whether everything was given, and nothing more will come."""
        return self._read_all and not self._queue and not self.intake.waiting

    @property
    def watermark(self) -> int:
        """Of the table."""
        return self.intake.watermark if not self.intake.time.arrival else NEVER

    # ------------------------------------------------------------ what others wait for

    def sent(self, released: Released) -> None:
        """Note rows that were handed on, while another table may be behind."""
        if released.rows.num_rows and released.watermark < END:
            self._ahead.append((released.watermark, released.bytes))
            self.bytes_ahead += released.bytes

    def caught_up(self, watermark: int) -> None:
        """Forget rows that all other tables have come up to."""
        while self._ahead and self._ahead[0][0] <= watermark:
            self.bytes_ahead -= self._ahead.popleft()[1]

    @property
    def bytes_held(self) -> int:
        """Bytes of messages that wait here."""
        return self._bytes + self.intake.bytes_held

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        with self._room:
            self._room.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.source.close()
