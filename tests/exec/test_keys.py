"""Keys against a Python dict, and the bytes that they are kept by."""

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise, product

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from fin_sql.columns import Slots
from fin_sql.errors import ArgumentTypeError
from fin_sql.exec.keys import KEY_GROUPS, Keys, first_rows, key_group

ROWS = 400
RNG = np.random.default_rng(20260105)
WORDS = [
    "",
    "a",
    "a\0",
    "a\0b",
    "a\0\1",
    "a\1",
    "ab",
    "b",
    "BTC-USD",
    "é",
    "z" * 40,
    "z" * 39,
    "日本",
]
INTS = {
    pa.int8(): [-128, -1, 0, 1, 127],
    pa.int16(): [-(2**15), -1, 0, 300, 2**15 - 1],
    pa.int32(): [-(2**31), -7, 0, 7, 2**31 - 1],
    pa.int64(): [-(2**63), -(2**53) - 1, -1, 0, 2**53 + 1, 2**63 - 1],
    pa.uint8(): [0, 1, 200, 255],
    pa.uint16(): [0, 1, 2**16 - 1],
    pa.uint32(): [0, 1, 2**32 - 1],
    pa.uint64(): [0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1],
}
FLOATS = [-math.inf, -1.5, -0.0, 0.0, 0.5, 1.5, math.inf, math.nan]
DOUBLES = [*FLOATS, -1e300, -5e-324, 5e-324, 0.1, 1e300]
DAYS = [dt.date(1900, 3, 1), dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2026, 1, 5)]
TIMES = [dt.time(0, 0), dt.time(0, 0, 1), dt.time(9, 30), dt.time(23, 59, 59)]
MOMENTS = [-(10**9), -1, 0, 1, 1_767_600_000]
ZONES = [None, "UTC", "America/New_York"]
PRICES = [Decimal(n) / 100 for n in (-99999, -1, 0, 1, 150, 99999)]

