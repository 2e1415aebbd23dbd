"""The options of a file that is written: which there are, and what they may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from fin_sql.catalog.files import Format
from fin_sql.errors import SqlError, UnknownNameError

CODECS: dict[Format, tuple[str, ...]] = {
    "parquet": ("zstd", "snappy", "lz4", "gzip", "brotli", "none"),
    "csv": ("gzip", "none"),
    "json": ("gzip", "none"),
    "arrow": ("zstd", "lz4", "none"),
}
_OF_FORMAT: dict[Format, tuple[str, ...]] = {
    "parquet": ("compression", "compression_level", "row_group_size", "overwrite"),
    "csv": ("compression", "header", "delimiter", "null", "overwrite"),
    "json": ("compression", "overwrite"),
    "arrow": ("compression", "compression_level", "row_group_size", "overwrite"),
}
ROW_GROUP = 524_288
_IN_VALUES = re.compile(r"[\w\"\r\n.:+-]")  # what values have that are not quoted


@dataclass(frozen=True)
class Options:
    """How files are written; see docs/sql.md.

    Args:
        compression: a codec, or "none".
        compression_level: of the codec; None is its own default.
        row_group_size: rows of a group.
        header: the first line of a CSV file has the names.
        delimiter: between the values of a line.
        null: what NULL is written as.
        overwrite: what exists is replaced; None replaces files and no folders.
    """

    compression: str = "none"
    compression_level: int | None = None
    row_group_size: int = ROW_GROUP
    header: bool = True
    delimiter: str = ","
    null: str = ""
    overwrite: bool | None = None


def read_options(format: Format, file: str | None, values: Mapping[str, Any]) -> Options:
    """Check options.

    Args:
        format: of the files.
        file: the name that it gets; `.gz` at its end asks for gzip. None where files are named
            by their format and compression.
        values: of those that were given.

    Raises:
        UnknownNameError: there is no such option.
        SqlError: the format does not have it, or it cannot be that value.
    """
    names = [field.name for field in fields(Options)]
    for name in values:
        if name not in names:
            raise UnknownNameError("option", name.rpartition(".")[2], names)
        if name not in _OF_FORMAT[format]:
            has = ", ".join(_OF_FORMAT[format])
            raise SqlError(f"option '{name}' is none of {format.upper()} files, which have {has}")
    found: dict[str, Any] = {name: _READ[name](name, value) for name, value in values.items()}
    zipped = file is not None and file.lower().endswith(".gz")
    usual = "zstd" if format == "parquet" else "gzip" if zipped else "none"
    codec = found.setdefault("compression", usual)
    if codec not in CODECS[format]:
        known = ", ".join(f"'{name}'" for name in CODECS[format])
        raise SqlError(f"option 'compression' of {format.upper()} is one of {known}, was '{codec}'")
    if format in ("csv", "json") and file is not None and (codec == "gzip") != zipped:
        msg = f"option 'compression': readers go by the name, and '{file}' says otherwise; "
        raise SqlError(msg + (f"name it '{file}.gz'" if codec == "gzip" else "leave '.gz' out"))
    if (level := found.get("compression_level")) is not None:
        _check_level(codec, level)
    made = Options(**found)
    if made.delimiter in made.null:
        raise SqlError(f"option 'null' has the delimiter in it, was {made.null!r}")
    return made


def _check_level(codec: str, level: int) -> None:
    if codec not in ("zstd", "gzip", "brotli"):
        raise SqlError(f"option 'compression_level' is none of compression '{codec}'")
    low, high = pa.Codec.minimum_compression_level(codec), pa.Codec.maximum_compression_level(codec)
    if not low <= level <= high:
        msg = f"option 'compression_level' of '{codec}' is from {low} to {high}, was {level}"
        raise SqlError(msg)


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SqlError(f"option '{name}' must be a text, was {value!r}")
    return value.lower()


def _delimiter(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) != 1 or _IN_VALUES.match(value):
        msg = (
            f"option '{name}' must be one character that is no letter, digit, quote, line break, "
            f"'.', ':', '+' or '-', was {value!r}"
        )
        raise SqlError(msg)
    return value


def _null(name: str, value: Any) -> str:
    if not isinstance(value, str) or re.search(r'["\r\n]', value):
        msg = f"option '{name}' must be a text without quotes and line breaks, was {value!r}"
        raise SqlError(msg)
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise SqlError(f"option '{name}' must be a whole number, was {value!r}")
    return value


def _rows(name: str, value: Any) -> int:
    rows = _whole(name, value)
    if not 1 <= rows <= 1 << 26:
        raise SqlError(f"option '{name}' must be from 1 to 67108864 rows, was {rows}")
    return rows


def _switch(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise SqlError(f"option '{name}' must be true or false, was {value!r}")
    return value


_READ = {
    "compression": _word,
    "compression_level": _whole,
    "row_group_size": _rows,
    "header": _switch,
    "delimiter": _delimiter,
    "null": _null,
    "overwrite": _switch,
}
