"""One file of rows in any format; rows are gathered, and written group by group."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from fin_sql.catalog.files import Format
from fin_sql.catalog.options import Options
from fin_sql.catalog.text import csv_header, csv_lines, json_lines, texts
from fin_sql.errors import FinSqlError, SqlError
from fin_sql.exec.viewless import viewless_type


def written_columns(format: Format, given: pa.Schema) -> pa.Schema:
    """The columns as a format takes them: plain types, and each name once.

    Raises:
        SqlError: there is no column, or a type that the format does not have.
    """
    if not len(given):
        raise SqlError("there is no column to write")
    found: list[pa.Field] = []
    taken = set(given.names)
    for field in given:
        kind = viewless_type(field.type)
        if format == "arrow" and pa.types.is_dictionary(kind):
            kind = kind.value_type  # an Arrow file has one dictionary for all its batches
        name, count = field.name, 1
        while any(f.name == name for f in found) or (count > 1 and name in taken):
            count += 1
            name = f"{field.name}_{count}"
        _check_type(format, pa.field(name, kind))
        found.append(pa.field(name, kind))
    return pa.schema(found)


def _check_type(format: Format, field: pa.Field) -> None:
    """Whether a format has a type."""
    try:
        if format == "arrow":
            if "dictionary<" in str(field.type):  # inside of a nested one
                raise pa.ArrowNotImplementedError
        elif format == "parquet":
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        else:
            texts(pa.nulls(0, field.type))
    except (pa.ArrowException, FinSqlError):
        msg = (
            f"column '{field.name}' of type {field.type} cannot be written as {format.upper()}: "
            "cast it, or leave it out"
        )
        raise SqlError(msg) from None


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in the types of `written_columns`."""
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class Writer(Protocol):
    """An open file."""

    def write(self, rows: pa.Table) -> None:
        """Append a group of rows."""

    def close(self) -> None:
        """Complete the file."""


def open_writer(format: Format, path: Path, schema: pa.Schema, options: Options) -> Writer:
    """Open a file of a format, for one schema."""
    writer: Writer = _WRITERS[format](path, schema, options)
    return writer


class ParquetFile:
    """Each group of rows is a row group."""

    def __init__(self, path: Path, schema: pa.Schema, options: Options) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression=options.compression,
            compression_level=options.compression_level,
            use_dictionary=_dictionaries(schema),
        )

    def write(self, rows: pa.Table) -> None:  # noqa: D102
        self._writer.write_table(rows, row_group_size=max(rows.num_rows, 1))

    def close(self) -> None:  # noqa: D102
        with self._sink:
            self._writer.close()


@lru_cache
def _dictionaries(schema: pa.Schema) -> list[str]:
    """The columns that are worth a dictionary: times are nearly all different."""
    sink = pa.BufferOutputStream()
    pq.write_metadata(schema, sink)
    found = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    columns = [found.column(i) for i in range(len(found))]
    return [c.path for c in columns if c.logical_type.type != "TIMESTAMP"]


class ArrowFile:
    """Each group of rows is a batch."""

    def __init__(self, path: Path, schema: pa.Schema, options: Options) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        codec = None
        if options.compression != "none":
            codec = pa.Codec(options.compression, options.compression_level)
        self._writer = pa.ipc.new_file(
            self._sink, schema, options=pa.ipc.IpcWriteOptions(compression=codec)
        )

    def write(self, rows: pa.Table) -> None:  # noqa: D102
        for batch in rows.combine_chunks().to_batches():
            self._writer.write_batch(batch)

    def close(self) -> None:  # noqa: D102
        with self._sink:
            self._writer.close()


class TextFile:
    """Lines of CSV or JSON."""

    def __init__(
        self,
        path: Path,
        options: Options,
        head: bytes,
        lines: Callable[[pa.RecordBatch], bytes],
    ) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._sink = self._file
        if options.compression == "gzip":
            self._sink = pa.CompressedOutputStream(self._file, "gzip")
        self._lines = lines
        self._sink.write(head)

    def write(self, rows: pa.Table) -> None:  # noqa: D102
        for batch in rows.to_batches():
            self._sink.write(self._lines(batch))

    def close(self) -> None:  # noqa: D102
        with self._file:
            self._sink.close()


def _csv_file(path: Path, schema: pa.Schema, options: Options) -> TextFile:
    head = csv_header(schema, options.delimiter) if options.header else b""
    return TextFile(
        path, options, head, lambda batch: csv_lines(batch, options.delimiter, options.null)
    )


def _json_file(path: Path, schema: pa.Schema, options: Options) -> TextFile:
    return TextFile(path, options, b"", json_lines)


_WRITERS: dict[Format, Callable[[Path, pa.Schema, Options], Any]] = {
    "parquet": ParquetFile,
    "csv": _csv_file,
    "json": _json_file,
    "arrow": ArrowFile,
}


class Gathered:
    """Rows on their way to a file.

    Args:
        path: of the file, which is opened when the first group is full.
        open: opens it.
        schema: of the rows.
        group: how many rows are written together.
    """

    def __init__(
        self, path: Path, open: Callable[[Path], Writer], schema: pa.Schema, group: int
    ) -> None:
        self._path, self._open, self._schema, self._group = path, open, schema, group
        self._writer: Writer | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self.held = 0  # bytes

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; whole groups are written."""
        while self._rows + batch.num_rows >= self._group:
            missing = self._group - self._rows
            self._take(batch.slice(0, missing))
            self.flush()
            batch = batch.slice(missing)
        if batch.num_rows:
            self._take(batch)

    def _take(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self.held += batch.nbytes

    def flush(self) -> None:
        """Write what waits."""
        if self._writer is None:
            self._writer = self._open(self._path)
        if self._waiting:
            self._writer.write(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows, self.held = [], 0, 0

    def close(self) -> None:
        """Write the rest, and complete the file."""
        self.flush()
        assert self._writer is not None
        writer, self._writer = self._writer, None
        writer.close()

    def abandon(self) -> None:
        """Close the file, which is of no use."""
        self._waiting = []
        if self._writer is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._writer = None


class OneFile:
    """All rows into one file.

    Args:
        file: gathers them.
        limit: bytes that may wait.
    """

    def __init__(self, file: Gathered, limit: int) -> None:
        self._file, self._limit = file, limit

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        self._file.add(batch)
        if self._file.held > self._limit:
            self._file.flush()

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file, which is of no use."""
        self._file.abandon()
