"""COPY of any query writes what the query gives, and nothing else happens."""

import os
import resource
import stat
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.catalog import staging
from fin_sql.testing import Market

ROWS = 3_000
W = "(PARTITION BY symbol ORDER BY ts, seq)"
JOIN = "trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"


@pytest.fixture(scope="module")
def market():
    market = Market(seed=3)
    return {"trades": market.trades(ROWS), "quotes": market.quotes(ROWS)}


@pytest.fixture
def ctx(market):
    ctx = fin_sql.connect(threads=2)
    for name, table in market.items():
        ctx.register(name, table)
    return ctx


QUERIES = [
    "SELECT * FROM trades",
    "SELECT price * 2, symbol AS s, price + 2 FROM trades WHERE price > 100",
    "SELECT * FROM trades ORDER BY symbol",
    "SELECT * FROM trades LIMIT 7 OFFSET 100",
    f"SELECT ts, symbol, ewma(price, 0.1) OVER {W} AS e FROM trades",
    f"SELECT t.ts, t.symbol, q.bid, midprice(q.bid, q.ask) AS mid FROM {JOIN}",
    f"WITH j AS (SELECT t.ts, t.symbol, t.seq, q.bid FROM {JOIN}) "
    f"SELECT symbol, seq, ewma(bid, 0.5) OVER {W} AS e FROM j",
    "SELECT symbol, window_start, ohlc(price, ts) AS bar, count(*) AS n FROM trades "
    "GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE) ORDER BY symbol, window_start",
    "SELECT symbol, vwap(price, size) AS v FROM trades GROUP BY symbol ORDER BY symbol",
    "SELECT symbol, count(*), min(price) FROM trades GROUP BY symbol ORDER BY symbol",
    "SELECT symbol, count(*) AS n FROM trades GROUP BY symbol HAVING count(*) > 1 ORDER BY n DESC",
    "SELECT DISTINCT symbol FROM trades ORDER BY symbol",
    "SELECT price FROM trades UNION ALL SELECT bid FROM quotes",
    "SELECT seq FROM trades WHERE symbol IN (SELECT symbol FROM quotes) AND price > 5",
    "SELECT t.seq, u.bid FROM trades t JOIN (SELECT symbol, max(bid) AS bid FROM quotes GROUP BY "
    "symbol) u USING (symbol)",
    "VALUES (1, 'a'), (2, NULL)",
    "SELECT 1 AS one, 'x' AS x",
    "SELECT sum(size) OVER (PARTITION BY symbol ORDER BY ts ROWS 5 PRECEDING) AS s FROM trades",
    "SELECT rank() OVER (ORDER BY seq) AS r, seq FROM trades ORDER BY r",
]


@pytest.mark.parametrize("query", QUERIES)
def test_what_is_copied_is_what_the_query_gives(ctx, tmp_path, query):
    path = tmp_path / "t.parquet"
    wanted = ctx.sql(query).to_arrow()
    found = ctx.sql(f"COPY ({query}) TO '{path}'").to_arrow()
    assert found["count"].to_pylist() == [wanted.num_rows]
    read = pq.read_table(path)
    assert read.schema.types == wanted.schema.types
    assert read.column_names == wanted.column_names
    if " OVER " in query or "ASOF" in query or "TUMBLE" in query:
        assert read.equals(wanted)
    else:  # DataFusion gives its rows in no order
        assert sorted(map(repr, read.to_pylist())) == sorted(map(repr, wanted.to_pylist()))
    ctx.sql(f"CREATE TABLE made AS {query}")
    made = ctx.table("made").source._table
    assert made.schema.equals(read.schema)
    if "GROUP BY" not in query:
        assert made.equals(read)


def test_rows_are_saved_in_the_order_of_the_table(tmp_path):
    rows = 400_000
    table = pa.table({"n": np.arange(rows), "k": np.arange(rows) % 7})
    ctx = fin_sql.connect(threads=4)
    ctx.register("t", table)
    for k in range(4):
        pq.write_table(table.slice(k * 100_000, 100_000), tmp_path / f"in-{k}.parquet")
    for source in ("t", f"'{tmp_path}/in-*.parquet'"):
        ctx.sql(f"COPY (SELECT n, k FROM {source} WHERE k <> 3) TO '{tmp_path}/out.parquet'")
        found = pq.read_table(tmp_path / "out.parquet")
        assert found.equals(table.filter(pc.not_equal(table["k"], 3)))
    ctx.sql("CREATE TABLE made AS SELECT n FROM t WHERE k = 1")
    found = ctx.table("made").source._table["n"].to_numpy()
    assert (np.diff(found) == 7).all()


