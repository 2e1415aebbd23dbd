-- Realised variance against bipower variation: how much of a day was jumps
--
-- From the last prices of minutes. Realised variance counts everything, bipower and median
-- variation leave jumps out; the jump share is what they differ by. Days are those of New York,
-- and the move over night is not in them.
--
-- tables: trades (ts, symbol, price)
-- mode: continuous
-- source: Barndorff-Nielsen and Shephard (2004), Journal of Financial Econometrics 2(1)
WITH closes AS (
  SELECT window_start AS ts, symbol, last_value(price ORDER BY ts) AS close
  FROM trades
  GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)
),
dated AS (
  SELECT ts, symbol, close,
         CAST(to_local_time((ts AT TIME ZONE 'UTC') AT TIME ZONE 'America/New_York') AS DATE) AS day
  FROM closes
),
returns AS (
  SELECT ts, symbol, day, log_returns(close) OVER (PARTITION BY symbol, day ORDER BY ts) AS r
  FROM dated
)
SELECT day, symbol, count(r) AS returns,
       realized_var_agg(r)                                             AS realized_var,
       bipower_var_agg(r, ts)                                          AS bipower_var,
       medrv_agg(r, ts)                                                AS median_var,
       greatest(0, 1 - bipower_var_agg(r, ts) / realized_var_agg(r))   AS jump_share,
       sqrt(realized_var_agg(r))                                       AS realized_vol
FROM returns
GROUP BY day, symbol, TUMBLE(ts, INTERVAL '1' DAY, 'America/New_York')
