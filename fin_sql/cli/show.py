"""How results look on a terminal, and in a file."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 160  # a pipe has no width: let a reader or grep have whole lines


def console() -> Console:
    """A console on the standard output, as it is at the time of the call."""
    found = Console()
    return found if found.is_terminal else Console(width=PIPED_WIDTH)


def result(rows: pa.Table, title: str, ends: int = 5) -> Table:
    """The first and the last rows of a result.

    Args:
        rows: what to show.
        title: printed above.
        ends: how many rows at either end; a table of no more than twice that is shown whole.
    """
    table = Table(title=title, title_justify="left", header_style="bold")
    for field in rows.schema:
        number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        table.add_column(field.name, justify="right" if number else "left", no_wrap=True)
    whole = rows.num_rows <= 2 * ends
    for row in rows.slice(0, 2 * ends if whole else ends).to_pylist():
        table.add_row(*map(shown, row.values()))
    if not whole:
        table.add_row(*["…"] * rows.num_columns)
        for row in rows.slice(rows.num_rows - ends).to_pylist():
            table.add_row(*map(shown, row.values()))
    return table


def shown(value: Any) -> str:
    """One value in a few characters."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e5 else f"{value:,.1f}"
    if isinstance(value, datetime):
        return value.strftime("%H:%M:%S.%f")[:-3]
    return str(value)
