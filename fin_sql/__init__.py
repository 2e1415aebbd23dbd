"""fin_sql: SQL for market data on Apache DataFusion."""
