"""`python -m fin_sql` is `fin-sql`."""

from fin_sql.cli import main

main()
