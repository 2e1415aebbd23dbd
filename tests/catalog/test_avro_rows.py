"""Messages of Avro to rows: written by fastavro, against the plain definition beside this file."""

import io
import json
import random
import struct
from decimal import Decimal

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from avro_definition import Drawer, Map, Reader, decode, encode, number_text
from json_definition import BadMessage
from json_documents import damaged
from test_json_rows import TYPES, same, values_of

from fin_sql.catalog.avro_rows import AvroDecoder
from fin_sql.catalog.rows import FORMATS, Field
from fin_sql.errors import ArgumentTypeError, SqlError

BIG, TEXT, DOUBLE = pa.int64(), pa.string(), pa.float64()


def agree(got, expected, messages, fields):
    """The rows, their messages and the codes of the bad ones are as the definition has them."""
    got.rows.validate(full=True)
    rows, source, bad = expected
    codes = dict(zip(got.bad.messages.to_pylist(), got.bad.codes.to_pylist(), strict=True))
    reasons = dict(zip(got.bad.messages.to_pylist(), got.bad.reasons.to_pylist(), strict=True))
    differ = {i for i in set(codes) | set(bad) if codes.get(i) != bad.get(i)}
    assert not differ, [(messages[i], codes.get(i), bad.get(i), reasons.get(i)) for i in differ]
    assert got.source.to_pylist() == source
    found = list(zip(*(values_of(column) for column in got.rows.columns), strict=True))
    assert len(found) == len(rows)
    for i, mine, wanted in zip(source, found, rows, strict=True):
        for field, a, b in zip(fields, mine, wanted, strict=True):
            assert same(a, b), (messages[i], field, a, b)


def compare(messages, schema, fields, encoded=()):
    got = AvroDecoder(fields, json.dumps(schema), encoded=encoded).decode(messages)
    agree(got, decode(messages, [schema] * len(messages), fields), messages, fields)
    return got


def paths_of(schema, path="$"):
    """Every path that may be a column's."""
    yield path
    for branch in schema if isinstance(schema, list) else [schema]:
        if isinstance(branch, dict) and branch["type"] == "record":
            for one in branch["fields"]:
                yield from paths_of(one["type"], f"{path}.{one['name']}")


def drawn_fields(rng, schema, n):
    paths = [*paths_of(schema)]
    fields = []
    for k in range(n):
        kind = rng.choice([*TYPES, *["text"] * 40])
        format = rng.choice(FORMATS) if kind in ("time", "time_ms", "day") else ""
        path = rng.choice(paths) if rng.random() < 0.95 else "$.absent"
        fields.append(Field(f"c{k}", TYPES[kind], path, format, rng.random() < 0.02))
    return fields


@pytest.mark.parametrize("seed", range(150))
def test_random_records_decode_as_defined(seed):
    rng = random.Random(seed)
    drawer = Drawer(rng)
    schema = drawer.record()
    messages = [encode(schema, drawer.value(schema)) for _ in range(40)]
    fields = drawn_fields(rng, schema, rng.randrange(1, 9))
    texts = [field.name for field in fields if field.type == TEXT]
    compare([*messages, None, b""], schema, fields, texts[: rng.randrange(len(texts) + 1)])


@pytest.mark.parametrize("seed", range(40))
def test_damaged_records_are_taken_and_refused_as_defined(seed):
    rng = random.Random(1_000 + seed)
    drawer = Drawer(rng)
    schema = drawer.record()
    messages = [damaged(rng, encode(schema, drawer.value(schema))) for _ in range(150)]
    whole = encode(schema, drawer.value(schema))
    messages += [whole[:n] for n in range(len(whole))]
    # an array of nulls may be longer than the message, which the definition would not take
    if '"items": "null"' not in json.dumps(schema):
        compare(messages, schema, drawn_fields(rng, schema, 2))


