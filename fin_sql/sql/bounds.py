"""Conditions that leave out files, and parts of files, before they are read.

The filter that a condition is stays where it is: what is left out is only what it would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from fin_sql.errors import FinSqlError
from fin_sql.exec.bounds import Bound, Parted, bounded
from fin_sql.exec.fragment import Evaluator, params_in, scalar_value
from fin_sql.sql.plan import AsofJoin, Filter, KernelWindow, Node, Scan
from fin_sql.sql.text import Text

Params = Mapping[str, Any]

VOLATILE = {"random", "rand", "uuid"}
_CLOCK = {"now", "today", "current_date", "current_time", "current_timestamp"}
_OPERATORS = {">=": "<=", "<=": ">=", ">": "<", "<": ">", "=": "=", "==": "="}  # and swapped
# What binds more loosely than a comparison, or as it does.
_LOOSE = ("and", "or", "xor", "not", "is", "in", "like", "ilike", "between", "similar",
          *_OPERATORS, "<>", "!=")  # fmt: skip
MOST = 1_000  # values of an IN


# ---------------------------------------------------------------- files of a table


def pruned_files(node: Filter, evaluator: Evaluator, params: Params) -> Node:
    """Leave out the files for whose folders a condition on hive columns is not true."""
    scan = _scan_below(node)
    words = {token.text for token in Text(node.sql).tokens}
    source = scan.table.source if scan else None
    if not isinstance(source, Parted) or not node.uses or words & (VOLATILE | _CLOCK):
        return node
    assert scan is not None
    parts = source.parts()
    stored = {shown: name for name, shown in scan.columns}
    if parts is None or not {stored[name] for name in node.uses} <= set(parts.schema.names):
        return node
    given = pa.RecordBatch.from_arrays(
        [parts[stored[name]] for name in node.uses],
        schema=pa.schema([parts.schema.field(stored[n]).with_name(n) for n in node.uses]),
    )
    rows = evaluator.over_rows(given.schema, [("c", node.sql)], params_in(node.sql, params))
    try:
        (mask,) = rows.run(given)
    except FinSqlError:  # it is told where rows are read, if any is
        return node
    kept = [k for k, true in enumerate(mask.to_pylist()) if true]
    if len(kept) == len(parts):
        return node
    table = replace(scan.table, source=source.only(kept))
    of = scan.files[1] if scan.files else len(parts)
    return _over_scan(node, replace(scan, table=table, files=(len(kept), of)))


def _scan_below(node: Node) -> Scan | None:
    while isinstance(node, Filter):
        node = node.input
    return node if isinstance(node, Scan) else None


def _over_scan(node: Node, scan: Scan) -> Node:
    return scan if isinstance(node, Scan) else node.with_inputs([_over_scan(node.inputs[0], scan)])


# ---------------------------------------------------------------- conditions


@dataclass(frozen=True)
class Comparison:
    """A column between a comparison's operator, or IN, and constants."""

    name: str
    operator: str
    values: tuple[str, ...]


def comparisons(sql: str) -> list[Comparison]:
    """The comparisons that must be true where a condition is; none where it has another form."""
    text = Text(sql)
    tokens, end = text.tokens, len(text.tokens) - 1
    if end < 3:
        return []
    outside = list(_outside(text, 0, end))

    def constant(begin: int, stop: int) -> str | None:
        loose = any(tokens[i].says(*_LOOSE) for i in outside if begin <= i < stop)
        return None if loose or begin >= stop else text.written(begin, stop)

    first, second, last = tokens[0], tokens[1], tokens[end - 1]
    if first.names and second.says("between"):
        middle = next((i for i in outside if tokens[i].says("and")), end)
        low, high = constant(2, middle), constant(middle + 1, end)
        if low is None or high is None:
            return []
        return [Comparison(first.text, ">=", (low,)), Comparison(first.text, "<=", (high,))]
    if first.names and second.says("in") and text.closing.get(2) == end - 1:
        values = [text.written(*part) for part in text.split(3, end - 1, ",")]
        return [Comparison(first.text, "in", tuple(values))]
    if first.names and second.says(*_OPERATORS):
        value = constant(2, end)
        return [Comparison(first.text, second.text, (value,))] if value else []
    if last.names and tokens[end - 2].says(*_OPERATORS):
        value = constant(0, end - 2)
        return [Comparison(last.text, _OPERATORS[tokens[end - 2].text], (value,))] if value else []
    return []


def _outside(text: Text, begin: int, end: int) -> Iterator[int]:
    """The tokens that stand in no brackets."""
    i = begin
    while i < end:
        yield i
        i = text.closing.get(i, i) + 1


# ---------------------------------------------------------------- bounds


