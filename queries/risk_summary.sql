-- Risk of each symbol over all its bars, in one row
--
-- VaR and expected shortfall of a bar at 5 and at 1 %, the latter from a Pareto tail fitted to the
-- worst twentieth (NULL where there are too few bars), volatility and Sharpe ratio a year of
-- 525 600 minutes, and the deepest drawdown.
--
-- tables: bars (ts, symbol, close)
-- mode: batch
-- source: McNeil and Frey (2000), Journal of Empirical Finance 7(3-4)
WITH steps AS (
  SELECT ts, symbol, log_returns(close) OVER w AS r, (drawdown(close) OVER w)['drawdown'] AS below_peak
  FROM bars
  WINDOW w AS (PARTITION BY symbol ORDER BY ts)
)
SELECT symbol, count(r) AS returns,
       historical_var_agg(r, 0.05)                      AS var_95,
       historical_cvar_agg(r, 0.05)                     AS cvar_95,
       evt_pot_var(r, 0.01, 0.95)['var']                AS tail_var_99,
       evt_pot_var(r, 0.01, 0.95)['es']                 AS tail_cvar_99,
       stddev(r) * sqrt(525600)                         AS vol_year,
       avg(r) / nullif(stddev(r), 0) * sqrt(525600)     AS sharpe_year,
       min(below_peak)                                  AS max_drawdown
FROM steps
GROUP BY symbol
ORDER BY symbol
