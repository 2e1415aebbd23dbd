"""What conditions leave out when files are read, and that no row is lost by it."""

import datetime
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.catalog.files import open_files
from fin_sql.exec.bounds import Bound, bounded
from fin_sql.sql.bounds import Comparison, comparisons

ROWS, GROUP = 600, 20
NULL = "__HIVE_DEFAULT_PARTITION__"
DATES = ["2026-01-05", "2026-01-06", "2026-01-07", None, "it's"]
BEGIN = 1_767_571_200  # 2026-01-05, in seconds
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def rows(seed=3):
    """Rows by day and hour, with values at the edges of their types, NaN and NULL."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, len(DATES), ROWS))
    seconds = BEGIN + np.sort(rng.integers(0, 3 * 86_400, ROWS))
    gaps = rng.random(ROWS) < 0.1
    small = np.sort(rng.integers(-128, 128, ROWS)).astype(np.int8)
    floats = np.sort(rng.choice([-1.0, -0.0, 0.0, 0.5, 2.0, np.inf, np.nan], ROWS))
    table = {
        "row": pa.array(range(ROWS)),
        "date": pa.array([DATES[k] for k in day], pa.string()),
        "hour": pa.array(rng.integers(9, 12, ROWS), pa.int32()),
        "symbol": pa.array(np.sort(rng.choice(["", "AAA", "BTC-USD", "Zo\u00eb"], ROWS))),
        "small": pa.array(small, mask=gaps),
        "big": pa.array(np.sort(rng.integers(-(2**62), 2**62, ROWS))),
        "day": pa.array(seconds, pa.timestamp("s")).cast(pa.date32()),
        "x": pa.array(floats, mask=gaps),
    }
    for unit in UNITS:
        whole = pa.array(seconds * UNITS[unit], pa.int64())
        table[unit] = whole.cast(pa.timestamp(unit))
        table[f"{unit}_ny"] = whole.cast(pa.timestamp(unit, "America/New_York"))
    return pa.table(table)


def write_hive(table, folder, keys=("date", "hour")):
    """One file for each value of the keys, in row groups of few rows."""
    parts = {}
    for k, key in enumerate(zip(*(table[name].to_pylist() for name in keys), strict=True)):
        parts.setdefault(key, []).append(k)
    for key, numbers in parts.items():
        place = folder
        for name, value in zip(keys, key, strict=True):
            place = place / f"{name}={NULL if value is None else value}"
        place.mkdir(parents=True)
        part = table.take(numbers).drop_columns(list(keys))
        pq.write_table(part, place / "part.parquet", row_group_size=GROUP)


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    table, folder = rows(), tmp_path_factory.mktemp("hive")
    write_hive(table, folder)
    ctx = fin_sql.connect(threads=2)
    ctx.register("memory", table)
    ctx.register_parquet("files", str(folder))
    ctx.register("dataset", ds.dataset(folder, partitioning="hive"))
    return ctx


def query(ctx, name, condition, params=None):
    text = "SELECT row, sum(row) OVER (PARTITION BY row ORDER BY row) AS s FROM {} WHERE {}"
    return ctx.sql(text.format(name, condition), params)


def found(ctx, name, condition, params=None):
    return Counter(query(ctx, name, condition, params).to_arrow()["row"].to_pylist())


def scan_line(ctx, name, condition, params=None):
    return query(ctx, name, condition, params).explain().split("\n")[-1].strip()


FOLDERS = [
    ("date = '2026-01-05'", 3),
    ("'2026-01-05' = date", 3),
    ("date IN ('2026-01-05', '2026-01-07', 'never')", 6),
    ("date NOT IN ('2026-01-05')", 9),
    ("date >= '2026-01-06' AND date < '2026-01-07'", 3),
    ("date BETWEEN '2026-01-06' AND '2026-01-07' AND hour = 9", 2),
    ("date IS NULL", 3),
    ("date IS NOT NULL", 12),
    ("date <> '2026-01-05'", 9),
    ("date LIKE '2026-%'", 9),
    ("date = 'it''s'", 3),
    ("hour > 9.5", 10),
    ("hour = '10'", 5),
    ("date = '2026-01-05' OR hour = 11", 7),
    ("coalesce(date, '2026-01-05') = '2026-01-05' AND abs(hour) < 10", 2),
    ("date = 'never'", 0),
    ("CASE WHEN hour = 9 THEN date IS NULL ELSE date > '2026-01-06' END", 5),
]


@pytest.mark.parametrize(("condition", "files"), FOLDERS)
@pytest.mark.parametrize("name", ["files", "dataset"])
def test_folders_that_a_condition_is_not_true_for_are_not_read(ctx, name, condition, files):
    assert f", {files} of 15 files" in scan_line(ctx, name, condition)
    assert found(ctx, name, condition) == found(ctx, "memory", condition)


@pytest.mark.parametrize(
    "condition",
    [
        "date = '2026-01-05' OR x > 0",
        "date = symbol",
        "random() < 2 AND (date = '2026-01-05' OR random() > 2 OR true)",
        "date <= CAST(now() AS VARCHAR)",
        "x IN (SELECT x FROM memory WHERE hour = 9)",
    ],
)
def test_other_conditions_read_all_files(ctx, condition):
    assert "of 15 files" not in query(ctx, "files", condition).explain()
    assert found(ctx, "files", condition) == found(ctx, "memory", condition)


def test_a_condition_that_fails_for_a_folder_fails_as_it_does_in_memory(ctx):
    for name in ("files", "memory"):
        with pytest.raises(fin_sql.SqlError, match="Cannot cast string 'it's'|it's"):
            found(ctx, name, "CAST(date AS DATE) > DATE '2026-01-01'")
    safe = "date <> 'it''s' AND CAST(date AS DATE) > DATE '2026-01-05'"
    assert found(ctx, "files", safe) == found(ctx, "memory", safe)


def test_parameters_prune_as_literals_do(ctx):
    for params, condition in (
        (["2026-01-05"], "date = $1"),
        ({"d": "2026-01-05"}, "date = $d"),
        ({"d": "2026-01-05"}, ":d = date"),
    ):
        assert ", 3 of 15 files" in scan_line(ctx, "files", condition, params)
        assert found(ctx, "files", condition, params) == found(ctx, "memory", condition, params)
    when = datetime.datetime(2026, 1, 6, 12)
    assert "us in [2026-01-06 12:00:00.000000000, ..]" in scan_line(
        ctx, "files", "us >= $1", [when]
    )
    assert found(ctx, "files", "us >= $1", [when]) == found(ctx, "memory", "us >= $1", [when])


def test_files_that_are_left_out_are_not_opened(tmp_path):
    table = rows()
    write_hive(table, tmp_path, ("date",))
    ctx = fin_sql.connect(threads=2)
    ctx.register_parquet("t", str(tmp_path))
    for path in tmp_path.glob("*/part.parquet"):
        if path.parent.name != "date=2026-01-06":
            path.write_bytes(b"no longer Parquet")
    text = "SELECT row, ewma(x, 0.5) OVER (PARTITION BY symbol ORDER BY ns) AS e FROM t WHERE "
    # Its order is looked for in the files that are read, and in no others.
    got = ctx.sql(text + "date = '2026-01-06'").to_arrow()
    wanted = table.filter(pc.equal(table["date"], "2026-01-06"))["row"].to_pylist()
    assert sorted(got["row"].to_pylist()) == wanted
    sums = "SELECT sum(x), count(*) AS n, vwap(x, x) FROM t WHERE date = '2026-01-06'"
    assert ctx.sql(sums).to_arrow()["n"].to_pylist() == [len(wanted)]
    with pytest.raises(fin_sql.SourceError):
        ctx.sql(text + "date >= '2026-01-06'").to_arrow()


def test_both_sides_of_an_asof_join_are_pruned_by_their_keys(tmp_path):
    table = rows()
    write_hive(table, tmp_path, ("date",))
    ctx = fin_sql.connect(threads=2)
    ctx.register_parquet("t", str(tmp_path))
    ctx.register("m", table)
    text = (
        "SELECT a.row, b.row AS other FROM {0} a ASOF JOIN {0} b MATCH_CONDITION (a.ns > b.ns) "
        "ON a.date = b.date WHERE a.date = '2026-01-07' AND a.ns > '2026-01-05 10:00'"
    )
    text = text.replace("10:00'", "10:00:00'")
    plan = ctx.sql(text.format("t")).explain()
    assert plan.count(", 1 of 5 files") == 2
    both = [
        sorted(ctx.sql(text.format(name)).to_arrow().to_pylist(), key=str) for name in ("t", "m")
    ]
    assert both[0] == both[1]
    assert both[0]


# ---------------------------------------------------------------- row groups

VALUES = {
    "symbol": ["'AAA'", "'BTC-USD'", "''", "'Zo\u00eb'", "'B'", "upper('aaa')", "NULL", "5"],
    "small": ["0", "-128", "127", "300", "-300", "2.5", "1 + 1", "'7'", "NULL", "true"],
    "big": ["0", "4611686018427387904", "-1", "1e18", "9223372036854775807"],
    "day": ["DATE '2026-01-06'", "'2026-01-06'", "TIMESTAMP '2026-01-06 12:00:00'"],
    "x": ["0.0", "-0.0", "0", "1.5", "CAST('NaN' AS DOUBLE)", "NULL"],
}
TIMES = [
    "TIMESTAMP '2026-01-06 10:00:00'",
    "TIMESTAMP '2026-01-06 10:00:00.5'",
    "'2026-01-06 10:00:00.5'",
    "'2026-01-06T10:00:00.5-05:00'",
    "'2026-01-06'",
    "DATE '2026-01-06'",
    "arrow_cast('2026-01-06T10:00:00+05:00', 'Timestamp(Nanosecond, Some(\"+05:00\"))')",
    "arrow_cast('2026-01-06T10:00:00Z', 'Timestamp(Second, Some(\"UTC\"))')",
    "TIMESTAMP '2026-01-06' + INTERVAL '10' HOUR",
    "to_timestamp('2026-01-06T10:00:00Z')",
    "now()",
    "now() - INTERVAL '300' YEAR",
]
FORMS = [
    *(f"{{c}} {op} {{a}}" for op in ("=", "<", "<=", ">", ">=", "<>")),
    *(f"{{a}} {op} {{c}}" for op in ("<", ">=", "=")),
    "{c} BETWEEN {a} AND {b}",
    "{c} NOT BETWEEN {a} AND {b}",
    "{c} IN ({a}, {b})",
    "{c} NOT IN ({a}, {b})",
    "NOT {c} > {a}",
    "{c} > {a} OR {c} = {b}",
    "({c} >= {a}) IS NOT TRUE",
    "{c} >= {a} IS NULL",
    "{c} IS DISTINCT FROM {a}",
]


def drawn(seed, count=60):
    rng = np.random.default_rng(seed)
    times = {name: TIMES for unit in UNITS for name in (unit, f"{unit}_ny")}
    choices = {**VALUES, **times}
    for _ in range(count):
        column = rng.choice([*choices])
        a, b = rng.choice(choices[column], 2)
        yield str(rng.choice(FORMS)).format(c=column, a=a, b=b)


@pytest.mark.parametrize("seed", range(12))
def test_a_condition_gives_the_rows_that_it_gives_in_memory(ctx, seed):
    for condition in drawn(seed):
        try:
            wanted = found(ctx, "memory", condition)
        except fin_sql.SqlError:
            with pytest.raises(fin_sql.SqlError):
                found(ctx, "files", condition)
            continue
        for name in ("files", "dataset"):
            assert found(ctx, name, condition) == wanted, condition


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("symbol = 'AAA'", "symbol = 'AAA'"),
        ("symbol IN ('AAA', NULL, 'O''K')", "symbol in ('AAA', 'O''K')"),
        ("small >= 100", "small in [100, ..]"),
        ("small BETWEEN 1 AND 5", "small in [1, 5]"),
        ("DATE '2026-01-07' <= day", "day in [2026-01-07, ..]"),
        ("ns = '2026-01-06 10:00:00'", "ns = 2026-01-06 10:00:00.000000000"),
    ],
)
def test_row_groups_outside_of_a_condition_are_not_read(ctx, condition, words):
    assert scan_line(ctx, "files", condition).endswith(f", {words}")
    read = []
    for _ in query(ctx, "files", condition).stream(progress=read.append):
        pass
    assert sum(read) < ROWS / 2
    assert found(ctx, "files", condition) == found(ctx, "memory", condition)


@pytest.mark.parametrize("column", ["x", "hour + 0", "upper(symbol)"])
def test_what_statistics_do_not_tell_bounds_nothing(ctx, column):
    value = "'A'" if column.startswith("upper") else "0"
    assert scan_line(ctx, "files", f"{column} > {value}").endswith("]")


def test_row_groups_by_their_bounds(tmp_path):
    table = pa.table({"k": [k // 10 for k in range(100)], "s": [str(k // 10) for k in range(100)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10)
    source = open_files(str(tmp_path / "t.parquet"), "parquet")

    def scanned(*bounds):
        batches = source.scan(["k", "s"], encoded=["s"], bounds=bounds)
        return sorted({k for batch in batches for k in batch["k"].to_pylist()})

    assert scanned(Bound("k", 3, 5)) == [3, 4, 5]
    assert scanned(Bound("s", "3", "3")) == [3]
    assert scanned(Bound("s", among=("1", "8")), Bound("k", low=2)) == [8]
    assert scanned(Bound("s", among=("x",))) == []
    assert scanned() == [*range(10)]


def test_bounds_of_one_column_narrow_each_other():
    one = bounded((), Bound("a", low=3))
    assert bounded(one, Bound("a", high=5)) == (Bound("a", 3, 5),)
    assert bounded(one, Bound("a", 4, 9)) == (Bound("a", 4, 9),)
    assert bounded(one, Bound("b", high=5)) == (Bound("a", low=3), Bound("b", high=5))
    assert bounded(one, Bound("a", among=(1, 2))) == (*one, Bound("a", among=(1, 2)))


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("a >= 1 + 2", [Comparison("a", ">=", ("1 + 2",))]),
        ('"t:a" < f(1, 2)', [Comparison("t:a", "<", ("f(1, 2)",))]),
        ("5 <= a", [Comparison("a", ">=", ("5",))]),
        ("a BETWEEN 1 AND 2", [Comparison("a", ">=", ("1",)), Comparison("a", "<=", ("2",))]),
        ("a IN (1, (2))", [Comparison("a", "in", ("1", "(2)"))]),
        *(
            (sql, [])
            for sql in (
                "a = false OR true", "a = 1 = b", "NOT a = 1", "a", "a IN (1) OR b", "a + 1 > 2",
                "a BETWEEN 1 AND 2 AND b", "a > 1 IS NULL", "a NOT IN (1)", "a = 1 AND b = 2",
                "a != 1", "a LIKE 'x'", "f(a) = 1", "a =",
            )
        ),
    ],
)  # fmt: skip
def test_comparisons_are_read_from_the_tokens(sql, wanted):
    assert comparisons(sql) == wanted
