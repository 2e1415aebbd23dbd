"""Messages of one partition as rows of a table, its METADATA columns and its dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fin_sql.catalog.decoding import Decoder
from fin_sql.catalog.kafka_columns import MetadataColumn, metadata_arrays
from fin_sql.errors import SqlError
from fin_sql.stream.source import DEAD_LETTERS

Numbers = npt.NDArray[np.int64]

MAX_PAYLOAD = 16 << 10


@dataclass(frozen=True)
class Taken:
    """Rows, the offset of each, dead letters, and how many messages were passed over."""

    rows: pa.RecordBatch
    offsets: pa.Int64Array
    bad: pa.RecordBatch | None
    passed: int


class Rows:
    """Makes rows of messages.

    Args:
        topic: for dead letters and the METADATA column.
        decoder: of the values.
        metadata: columns behind the decoder's.
        tombstones: bad, skip or null; see KafkaOptions.
        who: the table, for messages.

    Raises:
        SqlError: a column stands twice.
    """

    def __init__(
        self,
        topic: str,
        decoder: Decoder,
        metadata: Sequence[MetadataColumn],
        tombstones: str,
        who: str,
    ) -> None:
        self._topic, self._decoder, self._metadata = topic, decoder, tuple(metadata)
        self._tombstones = tombstones
        self._required = next((f.name for f in decoder.schema if not f.nullable), None)
        columns = [*decoder.schema, *(pa.field(m.name, m.type) for m in metadata)]
        self.schema = pa.schema(columns)
        names = self.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            msg = f"{who}: column '{twice}' stands twice; give one of them another name"
            raise SqlError(msg)

    def of(
        self, partition: int, offsets: Numbers, values: list[bytes | None], messages: Sequence[Any]
    ) -> Taken:
        """What some messages give.

        Args:
            partition: which they are of.
            offsets: theirs, ascending.
            values: theirs.
            messages: themselves, for METADATA columns.
        """
        reasons: dict[int, str] = {}
        passed = 0
        empty = [i for i, value in enumerate(values) if value is None] if None in values else []
        if empty:
            rows, source, reasons, passed = self._with_tombstones(values, empty)
        else:
            decoded = self._decoder.decode(values)
            rows, source, passed = decoded.rows, _int64(decoded.source), decoded.passed
            bad = decoded.bad
            if len(bad.messages):
                told = zip(bad.messages.to_pylist(), bad.reasons.to_pylist(), strict=True)
                reasons = dict(told)
        arrays, unfit = metadata_arrays(self._metadata, self._topic, partition, offsets, messages)
        if unfit:
            kept = ~np.isin(source, list(unfit))
            rows, source = rows.filter(pa.array(kept)), source[kept]
            reasons = unfit | reasons
        if arrays:
            at = pa.array(source)
            columns = [*rows.columns, *(array.take(at) for array in arrays)]
            rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        bad_rows = self._letters(partition, offsets, values, reasons) if reasons else None
        return Taken(rows, pa.array(offsets[source]), bad_rows, passed)

    def _with_tombstones(
        self, values: list[bytes | None], empty: list[int]
    ) -> tuple[pa.RecordBatch, Numbers, dict[int, str], int]:
        """Rows, their messages, what is bad and how many were passed over."""
        present = np.array([i for i, value in enumerate(values) if value is not None], np.int64)
        decoded = self._decoder.decode([value for value in values if value is not None])
        rows, source = decoded.rows, present[_int64(decoded.source)]
        told = zip(
            present[_int64(decoded.bad.messages)].tolist(),
            decoded.bad.reasons.to_pylist(),
            strict=True,
        )
        reasons, passed = dict(told), decoded.passed
        if self._tombstones == "skip":
            return rows, source, reasons, passed + len(empty)
        if self._tombstones == "bad":
            why = "a tombstone, which has no value; see the option 'tombstones'"
            return rows, source, reasons | dict.fromkeys(empty, why), passed
        if self._required is not None:
            why = f"a tombstone, and column '{self._required}' is NOT NULL"
            return rows, source, reasons | dict.fromkeys(empty, why), passed
        # A row of NULLs for each, among the others by the order of messages.
        both = np.concatenate((source, np.array(empty, np.int64)))
        order = np.argsort(both, kind="stable")
        taken = pa.array(order, mask=order >= rows.num_rows)
        return rows.take(taken), both[order], reasons, passed

    def _letters(
        self,
        partition: int,
        offsets: Numbers,
        values: list[bytes | None],
        reasons: dict[int, str],
    ) -> pa.RecordBatch:
        at = sorted(reasons)
        payloads = [value and value[:MAX_PAYLOAD] for value in (values[i] for i in at)]
        columns = [
            pa.repeat(self._topic, len(at)),
            pa.repeat(pa.scalar(partition, pa.int32()), len(at)),
            pa.array(offsets[at]),
            pa.array([reasons[i] for i in at], pa.string()),
            pa.nulls(len(at), pa.timestamp("ns")),
            pa.array(payloads, pa.binary()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=DEAD_LETTERS)


def _int64(array: pa.Array) -> Numbers:
    return np.asarray(array, np.int64)
