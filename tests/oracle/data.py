"""The data of the worked examples, and seeded series for the libraries."""

import numpy as np
import pandas as pd

OPENS = [99.8, 100.2, 101.0, 100.6, 101.9, 101.3, 103.0, 102.5, 104.0, 103.4, 104.9, 104.3]
HIGHS = [100.8, 101.6, 101.9, 102.7, 102.3, 103.5, 103.6, 104.6, 104.4, 105.6, 105.3, 106.8]
LOWS = [99.2, 100.1, 99.9, 100.4, 100.9, 101.1, 102.0, 102.2, 102.9, 103.1, 103.8, 104.0]
PRICES = [100.0, 101.0, 100.5, 102.0, 101.25, 103.0, 102.4, 104.1, 103.3, 105.0, 104.2, 106.1]
VOLUMES = [1000, 1500, 800, 2000, 1200, 1800, 900, 2200, 1000, 2500, 1100, 3000]
X8 = [1.0, 2, 4, 7, 11, 16, 22, 29]
Y8 = [2.0, 1, 5, 6, 12, 13, 25, 27]
BIDS = [99.98, 99.98, 99.99, 99.99, 99.98, 99.98, 100.00, 100.00]
BID_SIZES = [500, 300, 400, 700, 600, 900, 200, 250]
ASK_SIZES = [400, 600, 300, 500, 450, 800, 700, 300]
ASKS = [100.02, 100.01, 100.01, 100.03, 100.03, 100.02, 100.02, 100.01]
PNL = [1.2, -0.5, 0.3, -2.1, 0.8, -1.4, 2.2, -0.9, 0.1, -3.0,
       0.6, 1.1, -0.2, -1.8, 0.9, 0.4, -0.7, 1.5, -2.6, 0.2]  # fmt: skip
CHANGES = [None, *np.diff(PRICES)]
SIGNED = [v * s for v, s in zip(VOLUMES, [1, 1, -1, 1, -1, 1] + [-1, 1] * 3, strict=True)]
RETURNS = [None, *np.diff(np.log(PRICES))]

ROWS = 3_000


def walk(seed=1, missing=True):
    """A price series with ties, and rows that are NULL, NaN or infinite."""
    rng = np.random.default_rng(seed)
    x = 100.0 + np.cumsum(np.round(rng.normal(size=ROWS), 1))
    x = np.maximum(x, 1.0)
    if missing:
        x[rng.integers(0, ROWS, 25)] = np.nan
        x[rng.integers(0, ROWS, 5)] = np.inf
        x[rng.integers(0, ROWS, 5)] = -np.inf
    return x


def series(seed=1, missing=True):
    """The same as pandas sees it: infinities are missing."""
    return pd.Series(walk(seed, missing)).replace([np.inf, -np.inf], np.nan)


def returns(seed=2):
    """Log returns of a clean walk."""
    return np.diff(np.log(walk(seed, missing=False)), prepend=np.nan)


def trades(seed=3):
    """Whole volumes and sides."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 90, ROWS), rng.choice([-1, 1], ROWS)
