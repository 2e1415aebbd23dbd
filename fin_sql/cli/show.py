"""How results look on a terminal, and in a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.cells import cell_len, set_cell_size
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 160  # a pipe has no width: let a reader or grep have whole lines
SHORTEST = 24  # a text is not cut below this many characters
_UNSEEN = {code: " " for code in range(32)} | {ord("\n"): "⏎", 127: " "}


def console() -> Console:
    """A console on the standard output, as it is at the time of the call."""
    found = Console()
    return found if found.is_terminal else Console(width=PIPED_WIDTH)


class Ends:
    """The first and the last rows of a result; all of it where it is short.

    Args:
        schema: of the rows.
        ends: how many rows to keep at either end.
    """

    def __init__(self, schema: pa.Schema, ends: int) -> None:
        self.schema, self.ends, self.rows = schema, ends, 0
        self._first: list[pa.RecordBatch] = []
        self._last: list[pa.RecordBatch] = []

    def extend(self, batches: Iterable[pa.RecordBatch]) -> Ends:
        """Look at all rows."""
        for batch in batches:
            if self.rows < 2 * self.ends:
                self._first.append(batch.slice(0, 2 * self.ends - self.rows))
            self.rows += batch.num_rows
            self._last = [*self._last, batch.slice(max(0, batch.num_rows - self.ends))]
            while sum(b.num_rows for b in self._last[1:]) >= self.ends:
                del self._last[0]
        return self

    @property
    def whole(self) -> bool:
        """Whether no row is left out."""
        return self.rows <= 2 * self.ends

    @property
    def first(self) -> pa.Table:
        """The first rows, or all."""
        kept = pa.Table.from_batches(self._first, self.schema)
        return kept if self.whole else kept.slice(0, self.ends)

    @property
    def last(self) -> pa.Table:
        """The last rows, where there are more than the first."""
        kept = pa.Table.from_batches(self._last, self.schema)
        return kept.slice(kept.num_rows if self.whole else kept.num_rows - self.ends)

    def cells(self, column: int, *, dates: bool = True) -> list[str]:
        """A column's values as texts, with an ellipsis for what is left out."""
        found = texts(self.first.column(column), dates=dates)
        if self.whole:
            return found
        return [*found, "…", *texts(self.last.column(column), dates=dates)]


def result(
    rows: pa.Table | Ends, title: str, width: int, ends: int = 5, *, dates: bool = False
) -> Table:
    """The first and the last rows of a result, and as many of its columns as there is room for.

    Args:
        rows: what to show.
        title: printed above.
        width: characters of a line; columns beyond it are only named, below, and long texts cut.
        dates: show the date of a time as well.
        ends: how many rows at either end; a table of no more than twice that is shown whole.
    """
    if isinstance(rows, pa.Table):
        rows = Ends(rows.schema, ends).extend(rows.to_batches())
    table = Table(title=title, title_justify="left", caption_justify="left", header_style="bold")
    columns: list[list[str]] = []
    room = width - 1
    for k, field in enumerate(rows.schema):
        cells = [clipped(cell, max(SHORTEST, width // 2)) for cell in rows.cells(k, dates=dates)]
        room -= max(map(cell_len, [field.name, *cells])) + 3
        if columns and room < 0:
            break
        number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        side: JustifyMethod = "right" if number else "left"
        table.add_column(escape(field.name), justify=side, no_wrap=True)
        columns.append(cells)
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))
    if left_out := rows.schema.names[len(columns) :]:
        table.caption = escape(f"and {', '.join(left_out)}")
    return table


def records(rows: Ends, width: int) -> Table:
    """A result with a line for each value; long ones are folded."""
    names = rows.schema.names
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True, max_width=max(8, width // 3), style="bold")
    table.add_column(overflow="fold")
    numbers = list(range(1, rows.rows + 1))
    if not rows.whole:
        numbers = [*numbers[: rows.ends], 0, *numbers[-rows.ends :]]
    columns = [rows.cells(k) for k in range(len(names))]
    for number, values in zip(numbers, zip(*columns, strict=True), strict=True):
        table.add_row("…" if number == 0 else f"row {number:,}", "", style="dim")
        if number:
            for name, value in zip(names, values, strict=True):
                table.add_row(Text(name), Text(value.replace("\r", " ")))
    return table


def clipped(text: str, longest: int) -> str:
    """A text on one line, and cut where it is too long."""
    text = text.translate(_UNSEEN)
    return text if cell_len(text) <= longest else set_cell_size(text, longest - 1) + "…"


def texts(column: pa.ChunkedArray | pa.Array, *, dates: bool = False) -> list[str]:
    """The values of a column in a few characters each; of a time the time of day, or all."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_timestamp(kind):
        # By way of text: without pandas, Python has no time that is as fine.
        column = pc.utf8_slice_codeunits(column.cast(pa.string()), 0 if dates else 11, 23)
    elif pa.types.is_time(kind):
        column = column.cast(pa.string())
    elif pa.types.is_duration(kind):
        whole = column.cast(pa.duration("ns")).cast(pa.int64()).to_pylist()
        return ["NULL" if v is None else f"{v / 1e9:.9g} s" for v in whole]
    elif pa.types.is_struct(kind) and kind.num_fields:
        valid = column.is_valid().to_pylist()
        parts = [texts(pc.struct_field(column, k), dates=dates) for k in range(kind.num_fields)]
        rows = zip(*parts, strict=True)
        names = [kind.field(k).name for k in range(kind.num_fields)]
        shown_rows = (
            ", ".join(f"{name}: {text}" for name, text in zip(names, row, strict=True))
            for row in rows
        )
        return [
            f"{{{row}}}" if there else "NULL" for row, there in zip(shown_rows, valid, strict=True)
        ]
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [
            f"[{', '.join(texts(one.values, dates=dates))}]" if one.is_valid else "NULL"
            for one in column
        ]
    return [shown(value) for value in column.to_pylist()]


def shown(value: Any) -> str:
    """One value in a few characters."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1e4 else f"{value:,.1f}"
    return value.hex() if isinstance(value, bytes) else str(value)
