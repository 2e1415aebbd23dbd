"""KernelWindow: order, time to live, and state that comes and goes."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fin_sql.errors import (
    CancelledError,
    KernelError,
    NotStreamableError,
    OrderError,
    StateCorruptError,
    StateVersionError,
)
from fin_sql.exec.calls import Call
from fin_sql.exec.keys import KEY_GROUPS
from fin_sql.exec.operator import CHANGES, empty, semantic_id
from fin_sql.exec.order import Order, Ordinals, Piece
from fin_sql.exec.windows import KernelWindow
from fin_sql.states import Cancel
from fin_sql.testing.compare import assert_same_bits

ALL = range(KEY_GROUPS)
TREND = Call("ewma", ("x",), "trend", {"alpha": 0.3})
CALLS = (
    TREND,
    Call("rsi", ("x",), "rsi", {"period": 3}),
    Call("rolling_std", ("x",), "std", {"window": 5}),
    Call("vwap", ("x", "size"), "vwap"),
    Call("ewcorr", ("x", "size"), "corr", {"alpha": 0.2}),
)
SECOND = 1_000_000_000


def rows(n=600, keys=20, seed=1, gap=3):
    """Rows of some keys in order, with ties and silences."""
    rng = np.random.default_rng(seed)
    ts = pa.array(np.cumsum(rng.integers(0, gap, n)) * SECOND)
    return pa.record_batch(
        {
            "ts": ts.cast(pa.timestamp("ns")),
            "key": pa.array([f"K{k}" for k in rng.integers(0, keys, n)]),
            "x": pa.array(rng.normal(100.0, 5.0, n), mask=rng.random(n) < 0.05),
            "size": pa.array(rng.integers(1, 50, n)),
        }
    )


def few(ts, x=None, keys=None):
    """Rows of few columns, by hand."""
    return pa.record_batch(
        {
            "ts": pa.array(ts, pa.int64()),
            "key": pa.array(keys or ["a"] * len(ts)),
            "x": pa.array(x or [float(v) for v in range(len(ts))]),
        }
    )


def operator(batch, calls=CALLS, order=("ts",), by=("key",), **options):
    return KernelWindow(calls, batch.schema, by, order, **options)


def through(window, batches):
    found = [piece.batch for batch in batches for piece in window.process(0, Piece(batch))]
    return pa.Table.from_batches(found)


def cut(batch, *edges):
    edges = [0, *edges, len(batch)]
    return [batch.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def same(found, wanted):
    assert found.schema == wanted.schema
    for name in wanted.column_names:
        left, right = (table[name].combine_chunks() for table in (found, wanted))
        assert_same_bits(left, right, name)


def keep(store, changes):
    """What a driver does with changes: a dict of the newest state of each part and key."""
    assert changes.schema == CHANGES
    for row in changes.to_pylist():
        if row["state"] is None:
            store.pop((row["part"], row["key"]), None)
        else:
            store[row["part"], row["key"]] = row


def reader(store):
    return lambda: [pa.RecordBatch.from_pylist(list(store.values()), schema=CHANGES)]


def fetch_from(store):
    def fetch(keys):
        wanted = set(keys.to_pylist())
        found = [row for (_, key), row in store.items() if key in wanted]
        return pa.RecordBatch.from_pylist(found, schema=CHANGES)

    return fetch


def test_rows_come_out_as_they_came_in_with_a_column_for_each_call():
    batch = rows(50)
    ordinals = Ordinals(1, 2, 30)
    window = operator(batch)
    (piece,) = window.process(0, Piece(batch, ordinals))
    assert piece.batch.schema.names == [*batch.schema.names, *(call.name for call in CALLS)]
    assert piece.batch.select(batch.schema.names).equals(batch)
    assert piece.ordinals == ordinals
    assert window.needs() == window.gives() == Order(("ts",), ("key",))


def test_any_cut_is_one_pass():
    batch = rows()
    whole = through(operator(batch), [batch])
    rng = np.random.default_rng(5)
    for _ in range(20):
        edges = sorted(rng.integers(0, len(batch) + 1, 6).tolist())
        same(through(operator(batch), cut(batch, *edges)), whole)


def test_each_key_is_as_if_it_were_alone():
    batch = rows()
    whole = through(operator(batch), [batch])
    for key in batch["key"].unique():
        alone = batch.filter(pc.equal(batch["key"], key))
        same(through(operator(batch), [alone]), whole.filter(pc.equal(whole["key"], key)))


@pytest.mark.parametrize("edges", [(), (1,), (2,), (3,)])
def test_an_order_break_names_row_key_and_both_places(edges):
    batch = few([1, 7, 9, 5], keys=["b", "a", "b", "a"])
    row = 3 - max([0, *edges])
    with pytest.raises(OrderError) as error:
        through(operator(batch, [TREND]), cut(batch, *edges))
    message = str(error.value)
    assert message.startswith(f"row {row} (key = a) has (ts) = (5), behind (7)")
    assert "(ts) within (key)" in message


def test_an_order_break_in_nanoseconds_is_told_without_pandas(tmp_path):
    (tmp_path / "pandas.py").write_text("raise ImportError")  # fin_sql does not bring it
    code = """
