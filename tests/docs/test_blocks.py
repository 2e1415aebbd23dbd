"""Every block of the README and the docs runs, and prints what stands below it."""

import re

import pytest
from blocks import README, ROOT, RUN, Reader, blocks, comparable, reprinted, runs

PAGES = sorted([README, *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMING_FROM = sorted((ROOT / "docs" / "coming-from").iterdir())
NOT_RUN_HERE = {"q (not run here)"}  # kdb+ is not at hand


@pytest.mark.parametrize("page", [p for p in PAGES if runs(p)], ids=lambda page: page.name)
def test_blocks_print_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = Reader(page, tmp_path)
    for block in runs(page):
        printed = reader.run(block)
        if block.expected is not None:
            assert comparable(printed) == comparable(block.expected)
    if page in COMING_FROM and page.stem != "kdb":
        assert reader.compared == 10


def test_a_page_can_be_printed_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "asof.md").read_text()
    stale = tmp_path / "stale.md"
    stale.write_text(re.sub(r"^( 9 +7 +7 +)11", r"\g<1>99", text, flags=re.MULTILINE))
    assert stale.read_text() != text
    assert reprinted(stale, tmp_path) == text


def test_make_demo_runs_what_the_pages_run_in_its_place():
    makefile = (ROOT / "Makefile").read_text()
    assert "demo: build/.built .venv/.ready\n\t$(BIN)/fin-sql demo $(ARGS)\n" in makefile


@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.name)
def test_pages_of_other_systems_ask_the_same_questions(page):
    titles = [
        [line for line in HEADING.findall(p.read_text()) if line[0].isdigit()]
        for p in (COMING_FROM[0], page)
    ]
    assert titles[0] == titles[1]
    assert len(titles[1]) == 10
    ours = [
        [block.code for block in blocks(p) if block.label == "fin_sql"]
        for p in (COMING_FROM[0], page)
    ]
    assert ours[0] == ours[1]
    assert len(ours[1]) == 10
    for block in blocks(page):
        assert block.kind in (*RUN, "text") or block.label in NOT_RUN_HERE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, heading in LINK.findall(page.read_text()):
        if target.startswith("http"):
            continue
        found = page.parent / target if target else page
        assert found.exists(), target
        if heading and found.suffix == ".md":
            assert heading in {anchor(line) for line in HEADING.findall(found.read_text())}


def anchor(heading):
    """The name by which a link finds a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_pictures_are_fresh():
    import runpy

    drawn = runpy.run_path(str(ROOT / "docs" / "pictures" / "draw.py"))["pictures"]()
    for name, text in drawn.items():
        assert (ROOT / "docs" / "pictures" / name).read_text() == text, name
    there = {path.name for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert there == {*drawn}
    shown = set(re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", (ROOT / "docs/asof.md").read_text()))
    assert shown == there


def test_printed_pages_are_fresh():
    from fin_sql.pages import pages

    made = pages()
    for name, text in made.items():
        assert (ROOT / "docs" / name).read_text() == text, name
    assert {f"kernels/{p.name}" for p in (ROOT / "docs" / "kernels").iterdir()} < {*made}
