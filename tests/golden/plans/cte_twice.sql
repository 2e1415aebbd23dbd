WITH f AS (SELECT ts, symbol, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts) AS e FROM trades) SELECT f.e, (SELECT max(e) FROM f) AS m FROM f
