"""Rows as messages of a Kafka topic: JSON, a message a row, by key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.catalog.json_lines import encode_rows, encode_values
from fin_sql.catalog.kafka_client import TopicLink
from fin_sql.catalog.kafka_options import KafkaSinkOptions
from fin_sql.errors import ArgumentTypeError, KernelError, SourceError, SqlError, UnknownNameError
from fin_sql.stream.time import Clock, SystemClock

OPERATION = "__op"  # of an upsert relation: what a row does to its key
OPERATIONS = ("insert", "update", "delete")
_TURN = 0.05  # seconds that a writer waits for room before it looks again


class KafkaSink:
    """A topic that rows are written to.

    Rows of one key keep their order. A batch is written when flush() has returned: at least once,
    where a writer that died begins again at its last flush. With the column `__op` the topic is a
    table of the latest row per key: `delete` writes a tombstone.

    Args:
        name: of the sink.
        options: what and where.
        schema: of the rows.
        clock: for deadlines.

    Raises:
        UnknownNameError: a column of the options is not there.
        ArgumentTypeError: a column cannot be what the options make of it.
        SqlError: rows of an upsert relation without a key.
    """

    def __init__(
        self,
        name: str,
        options: KafkaSinkOptions,
        schema: pa.Schema,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.name, self.options, self.schema = name, options, schema
        self._who = f"Kafka sink '{name}'"
        self._clock = clock or SystemClock()
        self._upsert = OPERATION in schema.names
        self._check()
        self._link: TopicLink | None = None
        self._producer: Any = None
        self._failed: str | None = None
        self.messages = 0  # given to librdkafka since open()

    def __repr__(self) -> str:
        return f"KafkaSink({self.name!r}, {self.options!r})"

    def _check(self) -> None:
        options, schema = self.options, self.schema
        for column in (*options.key, *filter(None, [options.timestamp])):
            if column not in schema.names:
                raise UnknownNameError("column", column, schema.names, who=self._who)
        if self._upsert and not options.key:
            msg = (
                f"{self._who}: rows that are updated need a key, and there was none; "
                "write key = 'column'"
            )
            raise SqlError(msg)
        if options.timestamp:
            kind = schema.field(options.timestamp).type
            if not pa.types.is_timestamp(kind):
                who = f"{self._who}: timestamp = '{options.timestamp}'"
                raise ArgumentTypeError(f"{who} must be a TIMESTAMP, was {kind}")
        nothing = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
        encode_rows(nothing)  # refuses types that have no form in JSON

    # ------------------------------------------------------------ opening

    def open(self) -> None:
        """Connect; the topic must be there.

        Raises:
            SourceError: the broker cannot be reached, or there is no such topic.
        """
        self.close()
        self._failed, self.messages = None, 0
        link = TopicLink(self.options, self._who, self._clock)
        link.describe()
        self._producer = link.producer(self._config())
        self._link = link

    def _config(self) -> dict[str, Any]:
        options = self.options
        return {
            "enable.idempotence": True,  # a message that is sent again is not written again
            "partitioner": "murmur2_random",  # as Java's clients do
            "linger.ms": options.linger_ms,
            "compression.type": options.compression,
            "message.timeout.ms": options.timeout_ms,
            "queue.buffering.max.kbytes": max(1, options.queue_bytes // 1024),
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,  # of a message that arrives nothing is heard
            "on_delivery": self._not_delivered,
        }

    def _not_delivered(self, error: Any, message: Any) -> None:
        if self._failed is None:
            self._failed = self.options.masked(
                f"{self._who}: a message of partition {message.partition()} was not written to "
                f"topic '{self.options.topic}': {error.str()}"
            )

    # ------------------------------------------------------------ writing

    def write(self, rows: pa.RecordBatch) -> None:
        """Send rows; waits while too much is on its way.

        Raises:
            SourceError: earlier rows could not be written; open it again.
            KernelError: a row has a time, a key or an operation that a message cannot have.
        """
        if not rows.schema.equals(self.schema):
            msg = f"{self._who}: rows must have the columns {self.schema}, had {rows.schema}"
            raise ArgumentTypeError(msg)
        values, keys, times = self._values(rows), self._keys(rows), self._times(rows)
        producer, link = self._opened()
        produce, topic, at, n = producer.produce, self.options.topic, 0, rows.num_rows
        while at < n:
            try:
                for at in range(at, n):  # noqa: B020  from where the queue was full
                    if times is None:
                        produce(topic, values[at], keys[at])
                    else:
                        produce(topic, values[at], keys[at], timestamp=times[at])
                at = n
            except BufferError:  # the broker is slower than we are
                producer.poll(_TURN)
                self._check_failures()
            except link.kafka.KafkaException as error:
                self._failed = self.options.masked(f"{self._who}: row {at}: {error.args[0].str()}")
                self._check_failures()
        self.messages += n
        producer.poll(0)
        self._check_failures()

    def _values(self, rows: pa.RecordBatch) -> list[bytes | None]:
        options = self.options
        if not self._upsert:
            found: list[bytes | None] = encode_rows(rows, options.times, options.nan).to_pylist()
            return found
        operations = rows[OPERATION].cast(pa.string())
        known = pc.is_in(operations, pa.array(OPERATIONS))
        if not pc.all(known).as_py():
            row = known.index(False).as_py()
            was = operations[row].as_py()
            msg = f"{self._who}: {OPERATION} must be one of {', '.join(OPERATIONS)}, was {was!r}"
            raise KernelError(f"{msg} in row {row}", row)
        encoded = encode_rows(rows.drop_columns(OPERATION), options.times, options.nan)
        gone = pc.equal(operations, "delete")
        found = pc.if_else(gone, pa.scalar(None, encoded.type), encoded).to_pylist()
        return found

    def _keys(self, rows: pa.RecordBatch) -> list[bytes | None]:
        key = self.options.key
        if not key:
            return [None] * rows.num_rows
        if len(key) > 1:
            found: list[bytes | None] = encode_rows(
                rows.select(list(key)), self.options.times
            ).to_pylist()
            return found
        column = rows[key[0]]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if self._upsert and column.null_count:
            row = column.is_null().index(True).as_py()
            msg = f"{self._who}: the key '{key[0]}' of a row that is updated must not be NULL"
            raise KernelError(f"{msg}, was in row {row}", row)
        if column.type in (pa.string(), pa.large_string(), pa.string_view()):
            found = column.cast(pa.string()).cast(pa.binary()).to_pylist()
        elif column.type in (pa.binary(), pa.large_binary(), pa.binary_view()):
            found = column.to_pylist()
        else:  # what stands in the message; a key needs no quotes
            found = [
                value and value.strip(b'"')
                for value in encode_values(column, self.options.times).to_pylist()
            ]
        return found

    def _times(self, rows: pa.RecordBatch) -> list[int] | None:
        """The time of each message, ms; 0: when it is sent."""
        if not self.options.timestamp:
            return None
        column = rows[self.options.timestamp]
        counts = column.cast(pa.int64()).fill_null(0).to_numpy()
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
        ms = counts * (1000 // per_second) if per_second < 1000 else counts // (per_second // 1000)
        early = np.flatnonzero(ms < 0)
        if len(early):
            msg = (
                f"{self._who}: the time of a message must be 1970 or later, was "
                f"{column[early[0]]} in row {early[0]} of column '{self.options.timestamp}'"
            )
            raise KernelError(msg, int(early[0]))
        times: list[int] = ms.tolist()
        return times

    def flush(self) -> None:
        """Wait until all that was written is there.

        Raises:
            SourceError: some of it could not be written; open it again, and write it again.
        """
        producer, _ = self._opened()
        while producer.flush(1):
            self._check_failures()
        self._check_failures()

    # ------------------------------------------------------------ state

    def _opened(self) -> tuple[Any, TopicLink]:
        if self._producer is None or self._link is None:
            raise SourceError(f"{self._who}: it must be open; call open() first")
        self._check_failures()
        return self._producer, self._link

    def _check_failures(self) -> None:
        if self._link is not None:
            self._link.check()
        if self._failed is not None:
            raise SourceError(f"{self._failed}; open the sink again, and write from its last flush")

    def close(self) -> None:
        """Let go of everything; what was not flushed may or may not be written."""
        producer, self._producer, self._link = self._producer, None, None
        if producer is not None:
            producer.purge()
            producer.flush(1)
