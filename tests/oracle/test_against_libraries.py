"""Kernels against pandas, Polars, TA-Lib, SciPy, river and NumPy, over thousands of rows."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import river.stats
import scipy.stats
import talib
from data import ROWS, returns, series, trades, walk

import fin_sql


def run(name, *columns, **params):
    kernel = fin_sql.kernel(name)
    aggregate = kernel.spec.shape == "aggregate"
    found = (kernel.running if aggregate else kernel.apply)(*columns, **params)
    return found if pa.types.is_struct(found.type) else found.to_numpy(zero_copy_only=False)


def field(struct, name):
    return struct.field(name).to_numpy(zero_copy_only=False)


def same(found, wanted, rtol, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(found, float), np.asarray(wanted, float), rtol=rtol, atol=atol, equal_nan=True
    )


# ---------------------------------------------------------------- recursive


@pytest.mark.parametrize("alpha", [0.06, 0.5, 1.0])
@pytest.mark.parametrize("adjust", [False, True])
def test_ewma_is_that_of_pandas_and_polars(alpha, adjust):
    x = series()
    found = run("ewma", x, alpha=alpha, adjust=adjust)
    wanted = x.ewm(alpha=alpha, adjust=adjust, ignore_na=True).mean().where(x.notna())
    same(found, wanted, 1e-11)
    frame = pl.Series(x.to_numpy(copy=True)).fill_nan(None)
    same(found, frame.ewm_mean(alpha=alpha, adjust=adjust, ignore_nulls=True).to_numpy(), 1e-11)


def test_ewma_is_that_of_river():
    x = walk(missing=False)[:500]
    mean = river.stats.EWMean(fading_factor=0.3)
    wanted = []
    for value in x:
        mean.update(value)
        wanted.append(mean.get())
    same(run("ewma", x, alpha=0.3), wanted, 1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_ewcov_is_that_of_pandas_and_river(bias):
    x, y = pd.Series(walk(1, False)), pd.Series(walk(2, False))
    found = run("ewcov", x, y, alpha=0.06, bias=bias)
    wanted = x.ewm(alpha=0.06, adjust=False, ignore_na=True).cov(y, bias=bias)
    same(found, wanted, 1e-9, 1e-9)
    if bias:
        covariance = river.stats.EWCov(0.06) if hasattr(river.stats, "EWCov") else None
        if covariance is not None:
            theirs = []
            for a, b in zip(x, y, strict=True):
                covariance.update(a, b)
                theirs.append(covariance.get())
            same(found, theirs, 1e-8, 1e-8)


def test_ewcorr_is_that_of_pandas():
    x, y = pd.Series(walk(1, False)), pd.Series(walk(2, False))
    wanted = x.ewm(alpha=0.06, adjust=False).corr(y)
    same(run("ewcorr", x, y, alpha=0.06)[1:], wanted[1:], 1e-9, 1e-11)


@pytest.mark.parametrize("period", [2, 14, 50])
def test_rsi_is_that_of_talib(period):
    x = walk(missing=False)
    same(run("rsi", x, period=period), talib.RSI(x, period), 1e-9)


@pytest.mark.parametrize(("fast", "slow", "signal"), [(12, 26, 9), (5, 35, 5), (26, 12, 9)])
def test_macd_is_that_of_talib(fast, slow, signal):
    x = walk(missing=False)
    found = run("macd", x, fast=fast, slow=slow, signal=signal)
    for name, wanted in zip(("macd", "signal", "hist"), talib.MACD(x, fast, slow, signal),
                            strict=True):  # fmt: skip
        same(field(found, name), wanted, 1e-9, 1e-11)


def test_macd_of_the_other_seeds_is_built_from_talibs_and_pandas_averages():
    x = walk(missing=False)
    found = run("macd", x, seed="sma")
    line = talib.EMA(x, 12) - talib.EMA(x, 26)
    signal = np.full(ROWS, np.nan)
    signal[25:] = talib.EMA(line[25:], 9)
    same(field(found, "macd"), line, 1e-9, 1e-11)
    same(field(found, "signal"), signal, 1e-9, 1e-11)
    found = run("macd", x, seed="first")
    s = pd.Series(x)
    line = s.ewm(span=12, adjust=False).mean() - s.ewm(span=26, adjust=False).mean()
    same(field(found, "macd"), line, 1e-9, 1e-11)
    same(field(found, "hist"), line - line.ewm(span=9, adjust=False).mean(), 1e-9, 1e-11)


def test_vpin_is_that_of_volumes_laid_out_one_by_one():
    volume, side = trades()
    size, n = 250, 20
    laid = np.repeat(side, volume)
    full = len(laid) // size
    imbalance = np.abs(laid[: full * size].reshape(full, size).sum(axis=1))
    mean = pd.Series(imbalance).rolling(n).mean().to_numpy() / size
    closed = np.cumsum(volume) // size
    wanted = [mean[c - 1] if c else np.nan for c in closed]
    same(run("vpin", volume, side, bucket_volume=size, n_buckets=n), wanted, 1e-12)


def test_vpin_passes_one_trade_that_fills_a_million_buckets():
    found = run("vpin", [10.0, 1e9, 5.0], [1, -1, 1], bucket_volume=100, n_buckets=3)
    same(found, [np.nan, 1.0, 1.0], 1e-12)


# ---------------------------------------------------------------- rolling


@pytest.mark.parametrize("window", [2, 5, 20, 100])
def test_rolling_moments_are_those_of_pandas(window):
    x = series()
    raw, rolling = walk(), x.rolling(window)
    same(run("rolling_min", raw, window=window), rolling.min(), 0)
    same(run("rolling_max", raw, window=window), rolling.max(), 0)
    same(run("rolling_std", raw, window=window), rolling.std(), 1e-10, 1e-7)
    same(run("rolling_std", raw, window=window, ddof=0), rolling.std(ddof=0), 1e-10, 1e-7)
    steps = series().diff()
    score = (steps - steps.rolling(window).mean()) / steps.rolling(window).std()
    found = run("rolling_zscore", steps, window=window)
    usable = steps.rolling(window).std() > 1e-9
    same(found[usable], score[usable], 1e-7, 1e-7)


@pytest.mark.parametrize("window", [4, 20, 100])
def test_rolling_skew_and_kurt_are_those_of_pandas_polars_and_scipy(window):
    x = np.random.default_rng(5).normal(size=ROWS)
    skew, kurt = run("rolling_skew", x, window=window), run("rolling_kurt", x, window=window)
    rolling = pd.Series(x).rolling(window)
    same(skew, rolling.skew(), 1e-8, 1e-8)
    same(kurt, rolling.kurt(), 1e-8, 1e-7)
    same(skew, pl.Series(x).rolling_skew(window, bias=False).to_numpy(), 1e-8, 1e-8)
    last = x[-window:]
    assert skew[-1] == pytest.approx(scipy.stats.skew(last, bias=False), rel=1e-10)
    assert kurt[-1] == pytest.approx(scipy.stats.kurtosis(last, bias=False), rel=1e-10)


@pytest.mark.parametrize("window", [3, 20])
def test_rolling_extremes_and_std_are_those_of_talib_and_polars(window):
    x = walk(missing=False)
    same(run("rolling_min", x, window=window), talib.MIN(x, window), 0)
    same(run("rolling_max", x, window=window), talib.MAX(x, window), 0)
    same(run("rolling_std", x, window=window, ddof=0), talib.STDDEV(x, window), 1e-6, 1e-6)
    same(run("rolling_std", x, window=window), pl.Series(x).rolling_std(window).to_numpy(), 1e-9,
         1e-7)  # fmt: skip


@pytest.mark.parametrize(("lag", "window"), [(1, 10), (5, 100)])
def test_autocorr_is_that_of_pandas(lag, window):
    r = pd.Series(returns())
    wanted = r.rolling(window).corr(r.shift(lag))
    same(run("autocorr", r, lag=lag, window=window), wanted, 1e-8, 1e-9)


@pytest.mark.parametrize("k", [1, 7])
def test_differences_are_those_of_pandas_polars_and_talib(k):
    x = series()
    same(run("diff", walk(), k=k), x.diff(k), 0)
    frame = pl.Series(x.to_numpy(copy=True)).fill_nan(None)
    same(run("diff", walk(), k=k), frame.diff(k).to_numpy(), 0)
    clean = walk(missing=False)
    same(run("diff", clean, k=k), talib.MOM(clean, k), 0)
    same(run("log_returns", walk()), np.log(x).diff(), 1e-9, 1e-15)


@pytest.mark.parametrize(("alpha", "window"), [(0.05, 250), (0.1, 20), (0.5, 7)])
def test_historical_var_is_that_of_pandas_polars_and_numpy(alpha, window):
    x = series()
    found = run("historical_var", walk(), alpha=alpha, window=window)
    same(found, -x.rolling(window).quantile(alpha), 1e-12)
    clean = walk(missing=False)
    found = run("historical_var", clean, alpha=alpha, window=window)
    theirs = pl.Series(clean).rolling_quantile(alpha, "linear", window_size=window)
    same(found, -theirs.to_numpy(), 1e-12)
    assert found[-1] == pytest.approx(-np.quantile(clean[-window:], alpha), rel=1e-13)


@pytest.mark.parametrize("window", [5, 6, 31])
def test_hampel_is_that_of_rolling_medians(window):
    x = series().diff()
    found = run("robust_hampel", x, window=window, n_sigmas=2.0)
    median = x.rolling(window).median()
    sigma = x.rolling(window).apply(
        lambda v: scipy.stats.median_abs_deviation(v, scale="normal"), raw=True
    )
    same(field(found, "median"), median, 1e-12, 1e-12)
    same(field(found, "sigma"), sigma, 1e-10, 1e-12)
    outlier = field(found, "is_outlier")[window:]
    clear = ((x - median).abs() - 2 * sigma).abs()[window:] > 1e-9
    there = median.notna()[window:] & clear
    wanted = ((x - median).abs() > 2 * sigma)[window:]
    np.testing.assert_array_equal(outlier[there].astype(bool), wanted[there])


@pytest.mark.parametrize(("d", "tau"), [(0.4, 1e-3), (0.7, 1e-4), (1.0, 1e-5), (0.3, 50.0)])
def test_frac_diff_is_a_convolution_with_binomial_weights(d, tau):
    x = walk(missing=False)
    count = int(tau) if tau >= 1 else 4_000
    k = np.arange(1, count)
    weights = np.concatenate([[1.0], np.cumprod((k - 1 - d) / k)])
    if tau < 1:
        weights = weights[: int(np.argmax(np.abs(weights) < tau))]
    wanted = np.full(ROWS, np.nan)
    wanted[len(weights) - 1 :] = np.convolve(x, weights, mode="valid")
    same(run("frac_diff", x, d=d, tau=tau), wanted, 1e-9, 1e-10)


# ---------------------------------------------------------------- aggregates and scalars


def test_running_moments_are_those_of_pandas():
    x = series()
    found = run("welford_mean_var", walk())
    expanding = x.expanding()
    np.testing.assert_array_equal(field(found, "n"), expanding.count())
    same(field(found, "mean"), expanding.mean(), 1e-12)
    same(field(found, "var"), expanding.var(), 1e-9)
    same(field(found, "std"), expanding.std(), 1e-9)


def test_vwap_is_numpys_weighted_average():
    price, (volume, _) = walk(missing=False), trades()
    for end in (1, 10, ROWS):
        wanted = np.average(price[:end], weights=volume[:end])
        found = fin_sql.kernel("vwap").apply(price[:end], volume[:end]).as_py()
        assert found == pytest.approx(wanted, rel=1e-13)
    assert fin_sql.kernel("vwap").apply([1.0, 2.0, 5.0], [3.0, -1.0, None]).as_py() == 1.0


def test_scalars_are_arithmetic():
    bid, ask = walk(1, False), walk(2, False)
    same(run("midprice", bid, ask), (bid + ask) / 2, 0)
    volume, side = trades()
    same(run("signed_volume", side * 2.5, volume), np.sign(side) * volume, 0)


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("name", "params", "oracle"),
    [
        ("ewma", {"alpha": 0.1}, lambda s: s.ewm(alpha=0.1, adjust=False, ignore_na=True).mean()),
        ("rolling_std", {"window": 5}, lambda s: s.rolling(5).std()),
        ("rolling_max", {"window": 5}, lambda s: s.rolling(5).max()),
        ("diff", {}, lambda s: s.diff()),
        ("historical_var", {"window": 9}, lambda s: -s.rolling(9).quantile(0.05)),
    ],
)
def test_keys_are_groups_of_pandas(name, params, oracle):
    x = pd.Series(walk(missing=False))
    keys = np.random.default_rng(8).choice(["a", "b", "c"], ROWS)
    found = fin_sql.kernel(name).apply(x, by=keys, **params).to_numpy(zero_copy_only=False)
    same(found, x.groupby(keys).transform(oracle), 1e-9, 1e-9)
