"""Queries over series of prices, by TA-Lib, SciPy, NumPy and the recursions of the books."""

from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
import talib
from agreement import agree, each_symbol, markets, needed, prevailing, rolling
from numpy.lib.stride_tricks import sliding_window_view
from query_tables import result, run, tables
from scipy.optimize import brentq

# ---------------------------------------------------------------- indicators


@markets("momentum")
def test_indicators_are_those_of_ta_lib(name, market):
    bars = needed(market)["bars"].astype({"high": float, "low": float, "close": float})

    def indicators(rows):
        high, low, price = (rows[c].to_numpy() for c in ("high", "low", "close"))
        line, signal, hist = talib.MACD(price, 12, 26, 9)
        k, d = talib.STOCHF(high, low, price, 14, 3, 0)
        mid, std = (rolling(price, 20, f) for f in (lambda w: w.mean(1), lambda w: w.std(1)))
        found = pd.DataFrame({
            "rsi": talib.RSI(price, 14),
            "macd": line, "macd_signal": signal, "macd_hist": hist,
            "stoch_k": k, "stoch_d": d,
            "upper_band": mid + 2 * std, "lower_band": mid - 2 * std,
            "channel_high": talib.MAX(high, 20), "channel_low": talib.MIN(low, 20),
            "above_trend": price / talib.EMA(price, 20) - 1,
            "change_10": talib.ROCP(price, 10),
            "atr": talib.ATR(high, low, price, 14),
        }, index=rows.index)  # fmt: skip
        # TA-Lib gives the first k where it gives the first d, and 0 where prices stood still.
        width = rolling(high, 14, lambda w: w.max(1)) - rolling(low, 14, lambda w: w.min(1))
        base = price - rolling(low, 14, lambda w: w.min(1))
        found["stoch_k"] = 100 * base / np.where(width > 0, width, np.nan)
        moved = rows.close.diff().abs().cumsum() > 0
        return found.assign(rsi=found.rsi.where(moved))

    wanted = bars[["ts", "symbol", "close"]].join(each_symbol(bars, indicators))
    flat = wanted.stoch_k.isna() & wanted.stoch_d.notna()
    assert flat.mean() < 0.2
    found = result(name, market)
    wanted["stoch_d"] = wanted.stoch_d.where(found["stoch_d"].to_pandas().notna().to_numpy())
    agree(found, wanted)


@markets("adx")
def test_adx_is_wilders(name, market):
    bars = needed(market)["bars"].astype({"high": float, "low": float, "close": float})

    def lines(rows):
        up, down, before = rows.high.diff(), -rows.low.diff(), rows.close.shift()
        plus = up.where((up > down) & (up > 0), 0.0).where(before.notna())
        minus = down.where((down > up) & (down > 0), 0.0).where(before.notna())
        moves = pd.concat(
            [rows.high - rows.low, (rows.high - before).abs(), (rows.low - before).abs()], axis=1
        )
        smooth = {"alpha": 1 / 14, "adjust": False, "ignore_na": True}
        reach = moves.max(axis=1).where(before.notna()).ewm(**smooth).mean()
        plus_di, minus_di = (100 * x.ewm(**smooth).mean() / reach for x in (plus, minus))
        share = 100 * (plus_di - minus_di).abs() / (plus_di + minus_di)
        adx = share.ewm(**smooth).mean().where(share.notna())
        return pd.DataFrame({"plus_di": plus_di, "minus_di": minus_di, "adx": adx})

    wanted = bars[["ts", "symbol"]].join(each_symbol(bars, lines).replace(np.inf, np.nan))
    found = result(name, market)
    agree(found, wanted)
    for _, rows in bars.assign(adx=found["adx"].to_numpy()).groupby("symbol"):
        known = talib.ADX(*(rows[c].to_numpy() for c in ("high", "low", "close")), 14)
        np.testing.assert_allclose(rows.adx[600:], known[600:], rtol=1e-9)


# ---------------------------------------------------------------- risk


@markets("risk_rolling")
def test_risk_of_the_last_returns(name, market):
    bars = needed(market)["bars"]

    def lines(rows):
        price = rows.close.astype(float)
        r = np.log(price).diff()
        squares = (r**2).ewm(alpha=0.06, adjust=False, ignore_na=True).mean()
        peak = price.cummax()
        below = (price - peak) / peak
        at_peak = pd.Series(np.where(price == peak, np.arange(len(price)), np.nan), price.index)
        quantile = rolling(r, 250, lambda w: np.quantile(w, 0.05, axis=1))
        return pd.DataFrame({
            "r": r,
            "var_95": -quantile,
            "cvar_95": -rolling(r, 250, worst),
            "modified_var_95": rolling(r, 250, cornish_fisher),
            "vol": np.sqrt(squares).where(r.notna()),
            "sharpe": rolling(r, 250, lambda w: w.mean(1) / w.std(1, ddof=1) * np.sqrt(525_600)),
            "drawdown": below,
            "max_drawdown": below.cummin(),
            "bars_under_water": np.arange(len(price)) - at_peak.ffill(),
        })  # fmt: skip

    wanted = bars[["ts", "symbol", "close"]].join(each_symbol(bars, lines))
    agree(result(name, market), wanted)


