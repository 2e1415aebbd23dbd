"""What DataFusion evaluates for a plan: expressions of rows, whole queries, constants and types."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.errors import SqlError

if TYPE_CHECKING:
    from datafusion import DataFrame, SessionContext

# Only such a plan may be kept and run again: others hold on to the rows of their first run.
KEPT = {"ProjectionExec", "CooperativeExec", "CoalesceBatchesExec", "DatasetExec"}
RUNS = 1_000  # of a kept plan: its metrics grow with each
_NODE = re.compile(r"^\s*(\w+)", re.MULTILINE)


class Chosen:
    """Some columns of a stream, as a scanner."""

    def __init__(
        self, schema: pa.Schema, columns: list[str] | None, stream: Iterator[pa.RecordBatch]
    ) -> None:
        self._columns, self._stream = columns, stream
        self.projected_schema = (
            schema if columns is None else pa.schema([schema.field(name) for name in columns])
        )

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Give the rows."""
        if self._columns is None:
            return self._stream
        return (batch.select(self._columns) for batch in self._stream)


class Current(ds.Dataset):  # type: ignore[misc]
    """A table of one batch, which changes between the runs of a plan."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self.batch: pa.RecordBatch | None = None

    @property
    def schema(self) -> pa.Schema:
        """Of every batch."""
        return self._schema

    def get_fragments(self, filter: Any = None) -> Iterator[Current]:
        """Give the one fragment that a plan keeps: the table itself."""
        return iter([self])

    def scanner(
        self, *_: Any, columns: list[str] | None = None, filter: Any = None, **__: Any
    ) -> Any:
        """Give the rows of the batch."""
        batches = [self.batch] if self.batch is not None else []
        if filter is not None:
            table = pa.Table.from_batches(batches, self._schema)
            return ds.InMemoryDataset(table).scanner(columns=columns, filter=filter)
        return Chosen(self._schema, columns, iter(batches))


class Evaluator:
    """A DataFusion session as the planner and the operators use it.

    Args:
        ctx: the session.
        threads: that it may use.
    """

    def __init__(self, ctx: SessionContext, threads: int = 1) -> None:
        self.ctx, self.threads = ctx, threads
        self.lock = threading.RLock()
        self._count = 0

    def sql(self, text: str, params: Mapping[str, Any] | None = None) -> DataFrame:
        """Plan a query of DataFusion's.

        Raises:
            SqlError: in DataFusion's words.
        """
        try:
            return self.ctx.sql(text, param_values=dict(params)) if params else self.ctx.sql(text)
        except Exception as error:
            raise SqlError(plain_message(error)) from None

    @contextmanager
    def tables(self, named: Mapping[str, ds.Dataset]) -> Iterator[None]:
        """Make datasets known under names, for as long as the context lasts."""
        with self.lock:
            for name, data in named.items():
                self.ctx.register_dataset(name, data)
            try:
                yield
            finally:
                for name in named:
                    self.ctx.deregister_table(name)

    @contextmanager
    def one_partition(self) -> Iterator[None]:
        """Plan without spreading rows, which would lose their order."""
        with self.lock:
            self.ctx.sql("SET datafusion.execution.target_partitions = 1")
            try:
                yield
            finally:
                self.ctx.sql(f"SET datafusion.execution.target_partitions = {self.threads}")

    def describe(
        self, text: str, inputs: Mapping[str, pa.Schema], params: Mapping[str, Any] | None = None
    ) -> pa.Schema:
        """The schema of a query over inputs of some schemas."""
        empty = {name: ds.dataset(schema.empty_table()) for name, schema in inputs.items()}
        with self.tables(empty):
            return self.sql(text, params).schema()

    def row_local(
        self, text: str, schema: pa.Schema, params: Mapping[str, Any] | None = None
    ) -> bool:
        """Whether a query over `__in` gives one row for each, whatever the others are."""
        with self.tables({"__in": Current(schema)}):
            plan = self.sql(text, params).logical_plan().display_indent()
        return set(_NODE.findall(plan)) <= {"Projection", "TableScan", "SubqueryAlias"}

    def interval(
        self, text: str, params: Mapping[str, Any] | None = None
    ) -> tuple[int, int, int] | None:
        """Months, days and nanoseconds of an interval; None of any other constant."""
        value = pa.table(self.sql(f"SELECT {text} AS v", params))["v"].combine_chunks()  # noqa: S608
        if not value[0].is_valid:
            return None
        if pa.types.is_interval(value.type):
            months, days, nanoseconds = value[0].value
            return months, days, nanoseconds
        if pa.types.is_duration(value.type):
            return 0, 0, value[0].cast(pa.duration("ns")).value
        return None

    def constant(self, text: str, params: Mapping[str, Any] | None = None) -> Any:
        """The value of an expression without columns; intervals in nanoseconds.

        Raises:
            SqlError: it has columns, or DataFusion refuses it.
        """
        (value,) = self.constants([text], params)
        return scalar_value(value)

    def constants(
        self, texts: Sequence[str], params: Mapping[str, Any] | None = None
    ) -> list[pa.Array]:
        """The values of expressions without columns, each as an array of one.

        Raises:
            SqlError: one has columns, or DataFusion refuses it.
        """
        shown = ", ".join(f"{text} AS c{k}" for k, text in enumerate(texts))
        frame = self.sql(f"SELECT {shown}", params)  # noqa: S608  parts of the statement
        try:
            table = pa.table(frame)
        except Exception as error:
            raise SqlError(plain_message(error)) from None
        return [column.combine_chunks() for column in table.columns]

    def over_rows(
        self, schema: pa.Schema, items: Sequence[tuple[str, str]], params: Mapping[str, Any] | None
    ) -> RowFragment:
        """Expressions that are evaluated batch by batch."""
        return RowFragment(self, schema, items, params)


def params_in(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a text mentions; DataFusion refuses others."""
    return {k: v for k, v in params.items() if re.search(rf"[$:]{re.escape(k)}\b", sql)}


