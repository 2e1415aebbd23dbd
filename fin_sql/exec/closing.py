"""GROUP BY over an endless input: windows that close behind it, and rows that change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fin_sql.columns import Slots
from fin_sql.exec.aggregate import KernelAggregate
from fin_sql.exec.calls import Call
from fin_sql.exec.order import Piece
from fin_sql.exec.time_windows import TimeWindow

END = 2**63 - 1


class ClosingAggregate(KernelAggregate):
    """One row for each key and window, when the watermark has passed the window's end.

    Rows come in the order of (window_start, the first row of the group), as the bounded form gives
    them. What is closed is forgotten, and so are keys that have no open window.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        schema: pa.Schema,
        keys: Sequence[str],
        window: TimeWindow,
        **options: Any,
    ) -> None:
        super().__init__(calls, schema, keys, window, **options)
        self._closed_to: int | None = None

    def advance(self, input: int, watermark_ns: int) -> list[Piece]:  # noqa: D102
        assert self._timeline is not None
        groups = self._timeline.groups
        self._closed_to = watermark_ns
        edge = (watermark_ns + 1) // self._timeline.step if watermark_ns < END else END
        self._wait()
        if not groups.n_slots or groups.earliest_end > edge:
            return []
        starts, ends = (cells.to_numpy() for cells in groups.windows())
        closed = ends <= edge
        slots = np.flatnonzero(closed)
        rows = self.rows(slots[np.argsort(starts[slots], kind="stable")])
        self._keep(np.flatnonzero(~closed))
        return [Piece(rows)]

    def _keep(self, slots: Any) -> None:
        """Forget all groups but these."""
        assert self._timeline is not None
        live = Slots.of(pa.array(slots.astype(np.int32)), self.n_groups)
        for states in self._states:
            states.keep(live)
        self._timeline.groups.keep(live)
        used = np.unique(self._timeline.groups.keys_of().to_numpy())
        if self._plain and self._known > 1_024 + 4 * len(used):
            self._keep_keys(used)

    def _keep_keys(self, used: Any) -> None:
        """Forget all keys but these; they are numbered anew."""
        assert self._timeline is not None
        chosen = pa.array(used.astype(np.int32))
        for name in self._plain:
            self._values[name] = [self._key_values(name).take(chosen)]
        self._keys = self._keys.compacted(Slots.of(chosen, self._known))
        numbers = np.full(self._known, -1, np.int32)
        numbers[used] = np.arange(len(used))
        self._timeline.groups.renumber(pa.array(numbers))
        self._known = len(used)

    def watermark(self) -> int | None:  # noqa: D102
        if self._closed_to is None or self._timeline is None:
            return None
        if self._closed_to >= END:
            return END
        return self._timeline.first_open(self._closed_to + 1) - 1


class UpsertAggregate(KernelAggregate):
    """The row of each group that changed, in the order of the groups; without keys one row."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._given = False

    def process(self, input: int, piece: Piece) -> list[Piece]:  # noqa: D102
        _, slots = self.take(piece.batch)
        self._wait()
        touched = np.unique(slots.array().to_numpy())
        return self._out(touched)

    def advance(self, input: int, watermark_ns: int) -> list[Piece]:  # noqa: D102
        if self.keys or self._given:
            return []
        return self._out(np.zeros(1, np.int32))  # no rows yet: an aggregate of none

    def _out(self, touched: Any) -> list[Piece]:
        self._given = True
        return [Piece(self.rows(touched))]
