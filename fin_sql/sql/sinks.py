"""Where the rows of a plan go: nodes that stand above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from fin_sql.sql.plan import Node, OverOne

COUNT = pa.schema([("count", pa.int64())])


@dataclass(frozen=True)
class Copy(OverOne):
    """COPY: files. The target knows its path, its format and its options."""

    input: Node
    target: Any
    schema: ClassVar[pa.Schema] = COUNT

    def label(self) -> str:  # noqa: D102
        return f"Copy to {self.target.label()}"


@dataclass(frozen=True)
class Create(OverOne):
    """CREATE TABLE.

    Args:
        input: its rows.
        name: of the table.
        replace: one that exists is replaced.
        skip: where one exists nothing happens.
    """

    input: Node
    name: str
    replace: bool = False
    skip: bool = False
    schema: ClassVar[pa.Schema] = COUNT

    def label(self) -> str:  # noqa: D102
        how = " or replace" if self.replace else ""
        return f"Create{how} table {self.name}{' unless it exists' if self.skip else ''}"


@dataclass(frozen=True)
class Insert(OverOne):
    """INSERT.

    Args:
        input: the rows.
        name: of the table.
        into: the columns of the table.
        columns: for each of them which one of the input it is, None for NULL.
    """

    input: Node
    name: str
    into: pa.Schema
    columns: tuple[int | None, ...]
    schema: ClassVar[pa.Schema] = COUNT

    def label(self) -> str:  # noqa: D102
        return f"Insert into {self.name}"


@dataclass(frozen=True)
class Drop:
    """DROP TABLE."""

    name: str
    if_exists: bool
    schema: ClassVar[pa.Schema] = pa.schema([])

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Nothing."""
        return ()

    def with_inputs(self, inputs: Sequence[Node]) -> Drop:
        """The same."""
        return self

    def label(self) -> str:  # noqa: D102
        return f"Drop table {self.name}"


Sink = Copy | Create | Insert | Drop
