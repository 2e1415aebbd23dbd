"""The rest of the oracles: execution, risk, safety, rates and pairs; the whole table."""

import math

import numpy as np
import pandas as pd
import scipy.stats
from oracles import CHART, FAST, MARKET, aberration, annual, tail

# ---------------------------------------------------------------- execution


def shortfall(g):
    return np.where(g.side == 0, np.nan, g.side * (g.price / 100 - 1) * 1e4)


def shortfall_agg(g):
    g = g[g.side != 0]
    return (g.side * g["size"] * (g.price - 100)).sum() / (g["size"] * 100).sum() * 1e4


def pov(g):
    done = np.minimum(0.1 * g["size"].cumsum(), 500.0)
    return {"child_qty": np.diff(done, prepend=0), "remaining": 500 - done}


def twap(g):
    time = g.ts.astype("datetime64[ns]").astype("int64").to_numpy()
    lengths = np.diff(time)
    return (g.price.to_numpy()[:-1] * lengths).sum() / lengths.sum()


def slippage(g):
    """By an account of the paper portfolio and of the real one."""
    side = g.side.replace(0, np.nan)
    parts = {
        "delay_bps": side * 10 * (100 - 99.9),
        "trading_bps": side * 10 * (g.price - 100),
        "opportunity_bps": side * 2 * (100.5 - 99.9),
        "fee_bps": 5 + 0 * side,
    }
    parts["total_bps"] = side * (12 * (100.5 - 99.9) - 10 * (100.5 - g.price)) + 5
    return {name: cost / (12 * 99.9) * 1e4 for name, cost in parts.items()}


def schedule(g):
    """What to hold at the third of five times: the difference equation as a linear system."""
    kappa = 1e-6 * 0.95**2 / (2.5e-6 - 2.5e-7 / 2)
    matrix = np.diag([2 + kappa] * 4) - np.diag([1.0] * 3, 1) - np.diag([1.0] * 3, -1)
    held = np.linalg.solve(matrix, [1, 0, 0, 0])
    return held[2] * g["size"]


EXECUTION = {
    "vwap": ("vwap(price, size)", "trades",
             lambda g: np.average(g.price, weights=g["size"]), 1e-12),
    "twap": ("twap(price, ts)", "trades", twap, 1e-11),
    "pov": ("pov(size, 0.1, 500)", "trades", pov, 1e-9),
    "implementation_shortfall": ("implementation_shortfall(price, 100, side)", "trades",
                                 shortfall, 1e-9),
    "implementation_shortfall_agg": ("implementation_shortfall_agg(price, size, 100, side)",
                                     "trades", shortfall_agg, 1e-10),
    "arrival_price_impact": ("arrival_price_impact(price, 100, side)", "trades", shortfall, 1e-9),
    "slippage_decomposition":
        ("slippage_decomposition(side, 12, 10, 99.9, 100, price, 100.5, 5)", "trades", slippage,
         1e-9),
    "optimal_ac_schedule":
        ("(optimal_ac_schedule(size, 5, 5, 0.95, 0.0000025, 0.000001, 0.00000025))[4]['holdings']",
         "trades", schedule, 1e-9),
}  # fmt: skip


# ---------------------------------------------------------------- risk, bars, safety


def cornish_fisher(g):
    z = scipy.stats.norm.ppf(0.05)
    s, k = 0.1, 0.5
    w = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
    return -(g.price + w * g["size"])


def cusum(g):
    pos = neg = 0.0
    rows = []
    for x in g.price - 100:
        pos, neg = max(0.0, pos + x - 0.5), max(0.0, neg - x - 0.5)
        rows.append((pos, neg, (pos > 5) - (neg > 5)))
    pos, neg, _ = np.array(rows).T
    return {"pos": pos, "neg": neg}


def pareto(g):
    """Maximum likelihood of the exceedances, and the quantile that it gives."""
    loss = np.log(g["size"].to_numpy(float))
    u = np.quantile(loss, 0.9)
    y = loss[loss > u] - u
    xi, _, beta = scipy.stats.genpareto.fit(y, floc=0)
    var = u + beta / xi * ((len(loss) / len(y) * 0.01) ** -xi - 1)
    return {"threshold": u, "n_exceed": len(y), "xi": xi, "beta": beta, "var": var}


