"""Draws the pictures of asof.md, in colours that are legible on light and on dark."""

from __future__ import annotations

from pathlib import Path

GREY, TRADE, QUOTE = "#6e7781", "#cf6a1a", "#2f7fd6"
STEP, LEFT, LANE = 44, 118, 74  # pixels of a time unit, of the labels, of a lane


def x(time: float) -> float:
    """Where a time lies."""
    return LEFT + time * STEP


def text(at: float, y: float, words: str, colour: str = GREY, anchor: str = "middle") -> str:
    """Words at a place."""
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{at:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def line(y: float, last: int, label: str) -> list[str]:
    """A line of time with its label and arrow head."""
    end = x(last + 0.7)
    return [
        text(8, y + 4, label, anchor="start"),
        f'<path d="M{LEFT} {y}H{end:g}m-6 -4l6 4l-6 4" stroke="{GREY}" fill="none"/>',
    ]


def trade(time: float, y: float, label: str = "") -> list[str]:
    """A trade: a square above its line."""
    at = x(time)
    return [
        f'<rect x="{at - 5:g}" y="{y - 5:g}" width="10" height="10" fill="{TRADE}"/>',
        text(at, y + 21, label or f"{time:g}", TRADE),
    ]


def quote(time: float, y: float, label: str = "") -> list[str]:
    """A quote: a circle on its line."""
    at = x(time)
    return [
        f'<circle cx="{at:g}" cy="{y:g}" r="5" fill="{QUOTE}"/>',
        text(at, y + 21, label or f"{time:g}", QUOTE),
    ]


def arrow(begin: float, end: float, y: float) -> str:
    """From a trade to the quote that it is given: a bow over the line."""
    a, b = x(begin), x(end)
    back = 1 if a > b else -1
    bow = f"M{a:g} {y - 8:g}Q{(a + b) / 2:g} {y - 36:g} {b + 4 * back:g} {y - 8:g}"
    return bowed(f"{bow}m{back} -9l{-2 * back} 9l{9 * back} -1")


def bowed(path: str) -> str:
    """A line in the colour of trades."""
    return f'<path d="{path}" stroke="{TRADE}" stroke-width="2" fill="none"/>'


def picture(title: str, width: float, height: float, parts: list[str]) -> str:
    """One SVG."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" font-weight="600">\n'
        f"<title>{title}</title>\n{body}\n</svg>\n"
    )


def direction() -> str:
    """Two trades, three quotes, and whom each trade is given."""
    lanes = {"l.ts >= r.ts": (2, 7), "l.ts <= r.ts": (7, 11), "NEAREST": (7, 7)}
    parts = []
    for number, (label, given) in enumerate(lanes.items()):
        y = 44 + number * LANE
        parts += [*line(y, 11, label), *quote(2, y), *quote(7, y), *quote(11, y)]
        for begin, end in zip((6, 9), given, strict=True):
            parts += [*trade(begin, y), arrow(begin, end, y)]
    return picture("Backward, forward and nearest", x(12.2), 3 * LANE + 4, parts)


def ties() -> str:
    """Three quotes of one time."""
    parts = []
    rows = {"TIES LAST": 3, "TIES FIRST": 1, "TIES ERROR": None}
    for number, (label, row) in enumerate(rows.items()):
        y = 74 + number * 108
        parts += [*line(y, 8, label), *trade(7, y), text(x(5), y + 21, "5", QUOTE)]
        for place in (1, 2, 3):
            above = y + 2 - 18 * place
            parts += quote(5, above, " ")
            parts.append(text(x(5) - 12, above + 4, f"row {place}", QUOTE, "end"))
        if row:
            end = y + 2 - 18 * row
            bow = f"M{x(7):g} {y - 8:g}Q{x(6.2):g} {end - 24:g} {x(5) + 9:g} {end:g}"
            parts.append(bowed(f"{bow}m8 -8l-8 8l11 2"))
        else:
            parts.append(text(x(5) + 18, y - 30, "an error", TRADE, "start"))
    return picture("Which of several quotes of one time", x(9.2), 3 * 108, parts)


def tolerance() -> str:
    """A quote at the edge of a tolerance, and one beyond."""
    parts = []
    for number, time in enumerate((8, 9)):
        y = 44 + number * LANE
        band = f'<rect x="{x(time - 3):g}" y="{y - 12}" width="{3 * STEP}" height="24" rx="3"'
        parts.append(f'{band} fill="{TRADE}" fill-opacity="0.3"/>')
        parts += [*line(y, 9, "TOLERANCE 3"), *quote(5, y), *trade(time, y)]
        parts.append(arrow(8, 5, y) if time == 8 else text(x(7.5), y - 18, "no match", TRADE))
    return picture("A tolerance is inclusive", x(10.2), 2 * LANE + 4, parts)


def unmatched() -> str:
    """A trade before all quotes, and one that is given a quote without a bid."""
    y = 44
    parts = [*line(y, 11, ""), *quote(4, y, "bid 10.1"), *quote(8, y, "bid NULL")]
    for time, end in ((2, None), (6, 4), (10, 8)):
        parts += trade(time, y)
        parts.append(arrow(time, end, y) if end else text(x(time), y - 14, "no quote yet", TRADE))
    kept = {"LEFT": ["NULL", "10.1", "NULL"], "INNER": ["left out", "10.1", "NULL"]}
    for number, (label, cells) in enumerate(kept.items()):
        at = y + 58 + number * 26
        parts.append(text(8, at, label, anchor="start"))
        parts += [text(x(t), at, c) for t, c in zip((2, 6, 10), cells, strict=True)]
    return picture("What LEFT keeps and INNER leaves out", x(12.2), 146, parts)


def pictures() -> dict[str, str]:
    """Each picture by its name."""
    return {f"{p.__name__}.svg": p() for p in (direction, ties, tolerance, unmatched)}


if __name__ == "__main__":
    for name, svg in pictures().items():
        Path(__file__).with_name(name).write_text(svg)
