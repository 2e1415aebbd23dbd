-- The latest trade of each symbol
--
-- DISTINCT ON keeps the first row of each symbol in the given order. `seq` decides among trades of
-- one time: without it any of them may come.
--
-- tables: trades (ts, symbol, price, size, seq)
-- mode: batch
SELECT DISTINCT ON (symbol) symbol, ts, price, size
FROM trades
ORDER BY symbol, ts DESC, seq DESC