def drawdown(g):
    peak = g.price.cummax()
    fall = g.price / peak - 1
    since = g.price.groupby((g.price >= peak).cumsum()).cumcount()
    return {"peak": peak, "drawdown": fall, "max_drawdown": fall.cummin(),
            "bars_under_water": since}  # fmt: skip


def bar_ids(traded, threshold):
    """A bar ends with the row that fills it."""
    found, inside, bar = [], 0.0, 0
    for x in traded:
        found.append(bar)
        inside += x
        if inside >= threshold:
            inside, bar = 0.0, bar + 1
    return found


def in_ms(times):
    return [t / 1e6 for t in times.astype("datetime64[ns]").astype("int64")]


def throttled(g):
    accepted, found = [], []
    for t in in_ms(g.ts):
        found.append(sum(then > t - 1_000 for then in accepted[-5:]) < 5)
        accepted += [t] * found[-1]
    return found


def tokens(g):
    left, last, found = 3.0, None, []
    for t in in_ms(g.ts):
        left = min(3.0, left + (t - (t if last is None else last)) * 0.002)
        last = t
        found.append(left >= 1 - 1e-9)
        left -= found[-1]
    return found


def latched(g):
    until, found = -math.inf, []
    for t, breach in zip(in_ms(g.ts), (g.price / g.price.iloc[0] - 1).abs() > 0.002, strict=True):
        until = t + 500 if breach else until
        found.append(breach or t < until)
    return found


def outliers(g):
    median, sigma = (s.shift() for s in (g.price.rolling(20).median(), aberration(g.price, 20)))
    return ((g.price - median).abs() > 3 * sigma).where(median.notna())


GUARDED = {
    "historical_var": ("historical_var(change, 0.05, 100)", "trades",
                       lambda g: -g.change.rolling(100).quantile(0.05), 1e-9),
    "historical_var_agg": ("historical_var_agg(change)", "trades",
                           lambda g: -g.change.quantile(0.05), 1e-9),
    "historical_cvar": ("historical_cvar(change, 0.05, 100)", "trades",
                        lambda g: g.change.rolling(100).apply(lambda v: tail(v, 0.05), raw=True),
                        1e-9),
    "historical_cvar_agg": ("historical_cvar_agg(change)", "trades",
                            lambda g: tail(g.change.dropna().to_numpy(), 0.05), 1e-9),
    "cornish_fisher_var": ("cornish_fisher_var(price, size, 0.1, 0.5)", "trades", cornish_fisher,
                           1e-9),
    "evt_pot_var": ("evt_pot_var(-ln(size), 0.01, 0.9)", "trades", pareto, 5e-3),
    "cusum": ("cusum(price, 100)", "trades", cusum, 1e-9),
    "drawdown": ("drawdown(price)", "trades", drawdown, 1e-12),
    "volume_bars": ("volume_bars(size, 1000)", "trades", lambda g: bar_ids(g["size"], 1_000), 0),
    "dollar_bars": ("dollar_bars(price, size, 100000)", "trades",
                    lambda g: bar_ids(g.price * g["size"], 100_000), 0),
    "gap_fill": ("gap_fill(gappy)", "trades", lambda g: g.gappy.ffill(), 0),
    "ohlc": ("ohlc(price, ts)", "trades",
             lambda g: {"open": g.price.iloc[0], "high": g.price.max(), "low": g.price.min(),
                        "close": g.price.iloc[-1]}, 0),
    "stale_quote_detector": ("stale_quote_detector(ts, quoted_at, 500)", "matched",
                             lambda g: g.quoted_at.isna() | (g.ts - g.quoted_at
                                                             > pd.Timedelta("500ms")), 0),
    "price_band_guard": ("price_band_guard(price, bid, 0.00105)", "matched",
                         lambda g: (g.price / g.bid - 1).abs() <= 0.00105, 0),
    "fat_finger_guard": ("fat_finger_guard(price, size, bid, 0.00105, 20000)", "matched",
                         lambda g: ((g.price / g.bid - 1).abs() <= 0.00105)
                         & (g.price * g["size"] <= 20_000), 0),
    "circuit_breaker": ("circuit_breaker(price, bid, 0.00105)", "matched",
                        lambda g: ~((g.price / g.bid - 1).abs() <= 0.00105), 0),
    "circuit_breaker_latched":
        ("circuit_breaker_latched(ts, price, opening, 0.002, 500)", "trades", latched, 0),
    "throttle_check": ("throttle_check(ts, 5, 1000)", "trades", throttled, 0),
    "token_bucket": ("token_bucket(ts, 2, 3)", "trades", tokens, 0),
    "outlier_flag_mad": ("outlier_flag_mad(price, 20)", "trades", outliers, 0),
}  # fmt: skip


