"""Data for the checks, drawn from what a kernel declares about its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fin_sql.columns import ARROW_TYPES
from fin_sql.spec import Arg, Spec

Rows = list[pa.Array]

START_NS = 1_767_600_000_000_000_000  # 2026-01-05


BOUNDS = {"high": np.maximum, "low": np.minimum}


def draw(
    spec: Spec,
    rng: np.random.Generator,
    rows: int,
    missing: float = 0.0,
    params: Mapping[str, Any] | None = None,
) -> Rows:
    """Argument columns of a kernel.

    Shapes: one array of `rows` for each argument. Doubles have ties and repeated values.

    Args:
        spec: says which domains the arguments have.
        rng: the source of all chance.
        rows: how many.
        missing: share of values that are NULL, and in doubles NaN or infinite as often.
        params: values of a unit that one of these has come in its size: volumes of about a
            bucket, prices about a limit.
    """
    sizes = {}
    for param in reversed(spec.params):
        value = (params or {}).get(param.name)
        if unit_powers(param.unit) and isinstance(value, float) and 0.0 < value < np.inf:
            sizes[param.unit] = value
    drawn = [_values(arg, rng, rows) for arg in spec.args]
    _make_bars(spec, drawn)
    columns = [
        _column(arg, values, rng, missing) for arg, values in zip(spec.args, drawn, strict=True)
    ]
    return [
        _times(array, sizes[arg.unit] / (100.0 if arg.domain == "positive" else 1.0))
        if arg.type == "float64" and arg.unit in sizes
        else array
        for array, arg in zip(columns, spec.args, strict=True)
    ]


def _make_bars(spec: Spec, drawn: list[Any]) -> None:
    """Let highs and lows enclose the prices of their row, but for a few."""
    prices = [
        v for arg, v in zip(spec.args, drawn, strict=True) if arg.domain in ("positive", *BOUNDS)
    ]
    for k, arg in enumerate(spec.args):
        if arg.domain in BOUNDS:
            bound = BOUNDS[arg.domain].reduce(prices)
            drawn[k] = np.where(np.arange(len(bound)) % 41 == 40, drawn[k], bound)


def _column(arg: Arg, values: Any, rng: np.random.Generator, missing: float) -> pa.Array:
    rows = len(values)
    absent = rng.random(rows) < missing
    if arg.type == "float64":
        odd = rng.choice([np.nan, np.inf, -np.inf, 0.0], rows, p=[0.2, 0.15, 0.15, 0.5])
        values = np.where(absent & (odd != 0.0), odd, values)
        absent &= odd == 0.0
    array = pa.array(values, mask=absent)
    return array.cast(ARROW_TYPES[arg.type])


def _values(arg: Arg, rng: np.random.Generator, rows: int) -> Any:
    if arg.type == "bool":
        return rng.random(rows) < 0.5
    if arg.type == "timestamp":
        return START_NS + np.cumsum(rng.integers(0, 3, rows)) * 250_000_000
    if arg.domain == "sign":
        signs = rng.choice([-1.0, 0.0, 1.0], rows, p=[0.45, 0.1, 0.45])
        return signs.astype(np.int64) if arg.type == "int64" else signs
    if arg.type == "int64":
        return rng.integers(int(arg.domain == "positive"), 50, rows)
    steps = np.round(rng.normal(size=rows), 1)
    if arg.domain in ("positive", *BOUNDS):
        return np.maximum(np.round(100.0 + np.cumsum(steps), 2), 0.01)
    before, chance = np.roll(steps, 1), rng.random(rows)  # some stay as they were, some turn
    return np.where(chance < 0.2, before, np.where(chance < 0.4, -before, steps))


def scaled(columns: Rows, spec: Spec, factor: float, unit: str) -> Rows:
    """The columns with everything of one unit letter made larger."""
    found = []
    for array, arg in zip(columns, spec.args, strict=True):
        power = unit_powers(arg.unit).get(unit, 0)
        if power and arg.type == "float64":
            array = _times(array, factor**power)
        found.append(array)
    return found


def _times(array: pa.Array, factor: float) -> pa.Array:
    numbers = array.to_numpy(zero_copy_only=False) * factor
    return pa.array(numbers, mask=array.is_null().to_numpy(zero_copy_only=False))


def scaled_params(
    spec: Spec, params: Mapping[str, Any], factor: float, unit: str
) -> dict[str, Any]:
    """The parameters with everything of one unit letter made larger."""
    powers = {p.name: unit_powers(p.unit).get(unit, 0) for p in spec.params}
    return {
        name: value * factor ** powers[name] if powers[name] else value
        for name, value in params.items()
    }


def unit_powers(unit: str | None) -> dict[str, int]:
    """The letters of a unit and their powers: "p*v" is p and v, "1/p" is p to the -1."""
    powers: dict[str, int] = {}
    if unit is None:
        return powers
    sign = 1
    for part in unit.replace("/", " / ").replace("*", " ").split():
        if part == "/":
            sign = -1
            continue
        letter, _, power = part.partition("^")
        if letter != "1":
            powers[letter] = powers.get(letter, 0) + sign * int(power or 1)
        sign = 1
    return powers


def cuts(rng: np.random.Generator, rows: int, pieces: int) -> list[tuple[int, int]]:
    """Cut rows into pieces, some of them empty: begin and end of each."""
    edges = sorted([0, rows, *(int(edge) for edge in rng.integers(0, rows + 1, pieces - 1))])
    return list(zip(edges[:-1], edges[1:], strict=True))


def part(columns: Sequence[pa.Array], begin: int, end: int) -> Rows:
    """Some of the rows."""
    return [column.slice(begin, end - begin) for column in columns]
