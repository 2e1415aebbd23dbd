SELECT ewma(ewma(price, 0.1), 0.2) OVER (PARTITION BY symbol ORDER BY ts) AS twice, rsi(price) OVER (ORDER BY ts) AS r FROM trades
