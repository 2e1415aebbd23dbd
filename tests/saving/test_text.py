"""Values as CSV and JSON, against the readers of Python's standard library."""

import csv
import datetime
import io
import json
import math
import random
import struct
from decimal import Decimal

import pyarrow as pa
import pytest

from fin_sql.catalog.text import csv_header, csv_lines, json_lines, json_texts, texts
from fin_sql.errors import SqlError

DOUBLES = [0.0, -0.0, 1.0, 0.1, 1e16, 1e-7, 1e300, 5e-324, 2.0**53, math.nan, math.inf, -math.inf]
LETTERS = "ab\",\\\n\r\t\x00\x01\x1f é\U0001d518;|'^]-"


def drawn(rng, kind):
    """A value of a type as Python has it."""
    if rng.random() < 0.15:
        return None
    if pa.types.is_floating(kind):
        return rng.choice([*DOUBLES, struct.unpack("d", rng.randbytes(8))[0], rng.gauss(0, 1)])
    if pa.types.is_integer(kind):
        return rng.randrange(-(2**63), 2**63)
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    if pa.types.is_string(kind):
        return "".join(rng.choice(LETTERS) for _ in range(rng.randrange(6)))
    if pa.types.is_decimal(kind):
        return Decimal(rng.choice([0, 1, rng.randrange(-(10**17), 10**17)])).scaleb(-8)
    if pa.types.is_struct(kind):
        return {f.name: drawn(rng, f.type) for f in kind}
    if pa.types.is_map(kind):
        return [(f'k"{i}', drawn(rng, kind.item_type)) for i in range(rng.randrange(3))]
    length = kind.list_size if pa.types.is_fixed_size_list(kind) else rng.randrange(4)
    return [drawn(rng, kind.value_type) for _ in range(length)]


def a_type(rng, depth=0):
    if depth == 3 or rng.random() < 0.5:
        plain = (pa.float64(), pa.int64(), pa.bool_(), pa.string(), pa.decimal128(18, 8))
        return rng.choice(plain)
    inner = a_type(rng, depth + 1)
    return rng.choice(
        [
            pa.struct([("a", inner), ('b "q', a_type(rng, depth + 1))]),
            pa.list_(inner),
            pa.large_list(inner),
            pa.list_(inner, 2),
            pa.map_(pa.string(), inner),
        ]
    )


def as_json(value, kind):
    """What a reader of JSON must find, by the words of docs/sql.md."""
    if value is None:
        return None
    if pa.types.is_floating(kind):
        names = {math.inf: "Infinity", -math.inf: "-Infinity"}
        return value if math.isfinite(value) else names.get(value, "NaN")
    if pa.types.is_decimal(kind):
        return f"{value:f}"
    if pa.types.is_struct(kind):
        return {f.name: as_json(value[f.name], f.type) for f in kind}
    if pa.types.is_map(kind):
        return {name: as_json(inner, kind.item_type) for name, inner in value}
    if pa.types.is_nested(kind):
        return [as_json(inner, kind.value_type) for inner in value]
    return value


@pytest.mark.parametrize("seed", range(60))
def test_json_of_any_value_reads_back(seed):
    rng = random.Random(seed)
    kind = a_type(rng)
    array = pa.array([drawn(rng, kind) for _ in range(40)], kind)
    array = array.slice(rng.randrange(20), rng.randrange(1, 20))
    wanted = [as_json(value, kind) for value in array.to_pylist()]
    assert repr([json.loads(text) for text in json_texts(array).to_pylist()]) == repr(wanted)
    batch = pa.record_batch({'x "y': array, "n": range(len(array))})
    lines = json_lines(batch).decode().split("\n")
    assert lines.pop() == ""
    rows = [{'x "y': value, "n": k} for k, value in enumerate(wanted)]
    assert repr([json.loads(line) for line in lines]) == repr(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", "^", "]", " "])
