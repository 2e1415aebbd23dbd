"""Stubs say what the compiled modules offer: the same names, members and parameters."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Kernels have no stubs: nobody calls them by name.
COMPILED = sorted([*(ROOT / "fin_sql").rglob("*.pyx"), *(ROOT / "catalog").glob("*.pyx")])
CONSTANT = re.compile(r"^([A-Za-z]\w*) = ", re.MULTILINE)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return import_module(".".join(parts if parts[0] == "fin_sql" else ("fin_sql", *parts)))


def offered(module, source):
    """The public names that a module makes itself."""
    own = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    return own | {name: getattr(module, name) for name in CONSTANT.findall(source)}


def declared(body):
    """The public names of a stub, and the node of each."""
    found = {}
    for node in body:
        if isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
    return {name: node for name, node in found.items() if not name.startswith("_")}


def parameters(node):
    every = node.args
    return [a.arg for a in (*every.posonlyargs, *every.args, *every.kwonlyargs)]


def agree(value, node):
    """Compare the parameters; of a property there are none."""
    if isinstance(node, ast.FunctionDef) and callable(value):
        found = inspect.signature(value).parameters.values()
        named = [p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        assert [name for name in parameters(node) if name != "cls"] == named, node.name


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_stub_and_module_agree(path):
    source = path.read_text()
    stub = declared(ast.parse(path.with_suffix(".pyi").read_text()).body)
    module = offered(module_of(path), source)
    assert set(stub) == set(module)
    for name, node in stub.items():
        agree(module[name], node)
        if isinstance(node, ast.ClassDef):
            members = {n: v for n, v in vars(module[name]).items() if not n.startswith("_")}
            own = declared(node.body)
            # What a plain class has only in its instances, its source sets on self.
            unset = {n for n in set(own) - set(members) if f"self.{n} = " not in source}
            assert not unset and set(members) <= set(own), (name, unset, set(members) - set(own))
            for member, value in members.items():
                agree(getattr(value, "__func__", value), own[member])
