"""docs/functions.md and docs/kernels: pages printed from the registry, with the examples run."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from fin_sql.catalogue import entries
from fin_sql.connection import connect
from fin_sql.context import Context
from fin_sql.docs import describe, title
from fin_sql.spec import Spec
from fin_sql.testing.checks import first_value_row
from fin_sql.testing.market import Market

SHOWN = 3  # rows of an example
NOTE = "Printed from the registry by `make docs`; do not edit."


def pages() -> dict[str, str]:
    """Each page by its path below docs."""
    ctx = connect()
    market = Market(seed=1)
    ctx.register("trades", market.trades(2_000))
    ctx.register("quotes", market.quotes(2_000))
    families = {
        family: list(members) for family, members in itertools.groupby(entries(), lambda e: e[0])
    }
    found = {"functions.md": _index(families)}
    for family, members in families.items():
        lines = [
            f"# {title(family)}",
            "",
            NOTE,
            "Units are products of letters: what is scaled with `p` in comes out scaled as the",
            "unit of the output says. Constants must not change within a call. The examples run",
            "over `Market(seed=1)` of `fin_sql.testing`, 2 000 `trades` and 2 000 `quotes`; the",
            "last rows with a value are shown, to six digits.",
            "",
        ]
        for _, kind, spec in members:
            lines += [*describe(spec, kind), *_output(spec, ctx), *_warm_up(spec)]
        found[f"kernels/{family}.md"] = "\n".join(lines).rstrip() + "\n"
    return found


def _index(families: dict[str, list[tuple[str, str, Spec]]]) -> str:
    lines = ["# Functions", "", NOTE, ""]
    for family, members in families.items():
        lines += [f"## [{title(family)}](kernels/{family}.md)", ""]
        lines += [
            "| function | kind | |",
            "|---|---|---|",
            *(f"| `{spec.signature()}` | {kind} | {spec.summary} |" for _, kind, spec in members),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _warm_up(spec: Spec) -> list[str]:
    if spec.shape != "window" or spec.definition is None:
        return []
    row = first_value_row(spec.name)
    return [f"With the defaults the first value comes at row {row}.", ""] if row else []


def _output(spec: Spec, ctx: Context) -> list[str]:
    """What the example gives: its last rows with a value."""
    table = ctx.sql(spec.example).to_arrow()
    if "GROUP BY" in spec.example:  # groups come in any order
        table = table.sort_by([(name, "ascending") for name in table.column_names[:-1]])
    last = table.column(table.num_columns - 1)
    rows = [i for i, value in enumerate(last.to_pylist()) if value is not None][-SHOWN:]
    names = [spec.name if "(" in name else name for name in table.column_names]
    cells = [[_spelled(column[i]) for column in table.columns] for i in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (names, ["-" * width for width in widths], *cells)
    ]
    return ["```text", *lines, "```", ""]


def _spelled(scalar: pa.Scalar) -> str:
    if not pa.types.is_nested(scalar.type):
        value = scalar.as_py() if not pa.types.is_timestamp(scalar.type) else str(scalar)
        return _short(value)
    return _short(scalar.as_py())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        shown = [_short(inner) for inner in value[:2]]
        return f"[{', '.join(shown)}{', ...' if len(value) > 2 else ''}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "NULL" if value is None else str(value)


def main(arguments: list[str]) -> int:
    """Print the pages into a folder; with --check only compare them."""
    folder = Path(next(a for a in arguments if not a.startswith("-")))
    made = pages()
    stale = [n for n, text in made.items() if not _is(folder / n, text)]
    stale += [
        f"kernels/{p.name}" for p in (folder / "kernels").glob("*.md")
        if f"kernels/{p.name}" not in made
    ]  # fmt: skip
    if "--check" in arguments:
        if stale:
            sys.stderr.write(f"stale in {folder}: {', '.join(sorted(stale))}; run: make docs\n")
        return 1 if stale else 0
    (folder / "kernels").mkdir(exist_ok=True)
    for name in stale:
        if name in made:
            (folder / name).write_text(made[name])
        else:
            (folder / name).unlink()
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
