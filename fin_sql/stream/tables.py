"""Endless tables and views as tables of a session: read by a SELECT, they are bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.errors import SourceError
from fin_sql.exec.bounds import Bounds
from fin_sql.exec.fragment import Chosen
from fin_sql.stream.intake import EventTime, Intake, Released, bounded_rows
from fin_sql.stream.source import Polled, StreamSource
from fin_sql.stream.views import KeyedView, Letters, RetainedView, Snapshot

_NUMBERS = count()
_POLL_NS = 100_000_000
MAX_MESSAGES = 10_000
LETTER_BYTES = 64 << 20


class StreamingTable:
    """A table whose rows come from a log and never end.

    Args:
        name: of the table.
        schema: of its rows, computed columns among them.
        time: the event time.
        make: makes a source of the rows.
        compute: appends the computed columns to rows of the source; None without any.
    """

    grows = True

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        time: EventTime,
        make: Callable[[], StreamSource],
        compute: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
    ) -> None:
        self.name, self.schema, self.time, self.make = name, schema, time, make
        self.compute = compute
        self.letters = Letters(LETTER_BYTES)

    @property
    def event_time(self) -> str:
        """The column of the event time."""
        return self.time.column

    @property
    def arrival(self) -> bool:
        """Whether rows come as they arrive, in no order of time."""
        return self.time.arrival

    @property
    def evaluates(self) -> bool:
        """Whether DataFusion takes part in making the rows."""
        return self.compute is not None

    def computed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of the source with the computed columns, in the order of the table's."""
        if not rows.num_rows:
            nothing = [pa.nulls(0, f.type) for f in self.schema]
            return pa.RecordBatch.from_arrays(nothing, schema=self.schema)
        if self.compute is not None:
            return self.compute(rows)
        names = self.schema.names
        return rows if rows.schema.names == names else rows.select(names)

    def intake(self, letters: Callable[[pa.RecordBatch], None]) -> Intake:
        """What brings the rows of the source into their order."""
        return Intake(self.schema, self.time, self.name, letters)

    # ------------------------------------------------------------ a bounded table

    def scan(
        self,
        columns: Sequence[str],
        *,
        encoded: Collection[str] = (),
        batch_rows: int = 131_072,
        bounds: Bounds = (),
    ) -> Iterator[pa.RecordBatch]:
        """The rows that are there now, in the order of a stream of them."""
        source = self.make()
        source.open(bounded=True)
        intake = self.intake(lambda letters: None)
        try:
            for released in self._bounded(source, intake):
                if columns:
                    yield released.rows.select(list(columns))
                else:
                    nothing = pa.record_batch({"_": pa.nulls(released.rows.num_rows)})
                    yield nothing.select([])
        finally:
            source.close()

    def _bounded(self, source: StreamSource, intake: Intake) -> Iterator[Released]:
        def poll() -> list[Polled]:
            return [prepared(self, polled) for polled in source.poll(MAX_MESSAGES, _POLL_NS)]

        yield from bounded_rows(poll, source.ended, source.partitions, intake)

    def count(self) -> int | None:
        """Not known without reading."""
        return None

    def identity(self) -> tuple[Any, ...]:
        """Another one each time: the rows grow."""
        return ("stream", self.name, next(_NUMBERS))

    def attach(self, name: str, session: Any) -> None:
        """Make the columns known; statements that read the rows are planned by us."""
        session.deregister_table(name)
        session.register_dataset(name, Unread(self.name, self.schema))


def prepared(table: StreamingTable, polled: Polled) -> Polled:
    """A poll in the columns of the table."""
    return replace(polled, rows=table.computed(polled.rows))


class ViewTable:
    """A view as a table: each read takes the rows that are there.

    Args:
        name: of the view.
        view: holds the rows.
        time: the column of the event time, "" without one; None of what never feeds a view.
        key: the columns of a row's key where rows change, None where they do not.
        arrival: whether its rows come in no order of time.
    """

    grows = True

    def __init__(
        self,
        name: str,
        view: RetainedView | KeyedView,
        time: str | None,
        key: tuple[str, ...] | None = None,
        *,
        arrival: bool = False,
    ) -> None:
        self.name, self.view, self.schema = name, view, view.schema
        self.event_time, self.key, self.arrival = time, key, arrival

    def moment(self) -> Moment:
        """The rows as they are now, for a statement that may read them several times."""
        return Moment(self.view.snapshot())

    def scan(self, columns: Sequence[str], **options: Any) -> Iterator[pa.RecordBatch]:
        """The rows of the view at this moment."""
        return self.moment().scan(columns, **options)

    def count(self) -> int | None:
        """How many rows there are at this moment."""
        return self.view.snapshot().rows

    def identity(self) -> tuple[Any, ...]:
        """Another one each time: the rows change."""
        return ("view", self.name, next(_NUMBERS))

    def attach(self, name: str, session: Any) -> None:
        """Let DataFusion read the rows of each moment."""
        session.deregister_table(name)
        session.register_dataset(name, Momentary(self))


class Moment:
    """The rows of a view at one moment."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def scan(
        self,
        columns: Sequence[str],
        *,
        encoded: Collection[str] = (),
        batch_rows: int = 131_072,
        bounds: Any = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows, oldest first."""
        for batch in self._snapshot.batches:
            if columns:
                yield batch.select(list(columns))
            else:
                yield pa.record_batch({"_": pa.nulls(batch.num_rows)}).select([])


class Unread(ds.Dataset):  # type: ignore[misc]
    """A table that DataFusion knows the columns of, and must not read."""

    def __init__(self, name: str, schema: pa.Schema) -> None:
        self._name, self._schema = name, schema

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return self._schema

    def get_fragments(self, filter: Any = None) -> Iterator[Unread]:
        """Give the one fragment that a plan keeps."""
        return iter([self])

    def scanner(self, *_: Any, **__: Any) -> Any:
        """Refuse."""
        msg = f"streaming table '{self._name}' is read by fin_sql, not inside of DataFusion"
        raise SourceError(msg)


class Momentary(ds.Dataset):  # type: ignore[misc]
    """The rows of a view when they are asked for."""

    def __init__(self, table: ViewTable) -> None:
        self._table = table

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return self._table.schema

    def get_fragments(self, filter: Any = None) -> Iterator[Momentary]:
        """Give the one fragment that a plan keeps."""
        return iter([self])

    def scanner(
        self, *_: Any, columns: list[str] | None = None, filter: Any = None, **__: Any
    ) -> Any:
        """Give the rows."""
        batches = list(self._table.view.snapshot().batches)
        if filter is not None:
            table = pa.Table.from_batches(batches, self.schema)
            return ds.InMemoryDataset(table).scanner(columns=columns, filter=filter)
        return Chosen(self.schema, columns, iter(batches))
