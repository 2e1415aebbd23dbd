"""Risk: the worked examples, the answers of NumPy, pandas and SciPy, and what has no oracle."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from data import PNL, ROWS, walk
from datafusion import SessionContext
from scipy.optimize import minimize
from scipy.stats import genpareto, kurtosis, norm, skew

import fin_sql
from fin_sql.errors import SqlError


def run(name, *columns, **params):
    kernel = fin_sql.kernel(name)
    aggregate = kernel.spec.shape == "aggregate"
    return (kernel.running if aggregate else kernel.apply)(*columns, **params).to_pylist()


def same(found, wanted, rtol, atol=0.0):
    found = [np.nan if value is None else value for value in found]
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol, equal_nan=True)


# ---------------------------------------------------------------- cusum

# Montgomery, Introduction to Statistical Quality Control, table 9.1
MONTGOMERY = [9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34,
              9.03, 11.47, 10.51, 9.40, 10.08, 9.37, 10.62, 10.31, 8.52, 10.84,
              10.90, 9.33, 12.29, 11.50, 10.60, 11.08, 10.38, 11.62, 11.31, 10.52]  # fmt: skip


def test_cusum_as_worked_out():
    found = run("cusum", MONTGOMERY, target=10, k=0.5, h=5)
    assert found[28]["pos"] == pytest.approx(5.28, abs=1e-9)
    assert found[29]["pos"] == pytest.approx(5.30, abs=1e-9)
    assert [row["alarm"] for row in found] == [0] * 28 + [1, 1]
    assert max(row["neg"] for row in found) == pytest.approx(1.77, abs=1e-9)


@pytest.mark.parametrize("reset", [False, True])
def test_cusum_is_the_loop_of_two_lines(reset):
    x = np.random.default_rng(1).normal(10.05, 1, ROWS)
    pos = neg = 0.0
    wanted = []
    for value in x:
        pos, neg = max(0.0, pos + value - 10.3), max(0.0, neg + 9.7 - value)
        alarm = 0 if max(pos, neg) <= 4 else 1 if pos >= neg else -1
        wanted.append((pos, neg, alarm))
        if reset:
            pos, neg = pos * (alarm != 1), neg * (alarm != -1)
    found = run("cusum", x, target=10, k=0.3, h=4, reset=reset)
    for place, name in enumerate(("pos", "neg", "alarm")):
        same([row[name] for row in found], [row[place] for row in wanted], 1e-9, 1e-9)
    assert {row[2] for row in wanted} == {-1, 0, 1}


def test_cusum_with_reset_is_the_event_filter():
    returns = np.diff(np.log(walk(missing=False)))
    pos = neg = 0.0
    events = []
    for i, value in enumerate(returns):  # Lopez de Prado (2018), snippet 2.4
        pos, neg = max(0.0, pos + value), min(0.0, neg + value)
        if neg < -0.05:
            neg = 0.0
            events.append((i, -1))
        elif pos > 0.05:
            pos = 0.0
            events.append((i, 1))
    found = run("cusum", returns, k=0, h=0.05, reset=True)
    assert [(i, row["alarm"]) for i, row in enumerate(found) if row["alarm"]] == events
    assert len(events) > 20


def test_a_missing_row_leaves_cusum_where_it_was():
    found = run("cusum", [1.0, None, float("nan"), 1.0], k=0.25)
    assert found[1:3] == [None, None]
    assert [found[0]["pos"], found[3]["pos"]] == [0.75, 1.5]


# ---------------------------------------------------------------- historical_cvar


def test_cvar_as_worked_out():
    assert run("historical_cvar", PNL, alpha=0.05, window=20)[18] is None
    assert run("historical_cvar", PNL, alpha=0.05, window=20)[19] == pytest.approx(3.0)
    assert run("historical_cvar", PNL, alpha=0.1, window=20)[19] == pytest.approx(2.8)


@pytest.mark.parametrize(("alpha", "window"), [(0.05, 250), (0.1, 20), (0.5, 7), (0.25, 5)])
def test_cvar_is_the_mean_below_numpys_quantile(alpha, window):
    x = pd.Series(np.random.default_rng(2).normal(size=ROWS))
    x[::97] = np.nan

    def tail(v):
        return -v[v <= np.quantile(v, alpha)].mean()

    found = run("historical_cvar", x, alpha=alpha, window=window)
    same(found, x.rolling(window).apply(tail, raw=True), 1e-11, 1e-13)
    at_risk = run("historical_var", x, alpha=alpha, window=window)
    assert all(a >= b for a, b in zip(found, at_risk, strict=True) if a is not None)


def test_cvar_counts_ties_with_the_quantile_whole():
    x = [-2.0, -1, -1, -1, 5, 6, 7, 8, 9, 10, 11]
    assert run("historical_cvar", x, alpha=0.2, window=11)[10] == pytest.approx(5 / 4)
    assert run("historical_cvar", [3.0] * 4, alpha=0.2, window=4)[3] == -3.0


def test_an_alpha_outside_of_0_and_1_is_an_error():
    for alpha in (0, 1, -0.1, 5):
        for name in ("historical_cvar", "evt_pot_var"):
            with pytest.raises(SqlError, match="alpha"):
                run(name, PNL, alpha=alpha)


# ---------------------------------------------------------------- cornish_fisher_var


def test_cornish_fisher_as_worked_out():
    moments = ([0.0005], [0.012], [-0.4], [1.8])
    (found,) = run("cornish_fisher_var", *moments)
    assert found == pytest.approx(0.020130711345364725, rel=1e-13)
    (found,) = run("cornish_fisher_var", *moments, alpha=0.01)
    assert found == pytest.approx(0.03527293649584612, rel=1e-13)
    (found,) = run("cornish_fisher_var", [0.0005], [0.012], [0.0], [0.0])
    assert found == pytest.approx(0.019238243523, abs=6e-13)
    (found,) = run("cornish_fisher_var", [0.0], [1.0], [-0.4], [1.8])
    assert found == pytest.approx(1.7192259454470604, rel=1e-13)


@pytest.mark.parametrize("alpha", [1e-9, 0.01, 0.05, 0.5, 0.9])
def test_cornish_fisher_over_scipys_quantile(alpha):
    rng = np.random.default_rng(3)
    mean, shape, tail = rng.normal(size=(3, ROWS))
    std = rng.uniform(0.1, 3, ROWS)
    z = norm.ppf(alpha)
    skewed = shape / 6 * (z**2 - 1) - shape**2 / 36 * (2 * z**3 - 5 * z)
    wanted = -mean - std * (z + skewed + tail / 24 * (z**3 - 3 * z))
    same(run("cornish_fisher_var", mean, std, shape, tail, alpha=alpha), wanted, 1e-11, 1e-11)


def test_cornish_fisher_finds_the_quantile_of_data_that_are_nearly_normal():
    x = np.random.default_rng(4).gamma(60.0, size=400_000)
    moments = ([x.mean()], [x.std()], [skew(x)], [kurtosis(x)])
    (found,) = run("cornish_fisher_var", *moments, alpha=0.01)
    assert found == pytest.approx(-np.quantile(x, 0.01), rel=2e-3)


def test_strict_cornish_fisher_is_null_where_the_quantile_is_not_monotone():
    grid = np.meshgrid(np.arange(-20, 21) / 10, np.arange(-4, 37) / 4)
    shape, tail = (axis.ravel() for axis in grid)
    z = np.linspace(-60, 60, 24_001)[:, None]
    quantile = z + (z**2 - 1) * shape / 6 + (z**3 - 3 * z) * tail / 24
    quantile -= (2 * z**3 - 5 * z) * shape**2 / 36
    monotone = (np.diff(quantile, axis=0) >= 0).all(axis=0)
    clear = np.abs(np.diff(quantile, axis=0).min(axis=0)) > 1e-6
    found = run("cornish_fisher_var", 0 * shape, 1 + 0 * shape, shape, tail, strict=True)
    there = np.array([value is not None for value in found])
    np.testing.assert_array_equal(there[clear], monotone[clear])
    assert 100 < there.sum() < len(there) - 100


def test_cornish_fisher_without_a_deviation_is_null():
    assert run("cornish_fisher_var", [0.1, None], [-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]) == [None] * 2
    assert run("cornish_fisher_var", [0.1], [0.0], [0.0], [0.0]) == [-0.1]


# ---------------------------------------------------------------- evt_pot_var

# The Danish fire losses of 1980 to 1990 above 10 million kroner, of 2 167 above 1 million;
# collected by Copenhagen Re, and fitted in McNeil (1997), ASTIN Bulletin 27(1).
DANISH = [
    11.3748169838946, 26.2146412884334, 14.1220761346999, 11.7130307467057, 12.4655929721816,
    17.5695461200586, 13.6207906295754, 21.9619326500732, 263.250366032211, 19.0702781844802,
    19.4729136163982, 34.1415465268676, 20.9698558322412, 12.8951507208388, 56.2254259501966,
    10.2228047182176, 14.6788990825688, 50.0655307994758, 10.1780237812128, 10.820451843044,
    24.9702734839477, 11.8906064209275, 20.0499405469679, 65.7074910820452, 27.262594530321,
    15.9262782401903, 22.258225921522, 10.0111234705228, 10.0723025583982, 12.6318131256952,
    13.3481646273637, 11.4315906562848, 11.1234705228031, 11.6230366492147, 14.2931937172775,
    13.6230366492147, 18.6464837696335, 15.8115183246073, 19.1623036649215, 18.848167539267,
    22.137567, 16.3, 46.5, 10.5, 12.225, 14.239, 57.410636, 14.3, 13.5, 10.7, 19.4,
    12.0540019286403, 16.4416586306654, 29.0260366441659, 12.5361620057859, 18.3220829315333,
    10.2700096432015, 17.0684667309547, 17.7434908389585, 23.2838589981447, 11.1317254174397,
    12.5231910946197, 32.4675324675325, 29.0371057513915, 18.5528756957328, 16.8831168831169,
    27.8293135435993, 12.0593692022263, 11.595547309833, 16.4152617568767, 18.4241348713398,
    38.1543921916593, 27.338065661047, 11.8012422360248, 25.2883762200532, 10.2040816326531,
    20.452528837622, 47.019520851819, 24.5785270629991, 15.8828748890861, 25.9538598047915,
    10.8251996450754, 31.055900621118, 24.5554614733277, 42.0914479254869, 14.3945808636749,
    20.8636748518205, 14.3945808636749, 10.1371718882303, 12.8018628281118, 16.0880609652837,
    152.413209144793, 14.0135478408129, 12.701100762066, 11.6850127011008, 32.3878069432684,
    10.584250635055, 18.6282811176969, 10.9983498349835, 12.3762376237624, 15.2846534653465,
    10.1848184818482, 13.2013201320132, 20.8267326732673, 14.8514851485149, 144.657590759076,
    28.6303630363036, 19.2656765676568, 17.7392739273927,
]  # fmt: skip


def fitted(pnl, **params):
    return fin_sql.kernel("evt_pot_var").apply(pnl, **params).as_py()


def log_likelihood(xi, beta, y):
    return genpareto.logpdf(y, xi, scale=beta).sum()


def test_the_danish_fire_losses():
    pnl = -np.concatenate([DANISH, np.linspace(1, 9.9, 2_167 - 109)])
    wanted = {0.01: (27.28999, 58.24010), 0.005: (40.17299, None), 0.001: (94.33935, None)}
    for alpha, (at_risk, shortfall) in wanted.items():
        found = fitted(pnl, alpha=alpha, threshold=10)
        assert found["n_exceed"] == 109
        assert found["threshold"] == 10
        assert found["xi"] == pytest.approx(0.496986, abs=2e-6)
        assert found["beta"] == pytest.approx(6.975468, abs=2e-5)
        assert found["var"] == pytest.approx(at_risk, rel=1e-6)
        if shortfall:
            assert found["es"] == pytest.approx(shortfall, rel=1e-5)
    likelihood = log_likelihood(found["xi"], found["beta"], np.subtract(DANISH, 10))
    assert likelihood == pytest.approx(-374.89299023, abs=1e-7)


def test_the_fit_of_drawn_tails_is_scipys():
    rng = np.random.default_rng(5)
    for xi in (-0.3, -0.1, 0.0, 0.2, 0.6, 1.4):
        y = genpareto.rvs(xi, scale=2.0, size=400, random_state=rng)
        found = fitted(-np.concatenate([y + 1, np.zeros(3_600)]), alpha=0.01, threshold=1)
        shape, _, scale = genpareto.fit(y, floc=0)
        assert found["xi"] == pytest.approx(shape, abs=1e-3)
        assert found["beta"] == pytest.approx(scale, rel=1e-3)
        best = minimize(
            lambda at, y=y: -log_likelihood(*at, y),
            [shape, scale],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-10},
        ).x
        assert [found["xi"], found["beta"]] == pytest.approx(best, rel=1e-5, abs=1e-6)
        tail = genpareto(found["xi"], scale=found["beta"])
        assert found["var"] == pytest.approx(1 + tail.isf(0.1), rel=1e-9)
        if found["xi"] < 1:
            reach = found["var"] - 1
            beyond = tail.expect(lambda v, reach=reach: v - reach, lb=reach, conditional=True)
            assert found["es"] == pytest.approx(found["var"] + beyond, rel=1e-4)
        else:
            assert found["es"] is None


def test_the_threshold_is_numpys_quantile_of_the_losses():
    x = np.random.default_rng(6).standard_t(4, ROWS)
    found = fitted(x, alpha=0.005, threshold_q=0.93)
    u = np.quantile(-x, 0.93)
    assert found["threshold"] == pytest.approx(u, rel=1e-12)
    assert found["n_exceed"] == (-x > u).sum()
    assert found["var"] == pytest.approx(-np.quantile(x, 0.005), rel=0.1)
    parts = [fin_sql.kernel("evt_pot_var").state(alpha=0.005, threshold_q=0.93) for _ in range(2)]
    parts[0].update(x[1_000:])
    parts[1].update(x[:1_000])
    parts[0].merge(parts[1])
    assert parts[0].value() == found


def test_an_exponential_tail_has_the_exponential_quantile():
    # Midpoints of the exponential distribution, whose likelihood is highest near xi = 0.
    y = -np.log1p(-(np.arange(20_000) + 0.5) / 20_000)
    found = fitted(-np.concatenate([y + 3, np.zeros(380_000)]), alpha=0.01, threshold=3)
    assert found["xi"] == pytest.approx(0, abs=2e-3)
    assert found["var"] == pytest.approx(3 + np.log(5), rel=2e-3)


def test_a_tail_that_cannot_be_fitted_is_null():
    x = -np.arange(100.0)
    assert fitted(x[:9]) is None
    assert fitted(x, threshold=90.5) is None  # 9 excesses
    assert fitted(x, threshold=50, alpha=0.6) is None  # alpha is not in the tail
    assert fitted(-np.repeat([0.0, 1.0], 100), threshold=0.5) is None  # all excesses are equal
    assert fitted([]) is None


# ---------------------------------------------------------------- SQL


def test_risk_in_sql():
    x = np.random.default_rng(8).standard_t(4, 2_000)
    rows = pa.table({"i": range(2_000), "book": np.repeat(["a", "b"], 1_000), "pnl": x})
    ctx = fin_sql.connect()
    ctx.register("books", rows)
    found = ctx.sql(
        "SELECT historical_cvar(pnl, 0.1, 50) OVER w AS es, cusum(pnl, h => 6) OVER w AS cusum, "
        "cornish_fisher_var(0, 1, 0, 0, 0.01) AS normal "
        "FROM books WINDOW w AS (PARTITION BY book ORDER BY i)"
    ).to_arrow()
    tail = pd.Series(x).rolling(50).apply(lambda v: -np.sort(v)[:5].mean(), raw=True)
    tail[1_000:1_049] = np.nan
    same(found["es"].to_pylist(), tail, 1e-11)
    same(found["normal"].to_pylist(), np.full(2_000, norm.isf(0.01)), 1e-13)
    pos = 0.0
    for value, row in zip(x[:1_000], found["cusum"].to_pylist(), strict=False):
        pos = max(0.0, pos + value - 0.5)
        assert row["pos"] == pytest.approx(pos, abs=1e-9)
    found = ctx.sql(
        "SELECT book, evt_pot_var(pnl, 0.01, 0.9) AS tail FROM books GROUP BY book ORDER BY book"
    ).to_arrow()
    for row, part in zip(found.to_pylist(), (x[:1_000], x[1_000:]), strict=True):
        u = np.quantile(-part, 0.9)
        y = -part[-part > u] - u
        shape, _, scale = genpareto.fit(y, floc=0)
        wanted = u + genpareto.isf(0.1, shape, scale=scale)
        assert row["tail"]["var"] == pytest.approx(wanted, rel=1e-3)
        assert row["tail"]["n_exceed"] == len(y) == 100


def test_cornish_fisher_in_a_plain_session():
    ctx = fin_sql.register(SessionContext())
    found = ctx.sql("SELECT cornish_fisher_var(0.0005, 0.012, -0.4, 1.8, 0.05, true) AS y")
    assert found.to_pydict()["y"] == pytest.approx([0.020130711345364725])
