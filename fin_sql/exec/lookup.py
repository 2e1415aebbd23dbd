"""LookupJoin: each row with the rows of a bounded table that have its keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fin_sql.exec.asof_keys import key_slots
from fin_sql.exec.keys import Keys
from fin_sql.exec.operator import Operator
from fin_sql.exec.order import Piece
from fin_sql.states import Cancel

Rows = npt.NDArray[np.int64]
NOTHING = -1


@dataclass(frozen=True)
class Condition:
    """What pairs of rows must fulfil beside equal keys.

    Args:
        holds: takes the columns of some pairs, and gives whether it is true for each.
        schema: of these columns, whose names are those of either side.
    """

    holds: Callable[[pa.RecordBatch], pa.BooleanArray]
    schema: pa.Schema


class LookupJoin(Operator):
    """Appends the columns of the right rows that have a row's keys; rows keep their order.

    Args:
        left: columns of the rows that pass.
        right: the bounded rows; those of one key come out in their order.
        by: pairs of key columns. NULL and NaN meet nothing.
        how: "inner" leaves out rows that meet nothing, "left" keeps them.
        condition: of pairs of rows with equal keys.
        cancel: stops it from another thread.
    """

    def __init__(
        self,
        left: pa.Schema,
        right: pa.Table,
        by: Sequence[tuple[str, str]],
        how: str = "inner",
        *,
        condition: Condition | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.by, self.how, self.condition, self.cancel = tuple(by), how, condition, cancel
        self._names = [*left.names, *right.schema.names]
        columns = [column.combine_chunks() for column in right.columns]
        self._right = pa.RecordBatch.from_arrays(columns, schema=right.schema)
        self._keys = Keys()
        slots = key_slots(self._keys, self._right, [name for _, name in self.by]).array().to_numpy()
        self._keys.added()
        self._known = int(self._keys.n_slots)
        met = np.flatnonzero(slots >= 0)
        self._rows = met[np.argsort(slots[met], kind="stable")]  # by key, then in their order
        # One more for what is not known: it has no rows.
        self._counts = np.bincount(slots[met], minlength=self._known + 1).astype(np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self._unique = bool((self._counts <= 1).all())
        self._one = np.full(self._known + 1, NOTHING, np.int64)
        self._one[slots[met]] = met

    def process(self, input: int, piece: Piece) -> list[Piece]:  # noqa: D102
        batch = piece.batch
        if self.cancel is not None:
            self.cancel.check()
        if not batch.num_rows:
            return []
        slots = self._slots(batch)
        if self.condition is not None:
            left, right = self._fulfilled(batch, *self._pairs(slots))
        elif self._unique:
            left, right = np.arange(len(slots)), self._one[slots]
        else:
            left, right = self._pairs(slots)
        if self.how == "left" and (self.condition is not None or not self._unique):
            left, right = _with_lonely(left, right, len(slots))
        elif self.how == "inner" and self.condition is None and self._unique:
            met = np.flatnonzero(right >= 0)
            left, right = met, right[met]
        return [Piece(self._joined(batch, left, right))] if len(left) else []

    def _slots(self, batch: pa.RecordBatch) -> Rows:
        """The key of each row, the one behind all known ones where it meets nothing."""
        slots = key_slots(self._keys, batch, [name for name, _ in self.by]).array().to_numpy()
        added = self._keys.added()
        if len(added):  # what is not known stays unknown
            self._keys.drop(added)
        found: Rows = np.where((slots >= 0) & (slots < self._known), slots, self._known)
        return found

    def _pairs(self, slots: Rows) -> tuple[Rows, Rows]:
        """All pairs of rows with equal keys: in the order of the left, then of the right rows."""
        counts = self._counts[slots]
        left = np.repeat(np.arange(len(slots)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(self._starts[slots], counts) + np.arange(len(left)) - first
        return left, self._rows[places]

    def _fulfilled(self, batch: pa.RecordBatch, left: Rows, right: Rows) -> tuple[Rows, Rows]:
        """The pairs for which the condition is true."""
        assert self.condition is not None
        if not len(left):
            return left, right
        names = batch.schema.names
        columns = []
        for field in self.condition.schema:
            if field.name in names:
                column = batch[field.name].take(pa.array(left))
            else:
                column = self._right[field.name].take(pa.array(right))
            columns.append(column if column.type == field.type else column.cast(field.type))
        pairs = pa.RecordBatch.from_arrays(columns, schema=self.condition.schema)
        mask = self.condition.holds(pairs).fill_null(False).to_numpy(zero_copy_only=False)
        return left[mask], right[mask]

    def _joined(self, batch: pa.RecordBatch, left: Rows, right: Rows) -> pa.RecordBatch:
        if len(left) != batch.num_rows or (left != np.arange(len(left))).any():
            batch = batch.take(pa.array(left))
        at = pa.array(right, mask=right < 0)
        columns = [column.take(at) for column in self._right.columns]
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], self._names)

    def bytes_held(self) -> int:  # noqa: D102
        index = self._rows.nbytes + self._counts.nbytes + self._starts.nbytes + self._one.nbytes
        return int(self._right.nbytes + index + self._keys.bytes_held)


def _with_lonely(left: Rows, right: Rows, rows: int) -> tuple[Rows, Rows]:
    """The pairs, and each row that is in none of them beside nothing, in the order of the rows."""
    lonely = np.flatnonzero(np.bincount(left, minlength=rows) == 0)
    if not len(lonely):
        return left, right
    both = np.concatenate([left, lonely])
    order = np.argsort(both, kind="stable")
    found = np.concatenate([right, np.full(len(lonely), NOTHING)])
    return both[order], found[order]
