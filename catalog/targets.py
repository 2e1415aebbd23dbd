"""What rows are written to: a path, a format, partition columns and options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fin_sql.catalog.files import COLUMNS, ENDINGS, Format, format_of
from fin_sql.catalog.options import Options, read_options
from fin_sql.catalog.partitions import Partitions, check_partition_columns
from fin_sql.catalog.staging import staged, unwritable
from fin_sql.catalog.writers import Gathered, OneFile, conformed, open_writer, written_columns
from fin_sql.errors import SqlError, UnknownNameError


@dataclass(frozen=True)
class Target:
    """Where rows go.

    Args:
        path: a file, a folder where it ends in "/" or has partitions, or `s3://bucket/key`.
        format: of the files.
        partition_by: columns whose values name folders.
        options: how the files are written.
    """

    path: str
    format: Format
    partition_by: tuple[str, ...]
    options: Options

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.partition_by) or self.path.endswith("/")

    def label(self) -> str:
        """For EXPLAIN."""
        by = f", partitioned by [{', '.join(self.partition_by)}]" if self.partition_by else ""
        codec = self.options.compression
        return f"'{self.path}' as {self.format}{f' ({codec})' if codec != 'none' else ''}{by}"

    def columns(self, given: pa.Schema) -> pa.Schema:
        """The columns as they are written.

        Raises:
            SqlError: one cannot be written.
            UnknownNameError: it is partitioned by a column that is not there.
        """
        schema = written_columns(self.format, given)
        for name in self.partition_by:
            if name not in schema.names:
                raise UnknownNameError("column", name, schema.names, who="PARTITIONED BY")
        check_partition_columns(schema, self.partition_by)
        return schema

    def write(
        self, given: pa.Schema, batches: Iterable[pa.RecordBatch], memory_limit: int = 1 << 30
    ) -> int:
        """Write rows, all or none; returns how many.

        Args:
            given: the columns of the batches.
            batches: the rows.
            memory_limit: of which a quarter may be held while rows wait to be written.

        Raises:
            SourceError: the target cannot be written; what was there is unchanged.
        """
        schema, rows = self.columns(given), 0
        with staged(self.path, folder=self.folder, overwrite=self.options.overwrite) as stage:
            try:
                writer = self._writer(stage.place, schema, memory_limit // 4)
                try:
                    for batch in batches:
                        writer.add(conformed(batch, schema))
                        rows += batch.num_rows
                    writer.close()
                except BaseException:
                    writer.abandon()
                    raise
            except (OSError, pa.ArrowException) as error:
                raise unwritable(self.path, error) from None
            stage.publish()
        return rows

    def _writer(self, place: Path, schema: pa.Schema, limit: int) -> OneFile | Partitions:
        inside = pa.schema([f for f in schema if f.name not in self.partition_by])

        def gathered(path: Path) -> Gathered:
            return Gathered(
                path,
                lambda path: open_writer(self.format, path, inside, self.options),
                inside,
                self.options.row_group_size,
            )

        if not self.folder:
            return OneFile(gathered(place), limit)
        name = f"part-0{ENDINGS[self.format][0]}"
        if self.options.compression == "gzip" and self.format in ("csv", "json"):
            name += ".gz"
        if not self.partition_by:
            return OneFile(gathered(place / name), limit)
        # Parquet may lack a type that a column of another format has.
        told = schema if self.format == "parquet" else map(schema.field, self.partition_by)
        plain = [f.with_type(_plain(f.type)) for f in told]
        pq.write_metadata(pa.schema(plain), place / COLUMNS)
        return Partitions(place, schema, self.partition_by, name, gathered, limit)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def target(
    path: str,
    format: str | None = None,
    partition_by: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Target:
    """A target whose options were checked.

    Args:
        path: see `Target`.
        format: else that of the path's ending.
        partition_by: see `Target`.
        options: by name; see docs/sql.md.

    Raises:
        SqlError: no format is known, or an option cannot be what it is.
        UnknownNameError: there is no such format or option.
    """
    if format is not None and format.lower() not in ENDINGS:
        raise UnknownNameError("format", format, list(ENDINGS))
    known: Format | None = format.lower() if format else format_of(path)  # type: ignore[assignment]
    if known is None:
        endings = ", ".join(ends[0] for ends in ENDINGS.values())
        msg = f"the format of '{path}' is not known: end it in {endings}, or say STORED AS PARQUET"
        raise SqlError(msg)
    file = None if partition_by or path.endswith("/") else path
    return Target(path, known, tuple(partition_by), read_options(known, file, options or {}))
