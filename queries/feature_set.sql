-- The research set: forty features of each trade and the quote before it
--
-- Price, book, momentum, volatility, flow and liquidity, in one pass over the trades of each
-- symbol, each matched with the last two-sided quote before it. Nothing looks ahead. A feature is
-- NULL until its window is full.
--
-- tables: trades (ts, symbol, price, size), quotes (ts, symbol, bid, ask, bid_size, ask_size)
-- mode: continuous
-- source: docs/functions.md has the source of each kernel
WITH tape AS (
  SELECT t.ts, t.symbol, t.price, t.size, q.bid, q.ask, q.bid_size, q.ask_size, q.ts AS quoted_at,
         midprice(q.bid, q.ask)                   AS mid,
         trade_sign(t.price, q.bid, q.ask) OVER w AS side,
         log_returns(t.price) OVER w              AS r,
         diff(t.price) OVER w                     AS change
  FROM trades t
    ASOF JOIN quotes q MATCH_CONDITION (t.ts > q.ts)
      ON t.symbol = q.symbol AND q.bid > 0 AND q.ask > q.bid
  WHERE t.price > 0 AND t.size > 0
  WINDOW w AS (PARTITION BY t.symbol ORDER BY t.ts)
)
SELECT ts, symbol,
  -- the book
  mid,
  quoted_spread_bps(bid, ask)                                           AS spread_bps,
  1e4 * (microprice(bid, ask, bid_size, ask_size) / mid - 1)            AS micro_edge_bps,
  l1_imbalance(bid_size, ask_size)                                      AS imbalance,
  ewma(l1_imbalance(bid_size, ask_size), 0.1) OVER w                    AS pressure,
  ln(mid * (bid_size + ask_size) + 1)                                   AS log_depth,
  date_part('epoch', CAST(ts - quoted_at AS INTERVAL))                  AS quote_age_s,
  -- the trade
  side,
  1e4 * effective_spread(price, mid) / mid                              AS effective_bps,
  1e4 * (price / mid - 1)                                               AS off_mid_bps,
  ln(price * size)                                                      AS log_amount,
  rolling_zscore(size, 100) OVER w                                      AS size_zscore,
  date_part('epoch', CAST(ts - lag(ts) OVER w AS INTERVAL))             AS gap_s,
  count(*) OVER last_10s                                                AS trades_10s,
  -- momentum
  r                                                                     AS return_1,
  ln(price / lag(price, 10) OVER w)                                     AS return_10,
  ln(price / lag(price, 50) OVER w)                                     AS return_50,
  price / ewma(price, 0.2) OVER w - 1                                   AS above_fast,
  price / ewma(price, 0.02) OVER w - 1                                  AS above_slow,
  (macd(price) OVER w)['hist'] / price                                  AS macd_hist,
  rsi(price) OVER w                                                     AS rsi,
  rolling_zscore(price, 50) OVER w                                      AS price_zscore,
  price / rolling_max(price, 50) OVER w - 1                             AS below_high,
  price / rolling_min(price, 50) OVER w - 1                             AS above_low,
  frac_diff(ln(price), 0.4, 0.01) OVER w                                AS frac_diff,
  -- volatility
  rolling_std(r, 20) OVER w                                             AS vol_20,
  rolling_std(r, 100) OVER w                                            AS vol_100,
  riskmetrics_vol(r, 0.97) OVER w                                       AS vol_ew,
  bipower_var(r, 100) OVER w / nullif(realized_var(r, 100) OVER w, 0)   AS smooth_share,
  rolling_skew(r, 100) OVER w                                           AS skew,
  rolling_kurt(r, 100) OVER w                                           AS kurtosis,
  autocorr(r, 1, 100) OVER w                                            AS autocorr,
  historical_var(r, 0.05, 100) OVER w                                   AS var_95,
  -- flow and liquidity
  sum(side * price * size) OVER last_20 / sum(price * size) OVER last_20
                                                                        AS flow_20,
  sum(side * price * size) OVER last_100 / sum(price * size) OVER last_100
                                                                        AS flow_100,
  vpin(price * size, side, 50000, 10) OVER w                            AS vpin,
  kyle_lambda(change, side * price * size, 100) OVER w                  AS kyle_lambda,
  amihud_illiquidity(r, price * size, 100) OVER w                       AS amihud,
  roll_spread(change / price, 100) OVER w                               AS roll_spread,
  sum(price * size) OVER last_100 / sum(size) OVER last_100 / price - 1 AS vwap_gap
FROM tape
WINDOW w AS (PARTITION BY symbol ORDER BY ts),
       last_20 AS (w ROWS 19 PRECEDING),
       last_100 AS (w ROWS 99 PRECEDING),
       last_10s AS (w RANGE INTERVAL '10' SECOND PRECEDING)
