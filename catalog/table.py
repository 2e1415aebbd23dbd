"""A table as the engine knows it: a schema, and the order that its rows come in."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from fin_sql.errors import SqlError
from fin_sql.exec.order import Order


@dataclass(frozen=True)
class Table:
    """A name for rows that lie somewhere else.

    Args:
        name: as SQL writes it.
        schema: of the rows.
        order: that they are declared to come in; empty where nothing is known. It is checked row
            by row as they pass, never believed.
    """

    name: str
    schema: pa.Schema
    order: Order = Order()

    def __post_init__(self) -> None:
        missing = [c for c in (*self.order.columns, *self.order.keys) if c not in self.schema.names]
        if missing:
            msg = (
                f"table '{self.name}': the order {self.order} names {missing}, "
                f"but its columns are {self.schema.names}"
            )
            raise SqlError(msg)
