"""A function in words, from what the registry knows of it."""

from __future__ import annotations

import inspect

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
    if spec.definition is not None and spec.definition.__doc__:
        lines += [f"Formula: {inspect.cleandoc(spec.definition.__doc__)}", ""]
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
    lines += [f"Source: {spec.source}.", "", "```sql", spec.example, "```", ""]
    return lines


def _default(part: Arg | Param) -> str:
    if part.required:
        return ""
    return "`NULL`" if part.default is None else f"`{str(part.default).lower()}`"
