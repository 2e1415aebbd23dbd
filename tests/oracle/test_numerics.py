"""Data that break careless arithmetic."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import fin_sql
from fin_sql import KernelError

CONSTANT = [0.1] * 50


def run(name, *columns, **params):
    return fin_sql.kernel(name).apply(*columns, **params)


@pytest.mark.parametrize("window", [2, 3, 7, 20])
def test_a_constant_window_has_no_spread_at_all(window):
    found = run("rolling_std", CONSTANT, window=window).to_pylist()
    assert found == [None] * (window - 1) + [0.0] * (51 - window)
    assert run("rolling_zscore", CONSTANT, window=window).null_count == 50
    assert run("rolling_skew", CONSTANT, window=max(window, 3)).null_count == 50
    assert run("rolling_kurt", CONSTANT, window=max(window, 4)).null_count == 50
    assert run("autocorr", CONSTANT, lag=1, window=window).null_count == 50
    assert run("ewcorr", CONSTANT, CONSTANT, alpha=0.1).null_count == 50


def test_what_never_moves_has_no_volatility_and_no_slope():
    still = {"window": 7}
    for name in ("rolling_corr", "rolling_beta", "kyle_lambda"):
        assert run(name, CONSTANT, CONSTANT, **still).null_count == 50, name
    assert run("rolling_sharpe", CONSTANT, **still).null_count == 50
    assert run("xcorr_leadlag", CONSTANT, CONSTANT, max_lag=2, **still).null_count == 50
    bands = run("bollinger_bands", CONSTANT, **still).to_pylist()[6:]
    assert all(row == {"mid": 0.1, "upper": 0.1, "lower": 0.1} for row in bands)
    nothing = [0.0] * 50
    for name in ("realized_var", "bipower_var", "medrv", "roll_spread"):
        assert set(run(name, nothing, **still).to_pylist()[8:]) == {0.0}, name
    bar = [CONSTANT] * 4
    assert set(run("parkinson_vol", *bar[:2], **still).to_pylist()[6:]) == {0.0}
    for name in ("gk_vol", "rogers_satchell_vol", "yang_zhang_vol"):
        assert set(run(name, *bar, **still).to_pylist()[7:]) == {0.0}, name
    assert set(run("atr", *bar[:3], period=5).to_pylist()[5:]) == {0.0}


@pytest.mark.parametrize(
    ("name", "columns", "oracle"),
    [
        ("sma", 1, lambda a, b: a.mean(axis=1)),
        ("realized_var", 1, lambda a, b: (a**2).sum(axis=1)),
        ("rolling_median", 1, lambda a, b: np.median(a, axis=1)),
        ("rolling_corr", 2, lambda a, b: [np.corrcoef(x, y)[0, 1]
                                          for x, y in zip(a, b, strict=True)]),
        ("rolling_beta", 2, lambda a, b: [np.cov(x, y)[0, 1] / y.var(ddof=1)
                                          for x, y in zip(a, b, strict=True)]),
    ],
)  # fmt: skip
def test_a_million_rows_leave_no_trace_in_the_last_window(name, columns, oracle):
    rng = np.random.default_rng(5)
    walks = [1e6 + np.cumsum(rng.normal(size=1_000_000)) for _ in range(2)]
    found = run(name, *walks[:columns], window=50).to_numpy(zero_copy_only=False)[-500:]
    rows = [np.lib.stride_tricks.sliding_window_view(x[-549:], 50) for x in walks]
    np.testing.assert_allclose(found, oracle(*rows), rtol=1e-9, atol=1e-9)


def test_a_long_walk_does_not_drift():
    x = 1e6 + np.cumsum(np.random.default_rng(0).normal(size=1_000_000))
    found = run("rolling_std", x, window=50).to_numpy(zero_copy_only=False)[-1000:]
    wanted = np.lib.stride_tricks.sliding_window_view(x[-1049:], 50).std(axis=1, ddof=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_one_huge_value_and_one_nan_disturb_no_later_row():
    x = np.random.default_rng(1).normal(size=500)
    for spike in (1e16, np.nan, np.inf):
        spiked = x.copy()
        spiked[100] = spike
        for name in ("rolling_std", "rolling_skew", "rolling_min", "rolling_zscore"):
            a, b = (run(name, v, window=10).slice(110) for v in (x, spiked))
            assert a.equals(b), (name, spike)


@pytest.mark.parametrize("step", [1.0, -1.0])
def test_monotone_series_have_their_extremes_at_the_ends(step):
    x = step * np.arange(1000.0)
    low, high = (run(f"rolling_{e}", x, window=10).to_numpy(zero_copy_only=False)[9:]
                 for e in ("min", "max"))  # fmt: skip
    first, last = x[:-9], x[9:]
    np.testing.assert_array_equal(low, first if step > 0 else last)
    np.testing.assert_array_equal(high, last if step > 0 else first)


def test_equal_values_have_no_deviation_and_anything_else_is_an_outlier():
    found = run("robust_hampel", [5.0] * 10 + [5.0001], window=7).to_pylist()
    assert [row["is_outlier"] for row in found[6:]] == [False] * 4 + [True]
    assert found[-1]["sigma"] == 0.0


def test_a_flat_series_has_no_rsi():
    assert run("rsi", [7.0] * 40).null_count == 40


def test_moments_far_from_zero_keep_their_digits():
    x = np.random.default_rng(2).normal(size=300)
    for name in ("rolling_skew", "rolling_kurt"):
        near, far = (run(name, v, window=30).to_numpy(zero_copy_only=False)[29:]
                     for v in (x, x + 2.0**20))  # fmt: skip
        np.testing.assert_allclose(far, near, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float16()])
def test_other_numbers_widen_exactly(kind):
    x = pa.array([1.0, 2.0, None, 5.0]).cast(kind)
    assert run("diff", x).to_pylist() == [None, 1.0, None, None]


def test_decimals_are_rounded_correctly():
    rng = np.random.default_rng(3)
    for precision, scale, bits in ((18, 8, 60), (38, 10, 120), (9, 2, 29), (38, 30, 120),
                                   (20, -3, 60), (60, 20, 190), (38, 22, 110)):  # fmt: skip
        digits = [int(rng.integers(0, 2**31)) << 160 | int(rng.integers(0, 2**63)) << 97
                  | int(rng.integers(0, 2**63)) << 34 | int(rng.integers(0, 2**34))
                  for _ in range(500)]  # fmt: skip
        limit = 10**precision - 1
        values = [Decimal((d >> (191 - bits)) % limit * (-1) ** i).scaleb(-scale)
                  for i, d in enumerate(digits)]  # fmt: skip
        kind = (pa.decimal256 if precision > 38 else pa.decimal128)(precision, scale)
        array = pa.array([*values, None], kind)
        wanted = [float(str(v)) for v in values]
        found = run("signed_volume", np.ones(501), array).to_pylist()
        same = run("signed_volume", np.ones(494), array.slice(7)).to_pylist()
        assert found == [*wanted, None], (precision, scale)
        assert same == [*wanted[7:], None], (precision, scale)


def test_an_integer_that_no_double_holds_is_refused_with_its_row():
    assert run("diff", pa.array([2**53, 2**53 - 1])).to_pylist() == [None, -1.0]
    with pytest.raises(KernelError, match="was 9007199254740993 at row 1"):
        run("diff", pa.array([1, 2**53 + 1]))
    with pytest.raises(KernelError, match="at row 0"):
        run("diff", pa.array([2**63 - 1], pa.uint64()))
    with pytest.raises(KernelError, match="must be BIGINT"):
        run("diff", pa.array([2**64 - 1], pa.uint64()))


def test_nothing_one_row_and_only_missing_rows():
    for x in ([], [1.0], [None] * 5, [float("nan"), float("inf"), -float("inf")]):
        column = pa.array(x, pa.float64())
        for name, params in (("ewma", {"alpha": 0.5}), ("rolling_std", {"window": 3}),
                             ("rsi", {"period": 3}), ("macd", {})):  # fmt: skip
            found = run(name, column, **params)
            assert len(found) == len(x)
            assert found.null_count == (0 if name == "ewma" and x == [1.0] else len(x)), name


# ---------------------------------------------------------------- rows of a group in any order

ORDERED = """
    SELECT hayashi_yoshida_cov(ts, a, b) AS cov, hayashi_yoshida_corr(ts, a, b) AS corr,
           bipower_var_agg(a, ts) AS bipower, medrv_agg(a, ts) AS medrv,
           roll_spread_agg(a, ts) AS roll, twap(price, ts) AS twap
    FROM t
"""
ORDERS = {
    "one part behind the other": lambda n, rng: np.argsort(np.arange(n) % 2, kind="stable"),
    "backwards": lambda n, rng: np.arange(n)[::-1],
    "by chance": lambda n, rng: rng.permutation(n),
}


@pytest.mark.parametrize("order", ORDERS)
def test_rows_of_a_group_cost_a_sort_and_no_more_in_any_order(order):
    """A move of memory for each row would take minutes."""
    n, rng = 300_000, np.random.default_rng(20261125)
    walk = np.cumsum(rng.normal(size=(3, n)), axis=1)
    table = pa.table({
        "ts": pa.array(np.cumsum(rng.integers(1, 10**9, n)), pa.timestamp("ns")),
        "a": pa.array(walk[0], mask=rng.random(n) < 0.5), "b": walk[1], "price": walk[2] + 1e4,
    })  # fmt: skip
    found = []
    for rows in (table, table.take(pa.array(ORDERS[order](n, rng)))):
        ctx = fin_sql.connect(threads=1)
        ctx.register("t", rows)
        found.append(ctx.sql(ORDERED).to_arrow().to_pylist())
    assert found[0] == found[1]
    assert None not in found[0][0].values()
