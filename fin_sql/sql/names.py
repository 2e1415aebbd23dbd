"""Expressions in the names of the plan; all else of them stays as it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fin_sql.errors import UnknownNameError
from fin_sql.registry import KERNELS
from fin_sql.sql.calls import WINDOW_ONLY, CallSite, call_at, kernel_call
from fin_sql.sql.plan import Node
from fin_sql.sql.scope import Relation
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text, quoted

EXACT = {"count", "min", "max", "median", "bool_and", "bool_or", "approx_distinct", "grouping"}


class Lift(Protocol):
    """Takes a window call out of an expression; gives the name of the column that has it."""

    def __call__(self, site: CallSite, over: Span | str) -> str:
        """Note a call over a window."""


@dataclass
class Written:
    """An expression as DataFusion is given it.

    Args:
        sql: the text.
        uses: columns of the plan in it.
        aggregates: it calls an aggregate outside of a window.
        rounds: one whose bits depend on the order that it takes rows in.
        inputs: queries in brackets of it that are planned, by the names that stand for them.
        subquery: it has a query in brackets.
    """

    sql: str
    uses: set[str] = field(default_factory=set)
    aggregates: bool = False
    rounds: bool = False
    inputs: dict[str, Node] = field(default_factory=dict)
    subquery: bool = False

    @property
    def column(self) -> str | None:
        """The column that it is, if it is nothing more."""
        if len(self.uses) == 1 and self.sql in (quoted(n := next(iter(self.uses))), n):
            return n
        return None


class Rewriter:
    """Turns spans of a statement into expressions over one relation.

    Args:
        text: the statement.
        relation: what names mean.
        aggregates: names of aggregate functions.
        constant: gives the value of a constant expression.
        lift: takes window calls out; without it they are refused.
        plan_query: plans a query in brackets where it is ours, else None.
        meanings: of names that are no columns, such as those of the SELECT list.
    """

    def __init__(
        self,
        text: Text,
        relation: Relation,
        *,
        aggregates: Iterable[str] = (),
        constant: Callable[[Span], Any],
        lift: Lift | None = None,
        plan_query: Callable[[Span], tuple[str, Node] | None] | None = None,
        meanings: Mapping[str, Written] | None = None,
    ) -> None:
        self.text, self.relation = text, relation
        self.aggregates, self.constant = frozenset(aggregates), constant
        self.lift, self.plan_query = lift, plan_query
        self.meanings = meanings or {}
        self.over: Span | str | None = None  # of the window call around
        self._foreign: Span = (0, 0)  # a query in brackets that is left as it is

    def argument(self, arg: Span | str) -> Written:
        """An argument of a kernel: in the text, or a default as SQL."""
        return Written(arg) if isinstance(arg, str) else self.write(arg)

    def write(self, span: Span) -> Written:
        """Rewrite the tokens of a span."""
        out = Written("")
        pieces: list[str] = []
        begin, end = span
        cursor = self.text.tokens[begin].begin if begin < end else 0
        i = begin
        while i < end:
            found = self._at(i, end, out)
            if found is None:
                i += 1
                continue
            replacement, behind = found
            pieces += [self.text.sql[cursor : self.text.tokens[i].begin], replacement]
            cursor = self.text.tokens[behind - 1].end
            i = behind
        if begin < end:
            pieces.append(self.text.sql[cursor : self.text.tokens[end - 1].end])
        out.sql = "".join(pieces)
        return out

    def _at(self, i: int, end: int, out: Written) -> tuple[str, int] | None:
        """What stands for the tokens from i on, and where they end; None to leave the token."""
        tokens = self.text.tokens
        token = tokens[i]
        if token.says("("):
            return self._brackets(i, end, out)
        if not token.names or (i and tokens[i - 1].says(".")):
            return None
        if self._foreign[0] <= i < self._foreign[1]:  # its names are its own, or of the rows around
            outer = tokens[i + 1].says(".") and not self._redefined(token.text)
            found = self._qualified(i, end, out) if outer and tokens[i + 2].names else None
            if found and token.text in self.relation.aliases:
                found = f"__in.{found[0]}", found[1]  # a table in the brackets may have the same
            return found
        if tokens[i + 1].says("("):
            return self._call(i, out)
        if tokens[i + 1].says(".") and tokens[i + 2].names:
            return self._qualified(i, end, out)
        return self._plain(i, out)

    def _brackets(self, i: int, end: int, out: Written) -> tuple[str, int] | None:
        """A query in brackets, or an expression in brackets with a field taken from it."""
        tokens, close = self.text.tokens, self.text.closing[i]
        if tokens[i + 1].says("select", "with", "values"):
            out.subquery = True
            planned = self.plan_query((i + 1, close)) if self.plan_query else None
            if planned:
                out.inputs[planned[0]] = planned[1]
                return f"(SELECT * FROM {planned[0]})", close + 1
            self._foreign = max(self._foreign, (i + 1, close), key=lambda span: span[1])
            return None
        if close + 2 < end and tokens[close + 1].says(".") and tokens[close + 2].names:
            inner = self.write((i + 1, close))
            self._take(out, inner)
            column = quoted(inner.column) if inner.column else f"({inner.sql})"
            field_name = tokens[close + 2].text.replace("'", "''")
            return f"{column}['{field_name}']", close + 3
        return None

    def _redefined(self, alias: str) -> bool:
        """Whether a query in brackets has a table of its own under a name."""
        tokens = self.text.tokens
        return any(
            tokens[k].text == alias
            and tokens[k].names
            and (tokens[k - 1].names or tokens[k - 1].says(")", ","))
            and not tokens[k + 1].says(".")
            for k in range(*self._foreign)
        )

    def _take(self, out: Written, inner: Written) -> None:
        out.uses |= inner.uses
        out.aggregates |= inner.aggregates
        out.rounds |= inner.rounds
        out.subquery |= inner.subquery
        out.inputs |= inner.inputs

    def _qualified(self, i: int, end: int, out: Written) -> tuple[str, int] | None:
        tokens = self.text.tokens
        alias, name = tokens[i].text, tokens[i + 2].text
        if alias in self.relation.aliases:
            flat = self.relation.qualified(alias, name)
            if flat is not None:
                out.uses.add(flat)
                return self._field(quoted(flat), i + 3, end)
            if not self.relation.plain(alias):
                known = [c.name for c in self.relation.columns if c.alias == alias]
                msg = str(UnknownNameError("column", name, known, who=f"table '{alias}'"))
                self.text.fail(msg, i, i + 3)
        if columns := self.relation.plain(alias):
            out.uses.add(columns[0].flat)
            return self._field(quoted(columns[0].flat), i + 1, end)
        if alias in self.meanings:
            self._take(out, self.meanings[alias])
            return self._field(f"({self.meanings[alias].sql})", i + 1, end)
        return None

    def _field(self, column: str, at: int, end: int) -> tuple[str, int]:
        """A column and the fields that are taken from it by a dot."""
        while at + 1 < end and self.text.tokens[at].says(".") and self.text.tokens[at + 1].names:
            field_name = self.text.tokens[at + 1].text.replace("'", "''")
            column, at = f"{column}['{field_name}']", at + 2
        return column, at

    def _plain(self, i: int, out: Written) -> tuple[str, int] | None:
        token, before, behind = (self.text.tokens[k] for k in (i, i - 1, i + 1))
        if behind.kind == "string" or before.says("as", "::"):
            return None  # DATE '2026-01-05' and CAST(x AS date) are no columns
        columns = self.relation.plain(token.text)
        if not columns:
            if token.text in self.meanings:
                meaning = self.meanings[token.text]
                self._take(out, meaning)
                return f"({meaning.sql})", i + 1
            return None
        if len(columns) > 1:
            choices = " or ".join(f"{c.alias}.{c.name}" for c in columns)
            self.text.fail(f"column '{token.text}' is ambiguous: write {choices}", i)
        flat = columns[0].flat
        out.uses.add(flat)
        return None if flat == token.text else (quoted(flat), i + 1)

    def _call(self, i: int, out: Written) -> tuple[str, int] | None:
        site = call_at(self.text, i)
        if site is None:
            return None
        kernel = KERNELS.get(site.name)
        windowed = kernel is not None and kernel.spec.shape == "window"
        over = site.over
        if over is None and (windowed or site.name in WINDOW_ONLY) and self.over is not None:
            over = self.over  # a call inside of another shares its window
        if over is not None:
            if self.lift is None:
                self.text.fail("a window function cannot stand here", *site.span)
            column = self.lift(site, over)
            out.uses.add(column)
            return self._field(quoted(column), site.span[1], len(self.text.tokens))
        if kernel is not None and windowed:
            msg = (
                f"{kernel.spec.who} runs over rows in order: write "
                f"{self.text.written(*site.span)} OVER (PARTITION BY symbol ORDER BY ts)"
            )
            self.text.fail(msg, *site.span)
        if site.name in ("tumble", "hop") and kernel is None:
            msg = "TUMBLE and HOP stand in GROUP BY; the SELECT list has window_start, window_end"
            self.text.fail(msg, *site.span)
        if site.name in self.aggregates:
            out.aggregates = True
            out.rounds |= site.name not in EXACT
        if kernel is None:
            return None
        kept = ""
        if kernel.spec.shape == "aggregate":
            out.aggregates = out.rounds = True
            if site.filter:
                condition = self.write(site.filter)
                self._take(out, condition)
                kept, site = f" FILTER (WHERE {condition.sql})", replace(site, filter=None)
        call = kernel_call(self.text, site, self.constant)
        written = [self.argument(arg) for arg in call.args]
        for arg in written:
            self._take(out, arg)
        given = [
            # DataFusion takes no zones and units but those that it was told of.
            literal(w.sql, "timestamp") if arg.type == "timestamp" else w.sql
            for arg, w in zip(kernel.spec.args, written, strict=True)
        ]
        values = [literal(call.params[p.name], p.type) for p in kernel.spec.params]
        return f"{site.name}({', '.join(given + values)}){kept}", site.span[1]


def literal(value: Any, kind: str) -> str:
    """A constant of a kernel as DataFusion reads it in the kernel's own type."""
    if kind == "text":
        return "'" + str(value).replace("'", "''") + "'"
    if kind == "bool":
        return "true" if value else "false"
    if kind == "timestamp":
        return f"arrow_cast({value}, 'Timestamp(Nanosecond, None)')"
    if kind == "float64":
        return f"arrow_cast({value!r}, 'Float64')"
    return str(value)


def unique(outputs: list[tuple[str, Written, bool]]) -> list[tuple[str, Written, bool]]:
    """Equal names get _2, _3 ... in their order."""
    taken = {name for name, _, _ in outputs}
    seen: dict[str, int] = {}
    found = []
    for name, written, star in outputs:
        count = seen.get(name, 0) + 1
        new = name
        while count > 1 and new in taken | seen.keys():
            new, count = f"{name}_{count}", count + 1
        seen[name] = max(count - 1, 1) if new != name else 1
        seen.setdefault(new, 1)
        found.append((new, written, star))
    return found
