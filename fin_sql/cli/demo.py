"""fin-sql demo: a simulated market, and what the kernels make of it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import pyarrow as pa
import typer
from rich.syntax import Syntax

from fin_sql.cli.show import console, result
from fin_sql.session import register
from fin_sql.testing import Market

if TYPE_CHECKING:
    from datafusion import SessionContext

FEATURES = """\
WITH returns AS (
  SELECT *, log_returns(price) OVER (PARTITION BY symbol ORDER BY ts, seq) AS ret
  FROM trades
)
SELECT ts, symbol, price,
       ewma(price, 0.05, false) OVER w                             AS trend,
       rsi(price, 14) OVER w                                       AS rsi,
       rolling_zscore(price, 100, 1) OVER w                        AS zscore,
       vpin(price * size, side, 20000.0, 50) OVER w                AS vpin,
       (robust_hampel(price, 50, 3.0, false) OVER w)['is_outlier'] AS outlier,
       (macd(price, 12, 26, 9, 'talib') OVER w)['hist']            AS macd,
       frac_diff(price, 0.4, 0.001) OVER w                         AS frac,
       rolling_std(ret, 100, 1) OVER w                             AS ret_std,
       historical_var(ret, 0.05, 250) OVER w                       AS ret_var
FROM returns
WINDOW w AS (PARTITION BY symbol ORDER BY ts, seq)
ORDER BY ts, seq"""

SUMMARY = """\
SELECT symbol,
       count(*)                         AS trades,
       vwap(price, size)                AS vwap,
       welford_mean_var(price)['std']   AS price_std,
       sum(signed_volume(side, size))   AS net_volume
FROM trades
GROUP BY symbol
ORDER BY trades DESC"""


def demo(
    rows: Annotated[int, typer.Option(min=1, max=10**8, help="Trades to simulate.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, max=2**60, help="Another one, another market.")] = 0,
) -> None:
    """Simulate a small market and compute features of its trades in SQL.

    Prints the SQL too: fin_sql.register(ctx) brings its functions to any DataFusion session.

    For example:

        fin-sql demo

        fin-sql demo --rows 1000000 --seed 7
    """
    from datafusion import SessionContext

    out = console()
    ctx = register(SessionContext())
    begin = perf_counter()
    trades = Market(seed=seed).trades(rows)
    ctx.from_arrow(trades, name="trades")
    out.print(f"{rows:,} trades of a market with seed {seed}, simulated in {since(begin)}\n")
    for title, sql in (("Features", FEATURES), ("By symbol", SUMMARY)):
        found, seconds = run(ctx, sql)
        out.print(Syntax(sql, "sql", background_color="default"))
        out.print()
        out.print(result(found, title, out.width))
        speed = f", {rows / seconds / 1e6:.2f} million trades a second" if rows > 1_000 else ""
        out.print(f"{found.num_rows:,} rows in {seconds:.3f} s{speed}\n")


def run(ctx: SessionContext, sql: str) -> tuple[pa.Table, float]:
    """The result of a query, and the seconds that it took."""
    begin = perf_counter()
    found = ctx.sql(sql).to_arrow_table()
    return found, perf_counter() - begin


def since(begin: float) -> str:
    """The time since then."""
    return f"{perf_counter() - begin:.3f} s"
