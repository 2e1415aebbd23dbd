"""What a home keeps, who may open it, and what it does not believe."""

import gc
import json
import os
import re
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql import kept
from fin_sql.testing import Market

W = "(PARTITION BY symbol ORDER BY ts, seq)"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def opened(home, statement=None):
    """What a new session finds."""
    with fin_sql.connect(home=home) as ctx:
        if statement:
            return ctx.sql(statement).to_arrow()
        return {name: ctx.table(name).schema.names for name in ctx.tables()}


def rows(table):
    return table.to_pydict()


def files(home, name):
    return sorted(p for p in os.listdir(home / "tables" / name) if p != "manifest.json")


def test_tables_are_there_when_the_home_is_opened_again(home):
    trades = Market(seed=8).trades(2_000)
    query = f"SELECT ts, symbol, seq, price, ewma(price, 0.1) OVER {W} AS e FROM trades"
    with fin_sql.connect(home=home) as ctx:
        ctx.register("trades", trades)
        wanted = ctx.sql(query).to_arrow()
        ctx.sql(f"CREATE TABLE features AS {query}")
        ctx.sql("INSERT INTO features SELECT * FROM features LIMIT 10")
        ctx.sql("CREATE TABLE empty (a BIGINT)")
    assert opened(home) == {"empty": ["a"], "features": wanted.column_names}
    with fin_sql.connect(home=home) as ctx:
        found = ctx.sql("SELECT * FROM features").to_arrow()
        source = ctx.table("features").source
        batches = [b.cast(source.schema) for b in source.scan(source.schema.names)]
        found = pa.Table.from_batches(batches)
        assert found.equals(pa.concat_tables([wanted, wanted.slice(0, 10)]))
        assert ctx.sql("SELECT * FROM empty").to_arrow().num_rows == 0
        names = {row["table_name"] for row in ctx.sql("SHOW TABLES").to_arrow().to_pylist()}
        assert {"features", "empty"} <= names
    manifest = json.loads((home / "tables" / "features" / "manifest.json").read_text())
    assert [part["rows"] for part in manifest["parts"]] == [2_000, 10]
    assert files(home, "features") == sorted(part["file"] for part in manifest["parts"])


def test_every_type_that_parquet_has_is_kept(home):
    table = pa.table(
        {
            "ns": pa.array([1, None], pa.timestamp("ns", "America/New_York")),
            "d": pa.array(["1.25", None]).cast(pa.decimal128(18, 8)),
            "code": pa.array(["a", None]).dictionary_encode(),
            "list": pa.array([[1.5], None]),
            "struct": pa.array([{"a": 1}, None]),
            "nan": pa.array([float("nan"), -0.0]),
        }
    )
    with fin_sql.connect(home=home) as ctx:
        ctx.register("given", table)
        ctx.sql("CREATE TABLE t AS SELECT * FROM given")
        ctx.sql("INSERT INTO t SELECT * FROM given")
        assert ctx.table("t").schema.equals(table.schema)
    found = opened(home, "SELECT * FROM t")
    assert found.schema.types == table.schema.types
    assert repr(found.to_pylist()) == repr(table.to_pylist() * 2)


def test_a_session_without_a_home_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fin_sql.connect() as ctx:
        ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    assert os.listdir(tmp_path) == []


def test_a_closed_session_says_so(home):
    ctx = fin_sql.connect(home=home)
    ctx.close()
    ctx.close()
    with pytest.raises(fin_sql.StateError, match="the session is closed"):
        ctx.sql("SELECT 1")


# ---------------------------------------------------------------- one session at a time


