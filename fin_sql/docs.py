"""docs/functions.md, printed from the registry."""

from __future__ import annotations

import sys
from pathlib import Path

from fin_sql.catalogue import entries
from fin_sql.spec import SQL_TYPES, Arg, Param, Spec

TITLES = {
    "online_stats": "Online statistics",
    "fx": "FX",
    "cross_asset": "Cross-asset",
}


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
        "own": "as the notes say",
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
            f"| {a.name} | {SQL_TYPES[a.type]} | {a.unit} | {a.domain} | {_default(a)} |"
            for a in spec.args
        ]
        for p in spec.params:
            about = f"{p.allowed()}{'; ' + p.summary if p.summary else ''}"
            name, default = f"{p.name} (constant)", _default(p)
            lines.append(f"| {name} | {SQL_TYPES[p.type]} | {p.unit} | {about} | {default} |")
        lines.append("")
    if kind != "built-in":
        lines += [f"Missing values: {missing}.", ""]
    if spec.notes:
        lines += [spec.notes, ""]
    if spec.bound:
        lines += [f"State: {spec.bound}.", ""]
    lines += ["```sql", spec.example, "```", "", f"Source: {spec.source}.", ""]
    return lines


def _default(part: Arg | Param) -> str:
    if part.required:
        return ""
    return "`NULL`" if part.default is None else f"`{str(part.default).lower()}`"


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
    for name, kind, spec in entries():
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
    raise SystemExit(main(sys.argv[1:]))
