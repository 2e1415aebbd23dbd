SELECT * FROM (SELECT symbol, price, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts) AS e FROM trades) f WHERE symbol = 'A' AND price > 1
