"""The market that the oracles see, from three sources: real, simulated, and written in SQL."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

import fin_sql
from fin_sql.testing import Market

DATA = Path(os.environ.get("FIN_SQL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "taq"
TRADES = ["symbol", "ts", "price", "size", "side"]
QUOTES = ["symbol", "ts", "bid", "ask", "bid_size", "ask_size"]


def frames(trades, quotes, others=None):
    """The tables with what the oracles need beside, in order of time.

    Args:
        trades: symbol, ts, price, size and side.
        quotes: symbol, ts, bid, ask, bid_size and ask_size.
        others: trades of the symbols of the quotes, where they are not the same.
    """
    trades, quotes, others = (
        frame.reset_index(drop=True).assign(
            row=range(len(frame)), ts=frame.ts.astype("datetime64[ns]").to_numpy()
        )
        for frame in (trades, quotes, trades if others is None else others)
    )
    prices = trades.groupby("symbol").price
    place = prices.cumcount()
    trades["change"], trades["opening"] = prices.diff(), prices.transform("first")
    trades["ret"] = np.log(trades.price) - np.log(prices.shift())
    trades["gappy"] = trades.price.where(trades.row % 5 != 3)
    trades["leg_a"] = np.log(trades.price).where(place % 2 == 0)
    trades["leg_b"] = np.log(trades.price).where(place % 3 == 1)
    matched = pd.merge_asof(
        others, quotes.drop(columns="row").assign(quoted_at=quotes.ts), on="ts", by="symbol"
    )
    bars = trades.groupby(["symbol", place // 10], sort=False)
    bars = bars.agg(
        row=("row", "last"), ts=("ts", "last"), open=("price", "first"), high=("price", "max"),
        low=("price", "min"), close=("price", "last"), volume=("size", "sum"),
    )  # fmt: skip
    return {"trades": trades, "quotes": quotes, "matched": matched,
            "bars": bars.reset_index(0).sort_values("row", ignore_index=True)}  # fmt: skip


def real():
    """The TAQ sample. It has no sides: that of the tick."""
    found = []
    for name in ("multi_trades", "trades"):
        frame = pd.read_parquet(DATA / f"{name}.parquet")
        tick = np.sign(frame.groupby("symbol").price.diff()).fillna(0.0)
        found.append(frame.assign(side=tick)[TRADES])
    return frames(found[0], pd.read_parquet(DATA / "quotes.parquet")[QUOTES], found[1])


def simulated(seconds=30.0):
    """Three stocks of the simulator, in whole lots."""
    market = Market(
        seed=20261124, symbols=("AAA", "BBB", "CCC"), prices=(100.0, 50.0, 20.0),
        tick_sizes=(0.01,) * 3, lot_sizes=(1.0,) * 3,
    )  # fmt: skip
    trades, quotes = (table.to_pandas() for table in market.events(seconds))
    return frames(trades[TRADES], quotes[QUOTES])


def literal():
    """Few rows with short numbers, to be written out."""
    short = {name: frame.head(600) for name, frame in simulated(5.0).items()}
    return frames(short["trades"][TRADES], short["quotes"][QUOTES])


def register(tables):
    """A session with the tables; on one thread rows of a group keep their order."""
    ctx = fin_sql.connect(threads=1)
    for name, frame in tables.items():
        ctx.register(name, pa.Table.from_pandas(frame, preserve_index=False))
    return ctx


def written(frame):
    """A table as VALUES."""
    rows = ", ".join("(" + ", ".join(map(constant, row)) + ")" for row in frame.itertuples(False))
    return f"(SELECT * FROM (VALUES {rows}) AS v ({', '.join(frame.columns)}))"


def constant(value):
    """A literal of SQL."""
    if pd.isna(value):
        return "NULL"
    if isinstance(value, pd.Timestamp):
        return f"TIMESTAMP '{value.isoformat(sep=' ', timespec='nanoseconds')}'"
    return f"'{value}'" if isinstance(value, str) else repr(getattr(value, "item", lambda: value)())
