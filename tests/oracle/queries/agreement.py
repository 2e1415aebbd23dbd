"""Rows of a query against what an oracle says, and what several oracles are made of."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from query_tables import CASES, frames, is_there


def markets(*names):
    """A test for each market that a query runs on, as (name, market)."""
    return pytest.mark.parametrize(("name", "market"), [c for c in CASES if c[0] in names])


def needed(market):
    """The tables of a market; the test is skipped where they are not."""
    if not is_there(market):
        pytest.skip(f"the data of market '{market}' is not here; FIN_SQL_DATA names its folder")
    return frames(market)


def agree(found, wanted, *, keys=(), rtol=1e-9, loose=None):
    """Assert that a table has the rows of a frame.

    Times, whole numbers and texts are equal, and so are the places of NULLs, which are NaN in the
    frame; a query never gives a NaN. Doubles are equal to a relative tolerance, with a hundredth of
    it of the symbol's largest value for those that are near 0.

    Args:
        found: rows of a query.
        wanted: its columns in any order.
        keys: columns to sort both by; without them the order of the rows counts.
        rtol: tolerance of doubles.
        loose: other tolerances, by column.
    """
    assert set(found.column_names) == set(wanted.columns)
    assert found.num_rows == len(wanted)
    frame = found.to_pandas(types_mapper=whole.get)
    if keys:
        frame, wanted = (
            f.sort_values([*keys], kind="stable", ignore_index=True) for f in (frame, wanted)
        )
    symbols = next((wanted[c] for c in ("symbol", "symbol_a") if c in wanted), None)
    groups = [slice(None)]
    if symbols is not None:
        groups = [np.flatnonzero(symbols == symbol) for symbol in symbols.unique()]
    for name in found.column_names:
        column = found[name]
        left, right = frame[name], wanted[name].reset_index(drop=True)
        if not pa.types.is_floating(column.type):
            right = right.astype(left.dtype)
            pd.testing.assert_series_equal(left, right, check_names=False, obj=name)
            continue
        assert not pa.compute.any(pa.compute.is_nan(column)).as_py(), f"{name} has a NaN"
        a, b = left.to_numpy(float), right.to_numpy(float, na_value=np.nan)
        for group in groups:
            close(a[group], b[group], (loose or {}).get(name, rtol), name)


whole = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}


def close(found, wanted, rtol, name):
    missing = np.isnan(found) != np.isnan(wanted)
    assert not missing.any(), f"{name}: NULL or not, rows {np.flatnonzero(missing)[:5]}"
    atol = 1e-2 * rtol * np.nanmax(np.abs(wanted), initial=0.0)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol, err_msg=name)


# ---------------------------------------------------------------- parts of the oracles


def book(quotes):
    """Two-sided quotes in order of time, with their middle."""
    found = quotes[(quotes.bid > 0) & (quotes.ask > quotes.bid)]
    found = found.assign(mid=(found.bid + found.ask) / 2)
    return found.sort_values("ts", kind="stable", ignore_index=True)


def prevailing(left, right, *, later=0, exact=False):
    """The row of `right` that is valid some seconds after each row of `left`, row by row."""
    keyed = left[["symbol"]].assign(at=left.ts + pd.Timedelta(seconds=later), row=range(len(left)))
    found = pd.merge_asof(
        keyed.sort_values("at", kind="stable"), right.rename(columns={"ts": "found_at"}),
        left_on="at", right_on="found_at", by="symbol", allow_exact_matches=exact,
    )  # fmt: skip
    return found.sort_values("row").set_index(left.index)


def each_symbol(frame, make):
    """Apply a function to the rows of each symbol in order of time; the index is kept."""
    ordered = frame.sort_values("ts", kind="stable")
    parts = [make(rows) for _, rows in ordered.groupby("symbol", sort=False)]
    return pd.concat(parts).reindex(frame.index)


def rolling(x, window, statistic):
    """A statistic of the last rows; NaN before the window is full, and where one is in it.

    Args:
        x: values in order.
        window: how many rows.
        statistic: of each row of a matrix of windows.
    """
    x = np.asarray(x, float)
    found = np.full(len(x), np.nan)
    if len(x) >= window:
        windows = sliding_window_view(x, window)
        known = ~np.isnan(windows).any(axis=1)
        if known.any():
            found[window - 1 :][known] = statistic(windows[known])
    return found


def lee_ready(trades, quotes):
    """The side of each trade: against the middle of its quote, else by the last other price."""

    def tick(rows):
        price = rows.price.dropna()
        return np.sign(price.diff()).replace(0, np.nan).ffill().fillna(0.0).reindex(rows.index)

    ticks = each_symbol(trades, tick)
    side = np.sign(trades.price - quotes.mid)
    return ticks.where(side.isna() | (side == 0), side)
