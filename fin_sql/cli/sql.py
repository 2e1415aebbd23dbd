"""fin-sql sql: a query from the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from threading import Lock, Timer
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer

from fin_sql.cli.places import placed
from fin_sql.cli.scan import statements
from fin_sql.cli.show import Ends, console, records, result
from fin_sql.cli.tables import Folders, Orders, Parameters, Tables, add_tables, parameters
from fin_sql.errors import SqlError

if TYPE_CHECKING:
    from fin_sql.query import Query


PATIENCE_SECONDS = 0.5  # before a line says how far a query is


class Format(StrEnum):
    """What the rows are printed as."""

    table = "table"
    csv = "csv"
    json = "json"
    arrow = "arrow"
    parquet = "parquet"


def sql(
    query: Annotated[str | None, typer.Argument(help="The statement; several end in ';'.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", exists=True, dir_okay=False, help="Read it here.")
    ] = None,
    table: Tables = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="By default a table, or as --output ends.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows to a file.")
    ] = None,
    order_by: Orders = None,
    timing: Annotated[bool, typer.Option(help="Say rows and seconds, on the error output.")] = True,
    ends: Annotated[int, typer.Option(min=1, help="Rows that a table shows at either end.")] = 20,
    tables: Folders = None,
    param: Parameters = None,
    home: Annotated[
        Path | None, typer.Option(file_okay=False, help="A folder that keeps the tables.")
    ] = None,
) -> int:
    """Run a query over files: with kernels, windows and ASOF JOIN.

    For example:

        fin-sql sql "SELECT symbol, count(*) FROM 'trades.parquet' GROUP BY symbol"

        fin-sql sql -t trades=trades.parquet -t quotes='quotes/*.parquet' "
            SELECT t.ts, t.symbol, t.price, q.bid, q.ask
            FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"

        fin-sql sql -f features.sql --tables market -o features.parquet

        fin-sql sql --tables market --param least=100 --param symbol=BTC-USD "
            SELECT ts, price FROM trades WHERE size >= $least AND symbol = $symbol"
    """
    from fin_sql.connection import connect

    with connect(home=home) as ctx:
        add_tables(ctx, table, tables, order_by)
        text = _text(query, file)
        values = parameters(param, text)
        rows = 0
        for statement in statements(text):
            begin = perf_counter()
            with placed(statement):
                found = ctx.prepare(statement, values)
                rows = put_out(found, format or by_name(output), output, ends)
            if timing:
                sys.stderr.write(f"{counted(rows)} in {perf_counter() - begin:.3f} s\n")
        return rows


def counted(rows: int) -> str:
    """A number of rows in words."""
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def _text(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise SqlError('sql: give either a statement, or --file; see "fin-sql sql --help"')
    if file is not None:
        return file.read_text()
    return sys.stdin.read() if query == "-" else str(query)


def by_name(output: Path | None) -> Format:
    """The format that a file's name ends in."""
    from fin_sql.catalog.files import format_of

    return Format.table if output is None else Format(format_of(str(output)) or "parquet")


def put_out(
    query: Query, format: Format, output: Path | None, ends: int, *, upright: bool = False
) -> int:
    """Print or write the rows of a query; returns how many.

    Args:
        query: is run.
        format: of the rows.
        output: a file, in place of the standard output.
        ends: rows that a table shows at either end.
        upright: print a line for each value, instead of a table.
    """
    with progress() as told:
        if output is not None:
            if format is Format.table:
                raise SqlError("--output needs --format csv, json, arrow or parquet")
            if not len(query.schema):  # CREATE VIEW gives nothing to write
                return sum(batch.num_rows for batch in query.stream(progress=told))
            return _to_file(query, format, output, told)
        if format in (Format.parquet, Format.arrow):
            raise SqlError(f"{format.name.capitalize()} is no text: name a file by --output")
        stream = query.stream(progress=told)
        if format is not Format.table:
            return _print(stream, query.schema, format)
        if _explains(query.schema):
            plan = pa.Table.from_batches(stream, query.schema)
        else:
            found = Ends(query.schema, ends).extend(stream)
    if _explains(query.schema):
        lines = (line.rstrip() for row in plan.to_pylist() for line in row.values())
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return int(plan.num_rows)
    out = console()
    if upright:
        out.print(records(found, out.width))
    elif query.schema:
        out.print(result(found, "", out.width, dates=True))
    return found.rows


def _explains(schema: pa.Schema) -> bool:
    """Whether rows are a plan, ours or DataFusion's, which is printed as it is."""
    texts = all(kind == pa.string() for kind in schema.types)
    return texts and schema.names in (["plan"], ["plan_type", "plan"])


def _to_file(query: Query, format: Format, output: Path, told: Any) -> int:
    write = {
        Format.csv: query.write_csv,
        Format.json: query.write_json,
        Format.arrow: query.write_arrow,
        Format.parquet: query.write_parquet,
    }[format]
    return write(output, progress=told)


def _print(stream: Iterator[Any], schema: pa.Schema, format: Format) -> int:
    from fin_sql.catalog.text import csv_header, csv_lines, json_lines

    sink, rows = sys.stdout.buffer, 0
    if format is Format.csv:
        sink.write(csv_header(schema))
    for batch in stream:
        sink.write(csv_lines(batch) if format is Format.csv else json_lines(batch))
        rows += batch.num_rows
    sink.flush()
    return rows


@contextmanager
def progress() -> Iterator[Any]:
    """A line that counts the rows that were read, where a person watches and it takes a while."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("running", total=None)
    lock, over = Lock(), False

    def begin() -> None:
        with lock:
            if not over:
                bar.start()

    def tell(rows: int) -> None:
        bar.advance(task, rows)
        bar.update(task, description=f"{bar.tasks[0].completed:,.0f} rows read")

    late = Timer(PATIENCE_SECONDS, begin)
    late.daemon = True
    late.start()
    try:
        yield tell
    finally:
        late.cancel()
        with lock:
            over = True
            bar.stop()
