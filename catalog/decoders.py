"""The decoder of a streaming table, as FORMAT and the columns say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from fin_sql.catalog.rows import Condition, Decoded, Field
from fin_sql.errors import UnknownNameError
from fin_sql.stream.definition import ColumnEntry, StreamDefinition

KINDS = ("json",)


def make_decoder(definition: StreamDefinition, format: str) -> Any:
    """What turns the messages of a table into the columns that stand in them.

    Raises:
        SqlError: a column, a path or a condition does not go with the format.
        UnknownNameError: there is no such format.
    """
    from fin_sql.catalog.json_rows import JsonDecoder

    if format not in KINDS:
        raise UnknownNameError("format", format, list(KINDS), who=definition.name)
    columns = [c for c in definition.given if not c.metadata]
    decoder = JsonDecoder(
        [Field(c.name, c.type, c.path, c.format, c.not_null) for c in columns],
        definition.unnest,
        [Condition(c.path, c.op, c.values) for c in definition.where],
        [c.name for c in columns if pa.types.is_string(c.type)],
    )
    origins = [c for c in definition.given if c.metadata == "unnest"]
    return _WithOrigin(decoder, origins, definition.unnest) if origins else decoder


class _WithOrigin:
    """A decoder with a column that says which path of UNNEST a row came from."""

    def __init__(self, decoder: Any, columns: Sequence[ColumnEntry], paths: Sequence[str]) -> None:
        self._decoder, self._columns = decoder, columns
        self._paths = pa.array(list(paths), pa.string())
        self.schema = pa.schema(
            [*decoder.schema, *(pa.field(c.name, pa.string()) for c in columns)]
        )

    def decode(self, messages: Sequence[bytes | None]) -> Decoded:
        """The rows of some messages, with the path of each."""
        found: Decoded = self._decoder.decode(messages)
        path = self._paths.take(found.unnest)
        arrays = [*found.rows.columns, *(path for _ in self._columns)]
        return replace(found, rows=pa.RecordBatch.from_arrays(arrays, self.schema.names))
