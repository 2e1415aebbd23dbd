"""The laws that every kernel keeps, as functions: for ours, and for those that users write."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.abi import Bound, Kernel
from fin_sql.columns import Slots
from fin_sql.exec.keys import Keys
from fin_sql.exec.lookahead import rows_ahead
from fin_sql.kernel import KernelFunction, columns_of
from fin_sql.registry import lookup
from fin_sql.snapshots import restore, snapshot
from fin_sql.spec import Spec
from fin_sql.states import States
from fin_sql.testing.compare import assert_close, assert_same_bits
from fin_sql.testing.draws import (
    Rows,
    cuts,
    draw,
    part,
)


class Subject:
    """A kernel under one set of parameters, and chance for a check of it."""

    def __init__(self, kernel: Kernel, params: Mapping[str, Any], seed: int) -> None:
        self.kernel, self.spec = kernel, kernel.spec
        self.bound: Bound = kernel.bind(**params)
        self.rng = np.random.default_rng(seed)
        self.missing = 0.0 if self.spec.nulls == "reject" else 0.1

    def draw(self, rows: int = 300, missing: float | None = None) -> Rows:
        """Argument columns, by default with some missing values."""
        missing = self.missing if missing is None else missing
        return draw(self.spec, self.rng, rows, missing, self.bound.params)

    def run(self, columns: Rows, states: States | None = None, slots: Slots | None = None) -> Any:
        """Outputs row by row; of an aggregate the running values."""
        states = States(self.bound) if states is None else states
        given = columns_of(self.spec, columns)
        return states.run(given, Slots.single(given[0].n) if slots is None else slots)

    def fold(self, columns: Rows) -> States:
        """The state of an aggregate after some rows."""
        states = States(self.bound)
        states.fold(columns_of(self.spec, columns), Slots.single(len(columns[0])))
        return states

    def apply(self, columns: Rows, by: Any = None, **params: Any) -> Any:
        """As users call it, look-ahead included; one value of an aggregate is an array of one."""
        given = self.bound.params | params
        found = KernelFunction(self.kernel).apply(*columns, by=by, **given)
        return pa.array([found.as_py()], found.type) if isinstance(found, pa.Scalar) else found

    def textbook(self, columns: list[list[Any]]) -> Any:
        """What the definition makes of lists."""
        assert self.spec.definition is not None
        return self.spec.definition(*columns, **self.bound.params)


def first_value_row(name: str) -> int | None:
    """The row, from 1, at which a window kernel with its defaults has its first value.

    None where it depends on the data, or where a parameter has no default.
    """
    kernel = lookup(name)
    if any(param.required for param in kernel.spec.params):
        return None
    rows = set()
    for seed in range(3):
        subject = Subject(kernel, {}, seed)
        there = subject.run(subject.draw(1_000, missing=0.0)).is_valid()
        rows.add(pc.index(there, True).as_py() + 1)
    return rows.pop() if len(rows) == 1 and rows != {0} else None


Law = Callable[[Subject], None]
LAWS: list[tuple[Law, Callable[[Kernel], bool]]] = []


def law(when: Callable[[Kernel], bool] = lambda kernel: True) -> Callable[[Law], Law]:
    """Take a function up as a law of the kernels for which `when` holds."""

    def take(function: Law) -> Law:
        LAWS.append((function, when))
        return function

    return take


@dataclass(frozen=True)
class Check:
    """One law for one kernel and one set of parameters; call it."""

    name: str
    kernel: Kernel
    params: Mapping[str, Any]
    seed: int
    law: Law

    def __call__(self) -> None:
        """Raise AssertionError, with kernel, parameters and seed, where the law is broken."""
        try:
            self.law(Subject(self.kernel, self.params, self.seed))
        except AssertionError as error:
            who = f"{self.kernel.spec.who} {dict(self.params)}"
            raise AssertionError(f"{who}: {self.name}: {error}; seed {self.seed}") from error


def checks_for(kernel: str | KernelFunction | Kernel, seed: int = 0) -> Iterator[Check]:
    """The laws of a kernel, for each set of parameters in its Spec's `cases`.

    Args:
        kernel: its name, or what `fin_sql.kernel` returns.
        seed: another seed draws other data.
    """
    if isinstance(kernel, str):
        kernel = lookup(kernel)
    elif isinstance(kernel, KernelFunction):
        kernel = lookup(kernel.spec.name)
    for function, when in LAWS:
        if when(kernel):
            for i, params in enumerate(kernel.spec.cases):
                name = function.__name__
                own = zlib.crc32(f"{kernel.spec.name} {name} {i} {seed}".encode())
                yield Check(name, kernel, params, own, function)


def stateful(kernel: Kernel) -> bool:
    """Whether the kernel has state."""
    return kernel.spec.shape != "scalar"


def aggregate(kernel: Kernel) -> bool:
    """Whether the kernel merges."""
    return kernel.spec.shape == "aggregate"


def window(kernel: Kernel) -> bool:
    """Whether the kernel is called row by row in order."""
    return kernel.spec.shape == "window"


# ---------------------------------------------------------------- the definition


def plain(spec: Spec, columns: Rows) -> list[list[Any]]:
    """The columns as lists, None where a value is missing to this kernel."""
    found = []
    for array, arg in zip(columns, spec.args, strict=True):
        values = (array.cast(pa.int64()) if arg.type == "timestamp" else array).to_pylist()
        if spec.shape != "scalar":
            values = [None if isinstance(v, float) and not np.isfinite(v) else v for v in values]
        found.append(values)
    return found


def finite(column: pa.Array) -> pa.Array:
    """A column whose NaN and infinities are NULL."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def without_missing(columns: list[list[Any]]) -> tuple[list[int], list[list[Any]]]:
    """The rows that have all their arguments: which, and their columns."""
    whole = [i for i, row in enumerate(zip(*columns, strict=True)) if None not in row]
    return whole, [[column[i] for i in whole] for column in columns]


