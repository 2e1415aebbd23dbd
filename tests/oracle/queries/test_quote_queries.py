"""Queries over trades and quotes, by pandas and by loops as the papers have them."""

import numpy as np
import pandas as pd
import pyarrow as pa
from agreement import agree, book, each_symbol, lee_ready, markets, needed, prevailing
from query_tables import result, run

SECOND = pd.Timedelta(seconds=1)


@markets("trade_quote_match")
def test_each_trade_meets_the_quote_before_it(name, market):
    tables = needed(market)
    trades = tables["trades"]
    quotes = prevailing(trades, book(tables["quotes"]))
    wanted = trades[["ts", "symbol", "price", "size"]].assign(
        bid=quotes.bid,
        ask=quotes.ask,
        quote_age_s=(trades.ts - quotes.found_at) / SECOND,
        side=lee_ready(trades, quotes),
        quoted_bps=10_000 * (quotes.ask - quotes.bid) / quotes.mid,
        effective_bps=10_000 * 2 * (trades.price - quotes.mid).abs() / quotes.mid,
    )
    agree(result(name, market), wanted)


@markets("spread_decomposition")
def test_the_effective_spread_and_its_parts(name, market):
    tables = needed(market)
    trades, quotes = tables["trades"], book(tables["quotes"])
    before, later = prevailing(trades, quotes), prevailing(trades, quotes, later=5, exact=True)
    side, mid = lee_ready(trades, before), before.mid
    parts = pd.DataFrame({
        "quoted_bps": (before.ask - before.bid) / mid * 1e4,
        "effective_bps": 2 * side * (trades.price - mid) / mid * 1e4,
        "realised_bps": 2 * side * (trades.price - later.mid) / mid * 1e4,
        "impact_bps": 2 * side * (later.mid - mid) / mid * 1e4,
    })  # fmt: skip
    known = (trades.ts + 5 * SECOND <= tables["quotes"].ts.max()) & (side.abs() == 1) & mid.notna()
    parts, amount = parts[known], (trades.price * trades["size"])[known]
    weights = amount / amount.groupby(trades.symbol).transform("sum")
    wanted = parts.mul(weights, axis=0).groupby(trades.symbol).sum()
    wanted.insert(0, "trades", amount.groupby(trades.symbol).size())
    found = result(name, market)
    agree(found, wanted.reset_index())
    found = found.to_pandas()
    np.testing.assert_allclose(found.effective_bps, found.realised_bps + found.impact_bps, 1e-9)


@markets("markouts")
def test_markouts_are_moves_of_the_middle(name, market):
    tables = needed(market)
    trades, quotes = tables["trades"], book(tables["quotes"])
    before = prevailing(trades, quotes)
    side = lee_ready(trades, before)
    wanted = trades[["ts", "symbol", "price", "size"]].assign(side=side)
    for seconds in (1, 5, 30):
        later = prevailing(trades, quotes, later=seconds, exact=True).mid
        later = later.where(trades.ts + seconds * SECOND <= quotes.ts.max())
        wanted[f"markout_{seconds}s"] = 10_000 * side * (later - before.mid) / before.mid
    agree(result(name, market), wanted)


@markets("vpin")
def test_vpin_fills_buckets_trade_by_trade(name, market):
    tables = needed(market)
    trades = tables["trades"]
    side = lee_ready(trades, prevailing(trades, book(tables["quotes"])))
    rows = trades[["ts", "symbol", "price", "size"]]
    wanted = rows.assign(vpin=vpin(rows.assign(side=side, amount=trades.price * trades["size"])))
    agree(result(name, market), wanted)


def vpin(trades, bucket=100_000.0, n=20):
    """Trades of a known side are poured into buckets; the last n full ones make the mean."""

    def poured(rows):
        full, found, room, signed = [], [], bucket, 0.0
        for side, amount in zip(rows.side, rows.amount, strict=True):
            if np.isnan(side) or np.isnan(amount) or side == 0:
                found.append(np.nan)
                continue
            while amount >= room:
                amount, signed = amount - room, signed + side * room
                full.append(abs(signed) / bucket)
                room, signed = bucket, 0.0
            room, signed = room - amount, signed + side * amount
            found.append(np.mean(full[-n:]) if len(full) >= n else np.nan)
        return pd.Series(found, rows.index)

    return each_symbol(trades, poured)


