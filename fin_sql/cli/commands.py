"""The commands of the shell, each with a dot before its name."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from fin_sql.cli.scan import steps
from fin_sql.cli.show import console
from fin_sql.errors import SourceError, SqlError, UnknownNameError

if TYPE_CHECKING:
    from fin_sql.cli.session import Session

READS = 20  # files that read one another


class Leave(Exception):  # noqa: N818  no error
    """The shell is to end."""


@dataclass(frozen=True)
class Command:
    """A command: how it is written, what it does, and who does it."""

    usage: str
    summary: str
    run: Callable[[Session, list[str]], None]

    def arguments(self) -> tuple[int, int]:
        """The least and the greatest number of arguments."""
        words = self.usage.split()[1:]
        least = sum("[" not in word and "]" not in word for word in words)
        return least, 99 if self.usage.endswith("...]") else len(words)


def command(session: Session, line: str) -> None:
    """Run a line that begins with a dot.

    Raises:
        FinSqlError: there is no such command, or it fails.
    """
    try:
        name, *arguments = shlex.split(line.strip().rstrip(";"))
    except ValueError as error:
        raise SqlError(f"{line.split()[0]}: {str(error).lower()}") from None
    name = {".exit": ".quit", ".open": ".register", ".?": ".help"}.get(name, name)
    if name not in COMMANDS:
        raise UnknownNameError("command", name, list(COMMANDS))
    found = COMMANDS[name]
    least, most = found.arguments()
    if not least <= len(arguments) <= most:
        raise SqlError(f"write {found.usage}, was '{line.strip()}'")
    found.run(session, arguments)


def run_text(session: Session, text: str) -> None:
    """Run the statements and commands of a text, one after the other.

    Raises:
        FinSqlError: one fails; those behind it do not run.
    """
    for kind, part in steps(text):
        if kind == "command":
            command(session, part)
        else:
            session.run(part)


def _help(session: Session, arguments: list[str]) -> None:
    table = Table.grid(padding=(0, 3, 0, 0))
    for found in COMMANDS.values():
        table.add_row(Text(found.usage, "bold"), Text(found.summary))
    out = console()
    out.print(table)
    out.print(
        "\nA statement ends with ';' and may take several lines. Tab completes, Ctrl-R searches the"
        "\nhistory, Ctrl-C cancels a query or clears the line, Ctrl-D leaves.",
        highlight=False,
    )


def _tables(session: Session, arguments: list[str]) -> None:
    known = session.tables()
    if not known:
        console().print("no tables; .register NAME PATH adds one", highlight=False)
        return
    table = Table(header_style="bold", box=None, padding=(0, 3, 0, 0))
    for name in ("name", "rows", "order", "columns"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    for name, columns in known.items():
        found = session.ctx.table(name)
        source = found.source if found else None
        rows = source.count() if source is not None else None
        order = ", ".join(found.order.columns) if found else ""
        shown = ", ".join(column.name for column in columns)
        cells = (name, "" if rows is None else f"{rows:,}", order, shown)
        table.add_row(*map(Text, cells))
    console().print(table)


def _schema(session: Session, arguments: list[str]) -> None:
    table = Table(header_style="bold", box=None, padding=(0, 3, 0, 0))
    table.add_column("column")
    table.add_column("type")
    for column in session.columns(arguments[0]):
        table.add_row(Text(column.name), Text(column.type))
    console().print(table)


def _functions(session: Session, arguments: list[str]) -> None:
    from fin_sql import catalogue
    from fin_sql.cli.functions import entry, overview

    rows = catalogue.functions().to_pylist()
    if not arguments:
        console().print(overview(rows))
        return
    name = arguments[0].lower().rstrip("(")
    row = next((row for row in rows if row["name"] == name), None)
    functions = session.words().functions
    if row is not None:
        console().print(entry(row))
    elif name in functions:
        found = functions[name]
        console().print(Text(f"{found.signature}\n\n{found.summary}"))
    else:
        raise UnknownNameError("function", arguments[0], sorted(functions))


def _timing(session: Session, arguments: list[str]) -> None:
    session.timing = _choice(".timing", arguments[0], ("on", "off")) == "on"


def _mode(session: Session, arguments: list[str]) -> None:
    from fin_sql.cli.session import MODES

    session.mode = _choice(".mode", arguments[0], MODES)


def _choice(name: str, word: str, choices: tuple[str, ...]) -> str:
    if word.lower() not in choices:
        raise SqlError(f"{name} must be one of {', '.join(choices)}, was '{word}'")
    return word.lower()


def _rows(session: Session, arguments: list[str]) -> None:
    if not arguments[0].isdigit():
        raise SqlError(f".rows must be a number, 0 for what the screen has, was '{arguments[0]}'")
    session.rows = int(arguments[0])


def _read(session: Session, arguments: list[str]) -> None:
    try:
        text = Path(arguments[0]).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f".read: '{arguments[0]}' cannot be read: {error}") from None
    session.depth += 1
    try:
        if session.depth > READS:
            raise SqlError(f".read: files read one another more than {READS} deep")
        run_text(session, text)
    finally:
        session.depth -= 1


def _output(session: Session, arguments: list[str]) -> None:
    session.output = Path(arguments[0]).expanduser() if arguments else None


def _register(session: Session, arguments: list[str]) -> None:
    name, path, *columns = arguments
    session.ctx.register_files(name, path, ",".join(columns).split(",") if columns else None)
    session.forget()


def _plot(session: Session, arguments: list[str]) -> None:
    from fin_sql.plot import save

    options = [word for word in arguments if "=" in word]
    files = [word for word in arguments if "=" not in word]
    if len(files) > 1:
        raise SqlError(f".plot takes one file, were {', '.join(files)}")
    given = dict(option.split("=", 1) for option in options)
    if unknown := given.keys() - PLOT_OPTIONS:
        raise UnknownNameError("option", min(unknown), list(PLOT_OPTIONS), who=".plot")
    if not session.last:
        raise SqlError(".plot draws the last query that gave rows, and there was none yet")
    if files:
        target = Path(files[0]).expanduser()
    else:
        target = Path(tempfile.mkdtemp(prefix="fin_sql-")) / "plot.html"
    session.compute(lambda query: save(query.plot(**given), target))
    console().print(f"plotted to {target}", soft_wrap=True, highlight=False)


def _quit(session: Session, arguments: list[str]) -> None:
    raise Leave


PLOT_OPTIONS = ("kind", "x", "y", "by", "title")
COMMANDS = {
    found.usage.split()[0]: found
    for found in (
        Command(".help", "List the commands.", _help),
        Command(".tables", "List the tables, with their rows and columns.", _tables),
        Command(".schema NAME", "The columns of a table and their types.", _schema),
        Command(".functions [NAME]", "List the functions, or tell all about one.", _functions),
        Command(".register NAME PATH [COLUMN,...]", "Name files, perhaps with the order of their "
                "rows; also .open.", _register),
        Command(".mode table|csv|json|vertical", "How rows are printed.", _mode),
        Command(".rows N", "Rows that a table shows at either end; 0 for what the screen has.",
                _rows),
        Command(".timing on|off", "Say rows and seconds of each statement.", _timing),
        Command(".output [FILE]", "Write the next result to a file: .csv, .json or .parquet.",
                _output),
        Command(".plot [FILE] [NAME=VALUE ...]", "Plot the last query to .html, .png or .svg; "
                f"names are {', '.join(PLOT_OPTIONS)}.", _plot),
        Command(".read FILE", "Run the statements and commands of a file.", _read),
        Command(".quit", "Leave; also .exit and Ctrl-D.", _quit),
    )
}  # fmt: skip
