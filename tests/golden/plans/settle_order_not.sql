SELECT symbol, vwap(price, size) AS v FROM (SELECT * FROM trades WHERE price > 1 ORDER BY ts) t GROUP BY symbol
