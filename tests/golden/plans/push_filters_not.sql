SELECT t.price, q.bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol WHERE q.bid > 100 AND t.price > q.ask AND random() < t.price
