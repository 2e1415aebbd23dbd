"""Plans as golden files: each rule where it fires and where it must not.

FIN_SQL_GOLDEN=write writes them anew; read the difference before it is committed.
"""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.sql.rules import RULES

PLANS = Path(__file__).parents[1] / "golden" / "plans"
FILES = sorted(PLANS.glob("*.sql"))
WRITE = os.environ.get("FIN_SQL_GOLDEN") == "write"


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    ctx = fin_sql.connect(threads=2)
    ts = pa.array([1, 2, 3], pa.timestamp("ns"))
    trades = {"ts": ts, "symbol": ["A", "B", "A"], "price": [1.0, 2.0, 3.0], "size": [1, 2, 3]}
    ctx.register("trades", pa.table({**trades, "seq": [1, 2, 3]}))
    quotes = {"ts": ts, "symbol": ["A", "B", "A"], "bid": [1.0, 2.0, 3.0], "ask": [2.0, 3.0, 4.0]}
    ctx.register("quotes", pa.table(quotes), order_by="ts")
    folder = tmp_path_factory.mktemp("days")
    for day in (5, 6, 7):
        (folder / f"date=2026-01-0{day}").mkdir()
        pq.write_table(pa.table(trades), folder / f"date=2026-01-0{day}" / "trades.parquet")
    ctx.register_parquet("days", str(folder))
    return ctx


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_plan(ctx, file):
    query = ctx.sql(file.read_text())
    plan = query.explain() + "\n"
    golden = file.with_suffix(".txt")
    if WRITE:
        golden.write_text(plan)
    assert plan == golden.read_text()
    query.to_arrow()


def test_every_rule_has_a_plan_where_it_fires_and_one_where_it_does_not():
    names = {file.stem for file in FILES}
    for rule in RULES:
        assert {rule.__name__, f"{rule.__name__}_not"} <= names


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_a_rule_fires_where_its_file_says(ctx, rule, monkeypatch):
    def plans(name):
        return ctx.sql((PLANS / f"{name}.sql").read_text()).explain()

    fired, kept = plans(rule.__name__), plans(f"{rule.__name__}_not")
    others = tuple(r for r in RULES if r is not rule)
    monkeypatch.setattr("fin_sql.sql.rules.improved.__defaults__", (others,))
    assert plans(rule.__name__) != fired
    assert plans(f"{rule.__name__}_not") == kept
