"""One side of an ASOF join as it comes in: the order of its rows, and how far they have come."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from fin_sql.columns import Column, Slots
from fin_sql.errors import OrderError
from fin_sql.exec.asof_loops import Course
from fin_sql.exec.operator import END
from fin_sql.exec.order import Order


@dataclass
class Side:
    """What is known of a side.

    Args:
        name: "left" or "right".
        on: its time.
        by: its keys.
        order: that its rows must come in.
        course: compares each row with the one before it; None: they are compared elsewhere.
        by_time: they come in the order of time.
        rows: how many were given.
        mark: its watermark, where it said one.
        over: no more will come.
    """

    name: str
    on: str
    by: tuple[str, ...]
    order: Order
    course: Course | None
    by_time: bool
    rows: int = 0
    mark: int | None = None
    over: bool = False

    @property
    def time(self) -> int | None:
        """No row before this time will come, where they come in the order of time."""
        if self.course is None or not self.by_time or not self.course.seen:
            return None
        return self.course.time

    def follow(self, batch: pa.RecordBatch, slots: Slots, times: Column) -> None:
        """Take rows in.

        Raises:
            OrderError: one of them comes too late.
        """
        row = -1 if self.course is None else self.course.first_misplaced(slots, times)
        if row >= 0:
            raise self._misplaced(batch, row)
        self.rows += batch.num_rows

    def advance(self, watermark: int) -> None:
        """Rows up to this time come too late from now on."""
        self.mark = watermark if self.mark is None else max(self.mark, watermark)
        self.over |= watermark == END
        self.goes_on_from(min(watermark, END - 1) + 1)

    def goes_on_from(self, time: int) -> None:
        """Rows before this time come too late from now on."""
        if self.by_time and self.course is not None:
            self.course.goes_on_from(time)

    def _misplaced(self, batch: pa.RecordBatch, row: int) -> OrderError:
        shown = ", ".join(f"{n} = {_shown(batch[n], row)}" for n in (*self.by, self.on))
        before = self._before(batch[self.on], row) if self.by_time else "the row before it"
        msg = (
            f"{self.name} side of an ASOF JOIN: row {self.rows + row} ({shown}) comes behind "
            f"{before}; the rows must come in the order {self.order}: correct order_by, or leave "
            "it out and they are sorted"
        )
        return OrderError(msg)

    def _before(self, times: pa.Array, row: int) -> str:
        """What a row that comes too late should have come before."""
        kind = times.type
        if not pa.types.is_integer(kind):
            kind = pa.timestamp("ns", getattr(kind, "tz", None))
        there = times.slice(0, row).drop_null()
        if len(there):
            return _shown(there.cast(kind), len(there) - 1)
        if self.mark is not None and self.time == min(self.mark, END - 1) + 1:
            return f"the watermark {_shown(pa.array([self.mark], kind), 0)}"
        return _shown(pa.array([self.time], kind), 0)


def _shown(array: pa.Array, row: int) -> str:
    return str(array.slice(row, 1).cast(pa.string())[0].as_py())
