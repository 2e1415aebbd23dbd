"""Microstructure, volatility and liquidity against pandas, NumPy and SciPy."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from data import ROWS, series

import fin_sql
from fin_sql.snapshots import restore, snapshot
from fin_sql.states import States

RNG = np.random.default_rng(20261124)
R = pd.Series(np.where(RNG.random(ROWS) < 0.01, np.nan, RNG.normal(0, 0.01, ROWS)))
VOLUME = pd.Series(RNG.integers(1, 500, ROWS).astype(float))


def run(name, *columns, **params):
    kernel = fin_sql.kernel(name)
    found = kernel.apply(*columns, **params)
    return found.as_py() if isinstance(found, pa.Scalar) else found.to_numpy(zero_copy_only=False)


def same(found, wanted, rtol, atol=0.0):
    wanted = np.asarray(wanted, float)
    assert np.isfinite(wanted).any()
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol, atol, equal_nan=True)


@pytest.fixture(scope="module")
def quotes():
    rng = np.random.default_rng(5)
    bid = 100 + np.cumsum(rng.choice([-0.01, 0, 0, 0.01], ROWS)).round(2)
    ask = bid + rng.choice([0.01, 0.02, 0.03], ROWS)
    sizes = rng.integers(1, 20, (2, ROWS)).astype(float)
    return pd.DataFrame({"bid": bid, "ask": ask, "bs": sizes[0], "as_": sizes[1]})


def test_ofi_is_the_four_terms_of_the_paper(quotes):
    b, a, p, q = quotes.bid, quotes.ask, quotes.bs, quotes.as_
    wanted = (
        p * (b >= b.shift())
        - p.shift() * (b <= b.shift())
        - q * (a <= a.shift())
        + q.shift() * (a >= a.shift())
    )
    same(run("ofi", b, a, p, q), wanted, 1e-12)
    better = run("ofi", [1.0, 1.01], [1.1, 1.1], [5.0, 7.0], [5.0, 5.0])
    assert better[1] == 7.0  # a better bid of 7 is 7 more that want to buy


def test_trade_sign_is_the_quote_rule_and_else_the_tick_rule(quotes):
    rng = np.random.default_rng(6)
    price = pd.Series(
        np.where(rng.random(ROWS) < 0.5, (quotes.bid + quotes.ask) / 2, quotes.bid)
    ).round(3)
    mid = (quotes.bid + quotes.ask) / 2
    changed = price.where(price != price.shift())
    different = changed.ffill()  # the price, by runs
    before = different.where(different != different.shift()).dropna()
    before = before.shift().reindex(price.index).ffill()
    tick = np.sign(price - before).fillna(0)
    wanted = np.where(price > mid, 1, np.where(price < mid, -1, tick))
    found = run("trade_sign", price, quotes.bid, quotes.ask)
    assert set(np.unique(found)) >= {-1, 1}
    np.testing.assert_array_equal(found, wanted)


def test_a_trade_without_a_quote_has_the_sign_of_its_tick():
    nan = np.nan
    assert run("trade_sign", [1.0, 2.0, 2.0, 1.5], [nan] * 4, [nan] * 4).tolist() == [0, 1, 1, -1]
    crossed = fin_sql.kernel("trade_sign").apply([1.0, None, 2.0], [3.0] * 3, [2.0] * 3)
    assert crossed.to_pylist() == [0, None, 1]


def test_scalars_of_a_quote(quotes):
    b, a, p, q = quotes.bid, quotes.ask, quotes.bs, quotes.as_
    same(run("microprice", b, a, p, q), (b * q + a * p) / (p + q), 1e-14)
    same(run("quoted_spread", b, a), a - b, 0)
    same(run("quoted_spread_bps", b, a), 1e4 * (a - b) / ((a + b) / 2), 1e-14)
    same(run("effective_spread", b, (a + b) / 2), a - b, 1e-9)
    same(run("l1_imbalance", p, q), (p - q) / (p + q), 1e-14)
    nothing = fin_sql.kernel("microprice").apply([1.0, 1.0], [2.0, 2.0], [0.0, -1.0], [0.0, 5.0])
    assert nothing.null_count == 2
    assert fin_sql.kernel("l1_imbalance").apply([0.0], [0.0]).null_count == 1


def test_bulk_volume_is_the_normal_distribution():
    change, sigma = RNG.normal(size=500), RNG.random(500) + 0.1
    wanted = VOLUME[:500] * scipy.stats.norm.cdf(change / sigma)
    same(run("bulk_buy_volume", change, sigma, VOLUME[:500]), wanted, 1e-12)


@pytest.mark.parametrize("window", [3, 20, 100])
def test_variances_are_those_of_pandas(window):
    products = (R.abs() * R.abs().shift()).rolling(window - 1).sum()
    same(run("realized_var", R, window=window), (R**2).rolling(window).sum(), 1e-10, 1e-18)
    same(run("bipower_var", R, window=window), np.pi / 2 * products, 1e-10, 1e-18)
    middle = pd.concat([R.abs().shift(k) for k in range(3)], axis=1).median(axis=1, skipna=False)
    scale = np.pi / (6 - 4 * np.sqrt(3) + np.pi) * window / (window - 2)
    wanted = scale * (middle**2).rolling(window - 2).sum()
    same(run("medrv", R, window=window), wanted, 1e-10, 1e-18)


def test_riskmetrics_is_an_average_of_squares():
    wanted = np.sqrt((R**2).ewm(alpha=0.06, ignore_na=True, adjust=False).mean()).where(R.notna())
    same(run("riskmetrics_vol", R), wanted, 1e-11)


@pytest.mark.parametrize("order", ["in order", "out of order", "in parts"])
@pytest.mark.parametrize("name", ["bipower_var_agg", "medrv_agg", "roll_spread_agg"])
def test_a_group_is_in_order_of_time_however_it_comes(name, order):
    r = R.dropna().to_numpy()[:500].copy()
    r[-5:] = 0.0
    times = np.arange(500) * 10
    neighbours = pd.concat([pd.Series(np.abs(r)).shift(k) for k in range(3)], axis=1)
    wanted = {
        "bipower_var_agg": np.pi / 2 * np.sum(np.abs(r[1:] * r[:-1])),
        "medrv_agg": np.pi / (6 - 4 * np.sqrt(3) + np.pi) * 500 / 498
        * np.nansum(neighbours.median(axis=1, skipna=False) ** 2),
        "roll_spread_agg": 2 * np.sqrt(max(0.0, -np.cov(r[1:], r[:-1])[0, 1])),
    }[name]  # fmt: skip
    turn = RNG.permutation(500) if order == "out of order" else np.arange(500)
    if order != "in parts":
        assert run(name, r[turn], times[turn]) == pytest.approx(wanted, rel=1e-11, abs=1e-15)
        return
    parts = [fin_sql.kernel(name).state() for _ in range(3)]
    for k, part in enumerate(parts):  # each part has every third row, as GROUP BY may deal them
        part.update(r[k::3], times[k::3])
        kept = part.snapshot()  # its last values are zeros, and belong to it all the same
        part.restore(kept)
    parts[0].merge(parts[2])
    parts[0].merge(parts[1])
    assert parts[0].value() == pytest.approx(wanted, rel=1e-11, abs=1e-15)


def test_a_state_that_ends_in_zeros_goes_on_after_a_restart():
    bound = fin_sql.registry.lookup("bipower_var_agg").bind()
    states, again = States(bound), States(bound)
    spec = bound.kernel.spec
    zeros = fin_sql.kernel("bipower_var_agg").state()
    zeros.update([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0] * 7)
    restored = fin_sql.kernel("bipower_var_agg").state()
    restored.restore(zeros.snapshot())
    for state in (zeros, restored):
        state.update([2.0, 3.0] * 50, range(1, 101))
    assert restored.value() == zeros.value() == pytest.approx(np.pi / 2 * 6 * 99)
    assert restored.snapshot() == zeros.snapshot()
    assert spec.bound and snapshot(states) == snapshot(again)
    restore(again, zeros.snapshot())


@pytest.mark.parametrize("window", [5, 20])
def test_liquidity_is_that_of_pandas(window):
    change, signed = series(3).diff(), VOLUME * RNG.choice([-1, 1], ROWS)
    both = change.notna() & signed.notna()
    slope = (
        change.where(both).rolling(window).cov(signed.where(both))
        / signed.where(both).rolling(window).var()
    )
    same(run("kyle_lambda", change, signed, window=window), slope, 1e-7, 1e-10)
    value = VOLUME * 100.0
    ratio = (R.abs() / value).rolling(window).mean()
    same(run("amihud_illiquidity", R, value, window=window), ratio, 1e-9)
    covariance = change.rolling(window).cov(change.shift())
    wanted = 2 * np.sqrt(np.maximum(-covariance, 0.0)).where(covariance.notna())
    same(run("roll_spread", change, window=window), wanted, 1e-6, 1e-6)


def test_amihud_of_a_group_leaves_out_rows_that_did_not_trade():
    found = run("amihud_illiquidity_agg", [0.1, -0.3, 0.5], [10.0, 0.0, 100.0])
    assert found == pytest.approx((0.01 + 0.005) / 2)


def corwin_schultz(high, low, close):
    """As of the paper, over pairs of days in NumPy."""
    h, b = np.log(high), np.log(low)
    gap = np.maximum(0, np.log(close[:-1]) - h[1:]) + np.minimum(0, np.log(close[:-1]) - b[1:])
    beta = (h[:-1] - b[:-1]) ** 2 + (h[1:] - b[1:]) ** 2
    gamma = (np.maximum(h[:-1], h[1:] + gap) - np.minimum(b[:-1], b[1:] + gap)) ** 2
    k = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    return np.maximum(0, 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)))


def test_corwin_schultz_takes_the_night_out_of_the_range():
    rng = np.random.default_rng(8)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))
    high, low = close * (1 + rng.random(400) / 50), close * (1 - rng.random(400) / 50)
    found = run("corwin_schultz_spread", high, low, close)
    same(found[1:], corwin_schultz(high, low, close), 1e-9, 1e-12)
    assert np.isnan(found[0])
    named = run("corwin_schultz_spread", high, low, close=close)
    np.testing.assert_array_equal(named, found)
    alone = run("corwin_schultz_spread", high, low)
    assert (alone[1:] != found[1:]).any()
    bad = run("corwin_schultz_spread", [2.0, 1.0, 2.0, 2.0], [1.0, 2.0, 1.0, 1.0])
    assert np.isnan(bad[:3]).all() and np.isfinite(bad[3])


def test_a_column_with_a_default_may_be_left_out_in_sql():
    ctx = fin_sql.connect()
    rng = np.random.default_rng(9)
    low = 100 + rng.random(50)
    rows = pa.table({"i": range(50), "h": low + rng.random(50), "l": low, "c": low})
    ctx.register("bars", rows)
    for given, columns in (("", ()), (", c", ("c",)), (", close => c", ("c",))):
        query = f"SELECT corwin_schultz_spread(h, l{given}) OVER (ORDER BY i) AS y FROM bars"
        found = ctx.sql(query).to_arrow()["y"].to_numpy()
        same(
            found, run("corwin_schultz_spread", rows["h"], rows["l"], *map(rows.column, columns)), 0
        )
    with pytest.raises(fin_sql.SqlError, match="lacks its argument 'low'"):
        ctx.sql("SELECT corwin_schultz_spread(h) OVER (ORDER BY i) FROM bars")
    with pytest.raises(fin_sql.ArgumentTypeError, match="'close' given twice"):
        fin_sql.kernel("corwin_schultz_spread").apply([1.0], [1.0], [1.0], close=[1.0])
