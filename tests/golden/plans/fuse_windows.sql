SELECT a, ewma(price, 0.2) OVER w AS b FROM (SELECT *, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts) AS a FROM trades) f WINDOW w AS (PARTITION BY symbol ORDER BY ts)
