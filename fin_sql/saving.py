"""Statements that save: their rows go to files, or into the tables of a session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from fin_sql.catalog.files import FileSource
from fin_sql.catalog.lossless import fitted, may_fit
from fin_sql.catalog.memory import ArrowSource
from fin_sql.catalog.table import Table
from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.exec.ahead import ahead
from fin_sql.sql.batches import Batches
from fin_sql.sql.lower import Run
from fin_sql.sql.plan import Node
from fin_sql.sql.saving import exists_already
from fin_sql.sql.sinks import Copy, Create, Drop, Insert, Sink

if TYPE_CHECKING:
    from fin_sql.context import Context


def save(context: Context, sink: Sink, run: Run) -> int:
    """Run a statement that saves; returns how many rows it wrote."""
    if isinstance(sink, Copy):
        with closing(_stream(run, sink.input)) as rows:
            found = sink.target.write(sink.input.schema, rows, context.memory_limit)
        context.reopen_files()
        return int(found)
    with context.changing:
        try:
            if isinstance(sink, Create):
                return _create(context, sink, run)
            if isinstance(sink, Insert):
                return _insert(context, sink, run)
            _drop(context, sink)
            return 0
        finally:
            if context.kept is not None and context.kept.writable:
                context.kept.clean()


def _stream(run: Run, node: Node) -> Batches:
    """The rows of a plan, which another thread makes while those before are written."""
    rows = run.batches(node)
    return ahead(rows) if run.threads > 1 else rows


def _create(context: Context, sink: Create, run: Run) -> int:
    if context.exists(sink.name):
        if sink.skip:
            return 0
        if not sink.replace:
            raise SqlError(exists_already(sink.name))
    schema = sink.input.schema
    with closing(_stream(run, sink.input)) as rows:
        if context.kept is not None:
            found = context.kept.create(sink.name, schema, rows)
            source: ArrowSource | FileSource = context.kept.source(sink.name)
        else:
            table = pa.Table.from_batches(rows, schema)
            found, source = table.num_rows, ArrowSource(table)
    context.put(Table(sink.name, source.schema, source=source))
    return int(found)


def _insert(context: Context, sink: Insert, run: Run) -> int:
    table = context.table(sink.name)
    if table is None or table.schema != sink.into:
        msg = f"table '{sink.name}' has changed since the statement was planned: give it again"
        raise SqlError(msg)
    with closing(_stream(run, sink.input)) as rows:
        fit = _fitted(sink, rows)
        if context.kept is not None and sink.name in context.kept:
            found = context.kept.append(sink.name, fit)
            source: ArrowSource | FileSource = context.kept.source(sink.name)
        else:
            assert isinstance(table.source, ArrowSource)
            added = pa.Table.from_batches(fit, table.schema)
            found, source = added.num_rows, table.source.with_rows(added)
    if found:
        context.put(Table(sink.name, source.schema, table.order, source))
    return int(found)


def _fitted(sink: Insert, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows in the columns of a table."""
    first = 0
    for batch in rows:
        columns = []
        for at, field in zip(sink.columns, sink.into, strict=True):
            if at is None:
                columns.append(pa.nulls(batch.num_rows, field.type))
            else:
                who = f"INSERT INTO {sink.name}: column '{field.name}'"
                columns.append(fitted(batch.column(at), field.type, who, first))
        first += batch.num_rows
        yield pa.RecordBatch.from_arrays(columns, schema=sink.into)


def _drop(context: Context, sink: Drop) -> None:
    if context.kept is not None and sink.name in context.kept:
        context.kept.drop(sink.name)
        if context.exists(sink.name):
            context.forget(sink.name)
    elif context.table(sink.name) is not None:
        context.forget(sink.name)
    elif not sink.if_exists:
        raise UnknownNameError("table", sink.name, context.tables())


def insertion(
    context: Context, name: str, given: pa.Schema, columns: Sequence[str] | None
) -> tuple[int | None, ...]:
    """For each column of a table which column of a query it takes.

    Raises:
        SqlError: the table takes no rows, or the columns do not go with its own.
        UnknownNameError: the list has a column that the table has not.
    """
    table = context.table(name)
    assert table is not None
    kept = context.kept is not None and name in context.kept
    if not kept and not isinstance(table.source, ArrowSource):
        msg = (
            f"table '{name}' is files, which take no rows: write them beside by COPY, or make a "
            "table of them by CREATE TABLE"
        )
        raise SqlError(msg)
    names = table.schema.names
    if columns is None:
        order = _by_place(name, names, given.names)
    else:
        order = _by_list(name, names, given.names, columns)
    for field, at in zip(table.schema, order, strict=True):
        if at is not None and not may_fit(given.field(at).type, field.type):
            msg = (
                f"column '{field.name}' of table '{name}' is {field.type}, and the query gives "
                f"{given.field(at).type}; cast it"
            )
            raise SqlError(msg)
    return order


def _by_place(name: str, names: list[str], given: list[str]) -> tuple[int | None, ...]:
    if len(names) != len(given):
        msg = (
            f"table '{name}' has {len(names)} columns ({', '.join(names)}), and the query gives "
            f"{len(given)}; name those that it fills: INSERT INTO {name} (column, ...)"
        )
        raise SqlError(msg)
    if names != given and sorted(names) == sorted(given):
        msg = (
            f"columns go by their place, and the query gives ({', '.join(given)}) where table "
            f"'{name}' has ({', '.join(names)}): write INSERT INTO {name} ({', '.join(given)})"
        )
        raise SqlError(msg)
    return tuple(range(len(names)))


def _by_list(
    name: str, names: list[str], given: list[str], columns: Sequence[str]
) -> tuple[int | None, ...]:
    for column in columns:
        if column not in names:
            raise UnknownNameError("column", column, names, who=f"table '{name}'")
        if columns.count(column) > 1:
            raise SqlError(f"column '{column}' stands twice")
    if len(columns) != len(given):
        msg = f"the list has {len(columns)} columns, and the query gives {len(given)}"
        raise SqlError(msg)
    places = {column: at for at, column in enumerate(columns)}
    return tuple(places.get(column) for column in names)
