"""What every operator keeps to, in batch and in stream alike."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.exec.order import Order, Piece

# State on its way out of an operator or into it. `part` says which computation it belongs to: a
# hash of its semantics, so that it survives an edit of the query around it. NULL is: gone.
CHANGES = pa.schema(
    [
        pa.field("part", pa.uint64(), nullable=False),
        pa.field("key_group", pa.uint16(), nullable=False),
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("state", pa.large_binary()),
    ]
)

END = 2**63 - 1  # the watermark of an input that gives no more rows
Reader = Callable[[], Iterable[pa.RecordBatch]]


def semantic_id(*parts: object) -> int:
    """The identity of a computation: the same for the same meaning, wherever it stands."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Operator(ABC):
    """One ordered computation with state per key.

    `process`, `advance` and `clock` return pieces in order, never call DataFusion, and are called
    from one thread. A driver that wants to survive a crash takes `changes` after some of them and
    gives them back by `load`. Everything but `process` has a default for operators without state.
    """

    id: int = 0
    inputs: tuple[str, ...] = ("rows",)
    _marks: Mapping[int, int] = {}

    def needs(self, input: int = 0) -> Order:
        """The order that the rows of an input must come in."""
        return Order()

    def gives(self) -> Order:
        """The order that the output comes in."""
        return self.needs()

    @abstractmethod
    def process(self, input: int, piece: Piece) -> list[Piece]:
        """Take rows of an input; returns the output that is complete.

        Raises:
            OrderError: a row came before one that it should have followed.
            KernelError: a kernel refused a row.
            CancelledError: the query was cancelled.
        """

    def advance(self, input: int, watermark_ns: int) -> list[Piece]:
        """Note that every row of an input with event time <= watermark has been given."""
        mark = max(watermark_ns, self._marks.get(input, watermark_ns))
        self._marks = {**self._marks, input: mark}
        return []

    def watermark(self) -> int | None:
        """Every output row with event time <= this has been given; None where that is unknown.

        As it stands, the least watermark of the inputs: right for an operator that holds no row
        back.
        """
        marks = [self._marks.get(input) for input in range(len(self.inputs))]
        known = [mark for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) else None

    def clock(self, now_ns: int) -> list[Piece]:
        """Note the time of day, for operators that wait for some of it."""
        return []

    def changes(self) -> pa.RecordBatch:
        """What changed since the last call, as a batch of CHANGES."""
        return empty()

    def load(self, key_groups: Collection[int], reader: Reader) -> None:  # noqa: B027  stateless
        """Take the state of some key groups, from batches of CHANGES, before any row.

        Raises:
            StateError: the state is foreign or damaged; nothing of it was taken.
        """

    def drop(self, key_groups: Collection[int]) -> None:  # noqa: B027  stateless
        """Forget some key groups: another worker owns them now."""

    def bytes_held(self) -> int:
        """Memory held by state and waiting rows."""
        return 0

    def evict(self, wanted: int) -> pa.RecordBatch:
        """Move at least `wanted` bytes of the coldest state out of memory.

        Returns:
            The state that left, as a batch of CHANGES; the operator asks for it again by the
            `fetch` that it was given, when one of its keys comes back.
        """
        return empty()

    def close(self) -> None:  # noqa: B027  stateless
        """Free everything."""


def last_states(changes: pa.Table) -> pa.Table:
    """The last state of each part and key, without those that are gone."""
    rows = changes.append_column("row", pa.array(range(len(changes)), pa.int64()))
    last = rows.group_by(["part", "key"]).aggregate([("row", "max")])["row_max"]
    return changes.take(last).filter(pc.field("state").is_valid())


def empty() -> pa.RecordBatch:
    """A batch of CHANGES without rows."""
    return pa.RecordBatch.from_pylist([], schema=CHANGES)
