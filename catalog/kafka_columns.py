"""METADATA columns: what a message carries beside its value, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fin_sql.errors import ArgumentTypeError, UnknownNameError

KEYS = ("partition", "offset", "timestamp", "key", "topic", "header.<name>")
_HEADER = "header."
_NO_TIME = 0  # the kind of timestamp() of a message that has none


@dataclass(frozen=True)
class MetadataColumn:
    """A column that is not taken out of a message's value.

    Args:
        name: of the column.
        key: one of KEYS; with `header.x` the last header of that name.
        type: integers for partition and offset, TIMESTAMP for timestamp, VARCHAR for topic,
            VARCHAR or VARBINARY for key and headers.
    """

    name: str
    key: str
    type: pa.DataType

    def __post_init__(self) -> None:
        who = f"column '{self.name}'"
        header = self.key.startswith(_HEADER) and len(self.key) > len(_HEADER)
        if not header and self.key not in KEYS:
            raise UnknownNameError("METADATA", self.key, list(KEYS), who=who)
        wanted, fits = _TYPES["key" if header else self.key]
        if self.type not in fits:
            msg = f"{who}: METADATA FROM '{self.key}' must be {wanted}, was {self.type}"
            raise ArgumentTypeError(msg)


_TEXTS = (pa.string(), pa.binary())
_TIMES = tuple(pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC"))
_TYPES: dict[str, tuple[str, tuple[pa.DataType, ...]]] = {
    "partition": ("INT or BIGINT", (pa.int32(), pa.int64())),
    "offset": ("BIGINT", (pa.int64(),)),
    "timestamp": ("TIMESTAMP", _TIMES),
    "key": ("VARCHAR or VARBINARY", _TEXTS),
    "topic": ("VARCHAR", (pa.string(),)),
}


def metadata_arrays(
    columns: Sequence[MetadataColumn],
    topic: str,
    partition: int,
    offsets: npt.NDArray[np.int64],
    messages: Sequence[Any],
) -> tuple[list[pa.Array], dict[int, str]]:
    """The columns, a value for each message, and the messages that have one that does not fit.

    Of a message only that is read which a column asks for.
    """
    found: list[pa.Array] = []
    bad: dict[int, str] = {}
    for column in columns:
        n = len(messages)
        if column.key == "partition":
            array = pa.repeat(pa.scalar(partition, column.type), n)
        elif column.key == "topic":
            array = pa.repeat(topic, n)
        elif column.key == "offset":
            array = pa.array(offsets)
        elif column.key == "timestamp":
            array, wrong = _times(column, messages)
            bad.update(wrong)
        else:
            array, wrong = _texts(column, messages)
            bad.update(wrong)
        found.append(array)
    return found, bad


def _times(column: MetadataColumn, messages: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    told = [message.timestamp() for message in messages]
    ms = np.array([time for _, time in told], np.int64)
    missing = np.array([kind == _NO_TIME for kind, _ in told], bool)
    step = {"ms": 1, "us": 10**3, "ns": 10**6}[column.type.unit]
    limit = (2**63 - 1) // step
    wide = ~missing & ((ms > limit) | (ms < -limit))
    ms[wide] = 0
    array = pa.array(ms * step, pa.int64(), mask=missing).cast(column.type)
    reason = f"column '{column.name}': the message's time must lie within the years 1677 to 2262"
    return array, {int(i): f"{reason}, was {told[i][1]} ms" for i in np.flatnonzero(wide)}


def _texts(column: MetadataColumn, messages: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    if column.key == "key":
        values = [message.key() for message in messages]
    else:
        name = column.key[len(_HEADER) :]
        values = [_last(message.headers(), name) for message in messages]
    array = pa.array(values, pa.binary())
    if column.type == pa.binary():
        return array, {}
    try:
        return array.cast(pa.string()), {}
    except pa.ArrowInvalid:
        wrong = {i for i, value in enumerate(values) if value is not None and not _is_text(value)}
        texts = [None if i in wrong else value for i, value in enumerate(values)]
        reason = (
            f"column '{column.name}': {column.key} must be UTF-8; declare the column as VARBINARY"
        )
        return pa.array(texts, pa.binary()).cast(pa.string()), dict.fromkeys(sorted(wrong), reason)


def _last(headers: list[tuple[str, bytes | None]] | None, name: str) -> bytes | None:
    found = None
    for key, value in headers or ():
        if key == name:
            found = value
    return found


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
