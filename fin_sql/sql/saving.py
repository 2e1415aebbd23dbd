"""COPY, CREATE TABLE, INSERT and DROP TABLE: their text, and the plan of their query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn, Protocol

import pyarrow as pa

from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.exec.fragment import Evaluator
from fin_sql.sql.bind import Binder, Known
from fin_sql.sql.concern import concerns
from fin_sql.sql.joins import bind_source
from fin_sql.sql.parse import names_in, read_query
from fin_sql.sql.plain import Files, plain_query
from fin_sql.sql.plan import Node, Relational
from fin_sql.sql.rules import improved
from fin_sql.sql.sinks import Copy, Create, Drop, Insert, Sink
from fin_sql.sql.sources import read_source
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text

_CHANGES = ("delete", "update", "truncate", "alter", "merge", "replace")
_AROUND = ("prepare", "verbose", "format")  # PREPARE p AS ..., EXPLAIN ANALYZE VERBOSE ...
_CLAUSES = ("stored", "partitioned", "options")


class Saver(Files, Protocol):
    """What a statement that saves needs of its session."""

    evaluator: Evaluator

    def table(self, name: str) -> Any:
        """A table, or None."""

    def tables(self) -> list[str]:
        """All names."""

    def exists(self, name: str) -> bool:
        """Whether a name is taken, by a table or a view."""

    def refuse_endless(self, name: str) -> None:
        """Raise SqlError for the name of a streaming table or a materialized view."""

    def target(
        self,
        path: str,
        format: str | None,
        partition_by: Sequence[str],
        options: Mapping[str, Any],
    ) -> Any:
        """Where COPY writes to."""

    def insertion(
        self, name: str, given: pa.Schema, columns: Sequence[str] | None
    ) -> tuple[int | None, ...]:
        """For each column of a table which column of a query it takes."""


def saves(text: Text) -> bool:
    """Whether a statement is one of those that change what is kept."""
    first = text.tokens[0]
    return first.says("copy", "insert", *_CHANGES, *_AROUND) or _table_word(text) is not None


def _table_word(text: Text) -> int | None:
    """The place of TABLE behind CREATE or DROP."""
    tokens = text.tokens
    if tokens[0].says("drop"):
        return 1 if tokens[1].says("table") else None
    if not tokens[0].says("create"):
        return None
    at = 3 if tokens[1].says("or") and tokens[2].says("replace") else 1
    while tokens[at].says("temp", "temporary"):
        at += 1
    return at if tokens[at].says("table") else None


class Saving:
    """Reads one statement.

    Args:
        text: the statement.
        end: the token behind its last one.
        known: what its query may refer to.
        session: where it saves to.
    """

    def __init__(self, text: Text, end: int, known: Known, session: Saver) -> None:
        self.text, self.end, self.known, self.session = text, end, known, session
        self.binder = Binder(text, known)

    def read(self) -> Sink | None:
        """The statement as a plan; None where it is DataFusion's after all.

        Raises:
            SqlError: it cannot be what was meant; the place is underlined.
        """
        first = self.text.tokens[0]
        if first.says("copy"):
            return self._copy()
        if first.says("insert"):
            return self._insert()
        if first.says(*_CHANGES, *_AROUND):
            self._refuse()
            return None
        return self._drop() if first.says("drop") else self._create()

    # ------------------------------------------------------------ parts

    def query(self, begin: int, end: int) -> Node:
        """The plan of a query whose rows are saved: they keep their order, where they have one."""
        if begin >= end or not self.text.tokens[begin].says(
            "select", "with", "values", "from", "("
        ):
            self.text.fail("a query was expected", min(begin, self.end - 1))
        if concerns(self.text, begin, end, self.known.ours):
            node = self.binder.query(begin, end)
        else:
            node = plain_query(self.binder, begin, end, self.session, self.known.params)
        return improved(node, self.known.evaluator, self.known.params)

    def _name(self, at: int) -> str:
        """The name of a table that is made, filled or dropped."""
        token = self.text.tokens[at]
        if at >= self.end or not token.names:
            self.text.fail("the name of a table was expected", min(at, self.end - 1))
        if at + 1 < self.end and self.text.tokens[at + 1].says("."):
            self.text.fail("tables are in no schema: write the name alone", at, at + 3)
        if "." in token.text:
            self.text.fail("the name of a table has no dot", at)
        if token.text.startswith("__"):
            self.text.fail("names that begin with '__' are fin_sql's own", at)
        name = token.text.lower()
        self._refuse_endless(name, at)
        return name

    def _refuse_endless(self, name: str, at: int) -> None:
        try:
            self.session.refuse_endless(name)
        except SqlError as error:
            self.text.fail(str(error), at)

    def _says(self, at: int, *words: str) -> bool:
        """Whether words follow each other."""
        return all(self.text.tokens[at + k].says(word) for k, word in enumerate(words))

    def _value(self, begin: int, end: int) -> Any:
        if begin >= end:
            self.text.fail("a value was expected", begin - 1)
        if end - begin == 1 and self.text.tokens[begin].kind == "string":
            return self.text.tokens[begin].text
        return self.binder.constant((begin, end))

    # ------------------------------------------------------------ COPY

    def _copy(self) -> Copy:
        text, tokens = self.text, self.text.tokens
        at = 1
        while at < self.end and not tokens[at].says("to", "from"):
            at = text.closing.get(at, at) + 1
        if at < self.end and tokens[at].says("from"):
            msg = "COPY writes; to read a file write CREATE TABLE name AS SELECT * FROM 'path'"
            text.fail(msg, 0, at + 1)
        if at >= self.end or at == 1:
            text.fail("COPY {table | (query)} TO 'path' was expected", 0)
        node = self._copied(1, at)
        stop = at + 1
        while stop < self.end and not tokens[stop].says(*_CLAUSES, "(", "with"):
            stop += 1
        path = self._value(at + 1, stop)
        if not isinstance(path, str):
            text.fail(f"a path was expected, was {path!r}", at + 1, stop)
        spans: dict[str, Span] = {"path": (at + 1, stop)}
        while stop < self.end:
            at, stop = stop, self._clause(stop)
            if (word := tokens[at].text) in spans:
                text.fail(f"{word.upper()} stands twice", at)
            spans[word] = (at, stop)
        return Copy(node, self._target(path, node.schema, spans))

    def _copied(self, begin: int, end: int) -> Node:
        """A table, a file or a query in brackets."""
        if self.text.tokens[begin].says("("):
            if self.text.closing[begin] != end - 1:
                self.text.fail("TO was expected", self.text.closing[begin] + 1)
            return self.query(begin + 1, end - 1)
        if self.text.tokens[begin].says("select", "with", "values"):
            self.text.fail("put the query in brackets: COPY (query) TO 'path'", begin, end)
        node = bind_source(self.binder, read_source(self.text, begin, end, read_query)).node
        return improved(node, self.known.evaluator, self.known.params)

    def _clause(self, at: int) -> int:
        """The end of a clause behind the path."""
        text, tokens = self.text, self.text.tokens
        if self._says(at, "stored", "as") and tokens[at + 2].names:
            return at + 3
        if self._says(at, "partitioned", "by", "("):
            return text.closing[at + 2] + 1
        if self._says(at, "options", "("):
            return text.closing[at + 1] + 1
        msg = "STORED AS format, PARTITIONED BY (column, ...) or OPTIONS (option value, ...)"
        text.fail(f"{msg} was expected", at, self.end)

    def _options(self, open_at: int) -> dict[str, tuple[Any, Span]]:
        """The value of each option, and its place."""
        text, found = self.text, {}
        for begin, end in text.split(open_at + 1, text.closing[open_at], ","):
            at = begin + 1
            name = text.tokens[begin].text
            while at + 1 < end and text.tokens[at].says("."):
                name, at = f"{name}.{text.tokens[at + 1].text}", at + 2
            if at >= end:
                text.fail("an option and its value were expected", begin, max(end, begin + 1))
            name = name.lower()
            if name in found:
                text.fail(f"option '{name}' stands twice", begin, end)
            found[name] = (self._value(at, end), (begin, end))
        return found

    def _target(self, path: str, schema: pa.Schema, spans: Mapping[str, Span]) -> Any:
        """Where it is copied to; what is wrong with it is underlined."""
        text, format = self.text, None
        columns: tuple[str, ...] = ()
        options: dict[str, tuple[Any, Span]] = {}
        blamed = spans["path"]
        if "stored" in spans:
            blamed = spans["stored"]
            format = text.tokens[blamed[1] - 1].text
        if "partitioned" in spans:
            columns = names_in(text, spans["partitioned"][0] + 2)
        if "options" in spans:
            options = self._options(spans["options"][0] + 1)
        values = {name: value for name, (value, _) in options.items()}
        try:
            target = self.session.target(path, format, columns, values)
        except (SqlError, UnknownNameError) as error:
            for name, (_, span) in options.items():
                if f"option '{name.rpartition('.')[2]}'" in str(error):
                    blamed = span
            text.fail(str(error), *blamed)
        try:
            target.columns(schema)
        except (SqlError, UnknownNameError) as error:
            text.fail(str(error), *spans.get("partitioned", (0, self.end)))
        return target

    # ------------------------------------------------------------ tables

    def _create(self) -> Create:
        text, tokens = self.text, self.text.tokens
        at = _table_word(text)
        assert at is not None
        if tokens[at - 1].says("temp", "temporary"):
            text.fail("there are no temporary tables: a session without a home keeps none", at - 1)
        replaces, at = tokens[1].says("or"), at + 1
        skips = self._says(at, "if", "not", "exists")
        at += 3 * skips
        if replaces and skips:
            text.fail("OR REPLACE and IF NOT EXISTS exclude each other", 1, at)
        name, place = self._name(at), at
        at += 1
        if tokens[at].says("(") and text.closing[at] == self.end - 1:
            node: Node = self._empty(at)
        elif tokens[at].says("("):
            text.fail("columns or AS query was expected, not both: cast in the query", at, self.end)
        elif tokens[at].says("as"):
            node = self.query(at + 1, self.end)
        else:
            text.fail("AS query or (column type, ...) was expected", min(at, self.end - 1))
        if not replaces and not skips and self.session.exists(name):
            text.fail(exists_already(name), place)
        return Create(node, name, replaces, skips)

    def _empty(self, open_at: int) -> Node:
        """No rows of columns whose types are written as DataFusion does."""
        text, items, names = self.text, [], []
        for begin, end in text.split(open_at + 1, text.closing[open_at], ","):
            if end - begin < 2 or not text.tokens[begin].names:
                text.fail("a column and its type were expected", begin, max(end, begin + 1))
            for i in range(begin + 1, end):
                if text.tokens[i].says("not", "null", "primary", "unique", "default", "check"):
                    text.fail("columns have a name and a type, and no constraint", i, end)
            names.append(text.tokens[begin].text)
            items.append((text.written(begin + 1, end), (begin, end)))
            if names[-1] in names[:-1]:
                text.fail(f"column '{names[-1]}' stands twice", begin, end)
        if not items:
            text.fail("a column and its type were expected", open_at)
        fields = []
        for name, (kind, span) in zip(names, items, strict=True):
            try:
                found = self.known.evaluator.describe(f"SELECT CAST(NULL AS {kind}) AS c", {})
            except SqlError as error:
                text.fail(str(error), *span)
            fields.append(pa.field(name, found.types[0]))
        shown = ", ".join(f"CAST(NULL AS {kind}) AS c{k}" for k, (kind, _) in enumerate(items))
        return Relational(f"SELECT {shown} WHERE false", (), pa.schema(fields))

    def _insert(self) -> Insert:
        text, tokens = self.text, self.text.tokens
        if not tokens[1].says("into"):
            text.fail("INSERT INTO name query was expected", 0, 2)
        at = 2 + tokens[2].says("table")
        name, place = self._name(at), at
        columns: tuple[str, ...] | None = None
        span, at = (at, at + 1), at + 1
        if tokens[at].says("(") and not tokens[at + 1].says("select", "with", "values", "("):
            columns, stop = names_in(text, at), text.closing[at] + 1
            span, at = (at, stop), stop
        if tokens[at].says("default"):
            text.fail("columns have no defaults: write VALUES (...)", at, self.end)
        table = self.session.table(name)
        if table is None:
            self._unknown(name, place, "be inserted into")
        node = self.query(at, self.end)
        try:
            places = self.session.insertion(name, node.schema, columns)
            return Insert(node, name, table.schema, places)
        except (SqlError, UnknownNameError) as error:
            text.fail(str(error), *span)

    def _drop(self) -> Drop | None:
        tokens = self.text.tokens
        if_exists = self._says(2, "if", "exists")
        at = 4 if if_exists else 2
        name = self._name(at)
        if at + 1 < self.end:
            self.text.fail("one table at a time", at + 1, self.end)
        if not if_exists and not self.session.exists(name):
            self._unknown(name, at, "be dropped")
        if self.known.evaluator.ctx.table_exist(tokens[at].text) and not self.session.table(name):
            return None
        return Drop(name, if_exists)

    def _unknown(self, name: str, at: int, what: str) -> NoReturn:
        if self.known.evaluator.ctx.table_exist(name):
            msg = f"'{name}' is a view or DataFusion's own, and cannot {what} here"
            self.text.fail(msg, at)
        self.text.fail(str(UnknownNameError("table", name, self.session.tables())), at)

    def _refuse(self) -> None:
        """Refuse what would change the rows of DataFusion's view of a table, and not ours."""
        tokens = self.text.tokens
        if tokens[0].says(*_AROUND):
            # The tokenizer takes what follows PREPARE for one string.
            inner = Text(tokens[1].text).tokens if tokens[1].kind == "string" else tokens
            for before, token in pairwise(inner):
                if token.says("copy", "insert", "update", "delete", "create", "drop"):
                    if before.says("as", "verbose", "tree", "indent", "pgjson", "graphviz"):
                        msg = "only a query may stand here; give the statement alone"
                        self.text.fail(msg, 0, self.end)
            return
        at = 1
        while at < self.end and tokens[at].says("from", "table", "into", "only"):
            at += 1
        if at < self.end and tokens[at].names and self.session.table(tokens[at].text) is not None:
            self._refuse_endless(tokens[at].text.lower(), at)
            word, name = tokens[0].text.upper(), tokens[at].text
            msg = (
                f"{word} is not known: write CREATE OR REPLACE TABLE {name} AS SELECT ... FROM "
                f"{name} WHERE ..."
            )
            self.text.fail(msg, 0, at + 1)


def exists_already(name: str) -> str:
    """What is said where a name is taken."""
    return (
        f"table '{name}' exists already: CREATE OR REPLACE TABLE replaces it, CREATE TABLE IF NOT "
        "EXISTS leaves it"
    )
