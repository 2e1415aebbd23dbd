"""fin-sql demo: a simulated market in Parquet files, and features of it by `fin-sql sql`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated

import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich.syntax import Syntax

from fin_sql.cli.show import console
from fin_sql.cli.sql import sql
from fin_sql.testing import Market

FEATURES = """\
SELECT t.ts, t.symbol, t.price, q.bid, q.ask,
       midprice(q.bid, q.ask)                            AS mid,
       ewma(t.price, 0.05) OVER w                        AS trend,
       rsi(t.price) OVER w                               AS rsi,
       rolling_zscore(t.price, 100) OVER w               AS zscore,
       vpin(t.price * t.size, t.side, 20000) OVER w      AS vpin,
       (macd(t.price) OVER w).hist                       AS macd,
       (robust_hampel(t.price, 50) OVER w).is_outlier    AS outlier,
       frac_diff(t.price, 0.4, 0.001) OVER w             AS frac,
       rolling_std(log_returns(t.price), 100) OVER w     AS ret_std,
       historical_var(log_returns(t.price)) OVER w       AS ret_var,
       sum(t.size) OVER (PARTITION BY t.symbol ORDER BY t.ts, t.seq ROWS 99 PRECEDING) AS volume
FROM trades t
  ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol
    TOLERANCE INTERVAL '10' SECOND
WINDOW w AS (PARTITION BY t.symbol ORDER BY t.ts, t.seq)
"""

SUMMARY = """\
SELECT t.symbol,
       count(*)                              AS trades,
       vwap(t.price, t.size)                 AS vwap,
       welford_mean_var(t.price)['std']      AS price_std,
       sum(signed_volume(t.side, t.size))    AS net_volume,
       avg(2 * abs(t.price - (q.bid + q.ask) / 2)) AS effective_spread
FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol
GROUP BY t.symbol
ORDER BY trades DESC
"""


QUOTES = 4  # for each trade, to begin with; those after the last trade are left out


def demo(
    rows: Annotated[int, typer.Option(min=1, max=10**8, help="Trades to simulate.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, max=2**60, help="Another one, another market.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep the files here.")
    ] = None,
) -> None:
    """Simulate a small market, write it to Parquet, and compute features of it in SQL.

    Each trade is joined with the last quote of its symbol, and a dozen kernels run over the trades
    of each symbol in one pass. With --folder the files stay, and the commands that are printed can
    be given again.

    For example:

        fin-sql demo

        fin-sql demo --rows 1000000 --seed 7 --folder market
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _run(folder, rows, seed)
        return
    with tempfile.TemporaryDirectory(prefix="fin_sql-demo-") as made:
        _run(Path(made), rows, seed)


def _run(folder: Path, rows: int, seed: int) -> None:
    out = console()
    begin = perf_counter()
    market = Market(seed=seed)
    trades, quotes = market.trades(rows), market.quotes(QUOTES * rows)
    quotes = quotes.filter(pc.field("ts") <= pc.max(trades["ts"]))
    for name, table in (("trades", trades), ("quotes", quotes)):
        pq.write_table(table, folder / f"{name}.parquet")
    out.print(
        f"{rows:,} trades and {quotes.num_rows:,} quotes of a market with seed {seed}, simulated "
        f"and written in {perf_counter() - begin:.3f} s\n"
    )
    tables = [f"{name}={folder / name}.parquet" for name in ("trades", "quotes")]
    for title, query in (("features", FEATURES), ("summary", SUMMARY)):
        script = folder / f"{title}.sql"
        script.write_text(query)
        words = " ".join(f"-t {table}" for table in tables)
        out.print(f"$ fin-sql sql -f {script} {words}", soft_wrap=True, highlight=False)
        out.print(Syntax(query, "sql", background_color="default"))
        begin = perf_counter()
        found = sql(None, script, tables, None, None, None, timing=False, ends=5)
        seconds = perf_counter() - begin
        speed = f", {rows / seconds / 1e6:.2f} million trades a second" if rows > 1_000 else ""
        out.print(f"{found:,} rows in {seconds:.3f} s{speed}\n")
