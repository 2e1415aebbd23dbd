-- Lead and lag: which symbol moves first, and by how many seconds
--
-- The Hayashi-Yoshida correlation of the trades of two symbols, with the times of the first moved
-- by -5 to 5 seconds. The largest is the lag: positive where symbol_a leads. No grid is needed, so
-- that symbols which trade rarely are not seen to lag for that alone.
--
-- tables: trades (ts, symbol, price)
-- mode: batch
-- source: Hoffmann, Rosenbaum and Yoshida (2013), Bernoulli 19(2)
WITH ticks AS (
  SELECT symbol, ts, ln(last_value(price ORDER BY ts)) AS log_price FROM trades GROUP BY symbol, ts
),
pairs AS (
  SELECT a.symbol AS symbol_a, b.symbol AS symbol_b, unnest(generate_series(-5, 5)) AS lag_s
  FROM (SELECT DISTINCT symbol FROM trades) a
    JOIN (SELECT DISTINCT symbol FROM trades) b ON a.symbol < b.symbol
),
legs AS (
  SELECT p.symbol_a, p.symbol_b, p.lag_s, t.ts + arrow_cast(p.lag_s, 'Duration(Second)') AS ts,
         t.log_price AS a, CAST(NULL AS DOUBLE) AS b
  FROM pairs p JOIN ticks t ON t.symbol = p.symbol_a
  UNION ALL
  SELECT p.symbol_a, p.symbol_b, p.lag_s, t.ts, NULL, t.log_price
  FROM pairs p JOIN ticks t ON t.symbol = p.symbol_b
)
SELECT symbol_a, symbol_b, lag_s, hayashi_yoshida_corr(ts, a, b) AS corr
FROM legs
GROUP BY symbol_a, symbol_b, lag_s
ORDER BY symbol_a, symbol_b, lag_s
