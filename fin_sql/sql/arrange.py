"""Which rows of a plan lie in which order, and what follows for its operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fin_sql.exec.asof import Loop
from fin_sql.exec.order import Verdict
from fin_sql.sql.plan import (
    Aggregate,
    AsofJoin,
    Concat,
    Filter,
    KernelWindow,
    Limit,
    Node,
    Project,
    Relational,
    Scan,
)


@dataclass(frozen=True)
class Lie:
    """How the rows of a node lie with respect to keys and order columns.

    Args:
        verdict: TIME, KEY, RUNS, WITHIN or NONE.
        known: "declared", "found" or "sorted": how we know, or that we must sort.
        total: the rows have an order of their own, which decides between equal ones.
    """

    verdict: Verdict
    known: str
    total: bool = True

    @property
    def keyed(self) -> bool:
        """Whether the rows of each key are in order."""
        return self.verdict is not Verdict.NONE


@dataclass(frozen=True)
class Origin:
    """The table that columns come from unchanged, row for row."""

    scan: Scan
    columns: tuple[str, ...]


def origin(node: Node, columns: tuple[str, ...]) -> Origin | None:
    """Follow columns down to the table that they are of, along nodes that keep the order."""
    while True:
        if isinstance(node, Scan):
            names = {flat: name for name, flat in node.columns}
            if not set(columns) <= set(names):
                return None
            return Origin(node, tuple(names[c] for c in columns))
        if isinstance(node, Project):
            bare = {o.name: o.uses[0] for o in node.outputs if o.bare}
            if not set(columns) <= set(bare):
                return None
            columns = tuple(bare[c] for c in columns)
            node = node.input
        elif isinstance(node, (Filter, Limit, KernelWindow)):
            node = node.inputs[0]
            if not set(columns) <= set(node.schema.names):
                return None
        elif isinstance(node, AsofJoin):
            node = node.left
            if not set(columns) <= set(node.schema.names):
                return None
        else:
            return None


def total_order(node: Node) -> bool:
    """Whether the rows come in an order that is always the same."""
    while not isinstance(node, (Scan, Relational)):
        if len(node.inputs) > 1 and not isinstance(node, AsofJoin):
            return all(total_order(part) for part in node.inputs)
        node = node.inputs[0]
    return isinstance(node, Scan) or node.ordered or node.settled


def lie(node: Node, keys: tuple[str, ...], columns: tuple[str, ...], layouts: Any) -> Lie:
    """How rows lie, by what is declared, or by a look at the order columns of the table."""
    total = total_order(node)
    found = origin(node, (*keys, *columns))
    if found is None:
        found, keys = origin(node, columns), ()
    if found is None:
        return Lie(Verdict.NONE, "sorted", total)
    own_keys, own = found.columns[: len(keys)], found.columns[len(keys) :]
    declared = found.scan.table.order.columns
    if declared[: len(own)] == own:
        return Lie(Verdict.TIME, "declared", total)
    prefix = declared[: len(own_keys)]
    if own_keys and set(prefix) == set(own_keys) and len(set(own_keys)) == len(own_keys):
        if declared[len(prefix) : len(prefix) + len(own)] == own and prefix == own_keys:
            return Lie(Verdict.KEY, "declared", total)
    if getattr(found.scan.table.source, "grows", False):  # two looks may see different rows
        return Lie(Verdict.NONE, "sorted", total)
    verdict = layouts.of(found.scan.table.source, own_keys, own).verdict
    if verdict is Verdict.NONE:
        return Lie(verdict, "sorted", total)
    return Lie(verdict, "found", total)


@dataclass(frozen=True)
class JoinPlan:
    """How an ASOF JOIN runs: its loop, and what is sorted for it."""

    loop: Loop
    left: Lie
    right: Lie

    def words(self) -> str:
        """For EXPLAIN."""
        return f"loop {self.loop}, left order: {self.left.known}, right order: {self.right.known}"


def join_plan(node: AsofJoin, layouts: Any) -> JoinPlan:
    """Choose the loop of a join by how its sides lie."""
    left_keys = tuple(one for one, _ in node.by)
    right_keys = tuple(other for _, other in node.by)
    columns = (node.on[1], node.ties_by) if node.ties_by else (node.on[1],)
    right = lie(node.right, right_keys, columns, layouts)
    left = lie(node.left, left_keys, (node.on[0],), layouts)
    backward = node.direction in (">=", ">")
    merges = backward or node.tolerance_ns is not None
    if merges and left.verdict is Verdict.TIME and right.verdict is Verdict.TIME:
        return JoinPlan("time", left, right)
    if backward and node.by and left.verdict is Verdict.KEY and right.verdict is Verdict.KEY:
        return JoinPlan("key", left, right)
    if left.known == "sorted":  # the index takes left rows as they come
        left = Lie(left.verdict, "any", left.total)
    return JoinPlan("index", left, right)


def window_lie(node: KernelWindow, layouts: Any) -> Lie:
    """How the input of a window lies."""
    return lie(node.input, node.partition_by, node.order_by, layouts)


def endless(node: Node) -> bool:
    """Whether a plan reads a table that never ends."""
    if isinstance(node, Scan):
        return getattr(node.table.source, "event_time", None) is not None
    return any(endless(part) for part in node.inputs)


def arrives(node: Node) -> bool:
    """Whether rows of a plan come as they arrive, in no order of time."""
    if isinstance(node, Scan):
        return bool(getattr(node.table.source, "arrival", False))
    return any(arrives(part) for part in node.inputs)


def event_times(node: Node) -> frozenset[str]:
    """The columns of an endless plan that hold the event time, in whose order its rows come."""
    if isinstance(node, Scan):
        time = getattr(node.table.source, "event_time", None)
        time = None if arrives(node) else time
        return frozenset(flat for name, flat in node.columns if name == time)
    if isinstance(node, Concat):
        shared: set[str] = set(node.schema.names)
        for part in node.parts:
            places = map(part.schema.names.index, event_times(part))
            shared &= {node.schema.names[k] for k in places}
        return frozenset(shared)
    below = event_times(node.inputs[0]) if node.inputs else frozenset()
    if isinstance(node, Project):
        return frozenset(o.name for o in node.outputs if o.bare and o.uses[0] in below)
    if isinstance(node, Aggregate):
        windowed = node.window is not None and node.window.time in below
        return frozenset({"window_start"}) if windowed else frozenset()
    return below & frozenset(node.schema.names)
