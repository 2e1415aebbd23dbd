"""Tables in memory, and datasets that the user opened."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.catalog import parts
from fin_sql.errors import ArgumentTypeError
from fin_sql.exec.bounds import Bounds
from fin_sql.exec.viewless import viewless_field, viewless_table

_NUMBERS = count()


def open_data(data: Any) -> ArrowSource | DatasetSource:
    """A source of whatever holds rows.

    Raises:
        ArgumentTypeError: the data holds none.
    """
    if isinstance(data, ds.Dataset):
        return DatasetSource(data)
    if hasattr(data, "reset_index"):  # pandas: its index is no column
        return ArrowSource(pa.Table.from_pandas(data, preserve_index=False))
    if isinstance(data, (pa.Table, pa.RecordBatch)) or hasattr(data, "__arrow_c_stream__"):
        return ArrowSource(pa.table(data))
    msg = (
        "a table must have __arrow_c_stream__ (Arrow, Polars, DuckDB, DataFusion), or be pandas or "
        f"a pyarrow dataset, was {type(data).__name__}"
    )
    raise ArgumentTypeError(msg)


def empty_batches(rows: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches without columns, which only count rows."""
    for begin in range(0, rows, batch_rows):
        yield pa.record_batch({"_": pa.nulls(min(batch_rows, rows - begin))}).select([])


class ArrowSource:
    """A table in memory; its batches are slices of it."""

    def __init__(self, table: pa.Table) -> None:
        plain = viewless_table(table)
        schema = pa.schema([f.remove_metadata() for f in plain.schema])
        self._table = pa.Table.from_arrays(plain.columns, schema=schema)
        self._number = next(_NUMBERS)
        self.schema = self._table.schema

    def scan(  # noqa: D102
        self,
        columns: Sequence[str],
        *,
        encoded: Collection[str] = (),
        batch_rows: int = 131_072,
        bounds: Bounds = (),
    ) -> Iterator[pa.RecordBatch]:
        if not columns:
            return empty_batches(self._table.num_rows, batch_rows)
        chosen = self._table.select(list(columns))
        return iter(chosen.to_reader(max_chunksize=batch_rows))

    def count(self) -> int | None:  # noqa: D102
        return int(self._table.num_rows)

    def with_rows(self, rows: pa.Table) -> ArrowSource:
        """The same rows, and others behind them."""
        whole = pa.concat_tables([self._table, rows])
        if self._many(whole):  # many inserts of few rows: a scan would be slow
            whole = whole.combine_chunks()
        return ArrowSource(whole)

    @staticmethod
    def _many(table: pa.Table) -> bool:
        pieces = max((column.num_chunks for column in table.columns), default=0)
        return pieces > 64 and table.num_rows < pieces * 8_192

    def identity(self) -> tuple[Any, ...]:  # noqa: D102
        return ("memory", self._number)

    def attach(self, name: str, session: Any) -> None:  # noqa: D102
        session.deregister_table(name)
        session.register_record_batches(name, [self._table.to_batches() or _nothing(self.schema)])


def _nothing(schema: pa.Schema) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)]


class DatasetSource:
    """A dataset of pyarrow, in the order of its fragments."""

    def __init__(self, dataset: ds.Dataset) -> None:
        self._dataset = dataset
        self._number = next(_NUMBERS)
        self._chosen: tuple[Any, ...] = ()  # of its files
        self.schema = pa.schema([viewless_field(f).remove_metadata() for f in dataset.schema])
        self._parts = parts.parts(dataset, self.schema)

    def scan(  # noqa: D102
        self,
        columns: Sequence[str],
        *,
        encoded: Collection[str] = (),
        batch_rows: int = 131_072,
        bounds: Bounds = (),
    ) -> Iterator[pa.RecordBatch]:
        if not columns:
            yield from empty_batches(self._dataset.count_rows(), batch_rows)
            return
        wanted = pa.schema([self.schema.field(name) for name in columns])
        scanner = self._dataset.scanner(
            columns=list(columns),
            filter=parts.within([b for b in bounds if b.timed], self._dataset.schema),
            batch_size=batch_rows,
            batch_readahead=1,
            fragment_readahead=1,
        )
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield batch.cast(wanted) if batch.schema != wanted else batch

    def count(self) -> int | None:  # noqa: D102
        return int(self._dataset.count_rows())

    @property
    def tells_bounds(self) -> bool:  # noqa: D102
        return False

    def parts(self) -> pa.RecordBatch | None:  # noqa: D102
        return self._parts

    def only(self, numbers: Sequence[int]) -> DatasetSource:  # noqa: D102
        some = copy(self)
        some._dataset, some._chosen = (
            parts.only(self._dataset, numbers),
            (*self._chosen, tuple(numbers)),
        )
        if self._parts is not None:
            some._parts = self._parts.take(pa.array(numbers, pa.int64()))
        return some

    def identity(self) -> tuple[Any, ...]:  # noqa: D102
        return ("dataset", self._number, *self._chosen)

    def attach(self, name: str, session: Any) -> None:  # noqa: D102
        session.deregister_table(name)
        session.register_dataset(name, self._dataset)
