"""Window calls of a SELECT: taken out of its expressions and computed in passes below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from fin_sql.columns import arrow_type
from fin_sql.errors import FinSqlError
from fin_sql.exec.calls import STANDARD, Call, Frame, standard_type, supports
from fin_sql.registry import KERNELS
from fin_sql.sql.calls import CallSite, kernel_call
from fin_sql.sql.names import Rewriter, Written, literal
from fin_sql.sql.plan import ORDINAL, KernelWindow, Node, Output, Project, Relational
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text, quoted

# These depend on the place of a row among its peers, which ORDER BY leaves open.
_BY_PLACE = ("row_number", "lead", "lag", "ntile", "first_value", "last_value", "nth_value")
ALIASES = {"mean": "avg", "covar": "covar_samp", "stddev": "stddev_samp", "var": "var_samp",
            "var_sample": "var_samp", "var_population": "var_pop"}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """One column of a window's ORDER BY."""

    written: Written
    ascending: bool
    words: str  # as DataFusion is given it


@dataclass(frozen=True)
class Over:
    """PARTITION BY, ORDER BY and the frame of a window."""

    partition: tuple[Written, ...] = ()
    order: tuple[Term, ...] = ()
    frame: Span | None = None


@dataclass(frozen=True)
class Lifted:
    """A window call, and the column that it becomes.

    Args:
        column: its name in the plan.
        site: where it stands.
        name: of the function.
        args: its arguments.
        params: its constants.
        over: its window.
        frame: rows or time that it looks back; None is the default.
        ours: whether KernelWindow computes it, else DataFusion.
        level: one above those that stand in its arguments.
        sql: for DataFusion: the call and its window.
    """

    column: str
    site: CallSite
    name: str
    args: tuple[Written, ...]
    params: Mapping[str, Any]
    over: Over
    frame: Frame | None
    ours: bool
    level: int
    sql: str


