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

import numpy as np
import pyarrow as pa
import pytest
from query_tables import (
    CASES, FILES, REAL, ROOT, SIMULATED, by_symbol, header, in_chunks, is_there, result, run, tables,
)  # fmt: skip

from fin_sql.cli.text import csv_header, csv_lines
from fin_sql.sql.parse import read_query
from fin_sql.sql.syntax import Query
from fin_sql.sql.text import Text
from fin_sql.testing.compare import assert_same_bits

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
    for threads, seed in ((2, 1), (1, 2), (2, 3)):
        found = run(
            name, tables(market), threads=threads, change=functools.partial(in_chunks, seed=seed)
        )
        same(found, result(name, market), f"{name}, {threads} threads, cut by seed {seed}")


@every_case
def test_order_of_the_files_leaves_the_rows_alone(name, market):
    needs(market)
    found = run(name, tables(market), threads=2, change=by_symbol)
    same(sorted_rows(found), sorted_rows(result(name, market)), f"{name} of rows by symbol")


@pytest.mark.parametrize(
    ("name", "market"),
    [
        (name, market)
        for name, market in CASES
        if header(name).mode == "continuous" and market in SIMULATED
        and (name != "realized_variance" or market == "week")  # of whole days
    ],
)
def test_continuous_queries_do_not_look_ahead(name, market):
    """What is known at a time stays as it was when more comes; that time ends windows, too."""
    cut = pa.scalar(np.datetime64(MOMENTS[market], "ns"))
    early = {
        table: rows.filter(pa.compute.less(rows["ts"], cut)) for table, rows in tables(market).items()
    }
    found, wanted = run(name, early), result(name, market)
    time = "ts" if "ts" in wanted.column_names else "day"
    moment = cut.cast(wanted.schema.field(time).type)
    wanted = wanted.filter(pa.compute.less(wanted[time], moment))
    assert 0 < wanted.num_rows
    same(sorted_rows(found), sorted_rows(wanted), f"{name} until {MOMENTS[market]}")


MOMENTS = {"crypto": "2026-01-05T14:38:00", "rough": "2026-01-05T14:33:00", "week": "2026-03-09T04:00:00"}


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


@every_query
def test_continuous_queries_could_run_for_ever(name):
    text = Text(FILES[name].read_text())
    ends = [
        part
        for part in parts_of(read_query(text, 0, len(text.tokens) - 1))
        if isinstance(part, Query) and (part.order_by or part.limit or part.offset)
    ]
    assert header(name).mode == "batch" or not ends


@every_query
def test_every_column_has_values(name):
    markets = [market for n, market in CASES if n == name and market in SIMULATED]
    for column in result(name, markets[0]).column_names:
        found = [result(name, market)[column] for market in markets]
        assert any(c.null_count < len(c) for c in found), f"{name}: {column} is always NULL"


def test_the_page_lists_every_query():
    page = (ROOT / "queries" / "README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\.sql\]\(\1\.sql\) \| (.+) \| (.+) \| (\w+) \|$", page, re.M)
    wanted = [(n, h.title, h.mode) for n in FILES for h in [header(n)]]
    assert [(name, title, mode) for name, title, _, mode in rows] == wanted
    for name in FILES:
        assert f"fin-sql sql --tables market -f queries/{name}.sql" in page
