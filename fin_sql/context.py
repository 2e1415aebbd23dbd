"""A session that knows tables, kernels and ASOF JOIN."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa

from fin_sql.catalog import Catalog, Table
from fin_sql.catalog.files import FileSource, Format, format_of, open_files
from fin_sql.catalog.layouts import Layouts
from fin_sql.catalog.memory import open_data
from fin_sql.catalog.targets import Target, target
from fin_sql.errors import FinSqlError, SqlError, StateError
from fin_sql.exec.fragment import Evaluator
from fin_sql.exec.order import Order
from fin_sql.home import Home
from fin_sql.kept import Kept
from fin_sql.query import Query
from fin_sql.saving import insertion
from fin_sql.session import register as register_kernels
from fin_sql.sql.concern import Ours
from fin_sql.sql.settings import Setting
from fin_sql.sql.statement import Statement, read_statement
from fin_sql.sql.text import mentioned, quoted
from fin_sql.streams import Streams

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
        home: str | os.PathLike[str] | None = None,
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
        self._ours = Ours(windows=windows == "fin_sql")
        self.evaluator = Evaluator(self._ctx, threads)
        self.layouts = Layouts()
        self._catalog = Catalog()
        self._files: dict[tuple[str, ...], Table] = {}
        self._closed = False
        self.streams = Streams(self)
        self.changing = threading.RLock()  # statements that change tables run one by one
        self._naming = threading.RLock()
        self.kept: Kept | None = None
        self._home = Home(home) if home is not None else None
        if self._home is not None:
            self.kept = Kept(self._home, memory_limit)
            for name in self.kept:
                source = self.kept.source(name)
                self.put(Table(name, source.schema, source=source))

    def close(self) -> None:
        """End the session, and give its home back."""
        self._closed = True
        self.streams.close()
        with self.changing:  # a statement that saves is waited for
            if self._home is not None:
                self._home.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ours(self) -> Ours:
        """What statements this session takes beside the forms that only fin_sql knows."""
        return replace(self._ours, tables=frozenset(self.streams.names))

    @property
    def endless(self) -> list[str]:
        """The names of streaming tables."""
        return list(self.streams.tables)

    @property
    def catalog(self) -> Catalog:
        """The tables by name."""
        return self._catalog

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
        self._add_files(name, path, format_of(path) or "parquet", order_by)

    def _add_files(
        self,
        name: str,
        path: str | Sequence[str],
        format: Format,
        order_by: str | Sequence[str] | None,
    ) -> None:
        self._add(name, open_files(path, format, _columns(order_by)), order_by)

    def register_arrow(
        self, name: str, path: str | Sequence[str], order_by: str | Sequence[str] | None = None
    ) -> None:
        """Give Arrow IPC files a name; as `register_parquet`."""
        self._add_files(name, path, "arrow", order_by)

    def _add(self, name: str, source: Any, order_by: str | Sequence[str] | None) -> None:
        self._refuse_kept(name)
        self.put(Table(name.lower(), source.schema, Order(_columns(order_by)), source))

    def _refuse_kept(self, name: str) -> None:
        self.streams.refuse(name.lower())
        if self.kept is not None and name.lower() in self.kept:
            msg = f"table '{name.lower()}' is kept in the home: DROP TABLE it, or take another name"
            raise SqlError(msg)

    def put(self, table: Table) -> None:
        """Make a table known, in place of one of the same name."""
        assert table.source is not None
        with self._naming:
            known = table.name in self._catalog or self._ctx.table_exist(quoted(table.name))
            table.source.attach(table.name, self._ctx)
            self._catalog.add(table)
            if known:
                self._renew_views(table.name)

    def _renew_views(self, name: str) -> None:
        """Plan the views over a table anew: DataFusion's hold on to the rows of their first day."""
        listed = self._ctx.sql(
            "SELECT table_name, definition FROM information_schema.views WHERE definition <> ''"
        )
        views = {row["table_name"]: row["definition"] for row in pa.table(listed).to_pylist()}
        reads = {view: mentioned(text) - {view} for view, text in views.items()}
        stale, found = {name}, {name}
        while found := {view for view in reads if reads[view] & found} - stale:
            stale |= found
        stale.remove(name)
        while ready := [view for view in stale if not reads[view] & stale]:
            for view in ready:
                stale.remove(view)
                self._ctx.deregister_table(quoted(view))
                with suppress(SqlError):  # it needs what is not there any more, and is gone
                    self.evaluator.sql(views[view])

    def deregister(self, name: str) -> None:
        """Forget a table.

        Raises:
            UnknownNameError: there is none of that name.
            SqlError: it is kept.
        """
        self._refuse_kept(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Take a name out of the session."""
        with self._naming:
            self._catalog.remove(name)
            self._ctx.deregister_table(name.lower())
            self._renew_views(name.lower())

    def tables(self) -> list[str]:
        """The names of all tables."""
        return list(self._catalog)

    def table(self, name: str) -> Table | None:
        """A table of this session, or None.

        Raises:
            StateCorruptError: it is kept, and damaged.
        """
        if self.kept is not None:
            self.kept.check(name.lower())
        return self._catalog[name] if name in self._catalog else None

    def refuse_endless(self, name: str) -> None:
        """Refuse to change a streaming table or a materialized view in place of dropping it.

        Raises:
            SqlError: the name is that of one.
        """
        self.streams.refuse(name)

    def exists(self, name: str) -> bool:
        """Whether a name is taken, by a table or a view."""
        kept = self.kept is not None and name in self.kept
        return kept or name in self._catalog or self._ctx.table_exist(quoted(name))

    def insertion(
        self, name: str, given: pa.Schema, columns: Sequence[str] | None
    ) -> tuple[int | None, ...]:
        """For each column of a table which column of a query it takes; see `fin_sql.saving`."""
        return insertion(self, name, given, columns)

    def target(
        self,
        path: str,
        format: str | None,
        partition_by: Sequence[str],
        options: Mapping[str, Any],
    ) -> Target:
        """Where COPY writes to; see `fin_sql.catalog.targets`."""
        return target(path, format, partition_by, options)

    def reopen_files(self) -> None:
        """Look at the files of tables again, after some were written.

        Raises:
            SourceError: files were written, and a table that reads them cannot be opened any more.
        """
        for name in self._catalog:
            table = self._catalog[name]
            source = table.source
            if self.kept is not None and name in self.kept:
                continue
            if isinstance(source, FileSource) and source.changed():
                try:
                    again = source.opened_again()
                    self.put(Table(name, again.schema, table.order, again))
                except FinSqlError:
                    self.forget(name)
                    raise

    def open_path(self, path: str) -> Table:
        """The table of a file that stands in FROM."""
        source = open_files(path, format_of(path) or "parquet")
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
        """Plan a statement.

        Nothing of a query runs before its rows are asked for; a statement that saves runs at once.

        Args:
            query: see docs/sql.md.
            params: values of `$1`, `$2` ... as a sequence, of `$name` or `:name` as a mapping.

        Raises:
            SqlError: the statement cannot be; the place is underlined.
            UnknownNameError: a table, column or function that does not exist.
        """
        found = self.prepare(query, params)
        found.save()
        return found

    def prepare(self, query: str, params: Params | None = None) -> Query:
        """Plan a statement as `sql` does; one that saves runs when its rows are asked for, once."""
        if self._closed:
            raise StateError("the session is closed: open another one by fin_sql.connect()")
        if params is None:
            values: dict[str, Any] = {}
        elif isinstance(params, Mapping):
            values = {str(name): value for name, value in params.items()}
        else:
            values = {str(k): value for k, value in enumerate(params, 1)}
        try:
            statement: Statement = read_statement(query, values, self)
            return Query(self, statement, query)
        except SqlError:
            if self.kept is not None and self.kept.damaged:  # DataFusion does not know of these
                for name in mentioned(query):
                    self.kept.check(name)
            raise

    def set(self, setting: Setting) -> None:
        """Carry out SET; of SHOW nothing."""
        if setting.name == "windows" and setting.value:
            self._ours = replace(self._ours, windows=setting.value == "fin_sql")
        elif setting.value:
            self._ours = replace(self._ours, deterministic=setting.value == "on")

    def setting(self, setting: Setting) -> str:
        """The value that a setting has."""
        on = self.ours.windows if setting.name == "windows" else self.ours.deterministic
        words = ("datafusion", "fin_sql") if setting.name == "windows" else ("off", "on")
        return words[on]

    def __repr__(self) -> str:
        return f"<fin_sql session: {', '.join(self.tables()) or 'no tables'}>"


def _columns(order_by: str | Sequence[str] | None) -> tuple[str, ...]:
    return (order_by,) if isinstance(order_by, str) else tuple(order_by or ())
