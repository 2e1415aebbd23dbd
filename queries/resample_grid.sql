-- A full grid of time and symbols, each with its last price
--
-- One row for each second and symbol, from the second of the first trade to the last one, whether
-- there was a trade or not: the last price at or before that time, and when it was made. Before a
-- symbol's first trade both are NULL; nothing is filled from the future.
--
-- tables: trades (ts, symbol, price)
-- mode: batch
WITH span AS (
  SELECT date_trunc('second', min(ts)) AS first, max(ts) AS last FROM trades
),
grid AS (
  SELECT symbol, unnest(generate_series(first, last, INTERVAL '1' SECOND)) AS ts
  FROM (SELECT DISTINCT symbol FROM trades) CROSS JOIN span
)
SELECT g.ts, g.symbol, t.price, t.ts AS traded_at
FROM grid g ASOF JOIN trades t MATCH_CONDITION (g.ts >= t.ts) ON g.symbol = t.symbol
ORDER BY g.ts, g.symbol
