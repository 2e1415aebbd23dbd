"""Whatever is killed at whatever moment: the old state or the new one, whole."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from copy import copy
from itertools import count
from pathlib import Path

import loops
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

KINDS = ["file", "text", "folder", "replace", "insert", "drop"]


@pytest.fixture(scope="module")
def nursery():
    command = [sys.executable, str(Path(loops.__file__))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@pytest.fixture
def folder(tmp_path):
    """In memory where there is such a place: a flush to the disk takes long."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place) as made:
        yield Path(made)


def lines(folder):
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def started(nursery, *words):
    """The id of a new process."""
    nursery.stdin.write(" ".join(map(str, words)) + "\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


def killed_after(nursery, kind, folder, seconds):
    """Let a process work for some time, and kill it."""
    before = len(lines(folder))
    pid = started(nursery, kind, folder)
    limit = time.monotonic() + 60
    while len(lines(folder)) == before:  # it is at work
        assert time.monotonic() < limit
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    assert int(nursery.stdout.readline()) == -signal.SIGKILL


def version_of(table, rows):
    """The version that all rows of a whole table have."""
    assert sorted(table["n"].to_pylist()) == list(range(rows))
    (version,) = table["version"].unique().to_pylist()
    return version


def found_in(kind, folder, rows):
    """The version that a reader finds, or those of each insert; None where there is nothing."""
    if kind in ("file", "text"):
        path = folder / ("t.parquet" if kind == "file" else "t.csv")
        read = pq.read_table if kind == "file" else pa_csv.read_csv
        return version_of(read(path), rows) if path.exists() else None
    if kind == "folder":
        path = folder / "p"
        if not path.exists():
            return None
        assert len(list(path.rglob("*.parquet"))) == loops.KEYS
        return version_of(ds.dataset(path, partitioning="hive").to_table(), rows)
    with loops.session(kind, folder) as ctx:  # it opens again, each time
        assert not ctx.kept.damaged
        if "t" not in ctx.tables():
            return None
        source = ctx.table("t").source
        table = pa.Table.from_batches(list(source.scan(source.schema.names)), source.schema)
    if kind != "insert":
        return version_of(table, rows)
    return [version_of(table.slice(at, rows), rows) for at in range(0, table.num_rows, rows)]


def leftovers(folder):
    """Files of statements that were killed."""
    found = [path for path in folder.rglob("*") if path.name.startswith(".")]
    for manifest in folder.rglob("manifest.json"):
        named = manifest.read_text()
        found += [path for path in manifest.parent.glob("part-*") if path.name not in named]
    return found


def after(kind, state, version):
    """The state that a statement makes of another one."""
    if kind == "insert":
        return [*state, version]
    return None if kind == "drop" and version % 2 == 0 else version


class States:
    """What may be found: the old state or the new one.

    Args:
        kind: of the statements.
        folder: that they save in.
        rows: of each statement.
    """

    def __init__(self, kind, folder, rows):
        self.kind, self.folder, self.rows = kind, folder, rows
        self.state = [] if kind == "insert" else None
        self.seen = 0

    def look(self):
        """Compare with what is there; whether a statement was under way."""
        noted = [line.split() for line in lines(self.folder)[self.seen :]]
        self.seen += len(noted)
        for word, version in noted:
            if word == "end":
                self.state = after(self.kind, self.state, int(version))
        allowed = [self.state]
        broken_off = bool(noted) and noted[-1][0] == "begin"
        if broken_off:
            allowed.append(after(self.kind, self.state, int(noted[-1][1])))
        found = found_in(self.kind, self.folder, self.rows)
        assert found in allowed
        self.state = found
        return broken_off


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_killed_leaves_the_old_or_the_new_whole(nursery, folder, kind):
    rng = random.Random(f"kill {kind}")
    states, within = States(kind, folder, loops.ROWS), 0
    for _ in range(6):
        killed_after(nursery, kind, folder, rng.uniform(0, 0.08))
        within += states.look()
    assert within >= 3  # most of them
    with loops.session(kind, folder) as ctx:
        ctx.sql(loops.statement(kind, folder, 1_000_001))
    assert leftovers(folder) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_killed_at_each_step_leaves_the_old_or_the_new_whole(nursery, folder, kind, first):
    """Each flush, rename and removal, of the first statement or of one that finds another state."""
    old = States(kind, folder / "old", loops.FEW)
    old.folder.mkdir()
    if not first:
        started(nursery, kind, old.folder, 0)
        assert int(nursery.stdout.readline()) == 0
        old.look()
    for step in count(1):
        states = copy(old)
        states.folder = place = folder / str(step)
        shutil.copytree(old.folder, place)
        started(nursery, kind, place, step)
        ended = int(nursery.stdout.readline())
        states.look()
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        started(nursery, kind, place, 0)  # and the next statement is at home again
        assert int(nursery.stdout.readline()) == 0
        states.look()
        assert leftovers(place) == []
    assert step > 3
