"""A result as a chart, and a chart as a file: a page, a PNG or an SVG that need no network."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa

from fin_sql import charts
from fin_sql.axes import Data
from fin_sql.charts import Look
from fin_sql.drawing import DRAWN, Drawing
from fin_sql.errors import MissingPackageError, SourceError, SqlError, UnknownNameError

KINDS = tuple(DRAWN)
Columns = str | Sequence[str] | None

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
  body {{ margin: 16px; background: white; font-family: sans-serif; }}
</style>
<script>{script}</script>
</head>
<body>
<div id="plot"></div>
<script>
vegaEmbed("#plot", {spec}, {{
  "renderer": "canvas",
  "actions": {{ "export": true, "source": false, "compiled": false, "editor": false }}
}}).then(function () {{
  document.body.dataset.drawn = "yes";
}}).catch(function (error) {{
  document.body.dataset.drawn = "no";
  console.error(error);
}});
</script>
</body>
</html>
"""


def plot(
    table: pa.Table,
    kind: str | None = None,
    *,
    x: str | None = None,
    y: Columns = None,
    by: Columns = None,
    title: str | None = None,
    width: int | None = None,
    height: int | None = None,
    still: bool = False,
) -> Any:
    """Draw the rows of a result.

    Args:
        table: the rows.
        kind: one of KINDS; by the columns where it is not given.
        x: the column of the horizontal axis.
        y: the columns of the vertical one; names, or one text with commas between them.
        by: the columns whose texts tell the lines apart.
        title: above the chart.
        width: of the plotting area, in pixels.
        height: of all panels together.
        still: draw nothing that only answers a pointer.

    Returns:
        An `altair` chart.

    Raises:
        SqlError: the rows cannot be drawn like that; the message says what is needed.
        UnknownNameError: a column or a kind that does not exist.
        MissingPackageError: Altair is not installed.
    """
    charts.altair()
    data = Data(table)
    if not len(data):
        raise SqlError("plot: the query gave no rows, so there is nothing to draw")
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind", kind, list(KINDS), who="plot")
    for name, value in (("width", width), ("height", height)):
        if value is not None and not 40 <= value <= 10_000:
            raise SqlError(f"plot: '{name}' must be in [40, 10000], was {value}")
    drawing = Drawing(
        data,
        data.named(x) if x else None,
        [data.named(name) for name in _split(y)],
        [data.named(name) for name in _split(by)],
        Look(width or charts.WIDTH, height or charts.HEIGHT, title, still=still),
    )
    return DRAWN[kind or drawing.kind()](drawing)


def _split(names: Columns) -> list[str]:
    if isinstance(names, str):
        return [name.strip() for name in names.split(",") if name.strip()]
    return list(names or ())


def ending(path: Path) -> str:
    """What a file is to hold: "html", "png" or "svg".

    Raises:
        SqlError: its name ends in none of these.
    """
    found = path.suffix.lower().lstrip(".")
    if found not in ("html", "png", "svg"):
        raise SqlError(f"plot: a file must end in .html, .png or .svg, was '{path}'")
    return found


def save(chart: Any, path: Path) -> None:
    """Write a chart to a file, which appears when it is complete.

    Raises:
        SqlError: the file's name ends in none of .html, .png and .svg.
        SourceError: it cannot be written.
        MissingPackageError: vl-convert is not installed.
    """
    format = ending(path)
    found = page(chart) if format == "html" else _picture(chart, format)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(found)
        os.replace(part, path)
    except OSError as error:
        raise SourceError(f"plot: '{path}' cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def page(chart: Any) -> bytes:
    """A page that holds the chart, its data and all of its script."""
    spec = chart.to_dict(validate=False)
    del spec["$schema"]  # an address; the mode says what it says
    # A text of the data must not end the script that holds it.
    held = json.dumps(spec, allow_nan=False).replace("<", "\\u003c")
    title = spec.get("title", {}).get("text") or "fin_sql"
    script = _converter().javascript_bundle(vl_version=_version())
    return PAGE.format(title=escape(title), script=script, spec=held).encode()


def _picture(chart: Any, format: str) -> bytes:
    spec, version = chart.to_json(validate=False), _version()
    if format == "svg":
        return str(_converter().vegalite_to_svg(spec, vl_version=version)).encode()
    return packed(_converter().vegalite_to_png(spec, vl_version=version, scale=2))


def packed(png: bytes) -> bytes:
    """The same picture in a fifth of its bytes: the converter is in a hurry."""
    found, at, pixels = [png[:8]], 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        content = png[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IDAT":
            pixels += content
            continue
        if kind == b"IEND":
            found.append(_chunk(b"IDAT", zlib.compress(zlib.decompress(pixels), 9)))
        found.append(_chunk(kind, content))
    return b"".join(found)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _version() -> str:
    """Of Vega-Lite, as Altair writes it."""
    major, minor, *_ = charts.altair().SCHEMA_VERSION.removeprefix("v").split(".")
    return f"{major}.{minor}"


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError:
        raise MissingPackageError("a plot in a file", "vl-convert-python", "plot") from None
    return vl_convert
