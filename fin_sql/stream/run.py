"""A pipeline: the continuous queries of one process, moved on by one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from fin_sql.errors import FinSqlError
from fin_sql.states import Cancel
from fin_sql.stream.feed import Feed
from fin_sql.stream.intake import END, NEVER
from fin_sql.stream.stages import Rows, Stage
from fin_sql.stream.tables import StreamingTable, ViewTable
from fin_sql.stream.time import Clock, SystemClock
from fin_sql.stream.views import KeyedView, RetainedView

TICK_NS = 5_000_000


@dataclass
class Running:
    """A continuous query.

    Args:
        name: of its view.
        view: what it fills.
        table: the view as others read it.
        inputs: the tables that it reads, and where their rows go.
        stages: of its graph.
        text: the statement.
        cancel: stops its operators.
    """

    name: str
    view: RetainedView | KeyedView
    table: ViewTable
    inputs: Sequence[tuple[Any, Rows]]
    stages: Sequence[Stage]
    text: str = ""
    cancel: Cancel = field(default_factory=Cancel)
    state: str = "running"
    error: Exception | None = None
    rows: int = 0
    watermark: int = NEVER
    readers: list[Rows] = field(default_factory=list)  # of views on this view

    def take(self, rows: pa.RecordBatch) -> None:
        """Take rows of the query, in the order in which they stay."""
        self.rows += rows.num_rows
        self.view.append(rows)
        for reader in self.readers:
            reader.rows(0, rows)

    def reach(self, watermark: int) -> None:
        """Take a watermark of the query."""
        self.watermark = max(watermark, self.watermark)
        for reader in self.readers:
            reader.advance(0, watermark)

    @property
    def bytes_held(self) -> int:
        """Bytes of the operators."""
        return sum(stage.bytes_held for stage in self.stages)


class Pipeline:
    """Moves the rows of streaming tables through the queries that read them.

    One thread takes what the sources have, in the order of event time, and runs it through the
    operators of all queries; a query that fails stops alone.

    Args:
        clock: the time of day.
        memory_limit: where queries hold more than so many bytes, the table that is ahead waits for
            the one that is behind.
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
        self._feeds: list[tuple[Feed, list[tuple[Running, Rows]]]] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._commands: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._begun = False

    # ------------------------------------------------------------ queries

    def add(self, query: Running) -> None:
        """Take up a query; tables that were not begun yet are read once for all such queries.

        Raises:
            SourceError: a source cannot be reached; nothing was taken up.
        """
        opened: list[Feed] = []
        feeds: list[tuple[Feed, list[tuple[Running, Rows]]]] = []
        try:
            for table, rows in query.inputs:
                if not isinstance(table.source, StreamingTable):
                    continue
                mine = next((f for f in feeds if f[0].table is table.source), None)
                shared = None if self._begun else self._feed_of(table.source)
                if mine is None and shared is None:
                    feed = Feed(table.source, self.clock, self._wake, bounded=self.bounded,
                                threaded=self.threaded)  # fmt: skip
                    if self._begun:
                        feed.open()
                        opened.append(feed)
                    mine = (feed, [])
                    feeds.append(mine)
                (mine or shared or (None, []))[1].append((query, rows))
        except BaseException:
            for feed in opened:
                feed.close()
            raise

        def begin() -> None:
            self.queries[query.name] = query
            self._feeds += feeds
            for table, rows in query.inputs:
                if isinstance(table.source, ViewTable):
                    self._read_view(query, table.source, rows)

        self.do(begin)

    def _feed_of(self, table: StreamingTable) -> tuple[Feed, list[tuple[Running, Rows]]] | None:
        return next((f for f in self._feeds if f[0].table is table), None)

    def _read_view(self, query: Running, table: ViewTable, rows: Rows) -> None:
        """Give a query what a view has kept, then all that comes."""
        other = self.queries[table.name]

        def go() -> None:
            for batch in other.view.snapshot().batches:
                rows.rows(0, batch)
            if other.watermark > NEVER:
                rows.advance(0, other.watermark)

        if self._guarded(query, go):
            other.readers.append(_Guarded(self, query, rows))  # type: ignore[arg-type]

    def remove(self, name: str) -> None:
        """Stop a query and forget it; its view keeps its last rows for those who read them."""

        def end() -> None:
            query = self.queries.pop(name)
            self._detach(query)
            for stage in query.stages:
                stage.close()
            finish = getattr(query.view, "finish", None)
            if finish is not None:
                finish()

        self.do(end)

    def _detach(self, query: Running) -> None:
        for entry in list(self._feeds):
            entry[1][:] = [(q, rows) for q, rows in entry[1] if q is not query]
            if not entry[1]:
                self._feeds.remove(entry)
                entry[0].close()
        for other in self.queries.values():
            other.readers[:] = [r for r in other.readers if getattr(r, "query", None) is not query]

    def readers_of(self, name: str) -> list[str]:
        """The queries that read a view."""
        return [
            query.name
            for query in self.queries.values()
            if any(
                isinstance(t.source, ViewTable) and t.source.name == name for t, _ in query.inputs
            )
        ]

    def do(self, command: Callable[[], None]) -> None:
        """Run something between two steps of the pipeline; returns when it was."""
        if self._thread is None or threading.current_thread() is self._thread:
            command()
            return
        done, failed = threading.Event(), []

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
            if self._thread is None or not self._thread.is_alive():
                command()
                return
        if failed:
            raise failed[0]

    # ------------------------------------------------------------ running

    def start(self) -> None:
        """Begin to read.

        Raises:
            SourceError: a source cannot be reached.
        """
        if self._thread is not None:
            return
        if not self._begun:
            self._begun = True
            opened = []
            try:
                for feed, _ in self._feeds:
                    feed.open()
                    opened.append(feed)
            except BaseException:
                self._begun = False
                for feed in opened:
                    feed.close()
                raise
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="fin_sql pipeline", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            with self._lock:
                commands, self._commands = self._commands, []
            for command in commands:
                command()
            if not self.step() and not commands:
                if self._all_ended():
                    break
                self.clock.wait(self._wake, TICK_NS)

    def run(self) -> None:
        """Run a bounded pipeline to its end, in this thread."""
        self._begun = True
        for feed, _ in self._feeds:
            feed.open()
        while self.step() or not self._all_ended():
            pass
        for query in self.queries.values():
            if query.error is not None:
                raise query.error

    def _all_ended(self) -> bool:
        ended = self.bounded and all(feed.ended for feed, _ in self._feeds)
        if ended:
            for query in self.queries.values():
                finish = getattr(query.view, "finish", None)
                if finish is not None:
                    finish(query.error)
                query.state = "ended" if query.error is None else query.state
        return ended

    def step(self) -> bool:
        """Take what is there and run it through; returns whether there was anything."""
        now = self.clock.now_ns()
        for query in list(self.queries.values()):
            if query.state == "running":
                self._guarded(query, partial(_clock, query.stages, now))
        busy = False
        for feed, takers in list(self._feeds):
            if self._ahead(feed):
                continue
            try:
                released = feed.take()
            except Exception as error:
                self._fail([query for query, _ in takers], error)
                continue
            if released is None:
                busy |= feed.waits
                continue
            busy = True
            for query, rows in list(takers):
                self._guarded(query, partial(_release, rows, released))
        return busy

    def _ahead(self, feed: Feed) -> bool:
        """Whether a feed must wait for others, as queries hold too much already."""
        if len(self._feeds) < 2:
            return False
        held = sum(query.bytes_held for query in self.queries.values())
        held += sum(other.intake.bytes_held for other, _ in self._feeds)
        if held <= self.memory_limit:
            return False
        others = [other.watermark for other, _ in self._feeds if other is not feed]
        return feed.watermark > min(others)

    def _guarded(self, query: Running, work: Callable[[], None]) -> bool:
        """Do something for a query; what it raises stops this query alone."""
        try:
            work()
        except Exception as error:
            self._fail([query], error)
            return False
        return True

    def _fail(self, queries: Sequence[Running], error: Exception) -> None:
        for query in queries:
            query.state, query.error = "failed", error
            self._detach(query)
            finish = getattr(query.view, "finish", None)
            if finish is not None:
                finish(error if isinstance(error, FinSqlError) else None)
            for name in self.readers_of(query.name):
                msg = f"view '{query.name}', which it reads, has failed"
                self._fail([self.queries[name]], FinSqlError(msg))

    def stop(self) -> None:
        """Stop reading; what was taken is done."""
        self._stopping = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for feed, _ in self._feeds:
            feed.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of a bounded pipeline; returns whether it came."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def feeds(self) -> list[Feed]:
        """The sources at work."""
        return [feed for feed, _ in self._feeds]


class _Guarded:
    """Where a view's rows go on to a query on it, whose errors are its own."""

    def __init__(self, pipeline: Pipeline, query: Running, rows: Rows) -> None:
        self.pipeline, self.query, self._rows = pipeline, query, rows

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Take rows."""
        self.pipeline._guarded(self.query, lambda: self._rows.rows(0, batch))

    def advance(self, input: int, watermark: int) -> None:
        """Take a watermark."""
        self.pipeline._guarded(self.query, lambda: self._rows.advance(0, watermark))


def _release(rows: Rows, released: Any) -> None:
    rows.rows(0, released.rows)
    rows.advance(0, released.watermark)


def _clock(stages: Sequence[Stage], now_ns: int) -> None:
    for stage in stages:
        stage.clock(now_ns)


__all__ = ["END", "Pipeline", "Running"]
