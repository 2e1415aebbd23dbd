"""Kernels from Python: columns in, columns out, and state that can be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from fin_sql.abi import Bound, Kernel
from fin_sql.columns import ARROW_TYPES, Column, Slots, as_array, column
from fin_sql.errors import ArgumentTypeError, KernelError, NotStreamableError
from fin_sql.exec.keys import Keys, first_rows
from fin_sql.exec.lookahead import padded, rows_ahead, run_whole
from fin_sql.exec.viewless import viewless
from fin_sql.registry import lookup
from fin_sql.snapshots import restore, snapshot
from fin_sql.spec import Spec
from fin_sql.states import States

Columns = Any  # whatever holds a column: Arrow, NumPy, pandas, Polars, a list


class KernelFunction:
    """A kernel as a Python function; `fin_sql.kernel(name)` makes it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.__doc__ = f"{kernel.spec.signature()}: {kernel.spec.summary}"

    @property
    def spec(self) -> Spec:
        """What the kernel says about itself."""
        return self._kernel.spec

    def apply(self, *values: Any, by: Columns | None = None, **params: Any) -> pa.Array | pa.Table:
        """Run over whole columns whose rows are in order.

        Shapes: n rows in; a scalar or window kernel gives an array of n, in the order of the rows.
        An aggregate gives one Arrow scalar, or with `by` a table of the keys, in the order of
        their appearance, and the value of each.

        Args:
            values: the argument columns, then parameters by position.
            by: key column, or a list or mapping of several; state is kept for each key.
            params: parameters by name.

        Raises:
            SqlError: a parameter is missing or out of its range.
            ArgumentTypeError: a column is missing, of another type or length.
            KernelError: the kernel refused a row.
        """
        given, bound = self._call(values, params)
        keys = _named(by)
        slots = Keys().intern(list(keys.values()), len(given[0]))
        if self.spec.shape != "aggregate":
            return run_columns(bound, given, slots)
        states = States(bound)
        states.fold(columns_of(self.spec, given), slots)
        found = states.values(slots.top)
        if by is None:
            return found[0]
        first = first_rows(slots)
        order = slots.array().take(first)
        table = {name: key.take(first) for name, key in keys.items()}
        return pa.table(table | {self.spec.name: found.take(order)})

    def running(self, *values: Any, by: Columns | None = None, **params: Any) -> pa.Array:
        """The running value of an aggregate, row by row; a window kernel's `apply`.

        Shapes: n rows in, an array of n. Raises as `apply` does.
        """
        given, bound = self._call(values, params)
        columns = columns_of(self.spec, given)
        slots = Keys().intern(list(_named(by).values()), columns[0].n)
        return States(bound).run(columns, slots)

    def state(self, **params: Any) -> KernelState:
        """Empty state of one key, to be moved on row by row or in batches.

        Raises:
            NotStreamableError: with these parameters the kernel looks ahead of its row.
        """
        bound = self._kernel.bind(**params)
        if bound.kernel.spec.shape == "scalar":
            msg = f"{self.spec.who}: a scalar kernel has no state; use apply"
            raise NotStreamableError(msg)
        if rows_ahead(bound):
            msg = f"{self.spec.who}: looks {rows_ahead(bound)} rows ahead; use apply"
            raise NotStreamableError(msg)
        return KernelState(bound)

    def _call(
        self, values: Sequence[Any], params: Mapping[str, Any]
    ) -> tuple[list[pa.Array], Bound]:
        n_args = len(self.spec.args)
        named = {a.name: params[a.name] for a in self.spec.args if a.name in params}
        rest = {name: value for name, value in params.items() if name not in named}
        given = with_defaults(self.spec, values[:n_args], named)
        if len(given) < n_args:
            msg = f"{self.spec.who}: takes {self.spec.arity()}, was given {len(given)} columns"
            raise ArgumentTypeError(msg)
        return [viewless(as_array(v)) for v in given], self._kernel.bind(values[n_args:], **rest)

    def __repr__(self) -> str:
        return f"<fin_sql kernel {self.spec.signature()}>"


