"""Charts in files: pictures that show something, and pages that need nothing else."""

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fin_sql import cli
from fin_sql.charts import COLOURS, DOWN, UP
from fin_sql.errors import MissingPackageError, SourceError, SqlError
from fin_sql.plot import packed, page, plot, save
from fin_sql.testing import Market

START = 1_767_623_400_000_000_000
LINES = pa.table(
    {
        "ts": pa.array([START + k * 10**9 for k in range(200)], pa.timestamp("ns")),
        "bid": 100 + np.sin(np.arange(200) / 9),
        "ask": 100.3 + np.sin(np.arange(200) / 9),
    }
)


def colours(picture):
    """How many pixels of a picture have each colour."""
    image = Image.open(picture).convert("RGB")
    return image.size, {f"#{r:02X}{g:02X}{b:02X}": n for n, (r, g, b) in image.getcolors(2**24)}


def test_a_png_shows_its_lines_in_their_colours(tmp_path):
    save(plot(LINES, still=True), tmp_path / "lines.png")
    (width, height), found = colours(tmp_path / "lines.png")
    assert width > 1_700 and height > 700  # two pixels for each of the chart's
    assert found[COLOURS[0]] > 800 and found[COLOURS[1]] > 800
    assert found["#FFFFFF"] > 0.8 * width * height
    assert [path.name for path in tmp_path.iterdir()] == ["lines.png"]


def test_a_packed_picture_is_the_same_and_smaller():
    import vl_convert

    loose = vl_convert.vegalite_to_png(plot(LINES, still=True).to_json(), scale=2)
    tight = packed(loose)
    assert Image.open(io.BytesIO(loose)).tobytes() == Image.open(io.BytesIO(tight)).tobytes()
    assert len(tight) < len(loose) / 2


def test_candles_show_both_colours(tmp_path):
    x = np.arange(60.0)
    price = 100 + np.sin(x / 4)
    table = LINES.slice(0, 60).select(["ts"])
    columns = (
        ("open", price), ("close", np.roll(price, -1)), ("high", price + 1), ("low", price - 1)
    )  # fmt: skip
    for name, values in columns:
        table = table.append_column(name, pa.array(values))
    save(plot(table, still=True), tmp_path / "candles.png")
    _, found = colours(tmp_path / "candles.png")
    assert found[UP.upper()] > 2_000 and found[DOWN.upper()] > 2_000


def test_the_size_is_the_one_that_was_said(tmp_path):
    sizes = []
    for width in (300, 500):
        save(plot(LINES, width=width, height=150, still=True), tmp_path / "a.png")
        sizes.append(colours(tmp_path / "a.png")[0][0])
    assert sizes[1] - sizes[0] == 400


def test_an_svg_holds_paths_and_titles(tmp_path):
    save(plot(LINES, still=True, title="Quotes <of> & all"), tmp_path / "lines.svg")
    text = (tmp_path / "lines.svg").read_text()
    assert text.startswith("<svg") and "Quotes &lt;of&gt; &amp; all" in text
    assert len(re.findall(r'stroke="#0072B2"', text)) >= 1
    assert "ts (UTC, 2026-01-05)" in text


def held(text):
    """The chart of a page, as a browser reads it."""
    return json.loads(re.search(r'vegaEmbed\("#plot", (\{.*\}), \{\n', text)[1])


def test_a_page_holds_all_that_it_needs():
    text = page(plot(LINES)).decode()
    assert len(text) > 500_000  # with the script
    # What a browser would fetch: by an attribute, a style or a module.
    before = text[: text.index("<script>")] + text[text.index("</script>") :]
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", before)
    assert text.count("<script") == 2 and "<script>" in text
    spec = held(text)
    assert "$schema" not in spec
    assert all("url" not in str(key) for key in spec)
    assert sum(map(len, spec["datasets"].values())) == 400


