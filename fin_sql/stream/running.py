"""A continuous query at work: where its rows come from, what it fills, and who reads on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from fin_sql.errors import FinSqlError
from fin_sql.states import Cancel
from fin_sql.stream.intake import END, NEVER
from fin_sql.stream.stages import Rows, Stage
from fin_sql.stream.tables import ViewTable
from fin_sql.stream.views import KeyedView, RetainedView


@dataclass(eq=False)
class Running:
    """A continuous query.

    Args:
        name: of its view.
        view: what it fills.
        table: the view as others read it.
        inputs: the tables that it reads, and where their rows go.
        stages: of its graph.
        text: the statement.
        cancel: stops its operators.
    """

    name: str
    view: RetainedView | KeyedView
    table: ViewTable
    inputs: Sequence[tuple[Any, Rows]]
    stages: Sequence[Stage]
    text: str = ""
    cancel: Cancel = field(default_factory=Cancel)
    state: str = "running"  # or "failed", "ended"
    error: Exception | None = None
    rows: int = 0
    watermark: int = NEVER
    readers: list[Onward] = field(default_factory=list)  # of views on this view

    def __post_init__(self) -> None:
        self.ticking = [stage for stage in self.stages if stage.ticks]

    def take(self, rows: pa.RecordBatch) -> None:
        """Take rows of the query, in the order in which they stay."""
        self.rows += rows.num_rows
        self.view.append(rows)
        for reader in tuple(self.readers):  # one that fails leaves the list
            reader.rows(0, rows)

    def reach(self, watermark: int) -> None:
        """Take a watermark of the query; the last one ends it."""
        self.watermark = max(watermark, self.watermark)
        for reader in tuple(self.readers):
            reader.advance(0, watermark)
        if watermark >= END and self.state == "running":
            self.state = "ended"
            self.view.finish()

    def reads(self, name: str) -> bool:
        """Whether it reads a table or a view."""
        return any(table.name == name for table, _ in self.inputs)

    def fail(self, error: Exception) -> None:
        """Stop, and tell those who read the view."""
        self.state, self.error = "failed", error
        self.close()
        if not isinstance(error, FinSqlError):
            error = FinSqlError(f"view '{self.name}': {type(error).__name__}: {error}")
        self.view.finish(error)

    def close(self) -> None:
        """Let go of what the operators hold."""
        for stage in self.stages:
            stage.close()

    @property
    def bytes_held(self) -> int:
        """Bytes of the operators."""
        return sum(stage.bytes_held for stage in self.stages)


class Onward:
    """Where a view's rows go on to a query on it, whose errors are its own.

    Args:
        query: the query on the view.
        rows: takes them.
        guarded: does something for a query.
    """

    def __init__(
        self, query: Running, rows: Rows, guarded: Callable[[Running, Callable[[], None]], bool]
    ) -> None:
        self.query, self._rows, self._guarded = query, rows, guarded

    def rows(self, input: int, batch: pa.RecordBatch) -> None:
        """Take rows."""
        if self.query.state == "running":
            self._guarded(self.query, lambda: self._rows.rows(0, batch))

    def advance(self, input: int, watermark: int) -> None:
        """Take a watermark."""
        if self.query.state == "running":
            self._guarded(self.query, lambda: self._rows.advance(0, watermark))
