"""What a streaming table is: its columns, its event time, and where its messages are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True)
class ColumnEntry:
    """A column of a streaming table.

    Args:
        name: of the column.
        type: of its values.
        path: where the value stands in a message.
        format: of a time; "" is the default.
        not_null: a message without it is bad.
        metadata: what of the message it is, in place of a path.
        computed: an expression of the columns before it, in place of a path.
    """

    name: str
    type: pa.DataType
    path: str = ""
    format: str = ""
    not_null: bool = False
    metadata: str = ""
    computed: str = ""


@dataclass(frozen=True)
class Condition:
    """A condition on a message: `op` is "=", "<>", "in", "is null" or "is not null"."""

    path: str
    op: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamDefinition:
    """A streaming table as it was declared.

    Args:
        name: of the table.
        columns: in their order.
        time: the column of the event time.
        delay_ns: how far a row may come behind the latest one of its partition.
        unnest: paths of arrays whose elements are rows.
        where: conditions on messages; all must hold.
        options: of WITH.
    """

    name: str
    columns: tuple[ColumnEntry, ...]
    time: str
    delay_ns: int = 0
    unnest: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def given(self) -> tuple[ColumnEntry, ...]:
        """The columns that messages give; the others are computed of them."""
        return tuple(column for column in self.columns if not column.computed)

    def schema(self, columns: tuple[ColumnEntry, ...] | None = None) -> pa.Schema:
        """Of all columns, or of some."""
        chosen = self.columns if columns is None else columns
        return pa.schema([pa.field(c.name, c.type, not c.not_null) for c in chosen])
