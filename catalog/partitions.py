"""Rows into hive folders: one file for each partition, however many there are."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.catalog.text import texts
from fin_sql.catalog.writers import Gathered
from fin_sql.errors import SqlError
from fin_sql.exec.keys import Keys

MOST_OPEN = 128  # files
BUCKETS = 32  # of the rows of partitions beyond
NULL = "__HIVE_DEFAULT_PARTITION__"
_ESCAPED = re.compile("[\x00-\x1f\"#%'*/:=?\\\\\x7f{}\\[\\]^]")  # FileUtils.charToEscape of Hive
_FITS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)

OpenFile = Callable[[Path], Gathered]


def check_partition_columns(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Whether rows can be partitioned by columns.

    Raises:
        SqlError: one has a type that folders are not named by, or none would be left for the files.
    """
    for name in columns:
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(test(kind) for test in _FITS):
            msg = (
                "PARTITIONED BY takes texts, whole numbers, booleans, dates and times, "
                f"but column '{name}' is {schema.field(name).type}"
            )
            raise SqlError(msg)
        if name.startswith((".", "_")) or len(set(columns)) < len(columns):
            msg = f"column '{name}' cannot name folders: "
            if len(set(columns)) < len(columns):
                raise SqlError(msg + "a column of PARTITIONED BY stands twice")
            raise SqlError(msg + "readers take folders that begin with '.' or '_' for no data")
    if len(columns) == len(schema):
        raise SqlError("PARTITIONED BY has all columns, and none is left for the files")


def escaped(text: str) -> str:
    """A name or a value as Hive writes it in the name of a folder."""
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)


class Partitions:
    """Rows on their way to the files of their partitions.

    The first partitions have an open file each. Rows of others wait in some temporary files, by a
    hash of their partition, and are written when the first ones are complete: by partitions of
    the same kind for one temporary file at a time. So few files are open, little is held, there is
    one file for each partition, and its rows are in the order that they came in.

    Args:
        folder: that is written to.
        schema: of the rows.
        columns: whose values name the folders.
        name: of the file of each partition.
        open: makes one.
        limit: bytes that may wait.
        depth: how often the rows have waited in temporary files.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        columns: Sequence[str],
        name: str,
        open: OpenFile,
        limit: int,
        depth: int = 0,
    ) -> None:
        self._folder, self._schema, self._columns = folder, schema, list(columns)
        self._name, self._open, self._limit, self._depth = name, open, limit, depth
        self._rest = [n for n in schema.names if n not in columns]
        self._keys = Keys()
        self._files: list[Gathered | int] = []  # by slot; an int is the bucket of a later one
        self._n_open = 0
        self._buckets: dict[int, _Bucket] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        rest = batch.select(self._rest)
        waiting: dict[int, list[pa.Array]] = {}
        for slot, rows in self._parted(batch):
            if slot == len(self._files):
                self._files.append(self._placed(batch.slice(rows[0].as_py(), 1)))
            place = self._files[slot]
            if isinstance(place, int):
                waiting.setdefault(place, []).append(rows)
            else:
                # It is a copy, so that rows that wait for long do not hold the whole batch.
                place.add(rest.take(rows))
        for number, parts in waiting.items():
            if number not in self._buckets:
                path = self._folder / f".bucket-{self._depth}-{number}.arrow"
                self._buckets[number] = _Bucket(path, self._schema)
            self._buckets[number].add(batch.take(pa.concat_arrays(parts)))
        self._relieve()

    def _parted(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.Array]]:
        """The rows of each partition, those of a new one after those of all that are known."""
        slots = self._keys.intern([batch[name] for name in self._columns], len(batch)).array()
        order = pc.array_sort_indices(slots)  # it is stable
        runs = pc.run_end_encode(slots.take(order))
        begin = 0
        for slot, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield slot, order.slice(begin, end - begin)
            begin = end

    def _placed(self, row: pa.RecordBatch) -> Gathered | int:
        """Where the rows of the partition of a row go."""
        path = self._folder
        for name in self._columns:
            path = path / f"{escaped(name)}={_value(name, row[name])}"
        if self._n_open >= MOST_OPEN:
            text = f"{self._depth}/{path.relative_to(self._folder)}"
            return zlib.crc32(text.encode()) % BUCKETS
        self._n_open += 1
        path.mkdir(parents=True)
        return self._open(path / self._name)

    def _relieve(self) -> None:
        """Write what waits for the fullest files, until it is half of the limit."""
        files = [f for f in self._files if isinstance(f, Gathered)]
        held = sum(file.held for file in files)
        if held <= self._limit:
            return
        for file in sorted(files, key=lambda f: -f.held):
            held -= file.held
            file.flush()
            if held <= self._limit // 2:
                return

    def close(self) -> None:
        """Complete all files."""
        for file in self._files:
            if isinstance(file, Gathered):
                file.close()
        self._files, self._keys = [], Keys()
        for bucket in self._buckets.values():
            bucket.close()
        for bucket in self._buckets.values():
            more = Partitions(
                self._folder,
                self._schema,
                self._columns,
                self._name,
                self._open,
                self._limit,
                self._depth + 1,
            )
            try:
                for batch in bucket.rows():
                    more.add(batch)
                more.close()
            except BaseException:
                more.abandon()
                raise

    def abandon(self) -> None:
        """Close all files, which are of no use."""
        for file in self._files:
            if isinstance(file, Gathered):
                file.abandon()
        for bucket in self._buckets.values():
            bucket.close()


def _value(name: str, column: pa.Array) -> str:
    """The value of a partition in the name of its folder."""
    text = texts(column)[0].as_py()
    if text == NULL:
        raise SqlError(
            f"column '{name}' has the text '{NULL}', which means NULL in a folder's name"
        )
    return NULL if text is None else escaped(text)


class _Bucket:
    """A temporary file of rows, which is read once."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._sink = pa.OSFile(str(path), "wb")
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_stream(self._sink, schema, options=options)

    def add(self, rows: pa.RecordBatch) -> None:
        """Append rows."""
        self._writer.write_batch(rows)

    def close(self) -> None:
        """Complete the file."""
        if not self._sink.closed:
            with self._sink:
                self._writer.close()

    def rows(self) -> Iterator[pa.RecordBatch]:
        """All rows; the file is gone when the last one was read."""
        with pa.OSFile(str(self._path), "rb") as file:
            yield from pa.ipc.open_stream(file)
        self._path.unlink()
