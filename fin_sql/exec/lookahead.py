"""Kernels whose output for a row depends on rows behind it: over whole inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from fin_sql.abi import Bound
from fin_sql.columns import Column, Slots
from fin_sql.states import Cancel, States


def rows_ahead(bound: Bound) -> int:
    """How many rows ahead of its own row the output of a kernel looks."""
    ahead = bound.kernel.spec.lookahead
    return ahead(bound.params) if ahead else 0


def run_whole(
    states: States, columns: Callable[[int], list[Column]], slots: Slots, cancel: Cancel | None
) -> pa.Array:
    """Move states on by all rows of an input, and give each row its own output.

    Args:
        states: empty.
        columns: the arguments, with so many missing rows behind them: what comes behind the last
            rows of each key, so that they too have an output.
        slots: the key of each row.
        cancel: stops it from another thread.
    """
    ahead = rows_ahead(states.bound)
    if not ahead:
        return states.run(columns(0), slots, cancel)
    behind = pa.array(np.tile(np.arange(slots.top, dtype=np.int32), ahead))
    all_slots = Slots.of(pa.concat_arrays([slots.array(), behind]), slots.top)
    found = states.run(columns(len(behind)), all_slots, cancel)
    return found.take(all_slots.later(ahead).slice(0, len(slots)))


def padded(array: pa.Array, rows: int) -> pa.Array:
    """An array with NULLs behind it."""
    return pa.concat_arrays([array, pa.nulls(rows, array.type)]) if rows else array
