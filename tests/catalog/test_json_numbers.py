"""Numbers and times of JSON to the last bit: against float, Decimal and fractions of Python."""

import datetime
import locale
import random
import shutil
import struct
import subprocess
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from json_definition import nearest_float
from test_json_rows import column, same, x

HARD = [
    "9007199254740993", "9007199254740992.5", "9007199254740993.00000000000000000000000001",
    "2.2250738585072011e-308", "2.2250738585072012e-308", "2.2250738585072014e-308", "5e-324",
    "2.4703282292062327e-324", "2.4703282292062328e-324", "4.9406564584124654e-324", "1e-400",
    "7.2057594037927933e16", "6929495644600919.5", "3.2378839133029012895883524125015321748e-319",
    "1.7976931348623157e308", "1.7976931348623158e308", "1.797693134862315807e308", "1.8e308",
    "179769313486231580793728971405301199e273", "1e400", "-1e400", "-0", "-0.0", "-0e5", "0e-999",
    "8.589973e9", "123456789012345678901234567890", "1090544144181609348671888949248",
    "1090544144181609348835077142190", "4.4501477170144023e-308", "1e22", "1e23", "8.5e22",
    "0.1e-1000000000000000000000", "0.1e1000000000000000000000", "0e1000000000000000000000",
    "1" + "0" * 400 + "e-400", "0." + "0" * 400 + "1e401", "1" * 800, "0." + "9" * 1_000,
    "5" + "0" * 900 + "1e-1225", "1.00000000000000011102230246251565404236316680908203125",
    "1.00000000000000011102230246251565404236316680908203124",
    "1.00000000000000011102230246251565404236316680908203126",
    "1.00000005960464477539062500000000000000000001", "1.000000059604644775390625",
    "1.00000017881393432617187499999999999999999999", "7.006492321624085e-46",
    "7.0064923216240853546186479164495806564013097093825788587853e-46", "1.1754943508222875e-38",
    "1.1754942807573643e-38", "3.4028235677973366e38", "3.4028235677973365e38", "3.4028236e38",
]  # fmt: skip


def doubles(texts):
    """Each as a number and inside of a text."""
    found = column(x(*texts), pa.float64())
    assert all(map(same, found, column(x(*(f'"{t}"' for t in texts)), pa.float64())))
    return found


def test_hard_doubles():
    for text, found in zip(HARD, doubles(HARD), strict=True):
        assert same(found, float(text)), text


def drawn_bits(rng, n):
    """Finite doubles of all exponents."""
    values = struct.unpack(f"{n}d", rng.randbytes(8 * n))
    return [v for v in values if v - v == 0]


def test_doubles_of_every_exponent_come_back():
    texts = [repr(v) for v in drawn_bits(random.Random(1), 100_000)]
    for text, found in zip(texts, doubles(texts), strict=True):
        assert same(found, float(text)), text


def test_doubles_of_many_digits_are_the_nearest():
    rng = random.Random(2)
    texts = []
    for _ in range(60_000):
        digits = str(rng.randrange(10 ** rng.randrange(1, 40)))
        at = rng.randrange(1, len(digits) + 1)
        power = rng.choice(["", f"e{rng.randrange(-340, 320)}", f"E+{rng.randrange(30)}"])
        part = f".{digits[at:]}" if at < len(digits) else ""
        texts.append((digits[:at].lstrip("0") or "0") + part + power)
    for text, found in zip(texts, doubles(texts), strict=True):
        assert same(found, float(text)), text


def halves(values, next_to):
    """The number midway to the next one, and numbers beside it by one in some far digit."""
    with localcontext(prec=1_200):
        for value in values:
            middle = (Decimal(float(value)) + Decimal(float(next_to(value)))) / 2
            yield middle
            for place in (20, 40, 780, 1_000):
                step = Decimal(1).scaleb(middle.adjusted() - place)
                yield from (middle + step, middle - step)


def test_doubles_midway_between_two_are_even_and_beside_it_the_nearer():
    rng = random.Random(3)
    values = drawn_bits(rng, 400) + [5e-324 * k for k in range(20)] + [2.2250738585072014e-308]
    values += [float(2**53 + 2 * k) for k in range(20)] + [rng.random() for _ in range(200)]
    largest = np.finfo(float).max
    values = [v for v in values if 0 <= abs(v) < largest]
    texts = [f"{v:E}" for v in halves(values, lambda v: np.nextafter(v, np.inf))]
    texts += [
        f"{v:f}"
        for v in halves([rng.random() * 1e3 for _ in range(100)], lambda v: np.nextafter(v, 0))
    ]
    for text, found in zip(texts, doubles(texts), strict=True):
        assert same(found, float(text)), text


def test_floats_are_rounded_once():
    rng = random.Random(4)
    bits = np.frombuffer(rng.randbytes(4 * 3_000), np.float32)
    bits = [v for v in bits if np.isfinite(v) and abs(v) < np.finfo(np.float32).max]
    bits += [np.float32(v) for v in (1e-45, 3e-45, 1.1754944e-38, 1.1754942e-38, 16777216, 1)]
    texts = [*HARD, *map(repr, drawn_bits(rng, 2_000)), *(f"{float(v)!r}" for v in bits)]
    texts += [
        f"{v:E}" for v in halves(bits[:300] + bits[-6:], lambda v: np.nextafter(v, np.float32(9e9)))
    ]
    for text, found in zip(texts, column(x(*texts), pa.float32()), strict=True):
        assert same(found, float(nearest_float(text))), text


