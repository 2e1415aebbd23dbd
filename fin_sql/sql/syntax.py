"""The parts of a query; expressions are spans of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Span = tuple[int, int]  # tokens from the first to before the second


@dataclass(frozen=True)
class Star:
    """`*` or `alias.*` of a SELECT list, and what it leaves out or replaces."""

    alias: str | None
    exclude: tuple[str, ...] = ()
    replace: tuple[tuple[str, Span], ...] = ()


@dataclass(frozen=True)
class Item:
    """One entry of a SELECT list."""

    span: Span
    alias: str | None = None
    star: Star | None = None


@dataclass(frozen=True)
class Named:
    """A table, a view or a CTE in FROM; `path` where it is a file."""

    span: Span
    name: str
    alias: str
    path: bool = False
    simple: bool = True  # one name, without a schema before it


@dataclass(frozen=True)
class Derived:
    """A query in brackets in FROM."""

    span: Span
    query: Query
    alias: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Foreign:
    """What else DataFusion can stand in FROM: table functions, VALUES, LATERAL."""

    span: Span
    alias: str


@dataclass(frozen=True)
class Asof:
    """The clauses of an ASOF JOIN."""

    span: Span
    left: Source
    right: Source
    kind: str | None = None  # "left" | "inner"
    match: Span | None = None
    on: Span | None = None
    using: tuple[str, ...] = ()
    tolerance: Span | None = None
    ties: str = "last"
    ties_by: Span | None = None
    wait: Span | Literal["wait", "now"] = "wait"  # a span: at most so long


@dataclass(frozen=True)
class Joined:
    """Joins of DataFusion between sources, in the words of the statement.

    Args:
        words: the tokens between the sources and behind the last one: `parts[0] words[0] parts[1]
            words[1] ...`, each as (before, after): what stands before and after the next source.
    """

    span: Span
    parts: tuple[Source, ...]
    words: tuple[tuple[Span, Span], ...]


@dataclass(frozen=True)
class Pivoted:
    """A source whose rows become columns: one for each value and aggregate.

    Args:
        source: what is turned.
        aggregates: the aggregates, each over the rows of one value.
        key: the column whose values are named.
        values: constants, each with the name that it gives.
        group_by: the columns that stay; none given are all that are not used otherwise.
        alias: of the result.
    """

    span: Span
    source: Source
    aggregates: tuple[Item, ...]
    key: Span
    values: tuple[Item, ...]
    group_by: tuple[Item, ...]
    alias: str


Source = Named | Derived | Foreign | Asof | Joined | Pivoted


@dataclass(frozen=True)
class Select:
    """SELECT and its clauses."""

    span: Span
    items: tuple[Item, ...]
    distinct: Span | None = None
    source: Source | None = None
    where: Span | None = None
    group_by: Span | None = None
    having: Span | None = None
    windows: Mapping[str, Span] = field(default_factory=dict)
    qualify: Span | None = None


@dataclass(frozen=True)
class Combined:
    """Queries between set operators; `operators` has the words before all but the first."""

    span: Span
    parts: tuple[Query, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Values:
    """VALUES, for DataFusion."""

    span: Span


@dataclass(frozen=True)
class Cte:
    """A query that WITH gives a name; `recursive` where it reads itself."""

    name: str
    columns: tuple[str, ...]
    query: Query
    span: Span
    recursive: bool = False


@dataclass(frozen=True)
class Query:
    """A query with its CTEs, its order and its limit."""

    span: Span
    body: Select | Combined | Values | Query
    ctes: tuple[Cte, ...] = ()
    recursive: bool = False
    order_by: Span | None = None
    limit: Span | None = None
    offset: Span | None = None


def reads(part: Query | Source | None, name: str) -> bool:
    """Whether a table of a name stands in FROM, at any depth; expressions are not looked into."""
    if isinstance(part, Query):
        body = part.body
        if isinstance(body, Select):
            return reads(body.source, name)
        inner = body.parts if isinstance(body, Combined) else (body,)
        return any(reads(one, name) for one in inner if isinstance(one, Query))
    if isinstance(part, Named):
        return part.simple and not part.path and part.name == name
    if isinstance(part, Derived):
        return reads(part.query, name)
    if isinstance(part, Asof):
        return reads(part.left, name) or reads(part.right, name)
    if isinstance(part, Joined):
        return any(reads(one, name) for one in part.parts)
    return isinstance(part, Pivoted) and reads(part.source, name)
