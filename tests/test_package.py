"""What a user gets: the wheel that comes of the sdist, in an environment that holds nothing else.

Setuptools once left the .pyx out of an sdist, and the wheel built from it was a silent
py3-none-any without a kernel: hence these look into both, and run what they install.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.package

ROOT = Path(__file__).parents[1]
MAPPED = ("udfs", "catalog")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHIPPED = (".py", ".pyx", ".pxd", ".pyi", ".typed")

USERS_KERNEL = '''
from libc.math cimport sqrt
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, cell, define_aggregate
from fin_sql.spec import Arg, Out, Spec


cdef struct RootMeanSquare:
    int64_t n
    double squares


cdef int take(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef RootMeanSquare* s = <RootMeanSquare*> state
    s.n += 1
    s.squares += x[0].f * x[0].f
    return EMIT


cdef int value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const RootMeanSquare* s = <const RootMeanSquare*> state
    if s.n == 0:
        return ABSENT
    out[0].f = sqrt(s.squares / <double> s.n)
    return EMIT


cdef int merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef RootMeanSquare* s = <RootMeanSquare*> state
    cdef const RootMeanSquare* o = <const RootMeanSquare*> other
    s.n += o.n
    s.squares += o.squares
    return EMIT


def by_definition(x):
    """The root of the mean of the squares."""
    return (sum(v * v for v in x) / len(x)) ** 0.5 if x else None


define_aggregate(Spec(
    name="root_mean_square",
    summary="Root of the mean square.",
    shape="aggregate",
    args=(Arg("x", unit="u"),),
    returns=Out(unit="u"),
    definition=by_definition,
    source="a user",
    example="SELECT root_mean_square(price) FROM trades",
), take, value, merge, sizeof(RootMeanSquare))
'''

USERS_QUERY = """
import pyarrow as pa
from datafusion import SessionContext

import fin_sql
import fin_sql.testing
import rms  # defines its kernel

ctx = fin_sql.register(SessionContext())
ctx.from_arrow(pa.table({"k": ["a", "b", "a", "b"], "x": [3.0, 1.0, 4.0, None]}), name="t")
found = ctx.sql("SELECT k, root_mean_square(x) AS y FROM t GROUP BY k ORDER BY k").to_pydict()
print(found)
print([row["family"] for row in fin_sql.functions().to_pylist() if row["kind"] == "aggregate"])
checks = list(fin_sql.testing.checks_for("root_mean_square"))
for check in checks:
    check()
print(len(checks) > 5)
"""


def run(*command, folder):
    """What a command prints, without a trace of our environment in its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def sources():
    """The files of the package: where they lie here, and where in an installation."""
    for room in ("fin_sql", *MAPPED):
        for path in (ROOT / room).rglob("*"):
            if path.suffix in SHIPPED or path.name == "py.typed":
                here = path.relative_to(ROOT).as_posix()
                yield here, here if room == "fin_sql" else f"fin_sql/{here}"


@pytest.fixture(scope="session")
def dist():
    """The sdist, and the wheel that is built from it, each in an environment of its own."""
    folder = ROOT / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), folder=ROOT)
    return folder


@pytest.fixture(scope="session")
def wheel(dist):
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """The bin folder of an environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=True)
    run(str(folder / "bin" / "pip"), "install", "-q", str(wheel), folder=folder)
    return folder / "bin"


def test_the_sdist_holds_every_source(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {here for here, _ in sources()} | {
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert wanted <= names, wanted - names
    assert [name for name in names if name.endswith((".c", ".so"))] == []


def test_the_wheel_holds_every_kernel_and_nothing_else(wheel):
    assert not wheel.stem.endswith("none-any")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {there for _, there in sources()} <= set(names)
    compiled = {name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    assert compiled == {there[:-4] for _, there in sources() if there.endswith(".pyx")}
    assert {"fin_sql/abi.pxd", "fin_sql/py.typed"} <= set(names)
    top = {name.partition("/")[0] for name in names}
    assert top == {"fin_sql", f"fin_sql-{wheel.name.split('-')[1]}.dist-info"}


def test_the_readme_runs_from_another_folder(installed, tmp_path):
    found = BLOCK.findall((ROOT / "README.md").read_text())
    code = "".join(text for kind, text in found if kind == "python")
    assert code, "README.md has no Python block"
    (tmp_path / "readme.py").write_text(code)
    out = run(str(installed / "python"), "-W", "error", "readme.py", folder=tmp_path)
    pairs = zip(found, found[1:], strict=False)
    printed = [
        text for (kind, _), (next_kind, text) in pairs if (kind, next_kind) == ("python", "text")
    ]
    assert out.split() == "".join(printed).split()


def test_the_command_and_the_module_run(installed, tmp_path):
    out = run(str(installed / "fin-sql"), "demo", "--rows", "1000", folder=tmp_path)
    assert "1,000 rows in " in out
    module = (str(installed / "python"), "-W", "error", "-m", "fin_sql", "functions", "rsi")
    assert "rsi(x, period = 14)" in run(*module, folder=tmp_path)


def test_no_other_name_is_taken(installed, tmp_path):
    code = f"from importlib.util import find_spec; print([find_spec(n) for n in {MAPPED}])"
    assert run(str(installed / "python"), "-c", code, folder=tmp_path) == "[None, None]\n"


def test_users_write_kernels_against_the_wheel(installed, tmp_path):
    run(str(installed / "pip"), "install", "-q", "Cython>=3.1,<3.4", "setuptools", folder=tmp_path)
    (tmp_path / "rms.pyx").write_text(USERS_KERNEL)
    run(str(installed / "cythonize"), "-3", "-i", "rms.pyx", folder=tmp_path)
    (tmp_path / "query.py").write_text(USERS_QUERY)
    out = run(str(installed / "python"), "query.py", folder=tmp_path)
    assert out.splitlines()[0] == str({"k": ["a", "b"], "y": [12.5**0.5, 1.0]})
    assert "'rms'" in out.splitlines()[1]
    assert out.splitlines()[2] == "True"
