"""GROUP BY in our own operator: aggregates are taken out of expressions and folded below them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import pyarrow as pa

from fin_sql.errors import SqlError
from fin_sql.exec.aggregate import WINDOW_END, WINDOW_START, aggregate_type
from fin_sql.exec.calls import STANDARD, Call, supports
from fin_sql.exec.time_windows import DAY_NS, TimeWindow, checked
from fin_sql.registry import KERNELS
from fin_sql.sql.calls import CallSite, call_at, kernel_call
from fin_sql.sql.names import EXACT, Rewriter, Written
from fin_sql.sql.plan import Aggregate, Node
from fin_sql.sql.repeated import Spelling, repeated, spelling
from fin_sql.sql.scope import Relation
from fin_sql.sql.syntax import Item, Span
from fin_sql.sql.text import Text, quoted
from fin_sql.sql.windows import ALIASES

WINDOWS = ("tumble", "hop")
_SETS = ("rollup", "cube", "grouping")
_UNZONED = [pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")]
_TRUNCATED = {
    "second": TimeWindow("", 10**9),
    "minute": TimeWindow("", 60 * 10**9),
    "hour": TimeWindow("", 3_600 * 10**9),
    "day": TimeWindow("", days=1),
    "week": TimeWindow("", days=7),
    "month": TimeWindow("", months=1),
    "quarter": TimeWindow("", months=3),
    "year": TimeWindow("", months=12),
}
_NO_AGGREGATES = ("row_number", "lag", "nth_value")


class NotFoldedError(Exception):
    """A form that DataFusion runs as a whole."""


@dataclass(frozen=True)
class Key:
    """One expression of GROUP BY: the column that it becomes, and where it stands."""

    column: str
    written: Written
    spelling: Spelling


@dataclass(frozen=True)
class Folding:
    """An aggregate that is folded: its call, its arguments, its order and its FILTER."""

    call: Call
    args: tuple[Written, ...]
    order: tuple[tuple[Written, bool], ...] = ()
    kept: Written | None = None


class Groups:
    """The keys and the aggregates of one SELECT.

    Args:
        text: the statement.
        base: writes expressions over the rows that are grouped.
        describe: gives the types of expressions over a schema.
        constant: gives the value of a constant expression.
        interval: gives months, days and nanoseconds of an interval.
    """

    def __init__(
        self,
        text: Text,
        base: Rewriter,
        describe: Callable[[list[str], pa.Schema], list[pa.DataType]],
        constant: Callable[[Span], Any],
        interval: Callable[[Span], tuple[int, int, int]],
    ) -> None:
        self.text, self.base = text, base
        self.describe, self.constant, self.interval = describe, constant, interval
        self.keys: list[Key] = []
        self.window: TimeWindow | None = None
        self.time: Written | None = None
        self.folded: dict[Any, Folding] = {}
        self.others: dict[str, tuple[str, Written]] = {}
        self._window_spelling: Spelling = ()
        self._windowed = False  # whether a window is to be taken up
        self.only: Written | None = None  # rows that the aggregates to come are over

    # ------------------------------------------------------------ GROUP BY

    def take(self, span: Span, items: Sequence[Item]) -> None:
        """Read GROUP BY.

        Raises:
            NotFoldedError: it has grouping sets, or a query in brackets.
        """
        at = self.text.tokens
        self._windowed = any(at[i].says(*WINDOWS) and at[i + 1].says("(") for i in range(*span))
        for item in items:
            if item.star is not None:
                self._whole("SELECT * cannot stand", item.span)
        parts = self.text.split(*span, ",")
        if len(parts) == 1 and self._is_word(parts[0], "all"):
            windows = [item.span for item in items if self._windows_at(item.span)]
            parts = windows + [
                item.span for item in items if item.span not in windows and self._is_key(item)
            ]
        for part in parts:
            meant = self._meant(part, items)
            self.take_one(meant)
            if self._windowed and {key.column for key in self.keys} & {WINDOW_START, WINDOW_END}:
                msg = "a key is called as what TUMBLE and HOP give: give it another name in a CTE"
                self.text.fail(msg, *meant)

    def _whole(self, what: str, span: Span) -> NoReturn:
        """Leave all to DataFusion, which knows no windows."""
        if self._windowed:
            self.text.fail(f"{what} beside TUMBLE or HOP: compute it in a CTE before", *span)
        raise NotFoldedError

    def _is_word(self, span: Span, word: str) -> bool:
        return span[1] - span[0] == 1 and self.text.tokens[span[0]].says(word)

    def _windows_at(self, span: Span) -> CallSite | None:
        """The TUMBLE or HOP that an expression is."""
        site = call_at(self.text, span[0]) if self.text.tokens[span[0]].names else None
        return site if site and site.name in WINDOWS and site.span == span else None

    def _is_key(self, item: Item) -> bool:
        """Whether an item of the SELECT list is a key of GROUP BY ALL."""
        words = [t.text for t in self.text.tokens[slice(*item.span)] if t.names]
        if any(w in (WINDOW_START, WINDOW_END) and not self.base.relation.plain(w) for w in words):
            return False
        return not self.base.write(item.span).aggregates

    def _meant(self, span: Span, items: Sequence[Item]) -> Span:
        """The expression that a number or a name of the SELECT list stands for."""
        token = self.text.tokens[span[0]]
        if token.says("(") and self.text.closing[span[0]] == span[1] - 1:
            inner = span[0] + 1, span[1] - 1
            query = self.text.tokens[inner[0]].says("select", "with", "values")
            if not query and len(self.text.split(*inner, ",")) == 1:
                return self._meant(inner, items)
        if span[1] - span[0] > 1:
            return span
        if token.kind == "number" and token.text.isdigit():
            if not 1 <= int(token.text) <= len(items):
                self.text.fail(f"the SELECT list has no column {token.text}", *span)
            return items[int(token.text) - 1].span
        if token.names and not self.base.relation.plain(token.text):
            return next((item.span for item in items if item.alias == token.text), span)
        return span

    def take_one(self, span: Span) -> None:
        """Take up one expression of GROUP BY.

        Raises:
            NotFoldedError: it is a grouping set, or has a query in brackets.
        """
        token = self.text.tokens[span[0]]
        if token.says(*_SETS) or self._is_word(span, "all"):
            self._whole(f"{token.text.upper()} cannot stand", span)
        if window := self._window_meant(span):
            if self.window is not None:
                self.text.fail("GROUP BY takes one window of time, this is a second one", *span)
            self.window = window
            self._window_spelling = self._spelling(span)
            return
        written = self.base.write(span)
        if written.aggregates:
            self.text.fail("GROUP BY takes no aggregate", *span)
        if written.subquery:
            self._whole("a query in brackets cannot stand", span)
        column = written.column or f"__k{len(self.keys)}"
        if all(key.column != column for key in self.keys):
            self.keys.append(Key(column, written, self._spelling(span)))

    def _spelling(self, span: Span) -> Spelling:
        return spelling(self.text, self.base.relation, span)

    def _window_meant(self, span: Span) -> TimeWindow | None:
        """The window that an expression means, where it means one."""
        if site := self._windows_at(span):
            return self._window(site)
        site = call_at(self.text, span[0]) if self.text.tokens[span[0]].names else None
        if site is None or site.span != span or site.name not in ("date_bin", "date_trunc"):
            return None
        if len(site.args) != 2 or site.named or self._windowed or self.window is not None:
            return None  # beside a window it is a key like any other
        length, time = site.args
        written = self.base.write(time)
        if written.subquery or written.aggregates:
            return None
        types = self._types([written, self.base.write(site.span)])
        if types[0] != types[1] or types[0] not in _UNZONED:
            return None
        name = written.column or "__time"
        if site.name == "date_trunc":
            found = _TRUNCATED.get(str(self.constant(length)).lower())
            window = found and replace(found, time=name)
        else:
            months, days, ns = self.interval(length)
            window = None if months else TimeWindow(name, ns + days * DAY_NS)
        try:
            window = window and checked(window, types[0].unit)
        except SqlError:
            return None
        if window:
            self.time = written
        return window

    def _window(self, site: CallSite) -> TimeWindow:
        hop = site.name == "hop"
        form = "HOP(ts, slide, size)" if hop else "TUMBLE(ts, size [, zone])"
        if site.named or not (len(site.args) == 3 or (len(site.args) == 2 and not hop)):
            self.text.fail(f"a window is {form}", *site.span)
        self.time, step = self._time(site.args[0])
        months, days, width = self.interval(site.args[2 if hop else 1])
        slide, zone = (0, 0, 0), ""
        if hop:
            slide = self.interval(site.args[1])
            days, width = 0, days * DAY_NS + width
        elif len(site.args) == 3:
            zone = self.constant(site.args[2])
            if not isinstance(zone, str):
                self.text.fail("a time zone is a text, such as 'America/New_York'", *site.args[2])
        if hop and (slide[0] or months):
            self.text.fail("HOP takes no months: they are not equally long", *site.span)
        if hop and not any(slide):
            self.text.fail("HOP(ts, slide, size): slide must be longer than nothing", *site.span)
        name = self.time.column or "__time"
        found = TimeWindow(name, width, slide[1] * DAY_NS + slide[2], days, months, zone)
        try:
            return checked(found, step)
        except SqlError as error:
            self.text.fail(str(error), *site.span)

    def _time(self, span: Span) -> tuple[Written, str]:
        """What a window is over, and the unit that it counts in; a date is its midnight."""
        written = self.base.write(span)
        if written.subquery or written.aggregates:
            self.text.fail("a window is over a time of each row", *span)
        (kind,) = self._types([written])
        if pa.types.is_date(kind):
            return Written(
                f"arrow_cast({written.sql}, 'Timestamp(Second, None)')", written.uses
            ), "s"
        if not pa.types.is_timestamp(kind):
            msg = f"a window needs a time, this is {kind}; write CAST(... AS TIMESTAMP)"
            self.text.fail(msg, *span)
        return written, kind.unit

    # ------------------------------------------------------------ aggregates

    def lift(self, site: CallSite) -> str:
        """Take up an aggregate; gives the column that has it."""
        kernel = KERNELS.get(site.name)
        kept = self._kept(site)
        if any(self.base.write(s).aggregates for s in (*site.args, *site.named.values())):
            self.text.fail("an aggregate inside of another: compute it in a CTE before", *site.span)
        if kernel is not None:
            call = kernel_call(self.text, replace(site, filter=None), self.constant)
            args = tuple(self.base.argument(arg) for arg in call.args)
            return self._fold(site, args, call.params, kept=kept)
        name = ALIASES.get(site.name, site.name)
        if (
            name not in STANDARD or name in _NO_AGGREGATES
            or site.distinct or site.within or site.named
            or (site.order and name not in ("first_value", "last_value"))
        ):  # fmt: skip
            return self._leave(site, kept)
        spans = [s for s in site.args if not (name == "count" and self.text.written(*s) == "*")]
        args = tuple(self.base.write(span) for span in spans)
        order = self._order(site.order) if site.order else ()
        if order is None or any(part.subquery for part in (*args, *(w for w, _ in order))):
            return self._leave(site, kept)
        if order and site.ignore_nulls:
            return self._leave(site, kept)
        types = self._types([*args, *(written for written, _ in order)])
        if not supports(
            Call(name, ("",) * len(args), "", {}, None, site.ignore_nulls), types[: len(args)]
        ) or not all(_comparable(kind) for kind in types[len(args) :]):
            return self._leave(site, kept)
        return self._fold(site, args, {}, order, kept)

    def _kept(self, site: CallSite) -> Written | None:
        """The condition of the rows that an aggregate is over."""
        own = self.base.write(site.filter) if site.filter else None
        if own is None or self.only is None:
            return own or self.only
        sql = f"({own.sql}) AND ({self.only.sql})"
        return Written(sql, own.uses | self.only.uses, subquery=own.subquery)

    def _types(self, parts: Sequence[Written]) -> list[pa.DataType]:
        if not parts:
            return []
        return self.describe([part.sql for part in parts], self.base.relation.node.schema)

    def _order(self, span: Span) -> tuple[tuple[Written, bool], ...] | None:
        """Columns, and whether they descend, of an ORDER BY of at most two; else None."""
        parts = self.text.split(*span, ",")
        if len(parts) > 2:
            return None
        found = []
        for begin, end in parts:
            last = self.text.tokens[end - 1]
            if last.says("first", "last"):
                return None
            written = self.base.write((begin, end - last.says("asc", "desc")))
            found.append((written, last.says("desc")))
        return tuple(found)

    def _fold(
        self,
        site: CallSite,
        args: tuple[Written, ...],
        params: Mapping[str, Any],
        order: tuple[tuple[Written, bool], ...] = (),
        kept: Written | None = None,
    ) -> str:
        if any(part.subquery for part in (*args, *([kept] if kept else ()))):
            self._whole("a query in brackets cannot stand", site.span)
        name = ALIASES.get(site.name, site.name)
        ignore_nulls = site.ignore_nulls and name not in KERNELS
        by = tuple((written.sql, down) for written, down in order)
        key = (name, tuple(a.sql for a in args), by, ignore_nulls, kept and kept.sql,
               tuple(sorted(params.items(), key=str)))  # fmt: skip
        if key not in self.folded:
            call = Call(name, (), f"__a{len(self.folded)}", params, None, ignore_nulls)
            self.folded[key] = Folding(call, args, order, kept)
        return self.folded[key].call.name

    def _leave(self, site: CallSite, kept: Written | None) -> str:
        """An aggregate that DataFusion computes, over the same groups."""
        written = self.base.write(site.span)
        if self.only is not None and kept is not None:
            begin, end = site.span
            if site.filter:  # its condition is within `kept`
                begin, end = site.filter[0] - 3, site.filter[1] + 1
            call = self.base.write((site.span[0], begin if site.filter else end)).sql
            behind = self.base.write((end, site.span[1])).sql
            written.sql = f"{call} FILTER (WHERE {kept.sql}) {behind}".rstrip()
            written.uses |= kept.uses
        if written.subquery:
            self._whole("a query in brackets cannot stand", site.span)
        if written.sql not in self.others:
            self.others[written.sql] = (f"__o{len(self.others)}", written)
        return self.others[written.sql][0]

    @property
    def lifted(self) -> set[str]:
        """The columns of the aggregates that were taken up."""
        names = {name for name, _ in self.others.values()}
        return names | {folding.call.name for folding in self.folded.values()}

    @property
    def worthwhile(self) -> bool:
        """Whether DataFusion as a whole would give other bits, or none."""
        names = {folding.call.kernel for folding in self.folded.values()}
        rounds = any(written.rounds for _, written in self.others.values())
        return self.window is not None or rounds or bool(names - EXACT)

    # ------------------------------------------------------------ the plan

    def match(self, i: int, end: int) -> tuple[str, int] | None:
        """The key, or the window's start, that is written from a token on; and where it ends."""
        tokens, relation = self.text.tokens, self.base.relation
        for key in self.keys:
            if key.written.column is None:
                stop = repeated(self.text, relation, i, end, key.spelling)
                if stop is not None:
                    return key.column, stop
        if self.window is None:
            return None
        stop = repeated(self.text, relation, i, end, self._window_spelling)
        if stop is not None:
            return WINDOW_START, stop
        bare = not tokens[i + 1].says(".", "(")
        if bare and tokens[i].names and tokens[i].text in (WINDOW_START, WINDOW_END):
            return tokens[i].text, i + 1
        return None

    def relation(self) -> Relation:
        """What names mean behind GROUP BY: the keys that are columns."""
        base = self.base.relation
        flats = {key.column for key in self.keys if key.written.column}
        columns = tuple(c for c in base.columns if c.flat in flats)
        merged = {name: flat for name, flat in base.merged.items() if flat in flats}
        return Relation(base.node, columns, merged)

    def build(self, project: Callable[[Node, list[tuple[str, Written]]], Node]) -> Aggregate:
        """The node over what it needs of the rows."""
        made: dict[str, tuple[str, Written]] = {}

        def column(written: Written, name: str) -> str:
            key = written.column or written.sql
            if key not in made:
                made[key] = (written.column or name, written)
            return made[key][0]

        keys = tuple(column(key.written, key.column) for key in self.keys)
        window = self.window
        if window and self.time:
            window = replace(window, time=column(self.time, "__time"))
        calls = []
        for folding in self.folded.values():
            names = [column(arg, f"__p{len(made)}") for arg in folding.args]
            order = tuple((column(o, f"__p{len(made)}"), down) for o, down in folding.order)
            params = {"order": order} if order else folding.call.params
            kept = column(folding.kept, f"__p{len(made)}") if folding.kept else ""
            calls.append(replace(folding.call, args=tuple(names), params=params, kept=kept))
        for _, written in self.others.values():
            for name in sorted(written.uses):
                column(Written(quoted(name), {name}), name)
        node = project(self.base.relation.node, list(made.values()))
        types = tuple(aggregate_type(call, node.schema) for call in calls)
        others = tuple((name, written.sql) for name, written in self.others.values())
        left = self.describe([sql for _, sql in others], node.schema) if others else []
        rounds = any(written.rounds for _, written in self.others.values())
        return Aggregate(
            node, keys, window, tuple(calls), types, others, tuple(left), rounds=rounds
        )


