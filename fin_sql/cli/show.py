"""How results look on a terminal, and in a file."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 160  # a pipe has no width: let a reader or grep have whole lines


def console() -> Console:
    """A console on the standard output, as it is at the time of the call."""
    found = Console()
    return found if found.is_terminal else Console(width=PIPED_WIDTH)


def result(rows: pa.Table, title: str, width: int, ends: int = 5, *, dates: bool = False) -> Table:
    """The first and the last rows of a result, and as many of its columns as there is room for.

    Args:
        rows: what to show.
        title: printed above.
        width: characters of a line; columns beyond it are only named, below.
        dates: show the date of a time as well.
        ends: how many rows at either end; a table of no more than twice that is shown whole.
    """
    whole = rows.num_rows <= 2 * ends
    table = Table(title=title, title_justify="left", caption_justify="left", header_style="bold")
    columns: list[list[str]] = []
    room = width - 1
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if whole:
            cells = texts(column, dates=dates)
        else:
            head, tail = column.slice(0, ends), column.slice(len(column) - ends)
            cells = [*texts(head, dates=dates), "…", *texts(tail, dates=dates)]
        room -= max(map(len, [name, *cells])) + 3
        if columns and room < 0:
            break
        number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
        columns.append(cells)
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    if left_out := rows.column_names[len(columns) :]:
        table.caption = f"and {', '.join(left_out)}"
    return table


def texts(column: pa.ChunkedArray, *, dates: bool = False) -> list[str]:
    """The values of a column in a few characters each; of a time the time of day, or all."""
    if pa.types.is_timestamp(column.type):
        # By way of text: without pandas, Python has no time that is as fine.
        column = pc.utf8_slice_codeunits(column.cast(pa.string()), 0 if dates else 11, 23)
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
    return str(value)
