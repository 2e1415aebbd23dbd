"""The command `fin-sql`: what there is, and what it looks like at work."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from fin_sql.cli.demo import demo
from fin_sql.cli.functions import functions
from fin_sql.cli.plot import plot
from fin_sql.cli.shell import shell
from fin_sql.cli.sql import sql
from fin_sql.errors import FinSqlError

app = typer.Typer(
    name="fin-sql",
    help="SQL for market data: finance kernels, windows and ASOF JOIN on Apache DataFusion.",
    epilog="""For example:

    fin-sql demo                 a market, and a query of a dozen kernels

    fin-sql sql "SELECT ..."     a query over files: kernels, windows, ASOF JOIN

    fin-sql shell                the same at a prompt, with history and completion

    fin-sql plot Q.sql -o Q.html a query as a chart: HTML, PNG or SVG

    fin-sql functions            every function, by family

    fin-sql functions ewma       its arguments, ranges, example and source
""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(functions)
app.command()(sql)
app.command()(shell)
app.command()(plot)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what fin_sql raises on purpose becomes a message and exit code 1.

    Args:
        arguments: without the program's name; those of the process unless given.
    """
    try:
        app(args=arguments, prog_name="fin-sql")
    except FinSqlError as error:
        said, mark, place = str(error).partition(
            "\n  line "
        )  # the underlined place keeps its lines
        sys.stderr.write(f"fin-sql: {' '.join(said.split())}{mark}{place}\n")
        raise SystemExit(1) from None