@pytest.mark.parametrize(
    "schema",
    ["boolean", "int", "long", "float", "double", "bytes", "string",
     {"type": "int", "logicalType": "date"},
     *({"type": "long", "logicalType": f"{local}timestamp-{unit}"}
       for local in ("", "local-") for unit in ("millis", "micros", "nanos")),
     {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 6},
     {"type": "bytes", "logicalType": "decimal", "precision": 20}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_value_in_every_type(schema):
    drawer = Drawer(random.Random(3))
    record = {"type": "record", "name": "R", "fields": [{"name": "x", "type": schema}]}
    if isinstance(schema, dict) and "precision" in schema:
        schema.setdefault("scale", 0)
    messages = [encode(record, {"x": drawer.value(schema)}) for _ in range(150)]
    for kind, column in TYPES.items():
        for format in ("", *FORMATS) if kind in ("time", "time_ms", "day") else ("",):
            compare(messages, record, [Field("x", column, "$.x", format)])


def test_floats_as_texts_are_the_shortest_that_read_as_the_same():
    rng = random.Random(9)
    doubles = [v for v in struct.unpack("20000d", rng.randbytes(160_000)) if v - v == 0]
    doubles += [2.0**k for k in range(-1074, 1024)] + [
        rng.randrange(10**17) / 10.0**k for k in range(40)
    ]
    found = AvroDecoder([Field("x", TEXT, "$")], '"double"').decode(
        [struct.pack("<d", v) for v in doubles]
    )
    assert found.rows["x"].to_pylist() == list(map(repr, doubles))
    floats = np.frombuffer(rng.randbytes(80_000), np.float32)
    floats = [
        *floats[np.isfinite(floats)],
        *(np.float32(2.0) ** np.arange(-149, 128, dtype=np.float32)),
    ]
    found = AvroDecoder([Field("x", TEXT, "$")], '"float"').decode([v.tobytes() for v in floats])
    assert found.rows["x"].to_pylist() == [number_text(v) for v in floats]


def test_the_definition_reads_what_fastavro_reads():
    """Where fastavro makes no other objects of values: without logical types and floats."""

    def plain(schema):
        if isinstance(schema, list):
            return [plain(s) for s in schema]
        if isinstance(schema, dict):
            kept = {
                k: v for k, v in schema.items() if k not in ("logicalType", "precision", "scale")
            }
            kept |= {k: plain(kept[k]) for k in ("type", "items", "values") if k in kept}
            if "fields" in kept:
                kept["fields"] = [{**one, "type": plain(one["type"])} for one in kept["fields"]]
            return kept
        return "double" if schema == "float" else schema

    def unified(value):
        if isinstance(value, Map):
            return {name.decode(): unified(one) for name, one in value}
        if isinstance(value, dict):
            return {name: unified(one) for name, one in value.items()}
        if isinstance(value, list):
            return [unified(one) for one in value]
        return value.encode() if isinstance(value, str) else value

    for seed in range(60):
        drawer = Drawer(random.Random(seed))
        schema = plain(drawer.record())
        for _ in range(10):
            message = encode(schema, drawer.value(schema))
            theirs = fastavro.schemaless_reader(io.BytesIO(message), fastavro.parse_schema(schema))
            assert repr(unified(theirs)) == repr(unified(Reader(schema, message).message()))


TRADE = {
    "type": "record",
    "name": "Trade",
    "namespace": "md.v1",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "symbol", "type": "string"},
        {"name": "price", "type": "double"},
        {"name": "side", "type": {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}},
        {"name": "size", "type": ["null", "double"]},
    ],
}
NEWER = {
    **TRADE,
    "fields": [
        {"name": "venue", "type": ["null", "string"]},
        {"name": "size", "type": {
            "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "levels", "type": {"type": "array", "items": {"type": "map", "values": "float"}}},
        *TRADE["fields"][:4],
    ],
}  # fmt: skip
FIELDS = [
    Field("ts", pa.timestamp("ns"), "$.ts"),
    Field("symbol", TEXT, "$.symbol", not_null=True),
    Field("price", DOUBLE, "$.price"),
    Field("side", TEXT, "$.side"),
    Field("size", DOUBLE, "$.size"),
    Field("venue", TEXT, "$.venue"),
]


def framed(number, schema, datum):
    return struct.pack(">bI", 0, number) + encode(schema, datum)


def test_messages_of_several_schemas_in_one_batch():
    old = {"ts": 1_000_001, "symbol": "BTC", "price": 1.5, "side": "SELL", "size": None}
    new = {**old, "venue": "X", "size": Decimal("12.3400"), "levels": [{"a": 1.0}], "side": "BUY"}
    messages = [framed(7, TRADE, old), framed(4_000_000_000, NEWER, new), framed(7, TRADE, old)]
    got = AvroDecoder(
        FIELDS, schemas={7: json.dumps(TRADE), 4_000_000_000: json.dumps(NEWER)}, encoded=["symbol"]
    ).decode(messages)
    first = (1_000_001_000, "BTC", 1.5, "SELL", None, None)
    second = (1_000_001_000, "BTC", 1.5, "BUY", 12.34, "X")
    assert list(zip(*(values_of(c) for c in got.rows.columns), strict=True)) == [
        first,
        second,
        first,
    ]
    assert (got.unnest.to_pylist(), got.passed, got.empty) == ([-1] * 3, 0, 0)


def test_a_schema_that_is_not_known_costs_its_messages_and_is_asked_for_again():
    datum = {"ts": 1, "symbol": "BTC", "price": 1.5, "side": "SELL", "size": 2.0}
    messages = [framed(k, TRADE, datum) for k in (1, 2, 3, 1)] + [b"\x01abcdefg", b"\0\0\0\0", None]
    asked = []

    class Registry(dict):
        def __getitem__(self, number):
            asked.append(number)
            return super().__getitem__(number)

    registry = Registry({1: json.dumps(TRADE), 3: '{"type":"record"}'})
    decoder = AvroDecoder(FIELDS, schemas=registry)
    for _ in range(2):
        got = decoder.decode(messages)
        assert got.source.to_pylist() == [0, 3]
        assert got.bad.codes.to_pylist() == ["schema"] * 4 + ["tombstone"]
    assert asked == [1, 2, 3, 2]
    no_frame = "at byte 0: the byte 0 and the number of a schema were required"
    assert got.bad.reasons.to_pylist()[:4] == [
        "the schema 2 is not known; register it, or give it to the decoder",
        "schema 3: the type 'record' must have 'name', had not",
        f"{no_frame}, was b'\\x01abcd'",
        f"{no_frame}, was b'\\x00\\x00\\x00\\x00'",
    ]
    registry[2] = json.dumps(TRADE)
    assert decoder.decode(messages).source.to_pylist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "the schema must be JSON"),
        ('"Trade"', "'Trade' is not defined before it is used"),
        ('{"type":"array"}', "the type 'array' must have 'items'"),
        ('{"type":"fixed","name":"F","size":-1}', "the size of 'F' must be a number, was -1"),
        ('["null",5]', "must be a name, a list or have a 'type', was 5"),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"R"}]}', "holds itself"),
        ('[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":1}]',
         "the name 'F' is defined twice"),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"map","values":"int"}}]}',
         "the path '$.a.b' leads into the map '$.a'; take that as VARCHAR"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused(schema, message):
    with pytest.raises(SqlError) as refused:
        AvroDecoder([Field("x", BIG, "$.a.b")], schema)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AvroDecoder(FIELDS), SqlError, "either a schema or schemas by number"),
        (lambda: AvroDecoder(FIELDS, "", {}), SqlError, "either a schema or schemas by number"),
        (
            lambda: AvroDecoder([Field("x", BIG, "$.a[0]")], '"int"'),
            SqlError,
            "names members alone",
        ),
        (lambda: AvroDecoder([Field("x", BIG, "@.a")], '"int"'), SqlError, "there is none"),
        (
            lambda: AvroDecoder([Field("x", BIG, "$")], '"int"').decode([1]),
            ArgumentTypeError,
            "was int",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make, error, message):
    with pytest.raises(error) as refused:
        make()
    assert message in str(refused.value)


