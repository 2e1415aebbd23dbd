"""Joins of an endless table with bounded ones: each batch of rows, in its order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.exec.fragment import params_in
from fin_sql.sql.batches import batch_of, conformed
from fin_sql.sql.once import started
from fin_sql.sql.plan import ORDINAL, Relational
from fin_sql.stream.stages import Each, Stage

if TYPE_CHECKING:
    from fin_sql.sql.flow import Flow

_NODES = re.compile(r"^\s*([A-Z][A-Za-z ]*?)(?::|$)", re.MULTILINE)
# What gives the same rows for each left row, whatever other rows are in its batch.
_ROW_BY_ROW = {
    "Projection", "TableScan", "SubqueryAlias", "Filter", "Sort", "Inner Join", "Left Join",
    "LeftSemi Join", "LeftAnti Join", "Cross Join",
}  # fmt: skip


def lookup_of(flow: Flow, node: Relational) -> Stage | None:
    """The stage of a join whose first input is endless; None where it needs all rows at once.

    The bounded inputs are read once, when the query begins.
    """
    if not node.ordered or not re.search(rf"ORDER BY {ORDINAL}\b", node.sql):
        return None
    evaluator, params = flow.evaluator, params_in(node.sql, flow.params)
    (first, left), others = node.named[0], node.named[1:]
    schema = left.schema.append(pa.field(ORDINAL, pa.int64()))
    held = {
        name: ds.dataset(pa.Table.from_batches(flow.static(part), part.schema))
        for name, part in others
    }
    nothing = {first: ds.dataset(schema.empty_table()), **held}
    with evaluator.tables(nothing):
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

    return Each(change)