OPEN = """
import sys, fin_sql
ctx = fin_sql.connect(home=sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_home_belongs_to_one_process(home):
    command = [sys.executable, "-c", OPEN, str(home)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(fin_sql.StateError, match=f"in use by process {other.pid}: close"):
            fin_sql.connect(home=home)
        other.kill()
        other.wait()
        assert opened(home) == {}  # the lock goes with its process


def test_a_home_belongs_to_one_session(home):
    with fin_sql.connect(home=home):
        with pytest.raises(fin_sql.StateError, match="in use by this process"):
            fin_sql.connect(home=home)
    assert opened(home) == {}
    ctx = fin_sql.connect(home=home)
    del ctx
    gc.collect()
    assert opened(home) == {}


def test_what_was_prepared_does_not_write_to_a_home_that_was_given_back(home):
    ctx = fin_sql.connect(home=home)
    ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
    prepared = [
        ctx.prepare(statement)
        for statement in (
            "INSERT INTO t VALUES (2)",
            "CREATE OR REPLACE TABLE t AS SELECT 2 AS a",
            "CREATE TABLE u AS SELECT 2 AS a",
            "DROP TABLE t",
        )
    ]
    ctx.close()
    before = sorted(home.rglob("*"))
    for query in prepared:
        with pytest.raises(fin_sql.StateError, match="was closed: open it again"):
            query.to_arrow()
    assert sorted(home.rglob("*")) == before
    assert rows(opened(home, "SELECT * FROM t")) == {"a": [1]}


FORKED = """
import os, sys, fin_sql
ctx = fin_sql.connect(home=sys.argv[1], threads=1)
insert = ctx.prepare("CREATE TABLE t AS SELECT 1 AS a")
pid = os.fork()
if pid == 0:
    try:
        insert.save()
    except fin_sql.StateError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(ctx.kept.writable, ctx.tables())
