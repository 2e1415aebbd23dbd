"""A reader of FROM: tables, joins, and the clauses of ASOF JOIN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fin_sql.sql.pivot import pivoted_at, starts_pivot
from fin_sql.sql.syntax import Asof, Derived, Foreign, Joined, Named, Query, Source
from fin_sql.sql.text import Text

ReadQuery = Callable[[Text, int, int], Query]

_KINDS = ("inner", "left", "right", "full", "cross", "natural", "outer", "semi", "anti", "asof")
_CLAUSES = ("match_condition", "on", "using", "tolerance", "ties", "wait", "now")


def read_source(text: Text, begin: int, end: int, query: ReadQuery) -> Source:
    """Read what stands behind FROM.

    Raises:
        SqlError: with the place underlined.
    """
    chains = [_chain(text, a, b, query) for a, b in text.split(begin, end, ",")]
    if len(chains) == 1:
        return chains[0]
    commas = tuple(((b.span[0] - 1, b.span[0]), (b.span[1], b.span[1])) for b in chains[1:])
    return Joined((begin, end), tuple(chains), commas)


def _starts_join(text: Text, i: int) -> bool:
    """Whether a token is the first of `[ASOF] [LEFT ...] JOIN`."""
    while text.tokens[i].says(*_KINDS):
        i += 1
    return text.tokens[i].says("join")


def _starts_clause(text: Text, i: int) -> bool:
    token = text.tokens[i]
    if not token.says(*_CLAUSES) or text.tokens[i - 1].says(".", "as"):
        return False
    if token.text in ("now", "on"):  # now() is a function
        return token.text == "on" or not text.tokens[i + 1].says("(")
    return True


def _chain(text: Text, begin: int, end: int, query: ReadQuery) -> Source:
    if begin >= end:
        text.fail("a table was expected", begin)
    left, at = _factor(text, begin, end, query)
    while at < end:
        if not _starts_join(text, at):
            text.fail("a join, a clause or the end was expected", at)
        join = at
        while not text.tokens[at].says("join"):
            at += 1
        kinds = [token.text for token in text.tokens[join:at]]
        if at + 1 >= end:
            text.fail("a table was expected behind JOIN", at)
        right, behind = _factor(text, at + 1, end, query)
        if "asof" in kinds:
            asof = Asof((begin, behind), left, right, _kind(text, join, kinds))
            left, at = _clauses(text, asof, behind, end)
        else:
            stop = behind
            while stop < end and not _starts_join(text, stop):
                stop = text.closing.get(stop, stop) + 1
            words = ((join, at + 1), (behind, stop))
            if isinstance(left, Joined):
                left = Joined((begin, stop), (*left.parts, right), (*left.words, words))
            else:
                left = Joined((begin, stop), (left, right), (words,))
            at = stop
    return left


def _kind(text: Text, join: int, kinds: list[str]) -> str | None:
    end = join + len(kinds)
    if kinds[0] != "asof":
        text.fail(f"write ASOF {kinds[0].upper()} JOIN", join, end + 1)
    rest = kinds[1:]
    if rest in (["right"], ["right", "outer"]):
        text.fail("ASOF RIGHT JOIN is not known: swap the sides and write ASOF JOIN", join, end + 1)
    if rest in (["full"], ["full", "outer"]):
        msg = (
            "ASOF FULL JOIN is not known: write ASOF LEFT JOIN, and UNION ALL the right rows "
            "that are wanted"
        )
        text.fail(msg, join, end + 1)
    if "semi" in rest:
        text.fail("write ASOF INNER JOIN and select the left columns", join, end + 1)
    if "anti" in rest:
        msg = "write ASOF LEFT JOIN and WHERE a right key IS NULL"
        text.fail(msg, join, end + 1)
    if rest in ([], ["left"], ["left", "outer"], ["inner"]):
        return rest[0] if rest else None
    text.fail("ASOF [LEFT | INNER] JOIN was expected", join, end + 1)


def _expression(text: Text, begin: int, end: int) -> int:
    """Where an expression ends: before a clause, a join or the end."""
    i = begin
    while i < end and not _starts_clause(text, i) and not _joins(text, i):
        i = text.closing.get(i, i) + 1
    return i


def _joins(text: Text, i: int) -> bool:
    token = text.tokens[i]
    called = token.says("left", "right") and text.tokens[i + 1].says("(")
    return not called and token.says("join", *_KINDS) and _starts_join(text, i)


def _clauses(text: Text, asof: Asof, at: int, end: int) -> tuple[Asof, int]:
    tokens = text.tokens
    begin = at
    seen: set[str] = set()
    while at < end and _starts_clause(text, at):
        word, start = tokens[at].text, at
        if word in seen or (word == "now" and "wait" in seen):
            text.fail(f"{word.upper()} stands twice", at)
        seen.add("wait" if word == "now" else word)
        found: dict[str, Any] = {}
        at += 1
        if word in ("match_condition", "using"):
            if not tokens[at].says("("):
                text.fail(f"{word.upper()} (...) was expected", start)
            close = text.closing[at]
            if word == "using":
                found["using"] = _names(text, at + 1, close)
            else:
                found["match"] = (at + 1, close)
            at = close + 1
        elif word in ("on", "tolerance"):
            stop = _expression(text, at, end)
            if stop == at:
                text.fail(f"{word.upper()} has nothing behind it", start)
            found[word] = (at, stop)
            at = stop
        elif word == "ties":
            if not tokens[at].says("last", "first", "error"):
                text.fail("TIES LAST, TIES FIRST or TIES ERROR was expected", start, at + 1)
            found["ties"] = tokens[at].text
            at += 1
            if tokens[at].says("by"):
                stop = _expression(text, at + 1, end)
                found["ties_by"] = (at + 1, stop)
                at = stop
        elif word == "wait" and tokens[at].says("at") and tokens[at + 1].says("most"):
            stop = _expression(text, at + 2, end)
            found["wait"] = (at + 2, stop)
            at = stop
        elif word == "now":
            found["wait"] = "now"
        asof = replace(asof, **found)
    if asof.on and asof.using:
        text.fail("ON and USING exclude each other", begin, at)
    if not asof.match and not asof.on and not asof.using:
        text.fail("MATCH_CONDITION (left.ts >= right.ts) was expected", begin)
    return replace(asof, span=(asof.span[0], at)), at


def _names(text: Text, begin: int, end: int) -> tuple[str, ...]:
    found = []
    for start, stop in text.split(begin, end, ","):
        if stop - start != 1 or not text.tokens[start].names:
            text.fail("USING takes column names", start, stop)
        found.append(text.tokens[start].text)
    return tuple(found)


def _factor(text: Text, begin: int, end: int, query: ReadQuery) -> tuple[Source, int]:
    source, at = _plain_factor(text, begin, end, query)
    while at < end and starts_pivot(text, at):
        behind = text.closing[at + 1] + 1
        alias, after = _alias(text, behind, end)
        source, at = pivoted_at(text, source, at, alias, (begin, after)), after
    return source, at


def _plain_factor(text: Text, begin: int, end: int, query: ReadQuery) -> tuple[Source, int]:
    tokens = text.tokens
    token = tokens[begin]
    if token.kind == "string":
        alias, at = _alias(text, begin + 1, end)
        stem = token.text.rstrip("/").rsplit("/", 1)[-1].split(".")[0].split("*")[0]
        return Named((begin, at), token.text, alias or stem, path=True), at
    if token.says("("):
        close = text.closing[begin]
        if tokens[begin + 1].says("select", "with", "values", "("):
            inner = _inside(text, begin + 1, close, query)
            at = close + 1
            start = at
            alias, at = _alias(text, at, end)
            columns: tuple[str, ...] = ()
            if alias and at < end and tokens[at].says("("):
                columns, at = _names(text, at + 1, text.closing[at]), text.closing[at] + 1
            if isinstance(inner, Query):
                return Derived((begin, at), inner, alias or f"query_{start}", columns), at
            return inner, at
        return _chain(text, begin + 1, close, query), close + 1
    if not token.names or token.says("lateral", "unnest", "table"):
        return _foreign(text, begin, end)
    at = begin + 1
    while at + 1 < end and tokens[at].says(".") and tokens[at + 1].names:
        at += 2
    if at < end and tokens[at].says("(", "tablesample"):
        return _foreign(text, begin, end)
    name, simple = tokens[at - 1].text, at == begin + 1
    alias, after = _alias(text, at, end)
    if after < end and tokens[after].says("(", "tablesample", "with"):
        return _foreign(text, begin, end)
    return Named((begin, after), name, alias or name, simple=simple), after


def _inside(text: Text, begin: int, end: int, query: ReadQuery) -> Query | Source:
    """What stands in brackets: a query, or a join that begins with a bracket."""
    if text.tokens[begin].says("("):
        after = text.closing[begin] + 1
        if after < end and (_starts_join(text, after) or text.tokens[after].names):
            if not text.tokens[after].says("union", "intersect", "except", "order", "limit"):
                return _chain(text, begin, end, query)
    return query(text, begin, end)


def _foreign(text: Text, begin: int, end: int) -> tuple[Source, int]:
    at = begin
    while at < end and not _starts_clause(text, at) and not _joins(text, at):
        at = text.closing.get(at, at) + 1
    last = text.tokens[at - 1]
    if last.says(")") and at - 2 > begin:  # alias (column, ...)
        opening = next(i for i, close in text.closing.items() if close == at - 1)
        last = text.tokens[opening - 1] if opening > begin + 1 else last
    return Foreign((begin, at), last.text if last.names else f"table_{begin}"), at


def _alias(text: Text, at: int, end: int) -> tuple[str | None, int]:
    tokens = text.tokens
    if at < end and tokens[at].says("as"):
        if not (at + 1 < end and tokens[at + 1].names):
            text.fail("a name was expected behind AS", at)
        return tokens[at + 1].text, at + 2
    if at < end and tokens[at].kind == "quoted":
        return tokens[at].text, at + 1
    if at < end and tokens[at].kind == "word" and not _reserved(text, at):
        return tokens[at].text, at + 1
    return None, at


def _reserved(text: Text, at: int) -> bool:
    word = text.tokens[at]
    return (
        starts_pivot(text, at)
        or _starts_join(text, at)
        or word.says(*_CLAUSES, *_KINDS, "join", "tablesample", "with")
    )
