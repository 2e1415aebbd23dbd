"""Values in another type, where nothing of them is lost."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import SqlError

_FAMILIES: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("nothing", pa.types.is_null),
    ("truth", pa.types.is_boolean),
    ("whole", pa.types.is_integer),
    ("floating", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("date", pa.types.is_date),
    ("clock", pa.types.is_time),
    ("length", pa.types.is_duration),
    ("local", lambda kind: pa.types.is_timestamp(kind) and kind.tz is None),
    ("instant", pa.types.is_timestamp),
    ("text", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)),
    ("text", lambda kind: kind == pa.string_view()),
    ("bytes", lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind)),
    ("bytes", lambda kind: pa.types.is_fixed_size_binary(kind) or kind == pa.binary_view()),
)
_NUMBERS = {"whole", "floating", "decimal"}
_ALSO = {("text", "local"), ("text", "instant"), ("text", "date"), ("text", "decimal")}
_ALSO |= {("date", "local"), ("local", "date")}


def _family(kind: pa.DataType) -> str:
    return next((name for name, test in _FAMILIES if test(kind)), "other")


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def may_fit(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a value of one type can be one of another type."""
    given, wanted = _values(given), _values(wanted)
    one, other = _family(given), _family(wanted)
    if "other" in (one, other):
        return bool(given == wanted) or one == "nothing"
    same = one == other or (one in _NUMBERS and other in _NUMBERS)
    return same or one == "nothing" or (one, other) in _ALSO


def fitted(array: pa.Array, wanted: pa.DataType, who: str, first_row: int = 0) -> pa.Array:
    """The same values in another type.

    Args:
        array: of a type that may fit.
        wanted: the type.
        who: names the column in an error.
        first_row: the row of the first value.

    Raises:
        SqlError: a value does not fit; the message has the first one.
    """
    if array.type == wanted:
        return array
    found = _tried(array, wanted)
    if found is not None:
        return found
    row = next(i for i in range(len(array)) if _tried(array.slice(i, 1), wanted) is None)
    msg = (
        f"{who} is {wanted}, and row {first_row + row + 1} gives {_said(array[row])}, which does "
        "not fit without loss; cast it"
    )
    raise SqlError(msg)


def _said(value: pa.Scalar) -> str:
    if pa.types.is_temporal(value.type):
        return str(value.cast(pa.string()))
    return repr(value.as_py())


def _tried(array: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    try:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_dictionary(wanted):
            inner = _tried(array, wanted.value_type)
            return None if inner is None else inner.dictionary_encode().cast(wanted)
        found, back = _converted(array, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        return None
    if back is not None and not _same(array, back):
        return None
    return found


def _converted(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """The values, and what they are when they are converted back, where Arrow does not check it."""
    given, target = _family(array.type), _family(wanted)
    if target == "floating":
        if given == "decimal":  # by way of text: Arrow rounds twice
            found = array.cast(pa.string()).cast(wanted)
            return found, found.cast(pa.string()).cast(array.type)
        found = array.cast(wanted, safe=False)
        return found, found.cast(array.type, safe=False)
    if target == "decimal" and given in ("floating", "whole"):
        return array.cast(pa.string()).cast(wanted), None
    found = array.cast(wanted)
    if (given, target) in (("local", "date"), ("clock", "clock"), ("date", "date")):
        return found, found.cast(array.type)
    return found, None


def _same(one: pa.Array, other: pa.Array) -> bool:
    equal = pc.equal(one, other)
    if pa.types.is_floating(one.type):
        equal = pc.or_(equal, pc.and_(pc.is_nan(one), pc.is_nan(other)))
    return bool(pc.all(equal.fill_null(True)).as_py() is not False)
