"""A source at work: one thread reads and decodes, the pipeline's thread takes what is there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from fin_sql.stream.intake import NEVER, Intake, Released
from fin_sql.stream.source import Polled, StreamSource
from fin_sql.stream.tables import MAX_MESSAGES, StreamingTable, prepared
from fin_sql.stream.time import Clock

QUEUED_BYTES = 64 << 20
POLL_NS = 20_000_000


class Feed:
    """The rows of one streaming table for all queries that began together.

    Args:
        table: which.
        clock: for idle partitions.
        wake: set when there is something to take.
        bounded: ends at what is there now.
        threaded: read in a thread of its own; else whenever rows are taken.
    """

    def __init__(
        self,
        table: StreamingTable,
        clock: Clock,
        wake: threading.Event,
        *,
        bounded: bool = False,
        threaded: bool = True,
    ) -> None:
        self.table, self.clock, self.wake, self.bounded = table, clock, wake, bounded
        self.source: StreamSource = table.make()
        self.intake: Intake = table.intake(table.letters.append)
        self.threaded = threaded
        self.error: Exception | None = None
        self._queue: deque[Polled] = deque()
        self._bytes = 0
        self._room = threading.Condition()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._partitions: tuple[int, ...] = ()
        self.lag: dict[int, int] = {}
        self._read_all = False
        self._over: tuple[int, ...] = ()

    def open(self) -> None:
        """Begin to read.

        Raises:
            SourceError: it cannot be reached.
        """
        self.source.open(bounded=self.bounded)
        self._look()
        self._begin(self.clock.steady_ns())
        if self.threaded:
            self._thread = threading.Thread(
                target=self._work, name=f"fin_sql read {self.table.name}", daemon=True
            )
            self._thread.start()

    def _look(self, found: Sequence[Polled] = ()) -> None:
        """Note what the source gave and what it says of itself, as one."""
        partitions = tuple(self.source.partitions())
        over = tuple(filter(self.source.ended, partitions))
        lag = self.source.lag()
        with self._room:
            self._partitions, self._over, self.lag = partitions, over, lag
            self._queue.extend(found)
            self._bytes += sum(p.rows.nbytes for p in found)
            self._read_all = self.bounded and len(over) == len(partitions)

    def _begin(self, now: int) -> None:
        """Wait for the partitions that are there now."""
        floor = getattr(self.source, "floor", None)
        self.intake.begin(self._partitions, now, floor)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                self._poll(POLL_NS)
                if self._read_all:
                    break
                with self._room:
                    while self._bytes > QUEUED_BYTES and not self._stopped.is_set():
                        self._room.wait(0.1)
        except Exception as error:
            self.error = error
        self.wake.set()

    def _poll(self, timeout_ns: int) -> None:
        found = [prepared(self.table, p) for p in self.source.poll(MAX_MESSAGES, timeout_ns)]
        self._look(found)
        if found or self._read_all:
            self.wake.set()

    def take(self) -> Released | None:
        """What is complete now; None where there is nothing new.

        Raises:
            SourceError: the source failed.
        """
        if self.error is not None:
            raise self.error
        if not self.threaded and not self._read_all:
            self._poll(0)
        now = self.clock.steady_ns()
        with self._room:
            found = list(self._queue)
            self._queue.clear()
            self._bytes = 0
            over, lag = self._over, self.lag
            self._room.notify_all()
        for polled in found:
            self.intake.take(polled, now)
        self._begin(now)
        for number in over:
            if self.bounded:
                self.intake.end(number)
            else:
                self.intake.rest(number)
        if not self.bounded:
            self.intake.note_idle(now, lag)
        return self.intake.release()

    @property
    def waits(self) -> bool:
        """Whether messages are there that were not taken yet."""
        return bool(self._queue)

    @property
    def ended(self) -> bool:
        """Whether a bounded read has given everything."""
        return self.bounded and self._read_all and not self._queue and not self.intake.waiting

    @property
    def watermark(self) -> int:
        """Of the table."""
        return self.intake.watermark if not self.intake.time.arrival else NEVER

    @property
    def bytes_held(self) -> int:
        """Bytes of messages that wait."""
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
