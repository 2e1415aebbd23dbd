"""Joins of an endless table with bounded ones: each batch of rows, in its order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.exec.fragment import params_in
from fin_sql.exec.lookup import Condition, LookupJoin
from fin_sql.sql.batches import batch_of, conformed, is_text
from fin_sql.sql.once import started
from fin_sql.sql.parse import conjuncts
from fin_sql.sql.plan import ORDINAL, Node, Relational, Step
from fin_sql.sql.text import Text, quoted
from fin_sql.stream.stages import Each, Operated, Stage

if TYPE_CHECKING:
    from fin_sql.sql.flow import Flow

_NODES = re.compile(r"^\s*([A-Z][A-Za-z ]*?)(?::|$)", re.MULTILINE)
# What gives the same rows for each left row, whatever other rows are in its batch.
_ROW_BY_ROW = {
    "Projection", "TableScan", "SubqueryAlias", "Filter", "Sort", "Inner Join", "Left Join",
    "LeftSemi Join", "LeftAnti Join", "Cross Join",
}  # fmt: skip


def lookup_of(flow: Flow, node: Relational) -> list[Stage] | None:
    """The stages of a join whose first input is endless; None where it needs all rows at once.

    The bounded inputs are read once, when the query begins.
    """
    tables = {
        name: pa.Table.from_batches(flow.static(part), part.schema) for name, part in node.named[1:]
    }
    return _by_keys(flow, node, tables) or _by_batch(flow, node, tables)


# ---------------------------------------------------------------- by our own operator


def _by_keys(flow: Flow, node: Relational, tables: dict[str, pa.Table]) -> list[Stage] | None:
    """Joins with equal keys, one after the other; None of other forms."""
    left = node.named[0][1].schema
    if len(node.steps) != len(tables):
        return None
    found: list[Stage] = []
    for step, (name, part) in zip(node.steps, node.named[1:], strict=True):
        sides = _equal_keys(step, left, part.schema)
        rows = _in_order(flow, part, tables[name])
        # Equal rows of a table that another join follows would have to come out together.
        last = len(found) + 1 == len(node.steps)
        if sides is None or not last and _repeats(rows):
            return None
        by, rest = sides
        both = pa.schema([*left, *part.schema])
        join = LookupJoin(left, rows, by, step.kind, cancel=flow.cancel,
                          condition=_condition(flow, rest, both) if rest else None)  # fmt: skip
        found.append(Operated(join))
        left = both
    return found if left.names == node.schema.names else None


def _equal_keys(
    step: Step, left: pa.Schema, right: pa.Schema
) -> tuple[list[tuple[str, str]], list[str]] | None:
    """Pairs of columns that must be equal, and further conditions; None without such pairs."""
    text = Text(step.on)
    by, rest = [], []
    for begin, end in conjuncts(text, 0, len(text.tokens) - 1) if step.on else ():
        tokens = text.tokens[begin:end]
        names = [t.text for t in (tokens[0], tokens[-1]) if t.names]
        if len(tokens) == 3 and tokens[1].says("=") and len(names) == 2:
            one, other = names if names[0] in left.names else names[::-1]
            if one in left.names and other in right.names:
                if _compare(left.field(one).type, right.field(other).type):
                    by.append((one, other))
                    continue
        rest.append(text.written(begin, end))
    return (by, rest) if by else None


def _compare(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether keys of two types are equal for us where they are for DataFusion.

    Floating-point numbers are not: NaN and -0.0 are keys of their own there.
    """
    if pa.types.is_signed_integer(one) and pa.types.is_signed_integer(other):
        return True
    if is_text(one) and is_text(other):
        return True
    exact = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_date, pa.types.is_timestamp,
             pa.types.is_decimal128, pa.types.is_time, pa.types.is_binary)  # fmt: skip
    return bool(one == other and any(test(one) for test in exact))


def _in_order(flow: Flow, part: Node, rows: pa.Table) -> pa.Table:
    """Bounded rows in the order in which those of one key come out, as DataFusion sorts them."""
    sortable = [quoted(f.name) for f in part.schema if not pa.types.is_nested(f.type)]
    if not sortable or rows.num_rows < 2:
        return rows
    with flow.evaluator.tables({"__in": ds.dataset(rows)}):
        sql = f"SELECT * FROM __in ORDER BY {', '.join(sortable)}"
        found = [b.to_pyarrow() for b in started(flow.evaluator.sql(sql), flow.cancel)]
    return pa.Table.from_batches([conformed(b, part.schema) for b in found], part.schema)


def _repeats(rows: pa.Table) -> bool:
    names = [f.name for f in rows.schema if not pa.types.is_nested(f.type)]
    return bool(rows.group_by(names).aggregate([]).num_rows < rows.num_rows)


def _condition(flow: Flow, rest: list[str], both: pa.Schema) -> Condition:
    sql = " AND ".join(f"({part})" for part in rest)
    used = {token.text for token in Text(sql).tokens if token.names}
    fields = [field for field in both if field.name in used] or [both.field(0)]
    schema = pa.schema(fields)
    fragment = flow.evaluator.over_rows(schema, [("c", sql)], params_in(sql, flow.params))
    return Condition(lambda pairs: fragment.run(pairs)[0], schema)


# ---------------------------------------------------------------- by DataFusion


def _by_batch(flow: Flow, node: Relational, tables: dict[str, pa.Table]) -> list[Stage] | None:
    """Joins of any other form, which DataFusion runs for each batch."""
    if not node.ordered or not re.search(rf"ORDER BY {ORDINAL}\b", node.sql):
        return None
    evaluator, params = flow.evaluator, params_in(node.sql, flow.params)
    first, left = node.named[0]
    schema = left.schema.append(pa.field(ORDINAL, pa.int64()))
    held = {name: ds.dataset(rows) for name, rows in tables.items()}
    with evaluator.tables({first: ds.dataset(schema.empty_table()), **held}):
        plan = evaluator.sql(node.sql, params).logical_plan().display_indent()
    if not set(_NODES.findall(plan)) <= _ROW_BY_ROW:
        return None

    def change(batch: pa.RecordBatch) -> pa.RecordBatch | None:
        batch = conformed(batch, left.schema)
        numbers = pa.array(np.arange(batch.num_rows))
        rows = pa.RecordBatch.from_arrays([*batch.columns, numbers], schema=schema)
        with evaluator.tables({first: ds.dataset(rows), **held}):
            rows = started(evaluator.sql(node.sql, params), flow.cancel)
            found = [b.to_pyarrow() for b in rows]
        found = [b for b in found if b.num_rows]
        if not found:
            return None
        whole = pa.concat_batches(found) if len(found) > 1 else found[0]
        return conformed(batch_of(whole.columns, node.schema.names, whole.num_rows), node.schema)

    return [Each(change)]
