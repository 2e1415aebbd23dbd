"""Errors with the place in the statement that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from fin_sql.cli.scan import pieces, tokens
from fin_sql.errors import SqlError
from fin_sql.sql.text import underlined

_PARSER = re.compile(r'^ParserError\("(.*?)(?: at Line: (\d+), Column: (\d+))?"\)$', re.DOTALL)
_NAMED = (
    re.compile(r"No field named (?P<name>\S+?)\.(?=\s|$)"),
    re.compile(r"table '(?P<name>[\w.]+)' not found"),
    re.compile(r"Invalid function '(?P<name>\w+)'"),
)
_MARK = "\n  line "


@contextmanager
def placed(statement: str) -> Iterator[None]:
    """Mark the place of what DataFusion says of a statement."""
    try:
        yield
    except SqlError as error:
        found = marked(str(error), statement)
        if found == str(error):
            raise
        raise type(error)(found) from None


def marked(message: str, statement: str) -> str:
    """A message with the line of the statement that it is about, where that can be told."""
    if _MARK in message:
        return message
    for piece in pieces(statement):
        if not piece.closed:
            what = {"quoted": "name in quotes"}.get(piece.kind, piece.kind)
            return underlined(f"the {what} is not closed", statement, piece.begin, piece.begin + 1)
    parser = _PARSER.match(message)
    if parser:
        said = parser[1].replace('\\"', '"')
        begin = end = len(statement.rstrip())  # where more was expected
        if parser[2]:
            begin = _place(statement, int(parser[2]), int(parser[3]))
            end = next((p.end for p in pieces(statement) if p.begin == begin), begin)
        return underlined(said, statement, begin, end)
    for pattern in _NAMED:
        found = pattern.search(message)
        spot = _named(statement, found["name"]) if found else None
        if spot:
            return underlined(message, statement, *spot)
    return message


def _place(statement: str, line: int, column: int) -> int:
    lines = statement.split("\n")
    return sum(len(one) + 1 for one in lines[: line - 1]) + column - 1


def _named(statement: str, name: str) -> tuple[int, int] | None:
    """Where a name, perhaps behind others and a dot, stands in a statement."""
    wanted = [part.strip('"') for part in name.split(".")]
    found = tokens(statement)
    while wanted:
        for i in range(len(found)):
            run = found[i : i + 2 * len(wanted) - 1]
            if [t.text for t in run[::2]] == wanted and all(t.says(".") for t in run[1::2]):
                return run[0].begin, run[-1].end
        del wanted[0]  # of datafusion.public.trades the statement has the last part
    return None
