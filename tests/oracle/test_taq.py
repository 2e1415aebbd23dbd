"""Every kernel from SQL on real trades and quotes, against pandas, TA-Lib and NumPy.

Two thirds of the times are tied, so a row number makes the order total.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import talib
from datafusion import SessionContext

import fin_sql
from fin_sql.registry import KERNELS

DATA = Path(os.environ.get("FIN_SQL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "taq"
NEEDED = pytest.mark.skipif(not DATA.exists(), reason=f"no TAQ sample in {DATA}")


@pytest.fixture(scope="module")
def market():
    ctx, frames = fin_sql.register(SessionContext()), {}
    for name, source in (("trades", "multi_trades"), ("quotes", "quotes")):
        table = pq.read_table(DATA / f"{source}.parquet")
        table = table.append_column("row", pa.array(range(len(table))))
        if name == "trades":  # the sample has no sides: that of the tick
            price = table["price"].to_pandas()
            side = np.sign(price.groupby(table["symbol"].to_pandas()).diff()).fillna(0.0)
            table = table.append_column("side", pa.array(side))
        ctx.from_arrow(table, name=name)
        frames[name] = table.to_pandas()
    return ctx, frames


def weighted_price(frame):
    value = (frame.price * frame["size"]).groupby(frame.symbol).sum()
    return value / frame.groupby("symbol")["size"].sum()


def buckets(frame, size, n):
    """VPIN by laying the shares out one by one."""
    side = np.repeat(frame.side.to_numpy(), np.where(frame.side == 0, 0, frame["size"]))
    full = len(side) // size
    imbalance = np.abs(side[: full * size].reshape(full, size).sum(axis=1))
    mean = pd.Series(imbalance).rolling(n).mean().to_numpy() / size
    traded = np.where(frame.side == 0, 0, frame["size"])
    closed = np.cumsum(traded) // size
    value = np.where(closed > 0, mean[np.maximum(closed - 1, 0)], np.nan)
    return pd.Series(np.where(frame.side == 0, np.nan, value), frame.index)


def hampel(x):
    sigma = x.rolling(7).apply(
        lambda v: scipy.stats.median_abs_deviation(v, scale="normal"), raw=True
    )
    return sigma


def each(frame, column, oracle):
    return frame.groupby("symbol")[column].transform(oracle)


# kernel: call, table, oracle over the table's frame, relative tolerance
WINDOWS = {
    "ewma": ("ewma(price, 0.06, false)", "trades",
             lambda f: each(f, "price", lambda s: s.ewm(alpha=0.06, adjust=False).mean()), 1e-11),
    "log_returns": ("log_returns(price)", "trades",
                    lambda f: each(f, "price", lambda s: np.log(s).diff()), 1e-9),
    "diff": ("diff(price, 1)", "trades", lambda f: each(f, "price", lambda s: s.diff()), 0),
    "rolling_min": ("rolling_min(price, 20)", "trades",
                    lambda f: each(f, "price", lambda s: s.rolling(20).min()), 0),
    "rolling_max": ("rolling_max(price, 20)", "trades",
                    lambda f: each(f, "price", lambda s: s.rolling(20).max()), 0),
    "rolling_std": ("rolling_std(size, 20, 1)", "trades",
                    lambda f: each(f, "size", lambda s: s.rolling(20).std()), 1e-6),
    "rolling_zscore": ("rolling_zscore(size, 20, 1)", "trades",
                       lambda f: each(f, "size", lambda s: (s - s.rolling(20).mean())
                                      / s.rolling(20).std().where(lambda d: d > 1e-6)), 1e-6),
    "rolling_skew": ("rolling_skew(log_size, 20)", "trades",
                     lambda f: each(f, "log_size", lambda s: s.rolling(20).skew()), 1e-6),
    "rolling_kurt": ("rolling_kurt(log_size, 20)", "trades",
                     lambda f: each(f, "log_size", lambda s: s.rolling(20).kurt()), 1e-6),
    "autocorr": ("autocorr(log_size, 1, 50)", "trades",
                 lambda f: each(f, "log_size", lambda s: s.rolling(50).corr(s.shift())), 1e-6),
    "historical_var": ("historical_var(price, 0.05, 100)", "trades",
                       lambda f: each(f, "price", lambda s: -s.rolling(100).quantile(0.05)), 1e-12),
    "robust_hampel": ("(robust_hampel(price, 7, 3.0, false) OVER w)['sigma']", "trades",
                      lambda f: each(f, "price", hampel), 1e-9),
    "frac_diff": ("frac_diff(price, 0.4, 3)", "trades",
                  lambda f: each(f, "price", lambda s: s - 0.4 * s.shift() - 0.12 * s.shift(2)),
                  1e-12),
    "rsi": ("rsi(price, 14)", "trades",
            lambda f: each(f, "price", lambda s: pd.Series(talib.RSI(s.to_numpy(), 14), s.index)),
            1e-8),
    "macd": ("(macd(price, 12, 26, 9, 'talib') OVER w)['macd']", "trades",
             lambda f: each(f, "price", lambda s: pd.Series(talib.MACD(s.to_numpy())[0], s.index)),
             1e-7),
    "vpin": ("vpin(size, side, 1000, 5)", "trades",
             lambda f: pd.concat([buckets(g, 1000, 5) for _, g in f.groupby("symbol")])
             .reindex(f.index), 1e-12),
    "ewcov": ("ewcov(bid, ask, 0.06, true)", "quotes",
              lambda f: f.bid.ewm(alpha=0.06, adjust=False).cov(f.ask, bias=True), 1e-6),
    "ewcorr": ("ewcorr(bid, ask, 0.06)", "quotes",
               lambda f: f.bid.ewm(alpha=0.06, adjust=False).corr(f.ask), 1e-5),
}  # fmt: skip
SCALARS = {
    "midprice": ("midprice(bid, ask)", "quotes", lambda f: (f.bid + f.ask) / 2, 0),
    "signed_volume": ("signed_volume(side, size)", "trades", lambda f: f.side * f["size"], 0),
}
AGGREGATES = {
    "vwap": ("vwap(price, size)", weighted_price, 1e-12),
    "welford_mean_var": ("welford_mean_var(price)['std']",
                         lambda f: f.groupby("symbol").price.std(), 1e-9),
}  # fmt: skip


def test_every_kernel_of_the_registry_is_tried_here():
    assert set(KERNELS) == {*WINDOWS, *SCALARS, *AGGREGATES}


@NEEDED
@pytest.mark.parametrize("name", [*WINDOWS, *SCALARS])
def test_rows_of_the_sample(market, name):
    ctx, frames = market
    call, source, oracle, tolerance = (WINDOWS | SCALARS)[name]
    if name in WINDOWS and "OVER" not in call:
        call += " OVER w"
    table = f"(SELECT *, ln({'size' if source == 'trades' else 'bid'}) AS log_size FROM {source})"
    window = " WINDOW w AS (PARTITION BY symbol ORDER BY ts, row)" if name in WINDOWS else ""
    found = ctx.sql(f"SELECT row, {call} AS y FROM {table}{window} ORDER BY row").to_pandas()
    frame = frames[source].copy()
    if source == "trades":
        frame["log_size"] = np.log(frame["size"])
    wanted = oracle(frame).to_numpy(dtype=float)
    mine = found.y.to_numpy(dtype=float)
    assert np.isfinite(mine).any()
    there = np.isfinite(mine) & np.isfinite(wanted)
    # Where a window is constant pandas leaves the dust of its subtractions, or 0 for nothing.
    assert (there == np.isfinite(mine)).mean() > 0.9
    np.testing.assert_allclose(
        mine[there], wanted[there], rtol=max(tolerance, 1e-15), atol=tolerance
    )


@NEEDED
@pytest.mark.parametrize("name", AGGREGATES)
def test_groups_of_the_sample(market, name):
    ctx, frames = market
    call, oracle, tolerance = AGGREGATES[name]
    query = f"SELECT symbol, {call} AS y FROM trades GROUP BY symbol ORDER BY symbol"
    found = ctx.sql(query).to_pandas().set_index("symbol").y
    wanted = oracle(frames["trades"]).sort_index()
    assert len(found) > 0
    np.testing.assert_allclose(found.to_numpy(), wanted.to_numpy(), rtol=tolerance)
