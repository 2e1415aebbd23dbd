"""Execution: the worked examples, NumPy's answers, and what has no oracle."""

import numpy as np
import pyarrow as pa
import pytest
from datafusion import SessionContext

import fin_sql
from fin_sql.errors import KernelError, SqlError

ROWS = 3_000
SEED = 20261124
TICKS = pa.array([0, 10, 25, 60])
QUOTED = [100.0, 101.0, 100.5, 102.0]


def run(name, *columns, **params):
    kernel = fin_sql.kernel(name)
    aggregate = kernel.spec.shape == "aggregate"
    return (kernel.running if aggregate else kernel.apply)(*columns, **params).to_pylist()


def close(found, wanted, rel=1e-12, **more):
    assert found == pytest.approx(wanted, rel=rel, **more)


# ---------------------------------------------------------------- twap


def test_twap_as_worked_out():
    close(run("twap", QUOTED, TICKS)[-1], 100.54166666666667)
    close(run("twap", QUOTED, TICKS, end_ts=90)[-1], 101.02777777777777)


def test_twap_is_the_mean_of_a_price_laid_out_second_by_second():
    rng = np.random.default_rng(1)
    price = 100 + rng.normal(size=ROWS).cumsum() / 10
    gaps = rng.integers(0, 5, ROWS)
    ts = 1_000 + np.concatenate([[0], np.cumsum(gaps[:-1])])
    found = run("twap", price, pa.array(ts))
    for end in (50, 1_000, ROWS):
        close(found[end - 1], np.repeat(price[: end - 1], gaps[: end - 1]).mean())
    until = int(ts[-1] + gaps[-1])
    close(run("twap", price, pa.array(ts), end_ts=until)[-1], np.repeat(price, gaps).mean())


def test_twap_of_one_row_of_one_time_and_of_an_end_that_has_passed():
    assert run("twap", [7.0], pa.array([5])) == [7.0]
    assert run("twap", [7.0], pa.array([5]), end_ts=9) == [7.0]
    assert run("twap", [1.0, 2.0, 6.0], pa.array([5, 5, 5])) == [1.0, 1.5, 3.0]
    close(run("twap", QUOTED, TICKS, end_ts=30)[-1], 100.54166666666667)
    close(run("twap", [*QUOTED, None], pa.array([*TICKS.to_pylist(), 99]))[-1], 100.54166666666667)