def test_a_table_a_file_and_a_view_are_copied(ctx, market, tmp_path):
    ctx.sql(f"COPY trades TO '{tmp_path}/a.parquet'")
    ctx.sql(f"COPY '{tmp_path}/a.parquet' TO '{tmp_path}/b.arrow'")
    ctx.sql("CREATE VIEW cheap AS SELECT seq FROM trades WHERE price < 100")
    ctx.sql(f"COPY cheap TO '{tmp_path}/c.csv'")
    assert pq.read_table(tmp_path / "a.parquet").equals(market["trades"])
    assert pa.ipc.open_file(tmp_path / "b.arrow").read_all().equals(market["trades"])
    cheap = ctx.sql("SELECT seq FROM cheap").to_arrow()["seq"].to_pylist()
    assert [int(n) for n in (tmp_path / "c.csv").read_text().split()[1:]] == cheap


def test_explain_says_where_to_and_analyze_does_it(ctx, tmp_path):
    path = tmp_path / "t.parquet"
    copy = f"COPY (SELECT ewma(price, 0.1) OVER {W} AS e FROM trades) TO '{path}'"
    plan = ctx.sql(f"EXPLAIN {copy}").to_arrow()["plan"].to_pylist()
    assert plan[0] == f"Copy to '{path}' as parquet (zstd)" and "KernelWindow" in plan[2]
    assert not path.exists()
    analyzed = ctx.sql(f"EXPLAIN ANALYZE {copy}")
    assert path.exists()
    plan = analyzed.to_arrow()["plan"].to_pylist()
    assert f"[{ROWS:,} rows, " in plan[0]
    path.unlink()
    assert analyzed.to_arrow()["plan"].to_pylist() == plan
    assert not path.exists()


# ---------------------------------------------------------------- once, how far, and stopped


def test_a_prepared_statement_runs_once_when_it_is_asked(ctx, tmp_path):
    path = tmp_path / "t.parquet"
    query = ctx.prepare(f"COPY trades TO '{path}'")
    assert query.schema.names == ["count"] and not path.exists()
    told = []
    assert [b.to_pydict() for b in query.stream(progress=told.append)] == [{"count": [ROWS]}]
    assert sum(told) == ROWS
    path.unlink()
    assert query.to_arrow()["count"].to_pylist() == [ROWS]
    assert not path.exists()
    with pytest.raises(fin_sql.SqlError, match="runs once"):
        query.explain(analyze=True)


def test_a_cancelled_copy_leaves_nothing(ctx, tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"old")
    query = ctx.prepare(f"COPY (SELECT ewma(price, 0.1) OVER {W} AS e FROM trades) TO '{path}'")
    query.cancel()
    with pytest.raises(fin_sql.CancelledError):
        query.to_arrow()
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["t.parquet"]


def test_a_copy_is_cancelled_while_it_writes(tmp_path):
    ctx = fin_sql.connect(threads=1)
    ctx.register("t", pa.table({"x": np.random.default_rng(0).random(3_000_000)}))
    window = "ewma(x, 0.1) OVER (ORDER BY n) AS e FROM (SELECT x, 1 AS n FROM t) a"
    query = ctx.prepare(f"COPY (SELECT x, {window}) TO '{tmp_path}/t.csv'")
    started = threading.Event()

    def stop():
        started.wait(30)
        query.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(fin_sql.CancelledError):
        for _ in query.stream(progress=lambda rows: started.set()):
            pass
    thread.join()
    assert os.listdir(tmp_path) == []


