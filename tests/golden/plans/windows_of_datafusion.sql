SELECT rank() OVER (ORDER BY price) AS r, rsi(price) OVER (ORDER BY ts) AS s, sum(size) OVER (PARTITION BY symbol ORDER BY ts ROWS 9 PRECEDING) AS v FROM trades ORDER BY r LIMIT 5
