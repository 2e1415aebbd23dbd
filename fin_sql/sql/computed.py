"""The computed columns of a streaming table."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyarrow as pa

from fin_sql.exec.fragment import Evaluator, RowFragment
from fin_sql.sql.batches import batch_of, plain
from fin_sql.sql.text import mentioned
from fin_sql.stream.definition import ColumnEntry, StreamDefinition

Compute = Callable[[pa.RecordBatch], pa.RecordBatch]
Level = list[ColumnEntry]  # columns that do not use each other


def computing(definition: StreamDefinition, evaluator: Evaluator) -> Compute | None:
    """What appends the computed columns to rows, in any thread; None of a table without any."""
    levels = _levels(definition)
    if not levels:
        return None
    kinds = {c.name: c.type for c in definition.columns}
    target = definition.schema()
    local = threading.local()  # a fragment has one batch at a time

    def planned() -> list[tuple[Level, tuple[str, ...], RowFragment]]:
        found = []
        for level in levels:
            used = tuple(n for n in target.names if any(n in _uses(c) for c in level))
            used = used or (definition.given[0].name,)
            schema = pa.schema([(name, kinds[name]) for name in used])
            items = [(c.name, c.computed) for c in level]
            found.append((level, used, evaluator.over_rows(schema, items, {})))
        return found

    def compute(rows: pa.RecordBatch) -> pa.RecordBatch:
        if not hasattr(local, "steps"):
            local.steps = planned()
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        for level, used, fragment in local.steps:
            inputs = [plain(columns[name], kinds[name]) for name in used]
            made = fragment.run(batch_of(inputs, used, rows.num_rows))
            for column, values in zip(level, made, strict=True):
                columns[column.name] = plain(values, column.type)
        return pa.RecordBatch.from_arrays([columns[name] for name in target.names], target.names)

    return compute


def _uses(column: ColumnEntry) -> set[str]:
    return mentioned(column.computed)


def _levels(definition: StreamDefinition) -> list[Level]:
    """The computed columns in groups: each uses columns of the groups before it alone."""
    levels: list[Level] = []
    for column in definition.columns:
        if not column.computed:
            continue
        uses = _uses(column)
        behind = [k for k, level in enumerate(levels) if any(c.name in uses for c in level)]
        place = behind[-1] + 1 if behind else 0
        if place == len(levels):
            levels.append([])
        levels[place].append(column)
    return levels
