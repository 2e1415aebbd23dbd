SELECT ewma(price, 0.5) OVER (PARTITION BY symbol ORDER BY ts) AS e FROM days WHERE date = '2026-01-05' OR price > 2
