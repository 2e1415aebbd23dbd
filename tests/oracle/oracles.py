"""An oracle for every kernel: its call over a market, and pandas', TA-Lib's or SciPy's answer.

ORACLES[name] = (call, table, oracle, relative tolerance). The oracle takes the rows of one symbol,
in order, and returns a value for each of them; of an aggregate one value; of a STRUCT a dict of
them. The tables are those of `markets`.
"""

import math

import numpy as np
import pandas as pd
import scipy.stats
import talib


def annual(price, base, days):
    return (price - base) / base * 365 / days


def aberration(x, w):
    """MAD of the last w rows, on the scale of a standard deviation."""
    rows = np.lib.stride_tricks.sliding_window_view(x.to_numpy(float), w)
    found = scipy.stats.median_abs_deviation(rows, axis=1, scale="normal")
    return pd.Series(np.concatenate([np.full(w - 1, np.nan), found]), x.index)


def tail(v, share):
    """Mean of what is not above a quantile, as a loss."""
    return -v[v <= np.quantile(v, share)].mean()


# ---------------------------------------------------------------- online statistics, features


def joint(g):
    return g.bid.ewm(alpha=0.06, adjust=False), g.ask


def hampel(g):
    median, sigma = g.price.rolling(7).median(), aberration(g.price, 7)
    odd = (g.price - median).abs() > 3 * sigma
    return {"median": median, "sigma": sigma, "filtered": g.price.where(~odd, median),
            "is_outlier": odd.where(median.notna())}  # fmt: skip


FAST = {
    "ewma": ("ewma(price, 0.06)", "trades",
             lambda g: g.price.ewm(alpha=0.06, adjust=False).mean(), 1e-11),
    "log_returns": ("log_returns(price)", "trades", lambda g: np.log(g.price).diff(), 1e-9),
    "diff": ("diff(price)", "trades", lambda g: g.price.diff(), 0),
    "rolling_min": ("rolling_min(price, 20)", "trades", lambda g: g.price.rolling(20).min(), 0),
    "rolling_max": ("rolling_max(price, 20)", "trades", lambda g: g.price.rolling(20).max(), 0),
    "rolling_std": ("rolling_std(size, 20)", "trades", lambda g: g["size"].rolling(20).std(), 1e-6),
    "rolling_zscore": ("rolling_zscore(size, 20)", "trades",
                       lambda g: (g["size"] - g["size"].rolling(20).mean())
                       / g["size"].rolling(20).std().where(lambda d: d > 1e-6), 1e-6),
    "rolling_skew": ("rolling_skew(ln(size), 20)", "trades",
                     lambda g: np.log(g["size"]).rolling(20).skew(), 1e-6),
    "rolling_kurt": ("rolling_kurt(ln(size), 20)", "trades",
                     lambda g: np.log(g["size"]).rolling(20).kurt(), 1e-5),
    "autocorr": ("autocorr(ln(size), 1, 50)", "trades",
                 lambda g: np.log(g["size"]).rolling(50).corr(np.log(g["size"]).shift()), 1e-6),
    "rolling_median": ("rolling_median(price, 21)", "trades",
                       lambda g: g.price.rolling(21).median(), 0),
    "rolling_quantile": ("rolling_quantile(price, 0.9, 21)", "trades",
                         lambda g: g.price.rolling(21).quantile(0.9), 1e-13),
    "rolling_corr": ("rolling_corr(bid_size, ask_size, 30)", "quotes",
                     lambda g: g.bid_size.rolling(30).corr(g.ask_size), 1e-6),
    "rolling_beta": ("rolling_beta(ask_size, bid_size, 30)", "quotes",
                     lambda g: g.ask_size.rolling(30).cov(g.bid_size)
                     / g.bid_size.rolling(30).var(), 1e-6),
    "rolling_sharpe": ("rolling_sharpe(ret, 50, 252)", "trades",
                       lambda g: g.ret.rolling(50).mean() / g.ret.rolling(50).std()
                       * math.sqrt(252), 1e-5),
    "ewcov": ("ewcov(bid, ask, 0.06)", "quotes", lambda g: joint(g)[0].cov(g.ask, bias=True), 1e-6),
    "ewcorr": ("ewcorr(bid, ask, 0.06)", "quotes", lambda g: joint(g)[0].corr(g.ask), 1e-5),
    "robust_hampel": ("robust_hampel(price, 7)", "trades", hampel, 1e-9),
    "frac_diff": ("frac_diff(price, 0.4, 3)", "trades",
                  lambda g: g.price - 0.4 * g.price.shift() - 0.12 * g.price.shift(2), 1e-12),
    "signed_volume": ("signed_volume(side, size)", "trades", lambda g: g.side * g["size"], 0),
    "welford_mean_var": ("welford_mean_var(price)", "trades",
                         lambda g: {"n": g.price.count(), "mean": g.price.mean(),
                                    "var": g.price.var(), "std": g.price.std()}, 1e-9),
}  # fmt: skip


# ---------------------------------------------------------------- microstructure, liquidity


