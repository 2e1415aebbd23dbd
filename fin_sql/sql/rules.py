"""RULES: what makes a plan cheaper and leaves its rows as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import pyarrow as pa

from fin_sql.exec.fragment import Evaluator
from fin_sql.sql.arrange import total_order
from fin_sql.sql.bounds import VOLATILE, Params, bounded_scan, pruned_files, right_bounded
from fin_sql.sql.plan import (
    Aggregate,
    AsofJoin,
    Filter,
    KernelWindow,
    Limit,
    Node,
    Output,
    Project,
    Relational,
    Scan,
)
from fin_sql.sql.text import Text, quoted

Rule = Callable[[Node, Evaluator, Params], Node]


def each(node: Node, change: Callable[[Node], Node]) -> Node:
    """Change a plan from its leaves to its root."""
    inputs = [each(part, change) for part in node.inputs]
    same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
    return change(node if same else node.with_inputs(inputs))


def substituted(sql: str, names: Mapping[str, str]) -> str:
    """An expression in other names of its columns."""
    if all(old == new for old, new in names.items()):
        return sql
    text, parts, cursor = Text(sql), [], 0
    for i, token in enumerate(text.tokens):
        follows = i and text.tokens[i - 1].says(".")
        if token.names and token.text in names and not follows and not text.tokens[i + 1].says("("):
            parts += [sql[cursor : token.begin], quoted(names[token.text])]
            cursor = token.end
    return "".join([*parts, sql[cursor:]])


# ---------------------------------------------------------------- filters


def push_filters(node: Node, evaluator: Evaluator, params: Params) -> Node:
    """Filter before joins and windows, where that leaves the same rows.

    Conditions on left columns go below the left side of an ASOF JOIN, those on its keys below both;
    conditions on other right columns stay: they filter what was matched. Below a window go those on
    its PARTITION BY alone.
    """
    return each(node, lambda n: _pushed(n) if isinstance(n, Filter) else n)


def _pushed(node: Filter) -> Node:
    below, uses = node.input, set(node.uses)
    names = {token.text for token in Text(node.sql).tokens}
    if not uses or names & VOLATILE:
        return node
    if isinstance(below, Project):
        bare = {o.name: o.uses[0] for o in below.outputs if o.bare}
        if uses <= set(bare):
            moved = {name: bare[name] for name in uses}
            sql = substituted(node.sql, moved)
            inner = Filter(below.input, sql, tuple(sorted(moved.values())))
            return replace(below, input=_pushed(inner))
    elif isinstance(below, KernelWindow) and uses <= set(below.partition_by):
        return replace(below, input=_pushed(replace(node, input=below.input)))
    elif isinstance(below, Filter) and not isinstance(below.input, Scan):
        lower = _pushed(replace(node, input=below.input))
        if not isinstance(lower, Filter):
            return _pushed(replace(below, input=lower))
    elif isinstance(below, AsofJoin) and uses <= set(below.left.schema.names):
        left = _pushed(Filter(below.left, node.sql, node.uses))
        keys = dict(below.by)
        if uses <= set(keys):
            moved = {name: keys[name] for name in uses}
            types = all(
                below.left.schema.field(a).type == below.right.schema.field(b).type
                for a, b in moved.items()
            )
            if types:
                sql = substituted(node.sql, moved)
                right = _pushed(Filter(below.right, sql, tuple(sorted(moved.values()))))
                return replace(below, left=left, right=right)
        return replace(below, left=left)
    return node


# ---------------------------------------------------------------- windows


def fuse_windows(node: Node, evaluator: Evaluator, params: Params) -> Node:
    """Compute windows over the same keys and order in one pass, if none reads another."""

    def fused(n: Node) -> Node:
        if isinstance(n, KernelWindow) and isinstance(n.input, Project):
            return _below_project(n, n.input, fused)
        below = n.inputs[0] if isinstance(n, KernelWindow) else None
        if not isinstance(n, KernelWindow) or not isinstance(below, KernelWindow):
            return n
        same = (n.partition_by, n.order_by) == (below.partition_by, below.order_by)
        made = {call.name for call in below.calls}
        if not same or any(made & {*call.args} for call in n.calls):
            return n
        return replace(below, calls=(*below.calls, *n.calls), types=(*below.types, *n.types))

    return each(node, fused)


def _below_project(node: KernelWindow, project: Project, fused: Callable[[Node], Node]) -> Node:
    """The same window below a choice of columns, where it meets another one."""
    below = project.input
    if not isinstance(below, KernelWindow) or not all(o.bare for o in project.outputs):
        return node
    source = {o.name: o.uses[0] for o in project.outputs}
    taken, calls = set(below.schema.names), []
    for call in node.calls:
        name = call.name
        while name in taken:
            name += "_"
        taken.add(name)
        calls.append(replace(call, args=tuple(source[a] for a in call.args), name=name))
    lower = KernelWindow(
        below,
        tuple(calls),
        node.types,
        tuple(source[name] for name in node.partition_by),
        tuple(source[name] for name in node.order_by),
    )
    whole = fused(lower)
    if whole is lower:
        return node
    more = (Output(c.name, None, (new.name,)) for c, new in zip(node.calls, calls, strict=True))
    return Project(whole, (*project.outputs, *more), node.schema)


# ---------------------------------------------------------------- what is read


def prune_files(node: Node, evaluator: Evaluator, params: Params) -> Node:
    """Read only the files whose folders a condition on hive columns is true for."""
    return each(node, lambda n: pruned_files(n, evaluator, params) if isinstance(n, Filter) else n)


def bound_scans(node: Node, evaluator: Evaluator, params: Params) -> Node:
    """Read only the part of a table that conditions leave, as far as files tell.

    The time range of the left side of an ASOF JOIN bounds its right side from above (`>=`, `>`), or
    from below (`<=`, `<`); with a tolerance on both ends.
    """

    def changed(n: Node) -> Node:
        if isinstance(n, Filter):
            return bounded_scan(n, evaluator, params)
        return right_bounded(n) if isinstance(n, AsofJoin) else n

    return each(node, changed)


# ---------------------------------------------------------------- order


def settle_order(node: Node, evaluator: Evaluator, params: Params) -> Node:
    """Below GROUP BY put the rows of DataFusion's queries into one order, where they have none.

    Rows of a join, of DISTINCT or of another GROUP BY come as threads happen to give them: they are
    sorted by their first time and then by all columns, from left to right.
    """
    return _settled(node, folded=False)


def _settled(node: Node, *, folded: bool) -> Node:
    keeps = not isinstance(node, Relational) or node.ordered
    below = folded and keeps or isinstance(node, Aggregate)
    inputs = [
        # The right side of an ASOF JOIN and what DataFusion joins are sorted there.
        _settled(part, folded=below and (k == 0 or not isinstance(node, (AsofJoin, Relational))))
        for k, part in enumerate(node.inputs)
    ]
    if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
        node = node.with_inputs(inputs)
    if folded and isinstance(node, Relational) and not node.ordered and not node.settled:
        return _in_one_order(node)
    return node


def _in_one_order(node: Relational) -> Relational:
    fields = [
        f for f in node.schema if not (pa.types.is_nested(f.type) or pa.types.is_null(f.type))
    ]
    is_time = [pa.types.is_timestamp(f.type) or pa.types.is_date(f.type) for f in fields]
    if True in is_time:
        fields.insert(0, fields.pop(is_time.index(True)))
    if not fields:
        return node
    order = ", ".join(quoted(f.name) for f in fields)
    return replace(node, sql=f"SELECT * FROM ({node.sql}) ORDER BY {order}", settled=True)


# ---------------------------------------------------------------- columns


def prune_columns(node: Node, evaluator: Evaluator, params: Params) -> Node:
    """Read and carry only the columns that something above needs."""
    return _pruned(node, set(node.schema.names))


def _pruned(node: Node, needed: set[str]) -> Node:
    if isinstance(node, Scan):
        return replace(node, columns=tuple(c for c in node.columns if c[1] in needed))
    if isinstance(node, Project):
        outputs = tuple(o for o in node.outputs if o.name in needed)
        schema = pa.schema([node.schema.field(o.name) for o in outputs])
        below = _pruned(node.input, {name for o in outputs for name in o.uses})
        return Project(below, outputs, schema)
    if isinstance(node, Filter):
        return replace(node, input=_pruned(node.input, needed | set(node.uses)))
    if isinstance(node, KernelWindow):
        return _pruned_window(node, needed)
    if isinstance(node, AsofJoin):
        keep = tuple(name for name in node.keep if name in needed)
        payload = tuple(name for name in node.payload if name in needed)
        left = {*keep, node.on[0], *(one for one, _ in node.by)}
        right = {*payload, node.on[1], *(other for _, other in node.by)}
        right |= {node.ties_by} if node.ties_by else set()
        if not total_order(node.right):
            right = set(node.right.schema.names)  # all of them decide between equal times
        return replace(
            node,
            left=_pruned(node.left, left),
            right=_pruned(node.right, right),
            keep=keep,
            payload=payload,
        )
    if isinstance(node, Relational):
        named = [
            (name, _pruned(part, _mentioned(node.sql, name, part))) for name, part in node.named
        ]
        return replace(node, named=tuple(named))
    if isinstance(node, Limit):
        return replace(node, input=_pruned(node.input, needed))
    # The columns of a union go by their place: all of them stay.
    return node.with_inputs([_pruned(part, set(part.schema.names)) for part in node.inputs])


def _pruned_window(node: KernelWindow, needed: set[str]) -> Node:
    kept = [(c, t) for c, t in zip(node.calls, node.types, strict=True) if c.name in needed]
    if not kept:
        return _pruned(node.input, needed)
    below = needed - {c.name for c in node.calls}
    below |= {*node.partition_by, *node.order_by, *(a for c, _ in kept for a in c.args)}
    if not total_order(node.input):
        below = set(node.input.schema.names)  # all of them decide between equal times
    return replace(
        node,
        input=_pruned(node.input, below),
        calls=tuple(c for c, _ in kept),
        types=tuple(t for _, t in kept),
    )


def _mentioned(sql: str, name: str, node: Node) -> set[str]:
    tokens = Text(sql).tokens
    for i, token in enumerate(tokens):
        if token.text == name and tokens[i - 1].says("from") and tokens[i - 2].says("*"):
            return set(node.schema.names)
    return {token.text for token in tokens if token.names} & set(node.schema.names)


RULES: tuple[Rule, ...] = (
    push_filters,
    fuse_windows,
    prune_files,
    bound_scans,
    settle_order,
    prune_columns,
)


def improved(
    node: Node, evaluator: Evaluator, params: Params, rules: Collection[Rule] = RULES
) -> Node:
    """The plan after all rules, one after the other."""
    for rule in rules:
        node = rule(node, evaluator, params)
    return node
