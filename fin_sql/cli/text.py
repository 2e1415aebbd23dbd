"""Rows as CSV and JSON: doubles in shortest form that reads back, times with all their digits."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa


def csv_header(schema: pa.Schema) -> bytes:
    """The names of the columns."""
    return _csv([schema.names])


def csv_lines(batch: pa.RecordBatch) -> bytes:
    """A line for each row; NULL is nothing, an empty text is quoted."""
    return _csv(zip(*map(_cells, batch.columns), strict=True))


def _csv(rows: Any) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    for row in rows:
        writer.writerow([json.dumps(v) if isinstance(v, (dict, list)) else v for v in row])
    return out.getvalue().encode()


def json_lines(batch: pa.RecordBatch) -> bytes:
    """An object for each row; NaN and the infinities, which JSON lacks, are texts."""
    names = batch.schema.names
    rows = zip(*map(_cells, batch.columns), strict=True)
    lines = (json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n" for row in rows)
    return "".join(lines).encode()


def _cells(column: pa.Array) -> Iterator[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    for value in column.to_pylist():
        yield _spelled(value)


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, "NaN")
    if isinstance(value, dict):
        return {name: _spelled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_spelled(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    return value