def buckets(g):
    """VPIN by laying the shares out one by one."""
    size, n = 1_000, 5
    shares = np.where(g.side == 0, 0, g["size"]).astype(int)
    side = np.repeat(g.side.to_numpy(), shares)
    full = len(side) // size
    imbalance = np.abs(side[: full * size].reshape(full, size).sum(axis=1))
    mean = pd.Series(imbalance).rolling(n).mean().to_numpy() / size
    closed = np.cumsum(shares) // size
    value = np.where(closed > 0, mean[np.maximum(closed - 1, 0)] if full else np.nan, np.nan)
    return np.where(g.side == 0, np.nan, value)


def lee_ready(g):
    mid = ((g.bid + g.ask) / 2).where(g.ask >= g.bid)
    other = g.price.where(g.price.diff() != 0).ffill()  # of a run of one price ..
    before = other.shift().where(g.price.diff() != 0).ffill()  # .. the price before it
    tick = np.sign(g.price - before).fillna(0)
    return np.sign(g.price - mid).where(lambda s: s.abs() == 1, tick)


def imbalance(g):
    """Cont, Kukanov and Stoikov, by cases."""

    def flow(price, size, better):
        before = size.shift()
        return np.where(better(price.diff()), size,
                        np.where(price.diff() == 0, size - before, -before))  # fmt: skip

    bid = flow(g.bid, g.bid_size, lambda d: d > 0)
    ask = flow(g.ask, g.ask_size, lambda d: d < 0)
    return pd.Series(bid - ask, g.index).where(g.bid.shift().notna())


def corwin_schultz(g):
    high, low = np.log(g.high), np.log(g.low)
    beta = (high - low) ** 2 + (high.shift() - low.shift()) ** 2
    gamma = (np.maximum(high, high.shift()) - np.minimum(low, low.shift())) ** 2
    k = 3 - 2 * math.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    return (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0)


def roll_of(covariance):
    return 2 * np.sqrt(np.maximum(-covariance, 0))


def pairs_of(change):
    return np.cov(change.dropna()[1:], change.dropna()[:-1])[0, 1]


MARKET = {
    "midprice": ("midprice(bid, ask)", "quotes", lambda g: (g.bid + g.ask) / 2, 0),
    "microprice": ("microprice(bid, ask, bid_size, ask_size)", "quotes",
                   lambda g: (g.bid * g.ask_size + g.ask * g.bid_size)
                   / (g.bid_size + g.ask_size), 1e-13),
    "quoted_spread": ("quoted_spread(bid, ask)", "quotes", lambda g: g.ask - g.bid, 0),
    "quoted_spread_bps": ("quoted_spread_bps(bid, ask)", "quotes",
                          lambda g: 2e4 * (g.ask - g.bid) / (g.ask + g.bid), 1e-12),
    "effective_spread": ("effective_spread(price, (bid + ask) / 2)", "matched",
                         lambda g: 2 * (g.price - (g.bid + g.ask) / 2).abs(), 1e-12),
    "trade_sign": ("trade_sign(price, bid, ask)", "matched", lee_ready, 0),
    "l1_imbalance": ("l1_imbalance(bid_size, ask_size)", "quotes",
                     lambda g: (g.bid_size - g.ask_size) / (g.bid_size + g.ask_size), 1e-13),
    "ofi": ("ofi(bid, ask, bid_size, ask_size)", "quotes", imbalance, 0),
    "vpin": ("vpin(size, side, 1000, 5)", "trades", buckets, 1e-12),
    "bulk_buy_volume": ("bulk_buy_volume(close - open, 0.1, volume)", "bars",
                        lambda g: g.volume * scipy.stats.norm.cdf((g.close - g.open) / 0.1), 1e-9),
    "kyle_lambda": ("kyle_lambda(change, size * side, 20)", "trades",
                    lambda g: g.change.rolling(20).cov(g["size"] * g.side)
                    / (g["size"] * g.side).rolling(20).var(), 1e-5),
    "amihud_illiquidity": ("amihud_illiquidity(ret, price * size, 20)", "trades",
                           lambda g: (g.ret.abs() / (g.price * g["size"])).rolling(20).mean(),
                           1e-7),
    "amihud_illiquidity_agg": ("amihud_illiquidity_agg(ret, price * size)", "trades",
                               lambda g: (g.ret.abs() / (g.price * g["size"])).mean(), 1e-11),
    "roll_spread": ("roll_spread(change, 20)", "trades",
                    lambda g: roll_of(g.change.rolling(20).cov(g.change.shift())), 1e-4),
    "roll_spread_agg": ("roll_spread_agg(change, ts)", "trades",
                        lambda g: roll_of(pairs_of(g.change)), 1e-9),
    "corwin_schultz_spread": ("corwin_schultz_spread(high, low)", "bars", corwin_schultz, 1e-8),
}  # fmt: skip


# ---------------------------------------------------------------- volatility, OHLC, momentum


def neighbours(r):
    table = pd.concat([r.abs().shift(k) for k in range(3)], axis=1)
    return table.median(axis=1, skipna=False) ** 2


MEDRV = math.pi / (6 - 4 * math.sqrt(3) + math.pi)


