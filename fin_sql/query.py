"""A query whose rows have not been asked for yet."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fin_sql.errors import FinSqlError, SqlError
from fin_sql.exec.fragment import plain_message
from fin_sql.exec.pull import pulled
from fin_sql.saving import save
from fin_sql.sql.commands import Command, CreateView
from fin_sql.sql.explain import explained
from fin_sql.sql.lower import Counted, Run
from fin_sql.sql.plan import Node
from fin_sql.sql.settings import Setting
from fin_sql.sql.sinks import COUNT, Copy, Sink
from fin_sql.sql.statement import Statement, read_saved
from fin_sql.states import Cancel

if TYPE_CHECKING:
    from fin_sql.context import Context


class Query:
    """What `ctx.sql` gives. Each way of asking for the rows runs the query anew.

    It has `__arrow_c_stream__`, so that Polars, DuckDB, pandas and pyarrow take it as it is.
    """

    def __init__(self, context: Context, statement: Statement, text: str) -> None:
        self._context, self._statement, self._text = context, statement, text
        self._frame = None
        self._kept: list[Any] = []
        if statement.plan is None:  # DataFusion runs CREATE, SET and the like at once
            # A plan of ours holds its tables, which stay readable so; DataFusion's only has paths.
            self._kept += context.kept.pinned() if context.kept else []
            self._frame = context.evaluator.sql(statement.sql, statement.params)
            self._kept += context.kept.pinned() if context.kept else []
        self._cancel = Cancel()
        self._done = False  # whether a command was carried out
        self._count: int | None = None  # of a statement that saves, when it has run
        self._said: str | None = None  # by its EXPLAIN ANALYZE

    @property
    def schema(self) -> pa.Schema:
        """The columns of the result."""
        if self._statement.explain:
            return pa.schema([("plan", pa.string())])
        if isinstance(self._statement.plan, Command):
            return self._context.streams.schema(self._statement.plan)
        if self._statement.plan is not None:
            return self._statement.plan.schema
        # DataFusion promises that a function of literals is not NULL, and its batches do not.
        return pa.schema([f.with_nullable(True) for f in self._frame.schema()])  # type: ignore[union-attr]

    def cancel(self) -> None:
        """Stop a run of this query from another thread; it raises CancelledError."""
        self._cancel.set()

    def stream(self, *, progress: Callable[[int], None] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, a batch at a time.

        Args:
            progress: told how many rows of tables each step has read.

        Raises:
            SqlError, KernelError, OrderError, CancelledError: while it runs.
        """
        statement = self._statement
        if statement.explain:
            yield self._explanation(analyze=statement.explain == "analyze")
        elif isinstance(statement.plan, Sink):
            self.save(progress=progress)
            if len(statement.plan.schema):
                yield pa.record_batch([pa.array([self._count], pa.int64())], COUNT)
        elif isinstance(statement.plan, Command):
            self.save()
            yield from self._context.streams.answer(statement.plan, self._cancel)
        elif isinstance(statement.plan, Setting):
            self.save()
            if statement.plan.value is None:
                rows = [
                    {"name": statement.plan.name, "value": self._context.setting(statement.plan)}
                ]
                yield pa.RecordBatch.from_pylist(rows, statement.plan.schema)
        elif statement.plan is not None:
            yield from self._run(progress).batches(statement.plan)
        else:
            schema = self.schema
            try:
                for batch in pulled(self._frame.execute_stream(), self._cancel):  # type: ignore[union-attr]
                    columns = batch.to_pyarrow().columns
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)
            except FinSqlError:
                raise
            except Exception as error:
                raise SqlError(plain_message(error)) from None

    def save(self, *, progress: Callable[[int], None] | None = None) -> None:
        """Run a statement that saves, unless it has run; of a query nothing runs.

        Raises:
            SqlError, KernelError, OrderError, SourceError, CancelledError: nothing was saved.
        """
        sink, explain = self._statement.plan, self._statement.explain
        if isinstance(sink, Setting):
            self._context.set(sink)
        if isinstance(sink, Command) and not explain and not self._done:
            self._done = True
            self._context.streams.run(sink)
        if isinstance(sink, Sink) and self._count is None and explain != "plan":
            if explain == "analyze":
                self._said = self.explain(analyze=True)
            else:
                self._count = save(self._context, sink, self._run(progress))

    def _run(self, progress: Callable[[int], None] | None = None) -> Run:
        context = self._context
        return Run(
            context.evaluator,
            context.layouts,
            self._statement.params,
            threads=context.threads,
            memory_limit=context.memory_limit,
            cancel=self._cancel,
            progress=progress,
        )

    def _explanation(self, *, analyze: bool) -> pa.RecordBatch:
        self.save()
        said = self._said or self.explain(analyze=analyze)
        return pa.record_batch({"plan": said.split("\n")})

    def explain(self, *, analyze: bool = False) -> str:
        """The plan as a tree; `analyze` runs the query, and adds rows and seconds."""
        plan = self._statement.plan
        if isinstance(plan, Setting):
            return f"Setting {plan.name}"
        if isinstance(plan, Command):
            if not isinstance(plan, CreateView):
                raise SqlError("EXPLAIN takes a query, or a statement that saves one")
            if analyze:
                raise SqlError("a continuous query has no end: EXPLAIN it without ANALYZE")
            self._context.streams.check(plan)
            return explained(plan.plan, self._context.layouts)
        if plan is None:
            return str(self._frame.optimized_logical_plan().display_indent())  # type: ignore[union-attr]
        counted: dict[int, Counted] | None = None
        if analyze:
            counted = {}
            run = self._run()
            run.counted = counted
            if isinstance(plan, Sink):
                self._count_saved(plan, run)
            else:
                for _ in run.batches(plan):
                    pass
        return explained(plan, self._context.layouts, counted)

    def _count_saved(self, sink: Sink, run: Run) -> None:
        assert run.counted is not None
        if self._count is not None:
            raise SqlError("the statement has run, and runs once: write EXPLAIN ANALYZE before it")
        begin = perf_counter()
        self._count = save(self._context, sink, run)
        run.counted[id(sink)] = Counted(self._count, perf_counter() - begin)

    def to_arrow(self) -> pa.Table:
        """The rows as a `pyarrow.Table`."""
        return pa.Table.from_batches(self.stream(), self.schema)

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """The rows as a `polars.DataFrame`."""
        import polars

        return polars.from_arrow(self.to_arrow())

    def to_numpy(self) -> dict[str, Any]:
        """The columns as NumPy arrays by name; NULLs of numbers become NaN."""
        table = self.to_arrow()
        return {name: table[name].to_numpy() for name in table.column_names}

    def write_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        partition_by: str | Sequence[str] = (),
        compression: str | None = None,
        compression_level: int | None = None,
        row_group_size: int | None = None,
        overwrite: bool | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write the rows to Parquet, all or none, as COPY does; returns how many.

        Args:
            path: of a file, which appears under its name when it is complete; with `partition_by`,
                or a "/" at its end, of a folder; or `s3://bucket/key`.
            partition_by: columns whose values name folders: `symbol=BTC-USD/part-0.parquet`.
            compression: zstd (by default), snappy, lz4, gzip, brotli or none.
            compression_level: of the codec.
            row_group_size: rows of a group, by default 524 288.
            overwrite: by default a file is replaced, and a folder that is not empty is refused.
            progress: as in `stream`.

        Raises:
            SourceError: it cannot be written; what was there is unchanged.
            SqlError, KernelError, OrderError, CancelledError: the query fails; likewise.
        """
        options = {
            "compression": compression,
            "compression_level": compression_level,
            "row_group_size": row_group_size,
            "overwrite": overwrite,
        }
        return self._write(path, "parquet", partition_by, options, progress)

    def write_csv(
        self,
        path: str | os.PathLike[str],
        *,
        partition_by: str | Sequence[str] = (),
        header: bool = True,
        delimiter: str = ",",
        null: str = "",
        compression: str | None = None,
        overwrite: bool | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write the rows as CSV; as `write_parquet`.

        Args:
            path: a file that is compressed ends in `.csv.gz`.
            partition_by: see `write_parquet`.
            header: write the names first.
            delimiter: between values.
            null: what NULL is written as.
            compression: gzip or none.
            overwrite: see `write_parquet`.
            progress: see `write_parquet`.
        """
        options = {
            "header": header,
            "delimiter": delimiter,
            "null": null,
            "compression": compression,
            "overwrite": overwrite,
        }
        return self._write(path, "csv", partition_by, options, progress)

    def write_json(
        self,
        path: str | os.PathLike[str],
        *,
        partition_by: str | Sequence[str] = (),
        compression: str | None = None,
        overwrite: bool | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write a JSON object for each row; as `write_csv`."""
        options = {"compression": compression, "overwrite": overwrite}
        return self._write(path, "json", partition_by, options, progress)

    def write_arrow(
        self,
        path: str | os.PathLike[str],
        *,
        partition_by: str | Sequence[str] = (),
        compression: str | None = None,
        compression_level: int | None = None,
        row_group_size: int | None = None,
        overwrite: bool | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write the rows to an Arrow IPC file; as `write_parquet`, not compressed by default."""
        options = {
            "compression": compression,
            "compression_level": compression_level,
            "row_group_size": row_group_size,
            "overwrite": overwrite,
        }
        return self._write(path, "arrow", partition_by, options, progress)

    def _write(
        self,
        path: str | os.PathLike[str],
        format: str,
        partition_by: str | Sequence[str],
        options: dict[str, Any],
        progress: Callable[[int], None] | None,
    ) -> int:
        columns = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
        given = {name: value for name, value in options.items() if value is not None}
        where = self._context.target(os.fspath(path), format, columns, given)
        node = self._saved()
        if node is not None:
            return save(self._context, Copy(node, where), self._run(progress))
        with closing(self.stream(progress=progress)) as rows:  # type: ignore[type-var]
            written = where.write(self.schema, rows, self._context.memory_limit)
        self._context.reopen_files()
        return written

    def _saved(self) -> Node | None:
        """The plan by which COPY would write the rows; None of what is no query."""
        plan = self._statement.plan
        if self._statement.explain or isinstance(plan, Sink | Setting | Command):
            return None
        return plan or read_saved(self._text, self._statement.params, self._context)

    def plot(
        self,
        kind: str | None = None,
        x: str | None = None,
        y: str | Sequence[str] | None = None,
        by: str | Sequence[str] | None = None,
        title: str | None = None,
        **look: Any,
    ) -> Any:
        """The rows as an Altair chart, which a notebook shows by itself.

        Args:
            kind: line, candles, markouts, scatter, bar or hist; by the columns if not given.
            x: the column of the horizontal axis.
            y: the columns of the vertical one; one text may hold several with commas.
            by: the columns whose texts tell lines apart.
            title: above the chart.
            look: `width` and `height` in pixels; `still=True` for a picture.

        Raises:
            SqlError: the rows cannot be drawn like that; the message says what is needed.
            UnknownNameError: a column or a kind that does not exist.
            MissingPackageError: the extra `plot` is not installed.
        """
        from fin_sql.plot import plot

        return plot(self.to_arrow(), kind, x=x, y=y, by=by, title=title, **look)

    def show(self, rows: int = 20) -> None:
        """Print the first rows as a table."""
        print(self._shown(rows))

    def _first(self, rows: int) -> pa.Table:
        found, count = [], 0
        stream = self.stream()
        for batch in stream:
            found.append(batch.slice(0, rows + 1 - count))
            count += found[-1].num_rows
            if count > rows:
                break
        stream.close()  # type: ignore[attr-defined]
        return pa.Table.from_batches(found, self.schema)

    def _cells(self, rows: int) -> tuple[list[list[str]], bool]:
        table = self._first(rows)
        more = table.num_rows > rows
        table = table.slice(0, rows)
        return [[cell(value) for value in column] for column in table.columns], more

    def _shown(self, rows: int) -> str:
        columns, more = self._cells(rows)
        names = self.schema.names
        widths = [max([len(n), *map(len, c)]) for n, c in zip(names, columns, strict=True)]
        numeric = [pa.types.is_floating(k) or pa.types.is_integer(k) for k in self.schema.types]
        lines = ["  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)).rstrip()]
        lines.append("  ".join("-" * w for w in widths))
        for row in zip(*columns, strict=True):
            cells = [
                text.rjust(w) if right else text.ljust(w)
                for text, w, right in zip(row, widths, numeric, strict=True)
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, "..."] if more else lines)

    def _repr_html_(self) -> str:
        columns, more = self._cells(20)
        head = "".join(
            f"<th>{html.escape(f.name)}<br><small>{html.escape(str(f.type))}</small></th>"
            for f in self.schema
        )
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
            for row in zip(*columns, strict=True)
        )
        tail = "<p>the first 20 rows</p>" if more else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{tail}"

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self.schema, self.stream())
        return reader.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        fields = ", ".join(f"{f.name} {f.type}" for f in self.schema)
        return f"<fin_sql query: {fields}>"


def cell(value: pa.Scalar) -> str:
    """A value in words: times with all their digits, doubles in shortest form."""
    if not value.is_valid:
        return "NULL"
    if pa.types.is_temporal(value.type):
        return str(value.cast(pa.string()))
    return str(value.as_py())
