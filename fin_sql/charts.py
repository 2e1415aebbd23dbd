"""The charts themselves, in Altair: marks, axes, colours, zoom and tooltips."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fin_sql.axes import TimeAxis, moments
from fin_sql.errors import MissingPackageError

# Okabe and Ito's colours, which people with any colour vision tell apart, and as many again.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#B8A800",
    "#6B6B6B", "#8C2D04", "#1B4F72", "#F2856D", "#66A61E", "#A6761D", "#B3589A", "#4D9DE0",
    "#3B7A57", "#C94C4C", "#2E86AB", "#9A8C98",
)  # fmt: skip
UP, DOWN = "#0F8B8D", "#D1495B"
INK, PALE, GRID = "#1F2933", "#5F6B7A", "#E6EAEE"
WIDTH, HEIGHT = 860, 380
MARKED = 12  # horizons that an axis has a mark for each
HOVERED = 2_000  # points of a panel that answer the pointer
CLOCK = (
    "utcFormat(datum.value, {year: '%Y', quarter: '%b %Y', month: '%b %Y', week: '%d %b', "
    "date: '%d %b', day: '%d %b', hours: '%H:%M', minutes: '%H:%M', seconds: '%H:%M:%S', "
    "milliseconds: '%H:%M:%S.%L'})"
)
SPLIT_SECONDS = "utcFormat(datum.value, '%H:%M:%S.%L')"
Rows = list[dict[str, Any]]


@dataclass
class Look:
    """What all charts take.

    Args:
        width: of the plotting area, in pixels.
        height: of all panels together.
        title: above the chart; None for what the columns say.
        notes: what a reader must know, below the title.
        still: for a picture: nothing that answers a pointer.
        rows: of each part of the chart, by the name that the part has for them.
    """

    width: int = WIDTH
    height: int = HEIGHT
    title: str | None = None
    notes: list[str] = field(default_factory=list)
    still: bool = False
    rows: dict[str, Rows] = field(default_factory=dict)


@dataclass
class Panel:
    """One frame of a stack that shares its time axis.

    Args:
        title: of its vertical axis.
        labels: of its lines, in order.
        rows: "t", "y" (None is a gap), "s" (the label), "at" (the time as text), and perhaps
            "alone": a point that no line reaches.
    """

    title: str
    labels: list[str]
    rows: Rows


def altair() -> Any:
    """The package that draws.

    Raises:
        MissingPackageError: it is not installed; the message says how to get it.
    """
    try:
        import altair as package
    except ImportError:
        raise MissingPackageError("a plot", "altair", "plot") from None
    return package


def _x(name: str, axis: TimeAxis | str, *, named: bool = True) -> Any:
    """The horizontal axis: of times, or of numbers that a title names."""
    alt = altair()
    if isinstance(axis, str):
        return alt.X(
            f"{name}:Q", title=axis if named else None, scale=alt.Scale(zero=False, nice=False)
        )
    title = axis.title() if named else None
    scale = alt.Scale(nice=False, zero=False)
    if axis.short:
        return alt.X(f"{name}:Q", title=title, scale=scale)
    ticks = alt.Axis(
        labelExpr=SPLIT_SECONDS if axis.fine else CLOCK, title=title, labels=named, ticks=named,
        tickCount=8, labelOverlap="greedy", labelSeparation=8,
    )  # fmt: skip
    if axis.fine:
        return alt.X(f"{name}:Q", scale=scale, axis=ticks)
    return alt.X(f"{name}:T", scale=alt.Scale(type="utc", nice=False), axis=ticks)


def _zoom(alt: Any, look: Look, *encodings: str) -> list[Any]:
    if look.still:
        return []
    return [alt.selection_interval(bind="scales", encodings=list(encodings), name="zoom")]


def _colour(
    alt: Any, labels: Sequence[str], colours: Mapping[str, str], symbol: str | None = "stroke"
) -> Any:
    """The colour of each label; with a legend where there are several, and a symbol for them."""
    legend = None
    if symbol and len(labels) > 1:
        legend = alt.Legend(title=None, orient="top", symbolType=symbol, symbolOpacity=1)
    scale = alt.Scale(domain=list(labels), range=[colours[label] for label in labels])
    return alt.Color("s:N", scale=scale, legend=legend)


def _colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label, the same in every panel."""
    return {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(dict.fromkeys(labels))}


