"""The markets that the files of queries/ run on: simulated ones, and real ones where they are."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

import fin_sql
from fin_sql.testing import Market

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("FIN_SQL_DATA", ROOT.parent / "shared" / "data"))
FILES = {path.stem: path for path in sorted((ROOT / "queries").glob("*.sql"))}
MINUTE = pd.Timedelta(minutes=1)
SECOND_NS = 1_000_000_000


class Header(NamedTuple):
    """What the comment at the top of a query says."""

    title: str
    answers: str
    tables: dict[str, list[str]]
    mode: str
    source: str


def header(name):
    """Read the header of a query: a title, what it answers, and fields by name."""
    lines = FILES[name].read_text().split("\n")
    stop = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    words = [line[2:].strip() for line in lines[:stop]]
    fields = {}
    while words and (found := re.match(r"(tables|mode|source): (.+)", words[-1])):
        fields[found[1]] = found[2]
        words.pop()
    tables = re.findall(r"(\w+) \(([^)]+)\)", fields.get("tables", ""))
    return Header(
        words[0],
        " ".join(words[1:]).strip(),
        {table: columns.split(", ") for table, columns in tables},
        fields.get("mode", ""),
        fields.get("source", ""),
    )


# ---------------------------------------------------------------- markets


def bars_of(trades):
    """Bars by minute of a frame of trades."""
    rows = trades.sort_values("ts", kind="stable")
    groups = rows.assign(ts=rows.ts.dt.floor("min")).groupby(["ts", "symbol"], sort=True)
    return groups.agg(
        open=("price", "first"), high=("price", "max"), low=("price", "min"),
        close=("price", "last"), volume=("size", "sum"),
    ).reset_index()  # fmt: skip


def traded(trades, quotes=None):
    """Tables of trades, their bars, and quotes; `seq` numbers rows that have none."""
    found = {"trades": trades, "bars": bars_of(trades)}
    if quotes is not None:
        found["quotes"] = quotes
    for name in ("trades", "quotes"):
        if name in found and "seq" not in found[name]:
            found[name] = found[name].assign(seq=np.arange(len(found[name])))
    return found


def crypto():
    """A quarter of an hour of four pairs, as `fin-sql demo` makes them but slower."""
    trades, quotes = Market(seed=20261124, trades_per_second=12.0).events(900.0)
    return traded(trades.to_pandas(), quotes.to_pandas())


def rough():
    """Some minutes in the order of arrival: late rows, and NULLs among prices and sizes."""
    market = Market(seed=20261125, trades_per_second=20.0, late=0.1, nulls=0.03, gaps=0.1)
    trades, quotes = market.events(300.0)
    return traded(trades.to_pandas(), quotes.to_pandas())


def week(start="2026-03-06 14:00"):
    """Four days around the clock: two stocks, two swaps, and a change of New York's clocks."""
    market = Market(
        seed=20261124,
        symbols=("BTC-PERP", "ETH-PERP", "ACME", "BOLT"),
        prices=(95_000.0, 3_300.0, 100.0, 20.0),
        tick_sizes=(1.0, 0.1, 0.01, 0.01),
        lot_sizes=(0.0001, 0.001, 1.0, 1.0),
        start_ns=pd.Timestamp(start).value,
        trades_per_second=0.03,
    )
    trades, quotes = market.events(4 * 86_400.0)
    found = traded(trades.to_pandas(), quotes.to_pandas())
    return found | swaps(found["quotes"])


def swaps(quotes):
    """Mark and index prices by minute, and a funding rate each eight hours, from quotes."""
    perps = quotes[quotes.symbol.str.endswith("PERP")]
    perps = perps.assign(mid=(perps.bid + perps.ask) / 2, ts=perps.ts.dt.floor("min") + MINUTE)
    marks = perps.groupby(["ts", "symbol"]).mid.last().reset_index(name="mark_price")
    slow = marks.groupby("symbol").mark_price.transform(lambda x: x.ewm(span=30).mean())
    times = pd.date_range(marks.ts.min().floor("8h"), marks.ts.max(), freq="8h")
    times, symbols = np.repeat(times, 2), np.tile(["BTC-PERP", "ETH-PERP"], len(times))
    rates = np.random.default_rng(8).normal(1e-4, 1e-4, len(times)).round(6)
    return {
        "marks": marks.assign(index_price=slow.round(4)),
        "funding": pd.DataFrame({"ts": times, "symbol": symbols, "rate": rates}),
    }


SPLITS = {"ACME": [("2026-03-07", 2.0), ("2026-03-09", 1.5)], "BOLT": [("2026-03-08", 0.1)]}


def splits():
    """Bars of two stocks as they were traded, before splits that the market itself has not."""
    bars = frames("week")["bars"]
    bars = bars[bars.symbol.isin(["ACME", "BOLT", "ETH-PERP"])].reset_index(drop=True)
    for symbol, found in SPLITS.items():
        for day, ratio in found:
            old = (bars.symbol == symbol) & (bars.ts < pd.Timestamp(day))
            bars.loc[old, ["open", "high", "low", "close"]] *= ratio
            bars.loc[old, "volume"] /= ratio
    rows = [(pd.Timestamp(day), s, ratio) for s, found in SPLITS.items() for day, ratio in found]
    table = pd.DataFrame(sorted(rows), columns=["ts", "symbol", "ratio"])
    return {"bars": bars, "splits": table}


