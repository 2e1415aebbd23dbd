"""Tables and parameters that a command line gives."""

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from fin_sql import cli
from fin_sql.cli.tables import parameters, tables_in
from fin_sql.errors import SourceError, SqlError

ROWS = pa.table({"ts": [1, 2, 3], "symbol": ["a", "b", "a"], "price": [1.0, 2.0, 3.0]})


@pytest.fixture
def folder(tmp_path):
    pq.write_table(ROWS, tmp_path / "Trades.parquet")
    csv.write_csv(ROWS, tmp_path / "from text.csv")
    (tmp_path / "lines.ndjson").write_text('{"a": 1}\n{"a": 2}\n')
    hive = ds.partitioning(pa.schema([("symbol", pa.string())]), flavor="hive")
    ds.write_dataset(ROWS, tmp_path / "hive", format="parquet", partitioning=hive)
    (tmp_path / "texts").mkdir()
    csv.write_csv(ROWS, tmp_path / "texts" / "one.csv")
    (tmp_path / "notes.txt").write_text("no table")
    (tmp_path / "empty").mkdir()
    pq.write_table(ROWS, tmp_path / ".hidden.parquet")
    pq.write_table(ROWS, tmp_path / "_tmp.parquet")
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*map(str, arguments), "--format", "csv", "--no-timing"])
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def test_each_file_and_folder_of_rows_is_a_table(folder):
    assert {(name, path.name, format) for name, path, format in tables_in(folder)} == {
        ("trades", "Trades.parquet", "parquet"),
        ("from text", "from text.csv", "csv"),
        ("lines", "lines.ndjson", "json"),
        ("hive", "hive", "parquet"),
        ("texts", "texts", "csv"),
    }


@pytest.mark.parametrize(
    ("table", "count"), [("trades", 3), ('"from text"', 3), ("lines", 2), ("hive", 3), ("texts", 3)]
)
def test_tables_of_a_folder_are_queried_by_their_names(run, folder, table, count):
    query = f"SELECT count(*) AS n FROM {table}"
    assert run("sql", query, "--tables", folder) == (0, f"n\n{count}\n", "")


def test_a_table_option_goes_before_one_of_a_folder(run, folder, tmp_path):
    pq.write_table(ROWS.slice(0, 1), folder / "_one.parquet")
    found = run(
        "sql", "SELECT count(*) AS n FROM trades",
        "--tables", folder, "-t", f"trades={folder}/_one.parquet",
    )  # fmt: skip
    assert found == (0, "n\n1\n", "")


def test_an_order_belongs_to_a_table_of_either_option(run, folder):
    query = "SELECT sum(price) OVER (ORDER BY ts) AS s FROM trades"
    order = ("--order-by", "trades=ts")
    assert run("sql", query, "--tables", folder, *order) == (0, "s\n1.0\n3.0\n6.0\n", "")
    code, _, err = run("sql", query, "--tables", folder, "--order-by", "trade=ts")
    assert (code, err) == (
        1, "fin-sql: --order-by names trade, which no --table or --tables gives\n"
    )  # fmt: skip


def test_what_is_no_folder_of_tables_is_refused(folder, tmp_path):
    with pytest.raises(SourceError, match="--tables takes a folder, was"):
        tables_in(folder / "notes.txt")
    with pytest.raises(SourceError, match="no Parquet, CSV or JSON file lies in"):
        tables_in(folder / "empty")
    csv.write_csv(ROWS, folder / "hive" / "symbol=a" / "x.csv")
    with pytest.raises(SourceError, match="hive' holds csv and parquet files"):
        tables_in(folder)
    (folder / "hive" / "symbol=a" / "x.csv").unlink()
    csv.write_csv(ROWS, folder / "trades.csv")
    with pytest.raises(SourceError, match="would both be table 'trades'"):
        tables_in(folder)


def test_parameters_are_values():
    text = "SELECT $a, $b, $c, $d, $e, $f, :g, '$h'"
    given = ["a=1", "b=1.5", "c=true", "d=null", "e=x y", "f='7'", "g=-2e3"]
    assert parameters(given, text) == {
        "a": 1, "b": 1.5, "c": True, "d": None, "e": "x y", "f": "7", "g": -2000.0
    }  # fmt: skip
    assert parameters(None, text) is None
    with pytest.raises(SqlError, match="--param names h, which no statement has as \\$h?"):
        parameters(["h=1"], text)
    with pytest.raises(SqlError, match="--param takes NAME=..., was 'h'"):
        parameters(["h"], text)


def test_parameters_reach_rows_and_constants(run, folder):
    query = (
        "SELECT ewma(price, $alpha) OVER (ORDER BY ts) AS e FROM trades "
        "WHERE symbol = $symbol AND price >= :least"
    )
    given = ("--param", "alpha=0.5", "--param", "symbol=a", "--param", "least=1")
    assert run("sql", query, "--tables", folder, *given) == (0, "e\n1.0\n2.0\n", "")
    hostile = ("--param", "alpha=0.5", "--param", "symbol=' OR 1=1 --", "--param", "least=1")
    assert run("sql", query, "--tables", folder, *hostile) == (0, "e\n", "")
