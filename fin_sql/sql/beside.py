"""DataFusion's aggregates beside those that are folded, over the same groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from fin_sql.exec.aggregate import KernelAggregate
from fin_sql.exec.fragment import params_in
from fin_sql.exec.spool import Spool
from fin_sql.sql.once import Once, own_errors, started
from fin_sql.sql.text import Text, quoted

if TYPE_CHECKING:
    from fin_sql.sql.lower import Run
    from fin_sql.sql.plan import Aggregate

GROUP = "__group"


def beside(
    run: Run, node: Aggregate, operator: KernelAggregate, stream: Iterable[pa.RecordBatch]
) -> dict[str, pa.Array]:
    """The columns of `node.others`, by the numbers of the groups; the operator takes all rows.

    DataFusion runs in one partition, so that it takes the rows of a group in their order. It sorts
    for an aggregate with an ORDER BY of its own: such ones are kept away from the others.
    """
    needed = {t.text for _, sql in node.others for t in Text(sql).tokens if t.names}
    fields = [field for field in node.input.schema if field.name in needed]
    schema = pa.schema([*fields, pa.field(GROUP, pa.int32())])

    def numbered() -> Iterator[pa.RecordBatch]:
        for batch in stream:
            for part in operator.parts(batch):
                rows, slots = operator.take(part)
                columns = [_plain(rows[field.name], field.type) for field in fields]
                yield pa.RecordBatch.from_arrays([*columns, slots.array()], schema=schema)

    by_order: dict[str, list[tuple[str, str]]] = {}
    for name, sql in node.others:
        by_order.setdefault(_own_order(sql), []).append((name, sql))
    spool = Spool(schema, run.memory_limit)
    found: dict[str, pa.Array] = {}
    try:
        at_once = len(by_order) == 1 and run.pure(node.input)
        if not at_once:
            spool.extend(numbered())
        single = not node.keys and node.window is None
        for others in by_order.values():
            kinds = pa.schema([node.schema.field(name) for name, _ in others])
            shown = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in others)
            sql = f"SELECT {shown} FROM __in"
            # A dataset of batches would be as many partitions, which come in any order.
            rows = Once(schema, numbered() if at_once else spool.batches())
            table = _computed(run, f"{sql} GROUP BY {GROUP} ORDER BY {GROUP}", kinds, rows)
            if single and not table.num_rows:
                table = _computed(run, sql, kinds, Once(schema, iter(())))
            found |= {name: table[name].combine_chunks() for name in kinds.names}
    finally:
        spool.close()
    return found


def _own_order(sql: str) -> str:
    """What stands behind ORDER BY in a call."""
    tokens = Text(sql).tokens
    for one, two in zip(tokens[:-1], tokens[1:], strict=True):
        if one.says("order") and two.says("by"):
            return sql[two.end :]
    return ""


def _computed(run: Run, sql: str, schema: pa.Schema, data: Once) -> pa.Table:
    with run.evaluator.tables({"__in": data}), run.evaluator.one_partition():
        rows = started(run.evaluator.sql(sql, params_in(sql, run.params)), run.cancel)
    found = []
    for part in own_errors(rows, [data]):
        columns = part.to_pyarrow().columns
        plain = [_plain(a, f.type) for a, f in zip(columns, schema, strict=True)]
        found.append(pa.RecordBatch.from_arrays(plain, schema=schema))
    return pa.Table.from_batches(found, schema)


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)
