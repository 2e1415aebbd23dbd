"""The same writers from Python and from the command line."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql import cli
from fin_sql.testing import Market

ROWS = 1_000
W = "(PARTITION BY symbol ORDER BY ts, seq)"


@pytest.fixture(scope="module")
def ctx():
    ctx = fin_sql.connect(threads=2)
    ctx.register("trades", Market(seed=9).trades(ROWS))
    return ctx


QUERIES = [
    f"SELECT ts, symbol, ewma(price, 0.1) OVER {W} AS e FROM trades",
    "SELECT ts, symbol, price AS e FROM trades ORDER BY ts, seq",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("format", ["parquet", "csv", "json", "arrow"])
def test_writing_from_python_is_copy(ctx, tmp_path, query, format):
    one, other = tmp_path / f"one.{format}", tmp_path / f"other.{format}"
    assert getattr(ctx.sql(query), f"write_{format}")(one) == ROWS
    ctx.sql(f"COPY ({query}) TO '{other}'")
    if format == "parquet":
        assert pq.read_table(one).equals(pq.read_table(other))
    else:
        assert one.read_bytes() == other.read_bytes()


def test_rows_are_written_in_the_order_of_their_table(tmp_path):
    ctx = fin_sql.connect(threads=4)
    ctx.register("t", pa.table({"n": np.arange(400_000)}))
    query = ctx.sql("SELECT n, n * 2 FROM t WHERE n % 3 <> 0;")
    assert query.write_parquet(tmp_path / "t.parquet") == 266_666
    found = pq.read_table(tmp_path / "t.parquet")
    assert (np.diff(found["n"].to_numpy()) > 0).all()
    assert found.column_names == query.schema.names
    ctx.sql("EXPLAIN SELECT n FROM t").write_csv(tmp_path / "t.csv")
    ctx.sql("SHOW TABLES").write_json(tmp_path / "t.json")
    with pytest.raises(fin_sql.SqlError, match="no column to write"):
        ctx.sql("CREATE VIEW v AS SELECT 1 AS a").write_csv(tmp_path / "v.csv")
    assert ctx.sql("DROP TABLE IF EXISTS u").to_arrow().num_rows == 0


def test_options_and_partitions_from_python(ctx, tmp_path):
    query = ctx.sql(QUERIES[0])
    told = []
    rows = query.write_parquet(
        str(tmp_path / "p"), partition_by="symbol", compression="snappy", progress=told.append
    )
    assert rows == ROWS == sum(told)
    file = next((tmp_path / "p").rglob("*.parquet"))
    assert pq.read_metadata(file).row_group(0).column(0).compression == "SNAPPY"
    with pytest.raises(fin_sql.SourceError, match="not empty"):
        query.write_csv(tmp_path / "p", partition_by=["symbol"])
    query.write_csv(tmp_path / "p", partition_by=["symbol"], overwrite=True, delimiter=";")
    assert {path.suffix for path in (tmp_path / "p").rglob("part-*")} == {".csv"}
    query.write_csv(tmp_path / "t.csv.gz", header=False, null="NA")
    query.write_arrow(tmp_path / "t.arrow", compression="lz4", row_group_size=100)
    assert pa.ipc.open_file(tmp_path / "t.arrow").num_record_batches == ROWS // 100
    query.write_json(f"{tmp_path}/f/")
    assert os.listdir(tmp_path / "f") == ["part-0.json"]
    for call, error in (
        (lambda: query.write_parquet(tmp_path / "x", compression="zip"), fin_sql.SqlError),
        (lambda: query.write_parquet(tmp_path / "x", partition_by="sym"), fin_sql.UnknownNameError),
        (lambda: query.write_csv(tmp_path / "x", compression="gzip"), fin_sql.SqlError),
        (lambda: query.write_json(tmp_path / "nope" / "x"), fin_sql.SourceError),
    ):
        with pytest.raises(error):
            call()
    assert sorted(os.listdir(tmp_path)) == ["f", "p", "t.arrow", "t.csv.gz"]


def test_a_cancelled_write_leaves_nothing(ctx, tmp_path):
    for text in QUERIES:
        query = ctx.sql(text)
        query.cancel()
        with pytest.raises(fin_sql.CancelledError):
            query.write_parquet(tmp_path / "t.parquet")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["sql", *arguments])
        return stopped.value.code or 0, *capsys.readouterr()

    return call


def test_the_command_line_copies(run, ctx, tmp_path):
    ctx.sql("SELECT * FROM trades").write_parquet(tmp_path / "in.parquet")
    copy = f"COPY (SELECT symbol, price FROM '{tmp_path}/in.parquet') TO '{tmp_path}/out.csv'"
    code, out, err = run(copy, "--format", "json")
    assert (code, out) == (0, '{"count": 1000}\n') and err.startswith("1 row in ")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == ROWS + 1


def test_a_long_copy_shows_how_far_it_is(run, ctx, tmp_path, monkeypatch):
    ctx.sql("SELECT * FROM trades").write_parquet(tmp_path / "in.parquet")
    told = []
    monkeypatch.setattr(sys.modules["fin_sql.cli.sql"], "progress", lambda: Told(told))
    run(f"COPY (SELECT symbol FROM '{tmp_path}/in.parquet') TO '{tmp_path}/out.csv'", "--no-timing")
    assert sum(told) == ROWS


class Told:
    """In place of a bar, which takes a terminal."""

    def __init__(self, told):
        self.told = told

    def __enter__(self):
        return self.told.append

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "ndjson", "arrow", "pq", "PARQUET"])
def test_output_goes_by_its_ending(run, ctx, tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    query = "SELECT CAST(value AS DOUBLE) AS x FROM generate_series(1, 9)"
    assert run(query, "-o", str(path), "--no-timing") == (0, "", "")
    found = ctx.sql(f"SELECT sum(x) AS s FROM '{path}'").to_arrow()
    assert found["s"].to_pylist() == [45.0] and os.listdir(tmp_path) == [path.name]


def test_a_script_with_a_view_writes_its_last_result(run, tmp_path):
    script = Path(tmp_path / "q.sql")
    script.write_text(
        "CREATE VIEW v AS SELECT 1 AS a; CREATE TABLE t AS SELECT a FROM v; SELECT a FROM t"
    )  # noqa: E501
    assert run("-f", str(script), "-o", str(tmp_path / "o.csv"), "--no-timing") == (0, "", "")
    assert (tmp_path / "o.csv").read_text() == "a\n1\n"
    code, _, err = run("SELECT 1", "--format", "arrow")
    assert code == 1 and "Arrow is no text: name a file by --output" in err
