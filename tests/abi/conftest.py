"""Compiles the probe kernels against the contract as users do, and takes them out again."""

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

module = Extension("probe", ["probe.pyx"], extra_compile_args=["-ffp-contract=off"])
setup(ext_modules=cythonize([module], include_path=[{include!r}],
                            compiler_directives={{"language_level": 3, "cdivision": True}}))
"""


@pytest.fixture(scope="session")
def built_probe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.pyx").write_text((Path(__file__).parent / "probe.pyx").read_text())
    include = str(Path(fin_sql.__file__).parents[1])
    (folder / "setup.py").write_text(BUILD.format(include=include))
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / f"probe{sysconfig.get_config_var('EXT_SUFFIX')}"


@pytest.fixture(scope="module")
def probe(built_probe):
    before = set(KERNELS)
    spec = importlib.util.spec_from_file_location("probe", built_probe)
    module = importlib.util.module_from_spec(spec)
    if "probe" in sys.modules:
        KERNELS.update(sys.modules["probe"].kernels)
    else:
        spec.loader.exec_module(module)
        module.kernels = {name: KERNELS[name] for name in set(KERNELS) - before}
        sys.modules["probe"] = module
    yield module.kernels
    for name in set(KERNELS) - before:
        del KERNELS[name]
