"""FX and crypto: the worked examples, QuantLib, and scenarios where the sign is what matters."""

import math

import numpy as np
import pyarrow as pa
import pytest
import QuantLib

import fin_sql
from fin_sql.errors import SqlError


def value(call):
    """What a call of literals gives in SQL."""
    return fin_sql.connect().sql(f"SELECT {call} AS y").to_arrow()["y"].to_pylist()[0]


EXAMPLES = {
    "(triangular_arbitrage(1.10, 0.86, 0.945))['edge_bps']": 10.582010582,
    "(triangular_arbitrage(1.10, 0.86, 0.945, fees_bps => 12))['edge_bps']": -1.417989418,
    "(triangular_arbitrage_quotes(1.0999, 1.1001, 0.8599, 0.8601, 0.9449, 0.9451))['edge_bps']":
        7.449053010,
    "forward_points(1.25, 0.05, 0.03, 0.5)": 0.012562708855210047,
    "forward_points(1.25, 0.05, 0.03, 0.5, 'simple')": 0.012315270935960632,
    "forward_points(1.25, 0.05, 0.03, 0.5, 'annual')": 0.012077575201002944,
    "forward_points(1.25, 0.05, 0.03, 0.5, pip_size => 0.0001)": 125.62708855210047,
    "cip_basis(1.2640, 1.25, 0.05, 0.03, 0.5)": 0.002275488820912039,
    "carry_signal(0.05, 0.03)": -0.02,
    "carry_signal(0.05, 0.03, 0.08)": -0.25,
    "pip_value(100000)": 10.0,
    "pip_value(100000, 0.01, 1.0 / 150)": 6.666666667,
    "fx_cross_price(1.1, 150)": 165.0,
    "fx_cross_price_div(1.1, 1.25)": 0.88,
    "funding_apr(1e-4)": 0.1095,
    "funding_apr(1e-4, 1)": 0.876,
    "funding_apy(1e-4)": 0.11571396279167323,
    "basis_annualized(30900, 30000, 90)": 0.12166666666666678,
    "(term_structure(30000, 30900, 90, 31200, 180))['near_ann']": 0.1216666667,
    "(term_structure(30000, 30900, 90, 31200, 180))['far_ann']": 0.0811111111,
    "(term_structure(30000, 30900, 90, 31200, 180))['slope_ann']": 0.03937432578,
    "perp_fair_price(30000, 1e-4, 4, 8, 5e-4)": 30016.5,
    "perp_fair_price(30000, 1e-4, basis => 5e-4)": 30018.0,
    "cash_and_carry_edge(30000, 30900, 0.0009, 12)": 297.0,
}  # fmt: skip


@pytest.mark.parametrize("call", EXAMPLES)
def test_a_worked_example(call):
    assert value(call) == pytest.approx(EXAMPLES[call], rel=1e-9)


def test_the_route_is_the_one_that_pays():
    forth = value("triangular_arbitrage(1.10, 0.86, 0.945)")
    back = value("triangular_arbitrage(1.10, 0.86, 0.947)")
    assert (forth["route"], back["route"]) == ("AB-BC-CA", "AC-CB-BA")
    assert back["edge_bps"] == pytest.approx(1e4 * (0.947 / 0.946 - 1))
    assert value("triangular_arbitrage(1.10, 0.86, 0.945, 20)")["route"] is None
    assert value("triangular_arbitrage(1.10, 0.86, 0)") is None
    assert value("triangular_arbitrage_quotes(1, 1.1, 1, 1.1, 1, 0)") is None


def test_trading_round_the_triangle_leaves_the_edge():
    rng = np.random.default_rng(20261124)
    bids = rng.uniform(0.5, 2.0, (500, 3))
    asks = bids * rng.uniform(1.0, 1.001, bids.shape)
    bids[:, 2] = bids[:, 0] * bids[:, 1] * rng.uniform(0.99, 1.01, 500)
    asks[:, 2] = bids[:, 2] * 1.0005
    columns = [quotes[:, pair] for pair in range(3) for quotes in (bids, asks)]
    rows = fin_sql.kernel("triangular_arbitrage_quotes").apply(*columns, np.zeros(500)).to_pylist()
    for row, bid, ask in zip(rows, bids, asks, strict=True):
        forth = 1_000.0 * bid[0] * bid[1] / ask[2] - 1_000.0
        back = 1_000.0 * bid[2] / ask[1] / ask[0] - 1_000.0
        assert row["edge_bps"] / 10 == pytest.approx(max(forth, back), abs=1e-8)
        wanted = "AB-BC-CA" if forth > back else "AC-CB-BA"
        assert row["route"] == (wanted if max(forth, back) > 0 else None)


