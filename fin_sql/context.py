"""A session that knows tables, kernels and ASOF JOIN."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fin_sql.catalog import Catalog, Table
from fin_sql.catalog.files import Format, open_files
from fin_sql.catalog.layouts import Layouts
from fin_sql.catalog.memory import open_data
from fin_sql.errors import SqlError
from fin_sql.exec.fragment import Evaluator
from fin_sql.exec.order import Order
from fin_sql.query import Query
from fin_sql.session import register as register_kernels
from fin_sql.sql.statement import Statement, read_statement

Params = Mapping[str, Any] | Sequence[Any]

SETTINGS = {
    # Texts have one type everywhere, so that a query gives the same columns either way.
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.sql_parser.map_string_types_to_utf8view": "false",
    "datafusion.execution.batch_size": "32768",
    "datafusion.catalog.information_schema": "true",
}


class Context:
    """A session: tables by name, and SQL over them. See `fin_sql.connect`."""

    def __init__(
        self,
        *,
        threads: int | None = None,
        memory_limit: int = 1 << 30,
        windows: Literal["fin_sql", "datafusion"] = "fin_sql",
    ) -> None:
        from datafusion import SessionConfig, SessionContext

        if windows not in ("fin_sql", "datafusion"):
            raise SqlError(f"connect: 'windows' must be 'fin_sql' or 'datafusion', was {windows!r}")
        threads = threads or os.cpu_count() or 1
        if threads < 1 or memory_limit < 1:
            raise SqlError("connect: 'threads' and 'memory_limit' must be positive")
        config = SessionConfig().with_target_partitions(threads)
        for name, value in SETTINGS.items():
            config = config.set(name, value)
        self._ctx = register_kernels(SessionContext(config))
        self.threads, self.memory_limit = threads, memory_limit
        self.leave_windows = windows == "datafusion"
        self.evaluator = Evaluator(self._ctx, threads)
        self.layouts = Layouts()
        self._catalog = Catalog()
        self._files: dict[tuple[str, ...], Table] = {}

    @property
    def datafusion(self) -> Any:
        """The `datafusion.SessionContext` beneath."""
        return self._ctx

    # ------------------------------------------------------------ tables

    def register(self, name: str, data: Any, order_by: str | Sequence[str] | None = None) -> None:
        """Give a table a name; one that has it already is replaced.

        Args:
            name: as SQL writes it; folded to lower case.
            data: anything with `__arrow_c_stream__` (Arrow, Polars, DuckDB, DataFusion), pandas, or
                a `pyarrow.dataset.Dataset`.
            order_by: columns that the rows are in the order of. It is checked while they pass; what
                is not declared is found out, or sorted.

        Raises:
            ArgumentTypeError: the data is none of these.
            SqlError: `order_by` names a column that is not there.
        """
        self._add(name, open_data(data), order_by)

    def register_parquet(
        self, name: str, path: str | Sequence[str], order_by: str | Sequence[str] | None = None
    ) -> None:
        """Give Parquet files a name: a file, a folder, a glob, hive folders, or a list of these.

        Raises:
            SourceError: nothing is there, or a file cannot be read.
        """
        self._add_files(name, path, "parquet", order_by)

    def register_csv(
        self, name: str, path: str | Sequence[str], order_by: str | Sequence[str] | None = None
    ) -> None:
        """Give CSV files a name; as `register_parquet`."""
        self._add_files(name, path, "csv", order_by)

    def register_json(
        self, name: str, path: str | Sequence[str], order_by: str | Sequence[str] | None = None
    ) -> None:
        """Give newline-delimited JSON files a name; as `register_parquet`."""
        self._add_files(name, path, "json", order_by)

    def register_files(
        self, name: str, path: str, order_by: str | Sequence[str] | None = None
    ) -> None:
        """Give files a name, of the format that their names end in; without one, Parquet."""
        self._add_files(name, path, _format(path), order_by)

    def _add_files(
        self,
        name: str,
        path: str | Sequence[str],
        format: Format,
        order_by: str | Sequence[str] | None,
    ) -> None:
        self._add(name, open_files(path, format, _columns(order_by)), order_by)

    def _add(self, name: str, source: Any, order_by: str | Sequence[str] | None) -> Table:
        table = Table(name.lower(), source.schema, Order(_columns(order_by)), source)
        source.attach(table.name, self._ctx)
        self._catalog.add(table)
        return table

    def deregister(self, name: str) -> None:
        """Forget a table.

        Raises:
            UnknownNameError: there is none of that name.
        """
        self._catalog.remove(name)
        self._ctx.deregister_table(name.lower())

    def tables(self) -> list[str]:
        """The names of all tables."""
        return list(self._catalog)

    def table(self, name: str) -> Table | None:
        """A table of this session, or None."""
        return self._catalog[name] if name in self._catalog else None

    def open_path(self, path: str) -> Table:
        """The table of a file that stands in FROM."""
        source = open_files(path, _format(path))
        key = (path, *map(str, source.identity()))
        if key not in self._files:
            self._files[key] = Table(f"'{path}'", source.schema, Order(), source)
        return self._files[key]

    def attached_path(self, path: str) -> str:
        """The name under which DataFusion knows a file that stands in FROM."""
        table = self.open_path(path)
        name = f"__file{list(self._files.values()).index(table)}"
        if not self._ctx.table_exist(name):
            assert table.source is not None
            table.source.attach(name, self._ctx)
        return name

    # ------------------------------------------------------------ SQL

    def sql(self, query: str, params: Params | None = None) -> Query:
        """Plan a statement; nothing of a query runs before its rows are asked for.

        Args:
            query: see docs/sql.md.
            params: values of `$1`, `$2` ... as a sequence, of `$name` or `:name` as a mapping.

        Raises:
            SqlError: the statement cannot be; the place is underlined.
            UnknownNameError: a table, column or function that does not exist.
        """
        if params is None:
            values: dict[str, Any] = {}
        elif isinstance(params, Mapping):
            values = {str(name): value for name, value in params.items()}
        else:
            values = {str(k): value for k, value in enumerate(params, 1)}
        statement: Statement = read_statement(query, values, self)
        return Query(self, statement)

    def __repr__(self) -> str:
        return f"<fin_sql session: {', '.join(self.tables()) or 'no tables'}>"


def _columns(order_by: str | Sequence[str] | None) -> tuple[str, ...]:
    return (order_by,) if isinstance(order_by, str) else tuple(order_by or ())


def _format(path: str) -> Format:
    endings: dict[str, Format] = {".csv": "csv", ".json": "json", ".ndjson": "json"}
    return next((kind for end, kind in endings.items() if path.lower().endswith(end)), "parquet")
