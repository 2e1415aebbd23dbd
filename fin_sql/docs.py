"""The catalogue of functions, as a table and as a page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from fin_sql.registry import BUILTINS, KERNELS
from fin_sql.spec import SQL_TYPES, Spec

TITLES = {
    "online_stats": "Online statistics",
    "fx": "FX",
    "cross_asset": "Cross-asset",
}

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
        ("example", pa.string()),
    ]
)


def functions() -> pa.Table:
    """Every function: name, family, kind, arguments, output, summary, source and example.

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
            "example": spec.example,
        }
        for family, kind, spec in _all()
    ]
    return pa.Table.from_pylist(rows, CATALOGUE)


def _all() -> Iterator[tuple[str, str, Spec]]:
    entries: list[tuple[str, str, Spec]] = [
        (kernel.family, kernel.spec.shape, kernel.spec) for kernel in KERNELS.values()
    ]
    entries += [(family, "built-in", spec) for family, spec in BUILTINS.values()]
    yield from sorted(entries, key=lambda entry: (entry[0], entry[2].name))


def _arguments(spec: Spec) -> list[dict[str, object]]:
    columns: list[dict[str, object]] = [
        {"name": a.name, "type": SQL_TYPES[a.type], "unit": a.unit, "constant": False}
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


def title(family: str) -> str:
    """A family's name in words."""
    return TITLES.get(family, family.replace("_", " ").capitalize())


def describe(spec: Spec, kind: str) -> list[str]:
    """A function as lines of Markdown."""
    missing = {
        "skip": "a missing argument gives NULL and leaves the state untouched"
        if spec.shape == "window"
        else "rows with a missing argument are skipped",
        "row": "a missing argument takes its place in the window",
        "propagate": "NULL gives NULL; NaN and infinities propagate",
        "reject": "a missing argument is an error",
    }[spec.nulls]
    lines = [
        f"### {spec.name}",
        "",
        f"`{spec.signature()}` · {kind} · returns {spec.returns.sql()}",
        "",
        spec.summary,
        "",
    ]
    if spec.args:
        lines += ["| argument | type | unit | allowed | default |", "|---|---|---|---|---|"]
        lines += [
            f"| {a.name} | {SQL_TYPES[a.type]} | {a.unit} | {a.domain} | |" for a in spec.args
        ]
        for p in spec.params:
            default = "" if p.required else f"`{str(p.default).lower()}`"
            about = f"{p.allowed()}{'; ' + p.summary if p.summary else ''}"
            lines.append(
                f"| {p.name} (constant) | {SQL_TYPES[p.type]} | {p.unit} | {about} | {default} |"
            )
        lines.append("")
    if kind != "built-in":
        lines += [f"Missing values: {missing}.", ""]
    if spec.notes:
        lines += [spec.notes, ""]
    if spec.bound:
        lines += [f"State: {spec.bound}.", ""]
    lines += ["```sql", spec.example, "```", "", f"Source: {spec.source}.", ""]
    return lines


def page() -> str:
    """docs/functions.md."""
    lines = [
        "# Functions",
        "",
        "Printed from the registry by `python -m fin_sql.docs docs/functions.md`; do not edit.",
        "Units are products of letters; what is scaled with `p` in, comes out scaled as the unit",
        "of the output says. Constants must not change within a call.",
        "",
    ]
    family = ""
    for name, kind, spec in _all():
        if name != family:
            family = name
            lines += [f"## {title(family)}", ""]
        lines += describe(spec, kind)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    """Print the page into a file; with --check only compare it."""
    check = "--check" in arguments
    target = Path(next(a for a in arguments if not a.startswith("-")))
    if check and target.read_text() != page():
        sys.stderr.write(f"{target} is stale; run: python -m fin_sql.docs {target}\n")
        return 1
    if not check:
        target.write_text(page())
    return 0


if __name__ == "__main__":
    import fin_sql  # noqa: F401  fills the registry

    raise SystemExit(main(sys.argv[1:]))