@pytest.mark.parametrize(
    ("compounding", "theirs"),
    [
        ("continuous", (QuantLib.Continuous, QuantLib.Annual)),
        ("simple", (QuantLib.Simple, QuantLib.Annual)),
        ("annual", (QuantLib.Compounded, QuantLib.Annual)),
    ],
)
def test_forwards_grow_as_quantlib_says(compounding, theirs):
    kernel = fin_sql.kernel("forward_points")
    rng = np.random.default_rng(7)
    spot, dom, base, years = (
        rng.uniform(low, high, 200)
        for low, high in ((0.5, 200), (-0.01, 0.1), (-0.01, 0.1), (0, 3))
    )
    found = kernel.apply(spot, dom, base, years, compounding=compounding).to_pylist()
    for k, points in enumerate(found):
        growth = [
            QuantLib.InterestRate(rate[k], QuantLib.Actual365Fixed(), *theirs).compoundFactor(
                years[k]
            )
            for rate in (dom, base)
        ]
        wanted = spot[k] * (growth[0] / growth[1] - 1)
        assert points == pytest.approx(wanted, rel=1e-9, abs=1e-12 * spot[k])


def test_the_basis_of_a_fair_forward_is_nothing():
    for years in (0.1, 1.0, 5.0):
        forward = 1.25 + value(f"forward_points(1.25, 0.05, 0.03, {years})")
        assert value(f"cip_basis({forward!r}, 1.25, 0.05, 0.03, {years})") == pytest.approx(
            0, abs=1e-14
        )
    # Borrowing dollars through yen: USDJPY forwards too low, a negative basis on the yen's rate.
    assert value("cip_basis(149.0, 150.0, 0.001, 0.001, 0.25)") < 0


def test_what_cannot_be_is_null_and_what_is_wrong_is_refused():
    for call in (
        "forward_points(-1, 0.05, 0.03)", "forward_points(1, 0.05, 0.03, -1)",
        "cip_basis(1, 1, 0, 0, 0)", "carry_signal(0.1, 0.2, 0)", "pip_value(1, 0)",
        "fx_cross_price(0, 1)", "fx_cross_price_div(1, 0)", "funding_apr(0.1, 0)",
        "funding_apy(-1)", "basis_annualized(1, 1, 0)", "basis_annualized(1, 0)",
        "term_structure(1, 1, 2, 1, 2)", "perp_fair_price(1, 1, -1)", "perp_fair_price(0, 1)",
        "cash_and_carry_edge(0, 1)", "funding_cost(1, 0, 1)",
    ):  # fmt: skip
        assert value(call) is None, call
    with pytest.raises(SqlError, match="one of 'continuous', 'simple', 'annual'"):
        value("forward_points(1, 0.05, 0.03, 1, 'daily')")


def test_points_of_a_day_keep_their_digits():
    # e^x - 1 by subtraction would leave 5 of 16 digits here
    wanted = 150.0 * (1e-11 + 0.5e-22)
    assert value("forward_points(150, 2e-11, 1e-11)") == pytest.approx(wanted, rel=1e-12)


def test_longs_pay_and_shorts_receive_positive_funding():
    ctx = fin_sql.connect()
    rows = [(2, 30_000, 1e-4), (2, 30_500, 2e-4), (-1, 31_000, 1.5e-4), (-1, 30_800, -1e-4)]
    names = ("position", "mark", "rate")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    ctx.register(
        "f", pa.table({"i": range(4), **{k: pa.array(map(float, v)) for k, v in columns.items()}})
    )
    found = ctx.sql(
        "SELECT i, funding_cost(position, mark, rate) AS cost, sum(funding_cost(position, mark, "
        "rate)) OVER (ORDER BY i) AS paid FROM f ORDER BY i"
    ).to_arrow()
    assert found["cost"].to_pylist() == pytest.approx([6, 12.2, -4.65, 3.08])
    assert found["paid"].to_pylist() == pytest.approx([6, 18.2, 13.55, 16.63])


def test_carry_and_edges_have_the_sign_of_the_trade_they_name():
    assert value("carry_signal(0.001, 0.05)") > 0  # long the currency that yields more
    assert value("carry_signal(0.001, 0.05, 0.2)") < value("carry_signal(0.001, 0.05, 0.1)")
    flat = value("cash_and_carry_edge(100, 100)")
    assert flat == 0
    assert (
        value("cash_and_carry_edge(100, 100, 0.001)")
        > flat
        > value("cash_and_carry_edge(100, 100, -0.001)")
    )
    assert value("(term_structure(100, 101, 30, 102, 60))['contango']") is True
    assert value("(term_structure(100, 101, 30, 100.5, 60))['contango']") is False


def test_funding_runs_out_with_time():
    prices = [value(f"perp_fair_price(30000, 0.001, {hours})") for hours in (8, 4, 0)]
    assert prices == pytest.approx([30_030, 30_015, 30_000])


def test_apr_and_apy_agree_on_what_a_year_pays():
    for rate, hours in ((1e-4, 8), (-3e-4, 4), (1e-9, 1)):
        payments = int(8760 / hours)
        grown = math.expm1(payments * math.log1p(rate))
        assert value(f"funding_apy({rate}, {hours})") == pytest.approx(grown, rel=1e-12)
        assert value(f"funding_apr({rate}, {hours})") == pytest.approx(rate * payments, rel=1e-12)


def test_open_interest_changes_row_by_row_and_over_batches():
    kernel = fin_sql.kernel("open_interest_delta")
    found = kernel.apply([100.0, 150.0, None, 120.0, 130.0]).to_pylist()
    assert found == [None, 50.0, None, None, 10.0]
