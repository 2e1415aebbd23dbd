-- ADX: how strong a trend is, whatever its direction
--
-- An indicator that is no kernel, written with kernels. Wilder's averages of period 14 are `ewma`
-- with a weight of 1/14; they begin with the first value where TA-Lib begins with a mean, and are
-- the same to ten digits after some 400 bars.
--
-- tables: bars (ts, symbol, high, low, close)
-- mode: continuous
-- source: Wilder (1978), New Concepts in Technical Trading Systems
WITH moves AS (
  SELECT ts, symbol, high, low, lag(close) OVER w AS before,
         diff(high) OVER w AS up, -(diff(low) OVER w) AS down
  FROM bars
  WINDOW w AS (PARTITION BY symbol ORDER BY ts)
),
directed AS (
  SELECT ts, symbol,
         CASE WHEN up > down AND up > 0 THEN up WHEN before IS NOT NULL THEN 0.0 END     AS plus,
         CASE WHEN down > up AND down > 0 THEN down WHEN before IS NOT NULL THEN 0.0 END AS minus,
         CASE WHEN before IS NOT NULL THEN greatest(high, before) - least(low, before) END AS range
  FROM moves
),
lines AS (
  SELECT ts, symbol,
         100 * ewma(plus, 1.0 / 14) OVER w / nullif(ewma(range, 1.0 / 14) OVER w, 0)  AS plus_di,
         100 * ewma(minus, 1.0 / 14) OVER w / nullif(ewma(range, 1.0 / 14) OVER w, 0) AS minus_di
  FROM directed
  WINDOW w AS (PARTITION BY symbol ORDER BY ts)
)
SELECT ts, symbol, plus_di, minus_di,
       ewma(100 * abs(plus_di - minus_di) / nullif(plus_di + minus_di, 0), 1.0 / 14)
         OVER (PARTITION BY symbol ORDER BY ts) AS adx
FROM lines
