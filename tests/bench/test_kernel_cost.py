"""Cost of every kernel, and of Polars' twins in the same run; prints tables, writes JSON.

ROWS and KEYS come from the environment: BENCH_ROWS (10 000 000), BENCH_KEYS (1 000).
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import talib
from rich.console import Console
from rich.table import Table

import fin_sql
from fin_sql.columns import Slots, column
from fin_sql.exec.keys import Keys
from fin_sql.registry import KERNELS
from fin_sql.states import States

pytestmark = pytest.mark.bench

ROWS = int(os.environ.get("BENCH_ROWS", 10_000_000))
KEYS = int(os.environ.get("BENCH_KEYS", 1_000))
REPEATS = 5
OUT = Path(__file__).parents[2] / "build" / "bench"

# What users would take, where the defaults are too small to say anything or are missing.
PARAMS = {
    "autocorr": {"lag": 1, "window": 100},
    "dollar_bars": {"threshold": 1e4},
    "ema": {"period_or_alpha": 10},
    "ewcorr": {"alpha": 0.06},
    "ewcov": {"alpha": 0.06},
    "ewma": {"alpha": 0.06},
    "frac_diff": {"d": 0.4, "tau": 0.001},
    "historical_cvar": {"alpha": 0.05, "window": 100},
    "historical_var": {"alpha": 0.05, "window": 100},
    "pov": {"rate": 0.1, "order_qty": 1e12},
    "robust_hampel": {"window": 100},
    "rolling_quantile": {"q": 0.9, "window": 100},
    "volume_bars": {"threshold": 100.0},
    "vpin": {"bucket_volume": 100.0},
}


WINDOWED = sorted(
    name for name, kernel in KERNELS.items() if any(p.name == "window" for p in kernel.spec.params)
)


def best(function):
    """Least seconds of some runs, each result freed before the next."""
    found = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        result = function()
        found.append(time.perf_counter() - begin)
        del result
    return min(found)


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(7)
    codes = rng.integers(0, KEYS, ROWS).astype(np.int32)
    names = np.array([f"SYM{i:05d}" for i in range(KEYS)])
    positive = [np.exp(rng.normal(size=ROWS)) for _ in range(2)]
    return {
        "codes": codes,
        "symbol": pa.DictionaryArray.from_arrays(codes, names).cast(pa.string()),
        "real": [pa.array(rng.normal(size=ROWS)) for _ in range(2)],
        "positive": [pa.array(x) for x in positive],
        "sign": [pa.array(rng.choice([-1.0, 1.0], ROWS))],
        "high": [pa.array(np.maximum(*positive) * 1.01)],
        "low": [pa.array(np.minimum(*positive) * 0.99)],
        "timestamp": [pa.array(np.cumsum(rng.integers(0, 50_000, ROWS)), pa.timestamp("ns"))],
        "int64": [pa.array(rng.integers(5, 10, ROWS))],
    }


def arguments(spec, market, rows=ROWS):
    """A column for each argument; the second one of a kind is another."""
    taken = {}
    found = []
    for arg in spec.args:
        kind = arg.domain if arg.type == "float64" else arg.type
        some = market[kind]
        array = some[taken.get(kind, 0) % len(some)]
        taken[kind] = taken.get(kind, 0) + 1
        found.append(column(array.slice(0, rows), arg.type, arg.name))
    return found


def run(bound, columns, slots):
    states = States(bound)
    if bound.kernel.spec.shape == "aggregate":
        states.fold(columns, slots)
        states.values(slots.top)
    else:
        states.run(columns, slots)
    return states


def show(title, head, rows, name):
    table = Table(title=title)
    for k, text in enumerate(head):
        table.add_column(text, justify="right" if k else "left")
    for row in rows:
        table.add_row(
            *(
                f"{v:,.2f}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else str(v)
                for v in row
            )
        )
    Console(width=120).print(table)
    OUT.mkdir(parents=True, exist_ok=True)
    records = [dict(zip(head, row, strict=True)) for row in rows]
    (OUT / f"{name}.json").write_text(json.dumps(records, indent=1))


def test_cost_of_every_kernel(market):
    copy = best(lambda: market["real"][0].to_numpy().copy()) * 1e9 / ROWS
    rows = []
    for name, kernel in sorted(KERNELS.items()):
        # A schedule is a list a row; the rows of an aggregate that keeps them are some of a group.
        n = ROWS // 100 if kernel.spec.returns.many else ROWS
        m = n // 100 if kernel.grows else n
        bound = kernel.bind(**PARAMS.get(name, {}))
        columns = arguments(kernel.spec, market, n)
        slots = Slots.of(pa.array(market["codes"][:n]), KEYS)
        keyed = best(lambda b=bound, c=columns, s=slots: run(b, c, s)) * 1e9 / n
        columns = arguments(kernel.spec, market, m)
        single = best(lambda b=bound, c=columns, k=m: run(b, c, Slots.single(k))) * 1e9 / m
        states = run(bound, arguments(kernel.spec, market, n), slots)
        if not kernel.grows:
            assert states.bytes_held <= 2 * KEYS * bound.state_size
        rows.append((name, keyed, single, keyed / copy, bound.state_size, states.bytes_held))
    rows.append(("(copy of a column)", copy, copy, 1.0, 0, 0))
    head = ("kernel", "keyed ns/row", "one key ns/row", "x copy", "bytes a key", "bytes held")
    show(f"{ROWS:,} rows, {KEYS:,} keys", head, rows, "kernel_cost")


@pytest.mark.parametrize("name", WINDOWED)
def test_no_window_is_walked_through(name, market):
    """Ten times the window is not ten times the work."""
    kernel = KERNELS[name]
    some = {"q": 0.9} if name == "rolling_quantile" else {}
    least = max(3, 250 if name.startswith("historical") else 50)
    columns = arguments(kernel.spec, market)
    seconds = [
        best(lambda b=bound: run(b, columns, Slots.single(ROWS)))
        for bound in (kernel.bind(window=w, **some) for w in (least, 10 * least))
    ]
    print(f"{name}: {10 * least} rows for {least} cost {seconds[1] / seconds[0]:.2f} times as much")


def test_beside_polars(market):
    pl = pytest.importorskip("polars")
    x, x0 = pl.col("x"), market["positive"][0]
    twins = {
        "ewma": (x.ewm_mean(alpha=0.06, adjust=False, ignore_nulls=True), {"alpha": 0.06}),
        "diff": (x.diff(), {}),
        "log_returns": (x.log().diff(), {}),
        "rolling_std": (x.rolling_std(20), {}),
        "rolling_min": (x.rolling_min(20), {}),
        "rolling_max": (x.rolling_max(20), {}),
        "rolling_skew": (x.rolling_skew(20, bias=False), {}),
        "rolling_kurt": (x.rolling_kurtosis(20, bias=False), {}),
        "historical_var": (
            -x.rolling_quantile(0.05, "linear", window_size=100),
            {"alpha": 0.05, "window": 100},
        ),
    }
    plain = pl.DataFrame({"symbol": market["symbol"], "x": market["positive"][0]})
    keys = {
        "strings": plain,
        "dictionary": plain.with_columns(pl.col("symbol").cast(pl.Categorical)),
    }
    symbols = {"strings": market["symbol"], "dictionary": market["symbol"].dictionary_encode()}
    rows = []
    for kind, frame in keys.items():
        for name, (expression, params) in twins.items():
            kernel = fin_sql.kernel(name)
            query = frame.lazy().select(expression.over("symbol").alias("y"))
            theirs = query.collect()["y"].to_numpy()
            ours = kernel.apply(x0, by=symbols[kind], **params)
            mine = ours.to_numpy(zero_copy_only=False)
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-9, equal_nan=True)
            del theirs, ours, mine
            a = best(lambda k=kernel, p=params, s=symbols[kind]: k.apply(x0, by=s, **p))
            b = best(query.collect)
            rows.append((name, kind, a * 1e3, b * 1e3, b / a))
    head = ("kernel", "symbols", "fin_sql ms", "Polars ms", "Polars / fin_sql")
    show(f"{ROWS:,} rows by {KEYS:,} symbols, key encoding included", head, rows, "polars")


def test_beside_talib_and_pandas(market):
    """One key, as these know no others."""
    high, low, close = (market[d][0].to_numpy() for d in ("high", "low", "positive"))
    other = market["positive"][1].to_numpy()
    frame, again = pd.Series(close), pd.Series(other)
    twins = {
        "sma": ((close,), {}, lambda: talib.SMA(close, 20)),
        "ema": ((close,), {"period_or_alpha": 10}, lambda: talib.EMA(close, 10)),
        "rsi": ((close,), {}, lambda: talib.RSI(close, 14)),
        "macd": ((close,), {}, lambda: talib.MACD(close)),
        "bollinger_bands": ((close,), {}, lambda: talib.BBANDS(close, 20, 2, 2)),
        "donchian_channel": (
            (high, low),
            {},
            lambda: (talib.MAX(high, 20), talib.MIN(low, 20)),
        ),
        "stochastic_osc": ((high, low, close), {}, lambda: talib.STOCHF(high, low, close, 14, 3)),
        "atr": ((high, low, close), {}, lambda: talib.ATR(high, low, close, 14)),
        "rolling_median": ((close,), {"window": 100}, lambda: frame.rolling(100).median()),
        "rolling_quantile": (
            (close,),
            {"q": 0.9, "window": 100},
            lambda: frame.rolling(100).quantile(0.9),
        ),
        "rolling_corr": ((close, other), {}, lambda: frame.rolling(20).corr(again)),
        "ewcorr": (
            (close, other),
            {"alpha": 0.06},
            lambda: frame.ewm(alpha=0.06, adjust=False).corr(again),
        ),
    }
    rows = []
    for name, (columns, params, theirs) in twins.items():
        kernel = fin_sql.kernel(name)
        whose = "pandas" if name.startswith(("rolling", "ew")) else "TA-Lib"
        a = best(lambda k=kernel, c=columns, p=params: k.apply(*c, **p))
        b = best(theirs)
        rows.append((name, whose, a * 1e3, b * 1e3, b / a))
    head = ("kernel", "beside", "fin_sql ms", "theirs ms", "theirs / fin_sql")
    show(f"{ROWS:,} rows of one key", head, rows, "talib_pandas")


def test_cost_of_keys(market):
    rows = []
    shapes = {
        "strings": [market["symbol"]],
        "dictionary": [market["symbol"].dictionary_encode()],
        "int32": [pa.array(market["codes"])],
        "string and int32": [market["symbol"], pa.array(market["codes"])],
    }
    for name, columns in shapes.items():
        seconds = best(lambda c=columns: Keys().intern(c, ROWS))
        rows.append((name, seconds * 1e9 / ROWS))
    arrow = best(lambda: market["symbol"].dictionary_encode())
    rows.append(("(Arrow's dictionary_encode of the strings)", arrow * 1e9 / ROWS))
    show(f"{ROWS:,} rows to slots", ("key", "ns/row"), rows, "keys")
