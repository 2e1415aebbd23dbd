"""SELECT with aggregates: folded in our own operator, or run by DataFusion as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fin_sql.sql.arrange import endless
from fin_sql.sql.groups import GroupRewriter, Groups, NotFoldedError
from fin_sql.sql.names import Rewriter
from fin_sql.sql.plan import ORDINAL, Filter, Node
from fin_sql.sql.scope import Relation
from fin_sql.sql.syntax import Query, Select, Span
from fin_sql.sql.text import quoted

if TYPE_CHECKING:
    from fin_sql.sql.bind import Binder


def fold_groups(binder: Binder, select: Select, query: Query, relation: Relation) -> Node | None:
    """GROUP BY in our own operator; None where DataFusion runs it as a whole."""
    rows = binder.rewriter(relation)
    groups = Groups(binder.text, rows, binder.describe, binder.constant, binder.interval)
    try:
        if select.group_by:
            groups.take(select.group_by, select.items)
        if any(item.star for item in select.items):
            return None
        rewriter = GroupRewriter(groups)
        outputs = binder.outputs(select, rewriter.relation, rewriter)
        rewriter.meanings = {name: written for name, written, _ in outputs}
        having = rewriter.write(select.having) if select.having else None
        order = binder.order_terms(query, rewriter, outputs)
    except NotFoldedError:
        return None
    kept = endless(relation.node) and not groups.others  # for DataFusion all rows are too many
    if not groups.worthwhile and not kept:
        return None
    node: Node = groups.build(binder.project)
    if having and having.subquery:
        names = ", ".join(quoted(name) for name in node.schema.names)
        sql = f"SELECT {names} FROM __in WHERE {having.sql} ORDER BY {ORDINAL}"
        node = binder.relational(sql, {"__in": node, **having.inputs}, ordered=True)
    elif having:
        node = Filter(node, having.sql, tuple(sorted(having.uses)))
    return binder.projected(select, query, node, outputs, order, rewriter)


def pass_groups_on(
    binder: Binder, select: Select, query: Query, relation: Relation, outputs: Any
) -> Node:
    """GROUP BY by DataFusion over the rows of a plan."""
    meanings = {name: written for name, written, star in outputs if not star}
    rewriter = binder.rewriter(relation, meanings=meanings)
    named: dict[str, Node] = {"__in": relation.node}
    for _, written, _ in outputs:
        named |= written.inputs
    sql = f"{binder.select_words(select, outputs)} FROM __in"
    if select.group_by:
        sql += f" GROUP BY {_grouping(binder, select.group_by, rewriter)}"
    if select.having:
        having = rewriter.write(select.having)
        named |= having.inputs
        sql += f" HAVING {having.sql}"
    if query.order_by:
        # An output's name is its own in ORDER BY: DataFusion resolves it.
        plain = binder.rewriter(relation)
        sql += f" ORDER BY {plain.write(query.order_by).sql}"
    node = binder.relational(sql + binder.limit_words(query), named)
    rounds = any(
        written.rounds and pa.types.is_floating(node.schema.field(name).type)
        for name, written, _ in outputs
    )
    if rounds and binder.known.ours.deterministic:
        msg = (
            "SET deterministic = on: DataFusion would run this GROUP BY, and its sums depend on "
            "threads; write it without GROUPING SETS and queries in brackets, or SET it off"
        )
        binder.text.fail(msg, *select.span)
    return replace(node, note="not bit-stable" if rounds else "")


def _grouping(binder: Binder, span: Span, rewriter: Rewriter) -> str:
    parts = []
    for part in binder.text.split(*span, ","):
        token = binder.text.tokens[part[0]]
        single = part[1] - part[0] == 1 and token.says("all")
        parts.append("ALL" if single else rewriter.write(part).sql)
    return ", ".join(parts)
