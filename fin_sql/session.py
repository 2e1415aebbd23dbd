"""All kernels as functions of a DataFusion session, made from the registry alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

import fin_sql.udfs  # noqa: F401  fills the registry
from fin_sql.abi import Bound, Kernel
from fin_sql.columns import ARROW_TYPES, Slots, arrow_type
from fin_sql.errors import FinSqlError, SqlError
from fin_sql.kernel import columns_of, run_columns
from fin_sql.registry import KERNELS
from fin_sql.snapshots import restore, snapshot
from fin_sql.states import States

if TYPE_CHECKING:
    from datafusion import SessionContext

Session = TypeVar("Session", bound="SessionContext")


def register(ctx: Session) -> Session:
    """Install every kernel in a DataFusion session: scalar, window and aggregate functions.

    A plain session takes the full argument list of a kernel, defaults included, and promises
    neither an order among equal times nor frames nor nesting: see docs/plain-session.md.

    Args:
        ctx: any `datafusion.SessionContext`.

    Returns:
        The same session.
    """
    for kernel in KERNELS.values():
        {"scalar": _scalar, "window": _window, "aggregate": _aggregate}[kernel.spec.shape](
            ctx, kernel
        )
    return ctx


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the frames of fin_sql out of what DataFusion prints of an error."""

    @wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except FinSqlError as error:
            plain = error.with_traceback(None)
        raise plain

    return call


def _types(kernel: Kernel) -> list[pa.DataType]:
    kinds = [arg.type for arg in kernel.spec.args] + [param.type for param in kernel.spec.params]
    return [ARROW_TYPES[kind] for kind in kinds]


def _split(kernel: Kernel, values: Sequence[pa.Array]) -> tuple[list[pa.Array], Bound | None]:
    """The columns of a call, and the kernel with the constants that came as columns."""
    n_args, n_all = len(kernel.spec.args), len(kernel.spec.args) + len(kernel.spec.params)
    constants = values[n_args:n_all]
    if any(len(constant) == 0 for constant in constants):
        return list(values[:n_args]), None
    return list(values[:n_args]), kernel.bind(
        [_constant(kernel, i, array) for i, array in enumerate(constants)]
    )


def _constant(kernel: Kernel, i: int, array: pa.Array) -> Any:
    if len(array) > 1 and len(array.unique()) > 1:
        name = kernel.spec.params[i].name
        msg = (
            f"{kernel.spec.who}: parameter '{name}' must be one constant, "
            f"was {array[0]} and also {next(v for v in array if v != array[0])}"
        )
        raise SqlError(msg)
    if pa.types.is_timestamp(array.type):  # Python's datetime has no nanoseconds
        array = array.cast(pa.timestamp("ns", array.type.tz)).cast(pa.int64())
    return array[0].as_py()


def _scalar(ctx: SessionContext, kernel: Kernel) -> None:
    from datafusion import udf

    @_plainly
    def run(*values: pa.Array) -> pa.Array:
        columns, bound = _split(kernel, values)
        if bound is None:
            return pa.nulls(0, arrow_type(kernel.spec.returns))
        given = columns_of(kernel.spec, columns)
        return States(bound).run(given, Slots.single(given[0].n))

    kind = arrow_type(kernel.spec.returns)
    ctx.register_udf(udf(run, _types(kernel), kind, "immutable", kernel.spec.name))


def _window(ctx: SessionContext, kernel: Kernel) -> None:
    from datafusion import udwf
    from datafusion.user_defined import WindowEvaluator

    class Partition(WindowEvaluator):
        """Called once with all rows of a partition, in order."""

        @_plainly
        def evaluate_all(self, values: list[pa.Array], num_rows: int) -> pa.Array:
            columns, bound = _split(kernel, values)
            if bound is None:
                return pa.nulls(0, arrow_type(kernel.spec.returns))
            return run_columns(bound, columns, Slots.single(num_rows))

    kind = arrow_type(kernel.spec.returns)
    ctx.register_udwf(udwf(Partition, _types(kernel), kind, "immutable", kernel.spec.name))


def _aggregate(ctx: SessionContext, kernel: Kernel) -> None:
    from datafusion import udaf
    from datafusion.user_defined import Accumulator

    class Group(Accumulator):
        """State of one group; partial groups meet as snapshots."""

        def __init__(self) -> None:
            self._states: States | None = None

        def _take(self, values: Sequence[pa.Array]) -> tuple[States, list[Any], Slots] | None:
            columns, bound = _split(kernel, values)
            if bound is None or not len(columns[0]):
                return None
            if self._states is None:
                self._states = States(bound)
            given = columns_of(kernel.spec, columns)
            return self._states, given, Slots.single(given[0].n)

        @_plainly
        def update(self, *values: pa.Array) -> None:
            if taken := self._take(values):
                states, columns, slots = taken
                states.fold(columns, slots)

        @_plainly
        def retract_batch(self, *values: pa.Array) -> None:
            if taken := self._take(values):
                states, columns, slots = taken
                states.unfold(columns, slots)

        def supports_retract_batch(self) -> bool:
            return kernel.retractable

        def state(self) -> list[pa.Scalar]:
            if self._states is None:
                return [pa.scalar(None, pa.binary()), pa.scalar(None, pa.string())]
            params = repr(self._states.bound.params)
            return [pa.scalar(snapshot(self._states), pa.binary()), pa.scalar(params, pa.string())]

        @_plainly
        def merge(self, states: list[pa.Array]) -> None:
            from ast import literal_eval

            for data, params in zip(*(column.to_pylist() for column in states), strict=True):
                if data is None:
                    continue
                other = States(kernel.bind(**literal_eval(params)))
                restore(other, data)
                if self._states is None:
                    self._states = other
                else:
                    self._states.merge(0, other, 0)

        @_plainly
        def evaluate(self) -> pa.Scalar:
            if self._states is None:
                return pa.scalar(None, arrow_type(kernel.spec.returns))
            return self._states.values(1)[0]

    kind = arrow_type(kernel.spec.returns)
    parts = [pa.binary(), pa.string()]
    ctx.register_udaf(udaf(Group, _types(kernel), kind, parts, "immutable", kernel.spec.name))
