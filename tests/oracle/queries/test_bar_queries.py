"""Bars, grids, sessions, latest rows and splits, by DuckDB, Polars, pandas and the zone's clock."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from agreement import agree, each_symbol, markets, needed
from query_tables import bars_of, frames, header, result, run, week

NEW_YORK = ZoneInfo("America/New_York")


@markets("ohlc_vwap_bars")
def test_bars_are_those_of_duckdb(name, market):
    trades = needed(market)["trades"][["ts", "symbol", "price", "size"]].astype({"size": float})
    rows = trades.assign(row=range(len(trades)))  # noqa: F841  DuckDB finds it by its name
    wanted = duckdb.sql("""
        SELECT date_trunc('minute', ts) AS ts, symbol,
               first(price ORDER BY ts, row) FILTER (price IS NOT NULL) AS open,
               max(price) AS high, min(price) AS low,
               last(price ORDER BY ts, row) FILTER (price IS NOT NULL) AS close,
               sum(size) AS volume,
               sum(price * size) / sum(size) FILTER (price IS NOT NULL) AS vwap,
               count(*) AS trades
        FROM (
          SELECT * REPLACE (nullif(price, 'nan') AS price, nullif(size, 'nan') AS size) FROM rows
        )
        GROUP BY ALL
    """).df()
    found = result(name, market)
    agree(found, wanted, keys=("ts", "symbol"))
    left, right = (f.sort_values(["ts", "symbol"]) for f in (found.to_pandas(), wanted))
    for exact in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(left[exact], right[exact])


@markets("ohlc_vwap_bars")
def test_bars_are_the_table_of_bars(name, market):
    found = needed(market)
    bars = found.get("bars")
    if bars is None:
        bars = bars_of(found["trades"])
    found = result(name, market).select(bars.columns.tolist())
    agree(found, bars, keys=("ts", "symbol"))


@markets("resample_grid")
def test_the_grid_is_full_and_filled_from_the_past_alone(name, market):
    trades = needed(market)["trades"]
    seconds = pd.date_range(trades.ts.min().floor("s"), trades.ts.max(), freq="s")
    filled = []
    for symbol, rows in trades.sort_values("ts", kind="stable").groupby("symbol"):
        last = rows[["ts", "price"]].groupby("ts").tail(1).set_index("ts", drop=False)
        grid = last.reindex(seconds, method="ffill").rename(columns={"ts": "traded_at"})
        filled.append(grid.assign(symbol=symbol).rename_axis("ts").reset_index())
    wanted = pd.concat(filled).sort_values(["ts", "symbol"], ignore_index=True)
    found = result(name, market)
    agree(found, wanted)
    assert found.num_rows == len(seconds) * trades.symbol.nunique()
    assert set(found["price"].drop_null().to_pylist()) <= set(trades.price)


@markets("resample_grid")
def test_the_grid_is_the_asof_join_of_polars(name, market):
    trades = pl.from_pandas(needed(market)["trades"][["ts", "symbol", "price"]]).sort("ts")
    found = pl.from_arrow(result(name, market))
    grid = found.select("ts", "symbol")
    trades = trades.with_columns(traded_at="ts", price=pl.col("price").fill_nan(None))
    wanted = grid.join_asof(trades, on="ts", by="symbol", check_sortedness=False)
    # Which of several trades of one time is another matter.
    ties = trades.group_by("symbol", "ts").agg(pl.col("price").n_unique() > 1).filter("price")
    both = {"left_on": ["symbol", "traded_at"], "right_on": ["symbol", "ts"]}
    known = wanted.join(ties, **both, how="left")["price_right"].is_null()
    names = ["ts", "symbol", "traded_at"]
    assert found[names].equals(wanted[names])
    assert found["price"].filter(known).equals(wanted["price"].filter(known))
    assert known.mean() > 0.7


@markets("session_vwap")
def test_sessions_begin_at_half_past_nine_of_new_york(name, market):
    trades = needed(market)["trades"]
    check_sessions(result(name, market), trades[(trades.price > 0) & (trades["size"] > 0)])


OPENINGS = {
    "2025-10-31 14:00": ["13:30", "14:30", "14:30"],
    "2026-03-06 14:00": ["14:30", "14:30", "13:30", "13:30", "13:30"],
}


@pytest.mark.parametrize(("start", "openings"), OPENINGS.items())
def test_sessions_when_the_clocks_change(start, openings):
    trades = week(start)["trades"]
    columns = header("session_vwap").tables["trades"]
    table = pa.Table.from_pandas(trades[columns], preserve_index=False)
    found = run("session_vwap", {"trades": table})
    check_sessions(found, trades)
    first = found.to_pandas().assign(ts=trades.ts).groupby("session").ts.min().iloc[1:]
    assert first.dt.floor("30min").dt.strftime("%H:%M").tolist() == openings


def check_sessions(found, trades):
    """Sessions by the moments of 09:30 on the calendar, not by a shift of the clock."""
    first = trades.ts.min().date() - timedelta(days=2)
    days = [first + timedelta(days=k) for k in range((trades.ts.max() - trades.ts.min()).days + 5)]
    openings = [datetime.combine(day, time(9, 30), NEW_YORK).timestamp() for day in days]
    place = np.searchsorted(np.array(openings) * 1e9, trades.ts.astype("int64"), side="right") - 1
    session = pd.Series(np.array(days, dtype=object)[place], trades.index)

    def running(rows):
        sums = rows[["amount", "size"]].groupby(rows.session).cumsum()
        return sums.amount / sums["size"]

    amount = trades.price * trades["size"]
    wanted = trades[["ts", "symbol", "price"]].assign(session=session)
    wanted["vwap"] = each_symbol(wanted.assign(amount=amount, size=trades["size"]), running)
    agree(found, wanted)
    assert found["session"].type == pa.date32()
    assert all(isinstance(day, date) for day in session.unique())


@markets("latest")
def test_the_latest_trade_is_the_last_by_time_and_number(name, market):
    trades = needed(market)["trades"].sort_values(["ts", "seq"])
    wanted = trades.groupby("symbol").nth(-1).sort_values("symbol", ignore_index=True)
    agree(result(name, market), wanted[["symbol", "ts", "price", "size"]])


@markets("split_adjusted")
def test_adjusted_bars_are_those_of_the_market_without_splits(name, market):
    bars, plain = needed(market)["bars"], frames("week")["bars"]
    plain = plain[plain.symbol.isin(bars.symbol.unique())].reset_index(drop=True)
    wanted = bars[["ts", "symbol", "close"]].assign(
        factor=bars.close / plain.close,
        adjusted_close=plain.close,
        adjusted_volume=plain.volume,
    )
    found = result(name, market)
    agree(found, wanted)
    factors = found.to_pandas().groupby("symbol").factor.unique().map(list).to_dict()
    assert factors == {"ACME": [3.0, 1.5, 1.0], "BOLT": [0.1, 1.0], "ETH-PERP": [1.0]}


def test_a_bar_at_the_time_of_a_split_is_in_new_shares():
    ts = pa.array([10, 20, 30], pa.timestamp("ns"))
    bars = {"ts": ts, "symbol": ["A"] * 3, "close": [8.0, 4.0, 4.0], "volume": [1.0, 2.0, 2.0]}
    splits = {"ts": ts[1:2], "symbol": ["A"], "ratio": [2.0]}
    found = run("split_adjusted", {"bars": pa.table(bars), "splits": pa.table(splits)})
    assert found["adjusted_close"].to_pylist() == [4.0, 4.0, 4.0]
    assert found["adjusted_volume"].to_pylist() == [2.0, 2.0, 2.0]