def test_twap_merges_parts_that_follow_each_other_in_either_order():
    early, late, again = (fin_sql.kernel("twap").state() for _ in range(3))
    early.update(QUOTED[:2], TICKS[:2])
    late.update(QUOTED[2:], TICKS[2:])
    again.update(QUOTED[:2], TICKS[:2])
    early.merge(late)
    late.merge(again)
    close([early.value(), late.value()], [100.54166666666667] * 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_twap_of_rows_in_any_order_is_that_of_their_times(threads):
    close(run("twap", QUOTED[::-1], TICKS[::-1])[-1], 100.54166666666667)
    price, gaps = np.arange(1.0, 2_001.0), np.full(2_000, 10)
    turn = np.random.default_rng(SEED).permutation(2_000)
    ctx = fin_sql.connect(threads=threads)
    table = pa.table({"p": price[turn], "ts": pa.array(np.cumsum(gaps)[turn], pa.timestamp("ns"))})
    ctx.register("t", pa.Table.from_batches(table.to_batches(100)))
    found = ctx.sql("SELECT twap(p, ts) AS y FROM t").to_arrow()["y"].to_pylist()
    close(found, [np.mean(price[:-1])])
    running = ctx.sql(
        "SELECT twap(p, ts) OVER (ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) "
        "AS y FROM t ORDER BY ts"
    )
    close(running.to_arrow()["y"].to_pylist()[-1], np.mean(price[:-1]))


# ---------------------------------------------------------------- pov


def test_pov_as_worked_out():
    found = run("pov", [1000, 2000, 500, 4000, 3000], rate=0.1, order_qty=800)
    close([row["child_qty"] for row in found], [100, 200, 50, 400, 50])
    close([row["remaining"] for row in found], [700, 500, 450, 50, 0])
    assert found[-1]["remaining"] == 0


def test_pov_is_the_capped_sum_of_the_volume():
    volume = np.random.default_rng(2).integers(1, 900, ROWS)
    found = run("pov", volume, rate=0.07, order_qty=50_000.5)
    done = np.minimum(0.07 * volume.cumsum(), 50_000.5)
    close([row["child_qty"] for row in found], np.diff(done, prepend=0), rel=1e-9, abs=1e-9)
    close([row["remaining"] for row in found], 50_000.5 - done, rel=1e-9, abs=1e-7)


def test_pov_trades_nothing_on_a_row_without_a_volume():
    found = run("pov", [100, None, -5, 0, 100], rate=0.1, order_qty=15)
    assert found[1] is None
    assert found[2] is None
    assert found[3] == {"child_qty": 0, "remaining": 5}
    assert found[4] == {"child_qty": 5, "remaining": 0}
    for rate in (0, -0.1, 10):
        with pytest.raises(SqlError, match="rate"):
            run("pov", [1.0], rate=rate, order_qty=1)


# ---------------------------------------------------------------- shortfall


def test_shortfall_as_worked_out():
    fills = ([100.05, 100.10, 100.20], [300, 500, 200], [100.0] * 3)
    close(run("implementation_shortfall_agg", *fills, [1] * 3)[-1], 10.5, rel=1e-10)
    close(run("implementation_shortfall_agg", *fills, [-1] * 3)[-1], -10.5, rel=1e-10)
    close(
        run("implementation_shortfall", [100.105] * 2, [100.0] * 2, [1, -1]), [10.5, -10.5], 1e-10
    )
    close(run("arrival_price_impact", [100.105], [100.0]), [10.5], 1e-10)
    close(run("arrival_price_impact", [100.105], [100.0], [-1]), [-10.5], 1e-10)


def test_shortfall_of_many_fills_is_numpys_weighted_average():
    rng = np.random.default_rng(3)
    price, arrival = (100 + rng.normal(size=ROWS) for _ in range(2))
    quantity, side = rng.integers(1, 90, ROWS), rng.choice([-1, 1], ROWS)
    each = side * (price / arrival - 1) * 1e4
    for name in ("implementation_shortfall", "arrival_price_impact"):
        close(run(name, price, arrival, side), each, rel=1e-9, abs=1e-9)
    found = run("implementation_shortfall_agg", price, quantity, arrival, side)
    for end in (1, 100, ROWS):
        weights = (quantity * arrival)[:end]
        close(found[end - 1], np.average(each[:end], weights=weights), rel=1e-9)


def test_shortfall_without_a_side_or_a_price_is_null():
    columns = ([101.0] * 5, [100.0, 0.0, -1.0, 100.0, None], [0, 1, 1, None, 1])
    for name in ("implementation_shortfall", "arrival_price_impact"):
        assert run(name, *columns) == [None] * 5
        assert np.isnan(run(name, [float("nan")], [100.0], [1])[0])
    assert run("implementation_shortfall_agg", columns[0], [1.0] * 5, *columns[1:]) == [None] * 5
    skipped = run("implementation_shortfall_agg", [101.0] * 3, [1, -1, 1], [100.0] * 3, [1, 1, 0])
    close(skipped, [100.0] * 3)


# ---------------------------------------------------------------- optimal_ac_schedule

PAPER = {"qty": 1e6, "horizon": 5.0, "n_slices": 5, "sigma": 0.95, "eta": 2.5e-6,
         "risk_aversion": 1e-6, "gamma": 2.5e-7}  # fmt: skip


def schedule(**changed):
    return run("optimal_ac_schedule", *([value] for value in (PAPER | changed).values()))[0]


def cost(trades, holdings, tau, eta, gamma):
    """Mean and standard deviation of the cost, eq. 4 and 5 of the paper with epsilon = 1/16."""
    eta_left = eta - gamma * tau / 2
    mean = (
        gamma * holdings[0] ** 2 / 2 + np.abs(trades).sum() / 16 + eta_left / tau * trades @ trades
    )
    return mean, 0.95 * np.sqrt(tau * holdings[1:] @ holdings[1:])


def test_the_schedule_of_the_paper():
    found = schedule()
    holdings = np.array([row["holdings"] for row in found])
    trades = np.array([row["trade"] for row in found[1:]])
    assert [row["k"] for row in found] == [0, 1, 2, 3, 4, 5]
    close([row["t"] for row in found], [0, 1, 2, 3, 4, 5])
    close(
        holdings, [1e6, 541955.55437392, 289854.21940994, 147897.48782172, 62141.80160577, 0], 1e-11
    )
    close(trades, [458044.44562608, 252101.33496399, 141956.73158821, 85755.68621596,
                   62141.80160577], 1e-11)  # fmt: skip
    kappa = np.arccosh((holdings[0] + holdings[2]) / (2 * holdings[1]))
    close(kappa, 0.6070761632470627, 1e-9)
    mean, deviation = cost(trades, holdings, 1.0, 2.5e-6, 2.5e-7)
    close(mean, 911226.9863037932)
    close(deviation, 603430.6688, 1e-9)


def test_the_schedule_is_what_a_quadratic_optimiser_finds():
    rng = np.random.default_rng(4)
    for n in (2, 7, 40):
        sigma, eta, gamma = rng.uniform(0.1, 2), rng.uniform(1e-6, 1e-5), rng.uniform(0, 1e-7)
        horizon, aversion = rng.uniform(1, 9), 10 ** rng.uniform(-8, -5)
        tau = horizon / n
        # trades = start - step @ holdings; the cost is quadratic in the n - 1 inner holdings
        step = np.eye(n, n - 1) - np.eye(n, n - 1, -1)
        start = np.eye(n)[0] * 1e6
        impact = (eta - gamma * tau / 2) / tau
        risk = aversion * sigma**2 * tau * np.eye(n - 1)
        inner = np.linalg.solve(impact * step.T @ step + risk, impact * step.T @ start)
        found = schedule(horizon=horizon, n_slices=n, sigma=sigma, eta=eta, gamma=gamma,
                         risk_aversion=aversion)  # fmt: skip
        close([row["holdings"] for row in found], [1e6, *inner, 0], 1e-8, abs=1e-6)


def test_a_schedule_without_risk_aversion_is_linear_and_a_wild_one_is_finite():
    for aversion in (0.0, 1e-30):
        holdings = [row["holdings"] for row in schedule(risk_aversion=aversion)]
        close(holdings, [1e6, 8e5, 6e5, 4e5, 2e5, 0])
    wild = schedule(sigma=1e150, risk_aversion=1e6, n_slices=20)
    assert wild[1] == {"k": 1, "t": 0.25, "holdings": pytest.approx(0, abs=1e-99), "trade": 1e6}
    steep = schedule(risk_aversion=5.0, n_slices=100)  # kappa T is about 800
    holdings = np.array([row["holdings"] for row in steep])
    assert np.isfinite(holdings).all()
    assert (np.diff(holdings) <= 0).all()
    one = schedule(n_slices=1)
    assert [row["trade"] for row in one] == [0, 1e6]


def test_more_volatility_trades_faster():
    firsts = [schedule(sigma=sigma)[1]["trade"] for sigma in (0.1, 0.95, 3.0)]
    assert firsts == sorted(firsts)


def test_a_schedule_that_is_undefined_is_null_and_a_bad_count_an_error():
    assert schedule(gamma=5e-6) is None
    assert schedule(horizon=-1.0) is None
    assert schedule(sigma=None) is None
    some = run("optimal_ac_schedule", [1e6] * 3, [5.0, 0.0, 5.0], [2] * 3, [1.0] * 3, [1e-6] * 3,
               [0.0] * 3)  # fmt: skip
    assert [row and [r["holdings"] for r in row] for row in some] == [[1e6, 5e5, 0], None,
                                                                      [1e6, 5e5, 0]]  # fmt: skip
    with pytest.raises(KernelError, match="n_slices must be from 1"):
        schedule(n_slices=0)


# ---------------------------------------------------------------- slippage_decomposition

FIELDS = ("delay_bps", "trading_bps", "opportunity_bps", "fee_bps", "total_bps")


def test_slippage_as_worked_out():
    order = ([1], [1200], [1000], [99.9], [100.0], [100.105], [100.5], [5.0])
    (found,) = run("slippage_decomposition", *order)
    wanted = (8.341675008, 8.758758759, 10.010010010, 0.417083750, 27.527527528)
    close([found[name] for name in FIELDS], wanted, abs=6e-10)
    (sold,) = run("slippage_decomposition", [-1], *order[1:])
    for name in FIELDS[:3]:
        close(sold[name], -found[name])
    close(sold["fee_bps"], found["fee_bps"])


def test_the_parts_of_slippage_sum_to_paper_less_real():
    rng = np.random.default_rng(5)
    side, order = rng.choice([-1, 1], ROWS), rng.uniform(1, 1e4, ROWS)
    filled = order * rng.uniform(0, 1, ROWS)
    decision, arrival, paid, last = 100 + rng.normal(size=(4, ROWS))
    fees = rng.uniform(0, 9, ROWS)
    found = run("slippage_decomposition", side, order, filled, decision, arrival, paid, last, fees)
    paper = side * order * (last - decision)
    real = side * filled * (last - paid) - fees
    wanted = (paper - real) / (order * decision) * 1e4
    close([row["total_bps"] for row in found], wanted, rel=1e-8, abs=1e-8)
    close([sum(row[name] for name in FIELDS[:4]) for row in found], wanted, rel=1e-8, abs=1e-8)


def test_slippage_without_an_order_is_null():
    whole = [1.0, 12.0, 10.0, 99.9, 100.0, 100.1, 100.5, 5.0]
    for place, value in ((0, 0.0), (1, 0.0), (1, -3.0), (3, 0.0), (6, None)):
        columns = [[value if i == place else x] for i, x in enumerate(whole)]
        assert run("slippage_decomposition", *columns) == [None]


# ---------------------------------------------------------------- SQL


def test_execution_in_sql():
    rng = np.random.default_rng(6)
    price, size = 100 + rng.normal(size=200), rng.integers(1, 90, 200).astype(float)
    ts = np.arange(200) * 1_000
    rows = pa.table({"ts": pa.array(ts, pa.timestamp("ns")), "price": price, "size": size,
                     "side": rng.choice([-1, 1], 200)})  # fmt: skip
    ctx = fin_sql.connect()
    ctx.register("fills", rows)
    found = ctx.sql(
        "SELECT twap(price, ts) OVER w AS twap, pov(size, 0.1, 300) OVER w AS pov, "
        "arrival_price_impact(price, 100) AS impact, "
        "optimal_ac_schedule(1e6, 5, 2, 0.95, 2.5e-6, 0) AS plan "
        "FROM fills WINDOW w AS (ORDER BY ts)"
    ).to_arrow()
    found = found.to_pylist()
    close([row["impact"] for row in found], (price - 100) * 100, rel=1e-9, abs=1e-9)
    wanted = [price[0], *(price[:-1].cumsum() / np.arange(1, 200))]
    close([row["twap"] for row in found], wanted)
    done = np.minimum(0.1 * size.cumsum(), 300)
    close([row["pov"]["remaining"] for row in found], 300 - done, rel=1e-9, abs=1e-9)
    assert [row["trade"] for row in found[0]["plan"]] == [0, 5e5, 5e5]
    total = ctx.sql(
        "SELECT implementation_shortfall_agg(price, size, 100, side) AS y FROM fills"
    ).to_arrow()
    worse = (rows["side"].to_numpy() * (price - 100) * size).sum() / (100 * size.sum())
    close(total["y"].to_pylist(), [worse * 1e4], rel=1e-9)


def test_shortfall_slides_in_sql():
    rng = np.random.default_rng(7)
    price, size = 100 + rng.normal(size=50), rng.uniform(1, 9, 50)
    ctx = fin_sql.register(SessionContext())
    ctx.from_arrow(pa.table({"i": range(50), "p": price, "q": size}), name="fills")
    found = ctx.sql(
        "SELECT implementation_shortfall_agg(p, q, 100, 1) OVER "
        "(ORDER BY i ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS y FROM fills ORDER BY i"
    ).to_pydict()["y"]
    for i in range(4, 50):
        part = slice(i - 4, i + 1)
        wanted = np.average(price[part] - 100, weights=size[part]) * 100
        close(found[i], wanted, rel=1e-9, abs=1e-9)
