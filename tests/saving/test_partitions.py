"""Hive folders: their names, their rows, and how much is open and held meanwhile."""

import datetime
from pathlib import Path
from urllib.parse import unquote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.catalog import partitions, writers
from fin_sql.catalog.partitions import escaped
from fin_sql.catalog.targets import target
from fin_sql.testing import Market

ROWS = 6_000


@pytest.fixture(scope="module")
def trades():
    return Market(seed=7).trades(ROWS)


def rows_of(table, *by):
    """Rows by partition, in their order."""
    found = {}
    for row in table.to_pylist():
        key = tuple(row.pop(name) for name in by)
        found.setdefault(key, []).append(tuple(row[name] for name in sorted(row)))
    return found


@pytest.mark.parametrize("format", ["PARQUET", "ARROW", "CSV", "JSON"])
def test_partitions_read_back_with_their_rows_in_order(trades, tmp_path, format):
    ctx = fin_sql.connect()
    ctx.register("trades", trades)
    query = "SELECT ts, symbol, venue, price, seq FROM trades"
    folder = tmp_path / "p"
    options = "" if format in ("CSV", "JSON") else "OPTIONS (row_group_size 100)"
    found = ctx.sql(
        f"COPY ({query}) TO '{folder}' STORED AS {format} PARTITIONED BY (symbol, venue) {options}"
    ).to_arrow()
    assert found["count"].to_pylist() == [ROWS]
    wanted = ctx.sql(query).to_arrow()
    getattr(ctx, f"register_{format.lower()}")("p", str(folder))
    back = ctx.sql("SELECT ts, symbol, venue, price, seq FROM p").to_arrow()
    assert back.schema.types == wanted.schema.types
    assert rows_of(back, "symbol", "venue") == rows_of(wanted, "symbol", "venue")
    files = sorted(path.relative_to(folder) for path in folder.rglob("part-*"))
    assert len(files) == len(rows_of(wanted, "symbol", "venue"))
    assert {path.name for path in files} == {f"part-0.{format.lower()}"}
    assert all(path.parts[0].startswith("symbol=") for path in files)
    # A partition lies in order, so a kernel runs over it without a sort.
    window = "SELECT seq, ewma(price, 0.1) OVER (PARTITION BY symbol, venue ORDER BY ts, seq) AS e"
    plan = ctx.sql(f"{window} FROM p").explain()
    if format == "PARQUET":
        assert "order: found" in plan
    one, other = (ctx.sql(f"{window} FROM {n}").to_arrow().sort_by("seq") for n in ("p", "trades"))
    assert one["e"].equals(other["e"])


def test_other_readers_see_the_same_rows(trades, tmp_path):
    ctx = fin_sql.connect()
    ctx.register("trades", trades)
    ctx.sql(f"COPY trades TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (symbol)")
    by_arrow = ds.dataset(tmp_path / "p", partitioning="hive").to_table()
    assert by_arrow.num_rows == ROWS
    sums = "SELECT symbol, count(*), sum(seq) FROM {} GROUP BY symbol ORDER BY symbol"
    files = f"read_parquet('{tmp_path}/p/**/*.parquet', hive_partitioning = true)"
    held = trades  # noqa: F841  DuckDB finds it by its name
    assert duckdb.sql(sums.format(files)).fetchall() == duckdb.sql(sums.format("held")).fetchall()


# The characters of FileUtils.charToEscape in Hive's own sources.
HIVE = {*map(chr, range(32)), *"\"#%'*/:=?\\\x7f{}[]^"}


def test_names_are_escaped_as_hive_does():
    for code in range(0x250):
        character = chr(code)
        name = escaped(character)
        assert (name != character) == (character in HIVE), character
        assert unquote(name) == character
    assert escaped("a/b=c d%") == "a%2Fb%3Dc d%25"