POOLS = (
    [pa.array(values, kind) for kind, values in INTS.items()]
    + [pa.array([False, True]), pa.array([None, None], pa.null())]
    + [pa.array(FLOATS, kind) for kind in (pa.float16(), pa.float32())]
    + [pa.array(DOUBLES), pa.array(DAYS, pa.date32()), pa.array(DAYS, pa.date64())]
    + [pa.array(WORDS, kind) for kind in (pa.string(), pa.large_string(), pa.string_view())]
    + [
        pa.array([w.encode() for w in WORDS], kind)
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    ]
    + [pa.array([b"abc", b"ab\0", b"\xff\0\0"], pa.binary(3))]
    + [pa.array(TIMES, kind) for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"))]
    + [pa.array(TIMES, pa.time64("ns"))]
    + [
        pa.array(MOMENTS, pa.timestamp(unit, zone))
        for unit, zone in product(("s", "ms", "us", "ns"), ZONES)
    ]
    + [pa.array(PRICES, pa.decimal128(p, s)) for p, s in ((7, 2), (20, 5), (38, 10))]
    + [pa.array(PRICES, pa.decimal256(30, 2))]
)
TAKEN_AS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def typed(pools):
    return {"argvalues": pools, "ids": [str(pool.type) for pool in pools]}


def drawn(pool, rng=RNG, rows=ROWS, nulls=0.1):
    """Rows of a pool in any order, some NULL, as a slice that begins inside a byte."""
    at = pa.array(rng.integers(0, len(pool), rows + 11), mask=rng.random(rows + 11) < nulls)
    plainly = TAKEN_AS.get(pool.type, pool.type)  # pyarrow takes no rows of views
    return pool.cast(plainly).take(at).cast(pool.type).slice(3, rows)


def plain(value):
    """A Python value that is equal exactly where the key should be."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


def rows_of(columns):
    return list(zip(*([plain(v) for v in c.to_pylist()] for c in columns), strict=True))


def slots_list(slots):
    return slots.array().to_pylist()


def some(slots, top=None):
    return Slots.of(pa.array(slots, pa.int32()), top or max(slots, default=0) + 1)


def bytes_list(columns, keys=None):
    keys = keys or Keys()
    return keys.bytes_of(keys.intern(columns, len(columns[0]))).to_pylist()


def agree(keys, columns, known):
    """Intern rows, and hold every slot against a dict that has seen all earlier rows."""
    rows = rows_of(columns)
    slots = slots_list(keys.intern(columns, len(rows)))
    for row, slot in zip(rows, slots, strict=True):
        assert known.setdefault(row, slot) == slot, row
    assert len(set(known.values())) == len(known)


@pytest.mark.parametrize("pool", **typed(POOLS))
def test_equal_values_share_a_slot_and_others_do_not(pool):
    keys, known = Keys(), {}
    for _ in range(3):
        agree(keys, [drawn(pool)], known)
    assert keys.n_keys == keys.n_slots == len(known)


def codes_of(pool, index):
    values = pool.take(pa.array(RNG.permutation(len(pool))))
    codes = RNG.integers(0, len(pool), ROWS + 5)
    indices = pa.array(codes, index, mask=RNG.random(ROWS + 5) < 0.1)
    return pa.DictionaryArray.from_arrays(indices, values).slice(5)


@pytest.mark.parametrize("index", [*INTS], ids=str)
@pytest.mark.parametrize("pool", **typed([pa.array(WORDS), pa.array(DOUBLES), pa.array(PRICES)]))
def test_dictionaries_are_their_values_whatever_the_next_dictionary(pool, index):
    keys, known = Keys(), {}
    for batch in range(4):
        array = codes_of(pool, index) if batch != 2 else drawn(pool)
        slots = slots_list(keys.intern([array], ROWS))
        for (value,), slot in zip(rows_of([array]), slots, strict=True):
            assert known.setdefault(value, slot) == slot
    assert len(set(known.values())) == len(known)


def test_a_dictionary_may_hold_null_and_a_value_twice():
    keys = Keys()
    array = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3, None]), pa.array(["x", None, "x", "y"])
    )
    assert slots_list(keys.intern([array], 5)) == slots_list(
        keys.intern([pa.array(["x", None, "x", "y", None])], 5)
    )
    none = pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int8()), pa.array([], "string"))
    assert slots_list(keys.intern([none], 2)) == slots_list(keys.intern([pa.nulls(2)], 2))


def test_the_same_dictionary_again_and_another_in_its_place_are_told_apart():
    keys = Keys()
    first, other = pa.array(["a", "b", "c"]), pa.array(["c", "x", "a"])
    codes = pa.array([0, 1, 2, 1], pa.int32())
    one = slots_list(keys.intern([pa.DictionaryArray.from_arrays(codes, first)], 4))
    two = slots_list(keys.intern([pa.DictionaryArray.from_arrays(codes, other)], 4))
    assert one == slots_list(keys.intern([pa.DictionaryArray.from_arrays(codes, first)], 4))
    assert two == slots_list(keys.intern([pa.array(["c", "x", "a", "x"])], 4))
    assert one == slots_list(keys.intern([first.take(codes)], 4))


def test_dictionaries_in_turns_are_their_values():
    """As the sides of a join give them, each with its own."""
    rng, keys, plain = np.random.default_rng(1), Keys(), Keys()
    pools = [pa.array([f"v{i}" for i in rng.permutation(9)]) for _ in range(3)]
    for turn in [0, 1, 0, 1, 1, 0, 2, 0, 1, 2, 1, 0]:
        codes = pa.array(rng.integers(0, 1 + rng.integers(0, 9), 6), pa.int32())
        array = pa.DictionaryArray.from_arrays(codes, pools[turn])
        found = keys.bytes_of(keys.intern([array], 6))
        assert found.equals(plain.bytes_of(plain.intern([pools[turn].take(codes)], 6)))
    assert keys.n_keys == plain.n_keys


@pytest.mark.parametrize("seed", range(6))
def test_composite_keys_are_tuples(seed):
    rng = np.random.default_rng(seed)
    keys, known = Keys(), {}
    chosen = [POOLS[i] for i in rng.integers(0, len(POOLS), 3)] + [pa.array(WORDS)]
    chosen = [chosen[i] for i in rng.permutation(4)]
    for batch in range(3):
        columns = [drawn(pool, rng) for pool in chosen]
        if batch == 1:
            columns[0] = drawn(chosen[0], rng).dictionary_encode()
        agree(keys, columns, known)


def test_zero_bytes_and_nulls_do_not_join_columns():
    parts = [None, "", "\0", "\0\0", "\1", "a", "a\0", "\0a", "a\0\1"]
    rows = list(product(parts, repeat=3))
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    assert len(set(slots_list(Keys().intern(columns, len(rows))))) == len(rows)


def test_no_columns_are_one_key():
    keys = Keys()
    slots = keys.intern([], 5)
    assert slots_list(slots) == [0] * 5
    assert (keys.n_keys, keys.bytes_of(slots).to_pylist()) == (1, [b""] * 5)
    assert slots_list(keys.slots_of(pa.array([b""], pa.large_binary()))) == [0]


def test_no_rows_are_no_keys():
    keys = Keys()
    for pool in POOLS:
        assert slots_list(keys.intern([pool.slice(0, 0)], 0)) == []
        assert slots_list(keys.intern([pool.slice(0, 0), pool.slice(0, 0)], 0)) == []
    assert (keys.n_keys, len(keys.live()), len(keys.added()), len(keys.changed())) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("kinds", "values"),
    [
        (list(INTS), [0, 1, 100, None]),
        ([pa.int64(), pa.uint64(), pa.int32()], [0, 2**31 - 1, None]),
        ([pa.int64(), pa.int8()], [-128, -1, 127]),
        ([pa.float16(), pa.float32(), pa.float64()], [-1.5, 0.0, 2.0, math.inf, math.nan, None]),
        ([pa.string(), pa.large_string(), pa.string_view()], [*WORDS, None]),
        ([pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)], [b"ab", b"\0\0", None]),
        ([pa.date32(), pa.date64()], [*DAYS, None]),
        ([pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")], [*TIMES, None]),
        ([pa.decimal128(7, 2), pa.decimal128(38, 2), pa.decimal256(20, 2)], [*PRICES, None]),
    ],
    ids=lambda x: str(x[0]),
)
@pytest.mark.parametrize("before", [[], [pa.array(WORDS)]], ids=["alone", "composite"])
def test_bytes_do_not_depend_on_width_or_dictionary(kinds, values, before):
    before = [column.take(pa.array([2] * len(values))) for column in before]
    found = []
    for kind in kinds:
        array = pa.array(values, kind)
        found.append(bytes_list([*before, array]))
        if not pa.types.is_string_view(kind) and not pa.types.is_binary_view(kind):
            found.append(bytes_list([*before, array.dictionary_encode()]))
    assert all(other == found[0] for other in found)


def test_bytes_of_a_moment_do_not_depend_on_unit_and_zone():
    found = [
        bytes_list([pa.array(MOMENTS, pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))])
        for unit, zone in product(("s", "ms", "us", "ns"), ZONES)
    ]
    assert all(other == found[0] for other in found)


def test_types_of_another_meaning_have_other_bytes():
    alike = [
        pa.array([0]),
        pa.array([0.0]),
        pa.array([False]),
        pa.array([0], pa.date32()),
        pa.array([0], pa.time64("ns")),
        pa.array([0], pa.timestamp("ns")),
        pa.array([Decimal(0)]),
        pa.array([""]),
        pa.array([b""]),
        pa.nulls(1),
    ]
    assert len({bytes_list([array])[0] for array in alike}) == len(alike)


def in_order(value):
    """A sort key: NULL before all, NaN after all."""
    if value is None:
        return (0, 0)
    if value == "NaN":
        return (2, 0)
    return (1, value.encode() if isinstance(value, str) else value)


@pytest.mark.parametrize("pool", **typed(POOLS))
def test_bytes_sort_as_the_values_do(pool):
    pool = pa.concat_arrays([pool, pa.nulls(1, pool.type)])
    rows = sorted(zip(bytes_list([pool]), (v for (v,) in rows_of([pool])), strict=True))
    values = [in_order(value) for _, value in rows]
    assert values == sorted(values)
    assert all((a[0] == b[0]) == (in_order(a[1]) == in_order(b[1])) for a, b in pairwise(rows))


def test_composite_bytes_sort_as_the_tuples_do():
    unsigned = pa.array([*INTS[pa.uint64()], None], pa.uint64())
    pools = [pa.array([*WORDS, None]), unsigned, pa.array(WORDS)]
    columns = [drawn(pool, rows=2000, nulls=0.0) for pool in pools]
    rows = sorted(zip(bytes_list(columns), rows_of(columns), strict=True))
    tuples = [tuple(map(in_order, row)) for _, row in rows]
    assert tuples == sorted(tuples)


def test_groups_are_xxh3_of_the_bytes():
    keys = Keys()
    slots = keys.intern([drawn(pa.array(WORDS)), drawn(pa.array(DOUBLES))], ROWS)
    groups = keys.groups_of(slots)
    found = keys.bytes_of(slots).to_pylist()
    expected = [xxhash.xxh3_64_intdigest(key) % 1024 for key in found]
    assert KEY_GROUPS == 1024
    assert groups.type == pa.uint16()
    assert groups.to_pylist() == expected == [key_group(key) for key in found]
    assert keys.groups_of(slots).to_pylist() == expected


@pytest.mark.parametrize("pool", **typed(POOLS))
def test_slots_of_undoes_bytes_of(pool):
    keys, others = Keys(), Keys()
    columns = [drawn(pool)] if pool.type != pa.string() else [drawn(pool), drawn(pool)]
    slots = keys.intern(columns, ROWS)
    kept = keys.bytes_of(slots)
    assert kept.type == pa.large_binary()
    assert slots_list(keys.slots_of(kept)) == slots_list(slots)
    elsewhere = others.slots_of(kept)
    assert others.bytes_of(elsewhere).equals(kept)
    assert slots_list(others.intern(columns, ROWS)) == slots_list(elsewhere)


def test_first_rows_are_those_of_each_key_in_the_order_of_their_appearance():
    slots = Keys().intern([pa.array(["b", "a", "b", "c", "a"])], 5)
    assert first_rows(slots).to_pylist() == [0, 1, 3]
    assert first_rows(Slots.single(3)).to_pylist() == [0]


def test_added_tells_each_new_key_once():
    keys = Keys()
    keys.intern([pa.array(["a", "b", "a"])], 3)
    assert slots_list(keys.added()) == [0, 1]
    keys.intern([pa.array(["b", "c"])], 2)
    assert slots_list(keys.added()) == [2]
    assert slots_list(keys.added()) == []
    keys.drop(some([1]))
    keys.intern([pa.array(["b"])], 1)
    assert slots_list(keys.added()) == [1]


def test_added_does_not_tell_of_keys_that_are_gone():
    keys = Keys()
    keys.drop(keys.intern([pa.array(["a", "b"])], 2))
    assert slots_list(keys.added()) == []


def test_changed_tells_what_was_touched_since_it_was_asked():
    keys = Keys()
    slots = keys.intern([pa.array(["a", "b", "c"])], 3)
    assert slots_list(keys.changed()) == []
    keys.touch(slots)
    keys.touch(slots.slice(1, 1))
    assert slots_list(keys.changed()) == [0, 1, 2]
    keys.touch(slots.slice(2))
    keys.touch(slots.slice(1))
    keys.drop(some([1]))
    assert slots_list(keys.changed()) == [2]
    assert slots_list(keys.changed()) == []


def test_coldest_are_those_touched_the_longest_ago():
    keys = Keys()
    slots = keys.intern([pa.array(["a", "b", "c", "d"])], 4)
    for slot in (2, 0, 3, 1, 0):
        keys.touch(slots.slice(slot, 1))
    assert slots_list(keys.coldest(3)) == [2, 3, 1]
    assert slots_list(keys.coldest(9)) == [2, 3, 1, 0]
    keys.drop(some([3]))
    assert slots_list(keys.coldest(2)) == [2, 1]


def test_live_are_the_keys_that_were_not_dropped():
    keys = Keys()
    slots = keys.intern([pa.array(["a", "b", "c"])], 3)
    keys.drop(slots.slice(1, 1))
    keys.drop(slots.slice(1, 1))
    assert slots_list(keys.live()) == [0, 2]
    assert keys.n_keys == 2


def test_a_hundred_thousand_keys_dropped_and_taken_up_again():
    n = 100_000
    rng = np.random.default_rng(3)
    names = pa.array([f"key {i}" for i in range(2 * n)])
    keys, known = Keys(), {}
    for turn in range(4):
        at = rng.permutation(2 * n)[:n] if turn else np.arange(n)
        slots = keys.intern([names.take(pa.array(at))], n).array().to_numpy()
        for i, slot in zip(at.tolist(), slots.tolist(), strict=True):
            assert known.setdefault(i, slot) == slot
        assert len(set(known.values())) == len(known) == keys.n_keys == len(keys.live())
        gone = rng.permutation(sorted(known))[: len(known) // 2].tolist()
        keys.drop(some([known.pop(i) for i in gone], keys.n_slots))
        assert keys.n_keys == len(known)
    assert keys.n_slots <= 2 * n
    slots = some(list(known.values()), keys.n_slots)
    assert keys.bytes_of(slots).to_pylist() == [b"\x40key %d" % i for i in known]


def test_the_arena_does_not_keep_what_was_dropped():
    keys = Keys()
    keys.intern([pa.array(["", "stays", "z" * 50])], 3)
    held = []
    for turn in range(30):
        array = pa.array([f"{turn} {i} {'x' * 60}" for i in range(2000)])
        keys.drop(keys.intern([array], 2000))
        held.append(keys.bytes_held)
    assert held[-1] == held[1]
    assert keys.n_keys == 3
    assert slots_list(keys.intern([pa.array(["", "stays", "z" * 50])], 3)) == [0, 1, 2]
    assert keys.bytes_of(some([0, 1, 2])).to_pylist() == [
        b"\x40",
        b"\x40stays",
        b"\x40" + b"z" * 50,
    ]


def test_a_dropped_dictionary_is_looked_up_anew():
    keys = Keys()
    array = pa.array(["a", "b"]).dictionary_encode()
    slots = keys.intern([array], 2)
    keys.intern([pa.array(["a"]).dictionary_encode()], 1)  # it is the one before the last
    keys.drop(slots)
    other = keys.intern([pa.array(["c", "d"])], 2)
    again = keys.intern([array], 2)
    assert set(slots_list(other)).isdisjoint(slots_list(again))
    assert keys.bytes_of(again).to_pylist() == [b"\x40a", b"\x40b"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([1], pa.duration("s")),
        pa.array([Decimal(1)], pa.decimal256(60, 2)),
    ],
    ids=lambda a: str(a.type),
)
def test_other_types_are_refused_with_a_way_out(array):
    with pytest.raises(ArgumentTypeError, match="a key must be .*, was "):
        Keys().intern([array], 1)
    with pytest.raises(ArgumentTypeError, match="at most|may have 16"):
        Keys().intern([pa.array([1])] * 17, 1)


def test_a_moment_beyond_nanoseconds_is_an_error_of_fin_sql():
    from fin_sql.errors import FinSqlError

    with pytest.raises(FinSqlError):
        Keys().intern([pa.array([2**40], pa.timestamp("s"))], 1)


@pytest.mark.parametrize("columns", ["[short]", "[whole, short]", "[short, whole]"])
def test_a_key_column_that_is_too_short_is_refused(columns):
    code = f"""
import pyarrow as pa
from fin_sql.errors import FinSqlError
from fin_sql.exec.keys import Keys

short, whole = pa.array(["a"]), pa.array(["b"] * 50_000)
try:
    Keys().intern({columns}, 50_000)
except (FinSqlError, ValueError):
    raise SystemExit(0)
raise SystemExit("rows beyond the end of a column were read")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
