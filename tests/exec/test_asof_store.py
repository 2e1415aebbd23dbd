"""Columns of right rows: appended to, taken from and thinned out like a list."""

import decimal

import numpy as np
import pyarrow as pa
import pytest

from fin_sql.exec.asof_store import ArrowStore, FixedStore, store_of

SEED = 20261128
KINDS = [
    pa.int8(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(20, 2),
    pa.bool_(),
    pa.string(),
    pa.large_binary(),
    pa.list_(pa.int64()),
    pa.dictionary(pa.int32(), pa.string()),
    pa.null(),
]


def drawn(kind, rng, n):
    values = rng.integers(0, 5, n).tolist()
    if pa.types.is_dictionary(kind):
        return pa.array([f"v{v}" if v else None for v in values], pa.string()).dictionary_encode()
    makers = {
        pa.bool_(): bool,
        pa.string(): str,
        pa.large_binary(): lambda v: b"x" * v,
        pa.list_(pa.int64()): lambda v: [v] * v,
        pa.decimal128(20, 2): decimal.Decimal,
        pa.null(): lambda v: None,
    }
    make = makers.get(kind, float if pa.types.is_floating(kind) else int)
    return pa.array([make(v) if v != 3 else None for v in values], kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_store_is_a_list(kind, seed):
    rng, store, rows = np.random.default_rng([SEED, seed]), store_of(kind), []
    fixed = kind in (pa.int8(), pa.float32(), pa.float64(), pa.decimal128(20, 2))
    assert isinstance(store, FixedStore if fixed else ArrowStore)
    for _ in range(60):
        array = drawn(kind, rng, int(rng.integers(1, 9))).slice(int(rng.integers(0, 2)))
        store.append(array)
        rows += array.to_pylist()
        assert len(store) == len(rows)
        if rng.random() < 0.5 and rows:
            at = rng.integers(-1, len(rows), 12)
            buffer = pa.array(at, pa.int64()).buffers()[1]
            begin, end = sorted(rng.integers(0, 13, 2).tolist())
            found = store.take(buffer, begin, end)
            assert found.to_pylist() == [None if i < 0 else rows[i] for i in at[begin:end]]
            one = int(rng.integers(0, len(rows)))
            assert store.one(one) == rows[one]
        if rng.random() < 0.1:
            kept = rng.permutation(len(rows))[: len(rows) // 2]
            store.keep(pa.array(kept, pa.int64()))
            rows = [rows[i] for i in kept]


def test_values_that_come_one_by_one_are_few_arrays():
    store = store_of(pa.string())
    for i in range(3_000):
        store.append(pa.array([str(i)]))
        store.one(i)
    assert len(store._parts) <= 12
    with pytest.raises(IndexError):
        store.one(3_000)