def test_texts_of_any_kind_come_back_from_the_names_of_folders(tmp_path):
    values = [None, "", "0700", "a/b", "a=b", "..", ".hidden", "_x", "é𝔘", "a b", "100%", "%20",
              "it's", "x\ty", "a\\b", "-1", "1e5", "true", "2026-01-05", "NULL"]  # fmt: skip
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"s": values * 2, "n": range(2 * len(values))}))
    ctx.sql(f"COPY t TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (s)")
    found = ctx.sql(f"SELECT s, n FROM '{tmp_path}/p' ORDER BY n").to_arrow()
    assert found.to_pydict() == {"s": values * 2, "n": list(range(2 * len(values)))}
    folders = {path.name for path in (tmp_path / "p").iterdir()}
    assert "s=__HIVE_DEFAULT_PARTITION__" in folders and "s=a%2Fb" in folders
    read = duckdb.sql(
        f"SELECT s, n FROM read_parquet('{tmp_path}/p/**/*.parquet', hive_partitioning = true, "
        "hive_types_autocast = false) ORDER BY n"
    ).fetchall()
    assert [row[0] for row in read[: len(values)]] == values


TYPES = [
    pa.array([3, None, -3], pa.int8()),
    pa.array([2**64 - 1, None, 0], pa.uint64()),
    pa.array([True, None, False]),
    pa.array([datetime.date(2026, 1, 5), None, datetime.date(1969, 12, 31)]),
    pa.array([1_767_623_400_123_456_789, None, -1], pa.timestamp("ns")),
    pa.array([1_767_623_400_123_456, None, -1], pa.timestamp("us", "UTC")),
    pa.array([1_767_623_400_123, None, -1], pa.timestamp("ms", "America/New_York")),
    pa.array([5, None, 86_399_999_999_999], pa.time64("ns")),
    pa.array(["0700", None, "x"], pa.large_string()),
    pa.array(["0700", None, "0700"]).dictionary_encode(),
]


@pytest.mark.parametrize("values", TYPES, ids=lambda a: str(a.type))
@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_partition_columns_keep_their_types(tmp_path, values, format):
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"n": [0, 1, 2], "c": values}))
    ctx.sql(f"COPY t TO '{tmp_path}/p' STORED AS {format} PARTITIONED BY (c)")
    getattr(ctx, f"register_{format}")("p", str(tmp_path / "p"))
    found = ctx.sql("SELECT c, n FROM p ORDER BY n").to_arrow()
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    assert found["c"].combine_chunks().equals(plain)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("(sym)", "did you mean 'symbol'"),
        ("(price)", "but column 'price' is double"),
        ("(symbol, symbol)", "stands twice"),
        ("(symbol, price, _c)", "column 'price' is double"),
        ("(_c)", "for no data"),
        ("(list)", "but column 'list' is list"),
    ],
)
def test_what_cannot_name_folders_is_told(tmp_path, columns, says):
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"symbol": ["a"], "price": [1.0], "_c": [1], "list": [[1]]}))
    with pytest.raises(fin_sql.SqlError) as caught:
        ctx.sql(f"COPY t TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY {columns}")
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_column_left_and_the_name_of_null_are_refused(tmp_path):
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"s": ["a", "__HIVE_DEFAULT_PARTITION__"], "n": [1, 2]}))
    with pytest.raises(fin_sql.SqlError, match="none is left for the files"):
        ctx.sql(f"COPY t TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (s, n)")
    with pytest.raises(fin_sql.SqlError, match="which means NULL in a folder's name"):
        ctx.sql(f"COPY t TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (s)")
    assert list(tmp_path.iterdir()) == []