@pytest.mark.parametrize("null", ["", "NULL", "\\N"])
def test_csv_texts_read_back_with_any_delimiter(delimiter, null):
    rng = random.Random(f"{delimiter}{null}")
    words = [drawn(rng, pa.string()) for _ in range(500)] + [null, "", None, delimiter, '"']
    words = [None if w is None else w.replace("\0", "") for w in words]
    batch = pa.record_batch({"a": pa.array(words), "b": range(len(words))})
    text = (csv_header(batch.schema, delimiter) + csv_lines(batch, delimiter, null)).decode()
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert rows[0] == ["a", "b"]
    assert [row[0] for row in rows[1:]] == [null if w is None else w for w in words]
    batch = pa.record_batch({"a": pa.array([None, null, "x"]), "b": [1, 2, 3]})
    lines = csv_lines(batch, delimiter, null).decode().split("\n")
    assert [line.split(delimiter)[0] for line in lines[:3]] == [null, f'"{null}"', "x"]


def test_doubles_are_written_in_the_fewest_digits():
    rng = random.Random(5)
    values = DOUBLES + [struct.unpack("d", rng.randbytes(8))[0] for _ in range(20_000)]
    values += [round(rng.uniform(0, 1e5), 2) for _ in range(1_000)]
    for value, text in zip(values, texts(pa.array(values)).to_pylist(), strict=True):
        if math.isfinite(value):
            assert struct.pack("d", float(text)) == struct.pack("d", value), text
            # Python's repr has the fewest digits too, if it is not written out with zeros.
            digits = [t.lstrip("-").split("e")[0].replace(".", "") for t in (text, repr(value))]
            assert digits[0].strip("0") == digits[1].strip("0")
            assert not text.lstrip("-").isdigit()
    assert texts(pa.array([1.0, 0.1, -0.0, 1e-7, math.nan, math.inf, -math.inf])).to_pylist() == [
        "1.0", "0.1", "-0.0", "1e-7", "NaN", "Infinity", "-Infinity"
    ]  # fmt: skip
    assert texts(pa.array([0.1, 3.0], pa.float32())).to_pylist() == ["0.1", "3.0"]
    assert texts(pa.array([0.5], pa.float16())).to_pylist() == ["0.5"]


def test_times_are_iso_with_the_digits_of_their_unit():
    seconds = 1_767_623_400
    for unit, factor, digits in (("s", 1, ""), ("ms", 10**3, ".001"), ("us", 10**6, ".000001"),
                                 ("ns", 10**9, ".000000001")):  # fmt: skip
        value = seconds * factor + (1 if digits else 0)
        for zone, mark in ((None, ""), ("UTC", "Z"), ("America/New_York", "Z"), ("+02:00", "Z")):
            array = pa.array([value, None], pa.timestamp(unit, zone))
            assert texts(array).to_pylist() == [f"2026-01-05T14:30:00{digits}{mark}", None]
    day = datetime.date(2026, 1, 5)
    assert texts(pa.array([day], pa.date32())).to_pylist() == ["2026-01-05"]
    assert texts(pa.array([day], pa.date64())).to_pylist() == ["2026-01-05"]
    assert texts(pa.array([1], pa.time64("ns"))).to_pylist() == ["00:00:00.000000001"]
    assert texts(pa.array([-5], pa.duration("ms"))).to_pylist() == ["-5"]


def test_other_values():
    assert texts(pa.array([b"\xff\x00"])).to_pylist() == ["ff00"]
    assert texts(pa.array([Decimal("0"), Decimal("1e-8")], pa.decimal128(18, 8))).to_pylist() == [
        "0.00000000", "0.00000001"
    ]  # fmt: skip
    assert texts(pa.array(["a", None, "b", "a"]).dictionary_encode()).to_pylist() == [
        "a", None, "b", "a"
    ]  # fmt: skip
    assert json_texts(pa.array(["a", None]).dictionary_encode()).to_pylist() == ['"a"', "null"]
    assert texts(pa.nulls(2)).to_pylist() == [None, None]
    assert texts(pa.array([{"a": 1.0}, None])).to_pylist() == ['{"a": 1.0}', None]
    with pytest.raises(SqlError, match="have no text"):
        texts(pa.array([(1, 2, 3)], pa.month_day_nano_interval()))


def test_null_in_a_table_of_one_column_is_no_empty_line():
    batch = pa.record_batch({"a": pa.array([1, None, 3])})
    assert csv_lines(batch) == b'1\n""\n3\n'
    assert csv_lines(batch, ",", "NULL") == b"1\nNULL\n3\n"


def test_names_are_quoted_too():
    schema = pa.schema([("a,b", pa.int64()), ('c"', pa.int64()), ("", pa.int64())])
    assert csv_header(schema) == b'"a,b","c""",""\n'
