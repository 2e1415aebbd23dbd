-- Session VWAP that restarts at 09:30 New York each day
--
-- At each trade the volume-weighted price since the last 09:30 of New York, whatever that is in
-- UTC: daylight saving moves it by an hour. Trades before 09:30 belong to the session of the day
-- before. Times without a zone are UTC.
--
-- tables: trades (ts, symbol, price, size)
-- mode: continuous
-- source: Berkowitz, Logue and Noser (1988), Journal of Finance 43(1)
WITH dated AS (
  SELECT ts, symbol, price, size,
         CAST(to_local_time((ts AT TIME ZONE 'UTC') AT TIME ZONE 'America/New_York')
              - INTERVAL '9 hours 30 minutes' AS DATE) AS session
  FROM trades
  WHERE price > 0 AND size > 0
)
SELECT ts, symbol, session, price,
       sum(price * size) OVER s / sum(size) OVER s AS vwap
FROM dated
WINDOW s AS (PARTITION BY symbol, session ORDER BY ts ROWS UNBOUNDED PRECEDING)