class Counting:
    """How many files are open, and how many bytes wait, at the worst moment."""

    def __init__(self, monkeypatch):
        self.open = self.most_open = self.most_held = 0
        opened, add = writers.open_writer, partitions.Partitions.add

        def counted(*arguments):
            writer = opened(*arguments)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            close = writer.close

            def closed():
                self.open -= 1
                close()

            writer.close = closed
            return writer

        def added(parts, batch):
            add(parts, batch)
            files = [f for f in parts._files if isinstance(f, writers.Gathered)]
            self.most_held = max(self.most_held, sum(f.held for f in files))

        monkeypatch.setattr("fin_sql.catalog.targets.open_writer", counted)
        monkeypatch.setattr(partitions.Partitions, "add", added)


@pytest.mark.parametrize(("most_open", "buckets"), [(1, 1), (1, 3), (4, 3), (16, 32)])
def test_few_files_are_open_however_many_partitions(tmp_path, monkeypatch, most_open, buckets):
    monkeypatch.setattr(partitions, "MOST_OPEN", most_open)
    monkeypatch.setattr(partitions, "BUCKETS", buckets)
    counting = Counting(monkeypatch)
    rng = np.random.default_rng(most_open)
    names = [None if k == 5 else f"k{k}" for k in range(60)]
    table = pa.table(
        {
            "k": pa.array(names).take(pa.array(rng.integers(0, 60, 5_000))),
            "n": np.arange(5_000),
            "s": pa.array([f"{x}" for x in rng.integers(0, 9, 5_000)]).dictionary_encode(),
        }
    )
    where = target(str(tmp_path / "p"), "parquet", ["k"])
    assert where.write(table.schema, table.to_batches(317), 40_000) == 5_000
    assert counting.open == 0 and 0 < counting.most_open <= most_open
    assert counting.most_held <= 10_000  # a quarter of the limit
    files = list((tmp_path / "p").rglob("*.parquet"))
    assert len(files) == 60 and {f.name for f in files} == {"part-0.parquet"}
    assert [p.name for p in (tmp_path / "p").iterdir() if not p.is_dir()] == ["_common_metadata"]
    back = pa.concat_tables(
        [
            pq.read_table(f, partitioning=None).append_column(
                "k", pa.array([unquote(f.parent.name)] * pq.read_metadata(f).num_rows)
            )
            for f in files
        ],
        promote_options="permissive",
    )
    wanted = table.set_column(
        0, "k", pa.array([f"k={k or '__HIVE_DEFAULT_PARTITION__'}" for k in table["k"].to_pylist()])
    )
    assert rows_of(back, "k") == rows_of(wanted.select(["n", "s", "k"]), "k")


def test_a_rare_partition_does_not_hold_the_rows_of_others(tmp_path):
    held = []
    schema = pa.schema([("k", pa.string()), ("x", pa.string())])

    def batches():
        for k in range(30):
            keys = ["rare"] + ["often"] * 9_999
            yield pa.record_batch({"k": keys, "x": [f"{k}" * 50] * 10_000}, schema=schema)
            held.append(pa.total_allocated_bytes())

    before = pa.total_allocated_bytes()
    target(str(tmp_path / "p"), "parquet", ["k"], {"row_group_size": 20_000}).write(
        schema, batches()
    )
    assert max(held) - before < 20 << 20  # all rows are 30 MB


def test_a_folder_without_partitions(tmp_path):
    ctx = fin_sql.connect()
    ctx.sql(f"COPY (SELECT 1 AS a) TO '{tmp_path}/p/' STORED AS JSON")
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["part-0.json"]
    assert ctx.sql(f"SELECT * FROM '{tmp_path}/p/part-0.json'").to_arrow().to_pylist() == [{"a": 1}]


def test_no_rows_make_no_partition(tmp_path):
    ctx = fin_sql.connect()
    query = "SELECT 'a' AS s, 1 AS n WHERE false"
    found = ctx.sql(f"COPY ({query}) TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (s)")
    assert found.to_arrow()["count"].to_pylist() == [0]
    assert [p.name for p in Path(tmp_path / "p").iterdir()] == ["_common_metadata"]
    assert pq.read_schema(tmp_path / "p" / "_common_metadata").names == ["s", "n"]
