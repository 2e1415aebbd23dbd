"""The order that rows come in, and the place of each row in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import ArgumentTypeError


@dataclass(frozen=True)
class Order:
    """An order of rows: by columns, over all rows or within each key.

    Args:
        columns: compared one after the other, ascending; the first is the event time. Rows that
            are equal in all of them keep the order of their ordinals.
        keys: the order holds only within the rows of equal keys; empty means over all rows.
    """

    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def serves(self, needed: Order) -> bool:
        """Whether rows in this order are also in the order `needed`."""
        if self.columns[: len(needed.columns)] != needed.columns:
            return False
        return not self.keys or set(self.keys) <= set(needed.keys)

    def __str__(self) -> str:
        within = f" within ({', '.join(self.keys)})" if self.keys else ""
        return f"({', '.join(self.columns)}){within}"


@dataclass(frozen=True)
class Ordinals:
    """Where rows stood in their source: what decides between rows of equal order columns.

    Args:
        source: number of the table.
        part: number of the file or partition.
        first: row or offset of the first row, where the rows follow each other.
        rows: row or offset of each, int64, where they do not.
    """

    source: int = 0
    part: int = 0
    first: int = 0
    rows: pa.Int64Array | None = None

    def slice(self, begin: int, length: int | None = None) -> Ordinals:
        """The ordinals of a slice of the rows."""
        if self.rows is not None:
            return Ordinals(self.source, self.part, self.first, self.rows.slice(begin, length))
        return Ordinals(self.source, self.part, self.first + begin)

    def filter(self, mask: pa.BooleanArray) -> Ordinals:
        """The ordinals of the rows where a mask is true."""
        if self.rows is not None:
            return Ordinals(self.source, self.part, 0, self.rows.filter(mask))
        rows = pc.add(pc.indices_nonzero(mask).cast(pa.int64()), self.first)
        return Ordinals(self.source, self.part, 0, rows)


@dataclass(frozen=True)
class Piece:
    """Rows on their way between operators: a batch, and where its rows stood."""

    batch: pa.RecordBatch
    ordinals: Ordinals = Ordinals()


class Verdict(Enum):
    """How rows lie with respect to keys and order columns."""

    TIME = "in the order of the order columns"
    KEY = "key by key, the keys ascending, each in order"
    RUNS = "key by key, each in order"
    WITHIN = "each key in order"
    NONE = "in no order"


def order_kind(field: pa.Field) -> str:
    """What an order column is compared as.

    Raises:
        ArgumentTypeError: it is neither a time nor a number.
    """
    kind = field.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "float64"
    msg = f"order column '{field.name}' must be a time or a number, was {kind}"
    raise ArgumentTypeError(msg)
