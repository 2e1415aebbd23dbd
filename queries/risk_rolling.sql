-- Risk as it goes: VaR, expected shortfall, volatility, Sharpe ratio, drawdown
--
-- At each bar, from the log returns of the last 250: the loss that one bar in twenty exceeds, by
-- history and by four moments (Cornish and Fisher), and the mean of the worse ones; volatility by
-- RiskMetrics; the Sharpe ratio a year of 525 600 minutes; how far the price is below its peak.
--
-- tables: bars (ts, symbol, close)
-- mode: continuous
-- source: Jorion (2006), Value at Risk, 3rd ed.
WITH returns AS (
  SELECT ts, symbol, close, log_returns(close) OVER w AS r
  FROM bars
  WINDOW w AS (PARTITION BY symbol ORDER BY ts)
)
SELECT ts, symbol, close, r,
       historical_var(r, 0.05, 250) OVER w     AS var_95,
       historical_cvar(r, 0.05, 250) OVER w    AS cvar_95,
       cornish_fisher_var(sma(r, 250) OVER w, rolling_std(r, 250) OVER w, rolling_skew(r, 250) OVER w,
                          rolling_kurt(r, 250) OVER w, 0.05) AS modified_var_95,
       riskmetrics_vol(r, 0.94) OVER w         AS vol,
       rolling_sharpe(r, 250, 525600) OVER w   AS sharpe,
       (drawdown(close) OVER w)['drawdown']    AS drawdown,
       (drawdown(close) OVER w)['max_drawdown'] AS max_drawdown,
       (drawdown(close) OVER w)['bars_under_water'] AS bars_under_water
FROM returns
WINDOW w AS (PARTITION BY symbol ORDER BY ts)
