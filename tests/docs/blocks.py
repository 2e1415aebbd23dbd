"""The pages as blocks of code: what a block is, how it is run, and what it printed.

`python tests/docs/blocks.py PAGE ...` runs pages, and writes what they print into their text
blocks; a table keeps its number of rows.
"""

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import fin_sql
from fin_sql.testing import Market

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"(?:^(\w[^\n]*):\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = ("python", "sql", "sh")
PEERS = ("Polars", "pandas")
BOTH = "DuckDB, and the same text here"
OURS = "fin_sql"
TOLERANCE = 1e-9  # relative, of doubles of two systems; the pages state it
# make itself would build; this is what its target runs. Seconds are those of a machine.
MAKE = 'make() { eval "fin-sql $1 ${2#ARGS=}"; }\n'
TIMES = re.compile(r"\d+\.\d+( s\b| million trades a second)")


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Args:
        label: the line above it where that ends in a colon, without the colon.
        kind: the language.
        code: its text.
        expected: the text block that follows, or None.
    """

    label: str
    kind: str
    code: str
    expected: str | None


def blocks(page):
    """The blocks of a page, those of text with the blocks before them."""
    found = [match.groups() for match in BLOCK.finditer(page.read_text())]
    following = [*found[1:], ("", "", "")][: len(found)]
    return [
        Block(label or "", kind, code, after[2] if after[1] == "text" and kind in RUN else None)
        for (label, kind, code), after in zip(found, following, strict=True)
    ]


def runs(page):
    """The blocks of a page that are run here.

    `make package` runs the commands of the README outside of this tree; the pages of kernels are
    printed with their output, and compared whole.
    """
    if page.parent.name == "kernels":
        return []
    kinds = ("python",) if page == README else RUN
    return [block for block in blocks(page) if block.kind in kinds]


class Reader:
    """Runs the blocks of a page one after the other, in one namespace and one folder.

    A block of SQL runs in the session `ctx` of the page, in DuckDB's `duck` where it is labelled
    so; a page that opens no session has the small market of the printed pages. Where a block is
    labelled with the name of another system, the value of its last expression is kept, and the
    next one of ours must give the same rows.
    """

    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        self.names = {"__name__": page.stem}
        self.theirs = None
        self.compared = 0
        bin = folder / ".venv"
        bin.mkdir()
        (bin / "bin").symlink_to(Path(sys.executable).parent)

    def run(self, block):
        """Run a block; gives what it printed."""
        if block.kind == "sh":
            return self._shell(block.code)
        if block.kind == "sql":
            return self._sql(block)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self._python(block)
        return out.getvalue()

    def _python(self, block):
        tree = ast.parse(block.code)
        last = tree.body.pop() if block.label in PEERS else None
        exec(compile(tree, str(self.page), "exec"), self.names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(self.page), "eval"), self.names)
            self.theirs = table(value)

    def _sql(self, block):
        if block.label.startswith("DuckDB"):
            self.theirs = table(self.names["duck"].sql(block.code))
            if block.label == BOTH:
                assert_same_rows(self.names["ctx"].sql(block.code).to_arrow(), self.theirs)
            return ""
        query = self._session().sql(block.code)
        if block.label == OURS and self.theirs is not None:
            assert_same_rows(query.to_arrow(), self.theirs)
            self.theirs = None
            self.compared += 1
        out = io.StringIO()
        if block.expected is not None:
            with contextlib.redirect_stdout(out):
                query.show(rows_shown(block.expected))
        return out.getvalue()

    def _session(self):
        if "ctx" not in self.names:
            market = Market(seed=1)
            self.names["ctx"] = ctx = fin_sql.connect()
            ctx.register("trades", market.trades(2_000))
            ctx.register("quotes", market.quotes(2_000))
        return self.names["ctx"]

    def _shell(self, code):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", MAKE + code],
            cwd=self.folder, capture_output=True, text=True, env={**os.environ, "PATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def comparable(text):
    """What is printed without blanks at the ends of lines, and without seconds."""
    lines = [line.rstrip() for line in text.strip().split("\n")]
    return TIMES.sub(r"_\1", "\n".join(lines))


def rows_shown(expected):
    """The rows of a printed table: without its head, and the dots below."""
    lines = expected.strip().split("\n")
    return max(1, len(lines) - 2 - (lines[-1] == "..."))


def table(value):
    """A result of any system as an Arrow table."""
    if hasattr(value, "collect"):  # a lazy frame of Polars
        value = value.collect()
    if type(value).__module__.startswith("pandas"):
        return pa.Table.from_pandas(value, preserve_index=False)
    return pa.table(value)


def assert_same_rows(found, wanted):
    """The same columns and rows in the same order; doubles equal up to TOLERANCE."""
    assert found.column_names == wanted.column_names
    assert found.num_rows == wanted.num_rows
    assert found.num_rows
    for name in found.column_names:
        left, right = plain(found[name]), plain(wanted[name])
        assert left.is_null().equals(right.is_null()), f"{name}: NULLs differ"
        assert left.null_count < len(left), f"{name}: nothing to compare"
        if pa.types.is_floating(left.type):
            np.testing.assert_allclose(
                left.drop_null(), right.drop_null(), rtol=TOLERANCE, atol=0, err_msg=name
            )
        else:
            assert left.equals(right), name


def plain(column):
    """A column in the one type of its kind; NaN, where pandas has it for NULL, as NULL."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("ns"))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    return column.cast(pa.string())


def reprinted(page, folder):
    """The text of a page with what its blocks print now."""
    reader, text, behind = Reader(page, folder), page.read_text(), 0
    for block in runs(page):
        printed = reader.run(block)
        if block.expected is None:
            continue
        behind = text.index(f"```{block.kind}\n{block.code}```", behind)
        if comparable(printed) != comparable(block.expected):
            begin = text.index("```text\n", behind) + len("```text\n")
            lines = "\n".join(line.rstrip() for line in printed.rstrip().split("\n"))
            text = f"{text[:begin]}{lines}\n{text[begin + len(block.expected) :]}"
    return text


def main(pages):
    """Write pages anew."""
    for page in map(Path.resolve, map(Path, pages)):
        with tempfile.TemporaryDirectory() as made, contextlib.chdir(made):
            text = reprinted(page, Path(made))
        page.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