class Windows:
    """The window calls of one SELECT.

    Args:
        text: the statement.
        named: the windows of its WINDOW clause.
        describe: gives the types of expressions over a schema.
        constant: gives the value of a constant expression.
        leave: leave all standard windows to DataFusion.
        prefix: of the columns that are made, different for each SELECT.
    """

    def __init__(
        self,
        text: Text,
        named: Mapping[str, Span],
        describe: Callable[[list[str], pa.Schema], list[pa.DataType]],
        constant: Callable[[Span], Any],
        *,
        leave: bool = False,
    ) -> None:
        self.text, self.named, self.describe, self.constant = text, named, describe, constant
        self.leave = leave
        self.calls: dict[Any, Lifted] = {}
        self.rewriter: Rewriter | None = None
        self.schema = pa.schema([])
        self._args: dict[str, str] = {}

    def lift(self, site: CallSite, over: Span | str) -> str:
        """Take up a call; equal calls are one."""
        rewriter = self.rewriter
        assert rewriter is not None
        kernel = KERNELS.get(site.name)
        around, rewriter.over = rewriter.over, over
        window = self._over(over, rewriter)
        name = ALIASES.get(site.name, site.name)
        params: Mapping[str, Any] = {}
        frame = None
        spans: tuple[Span | str, ...] = site.args
        if kernel is not None:
            if kernel.spec.shape == "scalar":
                self.text.fail(f"{kernel.spec.who} takes no OVER", *site.span)
            call = kernel_call(self.text, site, self.constant)
            spans, params = call.args, call.params
            if site.over is None and kernel.spec.shape == "window":
                window = replace(window, frame=None)  # that is of the function around it
            self._fits_a_kernel(kernel.spec, site, window)
            ours = kernel.spec.shape == "window" or not window.frame
        else:
            ours = name in STANDARD and not self.leave and not site.foreign and not site.named
            ours = ours and bool(window.order) and all(term.ascending for term in window.order)
            if ours:
                spans, params, ours = self._constants(name, site)
            if ours and window.frame:
                frame = self._frame(window.frame)
                ours = frame is not None
        args = tuple(
            rewriter.argument(a)
            for a in spans
            if isinstance(a, str) or self.text.written(*a) != "*"
        )
        parts = [*args, *window.partition, *(term.written for term in window.order)]
        level = 1 + max((self._level(c) for part in parts for c in part.uses), default=0)
        if ours and kernel is None:
            ours = self._supported(name, args, params, frame, site.ignore_nulls)
            ours = ours and self._in_range(frame, window)
        sql = "" if ours else self._foreign(site, window, rewriter)
        rewriter.over = around
        key = (name, tuple(a.sql for a in args), tuple(sorted(params.items(), key=str)), sql,
               tuple(p.sql for p in window.partition), tuple(t.words for t in window.order), frame,
               site.ignore_nulls)  # fmt: skip
        if key not in self.calls:
            column = f"__w{len(self.calls)}"
            lifted = Lifted(column, site, name, args, params, window, frame, ours, level, sql)
            self.calls[key] = lifted
        return self.calls[key].column

    def _level(self, column: str) -> int:
        return next((c.level for c in self.calls.values() if c.column == column), 0)

    def _fits_a_kernel(self, spec: Any, site: CallSite, window: Over) -> None:
        if not window.order:
            self.text.fail(
                f"{spec.who} runs over rows in order: its OVER needs ORDER BY ts", *site.span
            )
        if any(not term.ascending for term in window.order):
            self.text.fail(f"{spec.who} runs from early to late: ORDER BY must ascend", *site.span)
        if window.frame and spec.shape == "window":
            msg = f"{spec.who} takes no frame; its constants say how far it looks back"
            self.text.fail(msg, *window.frame)
        if site.ignore_nulls:
            self.text.fail(f"{spec.who} has its own rule for NULLs: {spec.nulls}", *site.span)

    def _constants(
        self, name: str, site: CallSite
    ) -> tuple[tuple[Span, ...], dict[str, Any], bool]:
        """What of a standard call's arguments are columns, and what are constants."""
        kept = {"lag": ("offset", "default"), "nth_value": ("n",)}.get(name, ())
        params: dict[str, Any] = {}
        for word, span in zip(kept, site.args[1:], strict=False):
            try:
                params[word] = self.constant(span)
            except FinSqlError:
                return site.args, {}, False
        taken = site.args[:1] if kept else site.args
        if name == "count" and (not taken or self.text.written(*taken[0]) in ("*", "1")):
            taken = ()
        return taken, params, len(site.args) <= len(taken) + len(kept) or name == "count"

    def _over(self, over: Span | str, rewriter: Rewriter) -> Over:
        tokens = self.text.tokens
        if isinstance(over, str):
            if over not in self.named:
                known = ", ".join(self.named) or "none"
                at = next(
                    i for i, t in enumerate(tokens) if t.says("over") and tokens[i + 1].text == over
                )
                self.text.fail(f"window '{over}' is not defined; WINDOW has: {known}", at + 1)
            return self._over(self.named[over], rewriter)
        begin, end = over
        base = Over()
        if (
            begin < end
            and tokens[begin].names
            and not tokens[begin].says("partition", "order", "rows", "range", "groups")
        ):
            base, begin = self._over(tokens[begin].text, rewriter), begin + 1
        marks = [
            i for i in self._outside(begin, end)
            if (tokens[i].says("partition", "order") and tokens[i + 1].says("by"))
            or tokens[i].says("rows", "range", "groups")
        ]  # fmt: skip
        partition, order, frame = base.partition, base.order, base.frame
        for at, stop in zip(marks, [*marks[1:], end], strict=False):
            if tokens[at].says("partition"):
                parts = self.text.split(at + 2, stop, ",")
                partition = tuple(rewriter.write(part) for part in parts)
            elif tokens[at].says("order"):
                order = tuple(
                    self._term(part, rewriter) for part in self.text.split(at + 2, stop, ",")
                )
            else:
                frame = (at, stop)
                break
        if begin < end and (not marks or marks[0] != begin):
            self.text.fail("PARTITION BY, ORDER BY or a frame was expected", begin)
        return Over(partition, order, frame)

    def _outside(self, begin: int, end: int) -> list[int]:
        found, i = [], begin
        while i < end:
            found.append(i)
            i = self.text.closing.get(i, i) + 1
        return found

    def _term(self, span: Span, rewriter: Rewriter) -> Term:
        begin, end = span
        tokens, stop, ascending = self.text.tokens, end, True
        if tokens[stop - 1].says("first", "last") and tokens[stop - 2].says("nulls"):
            stop -= 2
        if tokens[stop - 1].says("asc", "desc"):
            stop -= 1
            ascending = tokens[stop].says("asc")
        written = rewriter.write((begin, stop))
        behind = self.text.written(stop, end)
        return Term(written, ascending, f"{written.sql} {behind}".strip())

    def _frame(self, span: Span) -> Frame | None:
        """A frame that is computed in one pass; None for DataFusion's."""
        tokens = self.text.tokens
        begin, end = span
        unit = tokens[begin].text
        if unit == "groups" or any(tokens[i].says("exclude") for i in range(begin, end)):
            return None
        at, bounds = begin + 1, []
        if tokens[at].says("between"):
            middle = next((i for i in self._outside(at, end) if tokens[i].says("and")), None)
            if middle is None:
                self.text.fail("BETWEEN .. AND .. was expected", begin, end)
            bounds = [(at + 1, middle), (middle + 1, end)]
        else:
            bounds = [(at, end)]
        found: list[int | None] = []
        for low, high in bounds:
            if tokens[low].says("current"):
                found.append(0)
            elif tokens[low].says("unbounded"):
                if tokens[low + 1].says("following"):
                    return None
                found.append(None)
            elif tokens[high - 1].says("preceding"):
                try:
                    value = self.constant((low, high - 1))
                except FinSqlError:  # months, for one, have no fixed length
                    return None
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    self.text.fail(
                        "a frame's distance must be a whole number or an interval", low, high
                    )
                found.append(value)
            else:
                return None
        start, stop = found[0], found[1] if len(found) > 1 else 0
        if stop is None:
            return None
        if unit == "range" and stop != 0:
            return None
        return Frame("rows" if unit == "rows" else "range", start, stop)

    def _supported(
        self, name: str, args: tuple[Written, ...], params: Mapping[str, Any],
        frame: Frame | None, ignore_nulls: bool,
    ) -> bool:  # fmt: skip
        if any(self._level(column) for arg in args for column in arg.uses):
            types = [self._type_of(arg) for arg in args]
        else:
            types = self.describe([arg.sql for arg in args], self.schema) if args else []
        call = Call(name, tuple(a.sql for a in args), "", params, frame, ignore_nulls)
        return supports(call, types)

    def _in_range(self, frame: Frame | None, window: Over) -> bool:
        """Whether the order is one that a RANGE frame can look back in."""
        if frame is None or frame.unit != "range" or frame.start is None:
            return True
        kinds = [self._type_of(term.written) for term in window.order]
        return len(kinds) == 1 and bool(
            pa.types.is_timestamp(kinds[0]) or pa.types.is_integer(kinds[0])
        )

    def _type_of(self, arg: Written) -> pa.DataType:
        made = {c.column: c for c in self.calls.values()}
        fields = [*self.schema]
        for column in arg.uses:
            if column in made and made[column].ours:
                fields.append(pa.field(column, self.type_of(made[column])))
        return self.describe([arg.sql], pa.schema(fields))[0]

    def type_of(self, call: Lifted) -> pa.DataType:
        """The type of a call that KernelWindow computes."""
        if call.name in KERNELS:
            return arrow_type(KERNELS[call.name].spec.returns)
        return standard_type(call.name, [self._type_of(arg) for arg in call.args], call.params)

    def _foreign(self, site: CallSite, window: Over, rewriter: Rewriter) -> str:
        """The call as DataFusion is given it; rows of equal order keep the input's."""
        opening = site.span[0] + 1
        close = self.text.closing[opening]
        if site.name in KERNELS:  # defaults and names are ours: DataFusion takes them all in order
            call = kernel_call(self.text, site, self.constant)
            params = KERNELS[site.name].spec.params
            inside = ", ".join(
                [
                    *(rewriter.argument(arg).sql for arg in call.args),
                    *(literal(call.params[p.name], p.type) for p in params),
                ]
            )
        else:
            inside = rewriter.write((opening + 1, close)).sql if close > opening + 1 else ""
        middle, at = [], close + 1
        while at < site.span[1] and not self.text.tokens[at].says("over"):
            if self.text.tokens[at].says("("):  # of FILTER (WHERE ...)
                end = self.text.closing[at]
                middle.append(f"({rewriter.write((at + 1, end)).sql})")
                at = end + 1
            else:
                middle.append(self.text.written(at, at + 1))
                at += 1
        terms = [term.words for term in window.order]
        if site.name in _BY_PLACE or (
            window.frame and self.text.tokens[window.frame[0]].says("rows")
        ):
            terms.append(ORDINAL)
        parts = []
        if window.partition:
            parts.append(f"PARTITION BY {', '.join(p.sql for p in window.partition)}")
        if terms:
            parts.append(f"ORDER BY {', '.join(terms)}")
        if window.frame:
            parts.append(self.text.written(*window.frame))
        return f"{site.name}({inside}) {' '.join(middle)} OVER ({' '.join(parts)})"

    # ------------------------------------------------------------ the passes

    def build(self, node: Node) -> Node:
        """The input with a column for each call."""
        for level in sorted({call.level for call in self.calls.values()}):
            calls = [call for call in self.calls.values() if call.level == level]
            groups: dict[Any, list[Lifted]] = {}
            for call in calls:
                if call.ours:
                    over = call.over
                    key = (
                        tuple(p.sql for p in over.partition),
                        tuple(t.written.sql for t in over.order),
                    )
                    groups.setdefault(key, []).append(call)
            for group in groups.values():
                node = self._pass(node, group)
            if foreign := [call for call in calls if not call.ours]:
                node = self._by_datafusion(node, foreign)
        return node

    def _pass(self, node: Node, group: list[Lifted]) -> Node:
        over = group[0].over
        keys = [*over.partition, *(term.written for term in over.order)]
        needed = [*keys, *(arg for call in group for arg in call.args)]
        made = {w.sql: w for w in needed if w.column is None}
        names = {}
        if made:
            for sql in made:
                names[sql] = f"__a{len(self._args)}"
                self._args[names[sql]] = sql
            types = self.describe(list(made), node.schema)
            outputs = [
                *(Output(name, None, (name,)) for name in node.schema.names),
                *(Output(names[sql], sql, tuple(sorted(w.uses))) for sql, w in made.items()),
            ]
            fields = [*node.schema, *map(pa.field, (names[sql] for sql in made), types)]
            node = Project(node, tuple(outputs), pa.schema(fields))

        def column(written: Written) -> str:
            return written.column or names[written.sql]

        calls = tuple(
            Call(
                c.name, tuple(map(column, c.args)), c.column, c.params, c.frame, c.site.ignore_nulls
            )
            for c in group
        )
        types = [
            arrow_type(KERNELS[c.kernel].spec.returns)
            if c.kernel in KERNELS
            else standard_type(c.kernel, [node.schema.field(a).type for a in c.args], c.params)
            for c in calls
        ]
        partition = tuple(dict.fromkeys(column(p) for p in over.partition))
        order = tuple(dict.fromkeys(column(term.written) for term in over.order))
        return KernelWindow(node, calls, tuple(types), partition, order)

    def _by_datafusion(self, node: Node, calls: list[Lifted]) -> Node:
        types = self.describe([call.sql for call in calls], node.schema, windows=True)  # type: ignore[call-arg]
        items = [quoted(name) for name in node.schema.names]
        items += [f"{call.sql} AS {quoted(call.column)}" for call in calls]
        sql = f"SELECT {', '.join(items)} FROM __in ORDER BY {ORDINAL}"
        fields = [*node.schema, *(pa.field(c.column, t) for c, t in zip(calls, types, strict=True))]
        return Relational(sql, (("__in", node),), pa.schema(fields), ordered=True)
