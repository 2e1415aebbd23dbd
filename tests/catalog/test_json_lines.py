"""Rows as JSON: equal to what the standard library writes of the same values, type by type."""

import base64
import datetime
import decimal
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from fin_sql.catalog.json_lines import encode_rows, encode_values
from fin_sql.errors import ArgumentTypeError, KernelError


def batch(**columns):
    return pa.RecordBatch.from_pydict(columns)


def dumps(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_a_row_is_an_object_of_its_columns_in_their_order():
    rows = batch(
        symbol=["BTC-USD", None], price=[100.0, 1e-7], size=[2**53 + 1, None], ok=[True, False]
    )
    assert encode_rows(rows).to_pylist() == [
        b'{"symbol":"BTC-USD","price":100.0,"size":9007199254740993,"ok":true}',
        b'{"symbol":null,"price":1e-07,"size":null,"ok":false}',
    ]
    assert encode_rows(rows).type == pa.large_binary()
    assert encode_rows(rows.slice(0, 0)).to_pylist() == []
    nothing = pa.RecordBatch.from_arrays([], names=[])
    assert encode_rows(nothing).to_pylist() == []


@seed(7)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_doubles_are_what_repr_says(values):
    found = encode_values(pa.array(values, pa.float64())).to_pylist()
    assert found == [repr(value).encode() for value in values]


def test_doubles_of_every_size():
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**64, 200_000, dtype=np.uint64).view(np.float64)
    prices = np.round(rng.lognormal(5, 3, 100_000), 2)
    edges = [0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e-4, 9.999999999999999e-05, 1e16,
             9999999999999998.0, 2.0**53, 123456789.0, 0.1, 1 / 3]  # fmt: skip
    for values in (bits[np.isfinite(bits)], prices, np.array(edges), -np.array(edges)):
        found = encode_values(pa.array(values)).to_pylist()
        assert found == [repr(value).encode() for value in values.tolist()]


def test_floats_read_back_and_are_short():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate(
        (values[np.isfinite(values)], np.float32([0.1, 1e10, 16777216, -0.0, 3]))
    )
    for text, value in zip(encode_values(pa.array(values)).to_pylist(), values, strict=True):
        assert np.float32(text.decode()) == value
        digits = text.decode().lstrip("-").partition("e")[0].replace(".", "").strip("0")
        shortest = np.format_float_scientific(value, unique=True, trim="0").lstrip("-")
        assert len(digits) <= len(shortest.partition("e")[0].replace(".", "").strip("0")), text
    halves = pa.array(np.float16([0.5, 0.1]))
    assert [np.float16(text.decode()) for text in encode_values(halves).to_pylist()] == [
        np.float16(0.5), np.float16(0.1)]  # fmt: skip


def test_nan_and_the_infinities_are_null_or_texts():
    values = pa.array([math.nan, math.inf, -math.inf, None, 1.0])
    null = [b"null"] * 3
    assert encode_values(values).to_pylist() == [*null, None, b"1.0"]
    texts = [b'"NaN"', b'"Infinity"', b'"-Infinity"', None, b"1.0"]
    assert encode_values(values, nan="text").to_pylist() == texts
    assert encode_values(values.cast(pa.float32()), nan="text").to_pylist() == texts


@seed(11)
@given(st.lists(st.none() | st.text() | st.text(st.characters(max_codepoint=127))))
def test_texts_are_escaped_as_the_standard_library_does(values):
    expected = [None if value is None else dumps(value) for value in values]
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        assert encode_values(pa.array(values, kind)).to_pylist() == expected
    encoded = pa.array(values, pa.string()).dictionary_encode()
    assert encode_values(encoded).to_pylist() == expected


def test_every_character_that_is_escaped():
    text = "".join(map(chr, range(0x80))) + "é€𝄞\u2028"
    assert encode_values(pa.array([text])).to_pylist() == [dumps(text)]


