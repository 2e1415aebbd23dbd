"""fin-sql plot: a query as a chart in a file."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Annotated

import pyarrow as pa
import typer

from fin_sql.cli.interrupt import Running, interruptible
from fin_sql.cli.places import placed
from fin_sql.cli.scan import statements
from fin_sql.cli.sql import counted, progress
from fin_sql.cli.tables import (
    Folders,
    Orders,
    Parameters,
    Tables,
    add_tables,
    parameters,
)
from fin_sql.errors import SourceError, SqlError


class Kind(StrEnum):
    """What a chart is."""

    line = "line"
    candles = "candles"
    markouts = "markouts"
    scatter = "scatter"
    bar = "bar"
    hist = "hist"


def plot(
    query: Annotated[
        str, typer.Argument(metavar="QUERY.sql|-|SELECT", help="A file, '-', or a statement.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file that ends in .html, .png or .svg.")
    ],
    table: Tables = None,
    tables: Folders = None,
    order_by: Orders = None,
    param: Parameters = None,
    kind: Annotated[
        Kind | None, typer.Option(help="By the columns if not given.", show_default=False)
    ] = None,
    x: Annotated[str | None, typer.Option(help="The column of the horizontal axis.")] = None,
    y: Annotated[
        str | None, typer.Option(metavar="COLUMN,...", help="The columns of the vertical axis.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN,...", help="What tells the lines apart.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Above the chart.")] = None,
    width: Annotated[int | None, typer.Option(help="Of the plotting area, in pixels.")] = None,
    height: Annotated[int | None, typer.Option(help="Of all panels, in pixels.")] = None,
) -> None:
    """Draw the rows of a query: lines, candles, markouts, points, bars or bins.

    A time and numbers are lines, one for each text of a column such as symbol,
    and what has another scale has a panel of its own. A time and open, high,
    low, close are candles, with the volume below. A horizon and a value are
    markouts. A text and a number are bars, two numbers points, one number bins.

    An .html page zooms and pans, and needs no network.

    For example:

        fin-sql plot features.sql --tables market -o features.html

        fin-sql plot bars.sql --tables market --kind candles -o bars.png

        echo "SELECT ts, symbol, price FROM trades" | fin-sql plot - --tables market -o price.svg
    """
    from fin_sql.connection import connect
    from fin_sql.plot import ending, save
    from fin_sql.plot import plot as draw

    still = ending(output) != "html"
    ctx = connect()
    add_tables(ctx, table, tables, order_by)
    text = _text(query)
    values = parameters(param, text)
    *before, last = list(statements(text)) or [""]
    if not last:
        raise SqlError(f"plot: '{query}' holds no statement")
    begin = perf_counter()

    def work(running: Running) -> int:
        for statement in before:
            with placed(statement):
                running.on(ctx.sql(statement, values)).to_arrow()
        with placed(last), progress() as told:
            found = running.on(ctx.sql(last, values))
            rows = pa.Table.from_batches(found.stream(progress=told), found.schema)
        chart = draw(rows, kind, x=x, y=y, by=by, title=title, width=width, height=height,
                     still=still)  # fmt: skip
        save(chart, output)
        return int(rows.num_rows)

    rows = interruptible(work)
    sys.stderr.write(f"{counted(rows)} plotted in {perf_counter() - begin:.3f} s: {output}\n")


def _text(query: str) -> str:
    """A statement: what stands in a file, on the standard input, or here."""
    if query == "-":
        return sys.stdin.read()
    path = Path(query)
    if path.suffix != ".sql" and len(query.split()) > 1:
        return query
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"plot: '{query}' cannot be read: {error}") from None