"""


def test_a_copy_of_the_process_does_not_write(home):
    command = [sys.executable, "-c", FORKED, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said, state = done.stdout.splitlines()
    assert "of which this one is a copy: it can read there, and not write" in said
    assert state == "True []"


# ---------------------------------------------------------------- what is no home


def test_what_is_no_home_is_left_alone(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name, says in (
        ("other", "is no home: it has no file 'format', and is not empty"),
        ("file", "is no folder"),
        ("nope/home", "there is no folder .*nope' for home"),
    ):
        with pytest.raises(fin_sql.StateError, match=says):
            fin_sql.connect(home=tmp_path / name)
    assert os.listdir(tmp_path / "other") == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    assert opened(tmp_path / "empty") == {}


def test_a_home_of_a_newer_version_is_refused(home):
    opened(home, "CREATE TABLE t AS SELECT 1 AS a")
    assert (home / "format").read_text() == "fin_sql home 1\n"
    (home / "format").write_text("fin_sql home 2\n")
    with pytest.raises(fin_sql.StateVersionError, match="has format 2, and this fin_sql knows 1"):
        fin_sql.connect(home=home)
    (home / "format").write_text("PostgreSQL 17\n")
    with pytest.raises(fin_sql.StateError, match="its file 'format' says 'PostgreSQL 17'"):
        fin_sql.connect(home=home)
    (home / "format").write_text("fin_sql home 1\n")
    assert opened(home) == {"t": ["a"]}


# ---------------------------------------------------------------- damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path):
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


def emptied(path):
    path.write_bytes(b"")


def overwritten(path):
    path.write_bytes(b"x" * path.stat().st_size)


def listed(path):
    path.write_text("[1]")


DAMAGES = [
    (os.unlink, "manifest.json", "it has no manifest.json"),
    (cut, "manifest.json", "its manifest.json cannot be read"),
    (flipped, "manifest.json", "its manifest.json cannot be read"),
    (emptied, "manifest.json", "its manifest.json cannot be read"),
    (listed, "manifest.json", "its manifest.json cannot be read"),
    (os.unlink, "part-*.parquet", "No such file"),
    (cut, "part-*.parquet", "bytes, and the manifest says"),
    (overwritten, "part-*.parquet", "cannot be read"),
]


@pytest.mark.parametrize(("damage", "file", "says"), DAMAGES)
def test_a_damaged_table_is_refused_by_name_and_left_alone(home, damage, file, says):
    with fin_sql.connect(home=home) as ctx:
        for name in ("good", "bad"):
            ctx.sql(f"CREATE TABLE {name} AS SELECT 1 AS a")
            ctx.sql(f"INSERT INTO {name} VALUES (2)")
    damage(next((home / "tables" / "bad").glob(file)))
    before = {p.name: p.read_bytes() for p in (home / "tables" / "bad").iterdir()}
    with fin_sql.connect(home=home) as ctx:
        assert ctx.tables() == ["good"]
        for statement in (
            "SELECT * FROM bad",
            "SELECT diff(a) OVER (ORDER BY a) FROM bad",
            "SELECT g.a FROM good g JOIN bad b ON g.a = b.a",
            "INSERT INTO bad VALUES (3)",
            "CREATE OR REPLACE TABLE bad AS SELECT 3 AS a",
            f"COPY bad TO '{home}/../x.csv'",
            "CREATE TABLE bad AS SELECT 3 AS a",
            "DESCRIBE bad",
        ):
            with pytest.raises(fin_sql.StateCorruptError) as caught:
                ctx.sql(statement)
            assert says in str(caught.value) and "table 'bad' of home" in str(caught.value)
            assert "DROP TABLE bad" in str(caught.value)
        ctx.sql("INSERT INTO good VALUES (3)")
        assert ctx.sql("SELECT sum(a) AS s FROM good").to_arrow()["s"].to_pylist() == [6]
        with pytest.raises(fin_sql.SqlError, match="No field named nope"):
            ctx.sql("SELECT nope FROM good")
    assert {p.name: p.read_bytes() for p in (home / "tables" / "bad").iterdir()} == before
    with fin_sql.connect(home=home) as ctx:
        ctx.sql("DROP TABLE bad")
        ctx.sql("CREATE TABLE bad AS SELECT 4 AS a")
    assert rows(opened(home, "SELECT * FROM bad")) == {"a": [4]}


def test_a_manifest_of_a_newer_version_is_refused(home):
    opened(home, "CREATE TABLE t AS SELECT 1 AS a")
    path = home / "tables" / "t" / "manifest.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"format": 2}))
    with pytest.raises(fin_sql.StateCorruptError, match="has format 2, a newer one"):
        opened(home, "SELECT * FROM t")


def test_a_manifest_never_leads_out_of_its_folder(home, tmp_path):
    opened(home, "CREATE TABLE t AS SELECT 1 AS a")
    path = home / "tables" / "t" / "manifest.json"
    held = json.loads(path.read_text())
    held.pop("digest")
    held["parts"][0]["file"] = "../../../elsewhere.parquet"
    pq.write_table(pa.table({"a": [5]}), tmp_path / "elsewhere.parquet")
    held["parts"][0]["bytes"] = (tmp_path / "elsewhere.parquet").stat().st_size
    path.write_text(json.dumps(held | {"digest": kept._digest(held)}))
    with pytest.raises(fin_sql.StateCorruptError, match="a file that is none of a table"):
        opened(home, "SELECT * FROM t")


# ---------------------------------------------------------------- what is left over


def test_files_that_no_manifest_names_go_when_the_home_is_opened(home):
    opened(home, "CREATE TABLE t AS SELECT 1 AS a")
    tables = home / "tables"
    named = files(home, "t")
    (tables / "t" / "part-0123456789abcdef.parquet").write_text("half")
    (tables / "t" / ".manifest.json.01234567.part").write_text("half")
    (tables / "t" / "notes.txt").write_text("somebody's")
    (tables / ".new-0123456789abcdef").mkdir()
    (tables / ".gone-0123456789abcdef").mkdir()
    (home / ".format.01234567.part").write_text("half")
    assert opened(home) == {"t": ["a"]}
    assert files(home, "t") == sorted([*named, "notes.txt"])
    assert os.listdir(tables) == ["t"] and ".format.01234567.part" not in os.listdir(home)


def test_old_files_go_with_the_statement_unless_a_query_reads_them(home):
    with fin_sql.connect(home=home) as ctx:
        ctx.sql("CREATE TABLE t AS SELECT 1 AS a")
        reader = ctx.sql("SELECT a FROM t")
        ctx.sql("CREATE OR REPLACE TABLE t AS SELECT 2 AS a")
        assert len(files(home, "t")) == 2
        assert rows(reader.to_arrow()) == {"a": [1]}
        del reader
        gc.collect()
        ctx.sql("CREATE OR REPLACE TABLE t AS SELECT 3 AS a")
        assert len(files(home, "t")) == 1
        with pytest.raises(fin_sql.SqlError, match="Divide by zero"):
            ctx.sql("INSERT INTO t SELECT 1 / (a - a) FROM t")
        with pytest.raises(fin_sql.SqlError, match="Divide by zero"):
            ctx.sql("CREATE TABLE u AS SELECT 1 / (a - a) FROM t")
        assert len(files(home, "t")) == 1 and os.listdir(home / "tables") == ["t"]
        gc.collect()  # an error holds on to the frames that it came through
        ctx.sql("DROP TABLE t")
        assert os.listdir(home / "tables") == []


def test_small_files_become_one(home, monkeypatch):
    monkeypatch.setattr(kept, "FEW", 4)
    monkeypatch.setattr(kept, "SMALL", 100)
    with fin_sql.connect(home=home) as ctx:
        ctx.sql("CREATE TABLE t AS SELECT value AS n FROM generate_series(0, 149)")
        many = []
        for k in range(150, 170):
            assert ctx.sql(f"INSERT INTO t VALUES ({k})").to_arrow()["count"].to_pylist() == [1]
            many.append(len(files(home, "t")))
        assert max(many) == 5 and many[:5] == [2, 3, 4, 5, 2]
        manifest = json.loads((home / "tables" / "t" / "manifest.json").read_text())
        assert manifest["parts"][0]["rows"] == 150  # which is not written again
    assert opened(home, "SELECT n FROM t ORDER BY n")["n"].to_pylist() == list(range(170))


def test_sessions_tables_stand_beside_those_that_are_kept(home):
    with fin_sql.connect(home=home) as ctx:
        ctx.register("mine", pa.table({"a": [1]}))
        ctx.sql("CREATE TABLE t AS SELECT * FROM mine")
        ctx.sql("INSERT INTO mine VALUES (2)")
        for call in (lambda: ctx.register("T", pa.table({"a": [1]})), lambda: ctx.deregister("t")):
            with pytest.raises(fin_sql.SqlError, match="is kept in the home: DROP TABLE it"):
                call()
        # A table of the session gives way to one that is kept.
        ctx.sql("CREATE OR REPLACE TABLE mine AS SELECT 7 AS a")
    assert opened(home) == {"mine": ["a"], "t": ["a"]}
    assert rows(opened(home, "SELECT * FROM mine")) == {"a": [7]}


def test_statements_of_several_threads_are_all_there(home):
    with fin_sql.connect(home=home) as ctx:
        ctx.sql("CREATE TABLE t AS SELECT -1 AS n")

        def insert(first):
            for k in range(10):
                ctx.sql("INSERT INTO t VALUES ($1)", [first + k])

        threads = [threading.Thread(target=insert, args=(100 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = opened(home, "SELECT n FROM t ORDER BY n")["n"].to_pylist()
    assert found == [-1, *(100 * t + k for t in range(4) for k in range(10))]


def test_a_name_that_is_too_long_is_told(home):
    with fin_sql.connect(home=home) as ctx:
        with pytest.raises(fin_sql.SqlError, match="at most 200 bytes"):
            ctx.sql(f"CREATE TABLE {'x' * 250} AS SELECT 1 AS a")


def test_the_command_line_keeps_tables(home, capsys):
    from fin_sql import cli

    for statement in ("CREATE TABLE t AS SELECT 1 AS a", "INSERT INTO t VALUES (2)",
                      "SELECT sum(a) AS s FROM t"):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            cli.main(["sql", statement, "--home", str(home), "--format", "csv", "--no-timing"])
        assert not stopped.value.code
    assert capsys.readouterr().out == "count\n1\ncount\n1\ns\n3\n"
    assert re.fullmatch(r"\d+\n", (home / "lock").read_text())
