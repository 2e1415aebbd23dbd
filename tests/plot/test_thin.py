"""What is kept of many rows shows the same picture."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from fin_sql.thin import candles, cloud, line

START = 1_767_623_400_000_000_000


@st.composite
def series(draw):
    """Times in order, with ties, bursts and silences; values with missing ones and extremes."""
    rows = draw(st.integers(1, 4_000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = rng.choice(
        [0, 1, 1_000, 10**6, 10**9, 10**12], rows, p=[0.2, 0.1, 0.2, 0.3, 0.19, 0.01]
    )
    y = np.cumsum(rng.normal(size=rows))
    y[rng.random(rows) < draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))] = np.nan
    y[rng.random(rows) < 0.001] *= 1e6
    for _ in range(draw(st.integers(0, 3))):
        begin = rng.integers(0, rows)
        y[begin : begin + rng.integers(1, 2 + rows // 3)] = rng.choice([np.nan, np.inf, -np.inf])
    return START + np.cumsum(steps), y


@seed(20260105)
@settings(max_examples=150, deadline=None)
@given(series(), st.sampled_from([25, 100, 500]))
def test_a_line_keeps_its_extremes_its_ends_and_its_gaps(drawn, marks):
    x, y = drawn
    kept = line(x, y, marks)
    assert len(kept) <= max(marks, 1) and (np.diff(kept) > 0).all()
    if len(x) <= marks:
        assert len(kept) == len(x)
        return
    there = np.flatnonzero(np.isfinite(y))
    if not len(there):
        assert len(kept) == 1
        return
    shown = kept[np.isfinite(y[kept])]
    assert (shown[0], shown[-1]) == (there[0], there[-1])
    # Each slice of the axis, by plain Python: its first, least, greatest and last value.
    slices = marks // 5
    width = int(x[-1] - x[0]) / slices or 1.0
    shown_rows, parts = set(shown.tolist()), {}
    for i in there.tolist():
        parts.setdefault(min(int(int(x[i] - x[0]) / width), slices - 1), []).append(i)
    for part in parts.values():
        mine = sorted(shown_rows & set(part))
        assert part[0] in mine and part[-1] in mine
        assert min(y[part]) == min(y[mine]) and max(y[part]) == max(y[mine])
    for i, j in zip(there, there[1:], strict=False):
        if j > i + 1 and x[j] - x[i] >= width:
            assert any(i < k < j for k in kept), "a gap was filled"


def test_a_spike_of_one_row_in_a_million_stays():
    y = np.zeros(1_000_000)
    y[654_321] = 1.0
    kept = line(np.arange(1_000_000), y)
    assert 654_321 in kept and len(kept) <= 5_000


def test_times_in_nanoseconds_keep_their_order():
    x = START + np.arange(20_000)  # a double cannot tell these apart
    y = np.arange(20_000) % 7 * 1.0
    kept = line(x, y, 100)
    assert len(kept) > 60 and kept[-1] == 19_999


@seed(20260105)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20_000), st.integers(0, 2**32), st.sampled_from([20, 300, 5_000]))
def test_a_cloud_keeps_its_edges_and_leaves_no_spot_empty(rows, number, marks):
    rng = np.random.default_rng(number)
    x, y = rng.normal(size=rows), rng.standard_cauchy(rows) ** 3
    if number % 3 == 0:
        y = np.round(x)
    kept = cloud(x, y, marks)
    assert len(kept) <= max(marks, min(rows, 4)) and (np.diff(kept) > 0).all()
    for values in (x, y):
        assert values[kept].min() == values.min() and values[kept].max() == values.max()
    # No point is further from one that is drawn than a spot is wide.
    if rows > marks >= 300:
        part = (x - x.min()) / np.ptp(x), (y - y.min()) / (np.ptp(y) or 1.0)
        shown = np.column_stack([p[kept] for p in part])
        for i in rng.integers(0, rows, 20):
            away = np.abs(shown - [p[i] for p in part]).max(axis=1).min()
            assert away < 0.2


def test_a_cloud_uses_the_marks_that_it_may():
    rng = np.random.default_rng(1)
    kept = cloud(rng.normal(size=100_000), rng.normal(size=100_000))
    assert 2_500 < len(kept) <= 5_000


@seed(20260105)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3_000), st.integers(0, 2**32), st.sampled_from([10, 100, 1_000]))
def test_merged_candles_are_those_of_longer_times(rows, number, most):
    rng = np.random.default_rng(number)
    minute = 60 * 10**9
    sessions = np.cumsum(np.where(rng.random(rows) < 0.01, 900, 1)) * minute
    x = START + sessions - sessions[0]
    prices = 100 + np.cumsum(rng.normal(size=(rows, 4)).cumsum(axis=1), axis=0)
    bars = {
        "open": prices[:, 0], "close": prices[:, 3], "high": prices.max(axis=1) + 1,
        "low": prices.min(axis=1) - 1, "volume": rng.integers(1, 100, rows) * 1.0,
    }  # fmt: skip
    found = candles(x, bars, minute, most)
    least = -(-rows // most) * minute if rows > most else 0
    clock = [1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1_440]
    length = next((m * minute for m in clock if m * minute >= least), None)
    assert found["step"] == length
    frame = pd.DataFrame(bars | {"x": x, "rows": 1})
    frame["bin"] = pd.to_datetime(frame["x"]).dt.floor(pd.Timedelta(length, "ns"))
    wanted = frame.groupby("bin").agg(
        x=("x", "first"), rows=("rows", "sum"), open=("open", "first"), high=("high", "max"),
        low=("low", "min"), close=("close", "last"), volume=("volume", "sum"),
    )  # fmt: skip
    for name in wanted:
        assert found[name].tolist() == pytest.approx(wanted[name].tolist(), rel=1e-12), name
    assert found["rows"].sum() == rows
