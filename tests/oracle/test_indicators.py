"""Momentum, volatility of bars, rolling statistics and bars against TA-Lib, pandas and NumPy."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import talib
from data import ROWS, series, walk

import fin_sql

CLEAN = walk(11, missing=False)


def run(name, *columns, **params):
    found = fin_sql.kernel(name).apply(*columns, **params)
    if pa.types.is_struct(found.type):
        return {f.name: found.field(f.name).to_numpy(zero_copy_only=False) for f in found.type}
    return found.to_numpy(zero_copy_only=False)


def same(found, wanted, rtol, atol=0.0):
    wanted = np.asarray(wanted, float)
    assert np.isfinite(wanted).any()
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol, atol, equal_nan=True)


@pytest.fixture(scope="module")
def bars():
    rng = np.random.default_rng(12)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, ROWS)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.003, ROWS))
    high = np.maximum(open_, close) * (1 + rng.random(ROWS) / 100)
    low = np.minimum(open_, close) * (1 - rng.random(ROWS) / 100)
    return open_, high, low, close


@pytest.mark.parametrize("n", [1, 2, 14, 100])
def test_averages_are_those_of_talib(n):
    if n > 1:
        same(run("ema", CLEAN, period_or_alpha=n), talib.EMA(CLEAN, n), 1e-10)
        same(run("sma", CLEAN, window=n), talib.SMA(CLEAN, n), 1e-10)
    else:
        same(run("ema", CLEAN, period_or_alpha=1), CLEAN, 0)
    x = series()
    same(run("sma", x, window=n), x.rolling(n).mean(), 1e-9)
    alpha = x.ewm(alpha=0.3, ignore_na=True, adjust=False).mean().where(x.notna())
    same(run("ema", x, period_or_alpha=0.3), alpha, 1e-11)


def test_a_period_is_whole():
    with pytest.raises(fin_sql.SqlError, match="whole period or an alpha below 1, was 2.5"):
        fin_sql.kernel("ema").apply(CLEAN, 2.5)


@pytest.mark.parametrize(("window", "k"), [(5, 2.0), (20, 2.0), (20, 1.5)])
def test_bollinger_is_that_of_talib(window, k):
    found = run("bollinger_bands", CLEAN, window=window, k=k)
    upper, mid, lower = talib.BBANDS(CLEAN, window, k, k, 0)
    for name, wanted in (("mid", mid), ("upper", upper), ("lower", lower)):
        same(found[name], wanted, 1e-7)
    flat = fin_sql.kernel("bollinger_bands").apply([0.1] * 30)[29].as_py()
    assert flat == {"mid": 0.1, "upper": 0.1, "lower": 0.1}


def test_donchian_and_stochastic_are_those_of_talib(bars):
    _, high, low, close = bars
    found = run("donchian_channel", high, low, window=20)
    same(found["high"], talib.MAX(high, 20), 0)
    same(found["low"], talib.MIN(low, 20), 0)
    same(found["mid"], (talib.MAX(high, 20) + talib.MIN(low, 20)) / 2, 1e-15)
    k, d = talib.STOCHF(high, low, close, 14, 3, 0)
    fast = run("stochastic_osc", high, low, close)
    same(fast["k"][15:], k[15:], 1e-8)  # TA-Lib keeps k back until there is a d
    same(fast["d"], d, 1e-8)
    assert np.isnan(fast["k"][12]) and np.isfinite(fast["k"][13])
    k, d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    slow = run("stochastic_osc", high, low, close, k_smooth=3)
    same(slow["k"][17:], k[17:], 1e-8)
    same(slow["d"], d, 1e-8)
    flat = fin_sql.kernel("stochastic_osc").apply([1.0] * 20, [1.0] * 20, [1.0] * 20)
    assert flat.null_count == 20


def test_kalman_follows_the_textbook_and_the_nile():
    q, r = 0.01, 0.5
    x = series()
    level = variance = None
    wanted = []
    for value in x:
        if level is not None:
            variance += q
        if np.isnan(value):
            wanted.append(np.nan)
            continue
        if level is None:
            level, variance = value, r
        else:
            gain = variance / (variance + r)
            level, variance = level + gain * (value - level), (1 - gain) * variance
        wanted.append(level)
    same(run("kalman_1d", x, q=q, r=r), wanted, 1e-10)
    steady = run("kalman_1d", [1.0] * 100, q=1469.1, r=15099.0)
    assert (steady == 1.0).all()


@pytest.mark.parametrize("period", [2, 14])
def test_atr_is_that_of_talib(bars, period):
    _, high, low, close = bars
    same(run("atr", high, low, close, period=period), talib.ATR(high, low, close, period), 1e-10)


@pytest.mark.parametrize("window", [2, 20])
def test_volatility_of_bars_is_that_of_the_papers(bars, window):
    o, h, b, c = (pd.Series(np.log(x)) for x in bars)
    parkinson = ((h - b) ** 2 / (4 * np.log(2))).rolling(window).mean() ** 0.5
    same(run("parkinson_vol", bars[1], bars[2], window=window), parkinson, 1e-10)
    klass = (0.5 * (h - b) ** 2 - (2 * np.log(2) - 1) * (c - o) ** 2).rolling(window).mean()
    same(run("gk_vol", *bars, window=window), klass**0.5, 1e-9)
    satchell = (h - c) * (h - o) + (b - c) * (b - o)
    same(run("rogers_satchell_vol", *bars, window=window), satchell.rolling(window).mean() ** 0.5,
         1e-9)  # fmt: skip
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    spread = (o - c.shift()).rolling(window).var() + k * (c - o).rolling(window).var()
    wanted = spread + (1 - k) * satchell.rolling(window).mean().where(c.shift(window).notna())
    same(run("yang_zhang_vol", *bars, window=window), wanted**0.5, 1e-9)
    upside_down = fin_sql.kernel("parkinson_vol").apply([1.0, 2.0], [2.0, 1.0], window=1)
    assert upside_down.is_valid().to_pylist() == [False, True]


@pytest.mark.parametrize("window", [1, 20, 101])
def test_order_statistics_are_those_of_pandas(window):
    x = series()
    same(run("rolling_median", x, window=window), x.rolling(window).median(), 1e-14)
    for q in (0.0, 0.1, 0.75, 1.0):
        wanted = x.rolling(window).quantile(q)
        same(run("rolling_quantile", x, q=q, window=window), wanted, 1e-12)


@pytest.mark.parametrize("window", [5, 50])
def test_pairs_are_those_of_pandas(window):
    rng = np.random.default_rng(17)
    x, z = (pd.Series(v).mask(rng.random(ROWS) < 0.01) for v in rng.normal(size=(2, ROWS)))
    y = 0.5 * x + z
    both = x.notna() & y.notna()
    x, y = x.where(both), y.where(both)
    same(run("rolling_corr", x, y, window=window), x.rolling(window).corr(y), 1e-9, 1e-9)
    slope = y.rolling(window).cov(x) / x.rolling(window).var()
    same(run("rolling_beta", y, x, window=window), slope, 1e-9, 1e-9)


def test_sharpe_and_drawdown_are_those_of_pandas():
    r = pd.Series(np.random.default_rng(18).normal(0.001, 0.01, ROWS))
    excess = r - 0.0001
    wanted = excess.rolling(60).mean() / excess.rolling(60).std() * 252**0.5
    same(run("rolling_sharpe", r, window=60, rf_per_period=0.0001), wanted, 1e-8, 1e-10)
    equity = pd.Series(CLEAN)
    found = run("drawdown", equity)
    same(found["peak"], equity.cummax(), 0)
    same(found["drawdown"], equity / equity.cummax() - 1, 1e-15)
    same(found["max_drawdown"], (equity / equity.cummax() - 1).cummin(), 1e-15)
    peaks = pd.Series(np.arange(ROWS)).where(equity == equity.cummax()).ffill()
    same(found["bars_under_water"], np.arange(ROWS) - peaks, 0)


def test_ohlc_is_that_of_pandas_resample_in_every_layout():
    rng = np.random.default_rng(13)
    times = pd.to_datetime("2026-01-02 09:30") + pd.to_timedelta(
        np.sort(rng.integers(0, 3600 * 10**9, ROWS))
    )
    frame = pd.DataFrame({"ts": times, "price": CLEAN})
    wanted = frame.set_index("ts").price.resample("60s").ohlc()
    query = """
        SELECT bar, o['open'] AS open, o['high'] AS high, o['low'] AS low, o['close'] AS close
        FROM (SELECT date_bin(INTERVAL '60' SECOND, ts) AS bar, ohlc(price, ts) AS o
              FROM t GROUP BY bar) ORDER BY bar"""
    for turn in (np.arange(ROWS), rng.permutation(ROWS)):
        for threads in (1, 3):
            ctx = fin_sql.connect(threads=threads)
            ctx.register("t", pa.Table.from_pandas(frame.iloc[turn], preserve_index=False))
            found = ctx.sql(query).to_pandas()
            for name in ("open", "high", "low", "close"):
                same(found[name], wanted[name].dropna(), 0)
    example = fin_sql.kernel("ohlc").apply([100, 101, 99], [0, 20, 50]).as_py()
    assert example == {"open": 100, "high": 101, "low": 99, "close": 99}


def test_bars_by_size_in_sql_close_with_the_row_that_fills_them():
    rng = np.random.default_rng(14)
    size = rng.integers(1, 90, ROWS).astype(float)
    wanted, bar, held = [], 0, 0.0
    for v in size:
        wanted.append(bar)
        held += v
        if held >= 500:
            bar, held = bar + 1, 0.0
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"i": range(ROWS), "size": size, "price": CLEAN}))
    found = ctx.sql("SELECT volume_bars(size, 500) OVER (ORDER BY i) AS b FROM t").to_arrow()
    assert found["b"].to_pylist() == wanted
    query = """
        SELECT b, sum(price * size) AS value FROM
          (SELECT *, dollar_bars(price, size, 1e5) OVER (ORDER BY i) AS b FROM t)
        GROUP BY b ORDER BY b"""
    values = ctx.sql(query).to_arrow()["value"].to_numpy()
    assert len(values) > 50
    assert (values[:-1] >= 1e5).all() and (values[:-1] < 1e5 + 90 * CLEAN.max()).all()
    with pytest.raises(fin_sql.KernelError, match="must not be negative"):
        fin_sql.kernel("volume_bars").apply([1.0, -1.0], 5.0)


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_gaps_are_filled_as_pandas_fills_them(limit):
    x = series().mask(np.random.default_rng(15).random(ROWS) < 0.5)
    same(run("gap_fill", x), x.ffill(), 0)
    same(run("gap_fill", x, limit=limit), x.ffill(limit=limit), 0)
    runs = x.isna().groupby(x.notna().cumsum()).transform("sum")  # the length of each gap
    line = x.interpolate(limit_area="inside").where(x.notna() | (runs <= limit))
    same(run("gap_fill", x, method="linear", limit=limit), line, 1e-14)
    with pytest.raises(fin_sql.SqlError, match="'linear' looks ahead: give 'limit'"):
        fin_sql.kernel("gap_fill").apply(x, "linear")


@pytest.mark.parametrize("layout", ["in order", "by key", "shuffled"])
def test_what_looks_ahead_runs_in_sql_over_whole_inputs(layout):
    x = series().to_numpy()[:600]
    rng = np.random.default_rng(16)
    rows = pa.table({"i": range(600), "k": rng.choice(["a", "b", "c"], 600), "x": x})
    order = {"in order": "i", "by key": ["k", "i"], "shuffled": rng.permutation(600)}[layout]
    if layout == "by key":
        rows = rows.sort_by([("k", "ascending"), ("i", "ascending")])
    elif layout == "shuffled":
        rows = rows.take(order)
    ctx = fin_sql.connect()
    ctx.register("t", rows)
    query = """
        SELECT i, gap_fill(x, 'linear', 4) OVER w AS line, ewma(x, 0.1) OVER w AS e,
               (robust_hampel(x, 5, 3.0, true) OVER w)['median'] AS m
        FROM t WINDOW w AS (PARTITION BY k ORDER BY i)"""
    found = ctx.sql(query).to_arrow().sort_by("i")
    rows = rows.sort_by("i")
    line = fin_sql.kernel("gap_fill").apply(rows["x"], "linear", 4, by=rows["k"])
    wanted = [
        pd.Series(x)[rows["k"].to_numpy(zero_copy_only=False) == key]
        .rolling(5, center=True).median() for key in "abc"
    ]  # fmt: skip
    same(found["m"].to_numpy(), pd.concat(wanted).sort_index(), 1e-14)
    assert found["line"].combine_chunks().equals(line)
    average = fin_sql.kernel("ewma").apply(rows["x"], 0.1, by=rows["k"])
    assert found["e"].combine_chunks().equals(average)
    assert "looks ahead" in ctx.sql(query).explain()
