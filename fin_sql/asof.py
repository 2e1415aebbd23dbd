"""ASOF join of two tables from Python, with the semantics that SQL's ASOF JOIN will have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Slots, column
from fin_sql.errors import ArgumentTypeError, SqlError, UnknownNameError
from fin_sql.exec.asof_index import DIRECTIONS, TIES, AsofIndex
from fin_sql.exec.keys import Keys

Names = str | Sequence[str | tuple[str, str]]

ALIASES = {"backward": ">=", "forward": "<="}


def asof_join(
    left: Any,
    right: Any,
    *,
    on: str | tuple[str, str],
    by: Names = (),
    direction: str = ">=",
    tolerance: timedelta | int | None = None,
    how: Literal["left", "inner"] = "left",
    ties: Literal["last", "first", "error"] = "last",
    suffix: str = "_right",
) -> pa.Table:
    """Give each left row the right row of its key that is next to it in time.

    Shapes: one output row for each left row, in the order of the left rows (`how="inner"` leaves
    out those that meet nothing): the left columns, then the right ones without the keys and, where
    it has the same name on both sides, without the time.

    NULL keys, NULL times and NaN keys never match, and -0.0 is 0.0. A right row's own NULLs stay
    NULL. Neither side needs to be sorted; a right side that is in order of time, or of key and
    time, is not sorted either.

    Args:
        left: anything with `__arrow_c_stream__` (Arrow, Polars, DuckDB, DataFusion), or pandas,
            whose index is left out.
        right: the same.
        on: the time column, or a pair of left and right name; timestamps of any unit, or integers.
        by: key columns: names, or pairs of left and right name.
        direction: how the left time compares with the right one: ">=" ("backward"), ">", "<="
            ("forward"), "<", or "nearest" (the smaller distance; at equal distance the earlier).
        tolerance: the largest distance, inclusive: a timedelta, or an integer in nanoseconds (for
            integer times in their own unit).
        how: "left" keeps left rows that meet nothing, "inner" leaves them out.
        ties: which of several right rows of equal key and time is taken, in row order; "error"
            refuses a left row that meets several.
        suffix: added to right columns whose name the left side has too.

    Raises:
        SqlError: an argument is none of what it may be, or a tie under `ties="error"`.
        UnknownNameError: no such column.
        ArgumentTypeError: times that do not compare, or keys of different types.
    """
    direction = ALIASES.get(direction, direction)
    _one_of("direction", direction, (*DIRECTIONS, *ALIASES))
    _one_of("how", how, ("left", "inner"))
    _one_of("ties", ties, TIES)
    left, right = _table(left, "left"), _table(right, "right")
    left_on, right_on = (on, on) if isinstance(on, str) else on
    pairs = [(p, p) if isinstance(p, str) else p for p in ([by] if isinstance(by, str) else by)]
    for one, other in pairs:
        _comparable(
            _column(left, one, "left").type, _column(right, other, "right").type, one, other
        )
    keys = Keys()
    times = _times(left, right, left_on, right_on)
    right_slots = _slots(keys, right, [r for _, r in pairs], "right")
    left_slots = _slots(keys, left, [name for name, _ in pairs], "left")
    index = AsofIndex(right_slots, times[1])
    if not index.ordered:
        rows = pc.array_sort_indices(_column(right, right_on, "right"))
        right = right.take(rows)
        index = AsofIndex(
            _slots(keys, right, [r for _, r in pairs], "right"),
            _times(left, right, left_on, right_on)[1],
        )
    found = index.match(left_slots, times[0], direction, _nanoseconds(tolerance), ties)
    if how == "inner":
        met = found.is_valid()
        left, found = left.filter(met), found.filter(met)
    dropped = {r for _, r in pairs} | ({right_on} if left_on == right_on else set())
    payload = right.select([name for name in right.column_names if name not in dropped])
    matched = payload.take(found)
    names = [name + suffix if name in left.column_names else name for name in matched.column_names]
    fields = [*left.schema, *(f.with_name(n) for f, n in zip(matched.schema, names, strict=True))]
    return pa.table([*left.columns, *matched.columns], schema=pa.schema(fields))


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        msg = f"asof_join: '{name}' must be one of {', '.join(map(repr, allowed))}, was {value!r}"
        raise SqlError(msg)


def _table(data: Any, side: str) -> pa.Table:
    if hasattr(data, "reset_index"):  # pandas: its index is not a column
        return pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, (pa.Table, pa.RecordBatch)) or hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    msg = (
        f"asof_join: the {side} side must have __arrow_c_stream__ (Arrow, Polars, pandas, DuckDB, "
        f"DataFusion), was {type(data).__name__}"
    )
    raise ArgumentTypeError(msg)


def _column(table: pa.Table, name: str, side: str) -> pa.Array:
    if name not in table.column_names:
        raise UnknownNameError("column", name, table.column_names, who=f"asof_join, {side} side")
    chunked = table.column(name)
    return chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()


def _comparable(left: pa.DataType, right: pa.DataType, one: str, other: str) -> None:
    """Keys are equal by value, but a number is never a text, nor an integer a double."""
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean,
             types.is_date, types.is_time, types.is_timestamp)  # fmt: skip
    texts = (pa.string(), pa.large_string(), pa.string_view())

    def kind(of: pa.DataType) -> object:
        if types.is_dictionary(of):
            return kind(of.value_type)
        return "text" if of in texts else next((t for t in tests if t(of)), "binary")

    if types.is_null(left) or types.is_null(right) or kind(left) == kind(right):
        return
    msg = f"asof_join: key '{one}' is {left} and key '{other}' is {right}; cast one of them"
    raise ArgumentTypeError(msg)


def _times(left: pa.Table, right: pa.Table, left_on: str, right_on: str) -> tuple[Any, Any]:
    """The time columns of both sides as cells that compare."""
    arrays = _column(left, left_on, "left"), _column(right, right_on, "right")
    kinds = [
        (pa.types.is_timestamp(a.type) or pa.types.is_date(a.type), getattr(a.type, "tz", None))
        for a in arrays
    ]
    if kinds[0][0] != kinds[1][0] or (kinds[0][1] is None) != (kinds[1][1] is None):
        msg = (
            f"asof_join: the times must be both with a zone, both without, or both integers, were "
            f"{arrays[0].type} and {arrays[1].type}; cast one of them"
        )
        raise ArgumentTypeError(msg)
    return (
        column(arrays[0], "timestamp", f"asof_join: left time '{left_on}'"),
        column(arrays[1], "timestamp", f"asof_join: right time '{right_on}'"),
    )


def _slots(keys: Keys, table: pa.Table, names: Sequence[str], side: str) -> Slots:
    """The key of each row, -1 where a part of it is NULL or NaN."""
    columns = [_column(table, name, side) for name in names]
    slots = keys.intern(columns, len(table))
    nothing = None
    for array in columns:
        missing = pc.is_null(array, nan_is_null=pa.types.is_floating(array.type))
        if pc.any(missing).as_py():
            nothing = missing if nothing is None else pc.or_(nothing, missing)
    if nothing is None:
        return slots
    none = pa.scalar(-1, pa.int32())
    return Slots.of(pc.if_else(nothing, none, slots.array()), slots.top)


def _nanoseconds(tolerance: timedelta | int | None) -> int:
    """A tolerance as an integer, -1 for any distance."""
    if tolerance is None:
        return -1
    if isinstance(tolerance, int) and not isinstance(tolerance, bool):
        value = tolerance
    else:
        try:
            value = pa.scalar(tolerance, pa.duration("ns")).value
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
            msg = f"asof_join: 'tolerance' must be a timedelta or an integer, was {tolerance!r}"
            raise SqlError(msg) from None
    if value < 0:
        msg = f"asof_join: 'tolerance' must not be negative, was {tolerance!r}"
        raise SqlError(msg)
    return int(value)