def bounded_scan(node: Filter, evaluator: Evaluator, params: Params) -> Node:
    """Bound a table by the comparisons of a condition on one column of it."""
    scan = _scan_below(node)
    if scan is None or len(node.uses) != 1:
        return node
    (name,) = node.uses
    kind = scan.schema.field(name).type
    timed = pa.types.is_timestamp(kind)
    source = scan.table.source
    if not timed and not (_counted(kind) and isinstance(source, Parted) and source.tells_bounds):
        return node
    stored = next(c for c, shown in scan.columns if shown == name)
    parts = source.parts() if isinstance(source, Parted) else None
    if parts is not None and stored in parts.schema.names:
        return node
    bounds = scan.bounds
    for one in comparisons(node.sql):
        values = _values(one, kind, evaluator, params) if one.name == name else None
        if values is None:
            continue
        new = Bound(stored, among=tuple(values), timed=timed)
        if one.operator != "in":
            (value,) = values
            low = value if one.operator in (">=", ">", "=", "==") else None
            high = value if one.operator in ("<=", "<", "=", "==") else None
            new = Bound(stored, low, high, timed=timed)
        bounds = bounded(bounds, new)
    return node if bounds == scan.bounds else _over_scan(node, replace(scan, bounds=bounds))


def _counted(kind: pa.DataType) -> bool:
    """Whether the statistics of files are in DataFusion's order: not so with NaN and -0.0."""
    whole = pa.types.is_signed_integer(kind) or pa.types.is_date32(kind)
    return bool(whole or pa.types.is_string(kind))


def _values(
    one: Comparison, kind: pa.DataType, evaluator: Evaluator, params: Params
) -> list[Any] | None:
    """The constants in the type of their column, times in nanoseconds; None where they are not."""
    words = {token.text for value in one.values for token in Text(value).tokens}
    lower = one.operator in (">=", ">")
    if words & VOLATILE or (words & _CLOCK and not lower) or len(one.values) > MOST:
        return None  # a bound from below by the clock is true for all later runs as well
    cast = _CASTS.get(kind, "")
    if pa.types.is_timestamp(kind):
        zone = "None" if kind.tz is None else f'Some("{kind.tz}")'
        cast = f"Timestamp(Nanosecond, {zone})"
    made = [f"arrow_cast({value}, '{cast}')" if cast else value for value in one.values]
    try:
        given = evaluator.constants([*one.values, *made], params_in(" ".join(one.values), params))
    except FinSqlError:
        return None
    found = []
    for raw, array in zip(given[: len(made)], given[len(made) :], strict=True):
        if not raw[0].is_valid and one.operator == "in":
            continue
        value = scalar_value(array) if _comparable(raw.type, kind) else None
        if value is None or not _fits(value, kind):
            return None
        found.append(value)
    return found or None


def _fits(value: Any, kind: pa.DataType) -> bool:
    if not pa.types.is_integer(kind):
        return True
    return bool(-(1 << (kind.bit_width - 1)) <= value < 1 << (kind.bit_width - 1))


_CASTS = {pa.date32(): "Date32"}


def _comparable(given: pa.DataType, kind: pa.DataType) -> bool:
    """Whether DataFusion compares a constant with a column in the type of the column."""
    if pa.types.is_integer(kind):
        return bool(pa.types.is_integer(given))
    text = pa.types.is_string(given) or pa.types.is_large_string(given)
    if pa.types.is_string(kind):
        return bool(text)
    if pa.types.is_date(given):  # in a zone a date is the midnight of UTC, and not so when cast
        return getattr(kind, "tz", None) is None
    return bool(text or (pa.types.is_timestamp(given) and pa.types.is_timestamp(kind)))


# ---------------------------------------------------------------- ASOF JOIN


def _time_range(node: Node, name: str) -> tuple[int | None, int | None] | None:
    while isinstance(node, (Filter, KernelWindow, AsofJoin)):
        node = node.inputs[0]
    if isinstance(node, Scan):
        stored = next((c for c, shown in node.columns if shown == name), None)
        for bound in node.bounds:
            if bound.timed and bound.column == stored and not bound.among:
                return bound.low, bound.high
    return None


def right_bounded(node: AsofJoin) -> Node:
    """Bound the right side of a join by the time range of its left side."""
    span = _time_range(node.left, node.on[0])
    scan = _scan_below(node.right)
    name = node.on[1]
    if span is None or scan is None or name not in scan.schema.names:
        return node
    if not pa.types.is_timestamp(scan.schema.field(name).type):
        return node
    low, high = span
    reach = node.tolerance_ns
    backward = node.direction in (">=", ">", "nearest")
    forward = node.direction in ("<=", "<", "nearest")
    first = None if low is None else low - (reach or 0) if backward else low
    last = None if high is None else high + (reach or 0) if forward else high
    if backward and reach is None:
        first = None
    if forward and reach is None:
        last = None
    if first is None and last is None:
        return node
    stored = next(c for c, shown in scan.columns if shown == name)
    bounds = bounded(scan.bounds, Bound(stored, first, last, timed=True))
    return replace(node, right=_over_scan(node.right, replace(scan, bounds=bounds)))
