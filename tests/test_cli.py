import json
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

import fin_sql
from fin_sql import cli
from fin_sql.cli.demo import FEATURES, SUMMARY
from fin_sql.cli.show import result, shown, texts
from fin_sql.errors import SqlError
from fin_sql.testing import Market


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def test_functions_lists_every_function_under_its_family(run):
    code, out, err = run("functions")
    assert (code, err) == (0, "")
    firsts = [line.split()[0] for line in out.splitlines() if line.strip()]
    for row in fin_sql.functions().to_pylist():
        assert row["name"] in firsts
        assert all(word in out for word in row["signature"].split())
    assert "Online statistics" in out


def test_functions_of_one_family(run):
    code, out, _ = run("functions", "--family", "momentum")
    assert code == 0
    assert "rsi(x, period = 14)" in out
    assert "ewma" not in out


def test_functions_tells_all_about_one(run):
    code, out, _ = run("functions", "EWMA")
    assert code == 0
    for words in (
        "ewma(x, alpha",
        "alpha (constant)",
        "in (0, 1]",
        "OVER (PARTITION BY",
        "Source:",
    ):
        assert words in out


def test_functions_as_json(run):
    code, out, _ = run("functions", "--json")
    assert code == 0
    assert json.loads(out) == fin_sql.functions().to_pylist()
    code, out, _ = run("functions", "rsi", "--json")
    assert json.loads(out)["arguments"][1]["default"] == "14"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("donchian_chanel",),
            "unknown function 'donchian_chanel'; did you mean 'donchian_channel'?",
        ),
        (("--family", "momentun"), "unknown family 'momentun'; did you mean 'momentum'?"),
    ],
)
def test_unknown_names_end_in_a_hint_and_code_2(run, arguments, message):
    code, out, err = run("functions", *arguments)
    assert (code, out, err) == (2, "", f"fin-sql functions: {message}\n")


def test_demo_prints_its_sql_and_what_comes_of_it(run):
    code, out, err = run("demo", "--rows", "2000", "--seed", "3")
    assert (code, err) == (0, "")
    assert all(line in out for sql in (FEATURES, SUMMARY) for line in sql.splitlines())
    assert "2,000 rows in " in out
    assert "4 rows in " in out
    assert "BTC-USD" in out
    kernels = {n for n in fin_sql.functions()["name"].to_pylist() if f"{n}(" in FEATURES + SUMMARY}
    assert len(kernels) >= 12
    # A result with a value in its last row: no kernel of the demo is still cold by then.
    assert "NULL" not in next(line for line in reversed(out.splitlines()) if "14:3" in line)


def test_demo_of_one_row(run):
    code, out, _ = run("demo", "--rows", "1")
    assert code == 0
    assert "1 rows in " in out


@pytest.mark.parametrize("arguments", [("demo", "--rows", "0"), ("demo", "--sede"), ("dmeo",)])
def test_a_wrong_call_gets_code_2_and_no_traceback(run, arguments):
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_help_teaches_by_example(run):
    for arguments, example in (
        (("--help",), "fin-sql functions ewma"),
        (("demo", "-h"), "fin-sql demo --rows 1000000 --seed 7"),
        (("functions", "-h"), "jq -r '.[].signature'"),
        (("sql", "-h"), "--param least=100"),
        (("shell", "-h"), "fin-sql shell --tables market < features.sql"),
        (("plot", "-h"), "fin-sql plot features.sql --tables market -o features.html"),
    ):
        code, out, _ = run(*arguments)
        assert code == 0
        assert example in out


def test_errors_of_fin_sql_are_one_line_and_code_1(run, monkeypatch):
    def fail():
        raise SqlError("this is\nwrong")

    monkeypatch.setattr(cli, "app", typer.Typer())
    cli.app.command()(fail)
    assert run() == (1, "", "fin-sql: this is wrong\n")


def test_columns_that_do_not_fit_are_named():
    rows = pa.table({"a": [1.5, None], "b": [True, False], "c": ["x", "y"], "d": [1234567, 0]})
    table = result(rows, "t", width=17)
    assert [column.header for column in table.columns] == ["a", "b"]
    assert table.caption == "and c, d"
    assert result(rows, "t", width=80).caption is None


def test_values_take_few_characters():
    times = pa.chunked_array([[1_767_623_400_123_456_789, None]]).cast(pa.timestamp("ns"))
    assert texts(times) == ["14:30:00.123", "NULL"]
    values = (True, 1234567, 0.123456789, 12345.678)
    assert [shown(v) for v in values] == ["yes", "1,234,567", "0.12346", "12,345.7"]


