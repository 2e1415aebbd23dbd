"""Compiles kernels against the contract as users do, and takes them out of the registry again."""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fin_sql
from fin_sql.registry import KERNELS

BUILD = """
from Cython.Build import cythonize
from setuptools import Extension, setup

module = Extension({name!r}, ["{name}.pyx"], extra_compile_args=["-ffp-contract=off"])
setup(ext_modules=cythonize([module], include_path=[{include!r}],
                            compiler_directives={{"language_level": 3, "cdivision": True}}))
"""


@pytest.fixture(scope="session")
def kernels_of(tmp_path_factory):
    """Compile a source once a session; gives the kernels that it defines, by name."""
    found = {}

    def compiled(name, source):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            (folder / f"{name}.pyx").write_text(source)
            include = str(Path(fin_sql.__file__).parents[1])
            (folder / "setup.py").write_text(BUILD.format(name=name, include=include))
            command = [sys.executable, "setup.py", "build_ext", "--inplace"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            path = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
            spec = importlib.util.spec_from_file_location(name, path)
            before = set(KERNELS)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
            found[name] = {own: KERNELS.pop(own) for own in set(KERNELS) - before}
        return found[name]

    return compiled


@pytest.fixture
def probe(kernels_of):
    own = kernels_of("probe", (Path(__file__).parent / "probe.pyx").read_text())
    KERNELS.update(own)
    yield own
    for name in own:
        del KERNELS[name]
