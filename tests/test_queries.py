"""Every file of queries/: it is documented, it runs, and its rows are the same to the bit.

A golden result, tests/golden/queries/NAME.csv, has for each market how many rows there are, a
digest of all their bits, and some of them to look at. They are no proof that the rows are right:
tests/oracle/queries has that.
"""

import dataclasses
import functools
import hashlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from query_tables import (
    CASES,
    FILES,
    REAL,
    ROOT,
    SIMULATED,
    by_symbol,
    header,
    in_chunks,
    is_there,
    result,
    run,
    tables,
)

from fin_sql.catalog.text import csv_header, csv_lines
from fin_sql.sql.parse import read_query
from fin_sql.sql.syntax import Query
from fin_sql.sql.text import Text
from fin_sql.testing.compare import assert_same_bits

PAGE = (ROOT / "queries" / "README.md").read_text()
GOLDEN = ROOT / "tests" / "golden" / "queries"
COMPLETE = "python -m pytest tests/test_queries.py --complete"
SHOWN = {name: 6 for name in SIMULATED} | {name: 3 for name in REAL}  # rows of a golden result
LARGEST = 40_000  # bytes of one

every_query = pytest.mark.parametrize("name", FILES)
every_case = pytest.mark.parametrize(("name", "market"), CASES)


def needs(market):
    if not is_there(market):
        pytest.skip(f"the data of market '{market}' is not here; FIN_SQL_DATA names its folder")


# ---------------------------------------------------------------- golden results


def bits(array):
    """What there is and what it is, as bytes."""
    there = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(array.type):
        return there.tobytes() + "\0".join(array.fill_null("").to_pylist()).encode()
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
    return there.tobytes() + array.fill_null(0).to_numpy(zero_copy_only=False).tobytes()


def digest(table):
    """The digest of the names, types and bits of a table, whatever its batches."""
    found = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        found.update(f"{field.name} {field.type}\0".encode())
        found.update(bits(column.combine_chunks()))
    return found.hexdigest()[:32]


def section(name, market):
    """The golden result of a query over one market: a line that begins with #, and rows."""
    table = result(name, market)
    places = np.unique(np.linspace(0, table.num_rows - 1, SHOWN[market]).round().astype(int))
    rows = table.take(pa.array(places)).combine_chunks()
    out = io.BytesIO(f"# {market}: {table.num_rows} rows, {digest(table)}\n".encode())
    out.seek(0, io.SEEK_END)
    out.write(csv_header(table.schema))
    for batch in rows.to_batches():
        out.write(csv_lines(batch))
    return out.getvalue().decode()


def sections(name):
    """The golden result of a query by market, as it is in its file."""
    path = GOLDEN / f"{name}.csv"
    parts = re.split(r"^(?=# )", path.read_text() if path.exists() else "", flags=re.MULTILINE)
    return {part[2 : part.index(":")]: part for part in parts if part}


@pytest.fixture(scope="module")
def write(request):
    """Whether golden results are written anew."""
    return request.config.getoption("--complete")


@every_case
def test_golden(name, market, write):
    needs(market)
    found, golden = section(name, market), sections(name)
    if write:
        golden[market] = found
        markets = [m for n, m in CASES if n == name]
        text = "".join(golden[m] for m in markets if m in golden)
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / f"{name}.csv").write_text(text)
        golden = sections(name)
    assert market in golden, f"queries/{name}.sql is new on market '{market}': {COMPLETE}"
    assert found == golden[market], f"if the change is meant: {COMPLETE}, and read the difference"


def test_a_query_without_a_golden_result_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "GOLDEN", tmp_path / "golden")
    with pytest.raises(AssertionError, match=re.escape(f"is new on market 'crypto': {COMPLETE}")):
        test_golden("latest", "crypto", write=False)
    test_golden("latest", "crypto", write=True)
    test_golden("latest", "crypto", write=False)
    with pytest.raises(AssertionError, match="is new on market 'week'"):
        test_golden("latest", "week", write=False)
    path = tmp_path / "golden" / "latest.csv"
    path.write_text(path.read_text().replace("4 rows, ", "4 rows, 0"))
    with pytest.raises(AssertionError, match="if the change is meant"):
        test_golden("latest", "crypto", write=False)


def test_golden_results_belong_to_queries_and_are_small():
    files = {path.stem: path for path in GOLDEN.iterdir()}
    assert files.keys() == FILES.keys()
    for name, path in files.items():
        assert path.stat().st_size < LARGEST, name
        assert sections(name).keys() <= {market for n, market in CASES if n == name}, name


# ---------------------------------------------------------------- the same bits


def same(found, wanted, what):
    assert found.schema == wanted.schema, what
    for name in wanted.column_names:
        columns = (table[name].combine_chunks() for table in (found, wanted))
        assert_same_bits(*columns, f"{what}: column '{name}'")


def sorted_rows(table):
    return table.sort_by([(name, "ascending") for name in table.column_names])


@every_case
def test_batches_and_threads_leave_the_rows_alone(name, market):
    needs(market)
    for threads, seed in ((2, 1), (1, 2)):
        found = run(
            name, tables(market), threads=threads, change=functools.partial(in_chunks, seed=seed)
        )
        same(found, result(name, market), f"{name}, {threads} threads, cut by seed {seed}")


