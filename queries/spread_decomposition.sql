-- Effective spread, what of it market makers kept, and what the price moved
--
-- For each symbol the effective spread in basis points of the middle, and its two parts: the
-- realised spread, measured against the middle five seconds later, and the price impact, the move
-- of the middle in the direction of the trade. Means are weighted by traded value. Trades whose
-- side is unknown, or whose five seconds end after the last quote, are left out.
--
-- tables: trades (ts, symbol, price, size), quotes (ts, symbol, bid, ask)
-- mode: batch
-- source: Huang and Stoll (1996), Journal of Financial Economics 41(3)
WITH matched AS (
  SELECT t.ts, t.symbol, t.price, t.price * t.size AS amount,
         midprice(q.bid, q.ask)        AS mid,
         midprice(later.bid, later.ask) AS later_mid,
         quoted_spread_bps(q.bid, q.ask) AS quoted,
         trade_sign(t.price, q.bid, q.ask) OVER (PARTITION BY t.symbol ORDER BY t.ts) AS side
  FROM trades t
    ASOF JOIN quotes q MATCH_CONDITION (t.ts > q.ts)
      ON t.symbol = q.symbol AND q.bid > 0 AND q.ask > q.bid
    ASOF JOIN quotes later MATCH_CONDITION (t.ts + INTERVAL '5' SECOND >= later.ts)
      ON t.symbol = later.symbol AND later.bid > 0 AND later.ask > later.bid
)
SELECT symbol, count(*) AS trades,
       sum(amount * quoted) / sum(amount)                                   AS quoted_bps,
       sum(amount * 2e4 * side * (price - mid) / mid) / sum(amount)         AS effective_bps,
       sum(amount * 2e4 * side * (price - later_mid) / mid) / sum(amount)   AS realised_bps,
       sum(amount * 2e4 * side * (later_mid - mid) / mid) / sum(amount)     AS impact_bps
FROM matched
WHERE side <> 0 AND mid IS NOT NULL AND ts + INTERVAL '5' SECOND <= (SELECT max(ts) FROM quotes)
GROUP BY symbol
ORDER BY symbol
