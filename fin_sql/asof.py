"""ASOF join of two tables from Python, with the semantics of SQL's ASOF JOIN."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import ArgumentTypeError, SqlError, UnknownNameError
from fin_sql.exec.asof import AsofJoin
from fin_sql.exec.asof_index import DIRECTIONS, TIES
from fin_sql.exec.asof_keys import is_timed, keys_compare, times_compare
from fin_sql.exec.batch import bounded
from fin_sql.exec.viewless import viewless_schema, viewless_table

Names = str | Sequence[str | tuple[str, str]]

BATCH = 65_536
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
) -> pa.Table | pa.RecordBatchReader:
    """Give each left row the right row of its key that is next to it in time.

    Shapes: one output row for each left row, in the order of the left rows (`how="inner"` leaves
    out those that meet nothing): the left columns, then the right ones without the keys and, where
    it has the same name on both sides, without the time.

    NULL keys, NULL times and NaN keys never match, and -0.0 is 0.0. A right row's own NULLs stay
    NULL. Neither side needs to be sorted; a right side that is in order of time, or of key and
    time, is not sorted either.

    Two `pyarrow.RecordBatchReader`s, endless or not, give a third, which reads them as it is read:
    both must come in order of time, and the last right row of each key is all that is held; with
    "<=", "<" and "nearest", which then need a tolerance, also the rows within it.

    Args:
        left: anything with `__arrow_c_stream__` (Arrow, Polars, DuckDB, DataFusion, a query of
            `fin_sql.connect()`), or pandas, whose index is left out.
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
        OrderError: a row of a reader comes before the one before it.
    """
    direction = ALIASES.get(direction, direction)
    _one_of("direction", direction, (*DIRECTIONS, *ALIASES))
    _one_of("how", how, ("left", "inner"))
    _one_of("ties", ties, TIES)
    endless = [isinstance(side, pa.RecordBatchReader) for side in (left, right)]
    if all(endless):
        left, right = (side.cast(viewless_schema(side.schema)) for side in (left, right))
    else:
        left, right = _table(left, "left"), _table(right, "right")
    left_on, right_on = (on, on) if isinstance(on, str) else on
    pairs = [(p, p) if isinstance(p, str) else p for p in ([by] if isinstance(by, str) else by)]
    must_compare(left.schema, right.schema, (left_on, right_on), pairs, "asof_join")
    merges = direction in (">=", ">") or tolerance is not None
    if all(endless):
        if not merges:
            msg = (
                f"asof_join: two readers take '>=' or '>', was '{direction}'; give a tolerance, or "
                "read one into a table"
            )
            raise SqlError(msg)
    elif not _in_order(right, right_on):
        merges = False
        right = right.take(pc.sort_indices(right, [(right_on, "ascending")]))
    elif not _in_order(left, left_on):
        merges = False
    dropped = {r for _, r in pairs} | ({right_on} if left_on == right_on else set())
    payload = [name for name in right.schema.names if name not in dropped]
    taken = left.schema.names
    join = AsofJoin(
        left.schema,
        right.schema,
        on=(left_on, right_on),
        by=pairs,
        direction=direction,
        tolerance_ns=_nanoseconds(tolerance),
        how=how,
        ties=ties,
        payload=[(name, name + suffix if name in taken else name) for name in payload],
        loop="time" if merges else "index",
    )
    if all(endless):
        return pa.RecordBatchReader.from_batches(join.schema, bounded(join, [left, right]))
    batches = list(bounded(join, [left.to_reader(BATCH), right.to_reader(BATCH)]))
    return pa.Table.from_batches(batches, join.schema)


def _in_order(table: pa.Table, name: str) -> bool:
    """Whether a time column ascends; a NULL has no place."""
    times = table.column(name)
    if times.null_count:
        return False
    last = None
    for chunk in times.chunks:
        if not len(chunk):
            continue
        if last is not None and pc.less(chunk[0], last).as_py():
            return False
        if not pc.all(pc.less_equal(chunk.slice(0, len(chunk) - 1), chunk.slice(1))).as_py():
            return False
        last = chunk[len(chunk) - 1]
    return True


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        msg = f"asof_join: '{name}' must be one of {', '.join(map(repr, allowed))}, was {value!r}"
        raise SqlError(msg)


def _table(data: Any, side: str) -> pa.Table:
    if hasattr(data, "reset_index"):  # pandas: its index is not a column
        return pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, (pa.Table, pa.RecordBatch)) or hasattr(data, "__arrow_c_stream__"):
        return viewless_table(pa.table(data))
    msg = (
        f"asof_join: the {side} side must have __arrow_c_stream__ (Arrow, Polars, pandas, DuckDB, "
        f"DataFusion), was {type(data).__name__}"
    )
    raise ArgumentTypeError(msg)


def must_compare(
    left: pa.Schema,
    right: pa.Schema,
    on: tuple[str, str],
    by: Sequence[tuple[str, str]],
    who: str,
) -> None:
    """Refuse sides without the columns of a join, or whose keys or times do not compare."""
    pairs = [
        (_field(left, one, f"{who}, left side"), _field(right, other, f"{who}, right side"))
        for one, other in (*by, on)
    ]
    for one, other in pairs[:-1]:
        if not keys_compare(one.type, other.type):
            msg = (
                f"{who}: key '{one.name}' is {one.type} and key '{other.name}' is {other.type}; "
                "cast one of them"
            )
            raise ArgumentTypeError(msg)
    for time, side in zip(pairs[-1], ("left", "right"), strict=True):
        if not is_timed(time.type) and not pa.types.is_integer(time.type):
            msg = f"{who}: {side} time '{time.name}' must be TIMESTAMP, was {time.type}; cast it"
            raise ArgumentTypeError(msg)
    kinds = [time.type for time in pairs[-1]]
    if not times_compare(*kinds):
        msg = (
            f"{who}: the times must be both with a zone, both without, or both integers, were "
            f"{kinds[0]} and {kinds[1]}; cast one of them"
        )
        raise ArgumentTypeError(msg)


def _field(schema: pa.Schema, name: str, who: str) -> pa.Field:
    if name not in schema.names:
        raise UnknownNameError("column", name, schema.names, who=who)
    return schema.field(name)


def _nanoseconds(tolerance: timedelta | int | None) -> int | None:
    """A tolerance as an integer."""
    if tolerance is None:
        return None
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