import fin_sql, pyarrow as pa
from fin_sql.exec.calls import Call
from fin_sql.exec.windows import KernelWindow, Piece
rows = pa.record_batch({"ts": pa.array([8, 7], pa.timestamp("ns", "UTC")), "x": [1.0, 2.0]})
window = KernelWindow([Call("diff", ("x",), "step")], rows.schema, (), ("ts",))
try:
    window.process(0, Piece(rows))
except fin_sql.OrderError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("row 1 has (ts) = (1970-01-01 00:00:00.000000007Z), behind "), (
        done.stderr
    )


def test_later_order_columns_decide_between_ties():
    batch = few([1, 1, 1]).append_column("seq", pa.array([1, 2, 2], pa.uint32()))
    through(operator(batch, [TREND], ("ts", "seq")), [batch])
    wrong = batch.take(pa.array([1, 0]))
    with pytest.raises(OrderError, match=r"\(ts, seq\) = \(1, 1\), behind \(1, 2\)"):
        through(operator(batch, [TREND], ("ts", "seq")), [wrong])


def test_ties_and_other_keys_do_not_break_an_order():
    batch = few([5, 5, 3, 3, 5], keys=["a", "a", "b", "b", "a"])
    assert len(through(operator(batch, [TREND]), [batch])) == 5
    with pytest.raises(OrderError, match=r"row 2 has"):
        through(operator(batch, [TREND], by=()), [batch])


def test_the_order_is_checked_across_a_restart():
    batch = few([5, 3])
    first, store = operator(batch, [TREND]), {}
    through(first, [batch.slice(0, 1)])
    keep(store, first.changes())
    second = operator(batch, [TREND])
    second.load(ALL, reader(store))
    with pytest.raises(OrderError, match=r"row 0 .* = \(3\), behind \(5\)"):
        through(second, [batch.slice(1)])


@pytest.mark.parametrize("edges", [(), (1,)])
def test_a_null_in_the_order_is_refused(edges):
    batch = few([1, None, 2])
    with pytest.raises(
        OrderError, match=rf"row {1 - sum(edges)} .*= \(NULL\): NULL and NaN have no"
    ):
        through(operator(batch, [TREND]), cut(batch, *edges))


def test_nan_in_the_order_is_refused_as_what_it_is():
    batch = few([0, 0]).set_column(0, "ts", pa.array([1.0, float("nan")]))
    with pytest.raises(OrderError, match="row 1 .*(?i:nan)") as error:
        through(operator(batch, [TREND]), [batch])
    assert "behind" not in str(error.value)


