"""The worked examples of the specification, number by number."""

import pytest
from data import ASKS, BIDS, PNL, PRICES, RETURNS, VOLUMES, X8, Y8
from datafusion import SessionContext
from examples import MARKET

import fin_sql

NULL = None


def run(name, *columns, **params):
    kernel = fin_sql.kernel(name)
    aggregate = kernel.spec.shape == "aggregate"
    return (kernel.running if aggregate else kernel.apply)(*columns, **params).to_pylist()


EXAMPLES = [
    ("log_returns", (PRICES,), {}, {1: 0.009950330853167877, 2: -0.004962789342129348,
                                    3: 0.014815085785, 4: -0.007380107298, 0: NULL}),
    ("log_returns", ([*PRICES[:3], NULL, *PRICES[4:]],), {},
     {3: NULL, 4: NULL, 5: 0.017136282242987022}),
    ("ewma", (X8,), {"alpha": 0.5},
     {0: 1, 1: 1.5, 2: 2.75, 3: 4.875, 4: 7.9375, 5: 11.96875, 6: 16.984375, 7: 22.9921875}),
    ("ewma", (X8,), {"alpha": 0.06}, {7: 5.612554936495361}),
    ("ewma", (X8,), {"alpha": 0.5, "adjust": True},
     {0: 1, 1: 1.6666666667, 2: 3, 3: 5.1333333333, 7: 23.07843137254902}),
    ("ewma", ([1.0, 2, NULL, 4, 8],), {"alpha": 0.5}, {0: 1, 1: 1.5, 2: NULL, 3: 2.75, 4: 5.375}),
    ("ewcov", (X8, Y8), {"alpha": 0.5},
     {0: 0, 1: -0.25, 2: 2.0625, 3: 3.953125, 4: 13.26953125, 5: 16.0830078125,
      6: 44.012939453125, 7: 49.55792236328125}),
    ("ewcov", (X8, Y8), {"alpha": 0.5, "bias": False},
     {0: NULL, 1: -0.5, 2: 3.3, 3: 6.023809523809524, 4: 19.98235294117647, 7: 74.34142098516755}),
    ("ewcov", (X8, Y8), {"alpha": 0.06}, {7: 65.27799315528162}),
    ("ewcorr", (X8, Y8), {"alpha": 0.5},
     {0: NULL, 1: -1, 2: 0.8892972917998876, 3: 0.9147892019914007, 4: 0.9756561388692412,
      5: 0.9391352812372189, 6: 0.9591098097059279, 7: 0.9512360509066803}),
    ("ewcorr", (X8, Y8), {"alpha": 0.06}, {7: 0.9881011234470484}),
    ("rolling_zscore", (PRICES,), {"window": 5},
     {3: NULL, 4: 0.3956282840374685, 5: 1.4876686105234762, 6: 0.5826649402545933}),
    ("rolling_zscore", (PRICES,), {"window": 5, "ddof": 0},
     {4: 0.4423258684646873, 5: 1.663264070561576}),
    ("frac_diff", (PRICES,), {"d": 0.4, "tau": 0.05},
     {2: NULL, 3: 43.28, 4: 41.926, 5: 43.828, 6: 42.522, 11: 45.2088}),
    ("midprice", (BIDS, ASKS), {}, {0: 100, 1: 99.995, 2: 100}),
    ("vpin", ([30, 50, 40, 80, 20, 60, 90, 30, 70, 30], [1, -1, 1, 1, -1, -1, 1, -1, 1, 1]),
     {"bucket_volume": 100, "n_buckets": 3},
     {5: NULL, 6: 0.5333333333, 7: 0.6666666667, 8: 0.6666666667, 9: 0.6666666667}),
    ("vwap", (PRICES, VOLUMES), {},
     {0: 100, 1: 100.6, 2: 100.57575757575758, 3: 101.11320754716981, 11: 103.3}),
    ("historical_var", (PNL,), {"alpha": 0.05, "window": 20}, {18: NULL, 19: 2.62}),
    ("historical_var", (PNL,), {"alpha": 0.1, "window": 20}, {19: 2.15}),
    ("historical_var", (PNL,), {"alpha": 0.1, "window": 10}, {9: 2.19, 19: 1.88}),
    ("diff", (PRICES,), {"k": 2}, {0: NULL, 1: NULL, 2: 0.5, 3: 1.0}),
    ("rolling_min", (PRICES,), {"window": 3}, {1: NULL, 2: 100, 3: 100.5, 4: 100.5, 5: 101.25}),
    ("rolling_max", (PRICES,), {"window": 3}, {1: NULL, 2: 101, 3: 102, 4: 102, 5: 103}),
    ("rolling_std", (PRICES,), {"window": 5},
     {4: 0.7582875444051549, 5: 0.9746794344808964, 6: 0.9782637681116493}),
    ("rolling_std", (PRICES,), {"window": 5, "ddof": 0}, {4: 0.678232998313, 5: 0.871779788708}),
    ("rolling_std", ([1e9, 1e9, 1e9, 1, 2, 3, 4, 5, 6],), {"window": 3},
     {2: 0.0, 5: 1.0, 6: 1.0, 7: 1.0, 8: 1.0}),
    ("rolling_skew", (PRICES,), {"window": 5},
     {4: 0.22576614034747, 5: 0.80492051635628, 6: -0.33648048450375}),
    ("rolling_kurt", (PRICES,), {"window": 5},
     {4: -0.1394139886579, 5: 0.0008656509695, 6: -0.8721129247289}),
    ("autocorr", (RETURNS,), {"lag": 1, "window": 6},
     {6: NULL, 7: -0.9831967504507453, 11: -0.9959846721768638}),
    ("signed_volume", ([-1], [800]), {}, {0: -800}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "columns", "params", "rows"), [*EXAMPLES, *MARKET],
                         ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_a_worked_example(name, columns, params, rows):
    found = run(name, *columns, **params)
    for row, wanted in rows.items():
        if isinstance(wanted, dict):
            for field, value in wanted.items():
                agrees(found[row][field], value, (row, field))
        else:
            agrees(found[row], wanted, row)


def agrees(found, wanted, where):
    """To the digits that the specification gives."""
    if wanted is NULL:
        assert found is NULL, where
        return
    digits = len(str(wanted).partition(".")[2])
    half = 0.5000001 * 10.0**-digits if 8 <= digits < 15 and "e" not in str(wanted) else 0.0
    assert found == pytest.approx(wanted, rel=1e-12, abs=half if wanted else 1e-14), where


def test_welford_runs_and_merges_as_worked_out():
    found = run("welford_mean_var", X8)
    means = [1, 1.5, 2.3333333333, 3.5, 5, 6.8333333333, 9, 11.5]
    variances = [NULL, 0.5, 2.3333333333, 7, 16.5, 33.3666666667, 60.6666666667, 102]
    for row, mean, var in zip(found, means, variances, strict=True):
        assert row["mean"] == pytest.approx(mean, abs=6e-11)
        assert (row["var"] is NULL) if var is NULL else row["var"] == pytest.approx(var, abs=6e-11)
    left, right = (fin_sql.kernel("welford_mean_var").state() for _ in range(2))
    left.update(PRICES[:5])
    right.update(PRICES[5:])
    left.merge(right)
    assert left.value()["mean"] == pytest.approx(102.7375, rel=1e-12)
    assert left.value()["var"] == pytest.approx(3.56323863636364, rel=1e-13)


def test_numacc4_of_nist():
    x = [10000000.2, *[10000000.1, 10000000.3] * 500]
    found = fin_sql.kernel("welford_mean_var").apply(x).as_py()
    assert found["mean"] == pytest.approx(10000000.2, rel=1e-14)
    assert found["std"] == pytest.approx(0.1, rel=1e-7)  # the data themselves are rounded


def test_hampel_finds_the_outlier_and_nothing_else():
    found = run("robust_hampel", [1, 2, 1, 2, 1, 50, 2, 1, 2, 1], window=5, n_sigmas=3.0)
    assert found[:4] == [NULL] * 4
    assert [row["median"] for row in found[4:]] == [1, 2, 2, 2, 2, 2]
    sigmas = [0, *[1.4826022185056018] * 5]
    assert [row["sigma"] for row in found[4:]] == sigmas
    assert [row["is_outlier"] for row in found[4:]] == [False, True, False, False, False, False]
    assert found[5]["filtered"] == 2


def test_a_centered_hampel_judges_the_middle():
    found = run("robust_hampel", [1, 2, 1, 2, 1, 50, 2, 1, 2, 1], window=5, centered=True)
    assert [row is NULL for row in found] == [i < 2 or i > 7 for i in range(10)]
    assert [i for i, row in enumerate(found) if row and row["is_outlier"]] == [5]


def test_vwap_over_the_last_five_rows_slides_in_sql():
    ctx = fin_sql.register(SessionContext())
    rows = ", ".join(
        f"({i}, {p}, CAST({v} AS DOUBLE))"
        for i, (p, v) in enumerate(zip(PRICES, VOLUMES, strict=True))
    )
    found = ctx.sql(
        "SELECT vwap(p, v) OVER (ORDER BY i ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS y "
        f"FROM (VALUES {rows}) AS t(i, p, v) ORDER BY i"
    ).to_pydict()["y"]
    assert found[4:6] == pytest.approx([101.13846153846154, 101.75342465753425], rel=1e-12)


def test_lag_is_datafusions_own():
    fin_sql.register(ctx := SessionContext())
    found = ctx.sql(
        "SELECT lag(x, 2, -1) OVER (ORDER BY x) AS y FROM (VALUES (1), (2), (3)) AS t(x)"
    )
    assert found.to_pydict()["y"] == [-1, -1, 1]
