"""fin-sql functions: the catalogue on a terminal."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.markdown import Markdown
from rich.table import Table

from fin_sql import catalogue, docs
from fin_sql.cli.show import console
from fin_sql.errors import UnknownNameError
from fin_sql.registry import BUILTINS, KERNELS


def functions(
    name: Annotated[
        str | None, typer.Argument(help="Tell all about this one.", show_default=False)
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(help="Only this family, such as online_stats.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the functions, or tell all about one.

    For example:

        fin-sql functions

        fin-sql functions --family momentum

        fin-sql functions ewma

        fin-sql functions --json | jq -r '.[].signature'
    """
    rows = catalogue.functions().to_pylist()
    try:
        if name is not None:
            rows = chosen(rows, "name", "function", name)
        if family is not None:
            rows = chosen(rows, "family", "family", family)
    except UnknownNameError as error:
        sys.stderr.write(f"fin-sql functions: {error}\n")
        raise typer.Exit(2) from None
    if as_json:
        found = rows if name is None else rows[0]
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    elif name is not None:
        console().print(entry(rows[0]))
    else:
        console().print(overview(rows))


def chosen(rows: list[dict[str, Any]], column: str, kind: str, wanted: str) -> list[dict[str, Any]]:
    """The rows whose column is `wanted`, in any case.

    Raises:
        UnknownNameError: there are none; the message has a hint.
    """
    found = [row for row in rows if row[column] == wanted.lower()]
    if not found:
        raise UnknownNameError(kind, wanted, sorted({row[column] for row in rows}))
    return found


def entry(row: dict[str, Any]) -> Markdown:
    """Everything about one function, as docs/functions.md has it."""
    name = row["name"]
    spec = KERNELS[name].spec if name in KERNELS else BUILTINS[name][1]
    return Markdown("\n".join(docs.describe(spec, row["kind"])))


def overview(rows: list[dict[str, Any]]) -> Table:
    """One line for each function, under the name of its family."""
    table = Table(header_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("function", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("signature", overflow="fold")
    table.add_column("summary")
    family = None
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            table.add_row()
            table.add_row(f"[bold cyan]{docs.title(family)}[/]", "", "", "")
        table.add_row(row["name"], row["kind"], row["signature"], row["summary"])
    return table