@pytest.mark.parametrize(("by", "ttl"), [(("key",), 4 * SECOND), ((), 2 * SECOND)])
def test_a_key_that_is_silent_for_longer_starts_anew(by, ttl):
    batch = rows(300, keys=6, gap=4)
    calls = [*CALLS, Call("diff", ("x",), "step")]
    wanted, last, lives, windows = [], {}, {}, {}
    for i in range(len(batch)):  # one window of its own for each life of each key
        row = batch.slice(i, 1)
        key = row["key"][0].as_py() if by else ""
        now = row["ts"].cast(pa.int64())[0].as_py()
        if key in last and now - last[key] > ttl:
            lives[key] = lives.get(key, 0) + 1
        last[key] = now
        life = (key, lives.get(key, 0))
        windows.setdefault(life, operator(batch, calls, by=by))
        wanted.append(through(windows[life], [row]))
    wanted = pa.concat_tables(wanted)
    assert sum(lives.values()) > 5
    rng = np.random.default_rng(8)
    for n in (0, 1, 5, 40):
        edges = sorted(rng.integers(0, len(batch) + 1, n).tolist())
        same(through(operator(batch, calls, by=by, ttl_ns=ttl), cut(batch, *edges)), wanted)


def test_a_gap_of_exactly_the_time_to_live_is_no_silence():
    batch = few([0, 10, 21], x=[1.0, 2.0, 4.0])
    call = Call("diff", ("x",), "step")
    found = through(operator(batch, [call], ttl_ns=10), [batch])
    assert found["step"].to_pylist() == [None, 1.0, None]


def test_a_kernels_error_names_the_row_of_the_batch_whatever_starts_anew():
    batch = few([0, 1, 100, 101], x=[1.0, 1.0, 1.0, -1.0])
    call = Call("vpin", ("x", "key"), "v", {"bucket_volume": 3.0, "n_buckets": 3})
    batch = batch.set_column(1, "key", pa.array([1.0] * 4))
    for ttl in (0, 10):
        with pytest.raises(KernelError, match="at row 3"):
            through(operator(batch, [call], by=(), ttl_ns=ttl), [batch])


def test_expired_keys_are_told_as_gone():
    batch = few([1, 2, 9], keys=["a", "b", "c"])
    window, store = operator(batch, [TREND]), {}
    through(window, [batch])
    keep(store, window.changes())
    assert len(store) == 2 * 3
    assert window.expire(9) == 2
    gone = window.changes()
    assert gone["state"].null_count == len(gone) == 2 * 2
    assert set(gone["key"].to_pylist()) == {b"\x40a", b"\x40b"}
    keep(store, gone)
    assert {key for _, key in store} == {b"\x40c"}
    assert len(window.changes()) == 0
    again = through(window, [few([10], x=[7.0])])
    assert again["trend"].to_pylist() == [7.0]


def test_a_watermark_expires_what_lies_a_time_to_live_behind_it():
    batch = few([1, 2, 9], keys=["a", "b", "c"])
    window = operator(batch, [TREND], ttl_ns=5)
    through(window, [batch])
    window.changes()
    assert window.advance(0, 6) == []
    assert len(window.changes()) == 0
    window.advance(0, 7)
    assert set(window.changes()["key"].to_pylist()) == {b"\x40a"}
    assert operator(batch, [TREND]).advance(0, 100) == []


def test_watermarks_do_not_change_the_output():
    batch = rows(300, keys=6, gap=4)
    wanted = through(operator(batch, ttl_ns=4 * SECOND), [batch])
    window, found = operator(batch, ttl_ns=4 * SECOND), []
    for part in cut(batch, *range(10, 300, 10)):
        found.append(through(window, [part]))
        # later rows may still tie with the last one, so all rows are given up to just before
        window.advance(0, part["ts"].cast(pa.int64())[-1].as_py() - 1)
    same(pa.concat_tables(found), wanted)


def test_a_key_that_is_gone_comes_back_empty_and_is_told_in_that_order():
    batch = few([1, 9], x=[4.0, 6.0])
    window, store = operator(batch, [TREND]), {}
    through(window, [batch.slice(0, 1)])
    window.expire(5)
    found = through(window, [batch.slice(1)])
    assert found["trend"].to_pylist() == [6.0]
    keep(store, window.changes())
    assert len(store) == 2


def test_eviction_before_the_expiry_was_told_does_not_lose_a_key_that_came_back():
    batch = few([1, 9, 10], x=[4.0, 6.0, 8.0])
    wanted = through(operator(batch, [TREND]), [batch.slice(1)])
    store = {}
    window = operator(batch, [TREND], fetch=fetch_from(store))
    through(window, [batch.slice(0, 1)])
    window.expire(5)
    through(window, [batch.slice(1, 1)])
    keep(store, window.evict(1))
    keep(store, window.changes())
    assert through(window, [batch.slice(2)])["trend"][0] == wanted["trend"][1]


