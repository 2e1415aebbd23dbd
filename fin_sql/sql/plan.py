"""A query as a tree of nodes: what DataFusion evaluates, and our operators between it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import pyarrow as pa

from fin_sql.errors import SqlError
from fin_sql.exec.bounds import Bounds
from fin_sql.exec.calls import Call
from fin_sql.exec.lookahead import rows_ahead
from fin_sql.exec.time_windows import TimeWindow
from fin_sql.registry import KERNELS


class Node(Protocol):
    """A relation: rows of one schema, in an order. Nodes are frozen dataclasses."""

    @property
    def schema(self) -> pa.Schema:
        """The columns that it gives."""

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What it reads."""

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        """The same node over others of the columns that it needs."""

    def label(self) -> str:
        """Its line of EXPLAIN."""


class OverOne:
    """A node that reads one other, its field `input`."""

    input: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        return replace(self, input=inputs[0])  # type: ignore[type-var,return-value]


@dataclass(frozen=True)
class Scan:
    """Columns of a table.

    Args:
        table: whose rows they are.
        columns: (name in the table, name in the plan).
        bounds: rows outside may be left out.
        files: how many are read of how many, where a condition leaves some out.
    """

    table: Any
    columns: tuple[tuple[str, str], ...]
    bounds: Bounds = ()
    files: tuple[int, int] | None = None

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([self.table.schema.field(c).with_name(n) for c, n in self.columns])

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        return self

    def label(self) -> str:
        files = f", {self.files[0]} of {self.files[1]} files" if self.files else ""
        bounds = "".join(f", {bound.words()}" for bound in self.bounds)
        return f"Scan {self.table.name} [{', '.join(c for c, _ in self.columns)}]{files}{bounds}"


@dataclass(frozen=True)
class Output:
    """A column of a Project: another one as it is, or an expression of DataFusion.

    Args:
        name: of the column.
        sql: the expression, None for a column as it is.
        uses: the columns of the input that it needs.
    """

    name: str
    sql: str | None
    uses: tuple[str, ...]

    @property
    def bare(self) -> bool:
        """Whether it is a column as it is."""
        return self.sql is None


@dataclass(frozen=True)
class Project(OverOne):
    """Expressions of each row alone."""

    input: Node
    outputs: tuple[Output, ...]
    schema: pa.Schema

    def label(self) -> str:
        shown = [o.sql and f"{o.sql} AS {o.name}" or o.name for o in self.outputs]
        return f"Project [{', '.join(shown)}]"


@dataclass(frozen=True)
class Filter(OverOne):
    """The rows that a condition is true for."""

    input: Node
    sql: str
    uses: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        return self.input.schema

    def label(self) -> str:
        return f"Filter {self.sql}"


@dataclass(frozen=True)
class AsofJoin:
    """Each left row and the right row that it meets; see docs/sql.md.

    Args:
        left: keeps its order.
        right: gives the columns of `payload`.
        on: left and right time.
        by: pairs of key columns.
        direction: ">=", ">", "<=", "<" (left OP right) or "nearest".
        tolerance_ns: the largest distance.
        how: "left" or "inner".
        ties: "last", "first" or "error".
        ties_by: a right column that orders rows of equal time.
        payload: right columns that are put out.
        keep: left columns that are put out.
        wait: of endless inputs: "wait", "now", or at most so many ns.
    """

    left: Node
    right: Node
    on: tuple[str, str]
    by: tuple[tuple[str, str], ...]
    direction: str
    tolerance_ns: int | None
    how: str
    ties: str
    ties_by: str | None
    payload: tuple[str, ...]
    keep: tuple[str, ...]
    wait: Literal["wait", "now"] | int = "wait"

    @property
    def schema(self) -> pa.Schema:
        left = [self.left.schema.field(name) for name in self.keep]
        right = [self.right.schema.field(name).with_nullable(True) for name in self.payload]
        return pa.schema([*left, *right])

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.left, self.right

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        return replace(self, left=inputs[0], right=inputs[1])

    def label(self) -> str:
        left, right = self.on
        near = self.direction == "nearest"
        match = f"NEAREST({left}, {right})" if near else f"{left} {self.direction} {right}"
        keys = "".join(f", {one} = {other}" for one, other in self.by)
        within = "" if self.tolerance_ns is None else f", tolerance {self.tolerance_ns} ns"
        by = f" by {self.ties_by}" if self.ties_by else ""
        wait = {"wait": "", "now": ", now"}.get(str(self.wait), f", wait at most {self.wait} ns")
        return f"AsofJoin {self.how}: {match}{keys}{within}, ties {self.ties}{by}{wait}"


@dataclass(frozen=True)
class KernelWindow(OverOne):
    """All calls over one PARTITION BY and ORDER BY, appended to the input."""

    input: Node
    calls: tuple[Call, ...]
    types: tuple[pa.DataType, ...]
    partition_by: tuple[str, ...]
    order_by: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        found = [
            pa.field(call.name, kind) for call, kind in zip(self.calls, self.types, strict=True)
        ]
        return pa.schema([*self.input.schema, *found])

    @property
    def looks_ahead(self) -> bool:
        """Whether a call needs rows behind its own."""
        return any(
            call.kernel in KERNELS and rows_ahead(KERNELS[call.kernel].bind(**call.params))
            for call in self.calls
        )

    def label(self) -> str:
        calls = ", ".join(_called(call) for call in self.calls)
        by = f"PARTITION BY {', '.join(self.partition_by)} " if self.partition_by else ""
        return f"KernelWindow [{calls}] {by}ORDER BY {', '.join(self.order_by)}"


