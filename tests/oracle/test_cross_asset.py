"""Two assets: a double loop, pandas, pykalman and statsmodels."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pykalman
import pytest
import statsmodels.api
from data import PRICES

import fin_sql

SECOND = [50.0, 50.4, 50.3, 51.1, 50.6, 51.6, 51.2, 52.3, 51.5, 52.6, 52.0, 53.3]
SEED = 20261124
A = {0: 100, 2: 101, 5: 100.5, 7: 102, 10: 101.5}
B = {1: 50, 3: 50.4, 4: 50.2, 6: 50.9, 8: 50.6, 10: 50.8}


def merged(a, b):
    """Rows of a time and either or both legs, as logs."""
    times = sorted({*a, *b})
    legs = [[np.log(leg[t]) if t in leg else None for t in times] for leg in (a, b)]
    return pa.array(times), *(pa.array(leg, pa.float64()) for leg in legs)


def run(name, *columns, **params):
    kernel = fin_sql.kernel(name)
    aggregate = kernel.spec.shape == "aggregate"
    return (kernel.running if aggregate else kernel.apply)(*columns, **params).to_pylist()


# ---------------------------------------------------------------- Hayashi and Yoshida


def double_loop(ts, a, b):
    """All pairs of intervals (begin, end] with a time in common."""
    legs = []
    for prices in (a, b):
        there = pd.Series(prices, ts).dropna()
        there = there[~there.index.duplicated(keep="last")]
        legs.append((there.index.to_numpy(), there.to_numpy()))
    (ta, pa_), (tb, pb) = legs
    begins, ends = np.maximum.outer(ta[:-1], tb[:-1]), np.minimum.outer(ta[1:], tb[1:])
    products = np.multiply.outer(np.diff(pa_), np.diff(pb))
    covariance = products[begins < ends].sum()
    return covariance, covariance / np.sqrt((np.diff(pa_) ** 2).sum() * (np.diff(pb) ** 2).sum())


def test_hayashi_yoshida_as_worked_out():
    rows = merged(A, B)
    assert run("hayashi_yoshida_cov", *rows)[-1] == pytest.approx(0.00011799458088920183, rel=1e-12)
    assert run("hayashi_yoshida_corr", *rows)[-1] == pytest.approx(0.34334386777986164, rel=1e-12)
    together = pa.array(range(12)), np.log(PRICES), np.log(SECOND)
    assert run("hayashi_yoshida_cov", *together)[-1] == pytest.approx(
        0.00212413644137423, rel=1e-12
    )
    assert run("hayashi_yoshida_corr", *together)[-1] == pytest.approx(
        0.9831028228685853, rel=1e-12
    )


@pytest.mark.parametrize("seed", range(20))
def test_hayashi_yoshida_is_the_double_loop_at_every_row(seed):
    rng = np.random.default_rng([SEED, seed])
    rows = 150
    ts = rng.integers(0, 2 if seed % 2 else 4, rows).cumsum()
    walks = 4 + rng.normal(size=(2, rows)).cumsum(axis=1) / 100
    a, b = (np.where(rng.random(rows) < share, walk, np.nan)
            for walk, share in zip(walks, rng.uniform(0.1, 1, 2), strict=True))  # fmt: skip
    covariances = run("hayashi_yoshida_cov", pa.array(ts), a, b)
    correlations = run("hayashi_yoshida_corr", pa.array(ts), a, b)
    for end in range(1, rows + 1, 7):
        if covariances[end - 1] is None:
            continue
        wanted = double_loop(ts[:end], a[:end], b[:end])
        assert covariances[end - 1] == pytest.approx(wanted[0], abs=1e-14)
        if correlations[end - 1] is not None:
            assert correlations[end - 1] == pytest.approx(wanted[1], abs=1e-10)


@pytest.mark.parametrize("threads", [1, 2])
def test_hayashi_yoshida_by_group_of_rows_in_any_order(threads):
    rng = np.random.default_rng(SEED)
    n = 20_000
    ts = np.sort(rng.choice(10**6, n, replace=False))
    walks = rng.normal(size=(2, n)).cumsum(axis=1) / 1000
    first = rng.random(n) < 0.5
    frame = pd.DataFrame({
        "g": rng.integers(0, 3, n), "ts": pd.to_datetime(ts),
        "a": np.where(first, walks[0], np.nan), "b": np.where(first, np.nan, walks[1]),
    })  # fmt: skip
    ctx = fin_sql.connect(threads=threads)
    table = pa.Table.from_pandas(frame.sample(frac=1, random_state=1), preserve_index=False)
    ctx.register("t", pa.Table.from_batches(table.to_batches(1_000)))
    found = ctx.sql(
        "SELECT g, hayashi_yoshida_cov(ts, a, b) AS c, hayashi_yoshida_corr(ts, a, b) AS r "
        "FROM t GROUP BY g ORDER BY g"
    ).to_pandas()
    for row in found.itertuples():
        part = frame[frame.g == row.g]
        wanted = double_loop(
            part.ts.astype("int64").to_numpy(), part.a.to_numpy(), part.b.to_numpy()
        )
        assert (row.c, row.r) == pytest.approx(wanted, rel=1e-9)


def test_hayashi_yoshida_finds_the_correlation_that_the_grid_loses():
    rng = np.random.default_rng(SEED)
    n, rho = 100_000, 0.8
    steps = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], n).T / 1e4
    walks = steps.cumsum(axis=1)
    a, b = (np.where(rng.random(n) < 0.1, walk, np.nan) for walk in walks)
    ts = pa.array(np.arange(n))
    found = fin_sql.kernel("hayashi_yoshida_corr").apply(ts, a, b).as_py()
    assert found == pytest.approx(rho, abs=0.03)
    last = pd.DataFrame({"a": a, "b": b}).ffill().diff().dropna()
    assert last.a.corr(last.b) < 0.2  # the Epps effect


def test_hayashi_yoshida_needs_two_prices_of_each():
    nothing = [None] * 3
    assert run("hayashi_yoshida_cov", pa.array([1, 2, 3]), [1.0, 2.0, 3.0], nothing) == nothing
    found = run("hayashi_yoshida_cov", pa.array([1, 2, 2]), [1.0, 2.0, 3.0], [1.0, None, 4.0])
    assert found == [None, None, 6.0]  # of one time the last price counts: 2 on 3


# ---------------------------------------------------------------- xcorr_leadlag


def test_lead_and_lag_as_worked_out():
    x = [1, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13]
    y = [0, 2, 5, 4, 11, 8, 13, 13, 17, 17, 21, 20]
    found = run("xcorr_leadlag", x, y, max_lag=2, window=5)
    assert found[:6] == [None] * 6
    assert found[6] is not None
    assert found[11]["lag"] == 1
    assert found[11]["corr"] == pytest.approx(0.9798015265550479, rel=1e-12)


def test_lead_and_lag_are_those_of_pandas():
    rng = np.random.default_rng(SEED)
    shock = rng.normal(size=1_000)
    x = pd.Series(shock + 0.3 * rng.normal(size=1_000))
    y = pd.Series(np.roll(shock, 3) + 0.3 * rng.normal(size=1_000))
    w, most = 40, 5
    table = pd.DataFrame({
        k: x.shift(k).rolling(w).corr(y) if k >= 0 else x.rolling(w).corr(y.shift(-k))
        for k in range(-most, most + 1)
    })  # fmt: skip
    found = run("xcorr_leadlag", x, y, max_lag=most, window=w)
    assert found[: w + most - 1] == [None] * (w + most - 1)
    for t in range(w + most - 1, 1_000):
        best = table.loc[t].abs().idxmax()
        assert found[t]["lag"] == best
        assert found[t]["corr"] == pytest.approx(table.loc[t, best], rel=1e-9)
    assert np.mean([row["lag"] == 3 for row in found[w + most :]]) > 0.95


def test_lags_of_one_size_go_to_the_smaller_and_constants_to_none():
    wave = [0.0, 1.0] * 20
    assert run("xcorr_leadlag", wave, wave, max_lag=4, window=10)[-1]["lag"] == 0
    assert run("xcorr_leadlag", wave, [1.0] * 40, max_lag=2, window=5)[-1] is None
    gap = [*wave[:20], None, *wave[21:]]
    found = run("xcorr_leadlag", gap, wave, max_lag=2, window=5)
    assert found[19] is not None
    assert found[20:27] == [None] * 7
    assert found[27] is not None


# ---------------------------------------------------------------- hedges


def test_a_spread_of_prices_and_of_logs():
    spread = run("pairs_spread", PRICES, SECOND, [2.0] * 12)
    assert spread[:3] == pytest.approx([0, 0.2, -0.1], abs=1e-12)
    ctx = fin_sql.connect()
    found = ctx.sql("SELECT pairs_spread(ln(101), ln(50), 0.5) AS y, pairs_spread(3, 1) AS z")
    assert found.to_arrow().to_pylist() == [
        {"y": pytest.approx(np.log(101) - 0.5 * np.log(50)), "z": 2.0}
    ]


def test_a_kalman_hedge_as_worked_out():
    found = run("kalman_hedge_ratio", PRICES, SECOND)
    ratios = [row["hedge_ratio"] for row in found]
    assert ratios[:3] == pytest.approx([1.9999992, 2.003823491306, 1.998225113807], rel=1e-9)
    assert ratios[11] == pytest.approx(1.991045577342, rel=1e-12)
    assert found[11]["spread"] == pytest.approx(-0.691498948542, rel=1e-11)
    assert found[11]["spread_std"] ** 2 == pytest.approx(0.03042327703, rel=1e-9)
    line = run("kalman_hedge_ratio2", PRICES, SECOND)[11]
    assert line["hedge_ratio"] == pytest.approx(1.985632135904, rel=1e-11)
    assert line["intercept"] == pytest.approx(0.268241306545, rel=1e-10)


def walks(n=400):
    rng = np.random.default_rng(SEED)
    b = 50 + rng.normal(size=n).cumsum() / 10
    return b * np.linspace(1.8, 2.2, n) + 3 + rng.normal(size=n) / 10, b


@pytest.mark.parametrize(("q", "r"), [(1e-5, 1e-3), (0.01, 2.0), (0.0, 0.1)])
def test_a_kalman_hedge_is_that_of_pykalman(q, r):
    a, b = walks()
    theirs = pykalman.KalmanFilter(
        transition_matrices=[[1]], observation_matrices=b.reshape(-1, 1, 1),
        transition_covariance=[[q]], observation_covariance=[[r]],
        initial_state_mean=[0], initial_state_covariance=[[1]],
    )  # fmt: skip
    hidden = np.ma.array(a, mask=np.arange(len(a)) % 17 == 5)
    mean, _ = theirs.filter(hidden)
    found = run("kalman_hedge_ratio", pa.array(a, mask=hidden.mask), b, q=q, r=r)
    for t, row in enumerate(found):
        if hidden.mask[t]:
            assert row is None
        else:
            assert row["hedge_ratio"] == pytest.approx(mean[t, 0], rel=1e-8)


def test_a_kalman_hedge_with_an_intercept_is_that_of_pykalman():
    a, b = walks()
    delta, r = 1e-4, 1e-3
    theirs = pykalman.KalmanFilter(
        transition_matrices=np.eye(2),
        observation_matrices=np.stack([b, np.ones(len(b))], axis=1)[:, None, :],
        transition_covariance=np.eye(2) * delta / (1 - delta), observation_covariance=[[r]],
        initial_state_mean=[0, 0], initial_state_covariance=np.eye(2),
    )  # fmt: skip
    mean, _ = theirs.filter(a)
    found = run("kalman_hedge_ratio2", a, b, delta=delta, r=r)
    for t, row in enumerate(found):
        assert (row["hedge_ratio"], row["intercept"]) == pytest.approx(tuple(mean[t]), rel=1e-6)


def test_without_steps_a_hedge_is_the_regression_over_all_rows():
    # The prior weighs as one row: on many rows of little noise it is gone.
    a, b = walks(3_000)
    a = 2.0 * b + (a - a.mean()) / 1e3
    theirs = statsmodels.api.RecursiveLS(a, b).fit().recursive_coefficients.filtered[0]
    found = run("kalman_hedge_ratio", a, b, q=0.0, r=1e-9)
    mine = [row["hedge_ratio"] for row in found]
    np.testing.assert_allclose(mine[10:], theirs[10:], rtol=1e-9)


def test_a_hedge_of_nothing_learns_nothing():
    found = run("kalman_hedge_ratio", [1.0, 2.0, 3.0], [0.0, 1.0, 0.0], q=0.0, r=0.001)
    assert found[0] == {"hedge_ratio": 0.0, "spread": 1.0, "spread_std": pytest.approx(0.001**0.5)}
    assert found[2]["hedge_ratio"] == found[1]["hedge_ratio"]