def test_evicted_and_fetched_is_uninterrupted():
    batch = rows(600, keys=40)
    wanted = through(operator(batch), [batch])
    store = {}
    window, found, evicted = operator(batch, fetch=fetch_from(store)), [], 0
    for step, part in enumerate(cut(batch, *range(30, 600, 30))):
        found.append(through(window, [part]))
        if step % 3 == 0:
            keep(store, window.changes())
        before = len(window._keys.live())
        keep(store, window.evict(window.bytes_held() // 2))
        evicted += before - len(window._keys.live())
    same(pa.concat_tables(found), wanted)
    assert evicted > 100


def test_the_coldest_keys_are_evicted_first():
    batch = few([1, 2, 3, 4], keys=["a", "b", "c", "a"])
    window = operator(batch, [TREND])
    through(window, cut(batch, 1, 2, 3))
    left = window.evict(1)
    assert set(left["key"].to_pylist()) == {b"\x40b"}
    assert left["state"].null_count == 0


def test_eviction_frees_at_least_what_was_wanted():
    batch = rows(20_000, keys=20_000)
    window = operator(batch)
    through(window, [batch])
    before = window.bytes_held()
    window.evict(before // 2)
    assert window.bytes_held() <= before - before // 2


def test_key_groups_move_to_another_worker():
    batch = rows(600, keys=40)
    wanted = through(operator(batch), [batch])
    here, there, store = operator(batch), operator(batch), {}
    first = through(here, [batch.slice(0, 300)])
    keep(store, here.changes())
    moved = set(range(0, KEY_GROUPS, 2))
    here.drop(moved)
    there.load(moved, reader(store))
    groups = here._keys.groups_of(here._keys.live()).to_pylist()
    assert groups and not moved & set(groups)
    assert set(there._keys.groups_of(there._keys.live()).to_pylist()) <= moved
    owners = {row["key"]: row["key_group"] in moved for row in store.values()}
    late = batch.slice(300)
    elsewhere = pa.array([owners.get(b"\x40" + k.encode(), False) for k in late["key"].to_pylist()])
    found = through(here, [late.filter(pc.invert(elsewhere))])
    also = through(there, [late.filter(elsewhere)])
    assert min(len(found), len(also)) > 50
    rest = wanted.slice(300)
    same(found, rest.filter(pc.invert(elsewhere)))
    same(also, rest.filter(elsewhere))
    same(first, wanted.slice(0, 300))


@pytest.mark.parametrize("seed", range(8))
def test_changes_at_any_moment_continue_bit_for_bit(seed):
    rng = np.random.default_rng(seed)
    batch = rows(500, keys=int(rng.integers(1, 60)), seed=seed)
    options = {"by": ("key",) if seed % 4 else (), "ttl_ns": 9 * SECOND * (seed % 2)}
    wanted = through(operator(batch, **options), [batch])
    edges = sorted(rng.integers(0, len(batch) + 1, 12).tolist())
    window, store, found = operator(batch, **options), {}, []
    for part in cut(batch, *edges):
        found.append(through(window, [part]))
        if rng.random() < 0.5:
            keep(store, window.changes())
        if rng.random() < 0.4:
            keep(store, window.changes())
            window.close()
            window = operator(batch, **options)
            window.load(ALL, reader(store))
    same(pa.concat_tables(found), wanted)


def test_changes_tell_only_what_changed():
    batch = few([1, 2, 3], keys=["a", "b", "a"])
    window = operator(batch, [TREND])
    assert window.changes().equals(empty())
    through(window, [batch.slice(0, 2)])
    assert set(window.changes()["key"].to_pylist()) == {b"\x40a", b"\x40b"}
    through(window, [batch.slice(2)])
    assert set(window.changes()["key"].to_pylist()) == {b"\x40a"}
    assert len(window.changes()) == 0


def test_changes_loaded_one_after_the_other_end_as_they_ended():
    batch = few([1, 2, 3, 9], keys=["a", "b", "a", "a"])
    window, log = operator(batch, [TREND]), []
    for part in cut(batch, 2, 3):
        through(window, [part])
        log.append(window.changes())
    window.expire(9)
    log.append(window.changes())
    again = operator(batch, [TREND])
    again.load(ALL, lambda: log)
    assert again._keys.bytes_of(again._keys.live()).to_pylist() == [b"\x40a"]


def kept_by(batch, calls=CALLS, **options):
    window = operator(batch, calls, **options)
    through(window, [batch])
    return window.changes()


def damaged(changes, row, at=-1):
    table = changes.to_pylist()
    state = bytearray(table[row]["state"])
    state[at] ^= 1
    table[row]["state"] = bytes(state)
    return pa.RecordBatch.from_pylist(table, schema=CHANGES)


@pytest.mark.parametrize("row", [0, 3, -1])
@pytest.mark.parametrize("at", [-1, 5, 13])
def test_damaged_state_is_refused_and_nothing_of_it_is_taken(row, at):
    batch = few([1, 2], keys=["a", "b"])
    calls = [TREND, Call("diff", ("x",), "step")]
    window = operator(batch, calls)
    with pytest.raises(StateCorruptError, match="damaged"):
        window.load(ALL, lambda: [damaged(kept_by(batch, calls), row, at)])
    early = few([0, 0], keys=["a", "b"])
    same(through(window, [early]), through(operator(batch, calls), [early]))


def test_state_of_another_query_is_refused():
    batch = few([1, 2])
    with pytest.raises(StateVersionError, match="belongs to another query"):
        operator(batch, [TREND]).load(ALL, lambda: [kept_by(batch, [TREND], by=())])


def test_equal_calls_are_computed_once():
    batch = rows(50)
    twice = [TREND, Call("ewma", ("x",), "again", {"alpha": 0.3, "adjust": False})]
    window = operator(batch, twice)
    assert len(window._states) == 1
    found = through(window, [batch])
    assert found["trend"].equals(found["again"])
    assert len(window.changes()["part"].unique()) == 2


def test_a_name_in_capitals_is_the_same_call():
    batch = few([1])
    loud = Call("EWMA", ("x",), "loud", {"alpha": 0.3})
    assert operator(batch, [loud]).id == operator(batch, [TREND]).id


def test_part_ids_do_not_depend_on_the_place_or_name_of_a_call():
    batch = rows(5)
    ids = [set(operator(batch, calls)._states) for calls in (CALLS, CALLS[::-1])]
    assert ids[0] == ids[1]
    assert operator(batch).id == operator(batch, CALLS[::-1]).id
    assert set(operator(batch, CALLS[1:])._states) < ids[0]
    renamed = Call(TREND.kernel, TREND.args, "other", TREND.params)
    assert operator(batch, [renamed]).id == operator(batch, [TREND]).id


def test_part_ids_change_with_the_meaning():
    batch = rows(5)
    meanings = [
        operator(batch, [TREND]),
        operator(batch, [Call("ewma", ("x",), "trend", {"alpha": 0.31})]),
        operator(batch, [Call("ewma", ("size",), "trend", {"alpha": 0.3})]),
        operator(batch, [Call("diff", ("x",), "trend")]),
        operator(batch, [TREND], by=()),
        operator(batch, [TREND], by=("key", "size")),
        operator(batch, [TREND], order=("ts", "size")),
        operator(batch, [TREND], upstream=1),
        operator(batch, [TREND], ttl_ns=5),
    ]
    parts = {part for window in meanings for part in window._states}
    assert len(parts) == len({window.id for window in meanings}) == len(meanings)


def test_part_ids_are_those_of_earlier_processes():
    assert semantic_id("order", ("a",), 1) == 4408134564396761823


def test_a_cancelled_query_stops():
    batch, cancel = rows(100), Cancel()
    window = operator(batch, cancel=cancel)
    through(window, [batch.slice(0, 50)])
    cancel.set()
    with pytest.raises(CancelledError, match="cancelled"):
        through(window, [batch.slice(50)])


def test_a_kernel_that_looks_ahead_is_refused():
    call = Call("robust_hampel", ("x",), "y", {"window": 5, "centered": True})
    with pytest.raises(NotStreamableError, match="looks ahead"):
        operator(rows(1), [call])
