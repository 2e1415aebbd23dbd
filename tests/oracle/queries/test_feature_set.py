"""The forty features of feature_set.sql, each by its textbook form over the rows of a symbol."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import talib
from agreement import agree, book, each_symbol, lee_ready, markets, needed, prevailing, rolling
from query_tables import result
from test_quote_queries import vpin

SECOND = pd.Timedelta(seconds=1)
FEATURES = {}


def feature(make):
    """A feature of the rows `t` of one symbol, whose columns `tape` has made."""
    FEATURES[make.__name__] = make
    return make


def tape(tables):
    """Trades that have a price and a size, each with its quote and its side."""
    trades = tables["trades"][["ts", "symbol", "price", "size"]]
    quotes = prevailing(trades, book(tables["quotes"]))
    trades = trades.join(quotes[["bid", "ask", "bid_size", "ask_size", "mid", "found_at"]])
    trades = trades[(trades.price > 0) & (trades["size"] > 0)].astype({"size": float})
    side = lee_ready(trades, trades)

    def changes(t):
        return pd.DataFrame({"r": np.log(t.price).diff(), "change": t.price.diff()})

    found = trades.assign(side=side, amount=trades.price * trades["size"])
    return found.join(each_symbol(found, changes))


def ewm(x, alpha):
    return x.ewm(alpha=alpha, adjust=False, ignore_na=True).mean().where(x.notna())


def zscore(windows):
    return (windows[:, -1] - windows.mean(1)) / windows.std(1, ddof=1)


def both(x, y, window, statistic):
    """A statistic of the last pairs; x and y are two halves of each window."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    x, y = np.where(np.isnan(y), np.nan, x), np.where(np.isnan(x), np.nan, y)
    places = np.where(np.isnan(x), np.nan, np.arange(len(x)))
    return rolling(places, window, lambda w: statistic(x[w.astype(int)], y[w.astype(int)]))


def centred(windows):
    return windows - windows.mean(1, keepdims=True)


# ---------------------------------------------------------------- the book


@feature
def mid(t):
    return (t.bid + t.ask) / 2


@feature
def spread_bps(t):
    return 20_000 * (t.ask - t.bid) / (t.ask + t.bid)


@feature
def micro_edge_bps(t):
    micro = (t.bid * t.ask_size + t.ask * t.bid_size) / (t.bid_size + t.ask_size)
    return 10_000 * (micro - mid(t)) / mid(t)


@feature
def imbalance(t):
    return (t.bid_size - t.ask_size) / (t.bid_size + t.ask_size)


@feature
def pressure(t):
    return ewm(imbalance(t), 0.1)


@feature
def log_depth(t):
    return np.log1p(mid(t) * t.bid_size + mid(t) * t.ask_size)


@feature
def quote_age_s(t):
    return (t.ts - t.found_at) / SECOND


# ---------------------------------------------------------------- the trade


@feature
def side(t):
    return t.side


@feature
def effective_bps(t):
    return 20_000 * (t.price - mid(t)).abs() / mid(t)


@feature
def off_mid_bps(t):
    return 10_000 * (t.price - mid(t)) / mid(t)


@feature
def log_amount(t):
    return np.log(t.price) + np.log(t["size"])


@feature
def size_zscore(t):
    return rolling(t["size"], 100, zscore)


@feature
def gap_s(t):
    return t.ts.diff() / SECOND


@feature
def trades_10s(t):
    times = t.ts.to_numpy()
    first = np.searchsorted(times, times - np.timedelta64(10, "s"), side="left")
    return np.searchsorted(times, times, side="right") - first


# ---------------------------------------------------------------- momentum


@feature
def return_1(t):
    return np.log(t.price) - np.log(t.price.shift())


@feature
def return_10(t):
    return np.log(t.price) - np.log(t.price.shift(10))


@feature
def return_50(t):
    return np.log(t.price) - np.log(t.price.shift(50))


@feature
def above_fast(t):
    return (t.price - ewm(t.price, 0.2)) / ewm(t.price, 0.2)


@feature
def above_slow(t):
    return (t.price - ewm(t.price, 0.02)) / ewm(t.price, 0.02)