def worst(windows):
    """The mean of what is at or below the quantile."""
    tail = windows <= np.quantile(windows, 0.05, axis=1, keepdims=True)
    return np.where(tail, windows, 0).sum(1) / tail.sum(1)


def cornish_fisher(windows):
    """Value at risk by four moments."""
    z = scipy.stats.norm.ppf(0.05)
    skew = scipy.stats.skew(windows, axis=1, bias=False)
    excess = scipy.stats.kurtosis(windows, axis=1, bias=False)
    moved = (
        z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    )
    return -(windows.mean(1) + moved * windows.std(1, ddof=1))


@markets("risk_summary")
def test_risk_of_all_bars(name, market):
    rows = []
    for symbol, bars in needed(market)["bars"].groupby("symbol"):
        price = bars.close.to_numpy(float)
        r = np.diff(np.log(price))
        std = r.std(ddof=1) if len(r) > 1 else np.nan
        tail = pareto_tail(-r, 0.01, 0.95)
        quantile = np.quantile(r, 0.05)
        rows.append({
            "symbol": symbol,
            "returns": len(r),
            "var_95": -quantile,
            "cvar_95": -r[r <= quantile].mean(),
            "tail_var_99": tail[0],
            "tail_cvar_99": tail[1],
            "vol_year": std * np.sqrt(525_600),
            "sharpe_year": r.mean() / std * np.sqrt(525_600),
            "max_drawdown": np.min(price / np.maximum.accumulate(price) - 1),
        })  # fmt: skip
    agree(result(name, market), pd.DataFrame(rows))


def pareto_tail(losses, alpha, q):
    """Value at risk and the mean beyond it, by Grimshaw's profile of the likelihood."""
    threshold = np.quantile(losses, q)
    y = losses[losses > threshold] - threshold
    share = len(y) / len(losses)
    if len(y) < 10 or alpha >= share:
        return np.nan, np.nan

    def height(theta):
        xi = np.log1p(theta * y).mean()
        return -np.log(xi / theta) - xi if theta else -np.log(y.mean()) - 1

    def slope(theta):
        xi, part = np.log1p(theta * y).mean(), (y / (1 + theta * y)).mean()
        return 1 / theta - part / xi - part

    grid = np.concatenate([-np.geomspace(1 - 1e-6, 1e-7, 400), np.geomspace(1e-7, 1e3, 600)])
    grid = np.array([t for t in grid / y.max() if np.log1p(t * y).mean() > -1])
    slopes = np.array([slope(t) for t in grid])
    falls = np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
    tops = [brentq(slope, grid[i], grid[i + 1], xtol=1e-15, rtol=1e-14) for i in falls]
    theta = max(tops, key=height)
    xi = np.log1p(theta * y).mean()
    beta = xi / theta
    var = threshold + beta / xi * ((alpha / share) ** -xi - 1)
    return var, (var + beta - xi * threshold) / (1 - xi)


@markets("realized_variance")
def test_variances_of_a_day(name, market):
    trades = needed(market)["trades"].sort_values("ts", kind="stable")
    minutes = trades.groupby([trades.ts.dt.floor("min"), "symbol"]).price
    last = minutes.apply(lambda prices: prices.iloc[-1]).reset_index(name="close")
    local = last.ts.dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    rows = []
    for (day, symbol), bars in last.groupby([local.dt.date, "symbol"]):
        r = np.diff(np.log(bars.close))
        r = r[~np.isnan(r)]
        size, n = np.abs(r), len(r)
        medians = np.median(sliding_window_view(size, 3), axis=1) if n > 2 else np.array([])
        squares = np.sum(r**2) if n else np.nan
        two = np.pi / 2 * np.sum(size[1:] * size[:-1]) if n > 1 else np.nan
        scale = np.pi / (6 - 4 * np.sqrt(3) + np.pi)
        rows.append({
            "day": day,
            "symbol": symbol,
            "returns": n,
            "realized_var": squares,
            "bipower_var": two,
            "median_var": scale * n / (n - 2) * np.sum(medians**2) if n > 2 else np.nan,
            "jump_share": max(0.0, 1 - two / squares),
            "realized_vol": np.sqrt(squares),
        })  # fmt: skip
    agree(result(name, market), pd.DataFrame(rows), keys=("day", "symbol"))


