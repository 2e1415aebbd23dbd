"""Batches that are cut only between groups of rows with equal order columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc


def whole_ties(
    stream: Iterator[pa.RecordBatch], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Hold back the last rows of a batch while the next one may go on with their group.

    Args:
        stream: in which rows that are equal in `columns` follow each other.
        columns: the order columns, after the keys where the rows lie by key.
    """
    held: list[pa.RecordBatch] = []
    for batch in stream:
        if not batch.num_rows:
            continue
        begin = _last_group(batch, columns)
        if begin == 0 and (not held or _same(held[-1], batch, columns)):
            held.append(batch)
            continue
        if begin == 0:
            yield _joined(held)
            held = [batch]
            continue
        yield _joined([*held, batch.slice(0, begin)])
        held = [batch.slice(begin)]
    if held:
        yield _joined(held)


def _last_group(batch: pa.RecordBatch, columns: Sequence[str]) -> int:
    """The first row of the last group."""
    begin, last = 0, batch.num_rows - 1
    for name in columns:
        array = batch[name]
        if pa.types.is_dictionary(array.type):
            array = array.indices
        differs = pc.not_equal(array, array[last])
        found = pc.index(pc.fill_null(differs, True)[::-1], True).as_py()
        if found > 0:
            begin = max(begin, batch.num_rows - found)
        elif found == 0:  # NULL: its row is refused later
            begin = last
    return begin


def _same(left: pa.RecordBatch, right: pa.RecordBatch, columns: Sequence[str]) -> bool:
    return all(
        left[name][left.num_rows - 1].as_py() == right[name][0].as_py()
        if pa.types.is_dictionary(left[name].type)
        else left[name][left.num_rows - 1] == right[name][0]
        for name in columns
    )


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]
