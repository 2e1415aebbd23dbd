SELECT ewma(price, 0.1) OVER (ORDER BY ts) AS e FROM trades LIMIT 10 OFFSET 5