@every_case
def test_order_of_the_files_leaves_the_rows_alone(name, market):
    needs(market)
    found = run(name, tables(market), threads=2, change=by_symbol)
    same(sorted_rows(found), sorted_rows(result(name, market)), f"{name} of rows by symbol")


# Ends of minutes, and of a day of New York.
MOMENTS = {
    "crypto": "2026-01-05T14:38:00",
    "rough": "2026-01-05T14:33:00",
    "week": "2026-03-09T04:00:00",
}
CONTINUOUS = [
    (name, market)
    for name, market in CASES
    if header(name).mode == "continuous" and market in MOMENTS
    if name != "realized_variance" or market == "week"  # the others end before their day
]


@pytest.mark.parametrize(("name", "market"), CONTINUOUS)
def test_continuous_queries_do_not_look_ahead(name, market):
    """What is known at a time stays as it was when more comes."""
    check_until(name, market, MOMENTS[market])


def test_a_query_that_looks_ahead_is_seen():
    with pytest.raises(AssertionError, match="markout_1s"):
        check_until("markouts", "crypto", MOMENTS["crypto"])


def check_until(name, market, moment):
    cut = pa.scalar(np.datetime64(moment, "ns"))
    early = {table: rows.filter(pc.less(rows["ts"], cut)) for table, rows in tables(market).items()}
    wanted = result(name, market)
    time = "ts" if "ts" in wanted.column_names else "day"
    wanted = wanted.filter(pc.less(wanted[time], cut.cast(wanted.schema.field(time).type)))
    assert 0 < wanted.num_rows < result(name, market).num_rows
    same(sorted_rows(run(name, early)), sorted_rows(wanted), f"{name} until {moment}")


# ---------------------------------------------------------------- files


@every_query
def test_a_header_says_what_the_query_is(name):
    found = header(name)
    text = FILES[name].read_text()
    assert text.startswith(f"-- {found.title}\n--\n-- "), "a title, an empty line, what it answers"
    assert found.answers
    assert found.tables, "-- tables: trades (ts, symbol, price), ..."
    assert found.mode in ("batch", "continuous")
    assert max(map(len, text.split("\n"))) <= 110
    assert text.count("\n") <= 90, "short enough to be read"
    words = {token.text for token in Text(text).tokens}
    for table, columns in found.tables.items():
        assert {table, *columns} <= words, f"{table} has columns that the query does not name"


def parts_of(node):
    """A syntax tree, node by node."""
    if dataclasses.is_dataclass(node):
        yield node
        node = [getattr(node, field.name) for field in dataclasses.fields(node)]
    if isinstance(node, (tuple, list)):
        for part in node:
            yield from parts_of(part)


def ends(name):
    """The queries of a file, at any depth, that wait for the end: to sort, or to count rows."""
    text = Text(FILES[name].read_text())
    parts = parts_of(read_query(text, 0, len(text.tokens) - 1))
    queries = (part for part in parts if isinstance(part, Query))
    return [query for query in queries if query.order_by or query.limit or query.offset]


def test_continuous_queries_could_run_for_ever():
    waiting = {name for name in FILES if ends(name)}
    assert {"latest", "resample_grid", "lead_lag"} <= waiting
    assert {header(name).mode for name in waiting} == {"batch"}


@every_query
def test_every_column_has_values(name):
    markets = [market for n, market in CASES if n == name and market in SIMULATED]
    for column in result(name, markets[0]).column_names:
        found = [result(name, market)[column] for market in markets]
        assert any(c.null_count < len(c) for c in found), f"{name}: {column} is always NULL"


def test_the_page_lists_every_query():
    row = r"^\| \[(\w+)\.sql\]\(\1\.sql\) \| (.+) \| .+ \| (\w+) \|$"
    rows = re.findall(row, PAGE, re.MULTILINE)
    assert rows == [(name, header(name).title, header(name).mode) for name in FILES]
    files = {path.name for path in (ROOT / "queries").iterdir() if path.suffix in (".sql", ".py")}
    assert {name for name in files if f"[{name}]({name})" in PAGE} == files


def test_the_commands_of_the_page_run(tmp_path, monkeypatch, capfd):
    """In one process; a table of each file of the folder is given by name."""
    from fin_sql import cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "queries").symlink_to(ROOT / "queries")
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    commands = re.split(r"^(?=fin-sql |python )", blocks.replace("\\\n", " "), flags=re.MULTILINE)
    run_files = []
    for command in filter(str.strip, commands):
        words = shlex.split(command)
        if words[0] == "python":
            continue  # tests/oracle/queries has it
        assert words[0] == "fin-sql"
        if words[1] == "demo":
            words += ["--rows", "3000"]
        if "--tables" in words:
            place = words.index("--tables")
            made = sorted(Path(words[place + 1]).glob("*.parquet"))
            words[place : place + 2] = [w for path in made for w in ("-t", f"{path.stem}={path}")]
        with pytest.raises(SystemExit) as stopped:
            cli.main(words[1:])
        assert stopped.value.code in (0, None), (words, capfd.readouterr().err)
        run_files += [word for word in words if word.endswith(".sql")]
    assert {*run_files} == {f"queries/{name}.sql" for name in FILES}


def test_every_query_has_an_oracle():
    files = (ROOT / "tests" / "oracle" / "queries").glob("test_*.py")
    text = "\n".join(path.read_text() for path in files)
    assert {*re.findall(r'^@markets\("(\w+)"\)$', text, re.MULTILINE)} == FILES.keys()
