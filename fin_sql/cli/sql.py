"""fin-sql sql: a query from the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer

from fin_sql.cli.show import console, result
from fin_sql.errors import SqlError

if TYPE_CHECKING:
    from fin_sql.query import Query


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
    table: Annotated[
        list[str] | None,
        typer.Option("--table", "-t", metavar="NAME=PATH", help="A table of files; repeatable."),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="By default a table, or as --output ends.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows to a file.")
    ] = None,
    order_by: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN,...", help="The order that a table's rows come in."),
    ] = None,
    timing: Annotated[bool, typer.Option(help="Say rows and seconds, on the error output.")] = True,
    ends: Annotated[int, typer.Option(min=1, help="Rows that a table shows at either end.")] = 20,
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

        fin-sql sql -f features.sql -o features.parquet
    """
    from fin_sql.connection import connect

    with connect(home=home) as ctx:
        orders = dict(_pair(word, "--order-by") for word in order_by or ())
        for word in table or ():
            name, path = _pair(word, "--table")
            columns = orders.pop(name, None)
            ctx.register_files(name, path, columns.split(",") if columns else None)
        if orders:
            raise SqlError(f"--order-by names {', '.join(orders)}, which no --table gives")
        rows = 0
        for statement in statements(_text(query, file)):
            begin = perf_counter()
            found = ctx.prepare(statement)
            rows = put_out(found, format or _by_name(output), output, ends)
            if timing:
                word = "row" if rows == 1 else "rows"
                sys.stderr.write(f"{rows:,} {word} in {perf_counter() - begin:.3f} s\n")
        return rows


def _text(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise SqlError('sql: give either a statement, or --file; see "fin-sql sql --help"')
    if file is not None:
        return file.read_text()
    return sys.stdin.read() if query == "-" else str(query)


def _pair(word: str, option: str) -> tuple[str, str]:
    name, equals, rest = word.partition("=")
    if not equals or not name or not rest:
        raise SqlError(f"{option} takes NAME=..., was '{word}'")
    return name, rest


def _by_name(output: Path | None) -> Format:
    from fin_sql.catalog.files import format_of

    return Format.table if output is None else Format(format_of(str(output)) or "parquet")


def statements(text: str) -> Iterator[str]:
    """The statements of a script, each without its semicolon."""
    from fin_sql.sql.text import Text

    read = Text(text)
    last = len(read.tokens) - 1
    for begin, end in read.split(0, last, ";"):
        if begin < end:
            yield text[read.tokens[begin].begin : read.tokens[end - 1].end]


def put_out(query: Query, format: Format, output: Path | None, ends: int) -> int:
    """Print or write the rows of a query; returns how many."""
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
        table = pa.Table.from_batches(stream, query.schema)
    if query.schema.names == ["plan"]:
        sys.stdout.write("\n".join(table["plan"].to_pylist()) + "\n")
        return int(table.num_rows)
    out = console()
    out.print(result(table, "", out.width, ends, dates=True))
    return int(table.num_rows)


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

    columns = (
        TextColumn("{task.completed:,.0f} rows read"), BarColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda rows: bar.advance(task, rows)
