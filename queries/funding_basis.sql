-- Funding and basis of perpetual swaps
--
-- Each mark price with the funding rate that is in force: set at `funding.ts`, paid eight hours
-- later. The premium over the index, its distance from the last hour's, the rate a year, the fair
-- price with what is left of the funding, and what long index and short swap earn until it is paid,
-- after 4 basis points of fees.
--
-- tables: marks (ts, symbol, mark_price, index_price), funding (ts, symbol, rate)
-- mode: continuous
-- source: BitMEX, Perpetual Contracts Guide and Fair Price Marking
SELECT m.ts, m.symbol, m.mark_price, m.index_price, f.rate,
       1e4 * (m.mark_price / m.index_price - 1)                     AS basis_bps,
       rolling_zscore(m.mark_price / m.index_price, 60) OVER w      AS basis_zscore,
       funding_apr(f.rate)                                          AS funding_year,
       perp_fair_price(m.index_price, f.rate,
                       8 - date_part('epoch', CAST(m.ts - f.ts AS INTERVAL)) / 3600) AS fair_price,
       cash_and_carry_edge(m.index_price, m.mark_price, f.rate, 4)  AS carry_bps
FROM marks m
  ASOF JOIN funding f MATCH_CONDITION (m.ts >= f.ts) ON m.symbol = f.symbol
    TOLERANCE INTERVAL '8' HOUR
WINDOW w AS (PARTITION BY m.symbol ORDER BY m.ts)
