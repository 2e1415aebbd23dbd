"""What exchanges really sent, decoded and put together again with json and pandas."""

import json
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_json_rows import compare

from fin_sql.catalog.json_rows import JsonDecoder
from fin_sql.catalog.rows import Condition, Field

DATA = Path(os.environ.get("FIN_SQL_DATA", Path(__file__).parents[3] / "shared" / "data"))
NS = pa.timestamp("ns")


def capture(name):
    """The messages that came in; lines of the connection and what was sent are left out."""
    path = DATA / "captures" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    lines = path.read_bytes().splitlines()
    return [line.partition(b": ")[2] for line in lines if line and not line.startswith(b"wss:")]


def frame(decoded):
    """The rows as pandas has them; nothing was bad."""
    assert decoded.bad.reasons.to_pylist() == []
    decoded.rows.validate(full=True)
    return decoded.rows.to_pandas()


def agree(found, expected):
    """The same columns, values and order; numbers are equal to the bit."""
    assert len(found) == len(expected)
    assert list(found) == list(expected)
    for name in found:
        ours, theirs = found[name], expected[name]
        if theirs.dtype == float:
            assert np.array_equal(ours.to_numpy(float), theirs.to_numpy(), equal_nan=True), name
        else:
            assert ours.astype(theirs.dtype).equals(theirs), name


def times(values, unit=None):
    """Times in ns; seconds come as texts, whose digits are all kept."""
    if unit == "s":
        parts = [value.partition(".") for value in values]
        values, unit = [int(a) * 10**9 + int(b.ljust(9, "0")) for a, _, b in parts], "ns"
    parsed = pd.to_datetime(pd.Series(values), unit=unit, utc=unit is None)
    return (
        parsed.dt.tz_localize(None).astype("datetime64[ns]")
        if unit is None
        else parsed.astype("datetime64[ns]")
    )


@pytest.mark.parametrize("kinds", [("match", "last_match"), ("ticker",)])
def test_coinbase_trades(kinds):
    messages = capture("COINBASE.ws.28.0")
    numbers = (
        ["price", "size"] if "match" in kinds else ["price", "best_bid", "best_ask", "last_size"]
    )
    fields = [
        Field("ts", NS, "$.time"),
        Field("symbol", pa.string(), "$.product_id", not_null=True),
        Field("side", pa.string(), "$.side"),
        Field("id", pa.int64(), "$.trade_id"),
        *(Field(name, pa.float64(), f"$.{name}") for name in numbers),
    ]
    where = [Condition("$.type", "in", kinds)]
    decoded = JsonDecoder(fields, where=where, encoded=["symbol", "side"]).decode(messages)
    chosen = [m for m in map(json.loads, messages) if m["type"] in kinds]
    assert len(chosen) > 90
    assert decoded.passed == len(messages) - len(chosen)
    expected = pd.DataFrame(chosen)
    expected = pd.DataFrame(
        {
            "ts": times(expected.time),
            "symbol": expected.product_id,
            "side": expected.side,
            "id": expected.trade_id,
            **{name: expected[name].astype(float) for name in numbers},
        }
    )
    agree(frame(decoded), expected)


def test_coinbase_changes_of_the_book():
    messages = capture("COINBASE.ws.28.0")
    fields = [
        Field("ts", NS, "$.time"),
        Field("symbol", pa.string(), "$.product_id"),
        Field("side", pa.string(), "@[0]"),
        Field("price", pa.decimal128(20, 8), "@[1]"),
        Field("size", pa.float64(), "@[-1]"),
    ]
    where = [Condition("$.type", "=", ("l2update",))]
    found = frame(JsonDecoder(fields, ["$.changes"], where).decode(messages))
    chosen = [m for m in map(json.loads, messages) if m["type"] == "l2update"]
    rows = [(m["time"], m["product_id"], *change) for m in chosen for change in m["changes"]]
    expected = pd.DataFrame(rows, columns=list(found))
    assert list(found.price) == list(map(Decimal, expected.price))
    expected = expected.assign(ts=times(expected.ts), size=expected["size"].astype(float))
    agree(found.drop(columns="price"), expected.drop(columns="price"))


@pytest.mark.parametrize("table", ["trade", "quote"])
def test_bitmex_tables(table):
    messages = capture("BITMEX.ws.1.0")
    numbers = {
        "trade": ["size", "price", "grossValue", "homeNotional", "foreignNotional"],
        "quote": ["bidSize", "bidPrice", "askPrice", "askSize"],
    }[table]
    fields = [
        Field("timestamp", NS, "@.timestamp"),
        Field("symbol", pa.string(), "@.symbol"),
        *(Field(name, pa.float64(), f"@.{name}") for name in numbers),
        Field("action", pa.string(), "$.action"),
    ]
    where = [Condition("$.table", "=", (table,))]
    decoded = JsonDecoder(fields, ["$.data"], where, ["symbol", "action"]).decode(messages)
    rows = [
        {**row, "action": m["action"]}
        for m in map(json.loads, messages)
        if m.get("table") == table
        for row in m["data"]
    ]
    assert len(rows) > 15
    expected = pd.DataFrame(rows)[["timestamp", "symbol", *numbers, "action"]]
    expected = expected.astype(dict.fromkeys(numbers, float))
    agree(frame(decoded), expected.assign(timestamp=times(expected.timestamp)))


