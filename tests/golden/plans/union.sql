SELECT ewma(price, 0.1) OVER (ORDER BY ts) AS e FROM trades UNION ALL SELECT price FROM trades