@pytest.mark.parametrize(
    "kind", [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
def test_integers_of_every_width(kind):
    info = np.iinfo(kind)
    values = [info.min, info.max, 0, 1, None, info.max // 3]
    array = pa.array(values, getattr(pa, kind)())
    expected = [value if value is None else str(value).encode() for value in values]
    assert encode_values(array).to_pylist() == expected
    assert encode_values(array.slice(2, 3)).to_pylist() == expected[2:5]


def test_decimals_are_exact():
    texts = ["1.50", "-0.07", "99999999999999999999999999999999999.99", "0.00"]
    values = pa.array([decimal.Decimal(text) for text in texts], pa.decimal128(38, 2))
    found = encode_values(values).to_pylist()
    assert [decimal.Decimal(text.decode()) for text in found] == [decimal.Decimal(t) for t in texts]
    tiny = pa.array([decimal.Decimal("1e-20"), decimal.Decimal(0)], pa.decimal128(38, 30))
    found = [json.loads(t, parse_float=decimal.Decimal) for t in encode_values(tiny).to_pylist()]
    assert found == [decimal.Decimal("1e-20"), 0]


DAYS = st.integers(-719_162, 2_932_896)  # 0001-01-01 to 9999-12-31


@seed(13)
@given(st.lists(DAYS), st.integers(0, 86_399), st.integers(0, 999_999))
def test_times_are_what_datetime_says(days, seconds, micros):
    dates = [datetime.date(1970, 1, 1) + datetime.timedelta(day) for day in days]
    expected = [f'"{date.isoformat()}"'.encode() for date in dates]
    assert encode_values(pa.array(days, pa.int32()).cast(pa.date32())).to_pylist() == expected
    milli = [day * 86_400_000 for day in days]
    assert encode_values(pa.array(milli, pa.int64()).cast(pa.date64())).to_pylist() == expected
    clock = datetime.time(seconds // 3600, seconds // 60 % 60, seconds % 60, micros)
    for unit, step, places in (("s", 1, 0), ("ms", 10**3, 3), ("us", 10**6, 6)):
        part = micros * step // 10**6
        fraction = f".{part:0{places}}" if places else ""
        text = f"{clock:%H:%M:%S}{fraction}"
        counts = [(day * 86_400 + seconds) * step + part for day in days]
        array = pa.array(counts, pa.int64())
        for zone in (None, "UTC", "America/New_York"):
            found = encode_values(array.cast(pa.timestamp(unit, zone))).to_pylist()
            assert found == [f'"{date.isoformat()}T{text}Z"'.encode() for date in dates]
        kind = pa.time64(unit) if unit == "us" else pa.time32(unit)
        width = pa.int64() if unit == "us" else pa.int32()
        of_day = pa.array([seconds * step + part], width).cast(kind)
        assert encode_values(of_day).to_pylist() == [f'"{text}"'.encode()]


def test_nanoseconds_and_counts():
    ns = [1_767_623_400_123_456_789, -1, 0, None, -(2**63) + 1, 2**63 - 1]
    array = pa.array(ns, pa.timestamp("ns"))
    assert encode_values(array).to_pylist() == [
        b'"2026-01-05T14:30:00.123456789Z"', b'"1969-12-31T23:59:59.999999999Z"',
        b'"1970-01-01T00:00:00.000000000Z"', None, b'"1677-09-21T00:12:43.145224193Z"',
        b'"2262-04-11T23:47:16.854775807Z"',
    ]  # fmt: skip
    for name, step in (
        ("epoch_s", 10**9),
        ("epoch_ms", 10**6),
        ("epoch_us", 10**3),
        ("epoch_ns", 1),
    ):
        found = encode_values(array, times=name).to_pylist()
        assert found == [None if v is None else str(v // step).encode() for v in ns]
    seconds = pa.array([1_767_623_400, 0, -5], pa.timestamp("s"))
    assert encode_values(seconds, times="epoch_ns").to_pylist() == [
        b"1767623400000000000",
        b"0",
        b"-5000000000",
    ]
    clock = pa.array([1], pa.time64("ns"))
    assert encode_values(clock, times="epoch_ns").to_pylist() == [b'"00:00:00.000000001"']


def test_years_that_iso_does_not_have_are_refused():
    rows = pa.RecordBatch.from_arrays(
        [pa.array([1, 2]), pa.array([0, 2**50], pa.timestamp("s"))], ["a", "late"]
    )
    with pytest.raises(KernelError, match="column 'late': .*years 1 to 9999.*in row 1;") as caught:
        encode_rows(rows)
    assert caught.value.row == 1
    assert encode_rows(rows, times="epoch_s").to_pylist()[1] == b'{"a":2,"late":1125899906842624}'
    with pytest.raises(KernelError, match="a value: .*in row 0"):
        encode_values(pa.array([-(2**50)], pa.timestamp("s")))


@seed(17)
@given(st.lists(st.none() | st.binary()))
def test_bytes_are_base64(values):
    expected = [v if v is None else b'"' + base64.b64encode(v) + b'"' for v in values]
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        assert encode_values(pa.array(values, kind)).to_pylist() == expected
    fixed = pa.array([b"abc", None, b"\xff\x00z"], pa.binary(3))
    assert encode_values(fixed).to_pylist() == [b'"YWJj"', None, b'"/wB6"']


NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
NESTED = st.none() | st.fixed_dictionaries({
    "list": st.none() | st.lists(st.none() | st.text(max_size=5), max_size=4),
    "pair": st.none() | st.tuples(NUMBERS, NUMBERS).map(list),
    "deep": st.none() | st.fixed_dictionaries({"a \"b\"": st.none() | st.booleans(), "n": NUMBERS}),
    "levels": st.none() | st.lists(st.none() | st.lists(NUMBERS, max_size=3), max_size=3),
    "structs": st.none() | st.lists(st.none() | st.fixed_dictionaries({"x": NUMBERS}), max_size=3),
})  # fmt: skip
NESTED_TYPE = pa.struct({
    "list": pa.list_(pa.string()),
    "pair": pa.list_(pa.int64(), 2),
    "deep": pa.struct({'a "b"': pa.bool_(), "n": pa.int64()}),
    "levels": pa.large_list(pa.list_(pa.int64())),
    "structs": pa.list_(pa.struct({"x": pa.int64()})),
})  # fmt: skip


@seed(19)
@given(st.lists(NESTED, max_size=8), st.integers(0, 4), st.integers(0, 4))
def test_nested_values_whole_and_in_slices(values, begin, length):
    array = pa.array(values, NESTED_TYPE)
    values = array.to_pylist()  # members in the order of the type
    expected = [None if value is None else dumps(value) for value in values]
    assert encode_values(array).to_pylist() == expected
    part = array.slice(begin, length)
    assert encode_values(part).to_pylist() == expected[begin : begin + length]
    rows = pa.RecordBatch.from_arrays([array, pa.array(range(len(values)))], ["v", "i"])
    found = encode_rows(rows.slice(begin, length)).to_pylist()
    every = [dumps({"v": value, "i": i}) for i, value in enumerate(values)]
    assert found == every[begin : begin + length]


def test_maps_are_objects():
    kind = pa.map_(pa.string(), pa.float64())
    array = pa.array([[("a", 1.0), ("b", None)], [], None, [("c", 2.5)]], kind)
    assert encode_values(array).to_pylist() == [b'{"a":1.0,"b":null}', b"{}", None, b'{"c":2.5}']
    assert encode_values(array.slice(1)).to_pylist() == [b"{}", None, b'{"c":2.5}']
    with pytest.raises(ArgumentTypeError, match="has no form in JSON"):
        encode_values(pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64())))


def test_types_without_a_form_are_refused_by_name():
    rows = batch(a=pa.array([{"d": 1}], pa.struct({"d": pa.duration("s")})))
    with pytest.raises(ArgumentTypeError, match=r"column 'a.d': duration\[s\] .*cast it"):
        encode_rows(rows)


def test_nulls_without_a_type():
    assert encode_rows(batch(x=pa.nulls(2), y=pa.array([[None], None]))).to_pylist() == [
        b'{"x":null,"y":[null]}', b'{"x":null,"y":null}']  # fmt: skip
