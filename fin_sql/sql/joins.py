"""FROM as a plan: tables, queries, DataFusion's joins, and ASOF JOIN."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.sql.asof import bind_asof
from fin_sql.sql.pivot import bind_pivot
from fin_sql.sql.plan import ORDINAL, Node, Scan, Step, named_columns, renamed
from fin_sql.sql.scope import Column, Relation
from fin_sql.sql.syntax import Asof, Derived, Foreign, Joined, Named, Pivoted, Source
from fin_sql.sql.text import quoted

if TYPE_CHECKING:
    from fin_sql.sql.bind import Binder

_PLAIN_JOINS = {"join": "inner", "inner join": "inner", "left join": "left",
                "left outer join": "left"}  # fmt: skip


def bind_source(binder: Binder, source: Source) -> Relation:
    """What FROM gives, each column under one name of the plan."""
    leaves: list[tuple[Source, Relation]] = []
    _leaves(binder, source, leaves)
    aliases = Counter(relation.columns[0].alias for _, relation in leaves if relation.columns)
    for leaf, relation in leaves:
        if relation.columns and aliases[relation.columns[0].alias] > 1:
            alias = relation.columns[0].alias
            binder.text.fail(f"two tables are called '{alias}'; give one another alias", *leaf.span)
    counts = Counter(column.name for _, relation in leaves for column in relation.columns)
    placed = {leaf.span: _apart(relation, counts) for leaf, relation in leaves}
    return _joined(binder, source, placed)


def _apart(relation: Relation, counts: Counter[str]) -> Relation:
    """The same relation, whose columns that others have too are called alias:name."""
    names = {
        c.flat: f"{c.alias}:{c.name}" if counts[c.name] > 1 else c.name for c in relation.columns
    }
    columns = tuple(Column(c.alias, c.name, names[c.flat]) for c in relation.columns)
    return Relation(renamed(relation.node, names), columns)


def _leaves(binder: Binder, source: Source, found: list[tuple[Source, Relation]]) -> None:
    if isinstance(source, Asof):
        _leaves(binder, source.left, found)
        _leaves(binder, source.right, found)
    elif isinstance(source, Joined):
        for part in source.parts:
            _leaves(binder, part, found)
    else:
        found.append((source, _leaf(binder, source)))


def _named(node: Node, alias: str) -> Relation:
    return Relation(node, tuple(Column(alias, name, name) for name in node.schema.names))


def _leaf(binder: Binder, source: Source) -> Relation:
    if isinstance(source, Pivoted):
        return bind_pivot(binder, source, bind_source(binder, source.source))
    if isinstance(source, Derived):
        node = named_columns(binder.plan(source.query), source.columns, source.alias)
        return _named(node, source.alias)
    if isinstance(source, Foreign):
        node = binder.relational(f"SELECT * FROM {binder.text.written(*source.span)}", {})
        return _named(node, source.alias)
    assert isinstance(source, Named)
    if source.path:
        return _named(_scan(binder.known.open_path(source.name)), source.alias)
    if source.simple and source.name in binder.ctes:
        cte, _ = binder.ctes[source.name]
        if cte.recursive:
            whole = binder.relational(f"SELECT * FROM {quoted(source.name)}", {})
            return _named(whole, source.alias)
        return _named(binder.cte(source.name), source.alias)
    table = binder.known.table(source.name) if source.simple else None
    if table is not None:
        return _named(_scan(table), source.alias)
    written = binder.text.written(*source.span).split()[0]
    try:
        node = binder.relational(f"SELECT * FROM {written}", {})
    except SqlError:
        known = [*binder.known.tables(), *binder.ctes]
        message = str(UnknownNameError("table", source.name, known))
        if not known:
            message += "; ctx.register(name, data) makes one known"
        binder.text.fail(message, *source.span)
    return _named(node, source.alias)


def _scan(table: Any) -> Scan:
    return Scan(table, tuple((name, name) for name in table.schema.names))


def _joined(binder: Binder, source: Source, placed: dict[Any, Relation]) -> Relation:
    if isinstance(source, Asof):
        left = _joined(binder, source.left, placed)
        right = _joined(binder, source.right, placed)
        return bind_asof(binder, source, left, right)
    if isinstance(source, Joined):
        return _by_datafusion(binder, source, [_joined(binder, p, placed) for p in source.parts])
    return placed[source.span]


def _by_datafusion(binder: Binder, source: Joined, parts: list[Relation]) -> Relation:
    """Joins that DataFusion runs; the rows of the first input keep their order."""
    text = binder.text
    whole = parts[0]
    names = [binder.input_name() for _ in parts]
    sql, merged = names[0], dict(whole.merged)
    hidden = set(whole.hidden)
    steps: list[Step] = []
    for part, name, (before, after) in zip(parts[1:], names[1:], source.words, strict=True):
        words = text.written(*before).lower()
        if "natural" in words:
            text.fail("NATURAL JOIN stands beside a form of fin_sql: write USING (...)", *before)
        visible = part.columns
        if "semi" in words or "anti" in words:
            if "right" in words:
                text.fail("swap the sides and write LEFT SEMI or LEFT ANTI JOIN", *before)
            visible = ()
        both = Relation(
            whole.node, (*whole.columns, *part.columns), merged | part.merged, frozenset(hidden)
        )
        sql += f"{'' if words == ',' else ' '}{words} {name}"
        condition = ""
        if after[0] < after[1]:
            clause = text.tokens[after[0]]
            if clause.says("using"):
                if "right" in words or "full" in words:
                    text.fail("USING takes an inner or a left join here: write ON", *after)
                terms = []
                for column in range(after[0] + 2, after[1] - 1, 2):
                    key = text.tokens[column].text
                    one, other = whole.plain(key), part.plain(key)
                    if len(one) != 1 or len(other) != 1:
                        text.fail(f"both sides must have one column '{key}'", column)
                    terms.append(f"{quoted(one[0].flat)} = {quoted(other[0].flat)}")
                    merged[key] = one[0].flat
                    hidden |= {(c.alias, c.name) for c in other}
                condition = " AND ".join(terms)
            elif clause.says("on"):
                written = binder.rewriter(both).write((after[0] + 1, after[1]))
                if written.inputs:
                    text.fail("a query of this kind cannot stand in ON: use a CTE", *after)
                condition = written.sql
            else:
                text.fail("ON or USING was expected", *after)
            sql += f" ON {condition}"
        kind = _PLAIN_JOINS.get(" ".join(words.split()))
        if kind and condition:
            steps.append(Step(kind, condition))
        whole = replace(
            both, columns=(*whole.columns, *visible), merged=merged | part.merged,
            hidden=frozenset(hidden | part.hidden),
        )  # fmt: skip
    shown = ", ".join(quoted(c.flat) for c in whole.columns)
    # Several right rows of one left row have no order of their own: all their columns decide.
    tail = [quoted(c.flat) for c in whole.columns[len(parts[0].columns) :] if _sortable(c, parts)]
    order = ", ".join([ORDINAL, *tail])
    node = binder.relational(
        f"SELECT {shown} FROM {sql} ORDER BY {order}",
        dict(zip(names, (p.node for p in parts), strict=True)),
        ordered=True,
    )
    if len(steps) + 1 == len(parts) == len(node.named):
        node = replace(node, steps=tuple(steps))
    return Relation(node, whole.columns, whole.merged, whole.hidden)


def _sortable(column: Column, parts: list[Relation]) -> bool:
    for part in parts:
        if column.flat in part.node.schema.names:
            return not pa.types.is_nested(part.node.schema.field(column.flat).type)
    return False
