"""A reader of queries that knows their clauses and leaves their expressions alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fin_sql.sql.sources import read_source
from fin_sql.sql.syntax import (
    Combined,
    Cte,
    Item,
    Query,
    Select,
    Span,
    Star,
    Values,
    reads,
)
from fin_sql.sql.text import Text, Token

_SETS = ("union", "intersect", "except")
_TAIL = ("order", "limit", "offset", "fetch")


def read_query(text: Text, begin: int, end: int) -> Query:
    """Read the tokens from `begin` to before `end` as a query.

    Raises:
        SqlError: with the place underlined, where a clause is not as docs/sql.md has it.
    """
    ctes, recursive, at = _ctes(text, begin, end)
    tail = _find(text, at, end, lambda i: _starts_tail(text, i))
    body = _body(text, at, tail)
    query = Query((begin, end), body, ctes, recursive)
    while tail < end:
        word, start = text.tokens[tail].text, tail + 1
        stop = _find(text, start, end, lambda i: _starts_tail(text, i))
        if word == "fetch":
            text.fail("FETCH is not known here: write LIMIT n", tail, stop)
        if word == "order":
            query = replace(query, order_by=_filled(text, "ORDER BY", start + 1, stop))
        elif word == "limit":
            query = replace(query, limit=_filled(text, "LIMIT", start, stop))
        else:
            if text.tokens[stop - 1].says("rows", "row"):
                query = replace(query, offset=_filled(text, "OFFSET", start, stop - 1))
            else:
                query = replace(query, offset=_filled(text, "OFFSET", start, stop))
        tail = stop
    return query


def _filled(text: Text, clause: str, begin: int, end: int) -> Span:
    if begin >= end:
        text.fail(f"{clause} has nothing behind it", begin - 1)
    return begin, end


def _find(text: Text, begin: int, end: int, test: Callable[[int], bool]) -> int:
    """The first token outside of brackets that passes a test, or `end`."""
    i = begin
    while i < end:
        if test(i):
            return i
        i = text.closing.get(i, i) + 1
    return end


def _before(text: Text, i: int) -> bool:
    """Whether the token before makes this one a name and no keyword."""
    return i > 0 and text.tokens[i - 1].says(".", "as")


def _starts_tail(text: Text, i: int) -> bool:
    token = text.tokens[i]
    if not token.says(*_TAIL) or _before(text, i):
        return False
    return token.text != "order" or text.tokens[i + 1].says("by")


def _ctes(text: Text, begin: int, end: int) -> tuple[tuple[Cte, ...], bool, int]:
    tokens = text.tokens
    if not tokens[begin].says("with"):
        return (), False, begin
    at = begin + 1
    recursive = tokens[at].says("recursive")
    at += recursive
    found: list[Cte] = []
    while True:
        start = at
        if not tokens[at].names:
            text.fail("a name was expected behind WITH", at)
        name = tokens[at].text
        columns: tuple[str, ...] = ()
        at += 1
        if tokens[at].says("("):
            columns, at = names_in(text, at), text.closing[at] + 1
        if not tokens[at].says("as"):
            text.fail("AS (query) was expected", at)
        at += 1
        if tokens[at].says("not"):
            at += 1
        if tokens[at].says("materialized"):
            at += 1
        if not tokens[at].says("("):
            text.fail("a query in brackets was expected", at)
        close = text.closing[at]
        query = read_query(text, at + 1, close)
        itself = recursive and reads(query, name)
        found.append(Cte(name, columns, query, (start, close + 1), itself))
        at = close + 1
        if not tokens[at].says(","):
            return tuple(found), recursive, at
        at += 1


def names_in(text: Text, open_at: int) -> tuple[str, ...]:
    """The names in the brackets that open at a token."""
    found = []
    for begin, end in text.split(open_at + 1, text.closing[open_at], ","):
        if end - begin != 1 or not text.tokens[begin].names:
            text.fail("a column name was expected", begin, max(end, begin + 1))
        found.append(text.tokens[begin].text)
    return tuple(found)


def _body(text: Text, begin: int, end: int) -> Select | Combined | Values | Query:
    if begin >= end:
        text.fail("a query was expected", begin)
    parts, operators, start, i = [], [], begin, begin
    while i < end:
        if text.tokens[i].says(*_SETS) and not _before(text, i) and _separates(text, i, end):
            parts.append((start, i))
            start = i + 1
            if text.tokens[start].says("all", "distinct"):
                start += 1
            by = text.tokens[start].says("by") and text.tokens[start + 1].says("name")
            start += 2 * by
            operators.append(text.written(i, start))
            i = start
        else:
            i = text.closing.get(i, i) + 1
    if operators:
        parts.append((start, end))
        return Combined(
            (begin, end),
            tuple(Query(span, _body(text, *span)) for span in parts),
            tuple(operators),
        )
    first = text.tokens[begin]
    if first.says("(") and text.closing[begin] == end - 1:
        return read_query(text, begin + 1, end - 1)
    if first.says("select"):
        return _select(text, begin, end)
    if first.says("values"):
        return Values((begin, end))
    if first.says("from"):
        text.fail("write SELECT before FROM here", begin)
    text.fail("SELECT was expected", begin)


def _separates(text: Text, i: int, end: int) -> bool:
    """`* EXCEPT (a, b)` leaves columns out; EXCEPT between queries has SELECT behind it."""
    k = i + 1
    while k < end and text.tokens[k].says("all", "distinct", "by", "name", "("):
        k += 1
    return k < end and text.tokens[k].says("select", "values", "with", "from")


_CLAUSES = ("from", "where", "group", "having", "window", "qualify")


def _starts_clause(text: Text, i: int) -> bool:
    token = text.tokens[i]
    if not token.says(*_CLAUSES) or _before(text, i):
        return False
    if token.text == "group":
        return text.tokens[i + 1].says("by")
    if token.text == "window":
        return text.tokens[i + 1].names and text.tokens[i + 2].says("as")
    if token.text == "from":  # x IS [NOT] DISTINCT FROM y
        return not (text.tokens[i - 1].says("distinct") and text.tokens[i - 2].says("is", "not"))
    return True


def _select(text: Text, begin: int, end: int) -> Select:
    tokens, at, distinct = text.tokens, begin + 1, None
    if tokens[at].says("all"):
        at += 1
    elif tokens[at].says("distinct"):
        stop = at + 1
        if tokens[stop].says("on") and tokens[stop + 1].says("("):
            stop = text.closing[stop + 1] + 1
        distinct, at = (at, stop), stop
    stop = _find(text, at, end, lambda i: _starts_clause(text, i))
    parts = text.split(at, stop, ",")
    if not parts:
        text.fail("SELECT has no columns", begin)
    items = tuple(_item(text, *part) for part in parts)
    found: dict[str, Span] = {}
    order: list[str] = []
    while stop < end:
        word = tokens[stop].text
        start = stop + 1 + (word == "group")
        stop = _find(text, start, end, lambda i: _starts_clause(text, i))
        clause = "GROUP BY" if word == "group" else word.upper()
        if word in found:
            text.fail(f"{clause} stands twice", start - 1)
        if order and _CLAUSES.index(word) < _CLAUSES.index(order[-1]):
            text.fail(f"{clause} stands before {order[-1].upper()}", start - 1)
        order.append(word)
        found[word] = _filled(text, clause, start, stop)
    return Select(
        (begin, end),
        items,
        distinct,
        read_source(text, *found["from"], read_query) if "from" in found else None,
        found.get("where"),
        found.get("group"),
        found.get("having"),
        _windows(text, *found["window"]) if "window" in found else {},
        found.get("qualify"),
    )


def _windows(text: Text, begin: int, end: int) -> dict[str, Span]:
    found: dict[str, Span] = {}
    for start, stop in text.split(begin, end, ","):
        named = start + 3 < stop and text.tokens[start].names and text.tokens[start + 1].says("as")
        if not named or text.closing.get(start + 2) != stop - 1:
            text.fail("name AS (PARTITION BY ... ORDER BY ...) was expected", start, stop)
        name = text.tokens[start].text
        if name in found:
            text.fail(f"window '{name}' is defined twice", start)
        found[name] = (start + 3, stop - 1)
    return found


def _item(text: Text, begin: int, end: int) -> Item:
    tokens = text.tokens
    if begin >= end:
        text.fail("a column was expected", begin)
    if tokens[begin].says("*"):
        return Item((begin, end), star=_star(text, None, begin + 1, end))
    if end - begin >= 3 and tokens[begin].names and tokens[begin + 1].says("."):
        if tokens[begin + 2].says("*"):
            return Item((begin, end), star=_star(text, tokens[begin].text, begin + 3, end))
    if end - begin >= 3 and tokens[end - 2].says("as") and tokens[end - 1].names:
        return Item((begin, end - 2), tokens[end - 1].text)
    last, before = tokens[end - 1], tokens[end - 2]
    if last.says("nulls") and before.says("ignore", "respect"):
        return Item((begin, end))
    if last.text.rstrip("s") in _UNITS and before.kind == "string":
        if tokens[end - 3].says("interval"):  # INTERVAL '1' HOUR
            return Item((begin, end))
    if end - begin >= 2 and last.names and _ends_expression(before) and last.text != "end":
        return Item((begin, end - 1), last.text)
    return Item((begin, end))


_NOT_ENDS = {
    "and", "or", "not", "is", "like", "ilike", "in", "between", "similar", "to", "when", "then",
    "else", "case", "interval", "date", "time", "timestamp", "collate", "at", "zone", "distinct",
    "over", "from", "double", "div", "escape",
}  # fmt: skip

_UNITS = {
    "century", "decade", "year", "quarter", "month", "week", "day", "hour", "minute", "second",
    "millisecond", "microsecond", "nanosecond",
}  # fmt: skip


def _ends_expression(token: Token) -> bool:
    """Whether an alias without AS may follow a token."""
    if token.kind == "symbol":
        return token.text in (")", "]", "}")
    return token.kind != "word" or token.text not in _NOT_ENDS


def _star(text: Text, alias: str | None, at: int, end: int) -> Star:
    exclude: tuple[str, ...] = ()
    replaced: list[tuple[str, Span]] = []
    while at < end:
        word = text.tokens[at]
        if word.says("exclude", "except"):
            if text.tokens[at + 1].says("("):
                exclude, at = names_in(text, at + 1), text.closing[at + 1] + 1
            elif text.tokens[at + 1].names:
                exclude, at = (text.tokens[at + 1].text,), at + 2
            else:
                text.fail("EXCLUDE (column, ...) was expected", at)
        elif word.says("replace") and text.tokens[at + 1].says("("):
            for begin, stop in text.split(at + 2, text.closing[at + 1], ","):
                item = _item(text, begin, stop)
                if item.alias is None:
                    text.fail("REPLACE (expression AS column) was expected", begin, stop)
                replaced.append((item.alias, item.span))
            at = text.closing[at + 1] + 1
        else:
            text.fail("only EXCLUDE (...) and REPLACE (...) may follow *", at, end)
    return Star(alias, exclude, tuple(replaced))


def conjuncts(text: Text, begin: int, end: int) -> list[Span]:
    """The parts between the ANDs of a condition; one with an OR outside of brackets is one part."""
    tokens = text.tokens
    parts, start, i, between, cases = [], begin, begin, 0, 0
    while i < end:
        token = tokens[i]
        if token.says("case"):
            cases += 1
        elif token.says("end"):
            cases -= 1
        elif cases == 0 and token.says("or"):
            return [(begin, end)]
        elif cases == 0 and token.says("between"):
            between += 1
        elif cases == 0 and token.says("and"):
            if between:
                between -= 1
            else:
                parts.append((start, i))
                start = i + 1
        i = text.closing.get(i, i) + 1
    parts.append((start, end))
    for a, b in parts:
        if a >= b:
            text.fail("a condition was expected", max(begin, a - 1))
    return parts