def test_texts_of_the_data_cannot_leave_the_page():
    hostile = '</script><script>alert("x")</script><!-- \u2028'
    table = pa.table({"s": [hostile, "b"], "n": [1, 2]})
    text = page(plot(table, title=hostile)).decode()
    assert text.count("<script") == 2 and text.count("</script>") == 2
    assert "alert(&quot;x&quot;)" in text  # in the title of the page
    assert "\u2028" not in text[text.index("vegaEmbed(") :]
    spec = held(text)
    assert spec["title"]["text"] == hostile
    (rows,) = spec["datasets"].values()
    assert rows[0]["x"] == hostile


@pytest.mark.parametrize("name", ["plot.pdf", "plot", "plot.png.txt"])
def test_other_files_are_refused(tmp_path, name):
    with pytest.raises(SqlError, match="a file must end in .html, .png or .svg, was"):
        save(plot(LINES), tmp_path / name)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SourceError, match="cannot be written: No such file"):
        save(plot(LINES), tmp_path / "nowhere" / "a.svg")


def test_without_the_converter_an_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    message = "a plot in a file needs the package 'vl-convert-python': pip install 'fin-sql.plot.'"
    with pytest.raises(MissingPackageError, match=message):
        save(plot(LINES), tmp_path / "a.png")


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    pq.write_table(Market(seed=2).trades(500), folder / "trades.parquet")
    return folder


@pytest.mark.parametrize("ending", ["html", "png", "svg"])
def test_plot_draws_the_last_statement_of_a_file(run, market, tmp_path, ending):
    script, out = tmp_path / "q.sql", tmp_path / f"q.{ending}"
    script.write_text(
        "CREATE VIEW btc AS SELECT * FROM trades WHERE symbol = 'BTC-USD';\n"
        "SELECT ts, ewma(price, $a) OVER (ORDER BY ts, seq) AS trend FROM btc;"
    )
    given = ("--tables", market, "--param", "a=0.1", "-o", out, "--title", "Mine")
    code, printed, err = run("plot", script, *given)
    assert (code, printed) == (0, "")
    assert re.fullmatch(rf"\d+ rows plotted in \d+\.\d+ s: {out}\n", err)
    assert out.stat().st_size > 5_000
    if ending != "png":
        assert "Mine" in out.read_text()


def test_plot_takes_a_statement_and_the_standard_input(run, market, tmp_path, monkeypatch):
    statement = "SELECT price, size FROM trades"
    options = ("--tables", market, "--kind", "scatter", "--x", "size", "--y", "price", "--by", "s")
    code, _, err = run("plot", statement, *options, "-o", tmp_path / "a.svg")
    assert (code, err) == (1, "fin-sql: plot: unknown column 's'\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(statement))
    assert run("plot", "-", *options[:-2], "-o", tmp_path / "a.svg")[0] == 0
    assert "price against size" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("query", "output", "says"),
    [
        ("nope.sql", "a.svg", "plot: 'nope.sql' cannot be read"),
        ("SELECT 1 AS a WHERE false", "a.svg", "the query gave no rows"),
        ("SELECT nope", "a.svg", "No field named nope."),
        ("SELECT 1", "a.gif", "must end in .html, .png or .svg, was 'a.gif'"),
        ("/* nothing */ ;", "a.svg", "holds no statement"),
    ],
)
def test_plot_says_what_is_wrong(run, query, output, says):
    code, out, err = run("plot", query, "-o", output)
    assert (code, out) == (1, "")
    assert says in err and "Traceback" not in err


def test_the_shell_plots_its_last_query(run, market, tmp_path, monkeypatch):
    text = (
        "SELECT ts, symbol, price FROM trades;\nEXPLAIN SELECT 1;\nCREATE VIEW v AS SELECT 1;\n"
        f".plot {tmp_path}/p.svg y=price title=Mine\n.plot {tmp_path}/p.svg colour=red\n"
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    code, out, err = run("shell", "--tables", market)
    assert code == 1 and "unknown option 'colour'" in err
    assert f"plotted to {tmp_path}/p.svg" in out
    assert "Mine" in (tmp_path / "p.svg").read_text()
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 1.5 AS x;\n.plot\n"))
    code, out, err = run("shell")
    assert code == 0
    target = re.search(r"plotted to (\S+)", out)[1]
    assert target.endswith("plot.html") and "vegaEmbed" in Path(target).read_text()
