-- Pairs: a hedge ratio that wanders, the spread, and when to trade it
--
-- For each pair of symbols the log price of one on that of the other, by a Kalman filter of slope
-- and intercept. The spread is what the price of the row was off its forecast; beyond two of its
-- standard deviations it is sold or bought.
--
-- tables: bars (ts, symbol, close)
-- mode: batch
-- source: Chan (2013), Algorithmic Trading, ch. 3
WITH filtered AS (
  SELECT a.ts, a.symbol AS symbol_a, b.symbol AS symbol_b,
         kalman_hedge_ratio2(ln(a.close), ln(b.close), delta => 1e-5, r => 1e-6)
           OVER (PARTITION BY a.symbol, b.symbol ORDER BY a.ts) AS k
  FROM bars a JOIN bars b ON a.ts = b.ts AND a.symbol < b.symbol
)
SELECT ts, symbol_a, symbol_b, k['hedge_ratio'] AS hedge_ratio, k['intercept'] AS intercept,
       k['spread'] AS spread, k['spread'] / k['spread_std'] AS zscore,
       CASE WHEN k['spread'] > 2 * k['spread_std'] THEN -1
            WHEN k['spread'] < -2 * k['spread_std'] THEN 1 ELSE 0 END AS position
FROM filtered
ORDER BY symbol_a, symbol_b, ts
