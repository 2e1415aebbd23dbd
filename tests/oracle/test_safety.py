"""Guards: scenarios, as no library has them; and SciPy for the MAD."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

import fin_sql
from fin_sql.errors import SqlError

MS = 1_000_000
BEGIN = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def value(call):
    """What a call of literals gives in SQL."""
    return fin_sql.connect().sql(f"SELECT {call} AS y").to_arrow()["y"].to_pylist()[0]


def run(name, *columns, **params):
    return fin_sql.kernel(name).apply(*columns, **params).to_pylist()


def at(*ms):
    return pa.array([None if t is None else t * MS for t in ms], pa.int64())


T, F = True, False
GUARDS = {
    "price_band_guard(105, 100)": T,
    "price_band_guard(105.0001, 100)": F,
    "price_band_guard(95, 100)": T,
    "price_band_guard(94.9999, 100)": F,
    "price_band_guard(0.33, 0.3, 0.1)": T,
    "price_band_guard(100, 100, 0)": T,
    "price_band_guard(100, 100, -0.1)": F,
    "price_band_guard(NULL, 100)": F,
    "price_band_guard(100, NULL)": F,
    "price_band_guard(100, 100, NULL)": F,
    "price_band_guard(100, 0)": F,
    "price_band_guard(100, -100)": F,
    "price_band_guard('NaN', 100)": F,
    "price_band_guard(100, 'NaN')": F,
    "price_band_guard('inf', 'inf')": F,
    "fat_finger_guard(100, 10000, 100)": T,
    "fat_finger_guard(100, 10001, 100)": F,
    "fat_finger_guard(100, -10001, 100)": F,
    "fat_finger_guard(100, NULL, 100)": F,
    "fat_finger_guard(111, 1, 100)": F,
    "fat_finger_guard(110, 1, 100)": T,
    "fat_finger_guard(100, 1, 100, notional_max => 99)": F,
    "fat_finger_guard(100, 1, 100, notional_max => NULL)": F,
    "fat_finger_guard(100, 'NaN', 100)": F,
    "circuit_breaker(94.99, 100)": T,
    "circuit_breaker(95, 100)": F,
    "circuit_breaker(105, 100)": F,
    "circuit_breaker(0.33, 0.3, 0.1)": F,
    "circuit_breaker(NULL, 100)": T,
    "circuit_breaker(100, NULL)": T,
    "circuit_breaker(100, 0)": T,
    "circuit_breaker('NaN', 100)": T,
}


@pytest.mark.parametrize("call", GUARDS)
def test_a_guard_in_sql_fails_closed(call):
    call = call.replace("'NaN'", "CAST('NaN' AS DOUBLE)").replace("'inf'", "CAST('inf' AS DOUBLE)")
    wanted = GUARDS[
        call.replace("CAST('NaN' AS DOUBLE)", "'NaN'").replace("CAST('inf' AS DOUBLE)", "'inf'")
    ]
    assert value(call) is wanted


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_age_of_a_quote_in_any_units(unit):
    ctx = fin_sql.connect()
    ages = [1000, 1001, -5, 0, 2000, None]
    known = [None if ms is None else BEGIN - timedelta(milliseconds=ms) for ms in ages]
    if unit == "s":  # whole seconds alone
        known = [BEGIN - timedelta(seconds=s) for s in (1, 2, -5, 0, 2)] + [None]
    ctx.register(
        "q",
        pa.table({
            "i": range(6),
            "now": pa.array([BEGIN] * 6, pa.timestamp("ns", "UTC")),
            "last": pa.array(known, pa.timestamp(unit, "UTC")),
        }),
    )  # fmt: skip
    found = ctx.sql("SELECT i, stale_quote_detector(now, last) AS y FROM q ORDER BY i").to_arrow()
    assert found["y"].to_pylist() == [F, T, F, F, T, T]
    strict = ctx.sql("SELECT sum(CAST(stale_quote_detector(now, last, 0) AS INT)) AS n FROM q")
    assert strict.to_arrow()["n"].to_pylist() == [4]


def test_the_ends_of_time_do_not_wrap():
    ends = pa.array([2**63 - 1, -(2**63) + 1], pa.int64())
    assert run("stale_quote_detector", ends, ends.take([1, 0])) == [T, F]


def test_a_latched_breaker_waits_out_its_cooldown():
    ts = at(0, 100, 200, 1199, 1200, 1300, 1400, 2300)
    price = [100, 94.99, 100, 100, 100, 94, 94, 100]
    found = run("circuit_breaker_latched", ts, price, [100] * 8, cooldown_ms=1100)
    assert found == [F, T, T, T, F, T, T, T]
    # each breach begins the wait anew, and one that ends exactly now is over
    found = run("circuit_breaker_latched", at(0, 500, 999, 1500), [90, 90, 100, 100], [100] * 4,
                cooldown_ms=1000)  # fmt: skip
    assert found == [T, T, T, F]
    found = run("circuit_breaker_latched", at(0, None, 5), [100, 100, None], [100] * 3)
    assert found == [F, T, T]


def test_a_throttle_counts_what_passed():
    ms = (0, 100, 200, 300, 400, 1000, 1001, 1099, 1100, 2500)
    found = run("throttle_check", at(*ms), max_events=3)
    assert found == [T, T, T, F, F, T, F, F, T, T]
    assert run("throttle_check", at(5, 5, 5, 5), max_events=3) == [T, T, T, F]
    assert run("throttle_check", at(0, None, 1), max_events=2) == [T, F, T]


def test_no_window_of_a_throttle_holds_too_many():
    rng = np.random.default_rng(20261124)
    ms = rng.integers(0, 40, 5_000).cumsum()
    passed = ms[run("throttle_check", at(*ms.tolist()), max_events=20, window_ms=500)]
    for t in passed:
        assert ((passed > t - 500) & (passed <= t)).sum() <= 20
    assert len(passed) > 0.9 * 20 * ms[-1] / 500 * 0.9


def test_a_bucket_fills_at_its_rate():
    ms = (0, 100, 200, 300, 400, 1000, 1001, 1099, 1100, 2500)
    found = run("token_bucket", at(*ms), rate=3, burst=3)
    assert found == [T, T, T, F, T, T, T, F, F, T]
    every = at(*range(0, 10_000, 100))
    assert run("token_bucket", every, rate=10, burst=1) == [T] * 100  # 0.1 s is 1 token exactly
    assert sum(run("token_bucket", every, rate=5, burst=1)) == 50
    assert run("token_bucket", at(10, 5, 10, 1010), rate=1, burst=2) == [T, T, F, T]


def test_parameters_of_guards_are_checked():
    for call, says in (
        ("throttle_check(i, 0) OVER (ORDER BY i)", "max_events"),
        ("token_bucket(i, 0) OVER (ORDER BY i)", "rate"),
        ("token_bucket(i, 1, 0.5) OVER (ORDER BY i)", "burst"),
        ("stale_quote_detector(i, i, -1)", "max_age_ms"),
        ("outlier_flag_mad(i, 0) OVER (ORDER BY i)", "window"),
    ):
        ctx = fin_sql.connect()
        ctx.register("t", pa.table({"i": pa.array([1, 2], pa.timestamp("ms"))}))
        with pytest.raises(SqlError, match=says):
            ctx.sql(f"SELECT {call} AS y FROM t").to_arrow()


def test_outliers_as_worked_out():
    x = [10, 10.1, 9.9, 10.05, 9.95, 10.02, 12, 10, 9.97, 10.03]
    assert run("outlier_flag_mad", x, window=5) == [None] * 5 + [F, T, F, F, F]
    just = 1.12415  # the score of row 9
    assert run("outlier_flag_mad", x, window=5, k=just + 1e-5)[8] is F
    assert run("outlier_flag_mad", x, window=5, k=just - 1e-5)[8] is T


def test_outliers_by_scipy():
    x = np.random.default_rng(3).standard_t(2, 2_000)
    found = run("outlier_flag_mad", x, window=31, k=3.5)
    for t in range(31, 2_000):
        past = x[t - 31 : t]
        mad = scipy.stats.median_abs_deviation(past, scale="normal")
        assert found[t] is bool(abs(x[t] - np.median(past)) > 3.5 * mad)
    assert sum(map(bool, found)) > 50


def test_a_jump_after_a_constant_stretch_is_flagged():
    found = run("outlier_flag_mad", [5.0] * 8 + [5.0000001, 5.0, None, 5.0], window=8)
    assert found == [None] * 8 + [T, F, None, None]
