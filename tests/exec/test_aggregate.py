"""KernelAggregate: groups, their order, and bits that depend on the rows of a group alone."""

import threading
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.errors import CancelledError, KernelError
from fin_sql.exec.aggregate import KernelAggregate
from fin_sql.exec.calls import Call
from fin_sql.exec.order import Piece
from fin_sql.exec.time_windows import TimeWindow
from fin_sql.registry import KERNELS
from fin_sql.states import Cancel
from fin_sql.testing.compare import assert_same_bits

SECOND = 1_000_000_000
MINUTE = TimeWindow("ts", 60 * SECOND)
HOP = TimeWindow("ts", 60 * SECOND, 25 * SECOND)
DAYS = TimeWindow("ts", days=1, zone="America/New_York")

# What the arguments of kernels are called here.
COLUMNS = {"ts": "ts", "price": "x", "volume": "size", "qty": "size", "exec_price": "x",
           "arrival_price": "y", "side": "side", "log_px_a": "x", "log_px_b": "y", "r": "y",
           "dollar_volume": "size", "change": "y", "pnl": "y", "x": "x"}  # fmt: skip
AGGREGATES = [name for name, kernel in KERNELS.items() if kernel.spec.shape == "aggregate"]
KERNEL_CALLS = [
    Call(name, tuple(COLUMNS[a.name] for a in KERNELS[name].spec.args), name) for name in AGGREGATES
]
STANDARD_CALLS = [
    Call("count", (), "rows"),
    *(Call(f, ("x",), f) for f in ("count", "sum", "avg", "min", "max", "var_samp", "var_pop",
                                   "stddev_samp", "stddev_pop", "first_value", "last_value")),
    *(Call(f, ("x", "y"), f) for f in ("corr", "covar_samp", "covar_pop")),
    *(Call(f, ("size",), f"{f} of size") for f in ("sum", "avg", "min", "max")),
    *(Call(f, ("x",), f"known {f}", ignore_nulls=True) for f in ("first_value", "last_value")),
    *(
        Call(name, ("x",), f"{name} by y", {"order": (("y", False), ("ts", False))})
        for name in ("first_value", "last_value")
    ),
]  # fmt: skip
CALLS = (*STANDARD_CALLS, *KERNEL_CALLS)


def rows(n=3_000, keys=7, seed=1, gap=3):
    """Rows of some keys in order of time, with ties, NULLs, NaN and infinities."""
    rng = np.random.default_rng(seed)

    def some(values):
        return pa.array(values, mask=rng.random(n) < 0.05)

    x, y = np.round(rng.normal(100.0, 5.0, n), 1), np.round(rng.normal(0.0, 1.0, n), 2)
    x[rng.random(n) < 0.01] = np.nan
    y[rng.random(n) < 0.01] = np.inf
    key = rng.integers(0, keys, n)
    return pa.record_batch(
        {
            "ts": pa.array(np.cumsum(rng.integers(0, gap, n)) * SECOND).cast(pa.timestamp("ns")),
            "key": some([f"K{k}" for k in key]),
            "part": some(rng.integers(0, 3, n)),
            "x": some(x),
            "y": some(y),
            "size": some(rng.integers(1, 50, n)),
            "side": pa.array(rng.choice([-1, 1], n)),
        }
    )


def aggregate(batches, keys=("key",), window=None, calls=CALLS, **options):
    operator = KernelAggregate(calls, batches[0].schema, keys, window, **options)
    try:
        for batch in batches:
            assert operator.process(0, Piece(batch)) == []
        return operator.groups()
    finally:
        operator.close()


