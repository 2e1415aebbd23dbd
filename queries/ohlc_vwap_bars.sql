-- Bars by minute: open, high, low, close, volume and VWAP
--
-- `ts` is the start of the minute: a bar is known a minute later. Minutes without a trade have no
-- bar; resample_grid.sql fills them. The rows make the table `bars` of other queries.
--
-- tables: trades (ts, symbol, price, size)
-- mode: continuous
-- source: Berkowitz, Logue and Noser (1988), Journal of Finance 43(1), for the VWAP
SELECT window_start AS ts, symbol,
       ohlc(price, ts)['open']  AS open,
       ohlc(price, ts)['high']  AS high,
       ohlc(price, ts)['low']   AS low,
       ohlc(price, ts)['close'] AS close,
       sum(size)                AS volume,
       vwap(price, size)        AS vwap,
       count(*)                 AS trades
FROM trades
GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)