@pytest.mark.parametrize("event", ["aggTrade", "bookTicker"])
def test_binance_futures_streams(event):
    messages = capture("BINANCE_FUTURES.ws.1.0")
    numbers = {"aggTrade": ["p", "q"], "bookTicker": ["b", "B", "a", "A"]}[event]
    fields = [
        Field("stream", pa.string(), "$.stream"),
        Field("T", NS, "$.data.T", "epoch_ms"),
        Field("s", pa.string(), "$.data.s"),
        *(Field(name, pa.float64(), f"$.data.{name}") for name in numbers),
        Field("u", pa.uint64(), "$.data.u"),
        Field("m", pa.bool_(), "$.data.m"),
    ]
    where = [Condition("$.data.e", "=", (event,))]
    decoded = JsonDecoder(fields, where=where, encoded=["s"]).decode(messages)
    chosen = [m for m in map(json.loads, messages) if m["data"]["e"] == event]
    assert len(chosen) > 90
    expected = pd.DataFrame(
        [{"u": None, "m": None, **m["data"], "stream": m["stream"]} for m in chosen]
    )
    expected = expected[[field.name for field in fields]].astype(dict.fromkeys(numbers, float))
    agree(frame(decoded), expected.assign(T=times(expected["T"], "ms")))


def test_binance_futures_depth_has_a_row_for_each_level():
    messages = capture("BINANCE_FUTURES.ws.1.0")
    fields = [
        Field("E", pa.int64(), "$.data.E"),
        Field("price", pa.float64(), "@[0]"),
        Field("size", pa.float64(), "@[1]"),
    ]
    decoded = JsonDecoder(fields, ["$.data.b", "$.data.a"], [Condition("$.data.U", "is not null")])
    decoded = decoded.decode(messages)
    rows, sides, empty = [], [], 0
    for message in map(json.loads, messages):
        data = message["data"]
        if data["e"] == "depthUpdate":
            empty += not (data["b"] or data["a"])
            rows += [(data["E"], float(p), float(q)) for p, q in data["b"] + data["a"]]
            sides += [0] * len(data["b"]) + [1] * len(data["a"])
    assert len(rows) > 1_000
    assert (decoded.unnest.to_pylist(), decoded.empty) == (sides, empty)
    agree(frame(decoded), pd.DataFrame(rows, columns=["E", "price", "size"]))


def test_kraken_books_come_as_arrays_by_place():
    messages = capture("KRAKEN.ws.50.0")
    fields = [
        Field("pair", pa.string(), "$[-1]"),
        Field("channel", pa.string(), "$[-2]"),
        Field("id", pa.int32(), "$[0]"),
        Field("price", pa.float64(), "@[0]"),
        Field("volume", pa.float64(), "@[1]"),
        Field("ts", NS, "@[2]", "epoch_s"),
    ]
    paths = ["$[1].as", "$[1].bs", "$[1].a", "$[1].b", "$[2].a", "$[2].b"]
    where = [Condition("$[-2]", "=", ("book-1000",))]
    decoded = JsonDecoder(fields, paths, where, ["pair", "channel"]).decode(messages)
    rows, places = [], []
    for message in map(json.loads, messages):
        if isinstance(message, list):
            for k, path in enumerate(paths):
                at, side = int(path[2]), path[5:]
                part = message[at] if at < len(message) - 2 else {}
                for level in part.get(side, []):
                    rows.append((message[-1], message[-2], message[0], *level[:3]))
                    places.append(k)
    assert {0, 1, 2, 3, 5} <= set(places)
    assert decoded.unnest.to_pylist() == places
    expected = pd.DataFrame(rows, columns=[field.name for field in fields])
    expected = expected.astype({"id": "int32", "price": float, "volume": float})
    agree(frame(decoded), expected.assign(ts=times(expected.ts, "s")))


def test_kraken_numbers_beyond_64_bits_with_a_sign():
    fields = [Field("id", pa.uint64(), "$.connectionID")]
    where = [Condition("$.event", "=", ("systemStatus",))]
    decoded = JsonDecoder(fields, where=where).decode(capture("KRAKEN.ws.50.0"))
    assert decoded.rows["id"].to_pylist() == [17843232920108168701]


@pytest.mark.parametrize(
    "name", ["BINANCE_FUTURES.ws.1.0", "BITMEX.ws.1.0", "COINBASE.ws.28.0", "KRAKEN.ws.50.0"]
)
def test_captures_decode_as_defined(name):
    messages = [m for m in capture(name) if len(m) < 2_000][:1_500]
    fields = [
        Field("all", pa.string(), "$"),
        Field("data", pa.string(), "$.data"),
        Field("second", pa.string(), "$[1]"),
        Field("time", NS, "$.time"),
        Field("price", pa.decimal128(38, 12), "$.price"),
        Field("b", pa.float32(), "$.data.b"),
    ]
    compare(messages, fields, encoded=["all"])
    compare(
        messages,
        [Field("x", pa.string(), "@"), Field("y", pa.string(), "@[0]")],
        ["$[1].a", "$.data", "$.changes"],
    )
