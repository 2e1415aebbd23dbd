"""Cost of decoding JSON messages, beside what else there is in Python; prints ratios.

Every way makes the same Arrow batch of 8 columns, and the batches are compared. MESSAGES comes
from the environment: BENCH_MESSAGES (200 000).
"""

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta

import msgspec
import orjson
import pyarrow as pa
import pyarrow.json as pj
import pytest
from rich.console import Console
from rich.table import Table

from fin_sql.catalog.json_rows import JsonDecoder
from fin_sql.catalog.rows import Field

pytestmark = pytest.mark.bench

MESSAGES = int(os.environ.get("BENCH_MESSAGES", 200_000))
REPEATS = 5

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS, US = pa.timestamp("ms"), pa.timestamp("us")

# Per column: its name, type, member, format, and what makes its value of a Python object.
TRADES = [
    ("ts", MS, "T", "epoch_ms", None),
    ("event", pa.string(), "e", "", None),
    ("symbol", pa.string(), "s", "", None),
    ("id", pa.int64(), "a", "", None),
    ("price", pa.float64(), "p", "", float),
    ("size", pa.float64(), "q", "", float),
    ("first", pa.int64(), "f", "", None),
    ("maker", pa.bool_(), "m", "", None),
]
MATCHES = [
    ("ts", US, "time", "iso", datetime.fromisoformat),
    ("type", pa.string(), "type", "", None),
    ("symbol", pa.string(), "product_id", "", None),
    ("side", pa.string(), "side", "", None),
    ("price", pa.float64(), "price", "", float),
    ("size", pa.float64(), "size", "", float),
    ("id", pa.int64(), "trade_id", "", None),
    ("seq", pa.int64(), "sequence", "", None),
]


def trades(n):
    rng = random.Random(1)
    symbols = [f"{a}{b}USDT" for a in "ABCDEFGHIJ" for b in ("TOM", "SUSHI", "X")]
    found, at = [], 1_626_992_741_575
    for k in range(n):
        at += rng.randrange(20)
        message = {
            "e": "aggTrade",
            "E": at + 154,
            "a": 16_599_292 + k,
            "s": rng.choice(symbols),
            "p": f"{rng.randrange(10**7) / 1e4:.5f}",
            "q": str(rng.randrange(1, 5_000)),
            "f": 23_961_322 + k,
            "l": 23_961_325 + k,
            "T": at,
            "m": rng.random() < 0.5,
        }
        found.append(json.dumps(message, separators=(",", ":")).encode())
    return found


def matches(n):
    rng = random.Random(2)
    found, at = [], datetime(2021, 4, 17, 16, 43, 37, tzinfo=UTC)
    symbols = [
        f"{a}-{b}" for a in ("BTC", "ETH", "SKL", "NMR", "CRV", "NU") for b in ("USD", "EUR", "GBP")
    ]

    def order():
        digits = rng.randbytes(16).hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    for k in range(n):
        at += timedelta(microseconds=rng.randrange(20_000))
        message = {
            "type": "match",
            "trade_id": 280_232 + k,
            "maker_order_id": order(),
            "taker_order_id": order(),
            "side": rng.choice(["buy", "sell"]),
            "size": f"{rng.randrange(10**9) / 1e6:.8f}",
            "price": f"{rng.randrange(10**7) / 1e2:.2f}",
            "product_id": rng.choice(symbols),
            "sequence": 177_100_030 + 3 * k,
            "time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        found.append(json.dumps(message, separators=(",", ":")).encode())
    return found


def by_dict(loads, columns):
    """A dictionary per message, a list per column."""
    schema = pa.schema([(name, kind) for name, kind, *_ in columns])

    def decode(messages):
        found = [loads(message) for message in messages]
        lists = (
            [read(one[member]) for one in found] if read else [one[member] for one in found]
            for _, _, member, _, read in columns
        )
        return pa.record_batch(
            [pa.array(v, f.type) for v, f in zip(lists, schema, strict=True)], schema
        )

    return decode


def by_struct(columns):
    """A typed struct per message; msgspec reads numbers inside of texts and ISO times itself."""
    kinds = {
        pa.float64(): float,
        pa.string(): str,
        pa.int64(): int,
        pa.bool_(): bool,
        MS: int,
        US: datetime,
    }
    struct = msgspec.defstruct(
        "Message", [(member, kinds[kind]) for _, kind, member, *_ in columns]
    )
    loads = msgspec.json.Decoder(struct, strict=False).decode
    schema = pa.schema([(name, kind) for name, kind, *_ in columns])

    def decode(messages):
        found = [loads(message) for message in messages]
        lists = ([getattr(one, member) for one in found] for _, _, member, *_ in columns)
        return pa.record_batch(
            [pa.array(v, f.type) for v, f in zip(lists, schema, strict=True)], schema
        )

    return decode


def by_arrow(columns):
    """pyarrow.json over the joined messages; it takes no number inside of a text, so cast after."""
    schema = pa.schema([(name, kind) for name, kind, *_ in columns])
    raw = [
        (member, pa.string() if kind == pa.float64() else pa.int64() if kind == MS else kind)
        for _, kind, member, *_ in columns
    ]
    options = pj.ParseOptions(explicit_schema=pa.schema(raw), unexpected_field_behavior="ignore")
    read = pj.ReadOptions(use_threads=False)

    def decode(messages):
        table = pj.read_json(pa.BufferReader(b"\n".join(messages)), read, options)
        return pa.table(
            [table[m].cast(f.type) for (m, _), f in zip(raw, schema, strict=True)], schema=schema
        )

    return decode


def best(function, argument):
    """Least seconds of some runs, and the result."""
    found = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        result = function(argument)
        found.append(time.perf_counter() - begin)
    return min(found), result


@pytest.mark.parametrize(("columns", "make"), [(TRADES, trades), (MATCHES, matches)])
def test_cost_of_decoding(columns, make):
    messages = make(MESSAGES)
    size = sum(map(len, messages)) / 1e6
    fields = [Field(name, kind, f"$.{member}", format) for name, kind, member, format, _ in columns]
    texts = [name for name, kind, *_ in columns if kind == pa.string()]
    ways = {
        "fin_sql, dictionaries": JsonDecoder(fields, encoded=texts).decode,
        "fin_sql, plain texts": JsonDecoder(fields).decode,
        "msgspec, typed struct": by_struct(columns),
        "orjson, dict": by_dict(orjson.loads, columns),
        "json, dict": by_dict(json.loads, columns),
        "pyarrow.json, then casts": by_arrow(columns),
    }
    table = Table("way", "MB/s", "rows/s", "ns/row", "times ours")
    table.title = f"{make.__name__}: {MESSAGES:,} messages of {1e6 * size / MESSAGES:.0f} bytes"
    ours, expected = None, None
    for name, decode in ways.items():
        seconds, result = best(decode, messages)
        rows = pa.table(getattr(result, "rows", result))
        rows = rows.cast(pa.schema([(column, kind) for column, kind, *_ in columns]))
        ours, expected = ours or seconds, expected or rows
        assert rows.num_rows == MESSAGES
        assert rows.equals(expected), name
        each = 1e9 * seconds / MESSAGES
        figures = (size / seconds, MESSAGES / seconds, each)
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures), f"{seconds / ours:.1f}")
    Console(width=110).print(table)
