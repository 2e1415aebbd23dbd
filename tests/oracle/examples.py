"""Worked examples of the specification: kernel, columns, parameters, and values by row."""

import numpy as np
from data import (
    ASK_SIZES,
    ASKS,
    BID_SIZES,
    BIDS,
    CHANGES,
    HIGHS,
    LOWS,
    OPENS,
    PRICES,
    RETURNS,
    SIGNED,
    VOLUMES,
)  # fmt: skip

NULL = None
BOUNCES = [100, 100.1, 100, 100.1, 100.1, 100, 100.1, 100, 100, 100.1, 100.1, 100]
TRADES = [100.00, 100.01, 100.00, 100.00, 99.99, 100.00, 100.00, 100.02]
TRADE_BIDS = [99.98, 99.99, 99.99, 99.98, 99.98, 99.99, 99.98, 99.99]
TRADE_ASKS = [100.02, 100.01, 100.01, 100.02, 100.02, 100.01, 100.02, 100.01]
SHARPE = [0.01, -0.005, 0.007, 0.002, -0.003, 0.008, -0.001, 0.004]
EQUITY = [100, 110, 105, 120, 90, 95, 130, 125]
BAR = (OPENS, HIGHS, LOWS, PRICES)
TRADED = [p * v for p, v in zip(PRICES, VOLUMES, strict=True)]
BAR_PRICES, BAR_SIZES = [100, 101, 99, 100, 102, 103, 101], [10, 5, 8, 4, 6, 3, 7]