def _called(call: Call) -> str:
    params = [f"{name} => {value}" for name, value in call.params.items() if name != "order"]
    order = ", ".join(f"{n}{' DESC' * down}" for n, down in call.params.get("order", ()))
    frame = ""
    if call.frame:
        frame = f" {call.frame.unit.upper()} {_bound(call.frame.start)} .. {_bound(call.frame.end)}"
    nulls = " IGNORE NULLS" if call.ignore_nulls else ""
    kept = f" FILTER (WHERE {call.kept})" if call.kept else ""
    by = f" ORDER BY {order}" if order else ""
    inside = f"{', '.join([*call.args, *params])}{by}"
    return f"{call.kernel}({inside}){nulls}{kept}{frame} AS {call.name}"


def _bound(rows: int | None) -> str:
    return "unbounded" if rows is None else str(-rows)


@dataclass(frozen=True)
class Aggregate(OverOne):
    """One row for each group: its key, its window, and what was folded of its rows.

    Args:
        input: gives the rows.
        keys: columns of it.
        window: of time, beside the keys.
        calls: what KernelAggregate computes.
        types: of the calls.
        others: (name, expression) of DataFusion's aggregates over the same groups.
        other_types: of these.
        rounds: the bits of one of these depend on the order that it takes rows in.
    """

    input: Node
    keys: tuple[str, ...]
    window: TimeWindow | None
    calls: tuple[Call, ...]
    types: tuple[pa.DataType, ...]
    others: tuple[tuple[str, str], ...] = ()
    other_types: tuple[pa.DataType, ...] = ()
    rounds: bool = False

    @property
    def schema(self) -> pa.Schema:
        fields = [self.input.schema.field(name) for name in self.keys]
        if self.window:
            kind = self.input.schema.field(self.window.time).type
            fields += [pa.field("window_start", kind), pa.field("window_end", kind)]
        names = [*(call.name for call in self.calls), *(name for name, _ in self.others)]
        kinds = (*self.types, *self.other_types)
        fields += [pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)]
        return pa.schema(fields)

    def label(self) -> str:
        calls = [_called(call) for call in self.calls]
        calls += [f"{sql} AS {name}" for name, sql in self.others]
        by = [*self.keys, *([self.window.words()] if self.window else [])]
        note = "  (not bit-stable)" if self.rounds else ""
        return f"KernelAggregate [{', '.join(calls)}] GROUP BY [{', '.join(by)}]{note}"


@dataclass(frozen=True)
class Step:
    """A join of what stands before it: "inner" or "left", and its condition."""

    kind: str
    on: str


@dataclass(frozen=True)
class Relational:
    """A query that DataFusion runs over whole inputs.

    Args:
        sql: its text, in which the inputs stand under their names.
        named: the inputs; tables of the session are in the text alone.
        schema: what it gives.
        ordered: its first input rides along with a column ORDINAL, which the text sorts by.
        settled: its rows always come in one order: the text sorts by all columns.
        note: what EXPLAIN adds.
        steps: where it is nothing but joins of the first input with each of the others.
    """

    sql: str
    named: tuple[tuple[str, Node], ...]
    schema: pa.Schema
    ordered: bool = False
    note: str = ""
    settled: bool = False
    steps: tuple[Step, ...] = ()

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(node for _, node in self.named)

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        names = [name for name, _ in self.named]
        return replace(self, named=tuple(zip(names, inputs, strict=True)))

    def label(self) -> str:
        return f"DataFusion {' '.join(self.sql.split())}{f'  ({self.note})' if self.note else ''}"


ORDINAL = "__ord"


@dataclass(frozen=True)
class Limit(OverOne):
    """Some rows from the front; the rest is not computed."""

    input: Node
    count: int | None
    offset: int = 0

    @property
    def schema(self) -> pa.Schema:
        return self.input.schema

    def label(self) -> str:
        return f"Limit {'all' if self.count is None else self.count} offset {self.offset}"


@dataclass(frozen=True)
class Concat:
    """UNION ALL: the rows of one input after the other."""

    parts: tuple[Node, ...]
    schema: pa.Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.parts

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        return replace(self, parts=tuple(inputs))

    def label(self) -> str:
        return "Concat"


def renamed(node: Node, names: dict[str, str]) -> Node:
    """The columns of a node under other names."""
    if all(old == new for old, new in names.items()):
        return node
    if isinstance(node, Scan):
        return replace(node, columns=tuple((c, names.get(n, n)) for c, n in node.columns))
    outputs = tuple(Output(names.get(n, n), None, (n,)) for n in node.schema.names)
    schema = pa.schema([f.with_name(names.get(f.name, f.name)) for f in node.schema])
    return Project(node, outputs, schema)


def named_columns(node: Node, columns: Sequence[str], name: str) -> Node:
    """A query whose columns are given names behind its own."""
    if not columns:
        return node
    if len(columns) != len(node.schema):
        msg = f"'{name}' names {len(columns)} columns, but its query has {len(node.schema)}"
        raise SqlError(msg)
    return renamed(node, dict(zip(node.schema.names, columns, strict=True)))
