"""A clock, a source and a sink whose every step a test decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, Literal, TypeAlias

import pyarrow as pa

__all__ = [
    "CRASH",
    "END",
    "WAIT",
    "Clock",
    "ListSink",
    "ListSource",
    "Sentinel",
    "SimulatedCrash",
]


class Sentinel(Enum):
    """What a ListSource does in place of giving rows."""

    CRASH = "crash"
    END = "end"
    WAIT = "wait"


CRASH: Final[Literal[Sentinel.CRASH]] = Sentinel.CRASH
END: Final[Literal[Sentinel.END]] = Sentinel.END
WAIT: Final[Literal[Sentinel.WAIT]] = Sentinel.WAIT

Item: TypeAlias = "pa.RecordBatch | pa.Table | Sentinel"


class SimulatedCrash(RuntimeError):
    """A ListSource met CRASH; nothing is wrong."""


class Clock:
    """A clock that stands still until told otherwise.

    Args:
        now_ns: First time, ns since 1970 UTC.
    """

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._steady_ns = 0

    def now_ns(self) -> int:
        """Return the time, ns since 1970 UTC."""
        return self._now_ns

    def steady_ns(self) -> int:
        """Return by how much the clock was moved on; jumps do not count."""
        return self._steady_ns

    def wait(self, event: threading.Event, ns: int) -> bool:
        """Wait for an event, or until the clock has moved on by `ns`; returns whether it is set."""
        end = self._steady_ns + ns
        while not event.wait(0.001) and self._steady_ns < end:
            pass
        return event.is_set()

    def advance(self, ns: int) -> None:
        """Move the clock on by a duration in ns.

        Raises:
            ValueError: `ns` is negative.
        """
        if ns < 0:
            msg = f"Clock.advance: 'ns' must be at least 0, was {ns}; to jump back call set()"
            raise ValueError(msg)
        self._now_ns += ns
        self._steady_ns += ns

    def set(self, ns: int) -> None:
        """Jump to a time in ns since 1970 UTC, backwards too; steady_ns() stays."""
        self._now_ns = ns


class ListSource:
    """A source that gives a list of items, one by one, and can be read again from any position.

    A position is the number of items that are done with: reading from the position that came
    with a batch resumes after that batch. CRASH and END work once in the life of the source;
    afterwards every read passes over them, from whatever position it starts.

    Args:
        items: RecordBatches and Tables, each given as one RecordBatch; CRASH to raise
            SimulatedCrash; END to end a read although items follow; WAIT to give None, which is
            nothing for now.
        schema: Schema of all batches; None to take that of the first.

    Raises:
        TypeError: An item is none of these.
        ValueError: The schemas differ.
    """

    def __init__(self, items: Sequence[Item], schema: pa.Schema | None = None) -> None:
        self._items: list[pa.RecordBatch | Sentinel] = []
        self._schema = schema
        self._passed: set[int] = set()
        for number, item in enumerate(items):
            if isinstance(item, Sentinel):
                self._items.append(item)
                continue
            batch = _one_batch(f"ListSource: item {number}", item)
            self._schema = _same_schema(f"ListSource: item {number}", self._schema, batch.schema)
            self._items.append(batch)

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch.

        Raises:
            ValueError: There is no batch and no schema was given.
        """
        return _known_schema("ListSource", self._schema)

    def read(self, position: int = 0) -> Iterator[tuple[int, pa.RecordBatch | None]]:
        """Give the items after a position, each with the position that follows it.

        Shapes: pairs (position, batch); the batch is None for WAIT.

        Raises:
            SimulatedCrash: The read has come to a CRASH for the first time.
            ValueError: The position is not one of this source; raised at once.
        """
        if not 0 <= position <= len(self._items):
            msg = (
                f"ListSource.read: 'position' must be in [0, {len(self._items)}], "
                f"was {position}; give 0 or a position that read() gave"
            )
            raise ValueError(msg)
        return self._read(position)

    def _read(self, position: int) -> Iterator[tuple[int, pa.RecordBatch | None]]:
        for index in range(position, len(self._items)):
            item = self._items[index]
            if item is WAIT:
                yield index + 1, None
            elif not isinstance(item, Sentinel):
                yield index + 1, item
            elif index not in self._passed:
                self._passed.add(index)
                if item is END:
                    return
                msg = f"ListSource: CRASH at item {index}; read again from a committed position"
                raise SimulatedCrash(msg)


class ListSink:
    """A sink that keeps what it is given.

    Args:
        schema: Schema of all batches; None to take that of the first.

    Attributes:
        batches: The RecordBatches written so far, oldest first.
    """

    def __init__(self, schema: pa.Schema | None = None) -> None:
        self.batches: list[pa.RecordBatch] = []
        self._schema = schema

    @property
    def rows(self) -> int:
        """Number of rows written so far."""
        return sum(batch.num_rows for batch in self.batches)

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows, as one batch.

        Raises:
            TypeError: `batch` is neither a RecordBatch nor a Table.
            ValueError: The schema differs from that of earlier batches.
        """
        written = _one_batch("ListSink.write: argument 'batch'", batch)
        self._schema = _same_schema("ListSink.write: batch", self._schema, written.schema)
        self.batches.append(written)

    def table(self) -> pa.Table:
        """Return all rows in one table.

        Raises:
            ValueError: Nothing was ever written and no schema was given.
        """
        return pa.Table.from_batches(self.batches, _known_schema("ListSink", self._schema))

    def truncate(self, n_rows: int) -> None:
        """Keep the first rows only, as after a recovery to an earlier commit.

        Raises:
            ValueError: `n_rows` is negative or more than there are.
        """
        if not 0 <= n_rows <= self.rows:
            msg = (
                f"ListSink.truncate: 'n_rows' must be in [0, {self.rows}], was {n_rows}; "
                "give the number of rows at a commit"
            )
            raise ValueError(msg)
        kept: list[pa.RecordBatch] = []
        for batch in self.batches:
            if n_rows == 0:
                break
            kept.append(batch.slice(0, n_rows))
            n_rows -= kept[-1].num_rows
        self.batches = kept


def _one_batch(who: str, rows: object) -> pa.RecordBatch:
    if isinstance(rows, pa.RecordBatch):
        return rows
    if isinstance(rows, pa.Table):
        if rows.num_rows:
            return pa.concat_batches(rows.to_batches())
        return pa.RecordBatch.from_pylist([], schema=rows.schema)
    msg = f"{who} must be a RecordBatch or a Table, was {type(rows).__name__}; convert it"
    raise TypeError(msg)


def _same_schema(who: str, expected: pa.Schema | None, schema: pa.Schema) -> pa.Schema:
    if expected is None:
        return schema
    if expected.equals(schema):
        return expected
    wanted, was = (", ".join(f"{f.name} {f.type}" for f in each) for each in (expected, schema))
    msg = f"{who} must have the schema ({wanted}), had ({was}); cast it first"
    raise ValueError(msg)


def _known_schema(who: str, schema: pa.Schema | None) -> pa.Schema:
    if schema is None:
        msg = f"{who}: the schema must be known, was not; give 'schema' or a batch"
        raise ValueError(msg)
    return schema
