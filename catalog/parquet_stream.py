"""Parquet files as a log: each file a partition, read in the order of event time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fin_sql.errors import SourceChangedError, SourceError, SqlError
from fin_sql.stream.source import Polled
from fin_sql.stream.time import Clock, SystemClock

STEP = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
LOOK_NS = 500_000_000  # between two looks for new files
BATCH_ROWS = 65_536


@dataclass
class _File:
    """A file that is read as a partition."""

    path: str
    rows: int
    floor: int | None  # no row has an earlier event time
    at: int = 0
    latest: int = -(2**63)
    batches: Iterator[pa.RecordBatch] | None = None
    ready: pa.RecordBatch | None = None
    columns: list[str] = field(default_factory=list)

    @property
    def place(self) -> int:
        """How far its event time has come; before its first row what its statistics say."""
        if self.latest > -(2**63):
            return self.latest
        return self.floor if self.floor is not None else -(2**63)


class ParquetStream:
    """Files that are there, and those that come if it follows.

    A file is a partition, numbered in the order in which it was seen: files that are there at the
    beginning by their least event time, then their path; a file that comes later behind them. A
    file is taken to be whole when it has its name: write it under another one, beginning with '.'
    or '_', and rename it. An offset is the number of a row.

    Args:
        name: of the table.
        schema: of the rows; columns are found by name and cast.
        path: a file, a folder or a glob.
        time: the column of the event time.
        follow: look for new files for ever.
        clock: says when to look.
    """

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        path: str,
        time: str,
        *,
        follow: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.name, self.schema, self._path, self._time = name, schema, path, time
        self._follow, self._clock = follow, clock or SystemClock()
        self._files: list[_File] = []
        self._looked = 0
        self._bounded = False

    def open(
        self,
        positions: Mapping[int, int] | None = None,
        *,
        bounded: bool = False,
        identity: str | None = None,
    ) -> None:
        """Begin to read.

        Raises:
            SourceError: there is no file, or one cannot be read.
            SourceChangedError: there are fewer files, or shorter ones, than was read already.
        """
        self._bounded = bounded
        self._files = self._new(set())
        if not self._files and not self._follow:
            msg = f"table '{self.name}': no Parquet file was found at '{self._path}'"
            raise SourceError(msg)
        for number, at in (positions or {}).items():
            if number >= len(self._files) or at > self._files[number].rows:
                msg = (
                    f"table '{self.name}': row {at} of file {number} at '{self._path}' was read, "
                    "and is not there any more: put the files back, or drop what reads the table"
                )
                raise SourceChangedError(msg)
            self._files[number].at = at
        self._looked = self._clock.steady_ns()

    def _found(self) -> list[str]:
        place = Path(self._path).expanduser()
        if any(c in self._path for c in "*?["):
            names = glob(str(place), recursive=True)
        elif place.is_dir():
            names = [str(p) for p in place.rglob("*.parquet")]
        else:
            names = [str(place)] if place.is_file() else []
        return [n for n in names if not _hidden(n, place) and Path(n).is_file()]

    def _new(self, known: set[str]) -> list[_File]:
        files = [self._opened(name) for name in self._found() if name not in known]
        least = -(2**63)
        return sorted(files, key=lambda f: (least if f.floor is None else f.floor, f.path))

    def _opened(self, path: str) -> _File:
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                missing = [n for n in self.schema.names if n not in names]
                if missing:
                    msg = f"table '{self.name}': file '{path}' has no column {', '.join(missing)}"
                    raise SqlError(msg)
                return _File(path, file.metadata.num_rows, _floor(file, self._time))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(path, error) from None

    def _unreadable(self, path: str, error: Exception) -> SourceError:
        said = str(error).split("\n")[0]
        return SourceError(f"table '{self.name}': file '{path}' cannot be read: {said}")

    @property
    def identity(self) -> str | None:
        """Files are known by their number."""
        return None

    # ------------------------------------------------------------ reading

    def partitions(self) -> Sequence[int]:
        """The files, by number."""
        return range(len(self._files))

    def floor(self, partition: int) -> int | None:
        """The least event time of a file in ns, if its statistics say it."""
        return self._files[partition].floor

    def poll(self, max_messages: int, timeout_ns: int) -> list[Polled]:
        """The next rows of the file whose event time is the furthest behind."""
        self._look()
        waiting = [k for k, file in enumerate(self._files) if file.at < file.rows]
        if not waiting:
            return []
        number = min(waiting, key=lambda k: (self._files[k].place, k))
        rows = self._rows(self._files[number], max(max_messages, 1))
        file = self._files[number]
        offsets = pa.array(np.arange(file.at, file.at + rows.num_rows))
        file.at += rows.num_rows
        times = rows[self._time].drop_null()
        if len(times):
            latest = int(times.view(pa.int64()).to_numpy().max()) * STEP[times.type.unit]
            file.latest = max(file.latest, latest)
        return [Polled(number, rows, offsets, file.at, None, rows.num_rows)]

    def _look(self) -> None:
        """Look for new files now and then."""
        if not self._follow or self._bounded:
            return
        now = self._clock.steady_ns()
        if now - self._looked >= LOOK_NS:
            self._looked = now
            self._files += self._new({file.path for file in self._files})

    def _rows(self, file: _File, most: int) -> pa.RecordBatch:
        try:
            if file.ready is None or not file.ready.num_rows:
                if file.batches is None:
                    file.batches = self._batches(file)
                file.ready = next(file.batches)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(file.path, error) from None
        rows = file.ready.slice(0, most)
        file.ready = file.ready.slice(most)
        return rows

    def _batches(self, file: _File) -> Iterator[pa.RecordBatch]:
        """The rows from a file's position on, in the columns of the table."""
        skip = file.at
        texts = [f.name for f in self.schema if pa.types.is_string(f.type)]
        with pq.ParquetFile(file.path, read_dictionary=texts) as opened:
            groups: list[int] = []
            first = 0
            for k in range(opened.metadata.num_row_groups):
                n = opened.metadata.row_group(k).num_rows
                if first + n > file.at or groups:
                    groups.append(k)
                else:
                    skip -= n
                first += n
            for batch in opened.iter_batches(BATCH_ROWS, groups, self.schema.names):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                batch, skip = batch.slice(skip), 0
                yield pa.RecordBatch.from_arrays(
                    [_typed(batch[f.name], f.type) for f in self.schema], self.schema.names
                )

    def ended(self, partition: int) -> bool:
        """Whether a file was read to its end; files do not grow."""
        return self._files[partition].at >= self._files[partition].rows

    def positions(self) -> dict[int, int]:
        """The row behind the last one of each file."""
        return {k: file.at for k, file in enumerate(self._files)}

    def lag(self) -> dict[int, int]:
        """Rows that were not given yet."""
        return {k: file.rows - file.at for k, file in enumerate(self._files)}

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.batches = file.ready = None


def _hidden(name: str, place: Path) -> bool:
    parts = Path(name).relative_to(place).parts if place.is_dir() else (Path(name).name,)
    return any(part.startswith((".", "_")) for part in parts)


def _typed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind or (pa.types.is_dictionary(array.type) and pa.types.is_string(kind)):
        return array
    return array.cast(kind)


def _floor(file: pq.ParquetFile, time: str) -> int | None:
    """The least value of a time column in ns, if statistics have it."""
    names = [file.schema.column(k).path for k in range(len(file.schema))]
    if time not in names:
        return None
    at, kind = names.index(time), file.schema_arrow.field(time).type
    least: int | None = None
    for k in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(k)
        if not group.num_rows:
            continue
        statistics = group.column(at).statistics
        if statistics is None or not statistics.has_min_max or not pa.types.is_timestamp(kind):
            return None
        value = int(statistics.min_raw) * STEP[kind.unit]
        least = value if least is None else min(least, value)
    return least