# ---------------------------------------------------------------- two assets


@markets("pairs_kalman")
def test_the_hedge_is_that_of_a_kalman_filter(name, market):
    prices = needed(market)["bars"].pivot_table(index="ts", columns="symbol", values="close")
    prices = np.log(prices)
    found = []
    for a, b in combinations(prices.columns, 2):
        both = prices[[a, b]].dropna()
        lines = kalman(both[a].to_numpy(), both[b].to_numpy(), 1e-5, 1e-6)
        found.append(lines.assign(ts=both.index, symbol_a=a, symbol_b=b))
    wanted = pd.concat(found, ignore_index=True)
    wanted["position"] = -np.sign(wanted.zscore) * (wanted.zscore.abs() > 2)
    agree(result(name, market), wanted, rtol=1e-8)


def kalman(y, x, delta, r):
    """Slope and intercept as a random walk, in matrices (Chan 2013, example 3.3)."""
    state, p = np.zeros(2), np.eye(2)
    rows = []
    for t, observed in enumerate(y):
        h = np.array([x[t], 1.0])
        if t:
            p = p + delta / (1 - delta) * np.eye(2)
        error = observed - h @ state
        q = h @ p @ h + r
        gain = p @ h / q
        state, p = state + gain * error, p - np.outer(gain, h @ p)
        rows.append((state[0], state[1], error, error / np.sqrt(q)))
    return pd.DataFrame(rows, columns=["hedge_ratio", "intercept", "spread", "zscore"])


@markets("lead_lag")
def test_correlations_at_lags(name, market):
    rows = needed(market)["trades"].sort_values("ts", kind="stable")
    ticks = {
        symbol: np.log(prices[~prices.index.duplicated(keep="last")].dropna())
        for symbol, prices in rows.set_index("ts").groupby("symbol").price
    }
    found = []
    for a, b in combinations(sorted(ticks), 2):
        for lag in range(-5, 6):
            moved = ticks[a].set_axis(ticks[a].index + pd.Timedelta(seconds=lag))
            corr = hayashi_yoshida(moved, ticks[b])
            found.append({"symbol_a": a, "symbol_b": b, "lag_s": lag, "corr": corr})
    agree(result(name, market), pd.DataFrame(found))


def hayashi_yoshida(prices_a, prices_b):
    """Each move of a with that of b over all intervals that it meets."""
    (ts_a, a), (ts_b, b) = ((p.index, p.to_numpy()) for p in (prices_a, prices_b))
    first = np.searchsorted(ts_b, ts_a[:-1], side="right") - 1  # the last tick at or before
    last = np.searchsorted(ts_b, ts_a[1:], side="left")  # the first one at or behind
    moves = b[last.clip(0, len(b) - 1)] - b[first.clip(0, len(b) - 1)]
    return np.sum(np.diff(a) * moves) / np.sqrt(np.sum(np.diff(a) ** 2) * np.sum(np.diff(b) ** 2))


def test_a_symbol_that_follows_after_two_seconds_is_found():
    trades = tables("crypto")["trades"].select(["ts", "symbol", "price"])
    leader = trades.filter(pa.compute.equal(trades["symbol"], "BTC-USD"))
    later = pa.compute.add(leader["ts"], pa.scalar(2_000_000_000, pa.duration("ns")))
    follower = pa.table({
        "ts": later, "symbol": pa.array(["ZZZ"] * len(leader)), "price": leader["price"],
    })  # fmt: skip
    found = run("lead_lag", {"trades": pa.concat_tables([leader, follower])}).to_pandas()
    assert found.lag_s[found["corr"].idxmax()] == 2
    assert found["corr"].max() == pytest.approx(1.0)


# ---------------------------------------------------------------- swaps


@markets("funding_basis")
def test_funding_and_basis(name, market):
    marks, funding = needed(market)["marks"], needed(market)["funding"]
    in_force = prevailing(marks, funding, exact=True)
    left = pd.Timedelta(hours=8) - (marks.ts - in_force.found_at)
    rate = in_force.rate.where(left >= pd.Timedelta(0))
    premium = (marks.mark_price - marks.index_price) / marks.index_price

    def zscore(rows):
        x = rows.mark_price / rows.index_price
        score = rolling(x, 60, lambda w: (w[:, -1] - w.mean(1)) / w.std(1, ddof=1))
        return pd.Series(score, rows.index)

    wanted = marks.assign(
        rate=rate,
        basis_bps=10_000 * premium,
        basis_zscore=each_symbol(marks, zscore),
        funding_year=rate * 3 * 365,
        fair_price=marks.index_price * (1 + rate * (left / pd.Timedelta(hours=8))),
        carry_bps=10_000 * (premium + rate) - 4,
    )
    agree(result(name, market), wanted)
    assert rate.nunique() > 20
