-- Prices and volumes adjusted for splits
--
-- A split has the time from which on it holds and its ratio, new shares for an old one. Each bar
-- meets the next split after it, and that the product of its own ratio and of all later ones.
-- Levels before a split are in shares of today, which nobody knew then: use them for returns.
--
-- tables: bars (ts, symbol, close, volume), splits (ts, symbol, ratio)
-- mode: batch
-- source: CRSP Data Description Guide, cumulative factor to adjust price
WITH factors AS (
  SELECT ts, symbol,
         round(exp(sum(ln(ratio)) OVER (PARTITION BY symbol ORDER BY ts DESC)), 9) AS factor
  FROM splits
)
SELECT b.ts, b.symbol, b.close, coalesce(f.factor, 1) AS factor,
       b.close / coalesce(f.factor, 1)  AS adjusted_close,
       b.volume * coalesce(f.factor, 1) AS adjusted_volume
FROM bars b ASOF JOIN factors f MATCH_CONDITION (b.ts < f.ts) ON b.symbol = f.symbol
