"""Rows that are kept until all of them are there: in memory, then in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.exec.fragment import Current


class Spool:
    """Batches of one schema, held up to a size and written to an Arrow file beyond it.

    Args:
        schema: of the batches.
        limit: bytes that are held in memory.
    """

    def __init__(self, schema: pa.Schema, limit: int) -> None:
        self.schema, self.rows = schema, 0
        self._limit, self._bytes = limit, 0
        self._held: list[pa.RecordBatch] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def extend(self, batches: Iterable[pa.RecordBatch]) -> Spool:
        """Take all batches, and say that there are no more."""
        for batch in batches:
            self.add(batch)
        self.end()
        return self

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        self.rows += batch.num_rows
        if self._writer is None:
            self._held.append(batch)
            self._bytes += batch.nbytes
            if self._bytes <= self._limit:
                return
            self._folder = tempfile.TemporaryDirectory(prefix="fin_sql-")
            self._writer = pa.ipc.new_file(str(self._path()), self.schema)
            held, self._held = self._held, []
            for kept in held:
                self._writer.write_batch(kept)
            return
        self._writer.write_batch(batch)

    def _path(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "rows.arrow"

    def end(self) -> None:
        """Say that there are no more batches."""
        if self._writer is not None:
            self._writer.close()

    @property
    def in_memory(self) -> bool:
        """Whether no file was needed."""
        return self._writer is None

    def table(self) -> pa.Table:
        """All rows; those in a file are mapped, not read."""
        if self._writer is None:
            return pa.Table.from_batches(self._held, self.schema)
        with pa.memory_map(str(self._path())) as mapped:
            return pa.ipc.open_file(mapped).read_all()

    def dataset(self) -> ds.Dataset:
        """The rows as DataFusion can scan them; the spool must outlive the scan."""
        if not self.rows:  # pyarrow's dataset would have no part, and DataFusion sorts one
            return Current(self.schema)
        if self._writer is None:
            return ds.InMemoryDataset(self.table())
        return ds.dataset(str(self._path()), format="ipc")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows again, in their order."""
        if self._writer is None:
            yield from self._held
            return
        with pa.memory_map(str(self._path())) as mapped:
            reader = pa.ipc.open_file(mapped)
            for k in range(reader.num_record_batches):
                yield reader.get_batch(k)

    def close(self) -> None:
        """Let everything go."""
        self._held = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
