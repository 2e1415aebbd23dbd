"""A pipeline: the continuous queries of one process, moved on by one thread."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from fin_sql.errors import FinSqlError, StateError
from fin_sql.stream.feed import QUEUED_BYTES, Feed
from fin_sql.stream.intake import END, NEVER, Released
from fin_sql.stream.running import Onward, Running
from fin_sql.stream.stages import Rows, Stage
from fin_sql.stream.tables import StreamingTable, ViewTable
from fin_sql.stream.time import Clock, SystemClock

TICK_NS = 5_000_000
_RUNNING: weakref.WeakSet[Pipeline] = weakref.WeakSet()


@dataclass(eq=False)
class _Read:
    """A source at work, and where its rows go."""

    feed: Feed
    takers: list[tuple[Running, Rows]] = field(default_factory=list)
    others: tuple[Feed, ...] = ()  # whose rows meet its own in some query

    @property
    def queries(self) -> list[Running]:
        """The queries that read it, each once."""
        return list(dict.fromkeys(query for query, _ in self.takers))


class Pipeline:
    """Moves the rows of streaming tables through the queries that read them.

    One thread takes what the sources have, in the order of event time, and runs it through the
    operators of all queries; a query that fails stops alone.

    Args:
        clock: the time of day.
        memory_limit: of tables whose rows meet in a query, one that is further ahead than a part of
            it waits for the one that is behind.
        bounded: end at what is there now; for tests and reports.
        threaded: sources are read in threads of their own.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        memory_limit: int = 1 << 30,
        bounded: bool = False,
        threaded: bool = True,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.memory_limit, self.bounded, self.threaded = memory_limit, bounded, threaded
        self.queries: dict[str, Running] = {}
        self._reads: list[_Read] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._commands: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._begun = False
        self._stopping = False
        self._over = threading.Event()

    # ------------------------------------------------------------ queries

    def add(self, query: Running) -> None:
        """Take up a query, in place of one of its name.

        Tables that were not begun yet are read once for all queries that read them.

        Raises:
            SourceError: a source cannot be reached; nothing was changed.
            StateError: a view that it reads has failed, or the pipeline has stopped.
        """
        if self._stopping:
            raise StateError("the pipeline has stopped")
        for table, _ in query.inputs:
            other = self.queries.get(table.name) if isinstance(table.source, ViewTable) else None
            if other is not None and other.state == "failed":
                raise StateError(f"view '{other.name}' has failed: {other.error}; make it anew")
        made: list[_Read] = []
        try:
            for table, rows in query.inputs:
                if isinstance(table.source, StreamingTable):
                    self._read(table.source, made).takers.append((query, rows))
            self.do(lambda: self._take_up(query, made))
        except BaseException:
            for read in self._reads:
                read.takers[:] = [taker for taker in read.takers if taker[0] is not query]
            for read in made:
                read.feed.close()
            raise

    def _read(self, table: StreamingTable, made: list[_Read]) -> _Read:
        """What reads a table for a query: all that begin together share it."""
        shared = made if self._begun else [*made, *self._reads]
        for read in shared:
            if read.feed.table is table:
                return read
        feed = self._feed(table)
        if self._begun:
            feed.open()
        made.append(_Read(feed))
        return made[-1]

    def _feed(self, table: StreamingTable) -> Feed:
        most = min(QUEUED_BYTES, self.memory_limit // 8)
        return Feed(table, self.clock, self._wake, bounded=self.bounded, threaded=self.threaded,
                    queued_bytes=most)  # fmt: skip

    def _take_up(self, query: Running, made: list[_Read]) -> None:
        if query.name in self.queries:
            self._end(self.queries.pop(query.name))
        self.queries[query.name] = query
        self._reads += made
        self._group()
        for table, rows in query.inputs:
            if isinstance(table.source, ViewTable) and table.name in self.queries:
                self._read_view(query, self.queries[table.name], rows)

    def _group(self) -> None:
        """Note whose rows meet: those of all tables that a query reads, through views as well."""
        meets: dict[str, set[_Read]] = {}
        for name, query in self.queries.items():  # a view stands before those who read it
            meets[name] = {read for read in self._reads if query in read.queries}
            for table, _ in query.inputs:
                meets[name] |= meets.get(table.name, set())
        for read in self._reads:
            together = set().union(*(found for found in meets.values() if read in found))
            read.others = tuple(r.feed for r in together - {read} if not r.feed.table.time.arrival)

    def _read_view(self, query: Running, other: Running, rows: Rows) -> None:
        """Give a query what a view has kept, then all that comes."""

        def go() -> None:
            for batch in other.view.snapshot().batches:
                rows.rows(0, batch)
            if other.watermark > NEVER:
                rows.advance(0, other.watermark)

        if self._guarded(query, go):
            other.readers.append(Onward(query, rows, self._guarded))

    def remove(self, name: str) -> None:
        """Stop a query and forget it; its view keeps its last rows for those who read them."""
        self.do(lambda: self._end(self.queries.pop(name)))

    def _end(self, query: Running) -> None:
        self._detach(query)
        query.close()
        query.view.finish()

    def _detach(self, query: Running) -> None:
        for read in list(self._reads):
            read.takers[:] = [taker for taker in read.takers if taker[0] is not query]
            if not read.takers:
                self._reads.remove(read)
                read.feed.close()
        for other in self.queries.values():
            other.readers[:] = [r for r in other.readers if r.query is not query]
        self._group()

    def readers_of(self, name: str) -> list[str]:
        """The queries that read a table or a view."""
        return [query.name for query in self.queries.values() if query.reads(name)]

    def do(self, command: Callable[[], None]) -> None:
        """Run something between two steps of the pipeline; returns when it was."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            command()
            return
        done = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                command()
            except BaseException as error:
                failed.append(error)
            done.set()

        with self._lock:
            self._commands.append(run)
        self._wake.set()
        while not done.wait(0.1):
            if not thread.is_alive():
                self._commanded()
        if failed:
            raise failed[0]

    def _commanded(self) -> bool:
        """Run what others want to be run; returns whether there was anything."""
        with self._lock:
            commands, self._commands = self._commands, []
        for command in commands:
            command()
        return bool(commands)

    # ------------------------------------------------------------ running

    def start(self) -> None:
        """Begin to read.

        Raises:
            SourceError: a source cannot be reached; nothing is read.
            StateError: it has stopped before.
        """
        if self._stopping:
            raise StateError("the pipeline has stopped")
        if self._thread is not None:
            return
        self._open()
        _RUNNING.add(self)
        self._thread = threading.Thread(target=self._run, name="fin_sql pipeline", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        """Open all sources, or none."""
        opened: list[Feed] = []
        try:
            for read in self._reads:
                read.feed.open()
                opened.append(read.feed)
        except BaseException:
            for feed in opened:
                feed.close()
            for read in self._reads:  # what was closed is not opened again
                read.feed = self._feed(read.feed.table)
            self._group()
            raise
        self._begun = True

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.clear()
                busy = self._commanded()
                if not self.step() and not busy:
                    if self._all_ended():
                        break
                    self.clock.wait(self._wake, TICK_NS)
        except BaseException as error:  # nobody is left to wait for ever
            for query in self.queries.values():
                query.fail(FinSqlError(f"the pipeline has failed: {error!r}"))
            raise
        finally:
            self._close()

    def run(self) -> None:
        """Run a bounded pipeline to its end, in this thread."""
        self._open()
        while self.step() or not self._all_ended():
            pass
        self._close()
        for query in self.queries.values():
            if query.error is not None:
                raise query.error

    def _all_ended(self) -> bool:
        return self.bounded and all(read.feed.ended for read in self._reads)

    def step(self) -> bool:
        """Take what is there and run it through; returns whether there was anything."""
        busy = False
        now = self.clock.now_ns()
        for query in list(self.queries.values()):
            if query.ticking and query.state == "running":
                self._guarded(query, partial(_clock, query.ticking, now))
        for read in list(self._reads):
            feed = read.feed
            if self._too_far_ahead(read):
                continue
            try:
                released = feed.take()
            except Exception as error:
                self._fail(read.queries, error)
                continue
            busy |= released is not None or feed.waits
            if released is None:
                continue
            if read.others:
                feed.sent(released)
            for query, rows in list(read.takers):
                if query.state == "running":
                    self._guarded(query, partial(_release, rows, released))
        return busy

    def _too_far_ahead(self, read: _Read) -> bool:
        """Whether a table must wait for the one that is behind it, as too much waits already."""
        feed, feed.waits_for = read.feed, ""
        if not read.others:
            return False
        last = min(read.others, key=lambda other: other.watermark)
        feed.caught_up(last.watermark)
        most = self.memory_limit // 4 // (1 + len(read.others))
        held = feed.bytes_ahead + feed.intake.bytes_held
        if held <= most or feed.watermark <= last.watermark:
            return False
        feed.waits_for = last.table.name
        return True

    def _guarded(self, query: Running, work: Callable[[], None]) -> bool:
        """Do something for a query; what it raises stops this query alone."""
        try:
            work()
        except Exception as error:
            self._fail([query], error)
            return False
        return True

    def _fail(self, queries: Iterable[Running], error: Exception) -> None:
        for query in queries:
            if query.state == "failed":
                continue
            query.fail(error)
            self._detach(query)
            others = [self.queries[name] for name in self.readers_of(query.name)]
            self._fail(others, StateError(f"view '{query.name}', which it reads, has failed"))

    def ask_to_stop(self) -> None:
        """Let it stop by itself, without waiting for it."""
        self._stopping = True
        self._wake.set()

    def stop(self) -> None:
        """Stop reading, for good; what was taken is done, and nobody waits for more."""
        self.ask_to_stop()
        thread = self._thread
        if thread is None:
            self._close()
        elif thread is not threading.current_thread():
            thread.join()

    def _close(self) -> None:
        """Let go of all sources and operators."""
        for read in self._reads:
            read.feed.close()
        for query in self.queries.values():
            if query.state == "running":
                query.state = "ended"
                query.view.finish()
            query.close()
        self._over.set()
        self._commanded()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of a bounded pipeline; returns whether it came."""
        return self._thread is None or self._over.wait(timeout)

    def feeds(self) -> list[Feed]:
        """The sources at work."""
        return [read.feed for read in self._reads]


def _release(rows: Rows, released: Released) -> None:
    rows.rows(0, released.rows)
    rows.advance(0, released.watermark)


def _clock(stages: Sequence[Stage], now_ns: int) -> None:
    for stage in stages:
        stage.clock(now_ns)


@atexit.register
def _stop_all() -> None:
    """End before the interpreter does, whose threads are not asked."""
    for pipeline in list(_RUNNING):
        pipeline.stop()


__all__ = ["END", "Pipeline", "Running"]