@feature
def macd_hist(t):
    return talib.MACD(t.price.to_numpy(), 12, 26, 9)[2] / t.price


@feature
def rsi(t):
    return pd.Series(talib.RSI(t.price.to_numpy(), 14), t.index).where(t.change.abs().cumsum() > 0)


@feature
def price_zscore(t):
    return rolling(t.price, 50, zscore)


@feature
def below_high(t):
    return t.price / t.price.rolling(50).max() - 1


@feature
def above_low(t):
    return t.price / t.price.rolling(50).min() - 1


@feature
def frac_diff(t):
    weights = [1.0]
    while abs(weights[-1]) >= 0.01:
        weights.append(-weights[-1] * (0.4 - len(weights) + 1) / len(weights))
    weights = np.array(weights[:-1])
    return rolling(np.log(t.price), len(weights), lambda w: w[:, ::-1] @ weights)


# ---------------------------------------------------------------- volatility


@feature
def vol_20(t):
    return rolling(t.r, 20, lambda w: w.std(1, ddof=1))


@feature
def vol_100(t):
    return rolling(t.r, 100, lambda w: w.std(1, ddof=1))


@feature
def vol_ew(t):
    return np.sqrt(ewm(t.r**2, 0.03))


@feature
def smooth_share(t):
    def share(w):
        two = np.pi / 2 * np.sum(np.abs(w[:, 1:] * w[:, :-1]), axis=1)
        return two / np.where(np.any(w, axis=1), np.sum(w**2, axis=1), np.nan)

    return rolling(t.r, 100, share)


@feature
def skew(t):
    return rolling(t.r, 100, lambda w: scipy.stats.skew(w, axis=1, bias=False))


@feature
def kurtosis(t):
    return rolling(t.r, 100, lambda w: scipy.stats.kurtosis(w, axis=1, bias=False))


@feature
def autocorr(t):
    def corr(a, b):
        a, b = centred(a), centred(b)
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))

    return both(t.r, t.r.shift(), 100, corr)


@feature
def var_95(t):
    return -rolling(t.r, 100, lambda w: np.quantile(w, 0.05, axis=1))


# ---------------------------------------------------------------- flow and liquidity


@feature
def flow_20(t):
    return flow(t, 20)


@feature
def flow_100(t):
    return flow(t, 100)


def flow(t, rows):
    """Of as many rows as there are, up to a number."""
    signed = (t.side * t.amount).rolling(rows, min_periods=1).apply(np.sum, raw=True)
    return signed / t.amount.rolling(rows, min_periods=1).apply(np.sum, raw=True)


@feature
def kyle_lambda(t):
    def slope(y, x):
        return (centred(y) * centred(x)).sum(1) / (centred(x) ** 2).sum(1)

    return both(t.change, t.side * t.amount, 100, slope)


@feature
def amihud(t):
    return rolling(t.r.abs() / t.amount, 100, lambda w: w.mean(1))


@feature
def roll_spread(t):
    x = t.change / t.price

    def roll(a, b):
        return 2 * np.sqrt(np.maximum(0, -(centred(a) * centred(b)).sum(1) / 99))

    return both(x, x.shift(), 100, roll)


@feature
def vwap_gap(t):
    amount, volume = (
        x.rolling(100, min_periods=1).apply(np.sum, raw=True) for x in (t.amount, t["size"])
    )
    return (amount / volume - t.price) / t.price


def features(t):
    return pd.DataFrame({name: make(t) for name, make in FEATURES.items()}, t.index)


@pytest.fixture(scope="module")
def wanted():
    """What the oracles say, by market."""
    made = {}

    def of(market):
        if market not in made:
            trades = tape(needed(market))
            found = each_symbol(trades, features)
            found["vpin"] = vpin(trades, 50_000.0, 10)
            made[market] = trades[["ts", "symbol"]].join(found)
        return made[market]

    return of


@markets("feature_set")
def test_each_of_the_forty_features(name, market, wanted):
    assert len(FEATURES) == 39  # and vpin, whose loop is that of another query
    made = wanted(market)
    found = result(name, market)
    assert found.num_columns == 42
    agree(found, made)
