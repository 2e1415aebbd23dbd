"""Arrow outputs against each other, bit for bit, and against plain Python values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def assert_same_bits(found: pa.Array, wanted: pa.Array, what: str) -> None:
    """Raise AssertionError with the first row in which two arrays differ."""
    assert found.type == wanted.type, f"{what}: type {found.type}, wanted {wanted.type}"
    assert len(found) == len(wanted), f"{what}: {len(found)} rows, wanted {len(wanted)}"
    for left, right in zip(_leaves(found), _leaves(wanted), strict=True):
        differs = np.nonzero(left != right)[0]
        if len(differs):
            row = int(differs[0])
            msg = f"{what}: row {row} is {found[row].as_py()!r}, wanted {wanted[row].as_py()!r}"
            raise AssertionError(msg)


def _leaves(array: pa.Array) -> list[Any]:
    """What there is, and its bits, of a flat array or of each field of a STRUCT."""
    if pa.types.is_list(array.type):
        lengths = array.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
        return [lengths, *_leaves(array.flatten())]
    if pa.types.is_struct(array.type):
        there = array.is_valid().to_numpy(zero_copy_only=False)
        return [there, *(leaf for child in array.flatten() for leaf in _leaves(child))]
    there = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(array.type):
        return [there, np.array(array.fill_null("").to_pylist(), dtype=object)]
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return [there, values.view(np.int64) if values.dtype == np.float64 else values]


def assert_close(
    found: Sequence[Any],
    wanted: Sequence[Any],
    tolerance: float,
    what: str,
    among: Sequence[Any] = (),
) -> None:
    """Raise AssertionError at the first value that is off by more than a relative tolerance.

    Values are None, numbers, texts, dicts or lists of them. Numbers of one place are also given
    `tolerance` times the largest of that place in `wanted` and `among`, for those that should be
    near 0.
    """
    assert len(found) == len(wanted), f"{what}: {len(found)} rows, wanted {len(wanted)}"
    floors: dict[str, float] = {}
    for value in (*wanted, *among):
        for place, number in _numbers(value):
            floors[place] = max(floors.get(place, 0.0), abs(number) * tolerance)
    for row, (left, right) in enumerate(zip(found, wanted, strict=True)):
        if not _close(left, right, tolerance, floors, ""):
            raise AssertionError(f"{what}: row {row} is {left!r}, wanted {right!r}")


def _numbers(value: Any, place: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _numbers(inner, name)]
    if isinstance(value, list):
        return [pair for inner in value for pair in _numbers(inner, place)]
    if isinstance(value, float) and math.isfinite(value):
        return [(place, value)]
    return []


def _close(left: Any, right: Any, tolerance: float, floors: dict[str, float], place: str) -> bool:
    if isinstance(right, dict) and isinstance(left, dict):
        return left.keys() == right.keys() and all(
            _close(left[name], right[name], tolerance, floors, name) for name in right
        )
    if isinstance(right, list) and isinstance(left, list):
        return len(left) == len(right) and all(
            _close(a, b, tolerance, floors, place) for a, b in zip(left, right, strict=True)
        )
    if isinstance(right, float) and isinstance(left, (int, float)):
        return abs(left - right) <= max(tolerance * abs(right), floors.get(place, 0.0))
    return bool(left == right)