def test_infinite_and_no_number_are_texts_alone():
    texts = ["NaN", "Infinity", "-Infinity"]
    for kind in (pa.float64(), pa.float32()):
        found = column(x(*(f'"{t}"' for t in texts)), kind)
        assert all(map(same, found, map(float, texts)))
        for word in ("NaN", "Infinity", "-Infinity"):
            (reason,) = column(x(word), kind)
            assert "at byte" in reason
    for text in ("nan", "inf", "-inf", "+Infinity", "infinity", " NaN"):
        (reason,) = column(x(f'"{text}"'), pa.float64())
        assert "a number was required" in reason


def test_whole_numbers_are_exact_and_in_range():
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(),
                 pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):  # fmt: skip
        signed = pa.types.is_signed_integer(kind)
        least = -(2 ** (kind.bit_width - 1)) if signed else 0
        most = 2 ** (kind.bit_width - signed) - 1
        good = [
            least,
            least + 1,
            most - 1,
            most,
            f"{most}.000",
            f"{most}0e-1",
            0,
            "-0",
            "1e2",
            "10e-1",
        ]
        assert column(x(*good), kind) == [int(Fraction(str(v))) for v in good]
        for value in (
            least - 1,
            most + 1,
            f"{most}0",
            "1e1000000000000000",
            2**128,
            -(2**128),
            10**60,
        ):
            assert "in the range of the type" in column(x(value), kind)[0]
        for value in ("5.5", "1e-1", f"{most}.5", "0.00000000000000000000000000000000000000000001"):
            assert "whole number" in column(x(value), kind)[0]
        assert column(
            x("0e-1000000000000000", "0." + "0" * 999, "1" + "0" * 99 + "e-99"), kind
        ) == [0, 0, 1]


@pytest.mark.parametrize(
    ("precision", "scale"), [(5, 2), (18, 0), (20, 8), (38, 0), (38, 38), (38, 19)]
)
def test_decimals_are_exact(precision, scale):
    rng = random.Random(precision * 100 + scale)
    kind = pa.decimal128(precision, scale)
    most = 10**precision - 1
    whole = [most, -most, 0, 1, -1, *(rng.randrange(-most, most) for _ in range(2_000))]
    with localcontext(prec=80):
        exact = [Decimal(v).scaleb(-scale) for v in whole]
        texts = [f"{v:f}" for v in exact] + [f"{v:E}" for v in exact]
        assert column(x(*texts), kind) == exact + exact
        beyond = [Decimal(most + 1).scaleb(-scale), Decimal(most).scaleb(-scale) * 10]
        for text in [f"{v:f}" for v in beyond] + ["1e99", "-1e400"]:
            assert "in the range of the type" in column(x(text), kind)[0], text
        for text in [f"{Decimal(1).scaleb(-scale - 1):f}", "1e-400"]:
            assert "no more digits" in column(x(text), kind)[0], text
        assert column(x("0." + "0" * 500, "-0e-500"), kind) == [0, 0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("of", ["s", "ms", "us", "ns"])
def test_epochs_are_exact_and_cut_off_downwards(unit, of):
    rng = random.Random(5)
    ns = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    least, most = -(2**63) + 1, 2**63 - 1
    times = [least, most, 0, -1, 1, *(rng.randrange(least, most) for _ in range(1_000))]
    texts = []
    with localcontext(prec=60):
        for time in times:
            text = f"{Decimal(time) / ns[of]:f}"
            more = text if "." in text else text + "."
            texts.append(rng.choice([text, f'"{text}"', f"{more}{rng.randrange(10**6):06}"]))
    expected = [Fraction(t.strip('"')) * ns[of] for t in texts]
    kept = [least <= e // 1 <= most for e in expected]
    for text, e, good, found in zip(
        texts, expected, kept, column(x(*texts), pa.timestamp(unit), f"epoch_{of}"), strict=True
    ):
        assert found == (e // 1) // ns[unit] if good else "1677 to 2262" in found, text
    assert sum(kept) > 900


def test_times_are_what_pandas_reads():
    rng = random.Random(6)
    times = pd.to_datetime([rng.randrange(-(2**63) + 1, 2**63) for _ in range(2_000)], utc=True)
    texts = [f'"{t.isoformat()}"' for t in times]
    for hours in (5.75, -23.5):
        zone = datetime.timezone(datetime.timedelta(hours=hours))
        texts += [f'"{t.isoformat()}"' for t in times.tz_convert(zone)]
    found = column(x(*texts), pa.timestamp("ns", "UTC"))
    assert found == [*times.asi8] * 3
    days = column(x(*texts), pa.date32())
    assert days[:2_000] == [t // (86_400 * 10**9) for t in times.asi8]


def test_a_number_without_a_format_is_bad_and_told_what_to_write():
    (reason,) = column(x(1626992741012), pa.timestamp("ns"))
    assert reason == (
        "column 'x' (TIMESTAMP) at byte 5: a format was required, such as 'epoch_ms', "
        "to read a number, was '1626992741012'"
    )


@pytest.fixture
def decimal_comma(tmp_path, monkeypatch):
    """A locale that writes 1,5: one of the machine, or one made for the test."""
    before = locale.setlocale(locale.LC_NUMERIC)
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")]
    if shutil.which("localedef") and subprocess.run(command, capture_output=True).returncode == 0:
        monkeypatch.setenv("LOCPATH", str(tmp_path))
    try:
        locale.setlocale(locale.LC_NUMERIC, "de_DE.UTF-8")
    except locale.Error:
        pytest.skip("there is no locale with a decimal comma, and none can be made")
    assert locale.localeconv()["decimal_point"] == ","
    yield
    locale.setlocale(locale.LC_NUMERIC, before)


def test_numbers_do_not_depend_on_the_locale(decimal_comma):
    assert list(map(same, doubles(HARD), map(float, HARD))) == [True] * len(HARD)
    for text, found in zip(HARD, column(x(*HARD), pa.float32()), strict=True):
        assert same(found, float(nearest_float(text))), text
