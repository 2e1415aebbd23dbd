"""Messages of JSON to rows, against the plain definition beside this file."""

import json
import random
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_definition import BadMessage, decode, parse
from json_documents import FEEDS, ODD_TEXTS, TRAPS, Writer, damaged

from fin_sql.catalog.json_rows import JsonDecoder
from fin_sql.catalog.rows import FORMATS, NUMBER, Condition, Field

TYPES = {
    "double": pa.float64(),
    "float": pa.float32(),
    "tiny": pa.int8(),
    "small": pa.int16(),
    "int": pa.int32(),
    "big": pa.int64(),
    "utiny": pa.uint8(),
    "usmall": pa.uint16(),
    "uint": pa.uint32(),
    "ubig": pa.uint64(),
    "bool": pa.bool_(),
    "short": pa.decimal128(5, 2),
    "long": pa.decimal128(38, 10),
    "text": pa.string(),
    "time": pa.timestamp("ns"),
    "time_ms": pa.timestamp("ms", "Europe/Zurich"),
    "day": pa.date32(),
}


def same(a, b):
    """Equal, NaN to NaN, and -0.0 to itself alone."""
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    return type(a) is type(b) and a == b


def values_of(array):
    kind = array.type
    if pa.types.is_timestamp(kind):
        array = array.cast(pa.int64())
    elif kind == pa.date32():
        array = array.cast(pa.int32())
    elif pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
    return array.to_pylist()


def compare(messages, fields, unnest=(), where=(), encoded=()):
    """Decode, and find all as the definition has it."""
    got = JsonDecoder(fields, unnest, where, encoded).decode(messages)
    got.rows.validate(full=True)
    rows, source, paths, bad, passed, empty = decode(messages, fields, unnest, where)
    codes = dict(zip(got.bad.messages.to_pylist(), got.bad.codes.to_pylist(), strict=True))
    reasons = dict(zip(got.bad.messages.to_pylist(), got.bad.reasons.to_pylist(), strict=True))
    differ = {i for i in set(codes) | set(bad) if codes.get(i) != bad.get(i)}
    assert not differ, [(messages[i], codes.get(i), bad.get(i), reasons.get(i)) for i in differ]
    assert (got.passed, got.empty) == (passed, empty)
    assert got.source.to_pylist() == source
    assert got.unnest.to_pylist() == paths
    found = list(zip(*(values_of(column) for column in got.rows.columns), strict=True))
    assert len(found) == len(rows)
    for i, mine, wanted in zip(source, found, rows, strict=True):
        for field, a, b in zip(fields, mine, wanted, strict=True):
            assert same(a, b), (messages[i], field, a, b)
    return got


def column(messages, kind, format="", path="$.x"):
    """The values of one column, with the reasons of bad messages in their places."""
    decoded = JsonDecoder([Field("x", kind, path, format)], encoded=()).decode(messages)
    found = dict(zip(decoded.source.to_pylist(), values_of(decoded.rows["x"]), strict=True))
    found |= dict(
        zip(decoded.bad.messages.to_pylist(), decoded.bad.reasons.to_pylist(), strict=True)
    )
    return [found[i] for i in range(len(messages))]


def x(*values):
    return [b'{"x":%s}' % str(value).encode() for value in values]


# ---------------------------------------------------------------- random documents


def drawn_fields(writer, n, inner=""):
    fields = []
    for k in range(n):
        kind = writer.rng.choice([*TYPES, *["text"] * 30])
        timed = kind in ("time", "time_ms", "day")
        format = writer.rng.choice(FORMATS) if timed else ""
        path = writer.path(inner=inner)
        fields.append(Field(f"c{k}", TYPES[kind], path, format, writer.rng.random() < 0.02))
    return fields


def drawn_condition(writer):
    op = writer.rng.choice(["=", "<>", "in", "is null", "is not null"])
    values = [
        writer.rng.choice([writer.number, writer.text, lambda: "5", lambda: 5, lambda: True])()
        for _ in range({"=": 1, "<>": 1, "in": 5}.get(op, 0))
    ]
    values = [Decimal(v) if isinstance(v, str) and NUMBER.fullmatch(v) and k else v
              for k, v in enumerate(values)]  # fmt: skip
    return Condition(writer.path(steps=1), op, tuple(values))


@pytest.mark.parametrize("seed", range(60))
def test_random_documents_decode_as_defined(seed):
    writer = Writer(random.Random(seed))
    rng = writer.rng
    messages = [writer.message() for _ in range(150)]
    unnest = {
        rng.choice([writer.path(steps=1), "$.data", "$.a"])
        for _ in range(rng.choice([0, 0, 1, 2, 3]))
    }
    fields = drawn_fields(writer, rng.randrange(1, 9), "@" if unnest else "")
    texts = [field.name for field in fields if field.type == pa.string()]
    where = [drawn_condition(writer) for _ in range(rng.choice([0, 0, 0, 1]))]
    compare(messages, fields, sorted(unnest), where, texts[: rng.randrange(len(texts) + 1)])


@pytest.mark.parametrize(
    ("kind", "format"),
    [(kind, "") for kind in TYPES]
    + [(kind, format) for kind in ("time", "time_ms", "day") for format in FORMATS],
)
def test_every_type_reads_odd_values_as_defined(kind, format):
    writer = Writer(random.Random(7), damage=0)
    values = [
        *TRAPS,
        *(f'"{t}"' for t in [*TRAPS, *ODD_TEXTS]),
        "true",
        "false",
        "null",
        "{}",
        "[1]",
    ]
    values += [writer.value() for _ in range(1_500)]
    fields = [Field("x", TYPES[kind], "$.x", format)]
    compare([b'{"x":%s}' % value.encode() for value in values], fields)


def test_fuzzed_messages_are_taken_and_refused_as_defined():
    """Real messages, damaged: never a crash, and never another verdict."""
    rng = random.Random(11)
    fields = [
        Field("type", pa.string(), "$.type"),
        Field("price", pa.float64(), "$.price"),
        Field("b", pa.float64(), "$.data.b"),
        Field("t", pa.timestamp("ns"), "$.data.T", "epoch_ms"),
        Field("time", pa.timestamp("us"), "$.time"),
        Field("id", pa.int64(), "$.trade_id"),
        Field("pair", pa.string(), "$[-1]"),
    ]
    messages = [damaged(rng, rng.choice(FEEDS)) for _ in range(8_000)]
    compare(messages, fields, encoded=["pair"])
    book = [
        Field("price", pa.decimal128(20, 8), "@[0]"),
        Field("t", TYPES["time"], "@[2]", "epoch_s"),
    ]
    compare(messages, book, ["$[1].a", "$[2].b", "$.data"])


@pytest.mark.parametrize("seed", range(20))
def test_the_definition_takes_what_json_loads_takes(seed):
    """json.loads takes NaN, Infinity and byte order marks as well: these are left out."""

    def refuse(word):
        raise ValueError(word)

    writer = Writer(random.Random(seed), damage=0.7)
    taken = []
    for _ in range(300):
        message = writer.message() or b" "
        try:
            text = message.decode()
            json.loads(text, parse_constant=refuse)
            taken.append(not text.startswith("\ufeff"))
        except ValueError:
            taken.append(False)
        try:
            parse(message)
            assert taken[-1], message
        except BadMessage:
            assert not taken[-1], message
    assert 20 < sum(taken) < 280


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=40), st.booleans())
def test_any_text_comes_back(text, ascii):
    message = json.dumps({"x": text}, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    (found,) = column([message], pa.string())
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        assert "surrogate pair" in found or "UTF-8 was required" in found
    else:
        assert found == text
