"""Values in another type: they fit when nothing of them is lost."""

from decimal import Decimal

import pyarrow as pa
import pytest

import fin_sql
from fin_sql.catalog.lossless import fitted, may_fit

NUMBERS = [0, 1, -1, 0.5, 1.5, -0.0, 127, 128, 2**24 + 1, 2**31, 2**53, 2**53 + 1, 2**60,
           2**63 - 1, 0.1, 1e-8, 1e300, 1e16, 0.125, Decimal("0.1"),
           Decimal("1.25"), Decimal("1.00000001")]  # fmt: skip
TARGETS = [pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(),
           pa.decimal128(18, 8), pa.decimal128(5, 2)]  # fmt: skip


def exact(value, kind):
    """Whether a type has a value exactly, in Python's numbers alone."""
    if pa.types.is_integer(kind):
        low, high = (
            (0, 2**64)
            if kind == pa.uint64()
            else (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1))
        )  # noqa: E501
        return value == int(value) and low <= int(value) < high
    if pa.types.is_decimal(kind):
        said = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        scaled = said.scaleb(kind.scale)
        return scaled == int(scaled) and abs(scaled) < 10**kind.precision
    there = pa.scalar(float(value), kind)
    if isinstance(value, Decimal):  # the double whose shortest form it is
        return Decimal(str(there.cast(pa.string()))) == value
    return there.as_py() == value


@pytest.mark.parametrize("kind", TARGETS, ids=str)
def test_a_number_goes_where_nothing_of_it_is_lost(kind):
    for value in NUMBERS:
        array = pa.array([value, None])
        assert may_fit(array.type, kind)
        try:
            found = fitted(array, kind, "column 'x'").to_pylist()
        except fin_sql.SqlError:
            found = None
        assert (found is not None) == exact(value, kind), (value, kind)
        if found is not None and not (isinstance(value, float) and pa.types.is_decimal(kind)):
            if not isinstance(value, Decimal):
                assert found == [value, None]


PAIRS = [
    (pa.array(["2026-01-05T14:30:00.123456789"]), pa.timestamp("ns"), True),
    (pa.array(["2026-01-05T14:30:00.123456789"]), pa.timestamp("us"), False),
    (pa.array(["2026-01-05T14:30:00Z"]), pa.timestamp("ns", "America/New_York"), True),
    (pa.array(["2026-01-05T14:30:00"]), pa.timestamp("ns", "UTC"), False),
    (pa.array(["2026-01-05T14:30:00Z"]), pa.timestamp("ns"), False),
    (pa.array(["2026-01-05"]), pa.date32(), True),
    (pa.array(["2026-01-05 14:30"]), pa.date32(), False),
    (pa.array(["1.25"]), pa.decimal128(5, 2), True),
    (pa.array(["1.255"]), pa.decimal128(5, 2), False),
    (pa.array(["1"]), pa.int64(), None),
    (pa.array([1]), pa.string(), None),
    (pa.array([1]), pa.bool_(), None),
    (pa.array([True]), pa.int64(), None),
    (pa.array([1]), pa.timestamp("ns"), None),
    (pa.array([1], pa.timestamp("ns")), pa.timestamp("ns", "UTC"), None),
    (pa.array([1], pa.timestamp("ns")), pa.timestamp("us"), False),
    (pa.array([1000], pa.timestamp("ns")), pa.timestamp("us"), True),
    (pa.array([2**60], pa.timestamp("s")), pa.timestamp("ns"), False),
    (pa.array([1], pa.timestamp("us", "UTC")), pa.timestamp("ns", "Asia/Tokyo"), True),
    (pa.array([0], pa.timestamp("ns")), pa.date32(), True),
    (pa.array([1], pa.timestamp("ns")), pa.date32(), False),
    (pa.array([5], pa.date32()), pa.timestamp("ms"), True),
    (pa.array(["a", None]).dictionary_encode(), pa.string(), True),
    (pa.array(["a", None]), pa.dictionary(pa.int32(), pa.string()), True),
    (pa.array(["a"]), pa.large_string(), True),
    (pa.array([b"a"]), pa.string(), None),
    (pa.nulls(2), pa.list_(pa.int64()), True),
    (pa.array([[1]]), pa.list_(pa.int64()), True),
    (pa.array([[1]]), pa.list_(pa.int32()), None),
    (pa.array([float("nan")]), pa.float32(), True),
    (pa.array([float("nan")]), pa.int64(), False),
    (pa.array([float("inf")]), pa.decimal128(5, 2), False),
    (pa.array([1], pa.duration("ns")), pa.duration("us"), False),
    (pa.array([1], pa.time64("ns")), pa.time32("s"), False),
    (pa.array([10**9], pa.time64("ns")), pa.time32("s"), True),
]


@pytest.mark.parametrize(("array", "kind", "fits"), PAIRS)
def test_other_values_go_where_nothing_of_them_is_lost(array, kind, fits):
    """None: no value of the type ever does."""
    assert may_fit(array.type, kind) == (fits is not None)
    if fits:
        found = fitted(array, kind, "column 'x'")
        assert found.type == kind and found.null_count == array.null_count
    elif fits is False:
        with pytest.raises(fin_sql.SqlError, match=r"column 'x' is .*, and row 8 gives"):
            fitted(array, kind, "column 'x'", 7)
