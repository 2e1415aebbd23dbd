"""Keys and times of the two sides of an ASOF join: which compare, and which match nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Slots
from fin_sql.exec.keys import Keys


def key_slots(keys: Keys, batch: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Slots:
    """The key of each row, -1 where a part of it is NULL or NaN."""
    columns = [batch[name] for name in names]
    slots = keys.intern(columns, batch.num_rows)
    nothing = None
    for array in columns:
        missing = _missing(array)
        if missing is not None:
            nothing = missing if nothing is None else pc.or_(nothing, missing)
    if nothing is None:
        return slots
    none = pa.scalar(-1, pa.int32())
    return Slots.of(pc.if_else(nothing, none, slots.array()), slots.top)


def _missing(array: pa.Array) -> pa.Array | None:
    """Where a key column is NULL or NaN; None if nowhere."""
    if pa.types.is_dictionary(array.type):
        values = _missing(array.dictionary)
        missing = array.indices.is_null()
        if values is not None:
            missing = pc.or_(missing, values.take(array.indices).fill_null(True))
    elif array.null_count or pa.types.is_floating(array.type):
        missing = array.is_null(nan_is_null=True)
    else:
        return None
    return missing if missing.true_count else None


def keys_compare(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether keys of two types may be equal: by value, but a number is never a text.

    Decimals must have one scale, as keys are compared by their digits.
    """

    def kind(of: pa.DataType) -> str:
        if pa.types.is_dictionary(of):
            return kind(of.value_type)
        if of in (pa.string(), pa.large_string(), pa.string_view()):
            return "text"
        kinds = ("integer", "floating", "decimal", "boolean", "date", "time", "timestamp")
        found = next((name for name in kinds if getattr(pa.types, f"is_{name}")(of)), "binary")
        return f"{found} {of.scale}" if found == "decimal" else found

    return pa.types.is_null(left) or pa.types.is_null(right) or kind(left) == kind(right)


def times_compare(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether times compare: both with a zone, both without, or both integers."""
    return is_timed(left) == is_timed(right) and (
        (getattr(left, "tz", None) is None) == (getattr(right, "tz", None) is None)
    )


def is_timed(kind: pa.DataType) -> bool:
    """Whether a type is a timestamp or a date."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
