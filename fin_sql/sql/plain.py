"""Queries that DataFusion could run as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa

from fin_sql.errors import FinSqlError
from fin_sql.exec.fragment import params_in
from fin_sql.sql.bind import Binder
from fin_sql.sql.plan import Node, Relational, renamed
from fin_sql.sql.text import Text, quoted

# Above one of these the order of the rows that are read has no meaning.
_UNORDERED = {"Aggregate", "Distinct", "DistinctOn", "Values", "EmptyRelation", "RecursiveQuery"}
_ABOVE = {"Projection", "SubqueryAlias", "Filter", "Limit", "Sort"}
_NODE = re.compile(r"^\s*(\w+)", re.MULTILINE)
_ENDINGS = (
    ".parquet",
    ".pq",
    ".csv",
    ".json",
    ".ndjson",
    ".jsonl",
    ".gz",
    ".arrow",
    ".feather",
    "*",
)
_OF_FILE = re.compile(r"__file\d+\.")


class Files(Protocol):
    """Who knows files that stand in FROM."""

    def attached_path(self, path: str) -> str:
        """The name of a file in DataFusion."""


def with_files(text: Text, begin: int, end: int, files: Files) -> str:
    """The text of some tokens with names for the files that stand in FROM."""
    parts, cursor = [], text.tokens[begin].begin
    for i in range(begin + 1, end):
        token, before = text.tokens[i], text.tokens[i - 1]
        if token.kind == "string" and before.says("from", "join") and _is_path(token.text):
            name = files.attached_path(token.text)
            parts += [text.sql[cursor : token.begin], quoted(name)]
            cursor = token.end
    return "".join([*parts, text.sql[cursor : text.tokens[end - 1].end]])


def _is_path(text: str) -> bool:
    return text.lower().endswith(_ENDINGS) or "/" in text


def plain_query(
    binder: Binder, begin: int, end: int, files: Files, params: Mapping[str, Any]
) -> Node:
    """A query that has no form of ours, with the columns that DataFusion gives it.

    Where rows have an order it is kept: then it is planned as ours are. What they are not fit for
    is DataFusion's as a whole.
    """
    sql = with_files(binder.text, begin, end, files)
    frame = binder.evaluator.sql(sql, params_in(sql, params))
    given = frame.schema()
    names = distinct([_OF_FILE.sub("", name) for name in given.names])
    fields = zip(names, given.types, strict=True)
    whole = Relational(sql, (), pa.schema([pa.field(name, kind) for name, kind in fields]))
    nodes = _NODE.findall(frame.logical_plan().display_indent())
    if next((node for node in nodes if node not in _ABOVE), None) in _UNORDERED:
        return whole
    try:
        node = binder.query(begin, end)
    except FinSqlError:
        return whole
    if node.schema.types != whole.schema.types:
        return whole
    return _called(node, names)


def _called(node: Node, names: Sequence[str]) -> Node:
    if isinstance(node, Relational):  # its columns go by their place
        fields = zip(names, node.schema.types, strict=True)
        return replace(node, schema=pa.schema([pa.field(name, kind) for name, kind in fields]))
    return renamed(node, dict(zip(node.schema.names, names, strict=True)))


def distinct(names: Sequence[str]) -> list[str]:
    """Each name once: equal ones get _2, _3 ... in their order."""
    found: list[str] = []
    for name in names:
        new, count = name, 1
        while new in found or (count > 1 and new in names):
            count += 1
            new = f"{name}_{count}"
        found.append(new)
    return found
