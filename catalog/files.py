"""Files as a table: where they are, their columns, and the order that they are read in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import pyarrow.fs as fs
import pyarrow.parquet as pq

from fin_sql.catalog import parts
from fin_sql.catalog.memory import empty_batches
from fin_sql.errors import SourceError
from fin_sql.exec.bounds import Bounds
from fin_sql.exec.viewless import viewless_field

Format = Literal["parquet", "csv", "json", "arrow"]

ENDINGS: dict[Format, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz"),
    "json": (".json", ".ndjson", ".jsonl", ".json.gz", ".ndjson.gz", ".jsonl.gz"),
    "arrow": (".arrow", ".feather"),
}
COLUMNS = "_common_metadata"  # in a folder: the schema of all columns, as other writers do it
_HIVE = re.compile(r"(^|/)[^/=]+=[^/]*/")
_HIVE_NAME = re.compile(r"(?:^|(?<=/))([^/=]+)=[^/]*(?=/)")
# What is read ahead of the operators is held in memory: little is enough to keep them busy.
READ_AHEAD = {"batch_readahead": 1, "fragment_readahead": 1}


def format_of(path: str) -> Format | None:
    """The format that a path's ending says."""
    return next((kind for kind, ends in ENDINGS.items() if path.lower().endswith(ends)), None)


def open_files(
    path: str | Sequence[str],
    format: Format,
    order_by: Sequence[str] = (),
    *,
    as_listed: bool = False,
) -> FileSource:
    """Files as a source.

    Args:
        path: a file, a folder, a glob, `s3://bucket/...`, or a list of these.
        format: what all of them are.
        order_by: the declared order; its first column is the event time.
        as_listed: read them in the order of the list, whatever their times are.

    Raises:
        SourceError: there are none, or one cannot be read, or they differ in their columns.
    """
    paths = [path] if isinstance(path, str) else [str(one) for one in path]
    if not paths:
        raise SourceError("a list of files must have at least one, had none")
    return FileSource(paths, format, order_by, as_listed=as_listed)


