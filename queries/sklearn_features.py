"""Features by SQL, a model by scikit-learn, and the model back in SQL as a function.

    python queries/sklearn_features.py market

The folder has trades.parquet and quotes.parquet, as `fin-sql demo --folder market` writes them.
The question is whether the middle of bid and ask is higher five seconds after a trade.

Nothing is learnt from the future. A feature is made of rows up to its trade. A label looks five
seconds ahead, which is what a label is for: it may only be learnt from once that time has passed.
So the day is cut by time, never by chance, and each part is predicted by a model of what lies
before it, of which the last five seconds are left out (Lopez de Prado 2018, ch. 7). Scaling is
learnt from the same rows as the model.

Of a simulated market nothing is to be learnt, as its middle is a martingale: the scores scatter
about those of the plain share of rises (labels overlap, so they scatter more than one would think).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fin_sql
from fin_sql.context import Context

AHEAD = pd.Timedelta(seconds=5)

FEATURES = """
    SELECT t.ts, t.symbol, midprice(q.bid, q.ask) AS mid,
           l1_imbalance(q.bid_size, q.ask_size)                     AS imbalance,
           1e4 * (t.price / midprice(q.bid, q.ask) - 1)             AS off_mid_bps,
           quoted_spread_bps(q.bid, q.ask)                          AS spread_bps,
           1e4 * ln(t.price / lag(t.price, 10) OVER w)              AS return_10_bps,
           1e4 * rolling_std(log_returns(t.price), 50) OVER w       AS vol_bps,
           rolling_zscore(t.price, 50) OVER w                       AS zscore,
           ewma(trade_sign(t.price, q.bid, q.ask), 0.1) OVER w      AS flow
    FROM trades t
      ASOF JOIN quotes q MATCH_CONDITION (t.ts > q.ts)
        ON t.symbol = q.symbol AND q.bid > 0 AND q.ask > q.bid
    WINDOW w AS (PARTITION BY t.symbol ORDER BY t.ts)
"""
COLUMNS = "imbalance off_mid_bps spread_bps return_10_bps vol_bps zscore flow".split()

# The label: NULL where the middle did not move, and where the quotes end too early to know.
EXAMPLES = f"""
    SELECT f.*, midprice(later.bid, later.ask) > f.mid AS up
    FROM ({FEATURES}) f
      ASOF JOIN quotes later MATCH_CONDITION (f.ts + INTERVAL '5' SECOND >= later.ts)
        ON f.symbol = later.symbol AND later.bid > 0 AND later.ask > later.bid
    WHERE f.ts + INTERVAL '5' SECOND <= (SELECT max(ts) FROM quotes)
      AND midprice(later.bid, later.ask) <> f.mid
"""  # noqa: S608  both are texts of this file


def examples(ctx: Context) -> pd.DataFrame:
    """Trades with all features and a label, in order of time."""
    found = ctx.sql(EXAMPLES).to_pandas().dropna()
    return found.astype({"up": bool}).sort_values("ts", kind="stable", ignore_index=True)


def walk_forward(ts: pd.Series, parts: int = 5) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows to predict: each part of the time by all that is known before."""
    edges = pd.date_range(ts.min(), ts.max() + pd.Timedelta(1), periods=parts + 1)
    for begin, end in zip(edges[1:-1], edges[2:], strict=True):
        yield np.flatnonzero(ts + AHEAD < begin), np.flatnonzero((ts >= begin) & (ts < end))


def fitted(rows: pd.DataFrame) -> Any:
    """A model of the probability that the middle rises."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[COLUMNS], rows.up)


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """How well each part of the time is predicted, beside the share of rises known before it."""
    found = []
    for past, future in walk_forward(rows.ts):
        known, asked = rows.iloc[past], rows.iloc[future]
        chance = fitted(known).predict_proba(asked[COLUMNS])[:, 1]
        found.append({
            "from": asked.ts.iloc[0].strftime("%H:%M:%S"),
            "learnt": len(known),
            "predicted": len(asked),
            "auc": roc_auc_score(asked.up, chance),
            "log_loss": log_loss(asked.up, chance),
            "log_loss_of_share": log_loss(asked.up, np.full(len(asked), known.up.mean())),
        })  # fmt: skip
    return pd.DataFrame(found)


def add_model(ctx: Context, model: Any, name: str = "p_up") -> None:
    """Make a model a function of SQL over the columns of its features; NULL in gives NULL."""
    from datafusion import udf

    def predict(*columns: pa.Array) -> pa.Array:
        values = [column.to_numpy(zero_copy_only=False) for column in columns]
        rows = pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))
        known = rows.notna().all(axis=1).to_numpy()
        found = np.full(len(rows), np.nan)
        if known.any():
            found[known] = model.predict_proba(rows[known])[:, 1]
        return pa.array(found, mask=~known)

    kinds = [pa.float64()] * len(COLUMNS)
    ctx.datafusion.register_udf(udf(predict, kinds, pa.float64(), "immutable", name))


def main(folder: str) -> None:
    """Score a model by walking forward, then ask the last one in SQL."""
    ctx = fin_sql.connect()
    for name in ("trades", "quotes"):
        ctx.register_parquet(name, f"{folder}/{name}.parquet")
    rows = examples(ctx)
    print(scores(rows).round(4).to_string(index=False))
    add_model(ctx, fitted(rows))
    ctx.sql(f"""
        SELECT ts, symbol, mid, p_up({", ".join(COLUMNS)}) AS p_up
        FROM ({FEATURES}) ORDER BY ts DESC LIMIT 5
    """).show()  # noqa: S608


if __name__ == "__main__":
    main(sys.argv[1])
