-- Momentum of bars: RSI, MACD, stochastic, Bollinger, Donchian, rate of change
--
-- A dozen indicators in one pass over the bars of each symbol. adx.sql has the directional index.
--
-- tables: bars (ts, symbol, high, low, close)
-- mode: continuous
-- source: Murphy (1999), Technical Analysis of the Financial Markets
SELECT ts, symbol, close,
       rsi(close, 14) OVER w                                  AS rsi,
       (macd(close, 12, 26, 9) OVER w)['macd']                AS macd,
       (macd(close, 12, 26, 9) OVER w)['signal']              AS macd_signal,
       (macd(close, 12, 26, 9) OVER w)['hist']                AS macd_hist,
       (stochastic_osc(high, low, close, 14, 3) OVER w)['k']  AS stoch_k,
       (stochastic_osc(high, low, close, 14, 3) OVER w)['d']  AS stoch_d,
       (bollinger_bands(close, 20, 2) OVER w)['upper']        AS upper_band,
       (bollinger_bands(close, 20, 2) OVER w)['lower']        AS lower_band,
       (donchian_channel(high, low, 20) OVER w)['high']       AS channel_high,
       (donchian_channel(high, low, 20) OVER w)['low']        AS channel_low,
       close / ema(close, 20) OVER w - 1                      AS above_trend,
       close / lag(close, 10) OVER w - 1                      AS change_10,
       atr(high, low, close, 14) OVER w                       AS atr
FROM bars
WINDOW w AS (PARTITION BY symbol ORDER BY ts)
