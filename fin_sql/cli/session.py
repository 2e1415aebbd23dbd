"""What a shell is: a session of SQL, how it shows results, and what completion may know of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from fin_sql import catalogue
from fin_sql.cli.interrupt import Running, interruptible
from fin_sql.cli.places import placed
from fin_sql.cli.sql import Format, by_name, counted, put_out
from fin_sql.cli.words import Argument, Column, Function, Words
from fin_sql.errors import FinSqlError, UnknownNameError

if TYPE_CHECKING:
    from fin_sql.context import Context
    from fin_sql.query import Query

T = TypeVar("T")
MODES = ("table", "csv", "json", "vertical")
FRAME = 8  # lines of a screen that the prompt and the frame of a table take
ENDS = 20  # rows at either end, where there is no screen
_TYPES = {
    "string": "VARCHAR", "large_string": "VARCHAR", "string_view": "VARCHAR", "double": "DOUBLE",
    "float": "REAL", "bool": "BOOLEAN", "int64": "BIGINT", "int32": "INT", "int16": "SMALLINT",
    "int8": "TINYINT", "date32[day]": "DATE", "binary": "BYTEA", "timestamp[ns]": "TIMESTAMP",
}  # fmt: skip


@dataclass
class Session:
    """A session and its settings.

    Args:
        ctx: runs the statements.
        interactive: whether a person sits before it.
        mode: one of MODES.
        timing: say rows and seconds of each statement.
        rows: that a table shows at either end; 0 for as many as the screen has.
        output: a file for the next result.
        last: the last statement that gave rows.
        depth: how many files are being read.
    """

    ctx: Context
    interactive: bool = False
    mode: str = "table"
    timing: bool = True
    rows: int = 0
    output: Path | None = None
    last: str = ""
    depth: int = 0
    _words: Words | None = None
    _functions: dict[str, Function] = field(default_factory=dict)
    _files: dict[str, Sequence[Column]] = field(default_factory=dict)

    def run(self, statement: str) -> None:
        """Run a statement and print its rows.

        Raises:
            FinSqlError: it fails, or was cancelled.
        """
        begin = perf_counter()
        self.forget()
        rows = interruptible(lambda running: self._rows(statement, running))
        if self.timing:
            sys.stdout.flush()
            sys.stderr.write(f"{counted(rows)} in {perf_counter() - begin:.3f} s\n")

    def _rows(self, statement: str, running: Running) -> int:
        with placed(statement):
            query = running.on(self.ctx.sql(statement))
            names = query.schema.names
            format = Format.table if self.mode == "vertical" else Format(self.mode)
            if self.output is not None and names:
                rows = put_out(query, by_name(self.output), self.output, ENDS)
                sys.stderr.write(f"written to {self.output}\n")
                self.output = None
            else:
                upright = self.mode == "vertical"
                ends = self.ends(len(names) + 1 if upright else 1)
                rows = put_out(query, format, None, ends, upright=upright)
        if names and "plan" not in names:
            self.last = statement
        return rows

    def compute(self, work: Callable[[Query], T]) -> T:
        """Do something with the last query that gave rows; Ctrl-C cancels it."""

        def of_last(running: Running) -> T:
            with placed(self.last):
                return work(running.on(self.ctx.sql(self.last)))

        return interruptible(of_last)

    def forget(self) -> None:
        """Look tables up anew, as there may be others now."""
        self._words = None

    def ends(self, lines: int = 1) -> int:
        """How many rows to show at either end, where each takes some lines."""
        if self.rows or not self.interactive:
            return self.rows or ENDS
        height = shutil.get_terminal_size().lines
        return max(2 if lines == 1 else 1, (height - FRAME) // (2 * lines))

    # ------------------------------------------------------------ names

    def tables(self) -> dict[str, list[Column]]:
        """The columns of all tables and views."""
        beneath = self.ctx.datafusion
        names = {*self.ctx.tables(), *beneath.catalog().schema().names()}
        return {name: self._columns(name) for name in sorted(names) if not name.startswith("__")}

    def columns(self, name: str) -> list[Column]:
        """The columns of a table or view.

        Raises:
            UnknownNameError: there is none of that name; the message has a hint.
        """
        known = self.tables()
        wanted = name.strip('"').lower() if name.strip('"').lower() in known else name.strip('"')
        if wanted not in known:
            raise UnknownNameError("table", name, sorted(known))
        return known[wanted]

    def _columns(self, name: str) -> list[Column]:
        table = self.ctx.table(name)
        schema = table.schema if table else self.ctx.datafusion.table(f'"{name}"').schema()
        return _typed(schema)

    def words(self) -> Words:
        """What completion may offer, as of the last statement."""
        if self._words is None:
            from fin_sql.cli.commands import COMMANDS

            if not self._functions:
                self._functions = {**self._datafusion_functions(), **_kernels()}
            commands = {name: (c.usage, c.summary) for name, c in COMMANDS.items()}
            self._words = Words(
                self.tables(), self._functions, commands, entries, self._file_columns
            )
        return self._words

    def _datafusion_functions(self) -> dict[str, Function]:
        rows = self.ctx.datafusion.sql(
            "SELECT routine_name, first_value(syntax_example) AS signature, "
            "first_value(description) AS summary "
            "FROM information_schema.routines GROUP BY routine_name ORDER BY routine_name"
        ).to_pylist()
        found = {}
        for row in rows:
            name, signature = row["routine_name"], row["signature"] or f"{row['routine_name']}(...)"
            if name.isidentifier() and "\n" not in signature:
                summary = (row["summary"] or "").split("\n")[0]
                found[name] = Function(name, signature, summary)
        return found

    def _file_columns(self, path: str) -> Sequence[Column]:
        if path not in self._files:
            try:
                self._files[path] = _typed(self.ctx.open_path(path).schema)
            except FinSqlError:
                return ()  # it is being written, or is none
        return self._files[path]


def _kernels() -> dict[str, Function]:
    found = {}
    for row in catalogue.functions().to_pylist():
        arguments = tuple(
            Argument(a["name"], a["type"], a["constant"], a["default"], a["allowed"])
            for a in row["arguments"]
        )
        fields = row["output"].removeprefix("STRUCT(") if row["output"].startswith("STRUCT") else ""
        columns = tuple(
            Column(*part.split(" ", 1)) for part in fields.rstrip(")").split(", ") if part
        )
        found[row["name"]] = Function(
            row["name"], row["signature"], row["summary"], row["kind"], arguments, columns
        )
    return found


def entries(path: str) -> list[tuple[str, bool]]:
    """What lies in a folder, as (name, is a folder)."""
    if "://" in path:
        return []
    try:
        inside = sorted(Path(path or ".").expanduser().iterdir())
        return [(entry.name, entry.is_dir()) for entry in inside]
    except OSError:
        return []  # it does not exist, or is closed


def sql_type(kind: Any) -> str:
    """A type of Arrow in the words of SQL."""
    text = str(kind)
    return _TYPES.get(text, text.upper() if text.isalpha() else text)


def _typed(schema: Any) -> list[Column]:
    return [Column(field.name, sql_type(field.type)) for field in schema]
