SELECT symbol, vwap(price, size) AS v FROM (SELECT DISTINCT symbol, price, size, ts FROM trades) t GROUP BY symbol
