"""The columns of a result as what a chart can place: times, numbers and texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import SqlError, UnknownNameError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MISSING = np.iinfo(np.int64).min  # a time that is NULL
# A browser counts whole milliseconds. A double of milliseconds keeps the place of a time to a
# quarter of a microsecond, and the marks of an axis have a date; a shorter span is counted from
# its begin.
SHORT_NS = 20_000_000
# Vega tells the marks of a time axis apart by their whole second: finer ones need a plain axis.
FINE_NS = 8_000_000_000
_LENGTHS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60,
            "h": 3600, "d": 86400}  # fmt: skip
_LENGTH = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-zµ]+)")
_ZEROS = re.compile(r"(\.\d*?)(?:000)+$")


class Data:
    """The rows of a result; the fields of a STRUCT are columns `name.field`."""

    def __init__(self, table: pa.Table) -> None:
        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            table = table.flatten()
        self.table = table
        self.names: list[str] = table.column_names

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def named(self, name: str) -> str:
        """A column's name as the rows have it.

        Raises:
            UnknownNameError: there is none; the message has a hint.
        """
        if name in self.names:
            return name
        found = [known for known in self.names if known.lower() == name.lower()]
        if len(found) != 1:
            raise UnknownNameError("column", name, self.names, who="plot")
        return found[0]

    def kind(self, name: str) -> str:
        """Of a column: "time", "length" (of time), "number", "text" or "other"."""
        kind = self.table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return "time"
        if pa.types.is_duration(kind) or pa.types.is_interval(kind):
            return "length"
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return "number"
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
            return "text"
        return "other"

    def of_kind(self, *kinds: str) -> list[str]:
        """The columns of some kinds."""
        return [name for name in self.names if self.kind(name) in kinds]

    def called(self, *names: str) -> str | None:
        """The first number whose name, or its part behind the last dot, is one of these."""
        for wanted in names:
            for name in self.of_kind("number"):
                if wanted in (name.lower(), name.lower().rpartition(".")[2]):
                    return name
        return None

    def times(self, name: str) -> Integers:
        """A column of times in nanoseconds, MISSING where they are NULL."""
        column = self.table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if self.kind(name) != "time":
            raise SqlError(f"plot: column '{name}' must be a time, was {column.type}")
        zone = column.type.tz if pa.types.is_timestamp(column.type) else None
        try:
            whole = column.cast(pa.timestamp("ns", zone)).cast(pa.int64())
        except pa.ArrowInvalid:
            raise SqlError(f"plot: times of '{name}' must lie in 1677 to 2262") from None
        return np.asarray(whole.fill_null(MISSING).to_numpy(zero_copy_only=False), dtype=np.int64)

    def numbers(self, name: str) -> Floats:
        """A column as doubles, NaN where it is missing; lengths of time are seconds."""
        column = self.table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = self.kind(name)
        if kind == "length":
            values = [_seconds(value) for value in _nanoseconds(column)]
        elif kind == "text" and not pa.types.is_boolean(column.type):
            values = [_length(value, name) for value in column.to_pylist()]
        elif kind in ("number", "text"):
            column = column.cast(pa.float64(), safe=False)
            return np.asarray(column.fill_null(np.nan).to_numpy(zero_copy_only=False))
        else:
            raise SqlError(f"plot: column '{name}' must be a number, was {column.type}")
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def texts(self, names: Sequence[str]) -> tuple[list[str], Integers]:
        """The different texts of some columns together, as they come, and which one a row has."""
        parts = [pc.fill_null(_text(self.table[name]), "NULL") for name in names]
        joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, " · ")
        encoded = joined.combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return encoded.dictionary.to_pylist(), codes


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    return column.cast(pa.string())


def _nanoseconds(column: pa.Array) -> Iterator[Any]:
    if pa.types.is_duration(column.type):
        yield from column.cast(pa.duration("ns")).cast(pa.int64()).to_pylist()
        return
    for value in column.to_pylist():  # months, days, nanoseconds
        if value is not None and value[0]:
            raise SqlError("plot: an interval of months has no fixed length; write it in days")
        yield None if value is None else value[1] * 86_400_000_000_000 + value[2]


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _length(text: str | None, name: str) -> float | None:
    """A text such as '500 ms' in seconds."""
    if text is None:
        return None
    found = _LENGTH.fullmatch(text.strip().lower())
    if found is None or found[2] not in _LENGTHS:
        raise SqlError(f"plot: '{text}' of column '{name}' is neither a number nor like '500 ms'")
    return float(found[1]) * _LENGTHS[found[2]]


@dataclass(frozen=True)
class TimeAxis:
    """Where times lie on an axis.

    Args:
        name: of the column.
        low: the least time, in ns since 1970 UTC.
        high: the greatest.
    """

    name: str
    low: int
    high: int

    @property
    def short(self) -> bool:
        """Whether times are counted from the first one."""
        return self.high - self.low < SHORT_NS

    @property
    def fine(self) -> bool:
        """Whether marks stand closer than a second."""
        return self.high - self.low < FINE_NS

    @property
    def unit(self) -> tuple[str, float]:
        """Of a short axis: its name, and how many ns it has."""
        return ("ns", 1.0) if self.high - self.low < 20_000 else ("µs", 1e3)

    def places(self, times: Any) -> Floats:
        """Numbers on the axis: milliseconds since 1970 UTC, or units since the first time."""
        times = np.asarray(times)
        if self.short:
            return np.asarray((times - self.low) / self.unit[1], dtype=np.float64)
        whole, rest = np.divmod(times, 1_000_000)
        return np.asarray(whole + rest / 1e6, dtype=np.float64)

    def title(self) -> str:
        """The name of the column, the zone, and the days that the axis does not say."""
        first, last = moments([self.low, self.high])
        if self.short:
            return f"{self.name}: {self.unit[0]} after {first} UTC"
        days = first[:10] if first[:10] == last[:10] else f"{first[:10]} to {last[:10]}"
        return f"{self.name} (UTC, {days})"


def moments(times: Any) -> list[str]:
    """Times with all their digits, in UTC."""
    found = pa.array(np.asarray(times, dtype=np.int64)).cast(pa.timestamp("ns")).cast(pa.string())
    return [_ZEROS.sub(r"\1", text).rstrip(".") for text in found.to_pylist()]
