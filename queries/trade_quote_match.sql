-- Trades with the quote that was valid, who began them, and what they paid
--
-- Each trade meets the last two-sided quote before it. Above the middle of bid and ask a
-- buyer began it, below a seller (Lee and Ready). The effective spread is twice the distance of
-- the price from that middle. (Of a difference of times, cast to INTERVAL, date_part takes the whole
-- seconds and their fraction; of one that is not cast, DataFusion loses the fraction.)
--
-- tables: trades (ts, symbol, price, size), quotes (ts, symbol, bid, ask)
-- mode: continuous
-- source: Lee and Ready (1991), Journal of Finance 46(2)
SELECT t.ts, t.symbol, t.price, t.size, q.bid, q.ask,
       date_part('epoch', CAST(t.ts - q.ts AS INTERVAL))           AS quote_age_s,
       trade_sign(t.price, q.bid, q.ask) OVER w                    AS side,
       quoted_spread_bps(q.bid, q.ask)                             AS quoted_bps,
       1e4 * effective_spread(t.price, midprice(q.bid, q.ask))
         / midprice(q.bid, q.ask)                                  AS effective_bps
FROM trades t
  ASOF JOIN quotes q MATCH_CONDITION (t.ts > q.ts)
    ON t.symbol = q.symbol AND q.bid > 0 AND q.ask > q.bid
WINDOW w AS (PARTITION BY t.symbol ORDER BY t.ts)
