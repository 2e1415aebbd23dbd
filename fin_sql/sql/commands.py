"""Statements about endless tables, as they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from fin_sql.sql.syntax import Span
from fin_sql.stream.definition import StreamDefinition

# Of SHOW STREAMS: streaming tables as they are read, then views.
STREAMS = pa.schema(
    [
        ("name", pa.string()),
        ("kind", pa.string()),
        ("state", pa.string()),
        ("rows", pa.int64()),
        ("late", pa.int64()),
        ("bad", pa.int64()),
        ("passed", pa.int64()),
        ("messages", pa.int64()),
        ("waiting", pa.int64()),
        ("lag", pa.int64()),
        ("watermark", pa.timestamp("ns")),
        ("bytes", pa.int64()),
        ("error", pa.string()),
    ]
)

Kind = Literal["streaming table", "materialized view", "sink"]
Places = Mapping[str, tuple[int, int]]  # where options stand in the text


class Command:
    """A statement that is carried out once."""

    schema = pa.schema([])
    inputs = ()


@dataclass(frozen=True)
class CreateStreamingTable(Command):
    """CREATE STREAMING TABLE."""

    definition: StreamDefinition
    text: str
    replace: bool = False
    if_not_exists: bool = False
    places: Places = field(default_factory=dict)


@dataclass(frozen=True)
class CreateView(Command):
    """CREATE MATERIALIZED VIEW; `query` is a span of the statement, `plan` its plan."""

    name: str
    query: Span
    options: Mapping[str, str]
    text: str
    replace: bool = False
    if_not_exists: bool = False
    plan: Any = None
    places: Places = field(default_factory=dict)


@dataclass(frozen=True)
class CreateSink(Command):
    """CREATE SINK."""

    name: str
    view: str
    options: Mapping[str, str]
    text: str
    if_not_exists: bool = False
    places: Places = field(default_factory=dict)


@dataclass(frozen=True)
class DropEndless(Command):
    """DROP of a streaming table, a view or a sink."""

    kind: Kind
    name: str
    if_exists: bool = False
    cascade: bool = False


@dataclass(frozen=True)
class Alter(Command):
    """ALTER .. PAUSE or RESUME."""

    kind: Kind
    name: str
    action: Literal["pause", "resume"]


@dataclass(frozen=True)
class Subscribe(Command):
    """SUBSCRIBE TO a view."""

    name: str
    snapshot: bool = False
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))


@dataclass(frozen=True)
class ShowStreams(Command):
    """SHOW STREAMS."""

    schema: pa.Schema = field(default_factory=lambda: STREAMS)


@dataclass(frozen=True)
class ShowCreate(Command):
    """SHOW CREATE."""

    kind: Kind
    name: str
    schema: pa.Schema = field(default_factory=lambda: pa.schema([("statement", pa.string())]))
