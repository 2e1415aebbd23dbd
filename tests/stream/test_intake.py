"""What is late, and what is released when: against a definition that looks at one row at a time."""

import numpy as np
import pyarrow as pa
import pytest

from fin_sql.stream.intake import END, EventTime, Intake
from fin_sql.stream.source import DEAD_LETTERS, Polled

SCHEMA = pa.schema([("ts", pa.timestamp("ns")), ("x", pa.int64())])
MS = 1_000_000


def log(seed, rows=400, partitions=3, delay=5, nulls=0.0):
    """For each partition (times, values): mostly ascending, some far behind, many ties."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(partitions):
        steps = rng.integers(0, 3, rows) - (rng.random(rows) < 0.1) * rng.integers(
            0, 3 * delay, rows
        )
        times = 100 + np.cumsum(steps)
        mask = rng.random(rows) < nulls
        found.append((times, rng.integers(0, 10**6, rows), mask))
    return found


def batch(times, values, mask):
    ts = pa.array(times, pa.int64(), mask=mask).cast(pa.timestamp("ns"))
    return pa.RecordBatch.from_arrays([ts, pa.array(values)], schema=SCHEMA)


def by_definition(parts, delay):
    """Row i of a partition is late iff its time < the latest before it - delay."""
    kept, late, bad = [], [], []
    for number, (times, values, mask) in enumerate(parts):
        latest = None
        for offset, (t, x, none) in enumerate(zip(times, values, mask, strict=True)):
            if none:
                bad.append((number, offset))
                continue
            if latest is not None and t < latest - delay:
                late.append((number, offset))
            else:
                kept.append((t, number, offset, x))
            latest = t if latest is None else max(latest, t)
    kept.sort()
    return [(t, x) for t, _, _, x in kept], sorted(late), sorted(bad)


def run(parts, delay, seed):
    """The parts in random polls; checks what each release may hold."""
    rng = np.random.default_rng(seed)
    letters = []
    intake = Intake(SCHEMA, EventTime("ts", delay, None), "log", letters.append)
    at, rows, reached = [0] * len(parts), [], None
    intake.begin(range(len(parts)))
    while True:
        left = [k for k in range(len(parts)) if at[k] < len(parts[k][0])]
        if not left:
            break
        k = int(rng.choice(left))
        n = int(rng.integers(1, 40))
        cut = [column[at[k] : at[k] + n] for column in parts[k]]
        offsets = pa.array(np.arange(at[k], at[k] + len(cut[0])))
        intake.take(Polled(k, batch(*cut), offsets, at[k] + n, None, len(cut[0])))
        at[k] += len(cut[0])
        if at[k] == len(parts[k][0]):
            intake.end(k)
        released = intake.release()
        if released is None:
            continue
        times = released.rows["ts"].cast(pa.int64()).to_pylist()
        assert all(t <= released.watermark for t in times)
        assert reached is None or (released.watermark > reached and all(t > reached for t in times))
        reached = released.watermark
        rows += zip(times, released.rows["x"].to_pylist(), strict=True)
    assert reached == END
    return rows, pa.Table.from_batches(letters, DEAD_LETTERS), intake


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("delay", [0, 1, 5, 40])
def test_rows_come_in_order_and_late_ones_are_those_of_the_log(seed, delay):
    parts = log(seed, delay=max(delay, 3), nulls=0.05, partitions=1 + seed % 4)
    kept, late, bad = by_definition(parts, delay)
    rows, letters, intake = run(parts, delay, seed + 1_000)
    assert rows == kept
    found = {"late": [], "NULL event time": []}
    for row in letters.to_pylist():
        found[row["reason"]].append((row["partition"], row["offset"]))
        assert row["source"] == "log"
    assert sorted(found["late"]) == late
    assert sorted(found["NULL event time"]) == bad
    counts = intake.counts
    assert (
        counts.messages
        == counts.released + counts.late + counts.bad
        == sum(len(times) for times, _, _ in parts)
    )
    assert intake.waiting == 0


def test_equal_times_are_never_late_and_come_together():
    intake = Intake(SCHEMA, EventTime("ts", 0, None), "log", lambda _: None)
    none = np.zeros(2, bool)
    intake.take(Polled(0, batch([5, 5], [1, 2], none), pa.array([0, 1]), 2))
    released = intake.release()
    assert released.watermark == 4 and released.rows.num_rows == 0
    intake.take(Polled(0, batch([5, 6], [3, 4], none), pa.array([2, 3]), 4))
    assert intake.release().rows["x"].to_pylist() == [1, 2, 3]
    assert intake.counts.late == 0


def test_a_silent_partition_holds_the_others_until_it_is_idle():
    letters = []
    intake = Intake(SCHEMA, EventTime("ts", 0, 200 * MS), "log", letters.append)
    intake.begin([0, 1], 0)
    none = np.zeros(1, bool)
    intake.take(Polled(0, batch([7], [1], none), pa.array([0]), 1), 10 * MS)
    intake.note_idle(100 * MS)
    assert intake.release() is None  # partition 1 may still have earlier rows
    intake.take(Polled(0, batch([9], [2], none), pa.array([1]), 2), 150 * MS)
    intake.note_idle(205 * MS)
    assert intake.release().rows["x"].to_pylist() == [1]  # 9 may go on
    intake.note_idle(400 * MS)
    assert intake.release().rows["x"].to_pylist() == [2]  # all are silent: its group is closed
    intake.take(Polled(1, batch([8, 9, 10], [3, 4, 5], np.zeros(3, bool)), pa.array([0, 1, 2]), 3),
                410 * MS)  # fmt: skip
    reasons = pa.Table.from_batches(letters, DEAD_LETTERS)
    assert reasons["reason"].to_pylist() == ["late_after_idle"] * 2
    assert reasons["offset"].to_pylist() == [0, 1]
    intake.note_idle(900 * MS)
    assert intake.release().rows["x"].to_pylist() == [5]
    assert (intake.counts.late, intake.counts.released) == (2, 3)


def test_in_order_of_arrival_no_row_is_late_and_each_comes_at_once():
    intake = Intake(SCHEMA, EventTime("ts", 0, 200 * MS, True), "log", lambda _: None)
    none = np.zeros(2, bool)
    intake.take(Polled(0, batch([5, 1], [1, 2], none), pa.array([0, 1]), 2))
    intake.take(Polled(1, batch([9, 3], [3, 4], none), pa.array([0, 1]), 2))
    assert intake.release().rows["x"].to_pylist() == [1, 2, 3, 4]
    assert intake.release() is None
    assert intake.waiting == 0


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_are_compared_in_nanoseconds(unit):
    schema = pa.schema([("ts", pa.timestamp(unit)), ("x", pa.int64())])
    intake = Intake(schema, EventTime("ts", 2 * 10**9, None), "log", lambda _: None)
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = pa.array([10 * scale, 8 * scale, 7 * scale, 13 * scale]).cast(pa.timestamp(unit))
    rows = pa.RecordBatch.from_arrays([times, pa.array([1, 2, 3, 4])], schema=schema)
    intake.take(Polled(0, rows, pa.array([0, 1, 2, 3]), 4))
    released = intake.release()
    assert released.watermark == 11 * 10**9 - 1
    assert released.rows["x"].to_pylist() == [2, 1]
    assert intake.counts.late == 1


def test_dictionaries_of_several_polls_become_one():
    schema = pa.schema([("ts", pa.timestamp("ns")), ("s", pa.dictionary(pa.int32(), pa.string()))])
    intake = Intake(schema, EventTime("ts", 0, None), "log", lambda _: None)
    for k, names in enumerate((["b", "a"], ["c", "b"], [None, "a"])):
        times = pa.array([2 * k, 2 * k + 1]).cast(pa.timestamp("ns"))
        texts = pa.array(names).dictionary_encode()
        rows = pa.RecordBatch.from_arrays([times, texts], schema=schema)
        intake.take(Polled(0, rows, pa.array([2 * k, 2 * k + 1]), 2 * k + 2))
    intake.end(0)
    found = intake.release().rows["s"]
    assert found.cast(pa.string()).to_pylist() == ["b", "a", "c", "b", None, "a"]


def test_a_partition_that_is_behind_is_not_silent():
    intake = Intake(SCHEMA, EventTime("ts", 0, 200 * MS), "log", lambda _: None)
    intake.begin([0, 1], 0)
    intake.take(Polled(0, batch([7], [1], np.zeros(1, bool)), pa.array([0]), 1), 0)
    intake.note_idle(900 * MS, {0: 0, 1: 5})
    assert intake.release() is None  # five messages of partition 1 are on their way
    intake.note_idle(1_000 * MS, {0: 0})
    assert intake.release() is None  # nobody knows
    intake.note_idle(1_300 * MS, {0: 0, 1: 0})
    assert intake.release().rows["x"].to_pylist() == [1]
