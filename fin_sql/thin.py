"""Fewer marks for the same picture: what is kept shows every extreme and every gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MARKS = 5_000  # of a line, or of a cloud of points
CANDLES = 1_000
_MINUTE, _DAY = 60 * 10**9, 86_400 * 10**9
LENGTHS = (
    *(n * unit for unit in (10**6, 10**9, _MINUTE) for n in (1, 2, 5, 10, 15, 20, 30)),
    *(n * 60 * _MINUTE for n in (1, 2, 3, 4, 6, 8, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 28)),
)
GRID = (1_200, 600)  # spots of a cloud, at the finest


def line(x: Any, y: Floats, marks: int = MARKS) -> Integers:
    """The indexes of the rows that draw a line: in order, and at most so many.

    The axis is cut into as many slices as there are pixels. Of each the first, the least, the
    greatest and the last value stay (M4), which draws the same pixels as all rows do; and a missing
    value where a gap is as wide as a slice.

    Args:
        x: ascending numbers.
        y: values; what is not finite is missing.
        marks: at most.

    Source: Jugel, Jerzak, Hackenbroich and Markl (2014), M4, VLDB 7(10).
    """
    if len(x) <= marks:
        return np.arange(len(x))
    slices = max(1, marks // 5)
    width = float(x[-1] - x[0]) / slices or 1.0
    place = np.minimum(((x - x[0]) / width).astype(np.int64), slices - 1)
    there = np.flatnonzero(np.isfinite(y))
    if not len(there):
        return np.arange(1)
    values, of = y[there], place[there]
    begins = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
    ends = np.r_[begins[1:], len(there)]
    kept = [there[begins], there[ends - 1]]
    for begin, end in zip(begins, ends, strict=True):
        part = values[begin:end]
        kept.append(there[[begin + int(part.argmin()), begin + int(part.argmax())]])
    after = np.flatnonzero(np.diff(there) > 1)  # a gap stands behind each of these
    wide = x[there[after + 1]] - x[there[after]] >= width
    kept.append(there[after[wide]] + 1)
    return np.unique(np.concatenate(kept))


def cloud(x: Floats, y: Floats, marks: int = MARKS) -> Integers:
    """The indexes of the points that draw a cloud: one for each spot, and all four extremes.

    Spots are as small as the number of marks allows.

    Args:
        x: finite numbers.
        y: finite numbers.
        marks: at most.
    """
    if len(x) <= marks:
        return np.arange(len(x))
    across, up = _slices(x, GRID[0]), _slices(y, GRID[1])
    first = np.unique(across * GRID[1] + up, return_index=True)[1]
    kept, coarser = first, 1
    while len(kept) > marks - 4:
        coarser += 1
        spots = across[first] // coarser * GRID[1] + up[first] // coarser
        kept = first[np.unique(spots, return_index=True)[1]]
    edges = [x.argmin(), x.argmax(), y.argmin(), y.argmax()]
    return np.unique(np.r_[kept, edges])


def _slices(values: Floats, count: int) -> Integers:
    low, high = float(values.min()), float(values.max())
    part = (values - low) / ((high - low) or 1.0)
    return np.minimum((part * count).astype(np.int64), count - 1)


def candles(x: Any, bars: dict[str, Floats], step: float, most: int = CANDLES) -> dict[str, Any]:
    """Neighbouring candles as one, where there are more than so many.

    Args:
        x: ascending times in ns.
        bars: open, high, low, close and perhaps volume, all finite.
        step: between neighbours, in ns.
        most: candles that stay, about.

    Returns:
        The same columns, `x`, the time of the first candle of each, `rows`, how many it is, and
        `step`, the time that one stands for.
    """
    length = step
    begins = np.arange(len(x))
    if len(x) > most:
        length = _plain_length(step * -(-len(x) // most))
        place = x // int(length)
        begins = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    ends = np.r_[begins[1:], len(x)] - 1
    found: dict[str, Any] = {
        "x": x[begins],
        "step": length,
        "rows": ends - begins + 1,
        "open": bars["open"][begins],
        "high": np.maximum.reduceat(bars["high"], begins),
        "low": np.minimum.reduceat(bars["low"], begins),
        "close": bars["close"][ends],
    }
    if "volume" in bars:
        found["volume"] = np.add.reduceat(np.nan_to_num(bars["volume"]), begins)
    return found


def _plain_length(least: float) -> float:
    """A length of time that clocks have: of those the first that is long enough."""
    return next((length for length in LENGTHS if length >= least), least)