def test_python_m_fin_sql_is_fin_sql():
    command = [sys.executable, "-m", "fin_sql", "functions", "ewma", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["name"] == "ewma"
    assert done.stderr == ""


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m fin_sql functions --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "[\n"
    assert done.stderr == ""


# ---------------------------------------------------------------- sql


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    market = Market(seed=2)
    for name, rows in (("trades", market.trades(500)), ("quotes", market.quotes(500))):
        pq.write_table(rows, folder / f"{name}.parquet")
    return folder


def asof(folder):
    return (
        "SELECT t.ts, t.symbol, ewma(t.price, 0.1) OVER (PARTITION BY t.symbol ORDER BY t.ts) AS e,"
        f" q.bid FROM '{folder}/trades.parquet' t ASOF JOIN '{folder}/quotes.parquet' q "
        "MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"
    )


def test_sql_prints_a_table_and_how_long_it_took(run, files):
    code, out, err = run("sql", asof(files))
    assert code == 0
    assert [word in out for word in ("symbol", "bid", "2026-", "…")] == [True] * 4
    assert err.startswith("500 rows in ") and err.endswith(" s\n")


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_sql_writes_files_that_read_back(run, files, tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    assert run("sql", asof(files), "-o", str(path))[0] == 0
    wanted = fin_sql.connect().sql(asof(files)).to_arrow()
    if ending == "parquet":
        assert pq.read_table(path).equals(wanted)
        return
    text = path.read_text()
    read = pd.read_csv(path) if ending == "csv" else None
    if ending == "json":
        read = pd.DataFrame([json.loads(line) for line in text.splitlines()])
    assert list(read.columns) == wanted.column_names
    assert read["e"].tolist() == wanted["e"].to_pylist()  # doubles read back to the bit
    assert pd.to_datetime(read["ts"]).tolist() == wanted["ts"].to_pandas().tolist()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_sql_prints_csv_and_json(run, files):
    query = "SELECT 1.5 AS x, 'a,b' AS s, CAST(NULL AS INT) AS n, 0.0 / 0.0 AS nan"
    assert run("sql", query, "--format", "csv", "--no-timing") == (
        0, 'x,s,n,nan\n1.5,"a,b",,NaN\n', ""
    )  # fmt: skip
    assert run("sql", query, "--format", "json", "--no-timing") == (
        0, '{"x": 1.5, "s": "a,b", "n": null, "nan": "NaN"}\n', ""
    )  # fmt: skip


def test_sql_runs_the_statements_of_a_file_over_named_tables(run, files, tmp_path):
    script = tmp_path / "q.sql"
    script.write_text(
        "CREATE VIEW cheap AS SELECT * FROM trades WHERE price < 1000; -- two; statements\n"
        "SELECT count(*) AS n, ';' AS s FROM cheap;"
    )
    tables = ["-t", f"trades={files}/trades.parquet", "--order-by", "trades=ts"]
    code, out, err = run("sql", "-f", str(script), *tables, "--format", "csv", "--no-timing")
    assert (code, out.splitlines()[-1].split(",")[1], err) == (0, ";", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["SELECT ewma(x, 3) OVER (ORDER BY x) FROM (VALUES (1.0)) v(x)"],
            "must be in (0, 1], was 3",
        ),
        (["SELECT * FROM 'no.parquet'"], "no parquet file was found at 'no.parquet'"),
        ([], "give either a statement, or --file"),
        (["SELECT 1", "-t", "x"], "--table takes NAME=..., was 'x'"),
        (["SELECT 1", "--order-by", "t=ts"], "which no --table gives"),
        (["SELECT 1", "--format", "parquet"], "name a file by --output"),
        (["SELECT 1", "--format", "table", "-o", "x.txt"], "--output needs --format"),
    ],
)
def test_sql_says_what_is_wrong(run, arguments, says):
    code, out, err = run("sql", *arguments)
    assert (code, out) == (1, "")
    assert says in err and "Traceback" not in err


def test_sql_keeps_the_mark_under_the_place(run):
    _, _, err = run("sql", "SELECT ewma(x, 0.1) FROM (VALUES (1.0)) v(x)")
    assert err.splitlines()[1:] == [
        "  line 1: SELECT ewma(x, 0.1) FROM (VALUES (1.0)) v(x)",
        "                 ^^^^^^^^^^^^",
    ]
