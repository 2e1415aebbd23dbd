"""Streaming tables, materialized views and their pipeline, as a session has them."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fin_sql.catalog.connectors import make_source
from fin_sql.catalog.table import Table
from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.exec.order import Order
from fin_sql.exec.time_windows import DAY_NS
from fin_sql.sql.arrange import arrives, event_times
from fin_sql.sql.batches import conformed
from fin_sql.sql.commands import (
    STREAMS,
    Alter,
    Command,
    CreateSink,
    CreateStreamingTable,
    CreateView,
    DropEndless,
    ShowCreate,
    ShowStreams,
    Subscribe,
)
from fin_sql.sql.computed import computing
from fin_sql.sql.flow import Built, Flow
from fin_sql.sql.masked import masked
from fin_sql.sql.text import underlined
from fin_sql.states import Cancel
from fin_sql.stream.definition import StreamDefinition
from fin_sql.stream.intake import END, NEVER, EventTime
from fin_sql.stream.run import Pipeline, Running
from fin_sql.stream.stages import Collector
from fin_sql.stream.tables import StreamingTable, ViewTable
from fin_sql.stream.time import Clock
from fin_sql.stream.views import KeyedView, Retain, RetainedView

if TYPE_CHECKING:
    from fin_sql.context import Context

IDLE_NS = 200_000_000
RETAIN_BYTES = 256 << 20
VIEW_OPTIONS = ("retain", "retain_bytes", "key")
BYTES = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "b": 1}
LETTERS = "_dead_letters"
_OPTION = re.compile(r"(?:unknown )?(option|connector) '(\w+)'")


@dataclass
class Defined:
    """A streaming table and the statement that made it, if one did."""

    table: StreamingTable
    text: str = ""


class Streams:
    """What a session knows of endless tables.

    Args:
        context: the session.
        clock: of its pipeline.
    """

    def __init__(self, context: Context, clock: Clock | None = None) -> None:
        self._context = context
        self.tables: dict[str, Defined] = {}
        self.views: dict[str, CreateView] = {}
        self.pipeline = Pipeline(clock, memory_limit=context.memory_limit)
        self.paused = False  # views are made, and begin with `start`
        self._changing = threading.RLock()  # statements are carried out one by one
        weakref.finalize(context, self.pipeline.ask_to_stop)

    @property
    def names(self) -> list[str]:
        """What a statement must be planned by us for: tables, their dead letters, and views."""
        tables = list(self.tables)
        return [*tables, *(f"{name}{LETTERS}" for name in tables), *self.views]

    def kind(self, name: str) -> str:
        """What something of this name is, "" where it is nothing of ours."""
        if name in self.tables:
            return "streaming table"
        if name in self.views:
            return "materialized view"
        owner = name.removesuffix(LETTERS)
        return f"part of streaming table '{owner}'" if owner in self.tables else ""

    def refuse(self, name: str) -> None:
        """Refuse what would change or hide something of ours.

        Raises:
            SqlError: the name is that of a streaming table, its dead letters, or a view.
        """
        kind = self.kind(name)
        if kind.startswith("part"):
            raise SqlError(f"'{name}' is {kind}, is filled by it, and goes with it")
        if kind:
            filled = "source" if name in self.tables else "query"
            raise SqlError(
                f"'{name}' is a {kind}, filled by its {filled} alone: DROP {kind.upper()} {name} "
                "removes it"
            )

    def run(self, command: Command) -> None:
        """Carry a statement out.

        Raises:
            SqlError, UnknownNameError, NotStreamableError, SourceError: it was not carried out.
        """
        with self._changing, _placed(command):
            if isinstance(command, CreateStreamingTable):
                self.create_table(command)
            elif isinstance(command, CreateView):
                self.create_view(command)
            elif isinstance(command, DropEndless):
                self.drop(command)
            elif isinstance(command, Subscribe):
                self._view(command.name)
            elif isinstance(command, ShowCreate):
                self._statement(command)
            elif isinstance(command, Alter):
                msg = "ALTER ... PAUSE and RESUME need a home that keeps state; not yet"
                raise SqlError(msg)
            elif isinstance(command, CreateSink):
                raise SqlError("CREATE SINK is not there yet: read the view by SELECT or SUBSCRIBE")

    def answer(self, command: Command, cancel: Cancel) -> Iterator[pa.RecordBatch]:
        """The rows that a statement gives."""
        if isinstance(command, Subscribe):
            yield from self.subscribe(command, cancel)
        elif isinstance(command, ShowStreams):
            yield from self.show().to_batches()
        elif isinstance(command, ShowCreate):
            yield pa.record_batch({"statement": [self._statement(command)]})

    def schema(self, command: Command) -> pa.Schema:
        """The columns of what a statement gives."""
        if isinstance(command, Subscribe):
            return self._view(command.name).schema
        return command.schema

    # ------------------------------------------------------------ tables

    def create_table(self, command: CreateStreamingTable) -> None:
        """Make a streaming table known; nothing of it is read yet."""
        definition = command.definition
        name = definition.name
        if not self._free(name, "streaming table", command.if_not_exists, command.replace):
            return
        options = dict(definition.options)
        time = self._event_time(definition, options)
        make = make_source(definition, options)
        schema = definition.schema()
        compute = computing(definition, self._context.evaluator)
        self.take_up(StreamingTable(name, schema, time, make, compute), command.text)

    def take_up(self, table: StreamingTable, text: str = "") -> None:
        """Make a streaming table known."""
        name, letters = table.name, f"{table.name}{LETTERS}"
        if name not in self.tables and self._context.exists(letters):
            raise SqlError(f"'{letters}', where its dead letters would go, is there already")
        order = Order(() if table.arrival else (table.event_time,))
        self._context.put(Table(name, table.schema, order, table))
        self._context.put(Table(letters, table.letters.schema, Order(),
                        ViewTable(letters, table.letters, None)))  # fmt: skip
        self.tables[name] = Defined(table, text)

    def _event_time(self, definition: StreamDefinition, options: dict[str, str]) -> EventTime:
        order = options.pop("order", "event_time")
        if order not in ("event_time", "arrival"):
            who = f"streaming table '{definition.name}'"
            raise SqlError(f"{who}: option 'order' is 'event_time' or 'arrival', was '{order}'")
        idle = IDLE_NS
        if "idle_timeout" in options:
            idle = self._duration(definition.name, "idle_timeout", options.pop("idle_timeout"))
        return EventTime(definition.time, definition.delay_ns, idle or None, order == "arrival")

    def _duration(self, name: str, option: str, words: str) -> int:
        """A time such as '5 minutes' in ns."""
        text = words if words.lower().startswith("interval") else f"INTERVAL '{words}'"
        try:
            found = self._context.evaluator.interval(text)
        except SqlError:
            found = None
        if found is None or found[0] or min(found) < 0:
            msg = f"'{name}': option '{option}' must be a time such as '5 minutes', was '{words}'"
            raise SqlError(msg)
        return found[1] * DAY_NS + found[2]

    # ------------------------------------------------------------ views

    def create_view(self, command: CreateView) -> None:
        """Begin a continuous query."""
        name = command.name
        if not self._free(name, "materialized view", command.if_not_exists, command.replace):
            return
        cancel = Cancel()
        flow, built = self._built(command, cancel)
        schema = command.plan.schema
        key = self._key(command, schema, built)
        times = event_times(command.plan)
        time = next((column for column in schema.names if column in times), "")
        came = arrives(command.plan)
        view: RetainedView | KeyedView
        if built.retracts or key is not None:
            key = built.upsert if key is None else key
            view, time = KeyedView(schema, key), ""
            table = ViewTable(name, view, "", key, arrival=came)
        else:
            view = RetainedView(schema, self._retain(command, time, ascending=not came))
            table = ViewTable(name, view, time, arrival=came)
        running = Running(name, view, table, flow.inputs, flow.stages, masked(command.text), cancel)
        built.stage.feeds(Collector(running.take, lambda b: conformed(b, schema), running.reach))
        self.pipeline.add(running)
        self._context.put(Table(name, schema, Order((time,) if time and not came else ()), table))
        self.views[name] = command
        if not self.paused:
            self.pipeline.start()

    def check(self, command: CreateView) -> None:
        """Raise what `create_view` would of a query that cannot go on for ever.

        Raises:
            NotStreamableError, SqlError: it cannot.
        """
        with _placed(command):
            self._key(command, command.plan.schema, self._built(command, Cancel(), dry=True)[1])

    def _built(
        self, command: CreateView, cancel: Cancel, *, dry: bool = False
    ) -> tuple[Flow, Built]:
        """The stages of a view's query."""
        unknown = sorted(set(command.options) - set(VIEW_OPTIONS))
        if unknown:
            who = f"view '{command.name}'"
            raise UnknownNameError("option", unknown[0], list(VIEW_OPTIONS), who=who)
        context = self._context
        flow = Flow(context.evaluator, context.layouts, threads=context.threads,
                    memory_limit=context.memory_limit, cancel=cancel, dry=dry)  # fmt: skip
        built = flow.build(command.plan)
        if not flow.inputs:
            msg = (
                f"view '{command.name}' reads no streaming table and no view: write CREATE TABLE "
                "... AS"
            )
            raise SqlError(msg)
        if any(table.name == command.name for table, _ in flow.inputs):
            raise SqlError(f"view '{command.name}' cannot read itself: give it another name")
        return flow, built

    def _key(self, command: CreateView, schema: pa.Schema, built: Built) -> tuple[str, ...] | None:
        """The columns of `key`, None without."""
        words = command.options.get("key")
        kept = [name for name in ("retain", "retain_bytes") if name in command.options]
        who = f"view '{command.name}'"
        if kept and (built.retracts or words is not None):
            raise SqlError(f"{who}: option '{kept[0]}': a row of each key is kept, however old")
        if words is None:
            return None
        if built.retracts:
            by = ", ".join(built.upsert) or "none"
            raise SqlError(f"{who}: option 'key': its GROUP BY says what the keys are ({by})")
        key = tuple(dict.fromkeys(word.strip().lower() for word in words.split(",")))
        for column in key:
            if column not in schema.names:
                msg = str(UnknownNameError("column", column, schema.names))
                raise SqlError(f"{who}: option 'key': {msg}")
        return key

    def _retain(self, command: CreateView, time: str, *, ascending: bool) -> Retain:
        made = Retain(bytes=RETAIN_BYTES, time=time, ascending=ascending)
        if "retain" in command.options:
            if not time:
                msg = "needs the event time in the SELECT list; write retain_bytes without it"
                raise SqlError(f"view '{command.name}': option 'retain' {msg}")
            ns = self._duration(command.name, "retain", command.options["retain"])
            made = replace(made, ns=ns)
        if "retain_bytes" in command.options:
            made = replace(made, bytes=_bytes(command.name, command.options["retain_bytes"]))
        return made

    def start(self) -> None:
        """Begin with all views that were made while `paused` was set; tables are read once."""
        self.paused = False
        self.pipeline.start()

    def subscribe(self, command: Subscribe, cancel: Cancel) -> Iterator[pa.RecordBatch]:
        """The rows of a view that come, for ever."""
        view = self._view(command.name)
        if isinstance(view, KeyedView):
            msg = f"view '{command.name}' keeps the latest row of each key: read it by SELECT"
            raise SqlError(msg)
        yield from view.follow(view.snapshot().first if command.snapshot else None, cancel)

    def _view(self, name: str) -> RetainedView | KeyedView:
        running = self.pipeline.queries.get(name)
        if running is None:
            raise UnknownNameError("view", name, sorted(self.views))
        return running.view

    # ------------------------------------------------------------ all of them

    def _free(self, name: str, kind: str, absent: bool, replace: bool) -> bool:
        """Whether a name can be given; an existing one is an error unless it may be."""
        if not self._context.exists(name):
            return True
        if absent:
            return False
        was = self.kind(name)
        if not replace or was != kind:
            what = f", a {was}" if was and not was.startswith("part") else ""
            also = f", or write CREATE OR REPLACE {kind.upper()}" if was == kind else ""
            raise SqlError(f"'{name}' is there already{what}: drop it, or take another name{also}")
        if readers := self.pipeline.readers_of(name):
            raise SqlError(f"{kind} '{name}' is read by {', '.join(readers)}: drop these first")
        return True

    def drop(self, command: DropEndless) -> None:
        """Forget a table or a view."""
        kind, name = command.kind, command.name
        known: Mapping[str, Any] = self.views if kind == "materialized view" else self.tables
        if kind == "sink" or name not in known:
            if self.kind(name):
                self.refuse(name)
            if command.if_exists:
                return
            raise UnknownNameError(kind, name, [] if kind == "sink" else sorted(known))
        readers = self.pipeline.readers_of(name)
        if readers and not command.cascade:
            msg = f"{kind} '{name}' is read by {', '.join(readers)}: drop these first, or CASCADE"
            raise SqlError(msg)
        for reader in readers:
            if reader in self.views:  # one that reads several of them may be gone
                self.drop(DropEndless("materialized view", reader, cascade=True))
        if kind == "materialized view":
            self.pipeline.remove(name)
            del self.views[name]
        else:
            del self.tables[name]
            self._context.forget(f"{name}{LETTERS}")
        self._context.forget(name)

    def _statement(self, command: ShowCreate) -> str:
        if command.kind == "streaming table" and command.name in self.tables:
            return masked(self.tables[command.name].text)
        if command.kind == "materialized view" and command.name in self.views:
            return masked(self.views[command.name].text)
        known = {"streaming table": [*self.tables], "materialized view": [*self.views]}
        raise UnknownNameError(command.kind, command.name, sorted(known.get(command.kind, [])))

    def show(self) -> pa.Table:
        """What each streaming table and each view does, as a table of STREAMS."""
        rows: list[dict[str, Any]] = []
        self.pipeline.do(lambda: rows.extend(self._rows()))
        return pa.Table.from_pylist(rows, STREAMS)

    def _rows(self) -> Iterator[dict[str, Any]]:
        feeds = self.pipeline.feeds()
        for name, defined in list(self.tables.items()):
            own = [feed for feed in feeds if feed.table is defined.table]
            counts = [feed.intake.counts for feed in own]
            waits = sorted({feed.waits_for for feed in own} - {""})
            state = "not read"
            if own:
                ended = all(feed.ended for feed in own)
                state = f"waits for {waits[0]}" if waits else "ended" if ended else "read"
            yield {
                "name": name,
                "kind": "streaming table",
                "state": state,
                **{
                    word: sum(getattr(c, word) for c in counts)
                    for word in ("rows", "late", "bad", "passed", "messages")
                },
                "waiting": sum(feed.intake.waiting for feed in own),
                "lag": sum(sum(feed.lag.values()) for feed in own),
                "watermark": _time(min((f.watermark for f in own), default=NEVER)),
                "bytes": sum(feed.bytes_held for feed in own),
            }
        for name, query in self.pipeline.queries.items():
            yield {
                "name": name,
                "kind": "materialized view",
                "state": query.state,
                "rows": query.rows,
                "watermark": _time(query.watermark),
                "bytes": query.bytes_held + query.view.bytes_held,
                "error": None if query.error is None else str(query.error),
            }

    def close(self) -> None:
        """Stop everything."""
        self.pipeline.stop()


@contextmanager
def _placed(command: Command) -> Iterator[None]:
    """Say of an error that is about an option where the option stands."""
    try:
        yield
    except (SqlError, UnknownNameError) as error:
        places = getattr(command, "places", {})
        found = _OPTION.search(str(error))
        name = found and (found[2] if found[1] == "option" else "connector")
        if name not in places or "\n  line " in str(error):
            raise
        text = getattr(command, "text", "")
        raise SqlError(underlined(str(error), text, *places[name])) from None


def _time(ns: int) -> Any:
    if ns <= NEVER + 1 or ns >= END:
        return None
    return pa.scalar(ns, pa.timestamp("ns"))


def _bytes(name: str, words: str) -> int:
    """A size such as '256 MB'."""
    text = words.lower().replace(" ", "")
    for unit, size in BYTES.items():
        number = text.removesuffix(unit)
        if text.endswith(unit) and number.isdigit():
            return int(number) * size
    if text.isdigit():
        return int(text)
    msg = f"view '{name}': option 'retain_bytes' must be a size such as '256 MB', was '{words}'"
    raise SqlError(msg)
