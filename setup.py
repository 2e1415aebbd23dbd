"""Finds the Cython modules and links build/mirror; everything else is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
MAPPED = ("udfs", "catalog")  # top-level folders that are installed as fin_sql.<name>
CHECKED = os.environ.get("FIN_SQL_CHECKED") == "1"  # make checked
BUILT = os.environ.get("FIN_SQL_BUILT") == "1"  # make: the modules lie in place, only install
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def link_mirror() -> Path:
    """Lay the rooms out under their dotted names: Cython and mypy look for them on disk."""
    mirror = ROOT / "build" / "mirror"
    package = mirror / "fin_sql"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in (ROOT / "fin_sql").iterdir()}
    wanted.pop("__pycache__", None)
    wanted |= {name: ROOT / name for name in MAPPED}
    for entry in package.iterdir():
        if entry.is_symlink() and entry.resolve() != wanted.get(entry.name):
            entry.unlink()
    for name, path in wanted.items():
        if not (package / name).exists():
            (package / name).symlink_to(path)
    return mirror


def extensions() -> list[Extension]:
    flags, link = (["-O1", "-g", *SANITIZERS], SANITIZERS) if CHECKED else (["-O3"], [])
    found = []
    for room, package in (("fin_sql", "fin_sql"), *((m, f"fin_sql.{m}") for m in MAPPED)):
        for path in sorted((ROOT / room).rglob("*.pyx")):
            inner = path.relative_to(ROOT / room).with_suffix("").parts
            found.append(
                Extension(
                    ".".join((package, *inner)),
                    [str(path.relative_to(ROOT))],
                    # The same bits on every machine of an architecture: no contraction of a*b+c.
                    extra_compile_args=[*flags, "-ffp-contract=off"],
                    extra_link_args=link,
                )
            )
    return found


mirror = link_mirror()
setup(
    ext_modules=cythonize(
        [] if BUILT else extensions(),
        include_path=[str(mirror)],
        build_dir=str(ROOT / "build" / ("cython-checked" if CHECKED else "cython")),
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            # Bounds stay checked: hot loops read pointers, which it does not touch, and the
            # definitions beside them are plain Python, which must keep its meaning.
            "cdivision": True,
            "freethreading_compatible": True,
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
