"""Statements that save, in processes that are there to be killed.

Reads lines `kind folder`: forks a process that saves again and again until it is killed; or lines
`kind folder step`: forks one that saves once, and kills itself before that step of the system. The
packages are imported once. Each statement is noted in `folder/log` before and after it.
"""

import os
import signal
import sys
from pathlib import Path

import datafusion  # noqa: F401  before the processes are forked

import fin_sql
import fin_sql.catalog.staging as staging
import fin_sql.context
import fin_sql.udfs  # noqa: F401

ROWS, FEW = 20_000, 700
KEYS = 3
STATEMENTS = {
    "file": "COPY ({select}) TO '{folder}/t.parquet' OPTIONS (row_group_size 3000)",
    "text": "COPY ({select}) TO '{folder}/t.csv'",
    "folder": "COPY ({select}) TO '{folder}/p' STORED AS PARQUET PARTITIONED BY (k) "
    "OPTIONS (overwrite true)",
    "replace": "CREATE OR REPLACE TABLE t AS {select}",
    "insert": "INSERT INTO t {select}",
    "drop": "DROP TABLE IF EXISTS t",
}
STEPS = ("fsync", "replace", "rename", "link", "unlink", "rmdir", "mkdir")


def select(version, rows):
    """A query whose rows all have a version."""
    return (
        f"SELECT value AS n, CAST({version} AS BIGINT) AS version, "
        f"'k' || CAST(value % {KEYS} AS VARCHAR) AS k, sin(value) AS x "
        f"FROM generate_series(0, {rows - 1})"
    )


def statement(kind, folder, version, rows=ROWS):
    """A statement of a kind; every second one of `drop` makes the table."""
    if kind == "drop" and version % 2:
        kind = "replace"
    return STATEMENTS[kind].format(select=select(version, rows), folder=folder)


def session(kind, folder):
    """A session, with a home for the kinds that need one."""
    home = folder / "home" if kind in ("replace", "insert", "drop") else None
    ctx = fin_sql.connect(threads=2, home=home)
    if kind == "insert":
        ctx.sql(f"CREATE TABLE IF NOT EXISTS t AS {select(0, 1)} LIMIT 0")
    return ctx


def save(kind, folder, *, rows, ever):
    """Save once, or until the end comes from outside."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    noted = (folder / "log").read_text().splitlines()
    version = max((int(line.split()[1]) for line in noted), default=0)
    ctx = session(kind, folder)
    while True:
        version += 1
        os.write(log, f"begin {version}\n".encode())
        ctx.sql(statement(kind, folder, version, rows))
        os.write(log, f"end {version}\n".encode())
        if not ever:
            ctx.close()
            os._exit(0)


def arm(step):
    """Let this process die before a step, counted from 1."""
    left = [step]

    def armed(call):
        def counted(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted

    for name in STEPS:
        setattr(os, name, armed(getattr(os, name)))
    staging.exchange = armed(staging.exchange)


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        kind, folder, *step = line.split()
        pid = os.fork()
        if pid == 0:
            arm(int(step[0]) if step else 0)
            save(kind, Path(folder), rows=FEW if step else ROWS, ever=not step)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
