-- VPIN: how one-sided the flow of orders is, in volume time
--
-- Trades fill buckets of 100 000 in traded value; VPIN is the mean imbalance between buyers and
-- sellers over the last 20 full buckets, from 0 to 1. Sides are those of Lee and Ready, from the
-- quote before the trade. NULL until 20 buckets are full, and for trades of unknown side.
--
-- tables: trades (ts, symbol, price, size), quotes (ts, symbol, bid, ask)
-- mode: continuous
-- source: Easley, Lopez de Prado and O'Hara (2012), Review of Financial Studies 25(5)
SELECT t.ts, t.symbol, t.price, t.size,
       vpin(t.price * t.size, trade_sign(t.price, q.bid, q.ask), 100000, 20) OVER w AS vpin
FROM trades t
  ASOF JOIN quotes q MATCH_CONDITION (t.ts > q.ts)
    ON t.symbol = q.symbol AND q.bid > 0 AND q.ask > q.bid
WINDOW w AS (PARTITION BY t.symbol ORDER BY t.ts)
