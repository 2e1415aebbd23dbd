"""A statement: passed on to DataFusion as it is, or planned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fin_sql.errors import SqlError
from fin_sql.exec.fragment import Evaluator
from fin_sql.sql.bind import Binder, Known
from fin_sql.sql.concern import concerns
from fin_sql.sql.plan import Node
from fin_sql.sql.rules import improved
from fin_sql.sql.text import Text, quoted, underlined

_UNKNOWN = re.compile(r'No field named (\w+\.)?"?(?P<name>\w+)"?\.')
_EXPLAIN = re.compile(r"\s*explain\s+(?P<analyze>analyze\s+)?", re.IGNORECASE)


class Session(Protocol):
    """What a statement needs of its session."""

    evaluator: Evaluator
    leave_windows: bool

    def table(self, name: str) -> Any:
        """A table, or None."""

    def open_path(self, path: str) -> Any:
        """The table of a file."""

    def attached_path(self, path: str) -> str:
        """The name of a file in DataFusion."""

    def tables(self) -> list[str]:
        """All names."""


@dataclass(frozen=True)
class Statement:
    """A statement that was read.

    Args:
        sql: its text; of a statement that is passed on, as DataFusion is given it.
        plan: of a statement of ours, else None.
        params: values of its parameters.
        explain: None, "plan" or "analyze".
    """

    sql: str
    plan: Node | None
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
    if concerns(text, 0, end, leave_windows=session.leave_windows):
        if not tokens[0].says("select", "with", "("):
            word = tokens[0].text.upper()
            text.fail(f"{word} cannot hold a kernel or an ASOF JOIN yet; run its query alone", 0)
        known = Known(
            session.evaluator,
            session.table,
            session.open_path,
            session.tables,
            params,
            session.leave_windows,
        )
        try:
            node = Binder(text, known).query(0, end)
        except SqlError as error:
            raise _placed(error, text) from None
        return Statement(sql, improved(node, session.evaluator, params), params, explain)
    plain = _with_files(text, end, session)
    return Statement(explains[0] + plain.lstrip() if explains else plain, None, params)


def _placed(error: SqlError, text: Text) -> SqlError:
    """What DataFusion says of a name that it does not know, with the place of the name."""
    found = _UNKNOWN.match(str(error))
    if found and "\n  line " not in str(error):
        for token in text.tokens:
            if token.names and token.text == found["name"]:
                return SqlError(underlined(str(error), text.sql, token.begin, token.end))
    return error


def _with_files(text: Text, end: int, session: Session) -> str:
    """The text with names for the files that stand in FROM."""
    parts, cursor = [], 0
    for i in range(1, end):
        token, before = text.tokens[i], text.tokens[i - 1]
        if token.kind == "string" and before.says("from", "join") and _is_path(token.text):
            name = session.attached_path(token.text)
            parts += [text.sql[cursor : token.begin], quoted(name)]
            cursor = token.end
    stop = text.tokens[end - 1].end
    return "".join([*parts, text.sql[cursor:stop]])


def _is_path(text: str) -> bool:
    return text.endswith((".parquet", ".csv", ".json", ".ndjson", "/", "*")) or "/" in text