def cut(batch, rng, most):
    edges = np.unique([0, *rng.integers(0, len(batch), rng.integers(0, most)), len(batch)])
    return [batch.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def same(found, wanted):
    assert found.schema == wanted.schema
    for name in wanted.schema.names:
        assert_same_bits(found[name], wanted[name], name)


GROUPINGS = [((), None), (("key",), None), (("key", "part"), None), (("ts",), None),
             (("part", "ts", "key"), None), ((), MINUTE), (("key",), MINUTE), (("key",), HOP),
             (("part", "key"), DAYS)]  # fmt: skip


@pytest.mark.parametrize(("keys", "window"), GROUPINGS, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_batches_and_threads_leave_the_bits_as_they_are(keys, window, seed):
    batch = rows(seed=seed)
    wanted = aggregate([batch], keys, window)
    rng = np.random.default_rng(seed)
    for most, threads in ((2, 1), (5, 2), (40, 1), (400, 2)):
        pieces = cut(batch, rng, most)
        if seed == 2:  # dictionaries of their own, each in its own order
            pieces = [encoded(piece, rng) for piece in pieces]
        found = aggregate(pieces, keys, window, threads=threads)
        same(found.cast(wanted.schema), wanted)


def encoded(batch, rng):
    """The key as a dictionary in any order, with values that no row uses."""
    values = [*pc.unique(batch["key"].drop_null()).to_pylist(), "unused"][: rng.integers(1, 99)]
    rng.shuffle(values)
    if set(pc.unique(batch["key"].drop_null()).to_pylist()) - set(values):
        return batch
    indices = pa.array([None if k is None else values.index(k) for k in batch["key"].to_pylist()])
    column = pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), pa.array(values, pa.string()))
    return batch.set_column(1, pa.field("key", column.type), column)


@pytest.mark.parametrize(
    ("values", "codes"),
    [(["b", "a"], [1, 0, 1, 0]), (["a"], [None, 0, None, 0]), (["c", "b", "a"], [2, None, 0, 1])],
)
def test_the_values_of_a_dictionary_come_in_the_order_of_the_rows(values, codes):
    column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values))
    batch = pa.record_batch({"key": column, "x": [1.0, 2.0, 4.0, 8.0]})
    schema = pa.schema({"key": pa.string(), "x": pa.float64()})
    operator = KernelAggregate([Call("sum", ("x",), "sum")], schema, ["key"])
    operator.process(0, Piece(batch))
    wanted = defaultdict(float)
    for key, x in zip(column.to_pylist(), [1.0, 2.0, 4.0, 8.0], strict=True):
        wanted[key] += x
    found = operator.groups().to_pydict()
    assert found == {"key": list(wanted), "sum": list(wanted.values())}
    _, slots = KernelAggregate([], schema, ["key"]).take(batch)
    beside = {"number": pa.array(range(len(wanted)))}
    groups = operator.groups(beside).to_pydict()
    numbers = dict(zip(groups["key"], groups["number"], strict=True))
    assert [numbers[key] for key in column.to_pylist()] == slots.array().to_pylist()