@markets("order_flow_imbalance")
def test_order_flow_imbalance_by_the_four_terms_of_the_paper(name, market):
    quotes = book(needed(market)["quotes"])

    def terms(rows):
        rows = rows.dropna()
        old = rows.shift()
        flow = (
            (rows.bid >= old.bid) * rows.bid_size - (rows.bid <= old.bid) * old.bid_size
            - (rows.ask <= old.ask) * rows.ask_size + (rows.ask >= old.ask) * old.ask_size
        )  # fmt: skip
        return flow

    quotes["ofi"] = each_symbol(quotes, terms)
    minutes = quotes.assign(ts=quotes.ts.dt.floor("min")).groupby(["ts", "symbol"])
    wanted = minutes.agg(quotes=("mid", "size"), first=("mid", "first"), last=("mid", "last"))
    wanted["ofi"] = minutes.ofi.sum(min_count=1)
    wanted["mid_change"] = wanted["last"] - wanted["first"]
    wanted = wanted.drop(columns=["first", "last"]).reset_index()
    agree(result(name, market), wanted, keys=("ts", "symbol"))


@markets("microprice")
def test_the_microprice_weighs_with_the_other_side(name, market):
    quotes = needed(market)["quotes"]
    quotes = quotes[(quotes.bid > 0) & (quotes.ask > quotes.bid)]
    share = quotes.bid_size / (quotes.bid_size + quotes.ask_size)
    mid, micro = (quotes.bid + quotes.ask) / 2, quotes.ask * share + quotes.bid * (1 - share)

    def smoothed(rows):
        return (2 * rows.share - 1).ewm(alpha=0.1, adjust=False, ignore_na=True).mean()

    pressure = each_symbol(quotes.assign(share=share), smoothed).where(share.notna())
    wanted = quotes[["ts", "symbol"]].assign(
        mid=mid,
        microprice=micro,
        spread_bps=10_000 * (quotes.ask - quotes.bid) / mid,
        edge_bps=10_000 * (micro - mid) / mid,
        imbalance=2 * share - 1,
        pressure=pressure,
    )
    agree(result(name, market), wanted, loose={"edge_bps": 1e-8})


@markets("imbalance_signal")
def test_moves_by_class_of_imbalance(name, market):
    quotes = book(needed(market)["quotes"])
    imbalance = (quotes.bid_size - quotes.ask_size) / (quotes.bid_size + quotes.ask_size)
    later = prevailing(quotes, quotes, later=1, exact=True).mid
    known = imbalance.notna() & (quotes.ts + SECOND <= quotes.ts.max())
    edges = [-np.inf, -0.6, -0.2, 0.2, 0.6, np.inf]
    number = pd.cut(imbalance, edges, right=False, labels=False) + 1
    move = 10_000 * (later - quotes.mid) / quotes.mid
    rows = pd.DataFrame({"symbol": quotes.symbol, "class": number, "move": move})[known]
    wanted = rows.groupby(["symbol", "class"]).move.agg(
        quotes="size",
        mean_move_bps="mean",
        went_up=lambda m: np.mean(m > 0),
        went_down=lambda m: np.mean(m < 0),
    )
    agree(result(name, market), wanted.reset_index())


def test_a_trade_at_the_time_of_a_quote_does_not_meet_it():
    ts = pa.array([1_000_000_000, 2_000_000_000], pa.timestamp("ns"))
    quotes = {"ts": ts, "symbol": ["A", "A"], "bid": [1.0, 2.0], "ask": [1.5, 2.5]}
    trades = {"ts": ts[1:], "symbol": ["A"], "price": [1.25], "size": [1.0]}
    found = run("trade_quote_match", {"trades": pa.table(trades), "quotes": pa.table(quotes)})
    assert found["bid"].to_pylist() == [1.0]
    assert found["quote_age_s"].to_pylist() == [1.0]
    assert found["side"].to_pylist() == [0]
    assert found["effective_bps"].to_pylist() == [0.0]