def taq():
    """A day of trades and quotes of one stock, in UTC."""
    found = [pd.read_parquet(DATA / "taq" / f"{name}.parquet") for name in ("trades", "quotes")]
    return traded(*found)


def stocks():
    """A day of trades of a fund and two stocks; the file has the clock of New York."""
    trades = pd.read_parquet(DATA / "taq" / "multi_trades.parquet")
    return traded(trades.assign(ts=trades.ts + pd.Timedelta(hours=4)))


def btc():
    """Ten days of a swap by minute."""
    bars = pd.read_csv(DATA / "bars" / "btc-perp-1m.csv", parse_dates=["timestamp"], nrows=15_000)
    return {"bars": bars.rename(columns={"timestamp": "ts"}).assign(symbol="BTC-PERP")}


def binance():
    """Some seconds of four swaps: best quotes, and trades whose buyer or seller waited."""
    rows = {"aggTrade": [], "bookTicker": []}
    with (DATA / "captures" / "BINANCE_FUTURES.ws.1.0").open() as lines:
        for line in lines:
            found = re.match(r"[\d.]+: (\{.*)", line)
            event = json.loads(found[1]).get("data", {}) if found else {}
            if event.get("e") in rows:
                rows[event["e"]].append(event)
    trades, quotes = (pd.DataFrame(rows[kind]) for kind in ("aggTrade", "bookTicker"))
    trades = trades.rename(columns={"T": "ts", "s": "symbol", "p": "price", "q": "size"})
    names = {"T": "ts", "s": "symbol", "b": "bid", "a": "ask", "B": "bid_size", "A": "ask_size"}
    quotes = quotes[list(names)].rename(columns=names)
    found = []
    for frame in (trades[["ts", "symbol", "price", "size"]], quotes):
        numbers = frame.drop(columns=["ts", "symbol"]).astype(float)
        numbers.insert(0, "ts", pd.to_datetime(frame.ts, unit="ms"))
        numbers.insert(1, "symbol", frame.symbol)
        found.append(numbers.sort_values("ts", kind="stable", ignore_index=True))
    return traded(*found)


SIMULATED = {"crypto": crypto, "rough": rough, "week": week, "splits": splits}
REAL = {"taq": taq, "stocks": stocks, "btc": btc, "binance": binance}
FOLDERS = {"taq": "taq", "stocks": "taq", "btc": "bars", "binance": "captures"}


@functools.cache
def frames(market):
    """The tables of a market as pandas has them, by name; times in nanoseconds."""
    made = (SIMULATED | REAL)[market]().items()
    return {name: frame.assign(ts=frame.ts.astype("datetime64[ns]")) for name, frame in made}


@functools.cache
def tables(market):
    """The tables of a market in Arrow."""
    found = {}
    for name, frame in frames(market).items():
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        place = table.column_names.index("symbol")
        texts = table["symbol"].cast(pa.string())
        found[name] = table.set_column(place, "symbol", texts).drop_columns(
            [c for c in ("venue", "exchange", "condition") if c in table.column_names]
        )
    return found


def is_there(market):
    """Whether the data of a market is on this machine."""
    return market in SIMULATED or (DATA / FOLDERS[market]).is_dir()


HAS = {
    "crypto": {"trades", "quotes", "bars"},
    "rough": {"trades", "quotes"},
    "week": {"trades", "quotes", "bars", "marks", "funding"},
    "splits": {"bars", "splits"},
    "taq": {"trades", "quotes", "bars"},
    "stocks": {"trades", "bars"},
    "btc": {"bars"},
    "binance": {"trades", "quotes", "bars"},
}
LEFT_OUT = {
    **{(name, m): "one symbol" for name in ("pairs_kalman", "lead_lag") for m in ("taq", "btc")},
    **{(name, "binance"): "too few trades" for name in ("pairs_kalman", "lead_lag")},
    ("resample_grid", "week"): "more than a million rows",
}
# Each query on each market that has its tables; the bars with splits are for one alone.
CASES = [
    (name, market)
    for name in FILES
    for market, has in HAS.items()
    if has >= header(name).tables.keys() and (name, market) not in LEFT_OUT
    if market != "splits" or "splits" in header(name).tables
]


# ---------------------------------------------------------------- runs


def in_chunks(table, seed):
    """The same rows in batches of other lengths, some of them empty."""
    random = np.random.default_rng(seed)
    cuts = np.sort(random.integers(0, table.num_rows + 1, random.integers(1, 12)))
    edges = [0, *cuts.tolist(), table.num_rows]
    parts = [table.slice(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]
    return pa.Table.from_batches([b for part in parts for b in part.to_batches()], table.schema)


def by_symbol(table):
    """The rows of one symbol after those of another, each in their old order."""
    place = pa.array(np.arange(table.num_rows))
    table = table.append_column("__place", place)
    return table.sort_by([("symbol", "ascending"), ("__place", "ascending")]).drop(["__place"])


def run(name, found, *, threads=1, change=lambda table: table):
    """The rows of a query over tables, of which it sees what its header names."""
    ctx = fin_sql.connect(threads=threads)
    for table, columns in header(name).tables.items():
        ctx.register(table, change(found[table].select(columns)))
    return ctx.sql(FILES[name].read_text()).to_arrow()


@functools.cache
def result(name, market):
    """The rows of a query over a market, on one thread."""
    return run(name, tables(market))
