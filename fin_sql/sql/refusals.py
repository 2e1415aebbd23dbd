"""Why a part of a query has no meaning over an endless table, and what to write instead."""

from __future__ import annotations

from fin_sql.exec.calls import STANDARD
from fin_sql.sql.text import Text

_TAKES = (
    "a continuous query takes WHERE, expressions, ASOF JOIN, joins with bounded tables, windows "
    "with an ORDER BY of the event time, GROUP BY and UNION ALL; this part of it needs all rows at "
    "once"
)
_AGGREGATES = (
    "GROUP BY in a continuous query folds rows as they come: kernels, "
    f"{', '.join(sorted(STANDARD - {'lag', 'nth_value', 'row_number'}))}; this one is DataFusion's"
)
_WINDOWS = (
    "OVER in a continuous query takes a kernel, or one of "
    f"{', '.join(sorted(STANDARD))}, with an ascending ORDER BY of the event time and a frame that "
    "ends at the CURRENT ROW"
)


def why_not(sql: str, *, endless_first: bool) -> str:
    """What is said of a query of DataFusion's in a view.

    Args:
        sql: its text.
        endless_first: its first input is the endless one.
    """
    text = Text(sql)
    words = [token.text for token in text.tokens if token.kind == "word"]
    if not endless_first:
        return (
            "a join gives its rows in the order of its first table: write the endless table before "
            "JOIN, and the bounded one behind it"
        )
    if "lead" in words or "following" in words:
        return (
            "lead and FOLLOWING look at rows that are yet to come: use lag, or a frame that ends "
            "at the CURRENT ROW"
        )
    if "over" in words:
        return f"{_WINDOWS}; this is another one: {_called(text)}"
    for word in ("right", "full", "natural"):
        if word in words and "join" in words:
            return f"{word.upper()} JOIN in a continuous query: write JOIN or LEFT JOIN ... ON"
    if any(a == "in" and b == "select" for a, b in zip(words, words[1:], strict=False)):
        return "IN (SELECT ...): write LEFT SEMI JOIN or LEFT ANTI JOIN table ON ..."
    if "exists" in words:
        return "EXISTS: write LEFT SEMI JOIN or LEFT ANTI JOIN table ON ..."
    if "select" in words[1:] and "group" not in words:
        return "a query inside of an expression is not kept up: join its table"
    if "distinct" in words:
        return (
            "DISTINCT would have to hold all rows: GROUP BY the columns, or keep the latest row of "
            "each key by WITH (key = '...')"
        )
    for word in ("union", "intersect", "except"):
        if word in words:
            return f"{word.upper()} would have to hold all rows: UNION ALL merges tables by time"
    if "group" in words or "order" not in words:
        return f"{_AGGREGATES}: {_shown(sql)}"
    if "join" not in words:
        return "ORDER BY in a continuous query: rows stay in the order of time; sort what is read"
    return f"{_TAKES}: {_shown(sql)}"


def why_not_together(sql: str) -> str:
    """What is said of a query of DataFusion's over several endless tables."""
    words = {token.text for token in Text(sql).tokens if token.kind == "word"}
    if words & {"union", "intersect", "except"}:
        return why_not(sql, endless_first=True)
    return (
        "a join of two endless tables has no bound on what it holds: write ASOF JOIN, or make a "
        "bounded table of one side by CREATE TABLE ... AS SELECT"
    )


def _called(text: Text) -> str:
    """The first call with an OVER."""
    tokens = text.tokens
    at = next(i for i, token in enumerate(tokens) if token.says("over"))
    begin = at - 1
    opening = [i for i, close in text.closing.items() if close == begin]
    if opening and tokens[opening[0] - 1].names:
        begin = opening[0] - 1
    end = text.closing.get(at + 1, at + 1) + 1
    return text.written(begin, end)


def _shown(sql: str) -> str:
    words = " ".join(sql.split())
    return words if len(words) < 100 else f"{words[:97]}..."
