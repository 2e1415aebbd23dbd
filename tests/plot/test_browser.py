"""Pages as a browser shows them: the marks are drawn, and nothing is complained of.

The browser finds no address, so that what a page would fetch is missing.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fin_sql.charts import COLOURS, DOWN, UP
from fin_sql.plot import page, plot

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser on PATH ({', '.join(NAMES)}); make browser installs one"
)
START = 1_767_623_400_000_000_000
CONSOLE = re.compile(r'CONSOLE[:(]\d+\)?\] "(.*)", source: ')


@dataclass
class Shown:
    """What came of a page.

    Args:
        drawn: what the page says of itself, or None.
        complaints: the lines of its console.
        colours: how many pixels have each colour.
    """

    drawn: str | None
    complaints: list[str]
    colours: dict[str, int]

    def near(self, colour):
        """How many pixels have about a colour: the edges of a line are paler."""
        parts = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        return sum(
            count for seen, count in self.colours.items()
            if all(abs(int(seen[k : k + 2], 16) - part) < 60
                   for k, part in zip((1, 3, 5), parts, strict=True))
        )  # fmt: skip

    def fine(self, *wanted, least=500):
        """Whether the marks are there and the console is empty."""
        seen = all(self.near(colour) >= least for colour in wanted)
        return self.drawn == "yes" and self.complaints == [] and seen


@pytest.fixture
def show(tmp_path):
    def opened(content):
        place = tmp_path / "page.html"
        place.write_bytes(content)
        command = [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--force-device-scale-factor=1", "--window-size=1100,1000",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
            f"--screenshot={tmp_path / 'page.png'}", "--dump-dom", place.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr[-2_000:]
        drawn = re.search(r'<body data-drawn="(\w+)"', done.stdout)
        image = Image.open(tmp_path / "page.png").convert("RGB")
        counted = image.getcolors(2**24)
        colours = {f"#{r:02X}{g:02X}{b:02X}": n for n, (r, g, b) in counted}
        return Shown(drawn and drawn[1], CONSOLE.findall(done.stderr), colours)

    return opened


def times(count):
    return pa.array([START + k * 60 * 10**9 for k in range(count)], pa.timestamp("ns"))


def lines(count=20_000):
    wave = np.sin(np.arange(count) / count * 20)
    return pa.table({"ts": times(count), "bid": 100 + wave, "ask": 100.4 + wave, "far": wave * 1e4})


def candles(count=80):
    middle = 100 + np.sin(np.arange(count) / 5)
    return pa.table(
        {
            "ts": times(count), "open": middle, "high": middle + 1, "low": middle - 1,
            "close": np.roll(middle, 1), "volume": np.arange(count) + 10.0,
        }
    )  # fmt: skip


MARKOUTS = pa.table(
    {
        "horizon": [0.1, 1, 10] * 2, "s": ["a"] * 3 + ["b"] * 3,
        "value": [0.1, 0.4, 0.2, -0.1, -0.2, 0.1], "std_err": [0.05] * 6,
    }
)  # fmt: skip
CLOUD = pa.table({"x": np.random.default_rng(1).normal(size=9_000), "y": np.arange(9_000.0)})
CHARTS = {
    "line": (lines(), COLOURS[:3]),
    "candles": (candles(), (UP, DOWN)),
    "markouts": (MARKOUTS, COLOURS[:2]),
    "bar": (pa.table({"s": ["a", "</script>", "c"], "n": [3, 2, 1]}), COLOURS[:1]),
    "hist": (pa.table({"v": CLOUD["x"]}), ()),
    "scatter": (CLOUD, ()),
}


@pytest.mark.parametrize("kind", CHARTS)
def test_a_page_draws_its_marks_and_complains_of_nothing(show, kind):
    table, colours = CHARTS[kind]
    found = show(page(plot(table)))
    assert found.complaints == []
    assert found.drawn == "yes"
    assert found.fine(*colours), [found.near(colour) for colour in colours]
    if not colours:  # of marks that one sees through
        blueish = [c for c in found.colours if int(c[5:], 16) > int(c[1:3], 16) + 40]
        assert sum(found.colours[colour] for colour in blueish) > 2_000


def test_a_notebooks_own_chart_is_the_same_in_a_browser(show):
    assert show(page(plot(lines(300), title="Say it"))).fine(*COLOURS[:2])


SCRIPT = re.compile(r"<script>.*?</script>", re.DOTALL)
ELSEWHERE = '<script src="https://cdn.example.com/vega.js"></script>'
BROKEN = {
    "its script is gone": lambda text: SCRIPT.sub("", text, count=1),
    "its script is elsewhere": lambda text: SCRIPT.sub(ELSEWHERE, text, count=1),
    "a mark is unknown": lambda text: text.replace('"type": "line"', '"type": "lyne"'),
    "its rows are gone": lambda text: re.sub(r'"(data-\w+)": \[\{.*?\}\]', r'"\1": []', text),
    "its lines are not seen": lambda text: text.replace(
        '"type": "line"', '"type": "line", "opacity": 0'
    ),
    "a value is no JSON": lambda text: text.replace('"datasets": {', '"datasets": {,'),
}


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_page_is_seen(show, wrong):
    whole = page(plot(lines(300))).decode()
    broken = BROKEN[wrong](whole)
    assert broken != whole
    found = show(broken.encode())
    assert not found.fine(*COLOURS[:3])
    if wrong == "its lines are not seen":  # then only the picture tells
        assert (found.drawn, found.complaints) == ("yes", [])
    else:
        assert found.complaints