def test_names_of_types_are_found_in_their_spaces():
    schema = {
        "type": "record", "name": "a.b.Outer", "fields": [
            {"name": "x", "type": {"type": "record", "name": "Inner", "namespace": "c", "fields": [
                {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["P", "Q"]}},
                {"name": "next", "type": ["null", "Inner"]}]}},
            {"name": "y", "type": "c.Inner"},
            {"name": "z", "type": ["null", "Outer", "c.E"]},
        ],
    }  # fmt: skip
    inner = {"e": "Q", "next": {"e": "P", "next": None}}
    message = encode(schema, {"x": inner, "y": inner, "z": "Q"})
    fields = [Field(f"c{k}", TEXT, path) for k, path in enumerate(
        ["$.x.e", "$.x.next.e", "$.x.next.next.e", "$.y.next", "$.z", "$"])]  # fmt: skip
    rows = AvroDecoder(fields, json.dumps(schema)).decode([message]).rows.to_pylist()
    whole = '{"e":"Q","next":{"e":"P","next":null}}'
    assert list(rows[0].values()) == [
        "Q", "P", None, '{"e":"P","next":null}', "Q", f'{{"x":{whole},"y":{whole},"z":"Q"}}'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "message", "code", "reason"),
    [
        ("double", b"1234567", "syntax", "at byte 7: more bytes were required, the message ends"),
        ("long", b"\x80" * 11, "syntax",
         "at byte 0: an int of 32 bits or a long of 64 bits was required, was b'\\x80'"),
        ("int", b"\xff\xff\xff\xff\x1f", "syntax",
         "at byte 0: an int of 32 bits or a long of 64 bits was required, was b'\\xff'"),
        ("boolean", b"\x02", "syntax", "at byte 0: the byte 0 or 1 was required, was b'\\x02'"),
        (["null"], b"\x02", "syntax",
         "at byte 0: the number of a branch or a symbol was required, was b'\\x02'"),
        ("string", b"\x08abc", "syntax",
         "at byte 0: the length of what follows was required, was b'\\x08'"),
        ("string", b"\x06abcd", "syntax",
         "at byte 4: the end of the message was required, was b'd'"),
        ("string", b"\x06abc", "value",
         "column 'x' (BIGINT) at byte 0: a number was required, was b'\\x06abc'"),
        ("string", b"\x02\xff", "value",
         "column 'x' (BIGINT) at byte 0: a text in UTF-8, or a decimal of up to 128 bits, was "
         "required, was b'\\x02\\xff'"),
        ("null", b"\0", "syntax", "at byte 0: the end of the message was required, was b'\\x00'"),
        ({"type": "array", "items": "int"}, b"\x00", "value",
         "column 'x' (BIGINT) at byte 0: a single value was required; VARCHAR takes objects and "
         "arrays, was b'\\x00'"),
    ],
)  # fmt: skip
def test_reasons(schema, message, code, reason):
    got = AvroDecoder([Field("x", BIG, "$")], json.dumps(schema)).decode([message])
    assert (got.bad.codes.to_pylist(), got.bad.reasons.to_pylist()) == ([code], [reason])


