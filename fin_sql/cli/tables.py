"""Tables and parameters as options of a command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fin_sql.cli.scan import pieces
from fin_sql.errors import SourceError, SqlError

if TYPE_CHECKING:
    from fin_sql.context import Context

Tables = Annotated[
    list[str] | None,
    typer.Option("--table", "-t", metavar="NAME=PATH", help="A table of files; repeatable."),
]
Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--tables", metavar="FOLDER",
        help="Each file or folder of Parquet, CSV or JSON in it is a table called as its stem.",
    ),
]  # fmt: skip
Orders = Annotated[
    list[str] | None,
    typer.Option(
        "--order-by", metavar="NAME=COLUMN,...", help="The order that a table's rows come in."
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="NAME=VALUE",
        help="The value of $NAME: a number, true, false, null or a text; repeatable.",
    ),
]  # fmt: skip

ENDINGS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv",
    ".json": "json", ".ndjson": "json",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_NAMED = {"true": True, "false": False, "null": None}


def add_tables(
    ctx: Context,
    tables: Sequence[str] | None,
    folders: Sequence[Path] | None,
    orders: Sequence[str] | None,
) -> None:
    """Register the tables that options give; a --table goes before one of a folder.

    Raises:
        SqlError: an option is not as it must be, or --order-by names no table of the others.
        SourceError: nothing is there, or it cannot be read.
    """
    order_by = dict(pair(word, "--order-by") for word in orders or ())
    known: set[str] = set()
    for folder in folders or ():
        for name, path, format in tables_in(folder):
            columns = order_by.get(name)
            register = getattr(ctx, f"register_{format}")
            register(name, str(path), columns.split(",") if columns else None)
            known.add(name)
    for word in tables or ():
        name, where = pair(word, "--table")
        columns = order_by.get(name)
        ctx.register_files(name, where, columns.split(",") if columns else None)
        known.add(name)
    if unknown := [name for name in order_by if name not in known]:
        given = "--table" if folders is None else "--table or --tables"
        raise SqlError(f"--order-by names {', '.join(unknown)}, which no {given} gives")


def tables_in(folder: Path) -> list[tuple[str, Path, str]]:
    """Name, path and format of each table that lies in a folder.

    Raises:
        SourceError: it is no folder, holds no table, or two of one name.
    """
    if not folder.is_dir():
        raise SourceError(f"--tables takes a folder, was '{folder}'")
    found: dict[str, tuple[str, Path, str]] = {}
    for path in sorted(folder.iterdir()):
        formats = {format for _, format in _data(path)}
        if path.name.startswith((".", "_")) or not formats:
            continue
        if len(formats) > 1:
            raise SourceError(
                f"--tables: folder '{path}' holds {' and '.join(sorted(formats))} files; "
                "name those of a table by --table NAME=GLOB"
            )
        name = _stem(path).lower()
        if name in found:
            raise SourceError(
                f"--tables: '{found[name][1]}' and '{path}' would both be table '{name}'; "
                "name one by --table NAME=PATH, and keep the other elsewhere"
            )
        found[name] = (name, path, formats.pop())
    if not found:
        raise SourceError(f"--tables: no Parquet, CSV or JSON file lies in '{folder}'")
    return list(found.values())


def _data(path: Path) -> Iterator[tuple[Path, str]]:
    """The files of rows that a path is, or that lie in it, each with its format."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        inside = file.relative_to(path.parent).parts
        ending = next((e for e in ENDINGS if file.name.lower().endswith(e)), None)
        if ending and file.is_file() and not any(p.startswith((".", "_")) for p in inside):
            yield file, ENDINGS[ending]


def _stem(path: Path) -> str:
    ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), "")
    return path.name[: len(path.name) - len(ending)] if ending and path.is_file() else path.name


def parameters(given: Sequence[str] | None, text: str) -> dict[str, Any] | None:
    """The values of --param by name.

    Raises:
        SqlError: one is not NAME=VALUE, or no statement of the text has it.
    """
    if not given:
        return None
    values = {name: _value(word) for name, word in (pair(one, "--param") for one in given)}
    said = list(pieces(text))
    mentioned = {text[p.begin + 1 : p.end] for p in said if p.kind == "param"}
    for colon, word in zip(said, said[1:], strict=False):
        if text[colon.begin : colon.end] == ":" and word.kind == "word":
            mentioned.add(text[word.begin : word.end])
    if unknown := [name for name in values if name not in mentioned]:
        raise SqlError(f"--param names {', '.join(unknown)}, which no statement has as $name")
    return values


def _value(word: str) -> Any:
    """A value of the command line: a number, true, false or null, else a text."""
    if word.lower() in _NAMED:
        return _NAMED[word.lower()]
    if len(word) > 1 and word[0] == word[-1] == "'":
        return word[1:-1].replace("''", "'")
    if not _NUMBER.fullmatch(word):
        return word
    return int(word) if word.lstrip("+-").isdigit() else float(word)


def pair(word: str, option: str) -> tuple[str, str]:
    """The two sides of NAME=...

    Raises:
        SqlError: one is missing.
    """
    name, equals, rest = word.partition("=")
    if not equals or not name or not rest:
        raise SqlError(f"{option} takes NAME=..., was '{word}'")
    return name, rest