# ---------------------------------------------------------------- rates and pairs


def triangle(forth, back):
    edge = ((np.maximum(forth, back) - 1) * 1e4).where(lambda e: np.isfinite(e))
    route = np.where(forth >= back, "AB-BC-CA", "AC-CB-BA")
    return {"edge_bps": edge, "route": np.where(edge > 0, route, "")}


def term(g):
    near, far = g.bid, g.ask * 1.01
    return {"near_ann": annual(near, 100, 30), "far_ann": annual(far, 100, 90),
            "slope_ann": annual(far, near, 60), "contango": far > near}  # fmt: skip


def yoshida(g):
    """All pairs of intervals of every second row, and of all the others."""
    legs = []
    for leg in (g.iloc[::2], g.iloc[1::3]):
        last = leg.groupby("ts").price.last()
        legs.append((last.index.to_numpy(), np.diff(np.log(last.to_numpy()))))
    (ta, da), (tb, db) = legs
    first = np.searchsorted(tb[1:], ta[:-1], side="right")  # the first one that ends after begin
    until = np.searchsorted(tb[:-1], ta[1:], side="left")  # those that begin before the end
    total = np.concatenate([[0.0], np.cumsum(db)])
    return (da * (total[np.maximum(until, first)] - total[first])).sum(), da, db


def yoshida_corr(g):
    covariance, da, db = yoshida(g)
    return covariance / math.sqrt((da**2).sum() * (db**2).sum())


def lead_lag(g):
    x, y = g.bid_size.astype(float), g.ask_size.astype(float)
    table = pd.DataFrame({
        k: x.shift(k).rolling(40).corr(y) if k >= 0 else x.rolling(40).corr(y.shift(-k))
        for k in (0, 1, -1, 2, -2)
    })  # fmt: skip
    table = table[table.notna().all(axis=1)]
    best = table.abs().round(9).idxmax(axis=1)
    corr = table.to_numpy()[range(len(table)), table.columns.get_indexer(best)]
    return {"corr": pd.Series(corr, table.index).reindex(g.index)}


def hedge(g, q=1e-5, r=1e-3):
    beta, p, rows = 0.0, 1.0 - q, []
    for a, b in zip(g.ask, g.bid, strict=True):
        p += q
        s, e = b * b * p + r, a - beta * b
        beta, p = beta + p * b / s * e, p * r / s
        rows.append((beta, e, math.sqrt(s)))
    return dict(zip(("hedge_ratio", "spread", "spread_std"), np.array(rows).T, strict=True))


def hedge_line(g, delta=1e-4, r=1e-3):
    """The Kalman filter in matrices."""
    q = delta / (1 - delta) * np.eye(2)
    beta, p, rows = np.zeros(2), np.eye(2) - q, []
    for a, b in zip(g.ask, g.bid, strict=True):
        h = np.array([b, 1.0])
        p = p + q
        s, e = h @ p @ h + r, a - h @ beta
        k = p @ h / s
        beta = beta + k * e
        keep = np.eye(2) - np.outer(k, h)
        p = keep @ p @ keep.T + np.outer(k, k) * r
        rows.append((beta[0], e, math.sqrt(s), beta[1]))
    names = ("hedge_ratio", "spread", "spread_std", "intercept")
    return dict(zip(names, np.array(rows).T, strict=True))


