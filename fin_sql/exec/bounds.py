"""Which rows of a table are wanted, as far as files can tell by their statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa


@dataclass(frozen=True)
class Bound:
    """What a column is within; rows outside may be left out when a table is read.

    Args:
        column: its name in the table.
        low: the least value, inclusive; a time in nanoseconds. None is no bound.
        high: the greatest value, as `low`.
        among: all values that it may have; empty where it is a range.
        timed: the column is a time, which is looked at row by row; of others only the statistics
            of files are.
    """

    column: str
    low: Any = None
    high: Any = None
    among: tuple[Any, ...] = ()
    timed: bool = False

    def within(self, other: Bound) -> Bound:
        """The range that is in both."""
        lows = [b.low for b in (self, other) if b.low is not None]
        highs = [b.high for b in (self, other) if b.high is not None]
        return replace(self, low=max(lows, default=None), high=min(highs, default=None))

    def words(self) -> str:
        """For EXPLAIN."""
        if self.among:
            return f"{self.column} in ({', '.join(map(self._word, self.among))})"
        if self.low == self.high:
            return f"{self.column} = {self._word(self.low)}"
        return f"{self.column} in [{self._word(self.low)}, {self._word(self.high)}]"

    def _word(self, value: Any) -> str:
        if value is None:
            return ".."
        if self.timed:
            return str(pa.scalar(value, pa.timestamp("ns")).cast(pa.string()))
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


Bounds = tuple[Bound, ...]


@runtime_checkable
class Parted(Protocol):
    """A source of files, some of which can be left out."""

    @property
    def tells_bounds(self) -> bool:
        """Whether its files have statistics of their columns."""

    def parts(self) -> pa.RecordBatch | None:
        """A row for each file: the columns that its folders name; None where they name none."""

    def only(self, numbers: Sequence[int]) -> Parted:
        """The same rows without those of the other files."""


def bounded(bounds: Bounds, new: Bound) -> Bounds:
    """The bounds with another one, which may narrow one of them."""
    for k, bound in enumerate(bounds):
        if bound.column == new.column and not bound.among and not new.among:
            return (*bounds[:k], bound.within(new), *bounds[k + 1 :])
    return (*bounds, new)
