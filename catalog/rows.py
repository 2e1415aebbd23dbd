"""What is taken out of raw messages, and what comes of them: the same for every format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa

from fin_sql.catalog.paths import Path, parse_path
from fin_sql.errors import ArgumentTypeError, SqlError

FORMATS = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "iso")
MAX_EXPONENT = 10**12
MOST_PATHS = 64  # of UNNEST
OPERATORS = ("=", "<>", "in", "is null", "is not null")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)

_SQL_TYPES = {
    pa.float64(): "DOUBLE",
    pa.float32(): "FLOAT",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINT",
    pa.uint64(): "UBIGINT",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.date32(): "DATE",
}


def sql_type(kind: pa.DataType) -> str | None:
    """How SQL calls a type that messages are decoded to; None of any other type."""
    if pa.types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision:
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    return _SQL_TYPES.get(kind)


@dataclass(frozen=True)
class Field:
    """A column, and where its values stand in a message.

    Args:
        name: of the column.
        type: DOUBLE, FLOAT, an integer of 8 to 64 bits with or without a sign, BOOLEAN,
            DECIMAL(p, s) of up to 38 digits, VARCHAR (utf8), TIMESTAMP of any unit and zone, DATE.
        path: `$...` from the message, `@...` from the element of UNNEST; see paths.parse_path.
        format: how a TIMESTAMP or DATE is written: `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`
            or `iso`. Without one it must be a text, in ISO 8601.
        not_null: a message without the value is bad.
    """

    name: str
    type: pa.DataType
    path: str
    format: str = ""
    not_null: bool = False
    place: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        who = f"column '{self.name}'"
        if sql_type(self.type) is None:
            msg = (
                f"{who}: messages are decoded to DOUBLE, FLOAT, integers, BOOLEAN, "
                f"DECIMAL(p, s) up to 38 digits, VARCHAR, TIMESTAMP and DATE, not to {self.type}; "
                "declare it as VARCHAR and cast it in a query"
            )
            raise ArgumentTypeError(msg)
        if self.format and self.format not in FORMATS:
            msg = f"{who}: a format must be one of {', '.join(FORMATS)}, was {self.format!r}"
            raise SqlError(msg)
        if self.format and not (pa.types.is_timestamp(self.type) or pa.types.is_date(self.type)):
            msg = (
                f"{who}: a format is for TIMESTAMP and DATE, the column is {sql_type(self.type)}; "
                "leave the format out"
            )
            raise SqlError(msg)
        object.__setattr__(self, "place", parse_path(self.path, who))


@dataclass(frozen=True)
class Condition:
    """What a message must fulfil to be looked at further.

    A member that is missing or null fulfils `is null` alone. Texts are equal if their characters
    are, numbers by value: the text '5' and the number 5 both equal a 5.0 of the message, the
    number 5 also equals its text "5.0". `true` and `false` are the texts 'true' and 'false'. An
    object or an array equals nothing.

    Args:
        path: `$...` from the message.
        op: one of OPERATORS.
        values: one for `=` and `<>`, one or more for `in`, none for the others: texts, numbers
            or booleans.
    """

    path: str
    op: str
    values: tuple[str | int | float | Decimal | bool, ...] = ()
    place: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        who = f"condition on '{self.path}'"
        object.__setattr__(self, "op", " ".join(self.op.lower().split()))
        if isinstance(self.values, str):
            raise SqlError(f"{who}: the values must be a tuple, was the text {self.values!r}")
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "place", parse_path(self.path, who))
        if self.op not in OPERATORS:
            msg = f"{who}: it must be one of {', '.join(OPERATORS)}, was {self.op!r}"
            raise SqlError(msg)
        if self.place.origin != "$":
            msg = (
                f"{who}: a condition looks at the message, so its path must begin with '$'; "
                "filter by an element in the query"
            )
            raise SqlError(msg)
        least, most = {"=": (1, 1), "<>": (1, 1), "in": (1, None)}.get(self.op, (0, 0))
        if len(self.values) < least or (most is not None and len(self.values) > most):
            wanted = {(1, 1): "one value", (1, None): "at least one value"}.get(
                (least, most), "none"
            )
            raise SqlError(f"{who}: '{self.op}' takes {wanted}, had {len(self.values)}")
        for value in self.values:
            constant_of(value, who)


class Constant(NamedTuple):
    """A value of a condition: a text, where it was one, and a number, where it reads as one."""

    text: bytes | None
    number: tuple[bool, bytes, int] | None  # negative, digits without zeros around, exponent


def constant_of(value: object, who: str) -> Constant:
    """What a value of a condition is compared as.

    Raises:
        SqlError: a value that is no text, no number and no boolean, or no finite number.
    """
    if isinstance(value, bool):
        return Constant(b"true" if value else b"false", None)
    if isinstance(value, str):
        try:
            return Constant(value.encode(), _number_of(value) if NUMBER.fullmatch(value) else None)
        except UnicodeEncodeError:
            raise SqlError(f"{who}: {value!r} has half of a surrogate pair") from None
    if isinstance(value, int | float | Decimal):
        text = repr(value) if isinstance(value, float) else f"{value}"
        if NUMBER.fullmatch(text):
            return Constant(None, _number_of(text))
    msg = f"{who}: a value must be a text, a finite number or a boolean, was {value!r}"
    raise SqlError(f"{msg}; write 'is null' for NULL" if value is None else msg)


def _number_of(text: str) -> tuple[bool, bytes, int]:
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, part = mantissa.lstrip("-").partition(".")
    digits = (whole + part).rstrip("0")
    # as the decoder does: beyond it every number is nothing or endless
    power = min(max(int(exponent or 0), -MAX_EXPONENT), MAX_EXPONENT)
    power += len(whole) - len(digits)
    digits = digits.lstrip("0")
    return (text[0] == "-", digits.encode(), power) if digits else (False, b"", 0)


class Bad(NamedTuple):
    """The messages that could not be taken.

    Args:
        messages: their indices, int32.
        codes: what was wrong with each: `tombstone`, `empty`, `syntax`, `encoding`, `depth`,
            `size`, `schema`, `unnest`, `null` or `value`.
        reasons: the same as a sentence, with byte and column.
    """

    messages: pa.Int32Array
    codes: pa.StringArray
    reasons: pa.StringArray


@dataclass(frozen=True)
class Decoded:
    """What came of some messages; every message is in a row, bad, passed or empty.

    Args:
        rows: the rows, in the order of the messages.
        source: for each row the index of its message, int32.
        unnest: for each row the index of the UNNEST path that it came from, int32; -1 where the
            decoder has none.
        bad: the messages that could not be taken; they have no rows.
        passed: how many messages the conditions left out.
        empty: how many messages had no element to make a row of.
    """

    rows: pa.RecordBatch
    source: pa.Int32Array
    unnest: pa.Int32Array
    bad: Bad
    passed: int
    empty: int


def check_fields(fields: Iterable[Field], unnest: Iterable[Path], encoded: Iterable[str]) -> None:
    """Refuse fields that do not go together.

    Raises:
        SqlError: no field, a name twice, an element without UNNEST, too many paths or one of them
            twice, a dictionary of no VARCHAR.
    """
    kinds: dict[str, pa.DataType] = {}
    unnested = list(unnest)
    for one in fields:
        if one.name in kinds:
            raise SqlError(f"column '{one.name}' stands twice; give one of them another name")
        kinds[one.name] = one.type
        if one.place.origin == "@" and not unnested:
            msg = (
                f"column '{one.name}': the path {one.path!r} begins at the element of UNNEST, "
                "and there is none; write UNNEST '$.path' or begin with '$'"
            )
            raise SqlError(msg)
    if not kinds:
        raise SqlError("a decoder must have at least one column, had none")
    for path in unnested:
        if path.origin != "$":
            raise SqlError(f"UNNEST: the path must begin with '$', was '{path}'")
    if len(unnested) > MOST_PATHS:
        raise SqlError(f"UNNEST: there may be {MOST_PATHS} paths, were {len(unnested)}")
    if len(set(unnested)) < len(unnested):
        raise SqlError("UNNEST: a path stands twice; leave one of them out")
    for name in encoded:
        if kinds.get(name) != pa.string():
            raise SqlError(f"a dictionary is made of VARCHAR columns, and '{name}' is none")