def _data(alt: Any, rows: Rows, look: Look) -> Any:
    """A chart of rows, which it knows by a name: Altair copies a chart at every step."""
    name = f"rows{len(look.rows)}"
    look.rows[name] = rows
    return alt.Chart(alt.NamedData(name=name))


def lines(panels: Sequence[Panel], axis: TimeAxis | str, look: Look) -> Any:
    """Lines over time, in one panel or in several below one another."""
    alt = altair()
    colours = _colours([label for panel in panels for label in panel.labels])
    height = max(110, look.height // len(panels))
    name = axis if isinstance(axis, str) else axis.name
    drawn = []
    for k, panel in enumerate(panels):
        known = k > 0 and panel.labels == panels[k - 1].labels  # by the legend above
        base = _data(alt, panel.rows, look).encode(
            x=_x("t", axis, named=k == len(panels) - 1),
            y=alt.Y("y:Q", title=panel.title, scale=alt.Scale(zero=False)),
            color=_colour(alt, panel.labels, colours, None if known else "stroke"),
        )
        layers = [base.mark_line(strokeWidth=1.5 if len(panel.rows) < 2_000 else 1.1, clip=True)]
        if any(row.get("alone") for row in panel.rows):
            points = base.transform_filter("datum.alone")
            layers.append(points.mark_point(filled=True, size=14, clip=True))
        if not look.still:
            every = -(-len(panel.rows) // HOVERED)
            for row in panel.rows[::every]:
                row["hover"] = True
            told = [alt.Tooltip("at:N", title=name), alt.Tooltip("y:Q", format=",", title="value")]
            told[1:1] = [alt.Tooltip("s:N", title="line")] if len(panel.labels) > 1 else []
            pointed = base.transform_filter("datum.hover").encode(tooltip=told)
            layers.append(pointed.mark_point(size=90, opacity=0, clip=True))
        layers[0] = layers[0].add_params(*_zoom(alt, look, "x"))
        drawn.append(alt.layer(*layers).properties(width=look.width, height=height))
    return _stacked(alt, drawn, look)


def candles(charts: Sequence[tuple[str, Mapping[str, Any]]], axis: TimeAxis, look: Look) -> Any:
    """Candles, one chart for each text, with the volume below where there is one.

    Args:
        charts: a text, and x, open, high, low, close and perhaps volume as arrays, and the step
            from one candle to the next in ns.
        axis: of the times.
        look: of the whole.
    """
    alt = altair()
    drawn: list[Any] = []
    height = max(140, look.height // len(charts))
    for k, (label, bars) in enumerate(charts):
        last, volume = k == len(charts) - 1, "volume" in bars
        base = _data(alt, _bars(bars, axis), look).encode(
            color=alt.Color("up:N", scale=alt.Scale(domain=[True, False], range=[UP, DOWN]),
                            legend=None),
        )  # fmt: skip
        if not look.still:
            numbers = ["open", "high", "low", "close", *(["volume"] if volume else [])]
            told = [alt.Tooltip(f"{name}:Q", format=",") for name in numbers]
            base = base.encode(tooltip=[alt.Tooltip("at:N", title=axis.name), *told])
        price = alt.Y("low:Q", title=label or "price", scale=alt.Scale(zero=False))
        wick = base.mark_rule(strokeWidth=1, clip=True).encode(
            x=_x("t", axis, named=last and not volume), y=price, y2="high:Q"
        )
        body = base.mark_bar(strokeWidth=0.8, clip=True).encode(
            x=_x("from", axis, named=last and not volume), x2="to",
            y=alt.Y("open:Q", title=label or "price"), y2="close:Q",
            stroke=alt.Stroke("up:N", scale=alt.Scale(domain=[True, False], range=[UP, DOWN]),
                              legend=None),
        )  # fmt: skip
        part = alt.layer(wick.add_params(*_zoom(alt, look, "x")), body)
        drawn.append(part.properties(width=look.width, height=height))
        if volume:
            amount = alt.Axis(format="~s", tickCount=3)
            below = base.mark_bar(opacity=0.55, clip=True).encode(
                x=_x("from", axis, named=last), x2="to",
                y=alt.Y("volume:Q", title="volume", axis=amount), y2=alt.datum(0),
            )  # fmt: skip
            below = below.add_params(*_zoom(alt, look, "x"))
            drawn.append(below.properties(width=look.width, height=max(60, height // 4)))
    return _stacked(alt, drawn, look)


def _bars(bars: Mapping[str, Any], axis: TimeAxis) -> Rows:
    half = int(bars["step"] * 0.33)
    names = [name for name in ("open", "high", "low", "close", "volume") if name in bars]
    columns = {name: bars[name].tolist() for name in names}
    places = axis.places(bars["x"]).tolist()
    begins = axis.places(bars["x"] - half).tolist()
    ends = axis.places(bars["x"] + half).tolist()
    rows = []
    for k, at in enumerate(moments(bars["x"])):
        row = {name: columns[name][k] for name in names}
        row |= {"t": places[k], "from": begins[k], "to": ends[k], "at": at}
        row["up"] = row["close"] >= row["open"]
        rows.append(row)
    return rows


def markouts(
    rows: Rows, labels: Sequence[str], titles: tuple[str, str], scale: Mapping[str, Any], look: Look
) -> Any:
    """A value by horizon: points, a line, a rule at zero and a band where there is one."""
    alt = altair()
    places = sorted({row["x"] for row in rows})
    places = places if len(places) <= MARKED else alt.Undefined
    base = _data(alt, rows, look).encode(
        x=alt.X("x:Q", title=titles[0], scale=alt.Scale(padding=14, nice=False, **scale),
                axis=alt.Axis(grid=False, format=",.6~r", values=places)),
        color=_colour(alt, labels, _colours(labels)),
    )  # fmt: skip
    value = alt.Y("y:Q", title=titles[1], scale=alt.Scale(padding=10))
    layers = [_data(alt, [{"y": 0}], look).mark_rule(color=PALE, strokeDash=[4, 3]).encode(y=value)]
    if any(row.get("low") is not None for row in rows):
        band = base.mark_area(opacity=0.15, clip=True)
        fill = alt.Y("low:Q", title=titles[1])
        layers.append(band.encode(y=fill, y2="high:Q"))
    line = base.mark_line(strokeWidth=1.8, clip=True).encode(y=value)
    points = base.mark_point(filled=True, size=42, opacity=1, clip=True).encode(y=value)
    if not look.still:
        names = {"x": titles[0], "y": titles[1], "low": "low", "high": "high"}
        known = [n for n in names if any(row.get(n) is not None for row in rows)]
        told = [alt.Tooltip(f"{name}:Q", format=",", title=names[name]) for name in known]
        told += [alt.Tooltip("s:N", title="line")] if len(labels) > 1 else []
        points = points.encode(tooltip=told)
    layers += [line, points.add_params(*_zoom(alt, look, "x", "y"))]
    chart = alt.layer(*layers).properties(width=look.width, height=look.height)
    return _finished(alt, chart, look)


def scatter(
    rows: Rows, labels: Sequence[str], axis: TimeAxis | str, titles: tuple[str, str], look: Look
) -> Any:
    """Points of two numbers, or of a number over time."""
    alt = altair()
    size = 28 if len(rows) < 1_000 else 12
    chart = _data(alt, rows, look).mark_point(filled=True, size=size, opacity=0.55, clip=True)
    chart = chart.encode(
        x=_x("x", axis),
        y=alt.Y("y:Q", title=titles[1], scale=alt.Scale(zero=False, padding=8)),
        color=_colour(alt, labels, _colours(labels), "circle"),
    )
    if not look.still:
        first = alt.Tooltip("at:N", title=titles[0]) if "at" in rows[0] else alt.Tooltip(
            "x:Q", format=",", title=titles[0]
        )  # fmt: skip
        told = [first, alt.Tooltip("y:Q", format=",", title=titles[1])]
        told += [alt.Tooltip("s:N", title="group")] if len(labels) > 1 else []
        chart = chart.encode(tooltip=told).add_params(*_zoom(alt, look, "x", "y"))
    return _finished(alt, chart.properties(width=look.width, height=look.height), look)


def bar(
    rows: Rows, groups: Sequence[str], labels: Sequence[str], titles: tuple[str, str], look: Look
) -> Any:
    """A bar for each text, in the order of the rows; beside one another for several labels."""
    alt = altair()
    flat = max(map(len, groups)) > 12 or len(groups) > 16  # texts need room beside their bars
    place, value = (alt.Y, alt.X) if flat else (alt.X, alt.Y)
    ticks = alt.Axis(labelAngle=0, grid=False, labelLimit=260)
    where = place("x:N", title=titles[0], sort=list(groups), axis=ticks)
    amount = value("y:Q", title=titles[1])
    encoded = {"y": where, "x": amount} if flat else {"x": where, "y": amount}
    if len(labels) > 1:
        offset = alt.YOffset if flat else alt.XOffset
        encoded["yOffset" if flat else "xOffset"] = offset("s:N", sort=list(labels))
    chart = _data(alt, rows, look).mark_bar().encode(
        color=_colour(alt, labels, _colours(labels), "square"), **encoded
    )  # fmt: skip
    if not look.still:
        told = [
            alt.Tooltip("x:N", title=titles[0]),
            alt.Tooltip("y:Q", format=",", title=titles[1]),
        ]
        told += [alt.Tooltip("s:N", title="group")] if len(labels) > 1 else []
        chart = chart.encode(tooltip=told)
    height = max(look.height, 15 * len(groups) * len(labels)) if flat else look.height
    return _finished(alt, chart.properties(width=look.width, height=height), look)


def hist(rows: Rows, labels: Sequence[str], title: str, look: Look) -> Any:
    """How often values fall into bins of equal width."""
    alt = altair()
    opacity = 0.85 if len(labels) == 1 else 0.45
    chart = _data(alt, rows, look).mark_bar(opacity=opacity, clip=True).encode(
        x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False, nice=False)), x2="high",
        y=alt.Y("n:Q", title="rows", stack=None), y2=alt.datum(0),
        color=_colour(alt, labels, _colours(labels), "square"),
    )  # fmt: skip
    if not look.still:
        told = [alt.Tooltip(f"{name}:Q", format=",") for name in ("low", "high", "n")]
        told += [alt.Tooltip("s:N", title="group")] if len(labels) > 1 else []
        chart = chart.encode(tooltip=told).add_params(*_zoom(alt, look, "x"))
    return _finished(alt, chart.properties(width=look.width, height=look.height), look)


def _stacked(alt: Any, drawn: Sequence[Any], look: Look) -> Any:
    if len(drawn) == 1:
        return _finished(alt, drawn[0], look)
    with warnings.catch_warnings():  # all parts zoom together: that is meant
        warnings.filterwarnings("ignore", message="Automatically deduplicated selection parameter")
        chart = alt.vconcat(*drawn, spacing=10)
    chart = chart.resolve_scale(x="shared", color="independent")
    return _finished(alt, chart, look, len(drawn))


def _finished(alt: Any, chart: Any, look: Look, panels: int = 1) -> Any:
    ticks = max(3, 6 - panels)
    notes = look.notes or alt.Undefined
    title = alt.TitleParams(
        look.title or "", subtitle=notes, anchor="start", frame="group", fontSize=15,
        color=INK, subtitleColor=PALE, subtitleFontSize=11, offset=12, fontWeight=600,
    )  # fmt: skip
    chart = chart.properties(title=title, background="white", padding=14)
    chart = (
        chart.configure(font="Inter, Helvetica Neue, Helvetica, Arial, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=GRID, domainColor="#B6C0CA", tickColor="#B6C0CA", labelColor=PALE,
            titleColor=INK, titleFontWeight=500, labelFontSize=11, titleFontSize=12, tickSize=4,
            labelPadding=5, titlePadding=10,
        )
        .configure_axisX(grid=False, labelFlush=False, tickCount=10)
        .configure_axisY(domain=False, ticks=False, minExtent=58, tickCount=ticks)
        .configure_legend(labelColor=INK, labelFontSize=12, symbolStrokeWidth=2.5, offset=6)
    )  # fmt: skip
    _fill(alt, chart, look.rows)
    return chart


def _fill(alt: Any, chart: Any, rows: Mapping[str, Rows]) -> None:
    """Give the parts of a chart their rows in place of the names."""
    if isinstance(chart.data, alt.NamedData):
        with alt.utils.schemapi.debug_mode(False):  # it would look at every value of every row
            chart.data = alt.InlineData(values=rows[chart.data.name])
    for parts in ("layer", "vconcat"):
        for part in getattr(chart, parts, None) or ():
            _fill(alt, part, rows)
