"""PIVOT: rows of a source become columns, by aggregates over the rows of each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fin_sql.exec.aggregate import WINDOW_START
from fin_sql.sql.groups import GroupRewriter, Groups, Key, NotFoldedError
from fin_sql.sql.names import Written
from fin_sql.sql.plan import Node
from fin_sql.sql.scope import Relation, relation
from fin_sql.sql.syntax import Item, Pivoted, Source, Span
from fin_sql.sql.text import Text, quoted

if TYPE_CHECKING:
    from fin_sql.sql.bind import Binder

FORM = (
    "PIVOT (aggregate [AS name], ... FOR column IN (value [AS name], ...) [GROUP BY column, ...])"
)


def starts_pivot(text: Text, at: int) -> bool:
    """Whether `PIVOT (` stands at a token."""
    return text.tokens[at].says("pivot") and text.tokens[at + 1].says("(")


def pivoted_at(text: Text, source: Source, at: int, alias: str | None, span: Span) -> Pivoted:
    """Read the brackets behind PIVOT.

    Raises:
        SqlError: with the place underlined.
    """
    begin, end = at + 2, text.closing[at + 1]
    tokens = text.tokens
    stop = _word(text, begin, end, "for")
    inside = _word(text, stop, end, "in")
    if stop == end or inside == end or not tokens[inside + 1].says("("):
        text.fail(f"{FORM} was expected", at, end + 1)
    close = text.closing[inside + 1]
    aggregates = tuple(_item(text, part) for part in text.split(begin, stop, ","))
    values = tuple(_item(text, part) for part in text.split(inside + 2, close, ","))
    if not aggregates or not values or stop + 1 == inside:
        text.fail(f"{FORM} was expected", at, end + 1)
    by: tuple[Item, ...] = ()
    if close + 1 < end:
        if not (tokens[close + 1].says("group") and tokens[close + 2].says("by")):
            text.fail("GROUP BY or the closing bracket was expected", close + 1)
        by = tuple(_item(text, part) for part in text.split(close + 3, end, ","))
    own = getattr(source, "alias", None)
    return Pivoted(
        span, source, aggregates, (stop + 1, inside), values, by, alias or own or f"pivot_{at}"
    )


def _word(text: Text, begin: int, end: int, word: str) -> int:
    i = begin
    while i < end and not text.tokens[i].says(word):
        i = text.closing.get(i, i) + 1
    return min(i, end)


def _item(text: Text, span: Span) -> Item:
    begin, end = span
    if begin >= end:
        text.fail("an expression was expected", begin)
    tokens = text.tokens
    named = end - begin >= 2 and tokens[end - 1].names
    if named and tokens[end - 2].says("as"):
        return Item((begin, end - 2), tokens[end - 1].text)
    if named and not tokens[end - 2].says(".", "-", "+") and tokens[end - 1].text != "end":
        return Item((begin, end - 1), tokens[end - 1].text)
    return Item(span)


def bind_pivot(binder: Binder, pivot: Pivoted, rows: Relation) -> Relation:
    """One row for each group of the columns that stay, with a column for each value."""
    text = binder.text
    base = binder.rewriter(rows)
    groups = Groups(text, base, binder.describe, binder.constant, binder.interval)
    key = base.write(pivot.key)
    outputs: list[tuple[str, Written]] = []
    try:
        for item in pivot.group_by:
            groups.take_one(item.span)
        if not pivot.group_by:
            used = key.uses.union(*(base.write(item.span).uses for item in pivot.aggregates))
            for column in rows.star():
                if column.flat not in used:
                    written = Written(quoted(column.flat), {column.flat})
                    groups.keys.append(Key(column.flat, written, ()))
                    outputs.append((column.name, written))
        rewriter = GroupRewriter(groups)
        outputs += _kept(text, groups, rewriter, pivot)
        for value in pivot.values:
            constant = text.written(*value.span)
            name = value.alias or _shown(binder.constant(value.span))
            groups.only = Written(f"({key.sql}) IS NOT DISTINCT FROM ({constant})", set(key.uses))
            for item in pivot.aggregates:
                written = rewriter.write(item.span)
                if not written.uses & groups.lifted:
                    text.fail("PIVOT takes aggregates, such as last_value(price)", *item.span)
                several = len(pivot.aggregates) > 1
                word = item.alias or " ".join(text.written(*item.span).split())
                outputs.append((f"{name}_{word}" if several else name, written))
    except NotFoldedError:
        text.fail("PIVOT takes no query in brackets and no GROUPING SETS", *pivot.span)
    names = [name for name, _ in outputs]
    for name in names:
        if names.count(name) > 1:
            text.fail(
                f"two columns of PIVOT are called '{name}': give one another name", *pivot.span
            )
    node: Node = binder.project(groups.build(binder.project), outputs)
    return relation(node, pivot.alias)


def _kept(
    text: Text, groups: Groups, rewriter: GroupRewriter, pivot: Pivoted
) -> list[tuple[str, Written]]:
    """The expressions of GROUP BY, under the names that they have."""
    found = []
    for item in pivot.group_by:
        written, last = rewriter.write(item.span), text.tokens[item.span[1] - 1]
        window = groups.window is not None and written.uses == {WINDOW_START}
        name = WINDOW_START if window else " ".join(text.written(*item.span).split())
        found.append((item.alias or (last.text if last.names else name), written))
    return found


def _shown(value: Any) -> str:
    return "NULL" if value is None else str(value)
