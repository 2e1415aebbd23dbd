import json
import subprocess
import sys

import pyarrow as pa
import pytest
import typer

import fin_sql
from fin_sql import cli
from fin_sql.cli.demo import FEATURES, SUMMARY
from fin_sql.cli.show import result, shown, texts
from fin_sql.errors import SqlError


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
        assert row["signature"] in out
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
        (("emwa",), "unknown function 'emwa'; did you mean 'ewma'?"),
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