class GroupRewriter(Rewriter):
    """Writes expressions over the rows that GROUP BY makes."""

    def __init__(self, groups: Groups, **more: Any) -> None:
        base = groups.base
        super().__init__(
            base.text,
            groups.relation(),
            aggregates=base.aggregates,
            constant=base.constant,
            plan_query=base.plan_query,
            **more,
        )
        self.groups = groups

    def _at(self, i: int, end: int, out: Written) -> tuple[str, int] | None:
        inside = self._foreign[0] <= i < self._foreign[1]  # a query whose names are its own
        found = None if inside else self.groups.match(i, end)
        if found is not None:
            out.uses.add(found[0])
            return quoted(found[0]), found[1]
        return super()._at(i, end, out)

    def _call(self, i: int, out: Written) -> tuple[str, int] | None:
        site = call_at(self.text, i)
        kernel = KERNELS.get(site.name) if site else None
        windowed = kernel is not None and kernel.spec.shape == "window"
        if site and (site.over is not None or windowed):
            msg = "a window over aggregates: compute the aggregates in a CTE, the window over it"
            self.text.fail(msg, *site.span)
        if site is None or site.name not in self.aggregates and not (
            kernel and kernel.spec.shape == "aggregate"
        ):  # fmt: skip
            return super()._call(i, out)
        column = self.groups.lift(site)
        out.uses.add(column)
        return self._field(quoted(column), site.span[1], len(self.text.tokens))

    def _qualified(self, i: int, end: int, out: Written) -> tuple[str, int] | None:
        alias, name = self.text.tokens[i].text, self.text.tokens[i + 2].text
        known = self.relation.qualified(alias, name) or self.relation.plain(alias)
        if not known and self.groups.base.relation.qualified(alias, name):
            self._ungrouped(f"{alias}.{name}", i, i + 3)
        return super()._qualified(i, end, out)

    def _ungrouped(self, name: str, begin: int, end: int) -> NoReturn:
        tokens, closing = self.text.tokens, self.text.closing
        for i in range(begin - 1, 0, -1):  # it may stand in a call of what does not exist
            if tokens[i].says("(") and closing[i] >= end and tokens[i - 1].names:
                base = self.groups.base
                self.groups.describe(
                    [base.write((i - 1, closing[i] + 1)).sql], base.relation.node.schema
                )
        msg = f"column '{name}' must stand in GROUP BY or inside of an aggregate"
        self.text.fail(msg, begin, end)

    def _plain(self, i: int, out: Written) -> tuple[str, int] | None:
        token, before, behind = (self.text.tokens[k] for k in (i, i - 1, i + 1))
        known = self.relation.plain(token.text) or token.text in self.meanings
        if known or behind.kind == "string" or before.says("as", "::"):
            return super()._plain(i, out)
        if self.groups.base.relation.plain(token.text):
            self._ungrouped(token.text, i, i + 1)
        return None


def _comparable(kind: pa.DataType) -> bool:
    """Whether first_value and last_value order rows by values of a type."""
    return bool(
        pa.types.is_timestamp(kind) or pa.types.is_signed_integer(kind)
        or pa.types.is_floating(kind) or pa.types.is_date(kind)
    )  # fmt: skip
