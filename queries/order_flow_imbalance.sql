-- Order flow imbalance by minute, beside the move of the price
--
-- What each quote adds to the bid and takes from the ask, summed over a minute, and the change of
-- the middle of bid and ask over the same minute: over short times the two go together, almost on
-- a line.
--
-- tables: quotes (ts, symbol, bid, ask, bid_size, ask_size)
-- mode: continuous
-- source: Cont, Kukanov and Stoikov (2014), Journal of Financial Econometrics 12(1)
WITH flow AS (
  SELECT ts, symbol, midprice(bid, ask) AS mid,
         ofi(bid, ask, bid_size, ask_size) OVER (PARTITION BY symbol ORDER BY ts) AS ofi
  FROM quotes
  WHERE bid > 0 AND ask > bid
)
SELECT window_start AS ts, symbol, count(*) AS quotes, sum(ofi) AS ofi,
       last_value(mid ORDER BY ts) - first_value(mid ORDER BY ts) AS mid_change
FROM flow
GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)