class FileSource:
    """Files of one format, read one after the other.

    Files whose times do not overlap are read in the order of time, others in the order of their
    paths, in which part-2 comes before part-10.
    """

    def __init__(
        self,
        paths: Sequence[str],
        format: Format,
        order_by: Sequence[str] = (),
        *,
        as_listed: bool = False,
    ) -> None:
        self._paths, self._format, self._order_by = list(paths), format, tuple(order_by)
        self._as_listed = as_listed
        self._system, self._files, self._root = _found(self._paths, format)
        self._seen = frozenset(() if self.remote else self.identity())
        self._dataset = self._opened()
        self.schema = self._schema
        if len(self._files) > 1 and format == "parquet" and not as_listed:
            self._files = self._by_time()
            self._dataset = self._opened(self.schema)
        self._parts = parts.parts(self._dataset, self.schema)

    # ------------------------------------------------------------ opening

    def _opened(self, schema: pa.Schema | None = None) -> ds.Dataset:
        partitioning = None
        if any(_HIVE.search(name[len(self._root) :]) for name in self._files):
            partitioning = ds.partitioning(self._partition_types(), flavor="hive")
        try:
            found = ds.dataset(
                self._files,
                format=self._reader(()),
                filesystem=self._system,
                partitioning=partitioning,
                partition_base_dir=self._root,
                schema=schema,
            )
            if schema is None:
                self._schema = self._unified(found)
                if self._format in ("csv", "json") and found.schema != self._schema:
                    return self._opened(self._schema)
            return found
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(error) from None

    def _partition_types(self) -> pa.Schema | None:
        """The types of the columns in the names of folders, if the folder has them."""
        place = f"{self._root.rstrip('/')}/{COLUMNS}"
        if self._system.get_file_info(place).type != fs.FileType.File:
            return None
        known = pq.read_schema(place, filesystem=self._system)
        names = _HIVE_NAME.findall(self._files[0][len(self._root) :])
        return pa.schema([known.field(n) for n in names]) if set(names) <= {*known.names} else None

    def _reader(self, encoded: Collection[str]) -> Any:
        if self._format == "csv":
            # Here NaN is a number; pyarrow reads it as NULL.
            words = [w for w in pa_csv.ConvertOptions().null_values if "nan" not in w.lower()]
            options = pa_csv.ConvertOptions(null_values=words)
            return ds.CsvFileFormat(
                default_fragment_scan_options=ds.CsvFragmentScanOptions(convert_options=options)
            )
        if self._format != "parquet":
            return "ipc" if self._format == "arrow" else self._format
        options = ds.ParquetReadOptions(dictionary_columns=list(encoded))
        scan = ds.ParquetFragmentScanOptions(pre_buffer=self._root.startswith("s3:"))
        return ds.ParquetFileFormat(read_options=options, default_fragment_scan_options=scan)

    def _unified(self, found: ds.Dataset) -> pa.Schema:
        """The schema of all files; those that have types must have the same columns."""
        schema = pa.schema([_plain(f) for f in found.schema])
        if self._format in ("parquet", "arrow"):
            first = None
            for fragment in found.get_fragments():
                own = [_plain(f) for f in fragment.physical_schema]
                named = {f.name: f.type for f in own}
                if first is None:
                    first = named
                elif named != first:
                    both = {n for n in named.keys() | first if named.get(n) != first.get(n)}
                    msg = (
                        f"file '{fragment.path}' has other columns than '{self._files[0]}': "
                        f"{', '.join(sorted(both))}; give such files tables of their own"
                    )
                    raise SourceError(msg)
            return schema
        # CSV and JSON find times in seconds: all times are in nanoseconds.
        head = found.head(100)
        return pa.schema([f.with_type(_in_nanoseconds(f.type, head[f.name])) for f in schema])

    def _unreadable(self, error: Exception) -> SourceError:
        said = str(error).split("\n")[0].rstrip(".")
        return SourceError(
            f"{self._format} files {', '.join(map(repr, self._paths))} cannot be read: {said}"
        )

    def _by_time(self) -> list[str]:
        """The files in the order of time, if their statistics say that they do not overlap."""
        names = [
            *self._order_by[:1],
            *(f.name for f in self.schema if pa.types.is_timestamp(f.type)),
        ]
        ranges = []
        for fragment in self._dataset.get_fragments():
            found = _range(fragment, names[0]) if names else None
            if found is None:
                return self._files
            ranges.append((*found, fragment.path))
        ranges.sort(key=lambda r: (r[0], r[1], _natural(r[2])))
        apart = all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:], strict=False))
        return [path for _, _, path in ranges] if apart else self._files

    # ------------------------------------------------------------ reading

    def scan(  # noqa: D102
        self,
        columns: Sequence[str],
        *,
        encoded: Collection[str] = (),
        batch_rows: int = 131_072,
        bounds: Bounds = (),
    ) -> Iterator[pa.RecordBatch]:
        if self._format == "parquet" and self.changed():
            paths = ", ".join(map(repr, self._paths))
            msg = f"files {paths} have changed since the statement was planned: give it again"
            raise SourceError(msg)
        try:
            if not columns:
                yield from empty_batches(self._dataset.count_rows(), batch_rows)
                return
            dataset, schema = self._dataset, self.schema
            timed = [bound for bound in bounds if bound.timed]
            told = [bound for bound in bounds if not bound.timed]
            named = self._parts.schema.names if self._parts is not None else []
            texts = [n for n in encoded if n in columns and n not in named and self._is_text(n)]
            if self._format == "parquet" and (texts or told):
                schema = pa.schema(
                    [f.with_type(_ENCODED) if f.name in texts else f for f in self.schema]
                )
                dataset = parts.read_as(self._dataset, schema, self._reader(texts), told)
            wanted = pa.schema([schema.field(name) for name in columns])
            scanner = dataset.scanner(
                columns=list(columns),
                filter=parts.within(timed, self.schema),
                batch_size=batch_rows,
                **READ_AHEAD,
            )
            for batch in scanner.to_batches():
                if batch.num_rows:
                    yield batch if batch.schema.equals(wanted) else batch.cast(wanted)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None

    def _is_text(self, name: str) -> bool:
        kind = self.schema.field(name).type
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    @property
    def tells_bounds(self) -> bool:  # noqa: D102
        return self._format == "parquet"

    def parts(self) -> pa.RecordBatch | None:  # noqa: D102
        return self._parts

    def only(self, numbers: Sequence[int]) -> FileSource:  # noqa: D102
        some = copy(self)
        some._files = [self._files[k] for k in numbers]
        some._dataset = parts.only(self._dataset, numbers)
        if self._parts is not None:
            some._parts = self._parts.take(pa.array(numbers, pa.int64()))
        return some

    def count(self) -> int | None:  # noqa: D102
        return int(self._dataset.count_rows()) if self._format == "parquet" else None

    def identity(self) -> tuple[Any, ...]:  # noqa: D102
        found = self._system.get_file_info(self._files)
        return tuple((info.path, info.size, info.mtime_ns) for info in found)

    def changed(self) -> bool:
        """Whether files here are others than those that were opened."""
        return not self.remote and not self._seen.issuperset(self.identity())

    @property
    def files(self) -> list[str]:
        """Those that are read, in their order."""
        return list(self._files)

    @property
    def remote(self) -> bool:
        """Whether the files lie in S3."""
        return not isinstance(self._system, fs.LocalFileSystem)

    def opened_again(self) -> FileSource:
        """The same paths as they are now."""
        return FileSource(self._paths, self._format, self._order_by, as_listed=self._as_listed)

    def attach(self, name: str, session: Any) -> None:  # noqa: D102
        session.deregister_table(name)
        if self._format == "parquet" and not self.remote and len(self._files) == 1:
            session.register_parquet(
                name, self._files[0], file_extension=Path(self._files[0]).suffix
            )
            if session.table(name).schema().types == self.schema.types:
                return
            session.deregister_table(name)
        session.register_dataset(name, self._dataset)