def scalar_value(array: pa.Array) -> Any:
    """The one value of an array as Python has it; times and intervals in nanoseconds."""
    scalar = array[0]
    if not scalar.is_valid:
        return None
    if pa.types.is_interval(array.type):
        months, days, nanoseconds = scalar.value
        if months:
            raise SqlError("an interval of months has no fixed length; write it in days")
        return days * 86_400_000_000_000 + nanoseconds
    if pa.types.is_duration(array.type):
        return scalar.cast(pa.duration("ns")).value
    if pa.types.is_timestamp(array.type):
        zone = array.type.tz
        return scalar.cast(pa.timestamp("ns", zone)).value
    return scalar.as_py()


class RowFragment:
    """Expressions over the columns of a batch.

    Args:
        evaluator: whose session it is planned in.
        schema: of the batches; at least one column.
        items: (name, expression).
        params: bound to its parameters.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        schema: pa.Schema,
        items: Sequence[tuple[str, str]],
        params: Mapping[str, Any] | None,
    ) -> None:
        self._evaluator, self._params = evaluator, params
        self._leaf = Current(schema)
        shown = ", ".join(f"{sql} AS {_quoted(name)}" for name, sql in items)
        self._text = f"SELECT {shown} FROM __in"  # noqa: S608  parts of the statement
        self._runs = RUNS
        self._plan: Any = None
        self._kept = True

    def _planned(self) -> Any:
        if self._runs >= RUNS or not self._kept:
            with self._evaluator.tables({"__in": self._leaf}), self._evaluator.one_partition():
                self._plan = self._evaluator.sql(self._text, self._params).execution_plan()
            self._kept = set(_NODE.findall(self._plan.display_indent())) <= KEPT
            self._runs = 0
        self._runs += 1
        return self._plan

    def run(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """The values of the expressions, in the order of the rows."""
        self._leaf.batch = batch
        try:
            plan = self._planned()
            found = [
                part.to_pyarrow()
                for k in range(plan.partition_count)
                for part in self._evaluator.ctx.execute(plan, k)
            ]
        except SqlError:
            raise
        except Exception as error:
            raise SqlError(plain_message(error)) from None
        finally:
            self._leaf.batch = None
        if sum(part.num_rows for part in found) != batch.num_rows:
            msg = f"an expression of '{self._text}' does not give one value for each row"
            raise SqlError(msg)
        if not found:
            return []
        columns = zip(*(part.columns for part in found), strict=True)
        return [column[0] if len(column) == 1 else pa.concat_arrays(column) for column in columns]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_FLAT = re.compile(r'"(\w+):(\w+)"')  # a column that both sides of a join have
_PREFIX = re.compile(
    r"^(DataFusion error: |Error during planning: |Schema error: |Execution error: |"
    r"Arrow error: |SQL error: |This feature is not implemented: |Optimizer rule '[^']*' failed"
    r"\s*caused by\s*|caused by\s*|External error: |Python Error: )+"
)

_VALID = re.compile(r"\nValid fields are (.*)\.")


def _own_names(found: re.Match[str]) -> str:
    """The columns that a query may name: those that the plan makes begin with two strokes."""
    names = [name for name in found[1].split(", ") if not name.strip('"').startswith("__")]
    return f"\nValid fields are {', '.join(dict.fromkeys(names))}." if names else ""


def plain_message(error: BaseException) -> str:
    """What DataFusion says, without its layers and the frames beneath."""
    text = str(error).split("\nbacktrace:")[0].strip()
    text = _PREFIX.sub("", text).strip().replace("__in.", "")
    text = _VALID.sub(_own_names, text)
    return _FLAT.sub(r"\1.\2", text)
