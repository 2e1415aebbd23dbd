"""Cost of every kernel, and of Polars' twins in the same run; prints tables, writes JSON.

ROWS and KEYS come from the environment: BENCH_ROWS (10 000 000), BENCH_KEYS (1 000).
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
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
    "ewcorr": {"alpha": 0.06},
    "ewcov": {"alpha": 0.06},
    "ewma": {"alpha": 0.06},
    "frac_diff": {"d": 0.4, "tau": 0.001},
    "historical_var": {"alpha": 0.05, "window": 100},
    "robust_hampel": {"window": 100},
    "vpin": {"bucket_volume": 100.0},
}


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
    return {
        "codes": codes,
        "symbol": pa.DictionaryArray.from_arrays(codes, names).cast(pa.string()),
        "real": pa.array(rng.normal(size=ROWS)),
        "real again": pa.array(rng.normal(size=ROWS)),
        "positive": pa.array(np.exp(rng.normal(size=ROWS))),
        "sign": pa.array(rng.choice([-1.0, 1.0], ROWS)),
    }


def arguments(spec, market):
    domains = [arg.domain for arg in spec.args]
    if domains == ["real", "real"]:
        domains[1] = "real again"
    return [
        column(market[d], arg.type, arg.name) for d, arg in zip(domains, spec.args, strict=True)
    ]


def run(bound, columns, slots):
    states = States(bound)
    if bound.kernel.spec.shape == "aggregate":
        states.fold(columns, slots)
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
    copy = best(lambda: market["real"].to_numpy().copy()) * 1e9 / ROWS
    slots = Slots.of(pa.array(market["codes"]), KEYS)
    rows = []
    for name, kernel in sorted(KERNELS.items()):
        bound = kernel.bind(**PARAMS.get(name, {}))
        columns = arguments(kernel.spec, market)
        keyed = best(lambda b=bound, c=columns: run(b, c, slots)) * 1e9 / ROWS
        single = best(lambda b=bound, c=columns: run(b, c, Slots.single(ROWS))) * 1e9 / ROWS
        states = run(bound, columns, slots)
        if not kernel.grows:
            assert states.bytes_held <= 2 * KEYS * bound.state_size
        rows.append((name, keyed, single, keyed / copy, bound.state_size, states.bytes_held))
    rows.append(("(copy of a column)", copy, copy, 1.0, 0, 0))
    head = ("kernel", "keyed ns/row", "one key ns/row", "x copy", "bytes a key", "bytes held")
    show(f"{ROWS:,} rows, {KEYS:,} keys", head, rows, "kernel_cost")


def test_beside_polars(market):
    pl = pytest.importorskip("polars")
    x = pl.col("x")
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
    plain = pl.DataFrame({"symbol": market["symbol"], "x": market["positive"]})
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
            ours = kernel.apply(market["positive"], by=symbols[kind], **params)
            mine = ours.to_numpy(zero_copy_only=False)
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-9, equal_nan=True)
            del theirs, ours, mine
            a = best(
                lambda k=kernel, p=params, s=symbols[kind]: k.apply(market["positive"], by=s, **p)
            )
            b = best(query.collect)
            rows.append((name, kind, a * 1e3, b * 1e3, b / a))
    head = ("kernel", "symbols", "fin_sql ms", "Polars ms", "Polars / fin_sql")
    show(f"{ROWS:,} rows by {KEYS:,} symbols, key encoding included", head, rows, "polars")


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
