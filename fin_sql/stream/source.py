"""A source of an endless table: partitions of numbered messages that can be read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

# What could not become a row of its table, or came too late to be one.
DEAD_LETTERS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # the topic, or the file
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("event_time", pa.timestamp("ns")),  # of a late row
        pa.field("payload", pa.binary()),  # of a bad message, cut at some KiB
    ]
)


@dataclass(frozen=True)
class Polled:
    """Some messages of one partition, in the order of their offsets.

    Args:
        partition: which.
        rows: what they hold, as columns of the source's schema.
        offsets: int64, the offset of each row's message, ascending; rows of one message share it.
        next_offset: the position behind the last message, rows or not.
        bad: messages that are no rows, as DEAD_LETTERS.
        messages: how many there were, bad and passed over ones among them.
        passed: how many the table's condition left out.
        arrived_ns: the time of day at which the last one was here; 0 in bounded reads.
    """

    partition: int
    rows: pa.RecordBatch
    offsets: pa.Int64Array
    next_offset: int
    bad: pa.RecordBatch | None = None
    messages: int = 0
    passed: int = 0
    arrived_ns: int = 0


class StreamSource(Protocol):
    """Where the rows of a streaming table come from.

    A source is opened once, read by one thread, and closed. A position is the offset of the next
    message of a partition; reading again from a position gives the same messages.
    """

    schema: pa.Schema
    name: str

    def open(
        self,
        positions: Mapping[int, int] | None = None,
        *,
        bounded: bool = False,
        identity: str | None = None,
    ) -> None:
        """Begin to read.

        Args:
            positions: where each partition goes on; partitions that are not named, and None, begin
                where the table says (earliest, latest, ...).
            bounded: end at what is there now.
            identity: of the log that the positions are of, as `identity` gave it.

        Raises:
            SourceError: it cannot be reached.
            SourceChangedError: a position is not there any more, or the log is another one.
        """

    @property
    def identity(self) -> str | None:
        """Which log positions are of: to be kept with them, and given to open(). None: not known.

        A log that is deleted and made anew under the same name has another one, and may well have
        the old positions.
        """

    def partitions(self) -> Sequence[int]:
        """The partitions that are read, ascending; new ones may come with a poll."""

    def poll(self, max_messages: int, timeout_ns: int) -> list[Polled]:
        """The next messages; an empty list when none came within the time.

        At most one Polled for each partition.

        Raises:
            SourceError: it cannot be reached and waiting does not help.
        """

    def ended(self, partition: int) -> bool:
        """Whether a bounded read has given all of a partition."""

    def positions(self) -> dict[int, int]:
        """The position behind all that was given."""

    def lag(self) -> dict[int, int]:
        """Messages of each partition that are there and were not given, as far as is known."""

    def close(self) -> None:
        """Let go of everything; it may be called twice."""