RATES = {
    "triangular_arbitrage": ("triangular_arbitrage(bid, 0.5, ask / 2)", "quotes",
                             lambda g: triangle(g.bid / g.ask, g.ask / g.bid), 1e-8),
    "triangular_arbitrage_quotes":
        ("triangular_arbitrage_quotes(bid * 1.01, ask, 0.5, 0.5, bid / 2, ask / 2)", "quotes",
         lambda g: triangle(1.01 * g.bid / g.ask, g.bid / g.ask), 1e-8),
    "forward_points": ("forward_points(price, 0.05, 0.03, 0.5)", "trades",
                       lambda g: g.price * (math.exp(0.01) - 1), 1e-10),
    "cip_basis": ("cip_basis(ask, bid, 0.05, 0.03, 0.5)", "quotes",
                  lambda g: 2 * np.log((g.ask / g.bid).where((g.bid > 0) & (g.ask > 0))) - 0.02,
                  1e-9),
    "carry_signal": ("carry_signal(0.01, size / 10000.0, 0.08)", "trades",
                     lambda g: (g["size"] / 1e4 - 0.01) / 0.08, 1e-10),
    "pip_value": ("pip_value(size, 0.01, 1 / price)", "trades",
                  lambda g: g["size"] * 0.01 / g.price, 1e-12),
    "fx_cross_price": ("fx_cross_price(bid, ask)", "quotes", lambda g: g.bid * g.ask, 0),
    "fx_cross_price_div": ("fx_cross_price_div(bid, ask)", "quotes", lambda g: g.bid / g.ask, 0),
    "funding_apr": ("funding_apr(side / 10000.0)", "trades", lambda g: g.side * 0.1095, 1e-12),
    "funding_apy": ("funding_apy(side / 10000.0)", "trades",
                    lambda g: (1 + g.side / 1e4) ** 1095 - 1, 1e-9),
    "funding_cost": ("funding_cost(size * side, price, 0.0001)", "trades",
                     lambda g: g["size"] * g.side * g.price / 1e4, 1e-12),
    "basis_annualized": ("basis_annualized(ask, bid, 30)", "quotes",
                         lambda g: annual(g.ask, g.bid, 30), 1e-9),
    "term_structure": ("term_structure(100, bid, 30, ask * 1.01, 90)", "quotes", term, 1e-9),
    "open_interest_delta": ("open_interest_delta(size)", "trades", lambda g: g["size"].diff(), 0),
    "perp_fair_price": ("perp_fair_price(price, 0.0001, 4, 8, 0.0005)", "trades",
                        lambda g: g.price * 1.00055, 1e-13),
    "cash_and_carry_edge": ("cash_and_carry_edge(bid, ask, 0.0009, 12)", "quotes",
                            lambda g: (g.ask - g.bid) / g.bid * 1e4 + 9 - 12, 1e-9),
    "hayashi_yoshida_cov": ("hayashi_yoshida_cov(ts, leg_a, leg_b)", "trades",
                            lambda g: yoshida(g)[0], 1e-8),
    "hayashi_yoshida_corr": ("hayashi_yoshida_corr(ts, leg_a, leg_b)", "trades",
                             yoshida_corr, 1e-8),
    "xcorr_leadlag": ("xcorr_leadlag(bid_size, ask_size, 2, 40)", "quotes", lead_lag, 1e-6),
    "pairs_spread": ("pairs_spread(ask, bid, 0.5)", "quotes", lambda g: g.ask - g.bid / 2, 1e-13),
    "kalman_hedge_ratio": ("kalman_hedge_ratio(ask, bid)", "quotes", hedge, 1e-7),
    "kalman_hedge_ratio2": ("kalman_hedge_ratio2(ask, bid)", "quotes", hedge_line, 1e-5),
}  # fmt: skip

ORACLES = FAST | MARKET | CHART | EXECUTION | GUARDED | RATES