def as_plain(array: pa.Array) -> list[Any]:
    """Outputs as Python values, times as integers."""
    if pa.types.is_struct(array.type):
        names = [field.name for field in array.type]
        rows = zip(*(as_plain(array.field(name)) for name in names), strict=True)
        there = array.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if ok else None
            for ok, row in zip(there, rows, strict=True)
        ]
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    found: list[Any] = array.to_pylist()
    return found


@law()
def equals_its_definition(s: Subject) -> None:
    """On drawn data the kernel is its textbook."""
    columns = s.draw(120)
    if s.spec.shape == "scalar":
        columns = [finite(column) for column in columns]
    lists = plain(s.spec, columns)
    if s.spec.shape == "aggregate":
        running = s.run(columns)
        for end in (0, 1, 2, 60, 120):
            rows = [column[:end] for column in lists]
            wanted = s.textbook(rows if s.spec.nulls == "own" else without_missing(rows)[1])
            found = s.fold(part(columns, 0, end)).values(1)
            what = f"first {end} rows"
            assert_close(as_plain(found), [wanted], s.spec.tolerance, what, as_plain(running))
            if end:
                assert_same_bits(running.slice(end - 1, 1), found, f"running, {what}")
        return
    found = as_plain(s.apply(columns))
    if s.spec.nulls in ("row", "own") and s.spec.shape == "window":
        wanted = s.textbook(lists)
    elif s.spec.nulls == "own":
        wanted = [s.textbook(list(row)) for row in zip(*lists, strict=True)]
    else:
        whole, rows = without_missing(lists)
        wanted = [None] * 120
        if s.spec.shape == "window":
            given = s.textbook(rows)
        else:
            given = [s.textbook(list(row)) for row in zip(*rows, strict=True)]
        for i, value in zip(whole, given, strict=True):
            wanted[i] = value
    assert_close(found, wanted, s.spec.tolerance, "definition")
    assert any(value is not None for value in wanted), "the definition gave nothing to compare"


# ---------------------------------------------------------------- one pass, however it is cut


@law(stateful)
def any_cut_with_a_restart_is_one_pass(s: Subject) -> None:
    """Snapshot, restore into empty state, continue: the bits of the uninterrupted run."""
    columns = s.draw(200)
    wanted = s.run(columns)
    for pieces in (2, 5, 200):
        found, states = [], States(s.bound)
        for begin, end in cuts(s.rng, 200, pieces):
            found.append(s.run(part(columns, begin, end), states))
            kept = snapshot(states)
            states = States(s.bound)
            restore(states, kept)
            assert snapshot(states) == kept, "a restored state has another snapshot"
        assert_same_bits(pa.concat_arrays(found), wanted, f"{pieces} pieces")