INTERRUPTED = """
import sys, signal, threading, os, fin_sql, numpy as np, pyarrow as pa
ctx = fin_sql.connect(threads=2)
ctx.register("t", pa.table({"x": np.random.default_rng(0).random(5_000_000)}))
query = ctx.prepare(f"COPY (SELECT x, x * 2 AS y FROM t) TO '{sys.argv[1]}'")
begun = []
def told(rows):
    if not begun:
        begun.append(threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)))
        begun[0].start()
try:
    for _ in query.stream(progress=told):
        print("done")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_copy_is_interrupted_by_the_keyboard(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "t.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- what fails leaves what was there


def late(rows=200_000):
    """A table whose last row is out of order, and divides by zero."""
    ts = np.arange(rows)
    ts[-1] = 0
    price = np.ones(rows)
    price[-1] = -1.0
    whole = np.ones(rows, np.int64)
    whole[-1] = 0
    return pa.table(
        {"ts": ts, "price": price, "whole": whole, "k": [f"k{i % 5}" for i in range(rows)]}
    )


FAILS = [
    ("SELECT ewma(price, 0.1) OVER (ORDER BY ts) AS e, k FROM t", fin_sql.OrderError),
    ("SELECT volume_bars(price, 5.0) OVER (ORDER BY n) AS e, k FROM (SELECT *, 1 AS n FROM t) x",
     fin_sql.KernelError),
    ("SELECT 1 / whole AS e, k FROM t", fin_sql.SqlError),
]  # fmt: skip


@pytest.mark.parametrize(("query", "error"), FAILS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("format", ["parquet", "csv", "json", "arrow"])
def test_an_error_in_a_late_row_leaves_a_file_as_it_was(tmp_path, query, error, threads, format):
    ctx = fin_sql.connect(threads=threads)
    ctx.register("t", late(), order_by="ts" if error is fin_sql.OrderError else None)
    path = tmp_path / f"t.{format}"
    for _ in range(2):
        with pytest.raises(error):
            ctx.sql(f"COPY ({query}) TO '{path}'")
        with pytest.raises(error):
            getattr(ctx.sql(query), f"write_{format}")(path)
        assert [p.read_bytes() for p in tmp_path.iterdir()] in ([], [b"old"])
        path.write_bytes(b"old")


@pytest.mark.parametrize(("query", "error"), FAILS)
def test_an_error_in_a_late_row_leaves_a_folder_as_it_was(tmp_path, query, error):
    ctx = fin_sql.connect(threads=2)
    ctx.register("t", late(), order_by="ts" if error is fin_sql.OrderError else None)
    rest = "STORED AS PARQUET PARTITIONED BY (k) OPTIONS (overwrite true)"
    copy = f"COPY ({{}}) TO '{tmp_path}/p' {rest}"
    with pytest.raises(error):
        ctx.sql(copy.format(query))
    assert os.listdir(tmp_path) == []
    ctx.sql(copy.format("SELECT 1 AS n, 'old' AS k"))
    with pytest.raises(error):
        ctx.sql(copy.format(query))
    assert os.listdir(tmp_path) == ["p"]
    assert ctx.sql(f"SELECT * FROM '{tmp_path}/p'").to_arrow().to_pylist() == [{"n": 1, "k": "old"}]


def test_a_query_may_read_the_file_that_it_is_copied_to(ctx, tmp_path):
    path = tmp_path / "t.parquet"
    ctx.sql(f"COPY trades TO '{path}' OPTIONS (row_group_size 100)")
    ctx.register_parquet("own", str(path))
    trades = ctx.table("trades").source._table
    before = trades.filter(pc.greater(trades["price"], 100))["seq"].to_pylist()
    ctx.sql(
        f"COPY (SELECT *, ewma(price, 0.1) OVER {W} AS e FROM own WHERE price > 100) TO '{path}'"
    )
    assert pq.read_table(path)["seq"].to_pylist() == before
    # The table that is registered is the new file.
    assert ctx.table("own").schema.names[-1] == "e"
    assert ctx.sql("SELECT count(e) AS n FROM own").to_arrow()["n"].to_pylist() == [len(before)]
    ctx.sql(f"COPY own TO '{path}'")
    assert pq.read_table(path)["seq"].to_pylist() == before


def test_a_folder_may_be_read_and_replaced_by_one_statement(ctx, tmp_path):
    to = f"TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (symbol) OPTIONS (overwrite true)"
    ctx.sql(f"COPY trades {to}")
    ctx.register_parquet("p", str(tmp_path / "p"))
    ctx.sql(f"COPY (SELECT * FROM p WHERE symbol <> 'BTC-USD') {to}")
    left = ctx.sql("SELECT DISTINCT symbol FROM p").to_arrow()["symbol"].to_pylist()
    assert left and "BTC-USD" not in left
    assert os.listdir(tmp_path) == ["p"] and not (tmp_path / "p" / "symbol=BTC-USD").exists()


def test_a_query_of_before_is_told_that_its_file_has_changed(ctx, tmp_path):
    path = tmp_path / "t.parquet"
    ctx.sql(f"COPY trades TO '{path}'")
    query = ctx.sql(f"SELECT ewma(price, 0.1) OVER {W} AS e FROM '{path}'")
    assert query.to_arrow().num_rows == ROWS
    ctx.sql(f"COPY (SELECT * FROM trades LIMIT 9) TO '{path}'")
    with pytest.raises(fin_sql.SourceError, match="have changed since the statement was planned"):
        query.to_arrow()


def test_a_table_whose_order_is_gone_from_its_file_is_told(ctx, tmp_path):
    path = tmp_path / "t.parquet"
    ctx.sql(f"COPY trades TO '{path}'")
    ctx.register_parquet("own", str(path), order_by="ts")
    with pytest.raises(fin_sql.SqlError, match="table 'own': the order .* names"):
        ctx.sql(f"COPY (SELECT price FROM own) TO '{path}'")
    assert pq.read_schema(path).names == ["price"] and "own" not in ctx.tables()


# ---------------------------------------------------------------- where it cannot be written


def test_places_that_cannot_be_written_are_told(ctx, tmp_path, monkeypatch):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe.csv")
    for target, says in (
        ("nope/t.csv'", "there is no folder .*nope'; make it first"),
        ("folder.csv'", "is a folder: name a file in it"),
        ("pipe.csv'", "is no plain file"),
        ("file' STORED AS CSV PARTITIONED BY (symbol)", "is a file, and a folder is to be written"),
        ("file/t.csv'", "there is no folder"),
        (f"{'x' * 300}.csv'", "file name too long"),
    ):
        with pytest.raises(fin_sql.SourceError, match=says):
            ctx.sql(f"COPY trades TO '{tmp_path}/{target}")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.csv", "pipe.csv"]


@pytest.mark.skipif(not os.path.isdir("/sys"), reason="a folder that root may not write either")
def test_a_folder_without_rights_is_told(ctx):
    with pytest.raises(fin_sql.SourceError, match="permission denied|read-only|not permitted"):
        ctx.sql("COPY trades TO '/sys/t.csv'")


FULL = """
import resource, sys, fin_sql, numpy as np, pyarrow as pa
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
ctx = fin_sql.connect(home=sys.argv[2] if len(sys.argv) > 2 else None)
ctx.register("t", pa.table({"x": np.random.default_rng(0).random(400_000), "k": ["a"] * 400_000}))
try:
    ctx.sql(sys.argv[1])
