"""A reader of the statements about streaming tables, materialized views and sinks."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import pyarrow as pa

from fin_sql.errors import FinSqlError, NotStreamableError, SqlError
from fin_sql.exec.fragment import Evaluator
from fin_sql.sql.commands import (
    Alter,
    Command,
    CreateSink,
    CreateStreamingTable,
    CreateView,
    DropEndless,
    Kind,
    ShowCreate,
    ShowStreams,
    Subscribe,
)
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text, underlined
from fin_sql.stream.definition import ColumnEntry, Condition, StreamDefinition

FORMATS = ("iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
METADATA = ("partition", "offset", "timestamp", "key", "topic", "unnest")
COLUMN = "name TYPE [NOT NULL] [FROM 'path'] [FORMAT 'format']"
NOT_REPEATED = ("now", "today", "random", "rand", "uuid")
OF_THE_MOMENT = ("current_date", "current_time", "current_timestamp")
_ENDS = ("not", "from", "format", "metadata")


def is_about_streams(text: Text, end: int) -> bool:
    """Whether a statement is one of these."""
    words = [token.text for token in text.tokens[: min(end, 6)] if token.kind == "word"]
    if words[:1] == ["create"]:
        rest = words[3:] if words[1:3] == ["or", "replace"] else words[1:]
        return rest[:2] in (["streaming", "table"], ["materialized", "view"]) or rest[:1] == [
            "sink"
        ]
    if words[:1] in (["drop"], ["alter"]) or words[:2] == ["show", "create"]:
        rest = words[2:] if words[0] == "show" else words[1:]
        return rest[:2] in (["streaming", "table"], ["materialized", "view"]) or rest[:1] == [
            "sink"
        ]
    return words[:2] == ["show", "streams"] or words[:2] == ["subscribe", "to"]


class Reader:
    """Reads one statement.

    Args:
        text: the statement.
        end: behind its last token.
        evaluator: knows types and intervals.
    """

    def __init__(self, text: Text, end: int, evaluator: Evaluator) -> None:
        self.text, self.end, self.evaluator = text, end, evaluator
        self.at = 0
        self._places: dict[str, tuple[int, int]] = {}

    def _fail(self, message: str) -> NoReturn:
        self.text.fail(message, min(self.at, self.end))

    def _says(self, *words: str) -> bool:
        """Whether these words come next; they are passed."""
        tokens = self.text.tokens
        if all(
            self.at + k < self.end and tokens[self.at + k].says(word)
            for k, word in enumerate(words)
        ):
            self.at += len(words)
            return True
        return False

    def _name(self, what: str) -> str:
        token = self.text.tokens[self.at]
        if self.at >= self.end or not token.names:
            self._fail(f"the name of a {what} was expected")
        if token.text.startswith("__"):
            self._fail("names that begin with '__' are fin_sql's own")
        self.at += 1
        if what == "column":
            return token.text
        if "." in token.text or self.at < self.end and self.text.tokens[self.at].says("."):
            self.at -= 1
            self._fail(f"a {what} is in no schema: write the name alone, without a dot")
        return token.text.lower()

    def _string(self, what: str) -> str:
        token = self.text.tokens[self.at]
        if self.at >= self.end or token.kind != "string":
            self._fail(f"{what} was expected, in quotes")
        self.at += 1
        return token.text

    def _kind(self) -> Kind:
        for words in (("streaming", "table"), ("materialized", "view"), ("sink",)):
            if self._says(*words):
                return cast(Kind, " ".join(words))
        self._fail("STREAMING TABLE, MATERIALIZED VIEW or SINK was expected")

    def _done(self) -> None:
        if self.at < self.end:
            self._fail("the end of the statement was expected")

    # ------------------------------------------------------------ statements

    def read(self) -> Command:
        """The statement.

        Raises:
            SqlError: with the place underlined.
        """
        if self._says("create"):
            return self._create()
        if self._says("drop"):
            kind = self._kind()
            if_exists = self._says("if", "exists")
            name = self._name(kind)
            cascade = self._says("cascade")
            self._done()
            return DropEndless(kind, name, if_exists, cascade)
        if self._says("alter"):
            kind = self._kind()
            name = self._name(kind)
            if not self.text.tokens[self.at].says("pause", "resume"):
                self._fail("PAUSE or RESUME was expected")
            action = self.text.tokens[self.at].text
            self.at += 1
            self._done()
            return Alter(kind, name, cast(Any, action))
        if self._says("subscribe", "to"):
            name = self._name("view")
            snapshot = self._says("with", "snapshot")
            self._done()
            return Subscribe(name, snapshot)
        if self._says("show", "streams"):
            self._done()
            return ShowStreams()
        self._says("show", "create")
        kind = self._kind()
        name = self._name(kind)
        self._done()
        return ShowCreate(kind, name)

    def _create(self) -> Command:
        replace = self._says("or", "replace")
        kind = self._kind()
        if replace and kind == "sink":
            self.text.fail("a sink is not replaced: DROP SINK it first", 1, 3)
        absent = self._says("if", "not", "exists")
        if absent and replace:
            self.text.fail("OR REPLACE and IF NOT EXISTS exclude each other", 1, self.at)
        name = self._name(kind)
        if kind == "streaming table":
            return self._table(name, replace, absent)
        if kind == "sink":
            if not self._says("from"):
                self._fail("CREATE SINK name FROM view WITH (...) was expected")
            view = self._name("view")
            options = self._options()
            self._done()
            return CreateSink(name, view, options, self.text.sql, absent, self._places)
        if self.text.tokens[self.at].says("("):
            self._fail("columns are named in the query: AS SELECT expr AS name, ...")
        options = self._options() if self.text.tokens[self.at].says("with") else {}
        if not self._says("as"):
            self._fail("AS query was expected")
        if self.at >= self.end:
            self._fail("a query was expected")
        query = (self.at, self.end)
        self._repeatable(*query)
        return CreateView(name, query, options, self.text.sql, replace, absent, None, self._places)

    def _repeatable(self, begin: int, end: int) -> None:
        """Refuse what is not the same each time that a query is run."""
        tokens = self.text.tokens
        for i in range(begin, end):
            token, before = tokens[i], tokens[i - 1]
            calls = tokens[i + 1].says("(") and not before.says(".")
            if token.says(*NOT_REPEATED) and calls or token.says(*OF_THE_MOMENT):
                if not before.says(".", "as"):
                    msg = (
                        f"{token.text}() gives another value each time: what goes on for ever "
                        "cannot repeat it; take a column, or ask for it where a view is read"
                    )
                    msg = underlined(msg, self.text.sql, token.begin, token.end)
                    raise NotStreamableError(msg)
            sliced = before.names or before.kind == "number" or before.says(")", "]")
            named = token.says(":") and tokens[i + 1].names and not sliced
            if named or token.kind == "symbol" and token.text.startswith(("$", "?")):
                msg = "what is kept takes no parameters, as they are gone later: write the value"
                self.text.fail(msg, i, i + 1 + named)

    def _options(self) -> dict[str, str]:
        if not self._says("with") or not self.text.tokens[self.at].says("("):
            self._fail("WITH (option = value, ...) was expected")
        close = self.text.closing[self.at]
        found: dict[str, str] = {}
        for begin, stop in self.text.split(self.at + 1, close, ","):
            key = self.text.tokens[begin]
            if stop - begin < 3 or not key.names or not self.text.tokens[begin + 1].says("="):
                self.text.fail("option = value was expected", begin, max(stop, begin + 1))
            name = key.text.lower()
            if name in found:
                self.text.fail(f"option '{name}' stands twice", begin)
            found[name] = self._literal((begin + 2, stop))
            self._places[name] = (key.begin, self.text.tokens[stop - 1].end)
        self.at = close + 1
        return found

    def _literal(self, span: Span) -> str:
        """The text of a literal."""
        first, last = (self.text.tokens[k] for k in (span[0], span[1] - 1))
        length = span[1] - span[0]
        if length == 1 and (first.kind in ("string", "number") or first.says("true", "false")):
            return first.text
        if length == 2 and first.says("-") and last.kind == "number":
            return f"-{last.text}"
        if length == 3 and first.says("interval") and last.kind == "word":
            return self.text.written(*span)
        what = "'text', a number, true, false or INTERVAL '...' unit was expected"
        self.text.fail(what, span[0], max(span[1], span[0] + 1))

    # ------------------------------------------------------------ CREATE STREAMING TABLE

    def _table(self, name: str, replace: bool, absent: bool) -> CreateStreamingTable:
        if not self.text.tokens[self.at].says("("):
            self._fail("the columns were expected, in brackets")
        close = self.text.closing[self.at]
        entries = self.text.split(self.at + 1, close, ",")
        columns: list[ColumnEntry] = []
        unnest: list[str] = []
        time: tuple[str, int] | None = None
        outer, inside = self.end, False
        for begin, stop in entries:
            self.at, self.end = begin, stop
            if self._says("watermark", "for"):
                if time is not None:
                    self._fail("WATERMARK stands twice")
                time, inside = self._watermark(columns), False
            elif self.text.tokens[begin].says("unnest") and self._next_is_string():
                self.at += 1
                unnest.append(self._path(self._string("a path")))
                inside = True
            elif inside and self.text.tokens[begin].kind == "string":
                unnest.append(self._path(self._string("a path")))
            else:
                columns.append(self._column(bool(unnest) or self._has_unnest(entries), columns))
                inside = False
            self._done()
        self.at, self.end = close + 1, outer
        if time is None:
            msg = (
                "a streaming table says which column is its event time: "
                "WATERMARK FOR ts AS ts - INTERVAL '50' MILLISECOND"
            )
            self.text.fail(msg, close)
        where = self._where()
        options = self._options()
        self._done()
        made = StreamDefinition(name, tuple(columns), *time, tuple(unnest), where, options)
        return CreateStreamingTable(made, self.text.sql, replace, absent, self._places)

    def _next_is_string(self) -> bool:
        return self.at + 1 < self.end and self.text.tokens[self.at + 1].kind == "string"

    def _has_unnest(self, entries: list[Span]) -> bool:
        tokens = self.text.tokens
        return any(tokens[b].says("unnest") and tokens[b + 1].kind == "string" for b, _ in entries)

    def _path(self, path: str) -> str:
        if not path.startswith(("$", "@")):
            self.at -= 1
            self._fail("a path begins with $ (the message) or @ (the element of UNNEST)")
        return path

    def _column(self, unnests: bool, before: list[ColumnEntry]) -> ColumnEntry:
        tokens, begin = self.text.tokens, self.at
        name = self._name("column")
        if any(column.name == name for column in before):
            self.at = begin
            self._fail(f"column '{name}' stands twice")
        if self._says("as"):
            return self._computed(name, before)
        start = self.at
        while self.at < self.end and not tokens[self.at].says(*_ENDS):
            self.at = self.text.closing.get(self.at, self.at) + 1
        kind = self._type((start, self.at))
        path, format, not_null, metadata = "", "", False, ""
        while self.at < self.end:
            if self._says("not", "null"):
                not_null = True
            elif self._says("metadata", "from"):
                metadata = self._string("what of the message")
                if metadata not in METADATA and not metadata.startswith("header."):
                    self.at -= 1
                    self._fail(
                        f"METADATA FROM one of {', '.join(METADATA)}, header.NAME was expected"
                    )
            elif self._says("from"):
                path = self._path(self._string("a path"))
            elif self._says("format"):
                format = self._string("a format")
                if format not in FORMATS or not pa.types.is_timestamp(kind):
                    self.at -= 1
                    self._fail(f"FORMAT of a TIMESTAMP is one of {', '.join(FORMATS)}")
            else:
                self._fail(f"{COLUMN} was expected")
        if not path and not metadata:
            plain = name.isidentifier()
            path = ("@" if unnests else "$") + (f".{name}" if plain else f"['{name}']")
        return ColumnEntry(name, kind, path, format, not_null, metadata)

    def _type(self, span: Span) -> pa.DataType:
        if span[0] == span[1]:
            self._fail(f"{COLUMN} was expected")
        sql = self.text.written(*span)
        try:
            (field,) = self.evaluator.describe(f"SELECT CAST(NULL AS {sql}) AS v", {})
        except SqlError as error:
            self.text.fail(f"a type was expected: {error}", *span)
        kind = field.type
        if pa.types.is_timestamp(kind):
            return pa.timestamp("ns", kind.tz)
        return pa.string() if kind in (pa.string_view(), pa.large_string()) else kind

    def _computed(self, name: str, before: list[ColumnEntry]) -> ColumnEntry:
        if not self.text.tokens[self.at].says("("):
            self._fail("a computed column is written name AS (expression)")
        begin, stop = self.at + 1, self.text.closing[self.at]
        self.at = stop + 1
        if begin == stop:
            self.text.fail("an expression was expected", begin - 1, stop + 1)
        self._repeatable(begin, stop)
        sql = self.text.written(begin, stop)
        schema = pa.schema([pa.field(c.name, c.type) for c in before])
        if not before:
            self.text.fail("a computed column uses columns that stand before it", begin, stop)
        try:
            shown = f"SELECT {sql} AS v FROM __in"
            (field,) = self.evaluator.describe(shown, {"__in": schema})
            alone = self.evaluator.row_local(shown, schema)
        except FinSqlError as error:
            self.text.fail(str(error), begin, stop)
        if not alone:
            msg = "a computed column is an expression of one row: aggregates, windows and queries"
            self.text.fail(f"{msg} go into a view", begin, stop)
        return ColumnEntry(name, field.type, computed=sql)

    def _watermark(self, columns: list[ColumnEntry]) -> tuple[str, int]:
        name = self._name("column")
        column = next((c for c in columns if c.name == name), None)
        if column is None:
            self.at -= 1
            self._fail("WATERMARK FOR names a column that stands before it")
        if not pa.types.is_timestamp(column.type):
            self.at -= 1
            self._fail(f"the event time must be a TIMESTAMP, column '{name}' is {column.type}")
        if not self._says("as") or self._name("column") != name:
            self._fail(f"AS {name} [- INTERVAL '...'] was expected")
        if self.at == self.end:
            return name, 0
        if not self._says("-"):
            self._fail(f"AS {name} - INTERVAL '...' was expected")
        span = (self.at, self.end)
        self.at = self.end
        found = self.evaluator.interval(self.text.written(*span))
        if found is None or found[0] or min(found) < 0:
            self.text.fail("a delay was expected, such as INTERVAL '50' MILLISECOND", *span)
        return name, found[1] * 86_400_000_000_000 + found[2]

    def _where(self) -> tuple[Condition, ...]:
        if not self._says("where"):
            return ()
        found = [self._condition()]
        while self._says("and"):
            found.append(self._condition())
        return tuple(found)

    def _condition(self) -> Condition:
        path = self._path(self._string("a path"))
        if self._says("is", "not", "null"):
            return Condition(path, "is not null")
        if self._says("is", "null"):
            return Condition(path, "is null")
        if self._says("in"):
            if not self.text.tokens[self.at].says("("):
                self._fail("IN (value, ...) was expected")
            close = self.text.closing[self.at]
            spans = self.text.split(self.at + 1, close, ",")
            self.at = close + 1
            return Condition(path, "in", tuple(map(self._literal, spans)))
        equal = self._says("=")
        if equal or self._says("<>") or self._says("!="):
            begin = self.at
            self.at += 2 if self.text.tokens[begin].says("-") else 1
            return Condition(path, "=" if equal else "<>", (self._literal((begin, self.at)),))
        self._fail("a condition is 'path' = value, <>, IN (...), or IS [NOT] NULL")
