"""The laws about missing values, units, bounds, headers and SQL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from fin_sql.columns import Slots
from fin_sql.errors import KernelError, NotStreamableError, StateError
from fin_sql.exec.calls import Call
from fin_sql.exec.keys import KEY_GROUPS
from fin_sql.exec.lookahead import rows_ahead
from fin_sql.exec.operator import CHANGES
from fin_sql.exec.order import Piece
from fin_sql.exec.windows import KernelWindow
from fin_sql.kernel import columns_of
from fin_sql.registry import KERNELS
from fin_sql.snapshots import restore, snapshot
from fin_sql.states import States
from fin_sql.testing.checks import Subject, as_plain, law, stateful, window
from fin_sql.testing.compare import assert_close, assert_same_bits
from fin_sql.testing.draws import START_NS, cuts, part, scaled, scaled_params, unit_powers
from fin_sql.testing.market import Market

NOTHING = (None, float("nan"), float("inf"), float("-inf"))


@law()
def nothing_in_gives_nothing_out(s: Subject) -> None:
    """No rows, one row, and rows without values neither crash nor give a value from nowhere."""
    columns = s.draw(60)
    assert len(s.run(part(columns, 0, 0))) == 0
    assert len(s.run(part(columns, 0, 1))) == 1
    if s.spec.nulls in ("skip", "propagate"):
        empty = [pa.nulls(5, column.type) for column in columns]
        wanted = [None] * 5
        if s.spec.shape == "aggregate":
            wanted = as_plain(States(s.bound).values(1)) * 5
        assert_close(as_plain(s.run(empty)), wanted, 0.0, "all NULL")


@law(lambda kernel: stateful(kernel) and kernel.spec.nulls == "skip")
def a_skipped_row_changes_no_other(s: Subject) -> None:
    """NULL, NaN and infinities are all missing, and a missing row is as if it were not there."""
    columns = s.draw(100, missing=0.0)
    wanted = s.run(columns)
    for k, arg in enumerate(s.spec.args):
        for value in NOTHING if arg.type == "float64" else NOTHING[:1]:
            gap = [column.slice(50, 1) for column in columns]
            gap[k] = pa.array([value], columns[k].type)
            longer = [
                pa.concat_arrays([column.slice(0, 50), hole, column.slice(50)])
                for column, hole in zip(columns, gap, strict=True)
            ]
            found = s.run(longer)
            rest = pa.concat_arrays([found.slice(0, 50), found.slice(51)])
            assert_same_bits(rest, wanted, f"'{arg.name}' = {value}")
            if s.spec.shape == "window":
                assert not found[50].is_valid, f"'{arg.name}' = {value} gave {found[50]}"


@law(lambda kernel: kernel.spec.nulls == "reject")
def a_missing_argument_is_refused(s: Subject) -> None:
    """An error names the first row that lacks an argument."""
    columns = s.draw(60)
    for k, arg in enumerate(s.spec.args):
        for value in NOTHING if arg.type == "float64" and stateful(s.kernel) else NOTHING[:1]:
            try:
                s.run(_with(columns, k, 31, value))
            except KernelError as error:
                assert (error.row, error.code) == (31, KernelError.MISSING_ARGUMENT), f"{error!r}"
            else:
                raise AssertionError(f"took '{arg.name}' = {value}")


@law(lambda kernel: window(kernel) and kernel.spec.nulls == "row")
def a_spike_leaves_with_its_row(s: Subject) -> None:
    """Once a missing value has no effect any more, a huge one in its place has none either."""
    columns = s.draw(1500, missing=0.0)
    wanted = s.run(columns)
    for k, arg in enumerate(s.spec.args):
        if arg.type != "float64":
            continue
        gone = s.run(_with(columns, k, 20, None))
        for value in (np.nan, np.inf, -np.inf):
            found = s.run(_with(columns, k, 20, value))
            assert_same_bits(found, gone, "NaN and infinities are missing")
        # where ties give NULL already, a missing value shows no effect: so at many places
        effects = [
            np.nonzero(_there(wanted) & ~_there(s.run(_with(columns, k, row, None))))[0] - row
            for row in range(20, 60)
        ]
        reach = max(int(effect.max(initial=0)) for effect in effects)
        assert reach < 1400, "a missing value has an effect for ever"
        for spike in (1e16, -1e16, 1e300, -1e300, 5e-324):
            found = s.run(_with(columns, k, 20, spike)).slice(21 + reach)
            assert_same_bits(found, wanted.slice(21 + reach), f"{reach} rows after {spike}")


def _there(array: pa.Array) -> Any:
    """Where a value, and each of its fields, is not NULL."""
    there = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_struct(array.type):
        for field in array.flatten():
            there = there & _there(field)
    return there


def _with(columns: list[pa.Array], k: int, row: int, value: Any) -> list[pa.Array]:
    """The columns with one value of one of them replaced."""
    column = columns[k]
    odd = pa.array([value], column.type)
    replaced = pa.concat_arrays([column.slice(0, row), odd, column.slice(row + 1)])
    return [replaced if i == k else c for i, c in enumerate(columns)]


@law()
def odd_numbers_do_not_crash(s: Subject) -> None:
    """Extreme values give NULL or a number; an infinity comes out only where one went in."""
    odd = [0.0, -0.0, 5e-324, 1e-300, 1e300, 1.7e308, 1e16, 1.0]
    columns = s.draw(200, missing=0.0)
    for k, arg in enumerate(s.spec.args):
        if arg.type == "float64":
            values = s.rng.choice(odd, 200)
            if arg.domain != "positive":
                values = values * s.rng.choice([-1.0, 1.0], 200)
            columns[k] = pa.array(values)
    for value in as_plain(s.run(columns)):
        for number in value.values() if isinstance(value, dict) else [value]:
            assert not isinstance(number, float) or np.isfinite(number), f"gave {value}"


@law(lambda kernel: all(leaf.unit is not None for leaf in kernel.spec.returns.leaves))
def outputs_scale_as_their_units_say(s: Subject) -> None:
    """With prices in cents instead of dollars, what is a price comes out in cents too."""
    columns = s.draw(200, missing=0.0)
    letters = {u for arg in s.spec.args for u in unit_powers(arg.unit)}
    for letter in sorted(letters):
        params = scaled_params(s.spec, s.bound.params, 2.0, letter)
        large = s.apply(scaled(columns, s.spec, 2.0, letter), **params)
        small = s.apply(columns)
        for leaf in s.spec.returns.leaves:
            factor = 2.0 ** unit_powers(leaf.unit).get(letter, 0)
            before, after = (
                (array.field(leaf.name) if leaf.name else array).to_pylist()
                for array in (small, large)
            )
            wanted = [v * factor if isinstance(v, float) else v for v in before]
            assert_close(after, wanted, 1e-9, f"unit {letter} of output {leaf.name}")


@law(stateful)
def state_stays_within_its_bound(s: Subject) -> None:
    """The bytes of a key follow from the parameters; a kernel that grows stops at its limit."""
    columns = s.draw(3000)
    if not s.kernel.grows:
        states = States(s.bound)
        s.run(part(columns, 0, 1), states)
        held = states.bytes_held
        s.run(columns, states)
        assert states.bytes_held == held == s.bound.state_size
        return
    states = States(s.bound, 256)
    try:
        for _ in range(20):
            states.fold(columns_of(s.spec, columns), Slots.single(3000))
    except KernelError as error:
        assert "max_state_bytes" in str(error), f"said only: {error}"
    else:
        raise AssertionError("a state that grows went beyond its bound in silence")
    assert states.bytes_held <= 256


@law(stateful)
def foreign_state_is_refused_untouched(s: Subject) -> None:
    """Damage anywhere, and state of other parameters or kernels, is an error; nothing changes."""
    columns = s.draw(40)
    states = States(s.bound)
    s.run(columns, states)
    kept = snapshot(states)
    damaged = [kept[:cut] for cut in (0, 3, 13, len(kept) - 1)] + [kept + b"\1"]
    short = len(kept) if len(kept) <= 500 else 60
    for at in {*range(short), *s.rng.integers(0, len(kept), 40).tolist()}:
        flipped = kept[at] ^ (1 << int(s.rng.integers(8)))
        damaged.append(kept[:at] + bytes([flipped]) + kept[at + 1 :])
    for case in s.spec.cases:
        other = s.kernel.bind((), **case)
        if other.header != s.bound.header:
            damaged.append(snapshot(States(other)))
    for kernel in KERNELS.values():
        if kernel is not s.kernel:
            damaged.append(snapshot(States(kernel.bind((), **kernel.spec.cases[0]))))
    for data in damaged:
        try:
            restore(states, data)
        except StateError:
            assert snapshot(states) == kept, "a refused snapshot changed the state"
        else:
            raise AssertionError(f"took foreign bytes {data[:40]!r}")


# ---------------------------------------------------------------- operator and SQL


@law(stateful)
def an_operator_that_is_lost_and_loaded_is_one_pass(s: Subject) -> None:
    """A KernelWindow whose changes were taken, dropped at any batch, continues bit for bit."""
    arguments, keys = s.draw(400), s.rng.choice(["a", "b", "c", "d", "e"], 400)
    ts = pa.array(START_NS + np.cumsum(s.rng.integers(0, 3, 400)), pa.timestamp("ns"))
    names = [f"a{k}" for k in range(len(arguments))]
    columns = {"ts": ts, "k": pa.array(keys)} | dict(zip(names, arguments, strict=True))
    batch = pa.record_batch(columns)
    call = Call(s.spec.name, tuple(names), "y", s.bound.params)

    def operator() -> KernelWindow:
        return KernelWindow([call], batch.schema, ("k",), ("ts",))

    if rows_ahead(s.bound):
        try:
            operator()
        except NotStreamableError:
            return
        raise AssertionError("looks ahead, and was not refused")
    here, store, found = operator(), {}, []
    for begin, end in cuts(s.rng, 400, 15):
        (piece,) = here.process(0, Piece(batch.slice(begin, end - begin)))
        found.append(piece.batch["y"])
        if s.rng.random() < 0.6:
            for row in here.changes().to_pylist():
                store[row["part"], row["key"]] = row
            if s.rng.random() < 0.6:
                kept = [pa.RecordBatch.from_pylist(list(store.values()), schema=CHANGES)]
                here = operator()
                here.load(range(KEY_GROUPS), kept.copy)
    together = pa.concat_arrays(found)
    (piece,) = operator().process(0, Piece(batch))
    assert_same_bits(together, piece.batch["y"], "one pass")
    for key in np.unique(keys):
        rows = pa.array(np.nonzero(keys == key)[0])
        alone = s.run([column.take(rows) for column in arguments])
        assert_same_bits(together.take(rows), alone, f"key {key}")


@law()
def sql_is_the_direct_call(s: Subject) -> None:
    """In a plain DataFusion session: the same bits, by partition, by group, by row."""
    from datafusion import SessionContext

    from fin_sql.session import register

    columns, keys = s.draw(300), pa.array(s.rng.choice(["a", "b", "c"], 300))
    names = [f"a{k}" for k in range(len(columns))]
    batch = pa.record_batch(
        {"k": keys, "i": pa.array(range(300))} | dict(zip(names, columns, strict=True))
    )
    ctx = register(SessionContext())
    # An aggregate is split, and its parts merged; by time these would have to be in order.
    pieces = 1 if any(arg.type == "timestamp" for arg in s.spec.args) else 4
    parts = [[batch.slice(begin, end - begin)] for begin, end in cuts(s.rng, 300, pieces)]
    ctx.register_record_batches("t", parts)
    literals = [_literal(s.bound.params[p.name], p.type) for p in s.spec.params]
    call = f"{s.spec.name}({', '.join([*names, *literals])})"
    if s.spec.shape == "aggregate":
        query = f"SELECT k, {call} AS y FROM t GROUP BY k ORDER BY k"  # noqa: S608  names only
        found = ctx.sql(query).to_arrow_table()
        wanted = s.apply(columns, by={"k": keys}).sort_by("k")
        left, right = (as_plain(t.column(1).combine_chunks()) for t in (found, wanted))
        assert_close(left, right, 1e-9, "GROUP BY", as_plain(s.run(columns)))
        return
    over = " OVER (PARTITION BY k ORDER BY i)" if s.spec.shape == "window" else ""
    query = f"SELECT i, {call}{over} AS y FROM t ORDER BY i"  # noqa: S608  names only
    found = ctx.sql(query).to_arrow_table()
    wanted = s.apply(columns, by=keys) if over else s.apply(columns)
    assert_same_bits(found.column("y").combine_chunks(), wanted, "OVER" if over else "rows")


def _literal(value: Any, kind: str) -> str:
    if kind == "timestamp":
        return f"arrow_cast(CAST({value} AS BIGINT), 'Timestamp(Nanosecond, None)')"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value) if isinstance(value, int) else f"CAST({value!r} AS DOUBLE)"


@law()
def its_example_runs(s: Subject) -> None:
    """The example of the docs gives values on a simulated market."""
    from fin_sql.connection import connect

    market = Market(seed=3)
    ctx = connect()
    ctx.register("trades", market.trades(2000))
    ctx.register("quotes", market.quotes(2000))
    found = ctx.sql(s.spec.example).to_arrow()
    values = found.column(found.num_columns - 1)
    assert values.null_count < len(values), f"only NULL from {s.spec.example}"
