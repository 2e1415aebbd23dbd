"""A right side that grows joins as asof_join joins all of it."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

import fin_sql
from fin_sql import AsofJoiner, asof_join

DIRECTIONS = [">=", ">", "<=", "<", "nearest"]


def sides(seed, n=800):
    rng = np.random.default_rng(seed)

    def some(values, kind=None):
        return pa.array(values, kind, mask=rng.random(n) < 0.05)

    right = {
        "ts": pa.array(np.sort(rng.integers(0, n // 2, n)), pa.timestamp("ns")),
        "k": some(rng.choice(["a", "b", "c"], n)),
        "venue": rng.integers(0, 2, n),
        "bid": some(rng.random(n)),
        "name": some(rng.choice(["u", "v"], n)),
        "day": some(rng.integers(0, 99, n), pa.int32()).cast(pa.date32()),
    }
    left = {
        "ts": some(rng.integers(0, n // 2, n), pa.timestamp("ns")),
        "k": some(rng.choice(["a", "b", "z"], n)),
        "venue": rng.integers(0, 3, n),
        "price": rng.random(n),
    }
    return pa.table(left), pa.table(right)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("ties", ["last", "first"])
@pytest.mark.parametrize("tolerance", [None, 3])
def test_it_joins_probes_and_restores_as_asof_join(direction, ties, tolerance):
    options = {"direction": direction, "ties": ties, "tolerance": tolerance}
    for seed in range(3):
        left, right = sides(seed)
        joiner = AsofJoiner(on="ts", by=["k", "venue"], **options)
        for begin in range(0, right.num_rows, 77):
            joiner.add_right(right.slice(begin, 77))
        wanted = asof_join(left, right, on="ts", by=["k", "venue"], **options)
        assert joiner.join(left).to_pydict() == wanted.to_pydict()
        again = AsofJoiner(on="ts", by=["k", "venue"], **options)
        again.restore(joiner.snapshot())
        assert again.join(left).to_pydict() == wanted.to_pydict()
        times = left["ts"].cast(pa.int64()).to_pylist()
        for row, ts in zip(wanted.slice(0, 200).to_pylist(), times, strict=False):
            if ts is not None and row["k"] is not None:
                found = joiner.probe((row["k"], row["venue"]), ts)
                expected = {name: row[name] for name in ("bid", "name", "day")}
                assert (found or dict.fromkeys(expected)) == expected


def test_what_lies_too_far_back_is_forgotten():
    n = 300_000
    ts = pa.array(np.arange(n) * 1_000, pa.timestamp("ns"))
    joiner = AsofJoiner(on="ts", by="k", look_back=datetime.timedelta(microseconds=100))
    for begin in range(0, n, 10_000):
        part = ts.slice(begin, 10_000)
        joiner.add_right(
            pa.table({"ts": part, "k": ["a", "b"] * 5_000, "x": range(begin, begin + 10_000)})
        )
        assert joiner._history.n_rows <= 101
        assert joiner._rows < 80_000
    assert joiner.probe("b", (n - 1) * 1_000) == {"x": n - 1}
    assert joiner.probe("a", (n - 95) * 1_000)["x"] == n - 96
    assert joiner.probe("a", (n - 500) * 1_000) is None


def test_keys_and_times_as_python_has_them():
    joiner = AsofJoiner(on="ts")
    assert joiner.probe((), 5) is None
    when = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
    joiner.add_right(pa.table({"ts": pa.array([when], pa.timestamp("us", "UTC")), "x": [1.5]}))
    assert joiner.probe((), when) == {"x": 1.5}
    assert joiner.probe((), when - datetime.timedelta(microseconds=1)) is None
    with pytest.raises(fin_sql.SqlError, match="a key has 0 values"):
        joiner.probe(("a",), when)


def test_what_is_wrong_is_told_and_changes_nothing():
    rows = pa.table({"ts": pa.array([3, 1], pa.timestamp("ns")), "k": ["a", "a"], "x": [1, 2]})
    joiner = AsofJoiner(on="ts", by="k", ties="error")
    with pytest.raises(fin_sql.OrderError, match="right row 1 at .*00001 comes before"):
        joiner.add_right(rows)
    assert joiner.probe("a", 9) is None
    joiner.add_right(rows.slice(0, 1))
    with pytest.raises(fin_sql.SqlError, match="the right rows must have the columns"):
        joiner.add_right(rows.select(["ts", "k"]))
    with pytest.raises(fin_sql.UnknownNameError, match="'ts'"):
        AsofJoiner(on="ts").add_right(pa.table({"t": [1]}))
    joiner.add_right(rows.slice(0, 1))
    for name, values in (("k", [1, 2]), ("ts", ["a", "b"])):
        wrong = rows.set_column(rows.column_names.index(name), name, [values])
        with pytest.raises(fin_sql.ArgumentTypeError, match=f"AsofJoiner.*'{name}'"):
            joiner.join(wrong)
    for call in (lambda: joiner.probe("a", 5), lambda: joiner.join(rows)):
        with pytest.raises(fin_sql.SqlError, match="several right rows of one"):
            call()
    kept = joiner.snapshot()
    other = AsofJoiner(on="ts", by="k")
    for data in (b"", b"x" * 50, kept[:-9], kept[:40] + b"?" * 9 + kept[49:], kept):
        with pytest.raises(fin_sql.StateCorruptError):
            other.restore(data)
    assert other.probe("a", 5) is None
    for options in ({"direction": "=="}, {"ties": "none"}, {"tolerance": -1}, {"look_back": "x"}):
        with pytest.raises(fin_sql.SqlError):
            AsofJoiner(on="ts", **options)