def ranges(g):
    """Logs of a bar's prices, over its open."""
    return np.log(g.high / g.open), np.log(g.low / g.open), np.log(g.close / g.open)


def rogers_satchell(g):
    u, d, c = ranges(g)
    return u * (u - c) + d * (d - c)


def yang_zhang(g, w=10):
    night = np.log(g.open / g.close.shift())
    day = np.log(g.close / g.open)
    k = 0.34 / (1.34 + (w + 1) / (w - 1))
    both = night.rolling(w).var() + k * day.rolling(w).var()
    return np.sqrt(both + (1 - k) * rogers_satchell(g).rolling(w).mean())


def bands(g):
    upper, mid, lower = talib.BBANDS(g.price.to_numpy(), 20, 2, 2)
    return {"mid": mid, "upper": upper, "lower": lower}


def macd(g):
    return dict(zip(("macd", "signal", "hist"), talib.MACD(g.price.to_numpy()), strict=True))


def donchian(g):
    high, low = g.high.rolling(10).max(), g.low.rolling(10).min()
    return {"high": high, "low": low, "mid": (high + low) / 2}


def stochastic(g):
    high, low = g.high.rolling(5).max(), g.low.rolling(5).min()
    k = 100 * (g.close - low) / (high - low)
    return {"k": k, "d": k.rolling(3).mean()}


def kalman(g):
    """A level with steps of 0.01 and noise of 1, in the textbook's form."""
    level, variance, found = g.price.iloc[0], 1.0, []
    for t, z in enumerate(g.price):
        variance += 0.01 if t else 0
        gain = variance / (variance + 1) if t else 0
        level, variance = level + gain * (z - level), (1 - gain) * variance if t else 1.0
        found.append(level)
    return found


CHART = {
    "realized_var": ("realized_var(ret, 20)", "trades",
                     lambda g: (g.ret**2).rolling(20).sum(), 1e-8),
    "realized_var_agg": ("realized_var_agg(ret)", "trades", lambda g: (g.ret**2).sum(), 1e-11),
    "bipower_var": ("bipower_var(ret, 20)", "trades",
                    lambda g: (g.ret.abs() * g.ret.abs().shift()).rolling(19).sum()
                    * math.pi / 2, 1e-7),
    "bipower_var_agg": ("bipower_var_agg(ret, ts)", "trades",
                        lambda g: (g.ret.abs() * g.ret.abs().shift()).sum() * math.pi / 2, 1e-10),
    "medrv": ("medrv(ret, 20)", "trades",
              lambda g: neighbours(g.ret).rolling(18).sum() * MEDRV * 20 / 18, 1e-7),
    "medrv_agg": ("medrv_agg(ret, ts)", "trades",
                  lambda g: neighbours(g.ret).sum() * MEDRV * g.ret.count()
                  / (g.ret.count() - 2), 1e-10),
    "riskmetrics_vol": ("riskmetrics_vol(ret)", "trades",
                        lambda g: np.sqrt((g.ret**2).ewm(alpha=0.06, adjust=False).mean()), 1e-9),
    "parkinson_vol": ("parkinson_vol(high, low, 10)", "bars",
                      lambda g: np.sqrt((np.log(g.high / g.low) ** 2).rolling(10).mean()
                                        / (4 * math.log(2))), 1e-7),
    "gk_vol": ("gk_vol(open, high, low, close, 10)", "bars",
               lambda g: np.sqrt((0.5 * np.log(g.high / g.low) ** 2 - (2 * math.log(2) - 1)
                                  * np.log(g.close / g.open) ** 2).rolling(10).mean()), 1e-6),
    "rogers_satchell_vol": ("rogers_satchell_vol(open, high, low, close, 10)", "bars",
                            lambda g: np.sqrt(rogers_satchell(g).rolling(10).mean()), 1e-6),
    "yang_zhang_vol": ("yang_zhang_vol(open, high, low, close, 10)", "bars", yang_zhang, 1e-6),
    "atr": ("atr(high, low, close, 14)", "bars",
            lambda g: talib.ATR(g.high.to_numpy(), g.low.to_numpy(), g.close.to_numpy(), 14),
            1e-10),
    "sma": ("sma(price, 20)", "trades", lambda g: g.price.rolling(20).mean(), 1e-11),
    "ema": ("ema(price, 10)", "trades", lambda g: talib.EMA(g.price.to_numpy(), 10), 1e-11),
    "rsi": ("rsi(price, 14)", "trades", lambda g: talib.RSI(g.price.to_numpy(), 14), 1e-8),
    "macd": ("macd(price)", "trades", macd, 1e-7),
    "bollinger_bands": ("bollinger_bands(price, 20)", "trades", bands, 1e-6),
    "stochastic_osc": ("stochastic_osc(high, low, close, 5)", "bars", stochastic, 1e-8),
    "donchian_channel": ("donchian_channel(high, low, 10)", "bars", donchian, 1e-13),
    "kalman_1d": ("kalman_1d(price, 0.01, 1.0)", "trades", kalman, 1e-10),
}  # fmt: skip