except fin_sql.SourceError as error:
    print(error)
"""


def full(*arguments):
    """What a statement says that may write no file of more than 100 kB."""
    command = [sys.executable, "-c", FULL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("format", ["parquet", "csv", "json", "arrow"])
def test_no_more_room_is_told_and_nothing_half_is_left(tmp_path, format):
    assert resource.RLIMIT_FSIZE is not None
    path = tmp_path / f"t.{format}"
    path.write_text("old")
    said = full(f"COPY t TO '{path}'")
    assert (
        said == f"'{path}' cannot be written: file too large; what was there before is unchanged\n"
    )
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]
    said = full(f"COPY t TO '{tmp_path}/p' STORED AS {format} PARTITIONED BY (k)")
    assert "file too large" in said and os.listdir(tmp_path) == [path.name]


def test_no_more_room_in_a_home(tmp_path):
    home = tmp_path / "home"
    with fin_sql.connect(home=home) as ctx:
        ctx.sql("CREATE TABLE old AS SELECT 1.5 AS x, 'k' AS k")
    for statement in ("CREATE TABLE new AS SELECT * FROM t", "INSERT INTO old SELECT * FROM t",
                      "CREATE OR REPLACE TABLE old AS SELECT * FROM t"):  # fmt: skip
        assert "file too large" in full(statement, home)
    with fin_sql.connect(home=home) as ctx:
        assert ctx.tables() == ["old"]
        assert ctx.sql("SELECT x FROM old").to_arrow()["x"].to_pylist() == [1.5]
    assert os.listdir(home / "tables") == ["old"] and len(os.listdir(home / "tables" / "old")) == 2


# ---------------------------------------------------------------- folders that exist


def partitioned(path, rest=""):
    return f"COPY (SELECT 1 AS n, 'a' AS k) TO '{path}' STORED AS CSV PARTITIONED BY (k) {rest}"


def test_a_folder_that_is_not_empty_is_replaced_only_when_asked(tmp_path):
    ctx = fin_sql.connect()
    path = tmp_path / "p"
    path.mkdir()
    ctx.sql(partitioned(path))
    with pytest.raises(fin_sql.SourceError, match="not empty: name a new one, or use OPTIONS"):
        ctx.sql(partitioned(path))
    (path / "k=b").mkdir()
    (path / "k=b" / "part-0.parquet").write_text("old")
    inode = path.stat().st_ino
    ctx.sql(partitioned(path, "OPTIONS (overwrite true)"))
    assert sorted(os.listdir(path)) == ["_common_metadata", "k=a"]
    assert path.stat().st_ino != inode and os.listdir(tmp_path) == ["p"]


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path):
    ctx = fin_sql.connect()
    path = tmp_path / "p"
    ctx.sql(partitioned(path))
    for name in ("k=a/thesis.tex", ".env", "_notes"):
        (path / name).write_text("years of work")
        with pytest.raises(fin_sql.SourceError, match=f"holds '{name}', which is no data file"):
            ctx.sql(partitioned(path, "OPTIONS (overwrite true)"))
        assert (path / name).read_text() == "years of work"
        (path / name).unlink()
    for name in ("_SUCCESS", "k=a/.part-0.csv.crc"):  # of other writers
        (path / name).write_text("")
    ctx.sql(partitioned(path, "OPTIONS (overwrite true)"))


def test_where_folders_cannot_be_swapped_overwrite_is_refused_first(tmp_path, monkeypatch):
    ctx = fin_sql.connect()
    path = tmp_path / "p"
    ctx.sql(partitioned(path, "OPTIONS (overwrite true)"))
    monkeypatch.setattr(staging.ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(fin_sql.SourceError, match="cannot be overwritten in one step"):
        ctx.sql(partitioned(path, "OPTIONS (overwrite true)"))
    assert os.listdir(tmp_path) == ["p"] and (path / "k=a").exists()
    ctx.sql(partitioned(tmp_path / "new", "OPTIONS (overwrite true)"))


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path):
    ctx = fin_sql.connect()
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "t.csv"
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "t.csv").symlink_to(real)
    ctx.sql(f"COPY (SELECT 1 AS a) TO '{tmp_path}/t.csv'")
    assert (tmp_path / "t.csv").is_symlink() and real.read_text() == "a\n1\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.listdir(tmp_path / "real") == ["t.csv"]


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    ctx = fin_sql.connect()
    path = tmp_path / "t.csv"
    path.write_text("old" * 10)
    with path.open() as file:
        ctx.sql(f"COPY (SELECT 1 AS a) TO '{path}'")
        assert file.read() == "old" * 10


# ---------------------------------------------------------------- what killed statements leave


def test_what_is_left_is_no_data_and_goes_with_the_next_statement(ctx, tmp_path):
    ctx.sql(f"COPY trades TO '{tmp_path}/t.parquet'")
    left = tmp_path / ".t.parquet.0123abcd.part"
    left.write_text("half")
    folder = tmp_path / ".p.0123abcd.part" / "symbol=A"
    folder.mkdir(parents=True)
    (folder / "part-0.parquet").write_text("half")
    others = [tmp_path / ".other.parquet.0123abcd.part", tmp_path / ".t.parquet.old"]
    for other in others:
        other.write_text("not of this target")
    for path in (tmp_path, tmp_path / "*.parquet", tmp_path / "**" / "*"):
        if path.name == "*":
            path = path.parent / "*.parquet"
        assert ctx.sql(f"SELECT count(*) AS n FROM '{path}'").to_arrow()["n"].to_pylist() == [ROWS]
    ctx.sql(f"COPY trades TO '{tmp_path}/t.parquet'")
    assert not left.exists() and folder.exists() and all(other.exists() for other in others)
    ctx.sql(f"COPY trades TO '{tmp_path}/p' STORED AS PARQUET PARTITIONED BY (symbol)")
    assert not folder.exists()


def test_what_another_statement_writes_is_left_alone(ctx, tmp_path):
    path = str(tmp_path / "t.csv")
    with staging.staged(path, folder=False, overwrite=None) as other:
        other.place.write_text("a\n2\n")
        ctx.sql(f"COPY (SELECT 1 AS a) TO '{path}'")
        assert (tmp_path / "t.csv").read_text() == "a\n1\n"
        other.publish()
    assert (tmp_path / "t.csv").read_text() == "a\n2\n" and os.listdir(tmp_path) == ["t.csv"]


def test_a_long_name_has_room_for_what_is_added(ctx, tmp_path):
    name = "x" * 240 + ".csv"
    left = tmp_path / f".{staging.hashlib.sha256(name.encode()).hexdigest()}.01234567.part"
    left.write_text("half")
    ctx.sql(f"COPY (SELECT 1 AS a) TO '{tmp_path}/{name}'")
    assert os.listdir(tmp_path) == [name]