_ENCODED = pa.dictionary(pa.int32(), pa.string())


def _in_nanoseconds(kind: pa.DataType, values: pa.ChunkedArray) -> pa.DataType:
    """The type of a column of text files: times in ns, those that JSON has as texts among them."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ns", kind.tz)
    if pa.types.is_string(kind) and values.null_count < len(values):
        try:
            values.cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            return kind
        return pa.timestamp("ns")
    return kind


def _plain(field: pa.Field) -> pa.Field:
    return viewless_field(field).remove_metadata()


def _range(fragment: Any, name: str) -> tuple[Any, Any] | None:
    """The least and the greatest value of a column of a file, by its statistics."""
    metadata = fragment.metadata
    if name not in metadata.schema.to_arrow_schema().names:
        return None
    at = metadata.schema.to_arrow_schema().names.index(name)
    found = []
    for k in range(metadata.num_row_groups):
        group = metadata.row_group(k)
        if not group.num_rows:
            continue
        statistics = next(
            (group.column(c).statistics for c in range(group.num_columns)
             if group.column(c).path_in_schema == name), None,
        )  # fmt: skip
        if at < 0 or statistics is None or not statistics.has_min_max:
            return None
        found += [statistics.min_raw, statistics.max_raw]
    return (min(found), max(found)) if found else None


def _natural(path: str) -> list[tuple[int, int | str]]:
    """Numbers in a path count as numbers."""
    return [(0, int(p)) if p.isdigit() else (1, p) for p in re.split(r"(\d+)", path) if p]


def _found(paths: Sequence[str], format: Format) -> tuple[fs.FileSystem, list[str], str]:
    """The file system, the files in natural order, and the folder that all lie in."""
    remote = [path.startswith("s3://") for path in paths]
    if any(remote) and not all(remote):
        raise SourceError(f"files of one table must lie in one place, were {', '.join(paths)}")
    if any(remote):
        system: fs.FileSystem = s3()
        listed = [_remote(system, path.removeprefix("s3://"), format) for path in paths]
    else:
        system = fs.LocalFileSystem()
        listed = [_local(path, format) for path in paths]
    files = [name for part in listed for name in sorted(part[0], key=_natural)]
    if not files:
        raise SourceError(
            f"no {format} file was found at {', '.join(map(repr, paths))}; a path is a file, a "
            "folder or a glob such as 'trades/*.parquet'"
        )
    root = listed[0][1] if len(listed) == 1 else ""
    return system, files, root


def _local(path: str, format: Format) -> tuple[list[str], str]:
    place = Path(path).expanduser()
    if any(c in path for c in "*?["):
        found = glob(str(place), recursive=True)
        root = str(place)[: re.search(r"[*?\[]", str(place)).start()].rpartition("/")[0]  # type: ignore[union-attr]
        return [name for name in found if Path(name).is_file()], root
    if place.is_dir():
        inside = [p for p in place.rglob("*") if p.is_file() and _is_data(p.relative_to(place))]
        return [str(p) for p in inside if p.name.lower().endswith(ENDINGS[format])], str(place)
    return ([str(place)] if place.is_file() else []), str(place.parent)


def _is_data(path: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.parts)


def _remote(system: fs.FileSystem, path: str, format: Format) -> tuple[list[str], str]:
    try:
        star = re.search(r"[*?\[]", path)
        if star:
            root = path[: star.start()].rpartition("/")[0]
            names = _listed(system, root)
            return [n for n in names if fnmatch(n, path)], root
        info = system.get_file_info(path.rstrip("/"))
        if info.type == fs.FileType.File:
            return [path], path.rpartition("/")[0]
        root = path.rstrip("/")
        return [n for n in _listed(system, root) if n.lower().endswith(ENDINGS[format])], root
    except OSError as error:
        said = str(error).split("\n")[0]
        msg = f"'s3://{path}' cannot be reached: {said}; see AWS_ENDPOINT_URL and the AWS_ keys"
        raise SourceError(msg) from None


def _listed(system: fs.FileSystem, root: str) -> list[str]:
    chosen = fs.FileSelector(root, recursive=True, allow_not_found=True)
    return [i.path for i in system.get_file_info(chosen) if i.type == fs.FileType.File]


def s3() -> fs.S3FileSystem:
    """S3 as the environment says: AWS_ENDPOINT_URL, AWS_REGION and the credentials."""
    import os

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options: dict[str, Any] = {"region": region} if region else {}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    return fs.S3FileSystem(**options)
