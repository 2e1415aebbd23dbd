"""Every Python block of the README and the docs runs, and prints what stands below it."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def blocks(page):
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text())]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(kind == "python" for kind, _ in blocks(page))],
    ids=lambda page: page.name,
)
def test_blocks_print_what_the_page_says(page):
    names = {"__name__": page.stem}
    found = blocks(page)
    for (kind, code), (following, expected) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind == "python":
            out = io.StringIO()
            with redirect_stdout(out):
                exec(compile(code, str(page), "exec"), names)
            if following == "text":
                assert out.getvalue().strip() == expected.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_printed_pages_are_fresh():
    from fin_sql.pages import pages

    made = pages()
    for name, text in made.items():
        assert (ROOT / "docs" / name).read_text() == text, name
    assert {f"kernels/{p.name}" for p in (ROOT / "docs" / "kernels").iterdir()} < {*made}
