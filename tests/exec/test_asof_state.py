"""What AsofJoin over streams holds, checkpoints and refuses."""

import numpy as np
import pyarrow as pa
import pytest
from asof_streams import LEFT, RIGHT, Run, Sides, Way, assert_same_tables, plain

from fin_sql import ArgumentTypeError, OrderError, SqlError
from fin_sql.errors import NotStreamableError, StateCorruptError, StateError, StateVersionError
from fin_sql.exec.asof import END, MANY_KEYS, AsofJoin
from fin_sql.exec.calls import Call
from fin_sql.exec.keys import KEY_GROUPS, Keys
from fin_sql.exec.operator import CHANGES, Operator
from fin_sql.exec.order import Ordinals, Piece
from fin_sql.exec.windows import KernelWindow

SEED = 20261127
MiB = 1 << 20
PLAIN = pa.schema([("t", pa.int64()), ("k", pa.int64()), ("v", pa.float64())])


def rows(begin, n, keys=50):
    """One row each unit of time."""
    at = np.arange(begin, begin + n)
    return pa.record_batch([at, at % keys, at * 0.5], schema=PLAIN)


def plain_join(direction, tolerance=100, **options):
    options = {"by": [("k", "k")], "endless": True, "payload": [("v", "found")]} | options
    return AsofJoin(
        PLAIN, PLAIN, on=("t", "t"), direction=direction, tolerance_ns=tolerance, **options
    )


# ---------------------------------------------------------------- memory

DIRECTIONS = [">=", ">", "<=", "<", "nearest"]