class KernelState:
    """State of one key under fixed parameters; `fin_sql.kernel(name).state(...)` makes it."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._states = States(bound)

    def update(self, *values: Any) -> Any:
        """Take rows: columns give an Arrow array of outputs, single values one Python value.

        Raises:
            ArgumentTypeError, KernelError: as `KernelFunction.apply`.
        """
        spec = self._bound.kernel.spec
        single = all(value is None or isinstance(value, (int, float)) for value in values)
        given = [[value] for value in values] if single else values
        columns = columns_of(spec, with_defaults(spec, given))
        found = self._states.run(columns, Slots.single(columns[0].n))
        return found[0].as_py() if single else found

    def value(self) -> Any:
        """The value of an aggregate so far."""
        if self._bound.kernel.spec.shape != "aggregate":
            msg = f"{self._bound.kernel.spec.who}: only an aggregate has a value apart from rows"
            raise KernelError(msg)
        return self._states.values(1)[0].as_py()

    def retract(self, *values: Any) -> None:
        """Take rows back out of an aggregate that can do so."""
        columns = columns_of(self._bound.kernel.spec, values)
        self._states.unfold(columns, Slots.single(columns[0].n))

    def merge(self, other: KernelState) -> None:
        """Merge the state of another part of the rows into this one."""
        self._states.merge(0, other._states, 0)

    def snapshot(self) -> bytes:
        """The state as bytes, behind a header that names kernel, version and parameters."""
        return snapshot(self._states)

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot.

        Raises:
            StateVersionError: it was made by another kernel, version or other parameters.
            StateCorruptError: it is damaged, or was never a snapshot. The state is as before.
        """
        restore(self._states, data)

    def __repr__(self) -> str:
        return f"<state of {self._bound}>"


def kernel(name: str) -> KernelFunction:
    """Find a kernel by its SQL name.

    Raises:
        UnknownNameError: no such kernel; the message has a hint.
    """
    return KernelFunction(lookup(name))


def columns_of(spec: Spec, values: Sequence[Any]) -> list[Column]:
    """The argument columns of a kernel, converted to what it computes in."""
    if len(values) != len(spec.args):
        msg = f"{spec.who}: takes {spec.arity()}, was given {len(values)} columns"
        raise ArgumentTypeError(msg)
    return [
        column(value, arg.type, f"{spec.who}: argument '{arg.name}'")
        for arg, value in zip(spec.args, values, strict=True)
    ]


def run_columns(bound: Bound, given: Sequence[pa.Array], slots: Slots) -> pa.Array:
    """The output of a scalar or window kernel for each row of whole columns."""

    def columns(more: int) -> list[Column]:
        return columns_of(bound.kernel.spec, [padded(array, more) for array in given])

    return run_whole(States(bound), columns, slots, None)


def with_defaults(
    spec: Spec, values: Sequence[Any], named: Mapping[str, Any] | None = None
) -> list[Any]:
    """The columns of a call: those given by name and those left out stand in their places."""
    given, found = dict(named or {}), list(values)
    for arg in spec.args[len(values) :]:
        if arg.name not in given and arg.required:
            break
        value = given.pop(arg.name, arg.default)
        single = value is None or isinstance(value, (int, float))
        rows = len(as_array(found[0])) if single and found else 1
        kind = ARROW_TYPES[arg.type]
        found.append(pa.repeat(pa.scalar(value, kind), rows) if single else value)
    if given:
        msg = f"{spec.who}: {', '.join(map(repr, given))} given twice, or without those before"
        raise ArgumentTypeError(msg)
    return found


def _named(by: Columns | None) -> dict[str, pa.Array]:
    if by is None:
        return {}
    if isinstance(by, Mapping):
        given = by
    elif isinstance(by, (list, tuple)) and by and _is_column(by[0]):
        given = {f"key{i}": key for i, key in enumerate(by)}
    else:
        given = {"key": by}
    return {name: viewless(as_array(key)) for name, key in given.items()}


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))
