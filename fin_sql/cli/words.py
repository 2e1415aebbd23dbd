"""The words that a statement may be made of: keywords, types, tables, columns and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fin_sql.cli.scan import pieces

STARTS = (
    "SELECT", "WITH", "EXPLAIN", "EXPLAIN ANALYZE", "CREATE TABLE", "CREATE VIEW",
    "CREATE EXTERNAL TABLE", "DROP TABLE", "DROP VIEW", "INSERT INTO", "COPY", "DESCRIBE",
    "SHOW TABLES", "SHOW COLUMNS FROM", "SHOW ALL", "SET", "VALUES",
)  # fmt: skip
JOINS = (
    "JOIN", "ASOF JOIN", "ASOF LEFT JOIN", "ASOF INNER JOIN", "LEFT JOIN", "RIGHT JOIN",
    "FULL JOIN", "INNER JOIN", "CROSS JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN", "NATURAL JOIN",
)  # fmt: skip
OF_JOINS = ("ON", "USING (")
OF_ASOF = ("MATCH_CONDITION (", "TOLERANCE INTERVAL", "TIES", "WAIT", "NOW")
CLAUSES = (
    "FROM", "WHERE", "GROUP BY", "HAVING", "WINDOW", "QUALIFY", "ORDER BY", "LIMIT", "OFFSET",
    "UNION ALL", "UNION", "INTERSECT", "EXCEPT",
)  # fmt: skip
OPERANDS = (
    "CASE", "CAST(", "TRY_CAST(", "NOT", "EXISTS (", "INTERVAL", "NULL", "TRUE", "FALSE",
    "DATE", "TIMESTAMP", "EXTRACT(",
)  # fmt: skip
OPERATORS = (
    "AND", "OR", "AS", "IN (", "NOT IN (", "BETWEEN", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL",
    "WHEN", "THEN", "ELSE", "END", "AT TIME ZONE", "COLLATE",
)  # fmt: skip
IN_WINDOWS = (
    "PARTITION BY", "ORDER BY", "ROWS", "RANGE", "ROWS BETWEEN", "RANGE BETWEEN", "PRECEDING",
    "UNBOUNDED PRECEDING", "CURRENT ROW", "ASC", "NULLS FIRST", "NULLS LAST",
)  # fmt: skip
AFTER_CALLS = ("OVER", "OVER (", "IGNORE NULLS", "FILTER (WHERE")
AFTER_ORDER = ("ASC", "DESC", "NULLS FIRST", "NULLS LAST")
TYPES = (
    "BIGINT", "INT", "SMALLINT", "TINYINT", "DOUBLE", "FLOAT", "REAL", "DECIMAL", "NUMERIC",
    "BOOLEAN", "VARCHAR", "TEXT", "STRING", "CHAR", "DATE", "TIME", "TIMESTAMP", "INTERVAL",
    "BYTEA",
)  # fmt: skip
UNITS = (
    "NANOSECOND", "MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK",
    "MONTH", "YEAR",
)  # fmt: skip
# What may follow one word, where it is not an expression.
AFTER: dict[str, tuple[str, ...]] = {
    "asof": ("JOIN", "LEFT JOIN", "INNER JOIN"),
    "match_condition": ("(",),
    "tolerance": ("INTERVAL",),
    "ties": ("LAST", "FIRST", "ERROR"),
    "wait": ("AT MOST INTERVAL",),
    "group": ("BY", "BY ALL"),
    "order": ("BY",),
    "partition": ("BY",),
    "nulls": ("FIRST", "LAST"),
    "is": ("NULL", "NOT NULL", "DISTINCT FROM"),
    "create": ("TABLE", "VIEW", "EXTERNAL TABLE", "OR REPLACE TABLE", "OR REPLACE VIEW"),
    "drop": ("TABLE", "VIEW", "TABLE IF EXISTS", "VIEW IF EXISTS"),
    "insert": ("INTO",),
    "left": ("JOIN", "OUTER JOIN", "SEMI JOIN", "ANTI JOIN"),
    "right": ("JOIN", "OUTER JOIN", "SEMI JOIN", "ANTI JOIN"),
    "inner": ("JOIN",),
    "full": ("JOIN", "OUTER JOIN"),
    "cross": ("JOIN",),
    "natural": ("JOIN",),
    "outer": ("JOIN",),
    "show": ("TABLES", "COLUMNS FROM", "FUNCTIONS", "ALL"),
    "ignore": ("NULLS",),
    "current": ("ROW",),
    "unbounded": ("PRECEDING",),
}
ALSO = (
    "ALL ANALYZE ANTI ASOF AT BY COLUMNS CREATE CROSS CURRENT DESC DISTINCT DROP ERROR EXCLUDE "
    "EXTERNAL FIRST FOLLOWING FULL FUNCTIONS GROUP IF IGNORE INNER INSERT INTO LAST LATERAL LEFT "
    "LOCATION MATCH_CONDITION MOST NATURAL NEAREST NO NULLS ON OR ORDER OUTER OVER PARTITION "
    "PARTITIONED RECURSIVE REPLACE RESPECT RIGHT ROW SEMI SHOW STORED TABLE TABLES TO UNBOUNDED "
    "UNNEST USING VERBOSE VIEW WAIT ZONE"
)
_ALL = (STARTS, JOINS, OF_JOINS, OF_ASOF, CLAUSES, OPERANDS, OPERATORS, IN_WINDOWS, AFTER_CALLS)
KEYWORDS = frozenset(
    word.strip("()").lower() for part in _ALL for phrase in part for word in phrase.split()
) | frozenset(ALSO.lower().split())
# What cannot be the alias of a table, nor end an expression.
RESERVED = KEYWORDS - frozenset(
    "all columns date end error false first functions if last most no now null row tables text "
    "ties time timestamp to true wait zone current".split()
)


@dataclass(frozen=True)
class Column:
    """A name, and its type in words where it is known."""

    name: str
    type: str = ""


@dataclass(frozen=True)
class Argument:
    """One argument of a function, as the catalogue has it."""

    name: str
    type: str
    constant: bool
    default: str | None
    allowed: str | None


@dataclass(frozen=True)
class Function:
    """What there is to say of a function."""

    name: str
    signature: str
    summary: str = ""
    kind: str = ""
    arguments: tuple[Argument, ...] = ()
    fields: tuple[Column, ...] = ()  # of the STRUCT that it returns


@dataclass(frozen=True)
class Words:
    """What a session knows.

    Args:
        tables: the columns of each.
        functions: by name.
        commands: usage and summary of each command of the shell, by its name with the dot.
        folder: the entries of a folder, as (name, is a folder), of a path as it is written.
        file_columns: of a file, a folder or a glob; nothing where it cannot be read.
    """

    tables: Mapping[str, Sequence[Column]] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    commands: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    folder: Callable[[str], Sequence[tuple[str, bool]]] = lambda path: ()
    file_columns: Callable[[str], Sequence[Column]] = lambda path: ()


def plain(name: str) -> bool:
    """Whether a name may be written without quotes."""
    word = [piece.kind for piece in pieces(name)] == ["word"]
    return word and name == name.lower() and name not in RESERVED


def written(name: str) -> str:
    """A name as SQL has it: in quotes where it must be."""
    return name if plain(name) else '"' + name.replace('"', '""') + '"'