@pytest.mark.parametrize("wait", ["wait", "now"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("left_rows", [0, 1], ids=["silent", "a trickle"])
def test_millions_of_right_rows_beside_few_left_rows_hold_little(direction, wait, left_rows):
    """A watermark of the left side alone lets right rows go, however many come."""
    join, step, most = plain_join(direction, wait=wait), 50_000, 0
    before = pa.total_allocated_bytes()
    for begin in range(0, 3_000_000, step):
        found = join.process(1, Piece(rows(begin, step)))
        if left_rows:
            found += join.process(0, Piece(rows(begin + step - 1, left_rows)))
        found += join.advance(1, begin + step - 1) + join.advance(0, begin + step - 1)
        most = max(most, join.bytes_held(), pa.total_allocated_bytes() - before)
    assert most < 30 * MiB  # 3 000 000 rows are 72 MB and more
    join.advance(1, END)
    assert not join.waiting


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_millions_of_left_rows_beside_few_right_rows_hold_little(direction):
    join, step, most, given = plain_join(direction), 50_000, 0, 0
    before = pa.total_allocated_bytes()
    for begin in range(0, 3_000_000, step):
        found = join.process(0, Piece(rows(begin, step)))
        found += join.process(1, Piece(rows(begin + step - 1, 1)))
        found += join.advance(1, begin + step - 1)
        given += sum(piece.batch.num_rows for piece in found)
        del found
        most = max(most, join.bytes_held(), pa.total_allocated_bytes() - before)
    assert most < 16 * MiB
    assert given >= 3_000_000 - 101  # but those that the tolerance makes wait


def test_right_rows_far_ahead_are_held_and_their_memory_is_given_back():
    join = plain_join("<=")
    for begin in range(0, 1_000_000, 50_000):
        join.process(1, Piece(rows(begin, 50_000)))
    assert join.bytes_held() > 24 * MiB  # each may still be met
    join.process(1, Piece(rows(1_000_000, 50_000)))
    join.advance(0, 1_040_000)
    join.process(1, Piece(rows(1_050_000, 10)))
    assert join.bytes_held() < 8 * MiB
    (found,) = join.process(0, Piece(rows(1_040_001, 5))) or join.advance(1, 1_041_000)
    assert found.batch["found"].to_pylist() == [t * 0.5 for t in range(1_040_001, 1_040_006)]


@pytest.mark.parametrize("direction", [">=", "nearest", "<"])
def test_a_silent_key_does_not_grow(direction):
    """One key has all rows; a hundred others had one each."""
    join = plain_join(direction, tolerance=10**9)
    join.process(1, Piece(rows(0, 100, 100)))
    held = []
    for begin in range(100, 500_100, 10_000):
        busy = rows(begin, 10_000, 1)
        join.process(1, Piece(busy))
        join.process(0, Piece(busy))
        join.advance(0, begin + 9_999)
        join.advance(1, begin + 9_999)
        held.append(len(join._held_rights().slots))
    assert max(held) <= 101
    if direction != "<":  # the last row of a silent key is held
        assert min(held) == 100


@pytest.mark.parametrize("direction", [">=", "<=", "nearest"])
def test_keys_that_have_no_rows_any_more_are_forgotten(direction):
    """Every row has a key of its own; the tolerance ends what it is held for."""
    join, known, most = plain_join(direction, tolerance=50), {}, 0

    def commit():
        for row in join.changes().to_pylist():
            if row["state"] is None:
                known.pop((row["part"], row["key"]), None)
            else:
                known[row["part"], row["key"]] = row["state"]

    for begin in range(0, 5 * MANY_KEYS, 8_192):
        for input in (1, 0):
            join.process(input, Piece(rows(begin, 8_192, 1 << 40)))
            join.advance(input, begin + 8_191)
            commit()
        most = max(most, join._keys.n_slots, len(known))
    assert most < 3 * MANY_KEYS


# ---------------------------------------------------------------- order and watermarks


@pytest.mark.parametrize("input", [0, 1])
def test_a_row_behind_the_watermark_is_refused(input):
    join = plain_join("<=")
    join.advance(input, 9)
    join.process(input, Piece(rows(10, 5)))
    join.advance(input, 20)
    side = ("left", "right")[input]
    with pytest.raises(OrderError, match=f"{side} side .*row 5 .*t = 20.*behind the watermark 20"):
        join.process(input, Piece(rows(20, 1)))
    join.process(input, Piece(rows(21, 3)))
    with pytest.raises(OrderError, match="row 8 .*t = 22.* comes behind 23"):
        join.process(input, Piece(rows(22, 1)))


def test_the_output_watermark_is_behind_the_rows_that_wait():
    join = plain_join("<=", tolerance=10)
    assert join.watermark() is None
    join.advance(0, 4)
    assert join.watermark() == 4
    join.process(0, Piece(rows(7, 3)))  # 7, 8, 9
    assert join.watermark() == 6
    join.advance(0, 30)
    assert join.watermark() == 6
    join.process(1, Piece(rows(7 + 50, 1)))  # of the key of 7, and beyond the tolerance
    assert join.watermark() == 30
    join.advance(0, END)
    assert join.watermark() == END


def test_an_operator_that_holds_no_row_back_passes_the_least_watermark_on():
    class Passing(Operator):
        inputs = ("one", "other")

        def process(self, input, piece):
            return [piece]

    operator = Passing()
    assert operator.watermark() is None
    operator.advance(0, 5)
    assert operator.watermark() is None
    operator.advance(1, 3)
    operator.advance(1, 2)
    assert operator.watermark() == 3
    window = KernelWindow([Call("ewma", ("v",), "x", {"alpha": 0.5})], PLAIN, ("k",), ("t",))
    window.process(0, Piece(rows(0, 5)))
    assert window.watermark() is None
    window.advance(0, 4)
    assert window.watermark() == 4
    window.close()
    assert window.watermark() is None


def test_what_a_stream_cannot_do_is_refused():
    for direction in ("<=", "<", "nearest"):
        with pytest.raises(NotStreamableError, match=f"'{direction}' needs a TOLERANCE"):
            plain_join(direction, tolerance=None)
        plain_join(direction, tolerance=None, endless=False)
    ends = plain_join(">=", endless=False)
    for ask in (ends.changes, lambda: ends.load([], lambda: []), lambda: ends.drop([1])):
        with pytest.raises(NotStreamableError, match="endless=True"):
            ask()
    for wait in (-1, "soon", None):
        with pytest.raises(SqlError, match="wait must be 'wait', 'now' or nanoseconds"):
            plain_join(">=", wait=wait)
    for options in ({"wait": 5}, {"ties_by": "v"}, {"endless": True}):
        with pytest.raises(SqlError, match="need loop='time', was 'index'"):
            plain_join(">=", loop="index", **({"endless": False} | options))
    with pytest.raises(ArgumentTypeError, match="TIES BY 'text' takes numbers and times"):
        AsofJoin(LEFT, RIGHT, on=("u", "t"), ties_by="text")


# ---------------------------------------------------------------- state


def some_state(way):
    """A join with right rows and waiting left rows, and its CHANGES."""
    sides = Sides(np.random.default_rng(SEED), 30, 30)
    run = Run(sides, way)
    run.give(1, 15)
    run.give(0, 25)
    assert run.join.waiting
    return run, run.join.changes()


def test_foreign_and_damaged_state_is_refused_and_nothing_of_it_is_taken():
    way = Way("nearest", 4)
    run, kept = some_state(way)
    assert len(set(kept["part"].to_pylist())) == 3

    def with_state(change, part=None):
        states = [change(state) for state in kept["state"].to_pylist()]
        parts = kept["part"] if part is None else pa.array([part] * len(kept), pa.uint64())
        columns = [parts, kept["key_group"], kept["key"], pa.array(states, pa.large_binary())]
        return pa.RecordBatch.from_arrays(columns, schema=CHANGES)

    def flipped(state):
        return state[:-30] + bytes([state[-30] ^ 1]) + state[-29:]

    other = Way("nearest", 5).operator(endless=True)
    with pytest.raises(StateVersionError, match="belongs to another query"):
        other.load(range(KEY_GROUPS), lambda: [kept])
    for changed, error in (
        (with_state(flipped), StateCorruptError),
        (with_state(lambda state: state[:40]), StateCorruptError),
        (with_state(lambda state: b"x" + state), StateCorruptError),
        (with_state(lambda state: b""), StateCorruptError),
        (with_state(lambda state: state[:4] + b"\x02" + state[5:]), StateVersionError),
        (with_state(lambda state: state, part=17), StateVersionError),
    ):
        fresh = way.operator(endless=True)
        with pytest.raises(StateError) as raised:
            fresh.load(range(KEY_GROUPS), lambda changed=changed: [changed])
        assert isinstance(raised.value, error)
        assert not fresh.waiting and fresh.watermark() is None
        assert len(fresh._held_rights().slots) == 0


def test_state_of_columns_that_arrow_writes_in_another_way_is_read_all_the_same():
    way = Way("<=", 4)
    _, kept = some_state(way)
    fresh = way.operator(endless=True)
    for packing in (fresh._state.lefts, fresh._state.rights, fresh._state._places):
        packing._head = b"not " + packing._head
    fresh.load(range(KEY_GROUPS), lambda: [kept])
    again = way.operator(endless=True)
    again.load(range(KEY_GROUPS), lambda: [kept])
    for one, other in zip(
        (fresh._held_lefts(), fresh._held_rights()),
        (again._held_lefts(), again._held_rights()),
        strict=True,
    ):
        assert one.rows.equals(other.rows) and len(one.rows)


def test_what_did_not_change_is_not_given_again():
    run, kept = some_state(Way("<=", 4))
    assert len(kept)
    assert len(run.join.changes()) == 0
    run.give(0, 1)  # one more left row waits
    again = run.join.changes().to_pylist()
    assert len({row["part"] for row in again}) == 2 and len(again) == 2  # its key, and the times


@pytest.mark.parametrize("direction", [">=", "nearest"])
def test_key_groups_move_to_another_worker_in_the_middle_of_a_run(direction):
    way, halves = Way(direction, 4), [range(512), range(512, KEY_GROUPS)]
    for seed in range(8):
        sides = Sides(np.random.default_rng([SEED, seed]), 60, 60)
        whole = Run(sides, way)
        workers = [way.operator(endless=True), way.operator(endless=True)]
        for worker, half in zip(workers, halves, strict=True):
            worker.load(half, lambda: [])
        store, found = {}, [[], []]

        def owners(names):
            keys = Keys()
            groups = keys.groups_of(keys.intern([names], len(names))).to_pylist()
            return np.array([0 if group in halves[0] else 1 for group in groups])

        def both(input, batch, mark, workers, found=found, owners=owners):
            owner = owners(batch["kj"[input == 0]])
            for k, worker in enumerate(workers):
                mine = pa.array(np.flatnonzero(owner == k))
                found[k] += worker.process(input, Piece(batch.take(mine), Ordinals(3, 1)))
                found[k] += worker.advance(input, mark)

        for begin in range(0, 60, 10):
            for input, give in ((1, sides.right_rows), (0, sides.left_rows)):
                whole.give(input, 10)
                mark = min(whole.next_time(input), 100) - 1
                whole.advance(input, mark)
                both(input, give(begin, begin + 10), mark, workers)
            for worker in workers:
                for row in worker.changes().to_pylist():
                    store[row["part"], row["key"]] = row
            if begin in (20, 40):
                kept = pa.RecordBatch.from_pylist(list(store.values()), schema=CHANGES)
                fresh = way.operator(endless=True)
                fresh.load(halves[1], lambda kept=kept: [kept])
                for input in (0, 1):
                    fresh.advance(input, whole.marks[input])
                workers[1].drop(halves[1])
                assert not workers[1].waiting and not len(workers[1]._held_rights().slots)
                workers[1] = fresh
        whole.finish()
        for k, worker in enumerate(workers):
            found[k] += worker.advance(1, END) + worker.advance(0, END)
        tables = [plain([piece.batch for piece in pieces]) for pieces in found]
        assert all(table.num_rows for table in tables)
        merged = pa.concat_tables([t for t in tables if t.num_rows]).sort_by("x")
        assert_same_tables(merged, whole.table(), seed)
