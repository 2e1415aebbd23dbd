-- Does the imbalance of the book tell the next move
--
-- Quotes in five classes by the imbalance of their sizes, 1 nearly all on the ask, 5 nearly all on
-- the bid, with the mean move of the middle over the next second, in basis points, and how often it
-- went up and down.
--
-- tables: quotes (ts, symbol, bid, ask, bid_size, ask_size)
-- mode: batch
-- source: Gould and Bonart (2016), Market Microstructure and Liquidity 2(2)
WITH book AS (
  SELECT ts, symbol, midprice(bid, ask) AS mid, l1_imbalance(bid_size, ask_size) AS imbalance
  FROM quotes
  WHERE bid > 0 AND ask > bid
),
moved AS (
  SELECT q.symbol,
         CASE WHEN q.imbalance < -0.6 THEN 1 WHEN q.imbalance < -0.2 THEN 2
              WHEN q.imbalance < 0.2 THEN 3 WHEN q.imbalance < 0.6 THEN 4 ELSE 5 END AS class,
         1e4 * (later.mid / q.mid - 1) AS move
  FROM book q
    ASOF JOIN book later MATCH_CONDITION (q.ts + INTERVAL '1' SECOND >= later.ts)
      ON q.symbol = later.symbol
  WHERE q.imbalance IS NOT NULL AND q.ts + INTERVAL '1' SECOND <= (SELECT max(ts) FROM book)
)
SELECT symbol, class, count(*) AS quotes, avg(move) AS mean_move_bps,
       avg(CASE WHEN move > 0 THEN 1.0 ELSE 0.0 END) AS went_up,
       avg(CASE WHEN move < 0 THEN 1.0 ELSE 0.0 END) AS went_down
FROM moved
GROUP BY symbol, class
ORDER BY symbol, class
