"""Pages: screens of the shell are those of a terminal, and pictures of plots are small."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from terminal import Terminal

from fin_sql.cli.commands import COMMANDS
from fin_sql.plot import KINDS
from fin_sql.testing import Market

DOCS = Path(__file__).parents[2] / "docs"
SCREENS = re.findall(r"^```console\n(.*?)^```$", (DOCS / "shell.md").read_text(), re.M | re.S)
PICTURES = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (DOCS / "plots.md").read_text())


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    pq.write_table(Market(seed=1).trades(100), folder / "trades.parquet")
    return folder


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.split("\n")[0])
def test_a_screen_of_the_page_is_that_of_a_terminal(screen, market, tmp_path):
    typed, *below = screen.rstrip().split("\n")
    assert typed.startswith("fin_sql> ") and below
    terminal = Terminal("shell", "--tables", market, state=tmp_path, rows=24, columns=100)
    try:
        terminal.wait_prompt()
        terminal.type(typed.removeprefix("fin_sql> "))
        for line in below:
            terminal.wait(line.strip())
        shown = [line.strip() for line in terminal.lines if line.strip()]
        assert shown[1 : len(below) + 2] == [line.strip() for line in (typed, *below)]
    finally:
        terminal.child.close(force=True)


def test_the_page_tells_every_command_and_kind():
    shell, plots = ((DOCS / f"{name}.md").read_text() for name in ("shell", "plots"))
    assert all(f"\n{found.usage} " in shell for found in COMMANDS.values())
    assert all(f"| `{kind}` |" in plots for kind in KINDS)


def test_pictures_are_small_and_made_by_the_page():
    made = re.findall(r"-o (\S+)", (DOCS / "plots.md").read_text())
    assert [Path(name).name for name in PICTURES] == made and len(made) >= 3
    for name in PICTURES:
        assert 5_000 < (DOCS / name).stat().st_size < 60_000, name
    assert {path.name for path in (DOCS / "plots").iterdir()} == set(made)
