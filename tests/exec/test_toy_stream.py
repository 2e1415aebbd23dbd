"""A stream of the smallest kind: a source that crashes, one window, a sink, a dict as the store."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from fin_sql.exec.calls import Call
from fin_sql.exec.keys import KEY_GROUPS, Keys
from fin_sql.exec.operator import CHANGES
from fin_sql.exec.order import Piece
from fin_sql.exec.windows import KernelWindow
from fin_sql.kernel import rows_ahead
from fin_sql.registry import KERNELS
from fin_sql.testing import CRASH, END, WAIT, ListSink, ListSource, SimulatedCrash
from fin_sql.testing.compare import assert_same_bits
from fin_sql.testing.draws import START_NS, draw

ROWS, KEYS, BATCH = 400, 7, 25

STREAMABLE = sorted(
    name
    for name, kernel in KERNELS.items()
    if kernel.spec.shape in ("window", "aggregate")
    and not rows_ahead(kernel.bind(**kernel.spec.cases[0]))
)


@cache
def data(name):
    """Rows of some keys in order, with the arguments that a kernel declares."""
    spec = KERNELS[name].spec
    rng = np.random.default_rng([len(name), *name.encode()])
    missing = 0.0 if spec.nulls == "reject" else 0.1
    arguments = draw(spec, rng, ROWS, missing)
    times = pa.array(START_NS + np.cumsum(rng.integers(0, 3, ROWS)), pa.timestamp("ns"))
    columns = {"ts": times, "key": pa.array([f"K{k}" for k in rng.integers(0, KEYS, ROWS)])}
    named = {f"arg_{arg.name}": c for arg, c in zip(spec.args, arguments, strict=True)}
    return pa.record_batch(columns | named)


def window(name, schema, by, ttl_ns=0):
    spec = KERNELS[name].spec
    args = tuple(f"arg_{arg.name}" for arg in spec.args)
    call = Call(name, args, "found", spec.cases[0])
    return KernelWindow([call], schema, by, ("ts",), ttl_ns=ttl_ns)


class Store:
    """What a run commits after each batch: states, the position in the source, rows in the sink."""

    def __init__(self):
        self.states, self.position, self.written = {}, 0, 0

    def commit(self, changes, position, written):
        for row in changes.to_pylist():
            self.states[row["part"], row["key"]] = row
        self.position, self.written = position, written

    def read(self):
        yield pa.RecordBatch.from_pylist(list(self.states.values()), schema=CHANGES)


def run(source, operator, sink, store):
    """From the last commit to the end, or to a crash between writing and committing."""
    operator.load(range(KEY_GROUPS), store.read)
    sink.truncate(store.written)
    uncommitted = None
    for position, batch in source.read(store.position):
        if uncommitted is not None:
            store.commit(*uncommitted)
            uncommitted = None
        if batch is None:
            continue
        for piece in operator.process(0, Piece(batch)):
            sink.write(piece.batch)
        uncommitted = operator.changes(), position, sink.rows
    if uncommitted is not None:
        store.commit(*uncommitted)


def restarted(name, by, items):
    """The sink after as many runs as it takes, and how many those were."""
    source, sink, store = ListSource(items), ListSink(), Store()
    for runs in range(1, 10 * len(items)):
        try:
            run(source, window(name, source.schema, by), sink, store)
        except SimulatedCrash:
            continue
        if store.position == len(items):
            return sink.table(), runs
    raise AssertionError("the stream never came to its end")


def items_of(name, *between):
    """Batches with sentinels between them, the end without one."""
    whole = data(name)
    found = []
    for begin in range(0, ROWS, BATCH):
        found += [whole.slice(begin, BATCH), *between]
    return found[: len(found) - len(between)]


def one_pass(name, by):
    (piece,) = window(name, data(name).schema, by).process(0, Piece(data(name)))
    return piece.batch


def assert_same(found, wanted, name):
    assert found.schema == wanted.schema
    for column in wanted.schema.names:
        assert_same_bits(found[column].combine_chunks(), wanted[column], f"{name}: {column}")


@pytest.mark.parametrize("by", [("key",), ()], ids=["by key", "one key"])
@pytest.mark.parametrize("name", STREAMABLE)
def test_a_stream_that_crashes_at_every_batch_is_one_pass(name, by):
    wanted = one_pass(name, by)
    found, runs = restarted(name, by, items_of(name, CRASH))
    assert runs == ROWS // BATCH
    assert_same(found, wanted, name)
    assert found["found"].null_count < ROWS


@pytest.mark.parametrize("name", STREAMABLE)
def test_a_stream_that_waits_ends_and_crashes_is_one_pass(name):
    items = items_of(name, WAIT, END, CRASH, WAIT)
    assert_same(restarted(name, ("key",), items)[0], one_pass(name, ("key",)), name)


def forgetful(name):
    """Whether a stream that loses its states is still one pass, as of a window of one row."""
    items = items_of(name, CRASH)
    source, sink, store = ListSource(items), ListSink(), Store()
    while store.position < len(items):
        store.states.clear()
        try:
            run(source, window(name, source.schema, ("key",)), sink, store)
        except SimulatedCrash:
            continue
    try:
        assert_same(sink.table(), one_pass(name, ("key",)), name)
    except AssertionError:
        return False
    return True


def test_streams_that_lose_their_states_are_seen():
    assert sum(map(forgetful, STREAMABLE)) <= len(STREAMABLE) // 4


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int16(), pa.string())], ids=str)
def test_two_workers_with_one_store_and_times_to_live_are_one_pass(kind):
    """Each owns half of the key groups; a dictionary names the keys of both in every batch."""
    name, ttl = STREAMABLE[0], 40
    whole = data(name)
    whole = whole.set_column(1, "key", whole["key"].cast(kind))
    (wanted,) = window(name, whole.schema, ("key",), ttl).process(0, Piece(whole))
    keys, owner = Keys(), [range(KEY_GROUPS // 2), range(KEY_GROUPS // 2, KEY_GROUPS)]
    groups = keys.groups_of(keys.intern([whole["key"]], ROWS)).to_pylist()
    states = {}
    for begin in range(0, ROWS, BATCH):
        for groups_owned in owner:
            operator = window(name, whole.schema, ("key",), ttl)
            kept = pa.RecordBatch.from_pylist(list(states.values()), schema=CHANGES)
            operator.load(groups_owned, lambda kept=kept: [kept])
            mine = pa.array([g in groups_owned for g in groups])
            rows = whole.slice(begin, BATCH).filter(mine.slice(begin, BATCH))
            (found,) = operator.process(0, Piece(rows))
            expected = wanted.batch.slice(begin, BATCH).filter(mine.slice(begin, BATCH))
            assert_same_bits(found.batch["found"], expected["found"], f"{kind} at {begin}")
            operator.advance(0, whole["ts"][begin].value)
            for row in operator.changes().to_pylist():
                if row["state"] is None:
                    states.pop((row["part"], row["key"]), None)
                else:
                    states[row["part"], row["key"]] = row


def test_every_kernel_that_keeps_state_is_here():
    assert len(STREAMABLE) >= 15
