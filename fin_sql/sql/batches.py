"""Batches as the operators and the fragments of a plan take them."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.sql.plan import ORDINAL, Aggregate, KernelWindow, Node

Batches = Generator[pa.RecordBatch, None, None]


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def batch_of(columns: Sequence[pa.Array], names: Sequence[str], rows: int) -> pa.RecordBatch:
    """Columns as a batch; without any it has rows all the same."""
    if columns:
        return pa.RecordBatch.from_arrays(columns, names)
    return pa.record_batch({"_": pa.nulls(rows)}).select([])


def fragment_inputs(batch: pa.RecordBatch, used: Sequence[str], node: Node) -> pa.RecordBatch:
    """The columns that a fragment needs, in the types that it was planned for."""
    if not used:
        return batch_of([pa.nulls(batch.num_rows, pa.int8())], [ORDINAL], batch.num_rows)
    schema = node.schema
    return pa.RecordBatch.from_arrays(
        [plain(batch[name], schema.field(name).type) for name in used],
        schema=pa.schema([schema.field(name) for name in used]),
    )


def plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """An array in a type; of a dictionary its values."""
    return array if array.type == kind else array.cast(kind)


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in the types of a schema: dictionaries of texts become texts."""
    if batch.schema.equals(schema) or not len(schema):
        return batch
    columns = [plain(a, f.type) for a, f in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def filtered(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
    """The rows that a mask is true for."""
    return batch.filter(mask) if batch.num_columns else batch_of([], [], mask.true_count)


def decoded(batch: pa.RecordBatch, names: set[str], schema: pa.Schema) -> pa.RecordBatch:
    """A batch whose named columns are in the types of a schema."""
    columns = [
        plain(a, schema.field(n).type) if n in names else a
        for n, a in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return batch_of(columns, batch.schema.names, batch.num_rows)


def text_arguments(node: KernelWindow) -> set[str]:
    """The arguments of window calls that are texts."""
    return {
        name
        for call in node.calls
        for name in call.args
        if is_text(node.input.schema.field(name).type)
    }


def without_texts(batch: pa.RecordBatch, node: Aggregate) -> pa.RecordBatch:
    """Texts as texts, where they are more than keys."""
    names = {
        name
        for name in node.input.schema.names
        if name not in node.keys and pa.types.is_dictionary(batch[name].type)
    }
    return decoded(batch, names, node.input.schema) if names else batch


def one_batch(batches: list[pa.RecordBatch], node: KernelWindow) -> list[pa.RecordBatch]:
    """Batches of a window's input as one, or none."""
    table = pa.Table.from_batches(batches, node.input.schema).combine_chunks()
    return table.to_batches() if table.num_rows else []


def order_of(table: pa.Table, columns: Sequence[str], *, total: bool) -> pa.Array:
    """Row numbers in the order of columns; without an own order all the others decide as well."""
    names = list(columns)
    if not total:
        names += [
            f.name
            for f in table.schema
            if f.name not in names and not (pa.types.is_nested(f.type) or pa.types.is_null(f.type))
        ]
    return pc.sort_indices(table, [(name, "ascending") for name in names])


def numbered(stream: Batches, schema: pa.Schema) -> Batches:
    """Batches with the numbers of their rows."""
    at = 0
    for batch in stream:
        numbers = pa.array(np.arange(at, at + batch.num_rows))
        at += batch.num_rows
        yield pa.RecordBatch.from_arrays([*batch.columns, numbers], schema=schema)