MARKET = [
    ("microprice", (BIDS, ASKS, BID_SIZES, ASK_SIZES), {},
     {0: 100.0022222222222, 1: 99.99, 2: 100.0014285714286}),
    ("quoted_spread", (BIDS, ASKS), {}, {0: 0.04000000, 1: 0.03000000, 2: 0.02000000}),
    ("quoted_spread_bps", (BIDS, ASKS), {}, {0: 4.0000000, 1: 3.0001500075, 2: 2.00000000}),
    ("effective_spread", ([100.01, 100, 99.99, 100.02], [100.0] * 4), {},
     {0: 0.02000000, 1: 0, 2: 0.02000000, 3: 0.04000000}),
    ("trade_sign", (TRADES, TRADE_BIDS, TRADE_ASKS), {},
     dict(enumerate([0, 1, -1, -1, -1, 1, 1, 1]))),
    ("l1_imbalance", (BID_SIZES, ASK_SIZES), {},
     {0: 0.1111111111, 1: -0.3333333333, 2: 0.1428571429}),
    ("ofi", (BIDS, ASKS, BID_SIZES, ASK_SIZES), {},
     dict(enumerate([NULL, -800, 700, 600, -650, -500, 300, -250]))),
    ("realized_var", (RETURNS,), {"window": 5},
     {4: NULL, 5: 0.0006912432817986482, 11: 0.00098207656989454}),
    ("realized_var_agg", (RETURNS,), {}, {11: 0.0017074520361626446}),
    ("bipower_var", (RETURNS,), {"window": 5},
     {4: NULL, 5: 0.0005634604604964347, 11: 0.0008105191825722284}),
    ("bipower_var_agg", (RETURNS, range(12)), {}, {11: 0.001682341866990954}),
    ("medrv", (RETURNS,), {"window": 5},
     {4: NULL, 5: 0.0008822774605397427, 11: 0.001401365588558484}),
    ("medrv_agg", (RETURNS, range(12)), {}, {11: 0.002342707547016627}),
    ("riskmetrics_vol", (RETURNS,), {},
     {0: NULL, 1: 0.009950330853167877, 2: 0.009723491951223873, 3: 0.010101619869666874,
      4: 0.009959323248857743, 5: 0.010528815818856495, 11: 0.011430703895701253}),
    ("kyle_lambda", (CHANGES, SIGNED), {"window": 5},
     {4: NULL, 5: 0.0007421209540034072, 11: 0.0007003993012228577}),
    ("amihud_illiquidity", (RETURNS, TRADED), {"window": 5},
     {4: NULL, 5: 7.063965746013023e-08, 11: 6.645110648459933e-08}),
    ("roll_spread", ([NULL, *np.diff(BOUNCES)],), {"window": 10}, {10: NULL, 11: 0.1316561177208692}),
    ("roll_spread", ([NULL, *np.diff(np.log(BOUNCES))],), {"window": 10},
     {11: 0.001315903335143933}),
    ("roll_spread", (CHANGES,), {"window": 5},
     {5: NULL, 6: 2.3616731357239074, 11: 2.7400729917284963}),
    ("roll_spread_agg", ([NULL, *np.diff(BOUNCES)], range(12)), {}, {11: 0.1316561177208692}),
    ("corwin_schultz_spread", (HIGHS, LOWS), {},
     {0: NULL, 1: 0, 2: 0.011974015894, 3: 0.005930278485, 4: 0.009324464908, 5: 0.004266360866}),
    ("sma", (PRICES,), {"window": 3}, {1: NULL, 2: 100.5, 3: 101.166666666667}),
    ("kalman_1d", (PRICES,), {},
     {0: 100, 1: 100.502487562189, 2: 100.501644682741, 3: 100.889150639138,
      11: 103.052395159559}),
    ("donchian_channel", (HIGHS, LOWS), {"window": 5},
     {3: NULL, 4: {"high": 102.7, "low": 99.2, "mid": 100.95},
      5: {"high": 103.5, "low": 99.9, "mid": 101.7}}),
    ("parkinson_vol", (HIGHS, LOWS), {"window": 5},
     {3: NULL, 4: 0.0106523505675, 5: 0.0116065170901}),
    ("gk_vol", BAR, {"window": 5}, {3: NULL, 4: 0.0115016206777, 5: 0.0118592230653}),
    ("rogers_satchell_vol", BAR, {"window": 5}, {3: NULL, 4: 0.0114423421379, 5: 0.0115550641304}),
    ("yang_zhang_vol", BAR, {"window": 5}, {4: NULL, 5: 0.0114999429587, 6: 0.0116877386691}),
    ("rolling_sharpe", (SHARPE,), {"window": 5},
     {3: NULL, 4: 5.474264111966791, 5: 4.922183781115267, 6: 8.550581638223877,
      7: 7.381496222750945}),
    ("rolling_sharpe", (SHARPE,), {"window": 8}, {7: 8.0181270534822}),
    ("drawdown", (EQUITY,), {},
     {0: {"peak": 100, "drawdown": 0, "max_drawdown": 0, "bars_under_water": 0},
      2: {"peak": 110, "drawdown": -0.0454545455, "max_drawdown": -0.0454545455,
          "bars_under_water": 1},
      4: {"peak": 120, "drawdown": -0.25, "max_drawdown": -0.25, "bars_under_water": 1},
      5: {"peak": 120, "drawdown": -0.2083333333, "max_drawdown": -0.25, "bars_under_water": 2},
      7: {"peak": 130, "drawdown": -0.0384615385, "max_drawdown": -0.25, "bars_under_water": 1}}),
    ("volume_bars", (BAR_SIZES,), {"threshold": 15}, dict(enumerate([0, 0, 1, 1, 1, 2, 2]))),
    ("dollar_bars", (BAR_PRICES, BAR_SIZES), {"threshold": 1500},
     dict(enumerate([0, 0, 1, 1, 1, 2, 2]))),
    ("gap_fill", ([1, NULL, NULL, 4, NULL],), {}, dict(enumerate([1, 1, 1, 4, 4]))),
    ("gap_fill", ([1, NULL, NULL, 4, NULL],), {"limit": 1}, dict(enumerate([1, 1, NULL, 4, 4]))),
    ("gap_fill", ([1, NULL, NULL, 4, NULL],), {"method": "linear", "limit": 2},
     dict(enumerate([1, 2, 3, 4, NULL]))),
    ("gap_fill", ([1, NULL, NULL, 4, NULL],), {"method": "linear", "limit": 1},
     dict(enumerate([1, NULL, NULL, 4, NULL]))),
]  # fmt: skip
