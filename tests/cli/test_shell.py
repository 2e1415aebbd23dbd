"""fin-sql shell in a real terminal, and with a script on its standard input."""

import io
import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from terminal import Terminal

from fin_sql import cli
from fin_sql.testing import Market

LONG = "SELECT count(DISTINCT value % 7) AS n FROM generate_series(1, 9000000000);"


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    made = Market(seed=2)
    for name, rows in (("trades", made.trades(500)), ("quotes", made.quotes(900))):
        pq.write_table(rows, folder / f"{name}.parquet")
    return folder


@pytest.fixture
def shell(market, tmp_path):
    opened = []

    def open_shell(*arguments, **screen):
        found = Terminal("shell", "--tables", market, *arguments, state=tmp_path, **screen)
        opened.append(found)
        found.wait_prompt()
        return found

    yield open_shell
    for found in opened:
        found.child.close(force=True)


def test_a_statement_takes_several_lines_until_its_semicolon(shell):
    terminal = shell()
    out = terminal.run("SELECT symbol, count(*) AS n", "FROM trades", "GROUP BY symbol;")
    assert any("BTC-USD" in line for line in out)
    assert out[-1].startswith("4 rows in 0.")
    assert any(line == "      -> GROUP BY symbol;" for line in terminal.lines)
    out = terminal.run("SELECT ';' AS semicolon, -- one; more", "1 AS one;")
    assert any("│ ;         │   1 │" in line for line in out)
    terminal.type("\x04")
    assert terminal.end() == 0


def test_history_lasts_from_one_run_to_the_next(shell, tmp_path):
    terminal = shell()
    terminal.run("SELECT 41 + 1", "AS answer;")
    terminal.type(".quit\r")
    assert terminal.end() == 0
    kept = tmp_path / "fin_sql" / "history"
    assert "+SELECT 41 + 1\n+AS answer;" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    terminal = shell()
    terminal.type("\x1b[A\x1b[A")  # up: over .quit to the statement
    terminal.wait("AS answer;")
    terminal.type("\r")
    terminal.wait("│     42 │")


def test_history_is_kept_where_one_says(shell, tmp_path):
    place = tmp_path / "deep" / "lines"
    terminal = shell("--history", place)
    terminal.run("SELECT 7 AS seven;")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "+SELECT 7 AS seven;" in place.read_text()


def test_ctrl_c_cancels_a_query_and_the_session_goes_on(shell):
    terminal = shell()
    terminal.run("CREATE VIEW v AS SELECT 5 AS five;")
    terminal.type(LONG + "\r")
    terminal.wait("running")  # the line of a query that takes a while
    begin = time.monotonic()
    terminal.interrupt()
    terminal.wait("the query was cancelled")
    assert time.monotonic() - begin < 5
    assert any("│    5 │" in line for line in terminal.run("SELECT * FROM v;"))


def test_ctrl_c_clears_the_line(shell):
    terminal = shell()
    terminal.type("SELECT nonsense")
    terminal.wait("nonsense")
    terminal.type("\x03")
    terminal.wait_prompt(2)
    assert any("│   1 │" in line for line in terminal.run("SELECT 1 AS one;"))


def test_the_shell_ends_while_a_query_that_cannot_be_stopped_goes_on(shell):
    terminal = shell()
    terminal.type(
        "SELECT sum(sin(a.value * b.value)) FROM generate_series(1, 300000) a "
        "CROSS JOIN generate_series(1, 300000) b;\r"
    )
    time.sleep(1.5)
    terminal.interrupt()
    terminal.wait("the query was cancelled")
    terminal.type("\x04")
    begin = time.monotonic()
    assert terminal.end() == 0
    assert time.monotonic() - begin < 10


def test_an_error_marks_its_place_and_the_session_goes_on(shell):
    terminal = shell()
    out = terminal.run("SELECT price,", "  ewma(prce, 0.1) OVER (ORDER BY ts) FROM trades;")
    assert "  line 2:   ewma(prce, 0.1) OVER (ORDER BY ts) FROM trades" in out
    assert out[out.index("  line 2:   ewma(prce, 0.1) OVER (ORDER BY ts) FROM trades") + 1] == (
        "                 ^^^^"
    )
    assert "Did you mean 'price'?" in " ".join(out)
    out = terminal.run("SELCT 1;")
    assert out[1:] == ["  line 1: SELCT 1", "          ^^^^^"]
    out = terminal.run(".tabels")
    assert out == ["unknown command '.tabels'; did you mean '.tables'?"]
    assert not any("Traceback" in line for line in terminal.lines)
    assert any("│   1 │" in line for line in terminal.run("SELECT 1 AS one;"))


def test_tab_completes_and_the_signature_stands_below(shell):
    terminal = shell()
    terminal.type("SELECT * FROM tra")
    terminal.wait("FROM tra")
    terminal.type("\t")
    terminal.wait("FROM trades")
    terminal.type("\x03")
    terminal.wait_prompt(2)
    terminal.type("SELECT ewma(price, ")
    terminal.wait("ewma(x, alpha, adjust = false)  alpha: DOUBLE constant, in (0, 1]")
    terminal.type("\x03")
    terminal.wait("mode table  timing on")
    terminal.type("SELECT q. FROM trades t ASOF JOIN quotes q ON t.symbol = q.sy")
    terminal.wait("q.sy")
    terminal.type("\t")
    terminal.wait("ON t.symbol = q.symbol")