@law(stateful)
def batches_and_other_keys_do_not_matter(s: Subject) -> None:
    """Interleaved keys in random batches: each key as if it were alone."""
    columns, names = (
        s.draw(400),
        pa.array(["a", "bb", "ccc", None]).take(pa.array(s.rng.integers(0, 4, 400))),
    )
    keys, states, found = Keys(), States(s.bound), []
    for begin, end in cuts(s.rng, 400, 9):
        slots = keys.intern([names.slice(begin, end - begin)], end - begin)
        found.append(s.run(part(columns, begin, end), states, slots))
    together = pa.concat_arrays(found)
    for name in names.unique():
        rows = pa.array([i for i, key in enumerate(names) if key.equals(name)])
        alone = s.run([column.take(rows) for column in columns])
        assert_same_bits(together.take(rows), alone, f"key {name}")


@law(lambda kernel: not stateful(kernel))
def batches_do_not_matter(s: Subject) -> None:
    """A scalar depends on its row alone."""
    columns = s.draw(200)
    found = [s.run(part(columns, begin, end)) for begin, end in cuts(s.rng, 200, 7)]
    assert_same_bits(pa.concat_arrays(found), s.run(columns), "pieces")


@law(window)
def the_future_leaves_the_past(s: Subject) -> None:
    """Other rows from t on leave the outputs before t, as far as the kernel looks ahead."""
    columns, others = s.draw(200), s.draw(200)
    wanted = s.apply(columns)
    for t in (120, *s.rng.integers(1, 200, 3).tolist()):
        mixed = [
            pa.concat_arrays([a.slice(0, t), b.slice(t)])
            for a, b in zip(columns, others, strict=True)
        ]
        past = max(0, t - rows_ahead(s.bound))
        assert_same_bits(s.apply(mixed).slice(0, past), wanted.slice(0, past), "past")


# ---------------------------------------------------------------- merge and retract


@law(aggregate)
def merged_parts_are_one_pass(s: Subject) -> None:
    """Parts of the rows in order, some of them empty or without any value, merge to the whole."""
    columns = s.draw(200)
    empty, running = part(columns, 0, 0), as_plain(s.run(columns))
    wanted = running[-1:]
    for left, right in ((columns, empty), (empty, columns)):
        whole = s.fold(left)
        whole.merge(0, s.fold(right), 0)
        assert_close(as_plain(whole.values(1)), wanted, 1e-14, "with nothing", running)
    parts = [s.fold(part(columns, begin, end)) for begin, end in cuts(s.rng, 200, 6)]
    parts.insert(2, s.fold(empty))
    if s.spec.nulls != "reject":
        nothing = [pa.nulls(5, column.type) for column in columns]
        parts.insert(4, s.fold(nothing))
    one_by_one = s.fold(empty)
    for other in parts:
        one_by_one.merge(0, other, 0)
    assert_close(as_plain(one_by_one.values(1)), wanted, 1e-9, "from the left", running)
    while len(parts) > 1:
        parts[-2].merge(0, parts.pop(), 0)
    assert_close(as_plain(parts[0].values(1)), wanted, 1e-9, "from the right", running)
    ordered = any(arg.type == "timestamp" for arg in s.spec.args)
    if not ordered:
        late, early = s.fold(part(columns, 90, 200)), s.fold(part(columns, 0, 90))
        late.merge(0, early, 0)
        assert_close(as_plain(late.values(1)), wanted, 1e-9, "in the other order", running)


@law(lambda kernel: kernel.retractable)
def rows_taken_back_leave_no_trace(s: Subject) -> None:
    """What is taken back from the front is as if it had never come."""
    columns = s.draw(200)
    states, running = s.fold(columns), as_plain(s.run(columns))
    for begin, end in ((0, 1), (1, 60), (60, 150)):
        states.unfold(columns_of(s.spec, part(columns, begin, end)), Slots.single(end - begin))
        wanted = as_plain(s.fold(part(columns, end, 200)).values(1))
        found = as_plain(states.values(1))
        assert_close(found, wanted, 1e-9, f"without the first {end}", running)
    states.unfold(columns_of(s.spec, part(columns, 150, 200)), Slots.single(50))
    nothing = as_plain(States(s.bound).values(1))
    assert_close(as_plain(states.values(1)), nothing, 0.0, "without any")
