"""Which chart suits a result, and its rows as the marks of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from fin_sql import charts, thin
from fin_sql.axes import MISSING, Data, Floats, TimeAxis, moments
from fin_sql.charts import Look, Panel
from fin_sql.errors import SqlError

MOST_LABELS = len(charts.COLOURS)
MOST_PANELS = 8
MOST_CANDLES = 4  # charts of them below one another
MOST_BARS = 120
SHARE = 0.08  # of the height of a panel that each of its lines must fill
BINS = (10, 80)
PRICES = ("open", "high", "low", "close")
VOLUMES = ("volume", "vol", "size", "quantity", "qty")
VALUES = ("value", "markout", "mean", "avg", "pnl")
BANDS = (("low", "high"), ("lower", "upper"), ("lo", "hi"), ("ci_low", "ci_high"))
ERRORS = ("std_err", "stderr", "std_error", "standard_error", "se", "sem")
NEEDS = {
    "line": "a time and a number",
    "candles": "a time and numbers called open, high, low and close",
    "markouts": "a column called horizon and a number",
    "scatter": "two numbers",
    "bar": "a text and a number",
    "hist": "a number",
}


@dataclass
class Series:
    """A line: what it is of, and its values in order of x."""

    column: str
    label: str
    x: Any
    y: Floats


@dataclass
class Drawing:
    """A result, and what was said of how to draw it.

    Args:
        data: the rows.
        x: the column of the horizontal axis, or None.
        y: those of the vertical axis, as far as they were given.
        by: those that tell lines apart, as far as they were given.
        look: of the chart.
    """

    data: Data
    x: str | None
    y: list[str]
    by: list[str]
    look: Look

    def kind(self) -> str:
        """What suits the columns."""
        numbers = self.y or [name for name in self.data.of_kind("number") if name != self.x]
        if self._time() is not None and numbers:
            prices = all(self.data.called(name) for name in PRICES) and not self.y
            return "candles" if prices else "line"
        if self._horizon() is not None and numbers:
            return "markouts"
        of_x = self.data.kind(self.x) if self.x else None
        if of_x in (None, "text") and self.data.of_kind("text") and numbers:
            return "bar"
        if len(numbers) + (of_x == "number") > 1:
            return "scatter"
        if numbers or of_x == "number":
            return "hist"
        self._refuse("none of the kinds fits: say which by kind=, or select other columns")

    # ------------------------------------------------------------ columns

    def _refuse(self, said: str) -> NoReturn:
        known = ", ".join(f"{name} ({self.data.kind(name)})" for name in self.data.names)
        raise SqlError(f"plot: {said}; the columns are {known}")

    def _needs(self, kind: str) -> NoReturn:
        self._refuse(f"kind '{kind}' needs {NEEDS[kind]}")

    def _time(self) -> str | None:
        if self.x is not None:
            return self.x if self.data.kind(self.x) == "time" else None
        return next(iter(self.data.of_kind("time")), None)

    def _horizon(self) -> str | None:
        if self.x is not None:
            return self.x if "horizon" in self.x.lower() else None
        names = self.data.of_kind("number", "length", "text")
        return next((name for name in names if "horizon" in name.lower()), None)

    def _values(self, kind: str, *used: str | None) -> list[str]:
        """The columns of the vertical axis: those given, else doubles, else whole numbers."""
        if self.y:
            return self.y
        numbers = [name for name in self.data.of_kind("number") if name not in used]
        whole = [name for name in numbers if "int" in str(self.data.table.schema.field(name).type)]
        found = [name for name in numbers if name not in whole] or whole
        if not found:
            self._needs(kind)
        if left := [name for name in numbers if name not in found]:
            self.look.notes.append(f"Not drawn: {', '.join(left)}.")
        return found

    def _groups(self, used: Sequence[str | None], *, needed: bool = True) -> tuple[list[str], Any]:
        """The texts that tell lines apart, and which one each row has; one empty text for none.

        Args:
            used: columns that are something else.
            needed: whether a text of too many values would mix what does not belong together.
        """
        none = ([""], np.zeros(len(self.data), dtype=np.int64))
        if self.by:
            labels, codes = self.data.texts(self.by)
            if len(labels) > MOST_LABELS:
                self._refuse(
                    f"'{', '.join(self.by)}' has {len(labels):,} values, and {MOST_LABELS} are the "
                    "most that can be told apart: choose some with WHERE"
                )
            return _in_order(labels, codes)
        for name in self.data.of_kind("text"):
            if name in used:
                continue
            labels, codes = self.data.texts([name])
            if 1 < len(labels) <= MOST_LABELS:
                self.by = [name]
                return _in_order(labels, codes)
            if needed and MOST_LABELS < len(labels) < len(self.data) / 2:
                self._refuse(
                    f"'{name}' has {len(labels):,} values, and {MOST_LABELS} are the most that can "
                    "be told apart: choose some with WHERE, or name another column by by="
                )
        return none

    def _named(self, default: str) -> None:
        if self.look.title is None:
            self.look.title = default

    def _by(self) -> str:
        return f" by {', '.join(self.by)}" if self.by else ""

    def _without(self, count: int, why: str) -> None:
        if count:
            rows = f"{count:,} row{'' if count == 1 else 's'}"
            self.look.notes.append(f"{rows} without {why} left out.")

    # ------------------------------------------------------------ lines

    def line(self) -> Any:
        """Lines over time or over a number."""
        name = self._time() or self.x
        if name is None:
            self._needs("line")
        labels, codes = self._groups([name, *self.y])
        columns = self._values("line", name)
        times = self.data.kind(name) == "time"
        places: Any = self.data.times(name) if times else self.data.numbers(name)
        there = places != MISSING if times else np.isfinite(places)
        self._without(int((~there).sum()), f"'{name}'")
        series = []
        for column in columns:
            values = self.data.numbers(column)
            for k, label in enumerate(labels):
                rows = np.flatnonzero((codes == k) & there)
                rows = rows[np.argsort(places[rows], kind="stable")]
                if np.isfinite(values[rows]).any():
                    series.append(Series(column, label, places[rows], values[rows]))
        if not series:
            raise SqlError(f"plot: every value of {', '.join(columns)} is missing")
        axis: TimeAxis | str = name
        if times:
            axis = TimeAxis(name, int(places[there].min()), int(places[there].max()))
        panels = self._panels(series, axis)
        self._named(", ".join(columns) + self._by())
        return charts.lines(panels, axis, self.look)

    def _panels(self, series: Sequence[Series], axis: TimeAxis | str) -> list[Panel]:
        stacks: list[list[Series]] = []
        for one in series:
            fitting = (stack for stack in stacks if _share(stack, one))
            stack = next(fitting, None)
            if stack is None:
                stacks.append([one])
            else:
                stack.append(one)
        if len(stacks) > MOST_PANELS:
            self._refuse(
                f"these lines would take {len(stacks)} panels, and {MOST_PANELS} are the most: "
                "name some columns by y=, or choose rows with WHERE"
            )
        counts = [0, 0]
        panels = [self._panel(stack, axis, counts) for stack in stacks]
        if counts[1] < counts[0]:
            self.look.notes.append(
                f"{counts[0]:,} values drawn as {counts[1]:,}: the first, least, greatest and last "
                "of each pixel's width."
            )
        return panels

    def _panel(self, stack: Sequence[Series], axis: TimeAxis | str, counts: list[int]) -> Panel:
        columns = list(dict.fromkeys(one.column for one in stack))
        groups = list(dict.fromkeys(one.label for one in stack))
        if len(columns) == 1:
            title, names = columns[0], [one.label or one.column for one in stack]
            if len(groups) == 1 and groups[0]:
                title = f"{title}, {groups[0]}"
        elif len(groups) == 1:
            title, names = groups[0] or ", ".join(columns), [one.column for one in stack]
        else:
            title, names = ", ".join(columns), [f"{one.column}, {one.label}" for one in stack]
        rows: charts.Rows = []
        for one, label in zip(stack, names, strict=True):
            kept = thin.line(one.x, one.y)
            x, y = one.x[kept], one.y[kept]
            there = np.isfinite(y)
            counts[0] += len(one.y)
            counts[1] += len(kept)
            beside = np.r_[False, there[:-1]] | np.r_[there[1:], False]
            places = x if isinstance(axis, str) else axis.places(x)
            said = [f"{v:,}" for v in x.tolist()] if isinstance(axis, str) else moments(x)
            parts = zip(places.tolist(), y.tolist(), there, ~beside, said, strict=True)
            for place, value, known, alone, at in parts:
                row = {"t": place, "y": value if known else None, "s": label, "at": at}
                rows.append(row | {"alone": True} if known and alone else row)
        return Panel(title if len(title) < 40 else "value", names, rows)

    # ------------------------------------------------------------ candles

    def candles(self) -> Any:
        """Candles, and the volume below."""
        time = self._time()
        names = [self.data.called(name) for name in PRICES]
        if time is None or None in names:
            self._needs("candles")
        labels, codes = self._groups([time])
        if len(labels) > MOST_CANDLES:
            self._refuse(
                f"candles of {len(labels)} values of '{', '.join(self.by)}' would take as many "
                f"charts, and {MOST_CANDLES} are the most: choose some with WHERE"
            )
        bars = {p: self.data.numbers(str(n)) for p, n in zip(PRICES, names, strict=True)}
        times = self.data.times(time)
        there = (times != MISSING) & np.isfinite(list(bars.values())).all(axis=0)
        if not there.any():
            raise SqlError("plot: no row has a time and all four prices")
        self._without(int((~there).sum()), "a time or a price")
        volume = self.data.called(*VOLUMES)
        if volume:
            bars["volume"] = self.data.numbers(volume)
        drawn, most = [], 1
        for k, label in enumerate(labels):
            rows = np.flatnonzero((codes == k) & there)
            if not len(rows):
                continue
            rows = rows[np.argsort(times[rows], kind="stable")]
            steps = np.diff(times[rows])
            if (steps == 0).any():
                self._refuse(
                    "candles need one row for each time, and some times have several: name the "
                    "column that tells them apart by by=, or GROUP BY the time"
                )
            step = float(np.median(steps)) if len(steps) else 60e9
            chart = thin.candles(times[rows], {n: v[rows] for n, v in bars.items()}, step)
            most = max(most, int(chart["rows"].max()))
            drawn.append((label, chart))
        if most > 1:
            self.look.notes.append(f"Each candle is up to {most:,} rows, merged.")
        axis = TimeAxis(time, int(times[there].min()), int(times[there].max()))
        self._named(f"Candles of {_length(min(c['step'] for _, c in drawn))}{self._by()}")
        return charts.candles(drawn, axis, self.look)

    # ------------------------------------------------------------ markouts

    def markouts(self) -> Any:
        """A value by horizon, with a band where the columns have one."""
        horizon = self._horizon() or self.x
        if horizon is None:
            self._needs("markouts")
        band, error = self._band()
        labels, codes = self._groups([horizon, *self.y])
        value = self.y[0] if self.y else self.data.called(*VALUES)
        if value is None:
            used = [horizon, error, *(band or ())]
            value = self._values("markouts", *used)[0]
        x, y = self.data.numbers(horizon), self.data.numbers(value)
        there = np.isfinite(x) & np.isfinite(y)
        self._without(int((~there).sum()), f"'{horizon}' or '{value}'")
        if not there.any():
            raise SqlError(f"plot: every value of {value} is missing")
        pairs = list(zip(codes[there].tolist(), x[there].tolist(), strict=True))
        if len(set(pairs)) < len(pairs):
            self._refuse("markouts need one row for each horizon: GROUP BY it, or name by=")
        low = high = np.full(len(x), np.nan)
        if band:
            low, high = (self.data.numbers(name) for name in band)
            self.look.notes.append(f"The band is {band[0]} to {band[1]}.")
        elif error:
            spread = 1.96 * self.data.numbers(error)
            low, high = y - spread, y + spread
            self.look.notes.append(f"The band is 1.96 {error} to either side.")
        rows = [
            {
                "x": float(x[i]), "y": float(y[i]), "s": labels[codes[i]] or value,
                "low": _finite(low[i]), "high": _finite(high[i]),
            }
            for i in np.flatnonzero(there)[np.argsort(x[there], kind="stable")]
        ]  # fmt: skip
        title = f"{horizon} (s)" if self.data.kind(horizon) != "number" else horizon
        self._named(f"{value} by {horizon}" + (f" and {', '.join(self.by)}" if self.by else ""))
        names = [label or value for label in labels]
        return charts.markouts(rows, names, (title, value), _spread_out(x[there]), self.look)

    def _band(self) -> tuple[tuple[str, str] | None, str | None]:
        for low, high in BANDS:
            found = self.data.called(low), self.data.called(high)
            if found[0] and found[1]:
                return (found[0], found[1]), None
        return None, self.data.called(*ERRORS)

    # ------------------------------------------------------------ others

    def scatter(self) -> Any:
        """Points of two numbers, or of a number over time."""
        numbers = [name for name in self.data.of_kind("number") if name != self.x]
        x = self.x or (numbers[0] if numbers else None)
        y = self.y[0] if self.y else next((name for name in numbers if name != x), None)
        if x is None or y is None:
            self._needs("scatter")
        labels, codes = self._groups([x, y], needed=False)
        times = self.data.kind(x) == "time"
        places: Any = self.data.times(x) if times else self.data.numbers(x)
        values = self.data.numbers(y)
        there = np.isfinite(values) & (places != MISSING if times else np.isfinite(places))
        self._without(int((~there).sum()), f"'{x}' or '{y}'")
        if not there.any():
            raise SqlError(f"plot: no row has both {x} and {y}")
        rows = np.flatnonzero(there)
        axis: TimeAxis | str = x
        if times:
            axis = TimeAxis(x, int(places[rows].min()), int(places[rows].max()))
            places = np.where(there, axis.places(np.where(there, places, axis.low)), np.nan)
        kept = rows[thin.cloud(places[rows], values[rows])]
        if len(kept) < len(rows):
            self.look.notes.append(f"{len(rows):,} points drawn as {len(kept):,}: one each spot.")
        said = moments(self.data.times(x)[kept]) if times else []
        points: charts.Rows = [
            {"x": float(places[i]), "y": float(values[i]), "s": labels[codes[i]] or y} for i in kept
        ]
        for row, at in zip(points, said, strict=False):
            row["at"] = at
        self._named(f"{y} against {x}" + self._by())
        return charts.scatter(points, [label or y for label in labels], axis, (x, y), self.look)

    def bar(self) -> Any:
        """A bar for each text or time."""
        texts = [name for name in self.data.of_kind("text") if name not in self.by]
        x = self.x or next(iter([*texts, *self.data.of_kind("time")]), None)
        if x is None:
            self._needs("bar")
        columns = self._values("bar", x)[: None if self.y else 1]
        groups, places = self._bars_of(x)
        if len(groups) > MOST_BARS:
            self._refuse(
                f"'{x}' has {len(groups):,} values, and {MOST_BARS} are the most bars: "
                "ORDER BY and LIMIT them"
            )
        labels, codes = self._groups([x, *columns]) if len(columns) == 1 else (columns, None)
        rows: charts.Rows = []
        seen = set()
        for k, column in enumerate(columns):
            for i, value in enumerate(self.data.numbers(column).tolist()):
                label = labels[k if codes is None else codes[i]] or column
                if (places[i], label) in seen:
                    self._refuse(f"bars need one row for each '{x}': GROUP BY it, or name by=")
                seen.add((places[i], label))
                rows.append({"x": groups[places[i]], "y": _finite(value), "s": label})
        if all(row["y"] is None for row in rows):
            raise SqlError(f"plot: every value of {', '.join(columns)} is missing")
        value = ", ".join(columns)
        self._named(f"{value} by {x}" + (f" and {', '.join(self.by)}" if self.by else ""))
        names = [label or columns[0] for label in labels]
        return charts.bar(rows, groups, names, (x, value), self.look)

    def _bars_of(self, x: str) -> tuple[list[str], Any]:
        if self.data.kind(x) == "time":
            texts = moments(self.data.times(x))
        elif self.data.kind(x) == "number":
            texts = [f"{value:g}" for value in self.data.numbers(x).tolist()]
        else:
            return self.data.texts([x])
        order = {text: k for k, text in enumerate(dict.fromkeys(texts))}
        return list(order), [order[text] for text in texts]

    def hist(self) -> Any:
        """How often the values of a column fall into bins."""
        column = self.x or (self.y[0] if self.y else None)
        if column is None:
            found = self.data.of_kind("number")
            if not found:
                self._needs("hist")
            column = found[0]
        values = self.data.numbers(column)
        there = np.isfinite(values)
        if not there.any():
            raise SqlError(f"plot: every value of {column} is missing")
        self._without(int((~there).sum()), f"'{column}'")
        labels, codes = self._groups([column], needed=False)
        edges = self._edges(values[there])
        rows: charts.Rows = []
        for k, label in enumerate(labels):
            part = np.clip(values[there & (codes == k)], edges[0], edges[-1])
            counts = np.histogram(part, edges)[0]
            spots = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
            rows += [{"low": a, "high": b, "n": n, "s": label or column} for a, b, n in spots]
        self._named(f"Distribution of {column}" + self._by())
        return charts.hist(rows, [label or column for label in labels], column, self.look)

    def _edges(self, values: Floats) -> Floats:
        """Of bins as Freedman and Diaconis have them; far-off values do not stretch them."""
        quarters = np.quantile(values, [0.25, 0.75])
        width = 2 * float(np.ptp(quarters)) / len(values) ** (1 / 3)
        count = np.ptp(values) / width if width > 0 else BINS[1]
        if count > BINS[1]:
            low, high = np.quantile(values, [0.005, 0.995])
            beyond = int(((values < low) | (values > high)).sum())
            if high > low and beyond:
                self.look.notes.append(
                    f"{beyond:,} values beyond {low:.6g} and {high:.6g} are in the outer bins."
                )
                return np.linspace(low, high, BINS[1] + 1)
        return np.histogram_bin_edges(values, int(min(max(np.ceil(count), BINS[0]), BINS[1])))


def _in_order(labels: list[str], codes: Any) -> tuple[list[str], Any]:
    """Labels in the order of the alphabet, and which one each row has."""
    order = sorted(range(len(labels)), key=labels.__getitem__)
    place = np.argsort(order)
    return [labels[k] for k in order], place[codes]


def _share(stack: Sequence[Series], one: Series) -> bool:
    """Whether a line may be drawn in a panel with others: none of them becomes flat."""
    columns = {series.column for series in (*stack, one)}
    labels = {series.label for series in (*stack, one)}
    if len(columns) > 1 and len(labels) > 1:
        return False
    ranges = [np.quantile(s.y[np.isfinite(s.y)], [0.005, 0.995]) for s in (*stack, one)]
    low, high = min(low for low, _ in ranges[:-1]), max(high for _, high in ranges[:-1])
    if len(columns) == 1 and low <= ranges[-1][0] and ranges[-1][1] <= high:
        return True  # of the same unit, and in the frame that is there
    whole = max(high, ranges[-1][1]) - min(low, ranges[-1][0])
    return all(high == low or high - low >= SHARE * whole for low, high in ranges)


def _spread_out(x: Floats) -> dict[str, Any]:
    """The scale of horizons: by their magnitudes where these differ much."""
    sizes = np.abs(x[x != 0])
    if not len(sizes) or sizes.max() / sizes.min() < 50:
        return {"zero": False}
    if (x > 0).all():
        return {"type": "log"}
    return {"type": "symlog", "constant": float(sizes.min())}


def _length(nanoseconds: float) -> str:
    """A length of time in its largest whole unit."""
    for name, size in (("d", 86_400e9), ("h", 3_600e9), ("min", 60e9), ("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size and nanoseconds % size == 0:
            return f"{nanoseconds / size:g} {name}"
    return f"{nanoseconds / 1e9:.6g} s"


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


DRAWN: dict[str, Callable[[Drawing], Any]] = {
    "line": Drawing.line,
    "candles": Drawing.candles,
    "markouts": Drawing.markouts,
    "scatter": Drawing.scatter,
    "bar": Drawing.bar,
    "hist": Drawing.hist,
}