@pytest.mark.parametrize("seed", range(4))
def test_groups_come_by_window_and_in_the_order_of_their_first_rows(seed):
    batch = rows(seed=seed, keys=20).take(np.random.default_rng(seed).permutation(3_000))
    found = aggregate([batch], ("key", "part"), MINUTE, [Call("count", (), "n")])
    minutes = batch["ts"].cast(pa.int64()).to_numpy() // MINUTE.width_ns * MINUTE.width_ns
    wanted = dict.fromkeys(
        zip(batch["key"].to_pylist(), batch["part"].to_pylist(), minutes.tolist(), strict=True)
    )
    starts = found["window_start"].cast(pa.int64()).to_pylist()
    assert sorted(wanted, key=lambda group: group[2]) == list(
        zip(found["key"].to_pylist(), found["part"].to_pylist(), starts, strict=True)
    )
    found = aggregate([batch], ("part", "ts"), None, [Call("count", (), "n")])
    pairs = zip(batch["part"].to_pylist(), batch["ts"].to_pylist(), strict=True)
    assert list(dict.fromkeys(pairs)) == list(
        zip(found["part"].to_pylist(), found["ts"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_kernel_folds_what_its_plain_call_takes(name):
    batch = rows(seed=11)
    call = next(call for call in KERNEL_CALLS if call.kernel == name)
    found = aggregate([batch], ("key",), None, [call], threads=2)
    numbers = batch["key"].fill_null("missing")
    for i, key in enumerate(found["key"].to_pylist()):
        group = batch.filter(pc.equal(numbers, key or "missing"))
        wanted = fin_sql.kernel(name).apply(*(group[arg] for arg in call.args))
        assert_same_bits(found[name].slice(i, 1), pa.array([wanted.as_py()], wanted.type), name)


def test_every_aggregate_is_tried_here():
    assert {"vwap", "ohlc", "twap", "realized_var_agg"} <= set(AGGREGATES)
    assert len(AGGREGATES) >= 15


@pytest.mark.parametrize("spike", [float("nan"), float("inf"), 1e16, -1e300])
def test_a_spike_stays_in_its_group(spike):
    batch = rows(seed=5)
    clean = aggregate([batch], ("key",), MINUTE)
    x = np.array(batch["x"].to_numpy(zero_copy_only=False))
    place = len(batch) // 2
    x[place] = spike
    column = pa.array(x, mask=batch["x"].is_null().to_numpy(zero_copy_only=False))
    batch = batch.set_column(batch.schema.get_field_index("x"), "x", column)
    hit = aggregate([batch], ("key",), MINUTE)
    minute = batch["ts"][place].value // MINUTE.width_ns * MINUTE.width_ns
    own = pc.and_(
        pc.equal(hit["key"].fill_null("none"), batch["key"][place].as_py() or "none"),
        pc.equal(hit["window_start"].cast(pa.int64()), minute),
    )
    assert own.true_count == 1
    others = pc.invert(own)
    same(hit.filter(others), clean.filter(others))
    assert not hit.filter(own).equals(clean.filter(own))


@pytest.mark.parametrize("window", [None, MINUTE, HOP, DAYS])
def test_no_rows_are_no_groups_but_one_without_keys(window):
    empty = rows().slice(0, 0)
    for batches in ([empty], [empty, empty]):
        found = aggregate(batches, ("key", "part"), window)
        wanted = aggregate([rows()], ("key", "part"), window)
        assert found.num_rows == 0
        assert found.schema == wanted.schema
        found = aggregate(batches, (), window)
        assert found.num_rows == (window is None)
    one = aggregate([empty], ())
    for call in STANDARD_CALLS:
        assert one[call.name][0].as_py() == (0 if call.kernel == "count" else None)
    for call in KERNEL_CALLS:
        plain = fin_sql.kernel(call.kernel).apply(*(empty[arg] for arg in call.args))
        assert one[call.name][0] == plain, call.name


def test_memory_goes_with_the_groups_and_not_with_the_rows():
    held = {}
    for n in (20_000, 200_000):
        for keys in (100, 10_000):
            rng = np.random.default_rng(n)
            key = np.concatenate([np.arange(keys), rng.integers(0, keys, n - keys)])
            batch = pa.record_batch({"key": key, "x": rng.normal(size=n)})
            calls = [Call("sum", ("x",), "sum"), Call("vwap", ("x", "x"), "vwap")]
            operator = KernelAggregate(calls, batch.schema, ["key"])
            for begin in range(0, n, 5_000):
                operator.process(0, Piece(batch.slice(begin, 5_000)))
            assert operator.groups().num_rows == keys
            held[n, keys] = operator.bytes_held()
    assert held[20_000, 100] == held[200_000, 100]
    assert held[20_000, 10_000] == held[200_000, 10_000]
    assert held[20_000, 100] < 50_000
    assert held[20_000, 10_000] > 10_000 * 16


def test_memory_of_windows_goes_with_them():
    n = 200_000
    ts = pa.array(np.arange(n) * SECOND).cast(pa.timestamp("ns"))
    batch = pa.record_batch({"ts": ts, "x": np.ones(n)})
    calls = [Call("sum", ("x",), "sum")]
    operator = KernelAggregate(calls, batch.schema, [], TimeWindow("ts", 3_600 * SECOND))
    operator.process(0, Piece(batch))
    assert operator.groups().num_rows == 56
    assert operator.bytes_held() < 100_000


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cancelled_query_stops(threads):
    cancel = Cancel()
    batch = rows()
    operator = KernelAggregate(CALLS, batch.schema, ["key"], cancel=cancel, threads=threads)
    operator.process(0, Piece(batch))
    cancel.set()
    with pytest.raises(CancelledError):
        for _ in range(2):
            operator.process(0, Piece(batch))
    operator.close()


def test_a_cancelled_query_leaves_no_threads():
    batch = rows()
    before = threading.active_count()
    operator = KernelAggregate(CALLS, batch.schema, ["key"], threads=2)
    operator.process(0, Piece(batch))
    operator.close()
    assert threading.active_count() == before
    assert operator.groups().num_rows == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_that_a_kernel_refuses_is_an_error(threads):
    n = 10
    ts = pa.array(range(n)).cast(pa.timestamp("s"))
    batch = pa.record_batch({"ts": ts, "key": ["a"] * n, "x": ["no number"] * n})
    with pytest.raises((KernelError, fin_sql.FinSqlError), match="vwap"):
        calls = [Call("vwap", ("x", "x"), "vwap"), Call("count", (), "n")]
        aggregate([batch], ("key",), None, calls, threads=threads)


def laid_out(table, folder):
    """The same rows in several orders and files, each of which keeps the order of a key."""
    by_key = table.sort_by([("key", "ascending"), ("row", "ascending")])
    (folder / "files").mkdir()
    for k, begin in enumerate(range(0, table.num_rows, 400)):
        part = table.slice(begin, 400)
        pq.write_table(part, folder / "files" / f"part-{k}.parquet", row_group_size=100)
    for key in pc.unique(table["key"]).to_pylist():
        place = folder / "hive" / f"key={key}"
        place.mkdir(parents=True)
        chosen = table.filter(pc.equal(table["key"], key)).drop_columns("key")
        pq.write_table(chosen, place / "rows.parquet", row_group_size=70)
    chunks = pa.concat_tables([by_key.slice(i, 33) for i in range(0, table.num_rows, 33)])
    return {
        "time": lambda ctx: ctx.register("t", table),
        "key": lambda ctx: ctx.register("t", by_key),
        "chunks": lambda ctx: ctx.register("t", chunks),
        "declared": lambda ctx: ctx.register("t", by_key, order_by=("key", "row")),
        "files": lambda ctx: ctx.register_parquet("t", str(folder / "files")),
        "hive": lambda ctx: ctx.register_parquet("t", str(folder / "hive")),
    }


SQL = """SELECT key, {window} sum(x), avg(y), stddev(x), corr(x, y), first_value(y), last_value(x),
    last_value(x ORDER BY y), min(x), sum(size), sum(x) FILTER (WHERE side > 0), vwap(x, size),
    ohlc(x, ts), twap(x, ts), bipower_var_agg(y, ts), median(x), array_agg(row), regr_slope(x, y)
    FROM t GROUP BY key {by} ORDER BY key {by}"""


@pytest.mark.parametrize(
    ("window", "by"), [("", ""), ("window_start,", ", TUMBLE(ts, INTERVAL '5' MINUTE)")]
)
def test_the_layout_of_the_rows_leaves_the_bits_of_each_group(tmp_path, window, by):
    table = pa.Table.from_batches([rows(seed=21)]).filter(pc.field("key").is_valid())
    table = table.append_column("row", pa.array(range(table.num_rows)))
    wanted = None
    for name, register in laid_out(table, tmp_path).items():
        for threads in (1, 2):
            ctx = fin_sql.connect(threads=threads)
            register(ctx)
            found = ctx.sql(SQL.format(window=window, by=by)).to_arrow().combine_chunks()
            wanted = found if wanted is None else wanted
            for column in wanted.column_names:
                left, right = found[column].chunk(0), wanted[column].chunk(0)
                assert_same_bits(left, right, f"{column}, {name}, {threads} threads")


@pytest.mark.parametrize("threads", [1, 2])
def test_very_many_groups(threads):
    rng, n = np.random.default_rng(9), 400_000
    key = rng.integers(0, 150_000, n)
    x = np.round(rng.normal(size=n), 3)
    batch = pa.record_batch({"key": key, "text": pa.array(key).cast(pa.string()), "x": x})
    calls = [Call("sum", ("x",), "sum"), Call("vwap", ("x", "x"), "v"), Call("count", (), "n")]
    pieces = cut(batch, rng, 20)
    for name in ("key", "text"):
        found = aggregate(pieces, (name,), None, calls, threads=threads)
        order = pc.index_in(found["key" if name == "key" else "text"], pc.unique(batch[name]))
        assert order.to_pylist() == list(range(len(set(key.tolist()))))
        keys = np.array(found[name].cast(pa.int64()))
        np.testing.assert_array_equal(np.array(found["n"]), np.bincount(key)[keys])
        np.testing.assert_allclose(
            np.array(found["sum"]), np.bincount(key, x)[keys], rtol=0, atol=1e-9
        )
