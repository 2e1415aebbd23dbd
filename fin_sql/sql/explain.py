"""A plan as text: one line a node, the inputs below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fin_sql.sql.arrange import join_plan, window_lie
from fin_sql.sql.lower import Counted
from fin_sql.sql.plan import AsofJoin, KernelWindow, Node, Relational


def explained(
    node: Node, layouts: Any, counted: Mapping[int, Counted] | None = None, depth: int = 0
) -> str:
    """The lines of a node and its inputs.

    Args:
        node: the root.
        layouts: how tables lie.
        counted: rows and seconds of each node, by its identity.
        depth: of the node.
    """
    line = "  " * depth + node.label()
    if isinstance(node, AsofJoin):
        line += f"  ({join_plan(node, layouts).words()})"
    elif isinstance(node, KernelWindow):
        lie = window_lie(node, layouts)
        line += f"  (order: {lie.known}{', looks ahead' if node.looks_ahead else ''})"
    elif isinstance(node, Relational) and node.ordered:
        line += "  (keeps the order of its first input)"
    if counted is not None:
        found = counted.get(id(node), Counted())
        below = sum(counted.get(id(part), Counted()).seconds for part in node.inputs)
        line += f"  [{found.rows:,} rows, {max(0.0, found.seconds - below):.3f} s]"
    parts = [explained(part, layouts, counted, depth + 1) for part in node.inputs]
    return "\n".join([line, *parts])