def long(value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


@pytest.mark.parametrize("wanted", ["$.x", "$.y"])
def test_hostile_messages_cost_no_more_than_their_length(wanted):
    def record(kind):
        return {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]}

    def decoded(kind, message):
        decoder = AvroDecoder([Field("x", TEXT, wanted)], json.dumps(record(kind)))
        got = decoder.decode([message])
        return got.bad.codes.to_pylist() or got.rows.to_pylist()

    nulls = {"type": "array", "items": {"type": "record", "name": "N", "fields": [
        {"name": f"n{k}", "type": "null"} for k in range(1_000)]}}  # fmt: skip
    most = long(2**62) + long(0)
    assert decoded(nulls, most) == (["size"] if wanted == "$.x" else [{"x": None}])
    assert decoded(nulls, long(-(2**63)) + long(0)) == ["syntax"]
    for kind in ({"type": "array", "items": "int"}, {"type": "map", "values": "null"}):
        assert decoded(kind, most) == ["syntax"]
        assert decoded(kind, long(-(2**62)) + long(1) + b"\0" * 2) == ["syntax"]
    for n in (2**62, -1, -(2**63), 2**31):
        assert decoded("bytes", long(n) + b"abc") == ["syntax"]
    nested = {"type": "record", "name": "L", "fields": [{"name": "l", "type": ["null", "L"]}]}
    for n, good in ((60, True), (100, False), (5_000_000, False)):
        found = decoded(nested, b"\x02" * n + b"\x00")
        assert (found[0] == "depth") != good
    bomb = "null"
    for k in range(40):
        fields = [{"name": "a", "type": bomb}, {"name": "b", "type": f"B{k - 1}" if k else "null"}]
        bomb = {"type": "record", "name": f"B{k}", "fields": fields}
    assert decoded(bomb, b"") == ["empty"]
    assert decoded({"type": "array", "items": bomb}, b"\x02\x00") == (
        ["size"] if wanted == "$.x" else [{"x": None}]
    )


def test_a_block_must_be_as_long_as_it_says():
    schema = json.dumps({"type": "array", "items": "int"})
    decoder = AvroDecoder([Field("x", TEXT, "$")], schema)
    block = long(-2) + long(2) + long(5) + long(6) + long(1) + long(-7) + long(0)
    assert decoder.decode([block]).rows["x"].to_pylist() == ["[5,6,-7]"]
    for size in (0, 1, 3, 5):
        message = long(-2) + long(size) + long(5) + long(6) + long(1) + long(-7) + long(0)
        assert decoder.decode([message]).bad.codes.to_pylist() == ["syntax"]


def test_the_definition_refuses_what_it_should():
    for schema, message in (
        ("int", b"\xff\xff\xff\xff\x1f"),
        ("string", b"\x08abc"),
        ("boolean", b"\x02"),
    ):
        with pytest.raises(BadMessage):
            Reader(schema, message).message()
