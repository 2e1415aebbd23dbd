"""Every kernel from SQL on real, simulated and literal data, against its oracle.

Two thirds of the real times are tied, so a row number makes the order total.
"""

import numpy as np
import pandas as pd
import pytest
from markets import DATA, literal, real, register, simulated, written
from more_oracles import ORACLES

import fin_sql
from fin_sql.registry import KERNELS

SOURCES = {"real": real, "simulated": simulated, "literal": literal}
COUNTS = {
    "online_stats": 8, "microstructure": 8, "volatility": 4, "liquidity": 4, "fx": 6, "crypto": 7,
    "execution": 7, "risk": 5, "momentum": 8, "features": 9, "safety": 6, "cross_asset": 5,
}  # fmt: skip


def test_every_kernel_of_the_registry_is_tried_here():
    assert set(KERNELS) == set(ORACLES)


def test_the_families_have_their_kernels():
    listed = fin_sql.functions().to_pandas()
    own = listed[listed.form_of.fillna("") == ""].groupby("family").size()
    assert {family: own[family] for family in COUNTS} == COUNTS
    assert sum(COUNTS.values()) == 77
    assert set(own.index) - set(COUNTS) == {"bars", "ohlc", "rolling"}
    forms = listed[listed.form_of.fillna("") != ""]
    assert set(forms.form_of) <= set(listed.name)


@pytest.fixture(scope="module", params=SOURCES)
def source(request):
    if request.param == "real" and not DATA.exists():
        pytest.skip(f"no TAQ sample in {DATA}")
    tables = SOURCES[request.param]()
    return request.param, tables, register(tables)


@pytest.mark.parametrize("name", ORACLES)
def test_a_kernel_is_its_oracle(source, name):
    kind, tables, ctx = source
    call, table, oracle, tolerance = ORACLES[name]
    frame = tables[table]
    shape = KERNELS[name].spec.shape
    where = written(frame) if kind == "literal" else table
    if shape == "aggregate":
        sql = f"SELECT symbol, {call} AS y FROM {where} GROUP BY symbol"
        found = ctx.sql(sql).to_pandas().set_index("symbol").y
        wanted = {symbol: oracle(g) for symbol, g in frame.groupby("symbol")}
        assert set(found.index) == set(wanted)
        wanted = [wanted[symbol] for symbol in found.index]
        fields = wanted[0].keys() if isinstance(wanted[0], dict) else [None]
        wanted = {k: [v if k is None else v[k] for v in wanted] for k in fields}
    else:
        over = " OVER (PARTITION BY symbol ORDER BY ts, row)" if shape == "window" else ""
        sql = f"SELECT row, {call}{over} AS y FROM {where} ORDER BY row"
        found = ctx.sql(sql).to_pandas().y
        frame = frame.sort_values("row", ignore_index=True)
        wanted = {}
        for _, g in frame.groupby("symbol"):
            for field, values in fields_of(oracle(g)).items():
                whole = wanted.setdefault(field, np.full(len(frame), None, object))
                whole[g.index] = np.asarray(values)
    for field, values in wanted.items():
        mine = found if field is None else found.map(lambda row, k=field: row and row[k])
        agrees(mine, pd.Series(values), tolerance, field or name)


def fields_of(found):
    return found if isinstance(found, dict) else {None: found}


def agrees(found, wanted, tolerance, what):
    """Values that both have are equal, and where one has none the other has none either."""
    if wanted.map(lambda v: isinstance(v, str)).any():
        assert list(found.fillna("")) == list(wanted), what
        return
    mine, theirs = (pd.to_numeric(s).to_numpy(float) for s in (found, wanted))
    assert np.isfinite(mine).any(), f"{what}: nothing but NULL"
    there = np.isfinite(mine) & np.isfinite(theirs)
    # Where a window is constant pandas leaves the dust of its subtractions, or 0 for nothing.
    assert (np.isfinite(mine) == np.isfinite(theirs)).mean() > 0.9, what
    scale = np.abs(theirs[there]).max()
    np.testing.assert_allclose(
        mine[there], theirs[there], rtol=max(tolerance, 1e-15), atol=tolerance * scale, err_msg=what
    )
