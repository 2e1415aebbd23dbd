"""Tables that live outside: names, schemas and the order that their rows come in."""

if __name__ != "fin_sql.catalog":
    raise ImportError(f"import fin_sql.catalog, not {__name__}")
