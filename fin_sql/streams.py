"""Streaming tables, materialized views and their pipeline, as a session has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fin_sql.catalog.connectors import make_source
from fin_sql.catalog.table import Table
from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.exec.order import Order
from fin_sql.exec.time_windows import DAY_NS
from fin_sql.sql.arrange import event_times
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
from fin_sql.sql.flow import Flow
from fin_sql.states import Cancel
from fin_sql.stream.definition import StreamDefinition
from fin_sql.stream.intake import NEVER, EventTime
from fin_sql.stream.run import Pipeline, Running
from fin_sql.stream.stages import Collector
from fin_sql.stream.tables import StreamingTable, ViewTable
from fin_sql.stream.time import Clock
from fin_sql.stream.views import KeyedView, Retain, RetainedView

if TYPE_CHECKING:
    from fin_sql.context import Context

TIME_OPTIONS = ("order", "idle_timeout")
VIEW_OPTIONS = ("retain", "retain_bytes", "key")
BYTES = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "b": 1}


@dataclass
class Defined:
    """A streaming table and the statement that made it."""

    command: CreateStreamingTable
    table: StreamingTable


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

    def run(self, command: Command) -> None:
        """Carry a statement out.

        Raises:
            SqlError, UnknownNameError, NotStreamableError, SourceError: it was not carried out.
        """
        if isinstance(command, CreateStreamingTable):
            self.create_table(command)
        elif isinstance(command, CreateView):
            self.create_view(command)
        elif isinstance(command, DropEndless):
            self.drop(command)
        elif isinstance(command, Subscribe):
            self._view(command.name)
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
        if not self._free(name, command.if_not_exists, replace=command.replace):
            return
        if name in self.tables and (readers := self._readers(name)):
            msg = f"streaming table '{name}' is read by {', '.join(readers)}: drop these first"
            raise SqlError(msg)
        options = dict(definition.options)
        time = self._event_time(definition, options)
        make = make_source(definition, options)
        schema = definition.schema()
        table = StreamingTable(name, schema, time, make, self._computing(definition))
        self._context.put(Table(name, schema, Order(() if time.arrival else (time.column,)), table))
        self._context.put(Table(f"{name}_dead_letters", table.letters.schema, Order(),
                        ViewTable(f"{name}_dead_letters", table.letters, None)))  # fmt: skip
        self.tables[name] = Defined(command, table)

    def _event_time(self, definition: StreamDefinition, options: dict[str, str]) -> EventTime:
        order = options.pop("order", "event_time")
        if order not in ("event_time", "arrival"):
            who = f"streaming table '{definition.name}'"
            msg = f"{who}: order is 'event_time' or 'arrival', was '{order}'"
            raise SqlError(msg)
        idle: int | None = 200_000_000
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
            msg = f"'{name}': {option} must be a time such as '5 minutes', was '{words}'"
            raise SqlError(msg)
        return found[1] * DAY_NS + found[2]

    def _computing(
        self, definition: StreamDefinition
    ) -> Callable[[pa.RecordBatch], pa.RecordBatch] | None:
        computed = [c for c in definition.columns if c.computed]
        if not computed:
            return None
        schema = definition.schema(definition.given)
        steps = []
        for column in computed:  # one may use those before it
            fragment = self._context.evaluator.over_rows(
                schema, [(column.name, column.computed)], {}
            )
            steps.append((fragment, schema, column))
            schema = schema.append(pa.field(column.name, column.type))
        target = definition.schema()
        wanted = target.names

        def compute(rows: pa.RecordBatch) -> pa.RecordBatch:
            columns = {name: rows[name] for name in rows.schema.names}
            for fragment, before, column in steps:
                plain = [_plain(columns[f.name], f.type) for f in before]
                batch = pa.RecordBatch.from_arrays(plain, schema=before)
                (columns[column.name],) = fragment.run(batch)
            arrays = [columns[name] for name in wanted]
            kept = [a if pa.types.is_dictionary(a.type) else _plain(a, f.type)
                    for a, f in zip(arrays, target, strict=True)]  # fmt: skip
            return pa.RecordBatch.from_arrays(kept, wanted)

        return compute

    # ------------------------------------------------------------ views

    def create_view(self, command: CreateView) -> None:
        """Begin a continuous query."""
        name = command.name
        if not self._free(name, command.if_not_exists, replace=command.replace):
            return
        unknown = set(command.options) - set(VIEW_OPTIONS)
        if unknown:
            raise UnknownNameError(
                "option", sorted(unknown)[0], list(VIEW_OPTIONS), who=f"view '{name}'"
            )
        context = self._context
        cancel = Cancel()
        flow = Flow(context.evaluator, context.layouts, threads=context.threads,
                    memory_limit=context.memory_limit, cancel=cancel)  # fmt: skip
        built = flow.build(command.plan)
        if not flow.inputs:
            msg = f"view '{name}' reads no streaming table and no view: write CREATE TABLE ... AS"
            raise SqlError(msg)
        schema = command.plan.schema
        key = self._key(command, schema)
        time = sorted(event_times(command.plan))
        view: RetainedView | KeyedView
        if built.retracts or key:
            view = KeyedView(schema, key or built.upsert)
            table = ViewTable(name, view, "", key or built.upsert)
        else:
            view = RetainedView(schema, self._retain(command, time[0] if time else ""))
            table = ViewTable(name, view, time[0] if time else "")
        running = Running(name, view, table, flow.inputs, flow.stages, command.text, cancel)
        built.stage.feeds(Collector(running.take, lambda b: conformed(b, schema), running.reach))
        if name in self.views:
            self._stop_view(name)
        self.pipeline.add(running)
        order = (time[0],) if time and not isinstance(view, KeyedView) else ()
        self._context.put(Table(name, schema, Order(order), table))
        self.views[name] = command
        if not self.paused:
            self.pipeline.start()

    def _key(self, command: CreateView, schema: pa.Schema) -> tuple[str, ...]:
        words = command.options.get("key", "")
        key = tuple(word.strip().lower() for word in words.split(",") if word.strip())
        for column in key:
            if column not in schema.names:
                raise UnknownNameError(
                    "column", column, schema.names, who=f"view '{command.name}': key"
                )
        return key

    def _retain(self, command: CreateView, time: str) -> Retain:
        made = Retain(time=time)
        if "retain" in command.options:
            if not time:
                msg = f"view '{command.name}': retain needs the event time in the SELECT list"
                raise SqlError(msg)
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

    def _free(self, name: str, absent: bool, *, replace: bool) -> bool:
        """Whether a name can be given; an existing one is an error unless it may be."""
        taken = self._context.exists(name)
        if not taken or replace and (name in self.tables or name in self.views):
            return True
        if absent:
            return False
        raise SqlError(f"'{name}' is there already; drop it, or write OR REPLACE")

    def _readers(self, name: str) -> list[str]:
        return [
            query.name
            for query in self.pipeline.queries.values()
            if any(table.name == name for table, _ in query.inputs)
        ]

    def drop(self, command: DropEndless) -> None:
        """Forget a table or a view."""
        kind, name = command.kind, command.name
        known: Mapping[str, Any] = self.views if kind == "materialized view" else self.tables
        if kind == "sink" or name not in known:
            if command.if_exists:
                return
            raise UnknownNameError(kind, name, sorted(known))
        readers = self._readers(name)
        if readers and not command.cascade:
            msg = f"{kind} '{name}' is read by {', '.join(readers)}: drop these first, or CASCADE"
            raise SqlError(msg)
        for reader in readers:
            self.drop(DropEndless("materialized view", reader, cascade=True))
        if kind == "materialized view":
            self._stop_view(name)
        else:
            del self.tables[name]
            self._context.forget(f"{name}_dead_letters")
        self._context.forget(name)

    def _stop_view(self, name: str) -> None:
        self.pipeline.remove(name)
        self.views.pop(name, None)

    def _statement(self, command: ShowCreate) -> str:
        if command.kind == "streaming table" and command.name in self.tables:
            return masked(self.tables[command.name].command.text)
        if command.kind == "materialized view" and command.name in self.views:
            return self.views[command.name].text
        known = sorted(self.views if command.kind == "materialized view" else self.tables)
        raise UnknownNameError(command.kind, command.name, known)

    def show(self) -> pa.Table:
        """What each streaming table and each view does, as a table of STREAMS."""
        rows: list[dict[str, Any]] = []
        feeds = self.pipeline.feeds()
        for name, defined in self.tables.items():
            own = [feed for feed in feeds if feed.table is defined.table]
            counts = [feed.intake.counts for feed in own]
            rows.append(
                {
                    "name": name,
                    "kind": "streaming table",
                    "state": "read" if own else "not read",
                    **{
                        word: sum(getattr(c, word) for c in counts)
                        for word in ("rows", "late", "bad", "passed", "messages")
                    },
                    "waiting": sum(feed.intake.waiting for feed in own),
                    "lag": sum(sum(feed.lag.values()) for feed in own),
                    "watermark": _time(min((f.watermark for f in own), default=NEVER)),
                    "bytes": sum(feed.bytes_held for feed in own),
                }
            )
        for name, query in self.pipeline.queries.items():
            rows.append(
                {
                    "name": name,
                    "kind": "materialized view",
                    "state": query.state,
                    "rows": query.rows,
                    "watermark": _time(query.watermark),
                    "bytes": query.bytes_held + query.view.bytes_held,
                    "error": None if query.error is None else str(query.error),
                }
            )
        return pa.Table.from_pylist(rows, STREAMS)

    def close(self) -> None:
        """Stop everything."""
        self.pipeline.stop()


def masked(statement: str) -> str:
    """A statement without the secrets in its options."""
    import re

    named = r"(\w*(?:password|secret|token|key_pem)\w*\s*=\s*)'(?!env:|file:)[^']*'"
    return re.sub(named, r"\1'***'", statement, flags=re.IGNORECASE)


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)


def _time(ns: int) -> Any:
    if ns <= NEVER + 1 or ns >= 2**63 - 1:
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
    raise SqlError(f"view '{name}': retain_bytes must be a size such as '256 MB', was '{words}'")
