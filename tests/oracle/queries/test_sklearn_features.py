"""queries/sklearn_features.py: what it learns from, what it predicts, and the model in SQL."""

import importlib.util

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from agreement import book, close, each_symbol, lee_ready, needed, prevailing, rolling
from query_tables import ROOT, tables

import fin_sql

SECOND = pd.Timedelta(seconds=1)


@pytest.fixture(scope="module")
def script():
    place = ROOT / "queries" / "sklearn_features.py"
    spec = importlib.util.spec_from_file_location(place.stem, place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session(market, change=lambda name, table: table):
    ctx = fin_sql.connect(threads=2)
    for name in ("trades", "quotes"):
        ctx.register(name, change(name, tables(market)[name]))
    return ctx


@pytest.mark.parametrize("market", ["crypto", "taq"])
def test_features_and_labels_are_those_of_pandas(script, market):
    trades, quotes = needed(market)["trades"], book(needed(market)["quotes"])
    before, later = prevailing(trades, quotes), prevailing(trades, quotes, later=5, exact=True)
    side = lee_ready(trades, before)

    def lines(rows):
        r = np.log(rows.price).diff()
        score = rolling(rows.price, 50, lambda w: (w[:, -1] - w.mean(1)) / w.std(1, ddof=1))
        return pd.DataFrame({
            "return_10_bps": 1e4 * np.log(rows.price / rows.price.shift(10)),
            "vol_bps": 1e4 * rolling(r, 50, lambda w: w.std(1, ddof=1)),
            "zscore": score,
            "flow": rows.side.ewm(alpha=0.1, adjust=False).mean(),
        }, rows.index)  # fmt: skip

    wanted = trades[["ts", "symbol"]].assign(
        mid=before.mid,
        imbalance=(before.bid_size - before.ask_size) / (before.bid_size + before.ask_size),
        off_mid_bps=1e4 * (trades.price - before.mid) / before.mid,
        spread_bps=1e4 * (before.ask - before.bid) / before.mid,
        up=later.mid > before.mid,
    )
    wanted = wanted.join(each_symbol(trades.assign(side=side), lines))
    known = (trades.ts + 5 * SECOND <= quotes.ts.max()) & (later.mid != before.mid)
    wanted = wanted[known].dropna().sort_values("ts", kind="stable", ignore_index=True)
    found = script.examples(session(market))
    assert len(found) == len(wanted) > 5_000
    for name in ("ts", "symbol", "up"):
        assert found[name].tolist() == wanted[name].tolist()
    for name in script.COLUMNS:
        close(found[name].to_numpy(), wanted[name].to_numpy(float), 1e-9, name)


def test_a_model_learns_from_what_was_known(script):
    rows = script.examples(session("crypto"))
    parts = list(script.walk_forward(rows.ts))
    assert len(parts) == 4
    for past, future in parts:
        begin = rows.ts[future].min()
        assert len(past) > 500
        assert (rows.ts[past] + 5 * SECOND < begin).all(), "a label from after the model was made"
        assert set(range(past.max() + 1)) == set(past), "all that was known"
    asked = np.concatenate([future for _, future in parts])
    assert (np.diff(asked) == 1).all(), "each row once"
    assert asked[-1] == len(rows) - 1


def test_the_future_changes_no_prediction_of_the_past(script):
    moment = np.datetime64("2026-01-05T14:39:00", "ns")

    def shaken(name, table):
        frame = table.to_pandas()
        later = frame.ts >= moment
        for column in frame.columns.intersection(["price", "bid", "ask"]):
            frame.loc[later, column] *= np.random.default_rng(4).uniform(0.5, 2, later.sum())
        return pa.Table.from_pandas(frame, preserve_index=False)

    predicted = []
    for change in (lambda name, table: table, shaken):
        rows = script.examples(session("crypto", change))
        rows = rows[rows.ts < moment - 5 * SECOND]  # labels of later ones are another matter
        past, future = list(script.walk_forward(rows.ts))[-1]
        model = script.fitted(rows.iloc[past])
        predicted.append(model.predict_proba(rows.iloc[future][script.COLUMNS])[:, 1])
    assert len(predicted[0]) > 500
    np.testing.assert_array_equal(*predicted)


def test_labels_of_chance_cannot_be_learnt(script):
    rows = script.examples(session("crypto"))
    rows["up"] = np.random.default_rng(5).random(len(rows)) < 0.5
    found = script.scores(rows)
    assert found.auc.between(0.45, 0.55).all()
    assert (found.log_loss > 0.69).all()


def test_a_rule_is_learnt(script):
    rows = script.examples(session("crypto"))
    rows["up"] = rows.imbalance + 0.1 * np.random.default_rng(6).normal(size=len(rows)) > 0
    assert (script.scores(rows).auc > 0.98).all()


def test_the_model_in_sql_is_the_model(script):
    ctx = session("crypto")
    rows = script.examples(ctx)
    model = script.fitted(rows)
    script.add_model(ctx, model)
    columns = ", ".join(script.COLUMNS)
    found = ctx.sql(f"SELECT {columns}, p_up({columns}) AS p FROM ({script.FEATURES})").to_pandas()
    known = found[script.COLUMNS].notna().all(axis=1)
    assert 0.9 < known.mean() < 1
    assert found.p.isna().equals(~known)
    wanted = model.predict_proba(found[known][script.COLUMNS])[:, 1]
    np.testing.assert_allclose(found.p[known], wanted, rtol=1e-12)


def test_it_runs_on_a_folder(script, tmp_path, capsys):
    for name in ("trades", "quotes"):
        pq.write_table(tables("crypto")[name], tmp_path / f"{name}.parquet")
    script.main(str(tmp_path))
    shown = capsys.readouterr().out.split("\n")
    assert shown[0].split() == "from learnt predicted auc log_loss log_loss_of_share".split()
    assert shown[5].split() == "ts symbol mid p_up".split()
    assert len(shown) == 13
