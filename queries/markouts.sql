-- Markouts: how the price moved 1, 5 and 30 seconds after each trade
--
-- The move of the middle of bid and ask after a trade, in basis points and in the direction of the
-- trade: positive where who began it was right. NULL where the quotes end before the horizon.
--
-- tables: trades (ts, symbol, price, size), quotes (ts, symbol, bid, ask)
-- mode: batch
-- source: Hendershott, Jones and Menkveld (2011), Journal of Finance 66(1)
WITH book AS (
  SELECT ts, symbol, bid, ask, midprice(bid, ask) AS mid FROM quotes WHERE bid > 0 AND ask > bid
),
marked AS (
  SELECT t.ts, t.symbol, t.price, t.size, q.mid,
         trade_sign(t.price, q.bid, q.ask) OVER (PARTITION BY t.symbol ORDER BY t.ts) AS side,
         CASE WHEN t.ts + INTERVAL '1' SECOND <= (SELECT max(ts) FROM book) THEN m1.mid END AS mid_1s,
         CASE WHEN t.ts + INTERVAL '5' SECOND <= (SELECT max(ts) FROM book) THEN m5.mid END AS mid_5s,
         CASE WHEN t.ts + INTERVAL '30' SECOND <= (SELECT max(ts) FROM book) THEN m30.mid END AS mid_30s
  FROM trades t
    ASOF JOIN book q MATCH_CONDITION (t.ts > q.ts) ON t.symbol = q.symbol
    ASOF JOIN book m1 MATCH_CONDITION (t.ts + INTERVAL '1' SECOND >= m1.ts) ON t.symbol = m1.symbol
    ASOF JOIN book m5 MATCH_CONDITION (t.ts + INTERVAL '5' SECOND >= m5.ts) ON t.symbol = m5.symbol
    ASOF JOIN book m30 MATCH_CONDITION (t.ts + INTERVAL '30' SECOND >= m30.ts) ON t.symbol = m30.symbol
)
SELECT ts, symbol, price, size, side,
       1e4 * side * (mid_1s / mid - 1)  AS markout_1s,
       1e4 * side * (mid_5s / mid - 1)  AS markout_5s,
       1e4 * side * (mid_30s / mid - 1) AS markout_30s
FROM marked
