"""Which parts of a dataset's files are read: by their folders, and by the statistics in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.exec.bounds import Bound

_STEPS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def parts(dataset: ds.Dataset, schema: pa.Schema) -> pa.RecordBatch | None:
    """A row for each file, in their order: the columns that stand in its folders, not in itself.

    None where there are none. Their types are those of a schema.
    """
    if not isinstance(dataset, ds.FileSystemDataset):
        return None
    fragments = list(dataset.get_fragments())
    keys = [ds.get_partition_keys(f.partition_expression) for f in fragments]
    named = {name for key in keys for name in key}
    named -= {*fragments[0].physical_schema.names} if named else set()
    if not named:
        return None
    columns, names = [], [name for name in schema.names if name in named]
    for name in names:
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        columns.append(pa.array([key.get(name) for key in keys], plain).cast(kind))
    fields = [pa.field(name, schema.field(name).type) for name in names]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def only(dataset: ds.FileSystemDataset, numbers: Sequence[int]) -> ds.FileSystemDataset:
    """The dataset with some of its files."""
    fragments = list(dataset.get_fragments())
    kept = [fragments[k] for k in numbers]
    return ds.FileSystemDataset(kept, dataset.schema, dataset.format, dataset.filesystem)


def read_as(
    dataset: ds.FileSystemDataset,
    schema: pa.Schema,
    format: ds.ParquetFileFormat,
    bounds: Sequence[Bound],
) -> ds.FileSystemDataset:
    """Parquet files read in another way, without the row groups that lie outside of bounds.

    Args:
        dataset: the files.
        schema: that they are read in.
        format: how they are read.
        bounds: of integers, dates and texts in the files.
    """
    found = []
    for fragment in dataset.get_fragments():
        where = (fragment.path, dataset.filesystem, fragment.partition_expression)
        groups = None
        if bounds:  # a fragment keeps what it has read of its file: this one is let go of
            groups = _row_groups(dataset.format.make_fragment(*where).metadata, bounds)
        if groups is None or groups:
            found.append(format.make_fragment(*where, row_groups=groups))
    return ds.FileSystemDataset(found, schema, format, dataset.filesystem)


def _row_groups(metadata: Any, bounds: Sequence[Bound]) -> list[int]:
    """The numbers of the row groups that may have rows within all bounds."""
    columns = [metadata.schema.column(c).path for c in range(metadata.num_columns)]
    told = [(bound, columns.index(bound.column)) for bound in bounds if bound.column in columns]
    return [
        k
        for k in range(metadata.num_row_groups)
        if all(_may_hold(metadata.row_group(k).column(c).statistics, b) for b, c in told)
    ]


def _may_hold(statistics: Any, bound: Bound) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = statistics.min, statistics.max
    if bound.among:
        return any(low <= value <= high for value in bound.among)
    return (bound.low is None or high >= bound.low) and (bound.high is None or low <= bound.high)


def within(bounds: Sequence[Bound], schema: pa.Schema) -> Any:
    """The rows within bounds of times, as pyarrow has them; None is all."""
    found = [part for bound in bounds for part in _within(bound, schema.field(bound.column).type)]
    return reduce(and_, found) if found else None


def _within(bound: Bound, kind: pa.DataType) -> list[Any]:
    column = ds.field(bound.column)
    if bound.among:
        edges = [_edge(value, kind, up) for value in bound.among for up in (False, True)]
        return [column.isin(pa.array(edges, kind))]
    found = []
    if bound.low is not None:
        found.append(column >= _edge(bound.low, kind, up=False))
    if bound.high is not None:
        found.append(column <= _edge(bound.high, kind, up=True))
    return found


def _edge(value: Any, kind: pa.DataType, up: bool) -> pa.Scalar:
    """A time in the unit of its column; DataFusion cuts off what is finer than that."""
    step = _STEPS[kind.unit]
    whole = -(-value // step) if up else value // step
    return pa.scalar(whole, pa.int64()).cast(kind)
