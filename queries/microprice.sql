-- Microprice and imbalance of the book
--
-- The middle of bid and ask weighted by the sizes on the other sides: a large bid says that the
-- next price is nearer to the ask. `edge_bps` is how far it is from the plain middle, `pressure`
-- the imbalance of sizes (-1 all on the ask, 1 all on the bid), smoothed.
--
-- tables: quotes (ts, symbol, bid, ask, bid_size, ask_size)
-- mode: continuous
-- source: Gatheral and Oomen (2010), Finance and Stochastics 14(2)
SELECT ts, symbol,
       midprice(bid, ask)                              AS mid,
       microprice(bid, ask, bid_size, ask_size)        AS microprice,
       quoted_spread_bps(bid, ask)                     AS spread_bps,
       1e4 * (microprice(bid, ask, bid_size, ask_size) / midprice(bid, ask) - 1) AS edge_bps,
       l1_imbalance(bid_size, ask_size)                AS imbalance,
       ewma(l1_imbalance(bid_size, ask_size), 0.1) OVER (PARTITION BY symbol ORDER BY ts) AS pressure
FROM quotes
WHERE bid > 0 AND ask > bid
