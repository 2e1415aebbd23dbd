"""A statement: passed on to DataFusion as it is, or planned."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fin_sql.errors import SqlError
from fin_sql.sql.bind import Binder, Known
from fin_sql.sql.commands import Command, CreateView
from fin_sql.sql.concern import Ours, concerns
from fin_sql.sql.endless import Reader, is_about_streams
from fin_sql.sql.plain import with_files
from fin_sql.sql.plan import Node
from fin_sql.sql.rules import improved
from fin_sql.sql.saving import Saver, Saving, saves
from fin_sql.sql.settings import Setting, read_setting
from fin_sql.sql.sinks import Drop, Sink
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text, underlined

_UNKNOWN = re.compile(r'No field named (\w+\.)?"?(?P<name>\w+)"?\.')
_EXPLAIN = re.compile(r"\s*explain\s+(?P<analyze>analyze\s+)?", re.IGNORECASE)


class Session(Saver, Protocol):
    """What a statement needs of its session."""

    @property
    def ours(self) -> Ours:
        """What statements it takes beside our forms."""

    @property
    def endless(self) -> Collection[str]:
        """The names of streaming tables."""

    def open_path(self, path: str) -> Any:
        """The table of a file."""


@dataclass(frozen=True)
class Statement:
    """A statement that was read.

    Args:
        sql: its text; of a statement that is passed on, as DataFusion is given it.
        plan: of a statement of ours, else None; a Sink where it saves something, a Setting of SET,
            a Command about endless tables.
        params: values of its parameters.
        explain: None, "plan" or "analyze".
    """

    sql: str
    plan: Node | Sink | Setting | Command | None
    params: Mapping[str, Any]
    explain: str | None = None


def read_statement(sql: str, params: Mapping[str, Any], session: Session) -> Statement:
    """Decide whose a statement is, and plan it if it is ours.

    Raises:
        SqlError: it cannot be what was meant; the place is underlined.
    """
    # The tokenizer takes what follows EXPLAIN for one string.
    explains = _EXPLAIN.match(sql)
    text = Text(" " * explains.end() + sql[explains.end() :] if explains else sql)
    tokens = text.tokens
    end = len(tokens) - 1
    while end and tokens[end - 1].says(";"):
        end -= 1
    for i in range(end):
        if tokens[i].says(";"):
            text.fail("one statement at a time: this one has another behind it", i)
    if end == 0:
        text.fail("the statement is empty", 0)
    explain = ("analyze" if explains["analyze"] else "plan") if explains else None
    if is_about_streams(text, end):
        if explain and not tokens[0].says("create"):
            text.fail("EXPLAIN takes a query, or a statement that saves one", 0)
        command = Reader(text, end, session.evaluator).read()
        if isinstance(command, CreateView):
            binder = Binder(text, _known(params, session))
            node = improved(_planned(binder, command.query), session.evaluator, params)
            command = replace(command, plan=node)
        return Statement(sql, command, params, explain)
    setting = read_setting(text, end)
    if setting is not None:
        if explain:
            text.fail("EXPLAIN takes a query, or a statement that saves one", 0)
        return Statement(sql, setting, params)
    if saves(text):
        sink = Saving(text, end, _known(params, session), session).read()
        if isinstance(sink, Drop) and explain:
            text.fail("EXPLAIN takes a query, or a statement that saves one", 0)
        if sink is not None:
            return Statement(sql, sink, params, explain)
    elif concerns(text, 0, end, _asked(text, end, session)):
        if not tokens[0].says("select", "with", "("):
            word = tokens[0].text.upper()
            text.fail(f"{word} cannot hold a kernel or an ASOF JOIN yet; run its query alone", 0)
        node = _planned(Binder(text, _known(params, session)), (0, end))
        return Statement(sql, improved(node, session.evaluator, params), params, explain)
    plain = with_files(text, 0, end, session)
    return Statement(explains[0] + plain.lstrip() if explains else plain, None, params)


def _asked(text: Text, end: int, session: Session) -> Ours:
    """What concerns us: streaming tables and views only where a query reads them."""
    if text.tokens[0].says("select", "with", "("):
        return session.ours
    named = [i for i in range(2, end) if text.tokens[i].text in session.endless]
    if named and text.tokens[0].says("create"):
        msg = "a streaming table is read by CREATE MATERIALIZED VIEW, which goes on, or by SELECT"
        text.fail(msg, named[0])
    return replace(session.ours, tables=())


def _planned(binder: Binder, span: Span) -> Node:
    try:
        return binder.query(*span)
    except SqlError as error:
        raise _placed(error, binder.text) from None


def _placed(error: SqlError, text: Text) -> SqlError:
    """What DataFusion says of a name that it does not know, with the place of the name."""
    found = _UNKNOWN.match(str(error))
    if found and "\n  line " not in str(error):
        for token in text.tokens:
            if token.names and token.text == found["name"]:
                return SqlError(underlined(str(error), text.sql, token.begin, token.end))
    return error


def read_saved(sql: str, params: Mapping[str, Any], session: Session) -> Node | None:
    """The plan of a query whose rows are saved, as COPY has it; None of what is no query."""
    text = Text(sql)
    end = len(text.tokens) - 1
    while end and text.tokens[end - 1].says(";"):
        end -= 1
    if not text.tokens[0].says("select", "with", "values", "("):
        return None
    return Saving(text, end, _known(params, session), session).query(0, end)


def _known(params: Mapping[str, Any], session: Session) -> Known:
    return Known(
        session.evaluator,
        session.table,
        session.open_path,
        session.tables,
        params,
        session.ours,
    )
