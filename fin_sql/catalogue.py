"""The catalogue of functions: every kernel, as the registry knows it."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from fin_sql.registry import BUILTINS, KERNELS
from fin_sql.spec import SQL_TYPES, Spec

ARGUMENT = pa.struct(
    [
        ("name", pa.string()),
        ("type", pa.string()),
        ("unit", pa.string()),
        ("constant", pa.bool_()),
        ("default", pa.string()),
        ("allowed", pa.string()),
    ]
)

CATALOGUE = pa.schema(
    [
        ("name", pa.string()),
        ("family", pa.string()),
        ("kind", pa.string()),
        ("signature", pa.string()),
        ("arguments", pa.list_(ARGUMENT)),
        ("output", pa.string()),
        ("summary", pa.string()),
        ("source", pa.string()),
        ("form_of", pa.string()),
        ("example", pa.string()),
    ]
)


def functions() -> pa.Table:
    """Every function: name, family, kind, arguments, output, summary, source and example.

    `form_of` names the kernel that a function is another form of: an aggregate, or other units.

    Shapes: one row a function, ordered by family and name; arguments are a list of structs with
    the type, unit and default of each.
    """
    rows = [
        {
            "name": spec.name,
            "family": family,
            "kind": kind,
            "signature": spec.signature(),
            "arguments": _arguments(spec),
            "output": spec.returns.sql(),
            "summary": spec.summary,
            "source": spec.source,
            "form_of": spec.form_of or None,
            "example": spec.example,
        }
        for family, kind, spec in entries()
    ]
    return pa.Table.from_pylist(rows, CATALOGUE)


def entries() -> Iterator[tuple[str, str, Spec]]:
    """Family, kind and Spec of each function, by family and name."""
    entries: list[tuple[str, str, Spec]] = [
        (kernel.family, kernel.spec.shape, kernel.spec) for kernel in KERNELS.values()
    ]
    entries += [(family, "built-in", spec) for family, spec in BUILTINS.values()]
    yield from sorted(entries, key=lambda entry: (entry[0], entry[2].name))


def _arguments(spec: Spec) -> list[dict[str, object]]:
    columns: list[dict[str, object]] = [
        {
            "name": a.name,
            "type": SQL_TYPES[a.type],
            "unit": a.unit,
            "constant": False,
            "default": None if a.required else str(a.default),
        }
        for a in spec.args
    ]
    constants: list[dict[str, object]] = [
        {
            "name": p.name,
            "type": SQL_TYPES[p.type],
            "unit": p.unit,
            "constant": True,
            "default": None if p.required else str(p.default).lower(),
            "allowed": p.allowed(),
        }
        for p in spec.params
    ]
    return columns + constants
