"""Cost of decoding Avro messages, beside fastavro; prints ratios.

Both ways make the same Arrow batch. MESSAGES comes from the environment: BENCH_MESSAGES (200 000).
"""

import io
import json
import os
import random

import fastavro
import pyarrow as pa
import pytest
from rich.console import Console
from rich.table import Table
from test_json_cost import best

from fin_sql.catalog.avro_rows import AvroDecoder
from fin_sql.catalog.rows import Field

pytestmark = pytest.mark.bench

MESSAGES = int(os.environ.get("BENCH_MESSAGES", 200_000))
SCHEMA = {
    "type": "record",
    "name": "Trade",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "symbol", "type": "string"},
        {"name": "side", "type": {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}},
        {"name": "price", "type": "double"},
        {"name": "size", "type": ["null", "double"]},
        {"name": "id", "type": "long"},
        {"name": "maker", "type": "boolean"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}
FIELDS = [
    Field("ts", pa.timestamp("us", "UTC"), "$.ts"),
    Field("symbol", pa.string(), "$.symbol"),
    Field("side", pa.string(), "$.side"),
    Field("price", pa.float64(), "$.price"),
    Field("size", pa.float64(), "$.size"),
    Field("id", pa.int64(), "$.id"),
    Field("maker", pa.bool_(), "$.maker"),
]


def trades(n):
    rng = random.Random(1)
    schema, found = fastavro.parse_schema(SCHEMA), []
    for k in range(n):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, {
            "ts": 1_626_992_741_575_000 + k, "symbol": f"SYM{rng.randrange(300)}",
            "side": rng.choice(["BUY", "SELL"]), "price": rng.random() * 1e4, "id": 10**9 + k,
            "size": rng.choice([None, rng.random()]), "maker": rng.random() < 0.5,
            "tags": ["x"] * rng.randrange(3)})  # fmt: skip
        found.append(out.getvalue())
    return found


def by_fastavro(messages):
    schema, read = fastavro.parse_schema(SCHEMA), fastavro.schemaless_reader
    found = [read(io.BytesIO(message), schema) for message in messages]
    kinds = pa.schema([(field.name, field.type) for field in FIELDS])
    lists = ([one[field.name] for one in found] for field in FIELDS)
    return pa.record_batch([pa.array(v, f.type) for v, f in zip(lists, kinds, strict=True)], kinds)


def test_cost_of_decoding():
    messages = trades(MESSAGES)
    size = sum(map(len, messages)) / 1e6
    ours = AvroDecoder(FIELDS, json.dumps(SCHEMA))
    seconds, decoded = best(ours.decode, messages)
    theirs, expected = best(by_fastavro, messages)
    assert decoded.rows.equals(expected)
    table = Table("way", "MB/s", "rows/s", "ns/row", "times ours")
    table.title = f"{MESSAGES:,} messages of {1e6 * size / MESSAGES:.0f} bytes, 7 columns"
    for name, spent in (("fin_sql", seconds), ("fastavro, dict", theirs)):
        figures = (size / spent, MESSAGES / spent, 1e9 * spent / MESSAGES)
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures), f"{spent / seconds:.1f}")
    Console(width=110).print(table)
