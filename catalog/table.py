"""A table as the engine knows it: a schema, its rows, and the order that they come in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from fin_sql.errors import SqlError
from fin_sql.exec.bounds import Bounds
from fin_sql.exec.order import Order


class Source(Protocol):
    """Rows that lie somewhere, and can be read again."""

    schema: pa.Schema

    def scan(
        self,
        columns: Sequence[str],
        *,
        encoded: Collection[str] = (),
        batch_rows: int = 131_072,
        bounds: Bounds = (),
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, in the order of the source.

        Args:
            columns: which, each once; none gives batches that only count rows.
            encoded: columns that may come as dictionaries, where they are texts.
            batch_rows: about how many rows of a batch.
            bounds: rows outside may be left out.
        """

    def count(self) -> int | None:
        """How many rows there are, where that is known without reading them."""

    def identity(self) -> tuple[Any, ...]:
        """A value that changes with the rows."""

    def attach(self, name: str, session: Any) -> None:
        """Make the rows known to a DataFusion session, in place of others of that name."""


@dataclass(frozen=True)
class Table:
    """A name for rows that lie somewhere else.

    Args:
        name: as SQL writes it.
        schema: of the rows.
        order: that they are declared to come in; empty where nothing is known. It is checked row
            by row as they pass, never believed.
        source: the rows.
    """

    name: str
    schema: pa.Schema
    order: Order = Order()
    source: Source | None = None

    def __post_init__(self) -> None:
        missing = [c for c in (*self.order.columns, *self.order.keys) if c not in self.schema.names]
        if missing:
            msg = (
                f"table '{self.name}': the order {self.order} names {missing}, "
                f"but its columns are {self.schema.names}"
            )
            raise SqlError(msg)
