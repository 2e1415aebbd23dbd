"""An expression that is written again elsewhere, such as a key of GROUP BY in the SELECT list."""

from __future__ import annotations

from fin_sql.sql.scope import Relation
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text, Token

Spelling = tuple[tuple[str, str], ...]

_COMPARED = ("=", "==", "<", ">", "<=", ">=", "<>", "!=", "is", "in", "like", "ilike", "between",
             "similar")  # fmt: skip
# How tightly an operator binds; 0 and symbols that are not here: nothing stands beside it.
_LEVELS = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(_COMPARED, 4), "+": 5, "-": 5, "||": 5,
           "*": 6, "/": 6, "%": 6, "::": 8,
           **dict.fromkeys(("at", "collate", "div", "xor", "escape"), 0)}  # fmt: skip
_BEFORE = ("(", ",", "[", "select", "distinct", "all", "by", "having", "case", "when", "then",
           "else")  # fmt: skip
_BEHIND = (")", ",", "]", "end", "when", "then", "else", "as", "asc", "desc", "nulls")
_ATOM = 9


def spelling(text: Text, relation: Relation, span: Span) -> Spelling:
    """The tokens of an expression, columns by the one name that each has in the plan."""
    found, i = [], span[0]
    while i < span[1]:
        token, i = _spelled(text, relation, i)
        found.append(token)
    return tuple(found)


def _spelled(text: Text, relation: Relation, i: int) -> tuple[tuple[str, str], int]:
    tokens = text.tokens
    token = tokens[i]
    if not token.names or tokens[i - 1 if i else 0].says(".") or tokens[i + 1].says("("):
        return (token.kind, token.text), i + 1
    if tokens[i + 1].says(".") and tokens[i + 2].names:
        flat = relation.qualified(token.text, tokens[i + 2].text)
        if flat is not None:
            return ("column", flat), i + 3
    columns = relation.plain(token.text)
    if len(columns) == 1:
        return ("column", columns[0].flat), i + 1
    return (token.kind, token.text), i + 1


def repeated(text: Text, relation: Relation, i: int, end: int, wanted: Spelling) -> int | None:
    """Where the expression `wanted` ends, if it stands from token i on as a part of its own.

    `a + 1` is none of `2 * a + 1`.
    """
    at = i
    for one in wanted:
        if at >= end:
            return None
        other, at = _spelled(text, relation, at)
        if one != other:
            return None
    level = _level(text, i, at)
    before, behind = text.tokens[i - 1 if i else 0], text.tokens[at]
    if level == _ATOM:
        return at
    left = before.says(*_BEFORE) or _binds(before) < level
    right = at == end or behind.says(*_BEHIND) or _binds(behind) <= level
    return at if left and right else None


def _binds(token: Token) -> int:
    return _LEVELS.get(token.text, _ATOM) if token.kind in ("word", "symbol") else _ATOM


def _level(text: Text, begin: int, end: int) -> int:
    """How tightly the loosest operator of an expression binds."""
    tokens = text.tokens
    if end - begin == 1:  # a constant, which may be a part of INTERVAL '1' DAY
        return 0
    if tokens[begin].says("case") and tokens[end - 1].says("end"):
        return _ATOM
    level, i = _ATOM, begin
    while i < end:
        token = tokens[i]
        known = token.kind != "symbol" or token.says("(", "[", "{", ".") or token.text in _LEVELS
        level = min(level, _binds(token) if known else 0)
        i = text.closing.get(i, i) + 1
    return level
