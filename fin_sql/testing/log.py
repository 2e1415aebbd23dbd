"""A log in memory: partitions of messages that a test deals out as it likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from fin_sql.errors import SourceChangedError
from fin_sql.stream.source import Polled

__all__ = ["LogSource", "dealt"]


class LogSource:
    """A source whose partitions are tables; offsets are row numbers.

    Args:
        name: what messages call it.
        partitions: the rows of each.
        seed: chooses how many rows of which partitions come with a poll; None gives all that was
            asked for.
    """

    def __init__(self, name: str, partitions: Sequence[pa.Table], seed: int | None = None) -> None:
        self.name = name
        self.schema = partitions[0].schema
        self._logs = [_one(part.combine_chunks()) for part in partitions]
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._at: dict[int, int] = {}
        self._ends: dict[int, int] | None = None

    def open(
        self,
        positions: Mapping[int, int] | None = None,
        *,
        bounded: bool = False,
        identity: str | None = None,
    ) -> None:
        """Begin to read.

        Raises:
            SourceChangedError: a position lies behind the end.
        """
        given = positions or {}
        for number, log in enumerate(self._logs):
            at = given.get(number, 0)
            if not 0 <= at <= log.num_rows:
                msg = f"log '{self.name}': position {at} of partition {number} is not there"
                raise SourceChangedError(msg)
            self._at[number] = at
        self._ends = {k: log.num_rows for k, log in enumerate(self._logs)} if bounded else None

    @property
    def identity(self) -> str | None:
        """It is the only one."""
        return None

    def append(self, number: int, rows: pa.Table) -> None:
        """Add rows to a partition; a reader that is not bounded will see them."""
        both = [pa.Table.from_batches([self._logs[number]]), rows]
        self._logs[number] = _one(pa.concat_tables(both).combine_chunks())

    def partitions(self) -> Sequence[int]:
        """All of them."""
        return range(len(self._logs))

    def poll(self, max_messages: int, timeout_ns: int) -> list[Polled]:
        """The next rows of some partitions."""
        found = []
        for number in self.partitions():
            log, at = self._logs[number], self._at[number]
            left = (self._ends[number] if self._ends else log.num_rows) - at
            take = min(left, max_messages)
            if self._rng is not None:
                take = min(take, int(self._rng.integers(0, 40) * self._rng.integers(0, 2)))
                if left and self._rng.random() < 0.02:
                    take = left
            if take:
                self._at[number] = at + take
                offsets = pa.array(np.arange(at, at + take))
                rows = log.slice(at, take)
                found.append(Polled(number, rows, offsets, at + take, None, take, 0))
        if not found and self._rng is not None and not all(map(self.ended, self.partitions())):
            return self.poll(max_messages, timeout_ns)
        return found

    def ended(self, partition: int) -> bool:
        """Whether a bounded read has given all of a partition."""
        return self._ends is not None and self._at[partition] >= self._ends[partition]

    def positions(self) -> dict[int, int]:
        """The position behind all that was given."""
        return dict(self._at)

    def lag(self) -> dict[int, int]:
        """Rows that were not given yet."""
        return {k: log.num_rows - self._at.get(k, 0) for k, log in enumerate(self._logs)}

    def close(self) -> None:
        """Nothing is held."""


def dealt(
    rows: pa.Table, partitions: int, by: str | None = None, seed: int = 0, disorder_ns: int = 0
) -> list[pa.Table]:
    """Rows dealt out to partitions: by a key, or at random; each keeps their order.

    Args:
        rows: in the order of their time, which is the column `ts` (ns).
        partitions: how many.
        by: rows of one value go to one partition.
        seed: chooses.
        disorder_ns: rows are moved back by up to so much time: some come late.
    """
    rng = np.random.default_rng(seed)
    if by is None:
        where = rng.integers(0, partitions, rows.num_rows)
    else:
        names = rows[by].combine_chunks().dictionary_encode()
        homes = rng.integers(0, partitions, len(names.dictionary) + 1)
        where = homes[names.indices.fill_null(len(names.dictionary)).to_numpy()]
    if disorder_ns:
        arrival = rows["ts"].cast(pa.int64()).to_numpy() + rng.integers(
            0, disorder_ns, rows.num_rows
        )
        order = np.argsort(arrival, kind="stable")
        rows, where = rows.take(pa.array(order)), where[order]
    return [rows.filter(pa.array(where == k)) for k in range(partitions)]


def _one(table: pa.Table) -> pa.RecordBatch:
    if table.num_rows:
        return table.to_batches()[0]
    return pa.RecordBatch.from_arrays(
        [pa.nulls(0, f.type) for f in table.schema], schema=table.schema
    )