def test_results_fit_the_screen(shell):
    terminal = shell(rows=30, columns=80)
    out = terminal.run("SELECT * FROM trades;")
    assert len(out) <= 30 and all(len(line) <= 80 for line in out)
    assert sum("…" in line for line in out) == 1
    terminal.run(".rows 2")
    assert sum("2026-" in line for line in terminal.run("SELECT * FROM trades;")) == 4
    terminal.run(".mode vertical")
    terminal.run(".rows 1")
    out = terminal.run("SELECT ts, price, repeat('long ', 40) AS l FROM trades;")
    assert out[0].split() == ["row", "1"] and any("row 500" in line for line in out)
    assert sum("long long" in line for line in out) > 4  # it is folded


def test_settings_last(shell, tmp_path):
    terminal = shell()
    assert terminal.run(".timing off") == []
    assert terminal.run(".mode csv") == []
    assert terminal.run("SELECT 1 AS a, 'x' AS b;") == ["a,b", "1,x"]
    terminal.run(f".output {tmp_path}/out.json")
    out = terminal.run("SELECT 2 AS a;")
    assert out == [f"written to {tmp_path}/out.json"]
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": 2}
    assert terminal.run("SELECT 3 AS a;") == ["a", "3"]


# ---------------------------------------------------------------- scripts


@pytest.fixture
def piped(capsys, monkeypatch):
    def call(text, *arguments):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        with pytest.raises(SystemExit) as stopped:
            cli.main(["shell", *map(str, arguments)])
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def script(text, *arguments, cwd=None):
    command = [sys.executable, "-m", "fin_sql", "shell", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=cwd)


def test_a_script_runs_its_statements_and_commands(market):
    done = script(
        ".timing off\n.mode csv\nSELECT count(*) AS n FROM trades; SELECT 'a;b' AS s;\n"
        "-- nothing; here\n.mode json\nSELECT 1 AS x",
        "--tables",
        market,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'n\n500\ns\na;b\n{"x": 1}\n'


def test_a_script_stops_at_its_first_error_with_code_1():
    done = script(".mode csv\n.timing off\nSELECT 1 AS a;\n\nSELECT nope;\nSELECT 2 AS b;\n")
    assert done.returncode == 1
    assert done.stdout == "a\n1\n"
    assert done.stderr.splitlines() == [
        "fin-sql: No field named nope.",
        "  line 5: SELECT nope",
        "                 ^^^^",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (".tabels\n", "unknown command '.tabels'; did you mean '.tables'?"),
        (".mode xml\n", ".mode must be one of table, csv, json, vertical, was 'xml'"),
        (".rows many\n", ".rows must be a number"),
        (".timing\n", "write .timing on|off, was '.timing'"),
        (".schema nope\n", "unknown table 'nope'"),
        (".functions ewm\n", "unknown function 'ewm'; did you mean 'ewma'"),
        (".read nope.sql\n", ".read: 'nope.sql' cannot be read"),
        (".register x nope.parquet\n", "no parquet file was found at 'nope.parquet'"),
        (".plot\n", "there was none yet"),
        ('.read "a\n', ".read: no closing quotation"),
        ("SELECT 'abc", "the string is not closed"),
    ],
)
def test_a_wrong_line_says_what_was_to_be_written(piped, text, says):
    code, _, err = piped(text)
    assert code == 1
    assert says in err and "Traceback" not in err


@pytest.mark.parametrize("text", ["", "\n-- nothing\n;;\n", ".quit\nSELECT nope;\n"])
def test_an_empty_script_is_no_error(piped, text):
    assert piped(text) == (0, "", "")


def test_files_are_read_and_registered(market, tmp_path):
    (tmp_path / "inner.sql").write_text("SELECT count(*) AS n FROM q;\n.quit\n")
    (tmp_path / "outer.sql").write_text(".timing off\n.mode csv\n.read inner.sql\n")
    text = f".register q {market}/quotes.parquet ts\n.tables\n.read outer.sql\nSELECT 1 AS never;"
    done = script(text, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    name, rows, order, *columns = done.stdout.splitlines()[1].split()
    assert (name, rows, order, columns[0]) == ("q", "900", "ts", "ts,")
    assert done.stdout.splitlines()[2:] == ["n", "900"]


def test_a_file_that_reads_itself_ends(tmp_path):
    (tmp_path / "a.sql").write_text(".read a.sql\n")
    done = script(".read a.sql", cwd=tmp_path)
    assert done.returncode == 1
    assert "more than 20 deep" in done.stderr


def test_help_schema_and_functions_tell(market, piped):
    text = ".help\n.schema TRADES\n.functions ewma\n.functions date_trunc\n.functions\n"
    code, out, err = piped(text, "--tables", market)
    assert (code, err) == (0, "")
    for words in (".plot [FILE]", "price    DOUBLE", "Roberts (1959)", "date_trunc(precision"):
        assert words in out
    assert "rolling_zscore(" in out


def test_output_takes_one_result(piped, tmp_path):
    code, out, err = piped(f".output {tmp_path}/out.csv\nSELECT 1 AS a;\nSELECT 2 AS b;\n")
    assert (tmp_path / "out.csv").read_text() == "a\n1\n"
    assert code == 0
    assert f"written to {tmp_path}/out.csv" in err and "│ 2 │" in out


def test_a_closed_pipe_is_no_error(market):
    statement = "SELECT * FROM trades;" * 40
    command = f"echo '{statement}' | {sys.executable} -m fin_sql shell --tables {market} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_script_with_code_130():
    command = [sys.executable, "-m", "fin_sql", "shell"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as child:
        child.stdin.write(f".mode csv\nSELECT 1 AS a;\n{LONG}")
        child.stdin.close()
        assert child.stdout.readline() == "a\n"
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
        assert "the query was cancelled" in child.stderr.read()
