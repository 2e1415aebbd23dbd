"""Calls of functions in expressions: kernels and windows, their arguments and constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.registry import KERNELS
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text

WINDOW_ONLY = (
    "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead",
)  # fmt: skip


@dataclass(frozen=True)
class CallSite:
    """A call in the text: its name, its arguments, and what stands behind them.

    Args:
        name: of the function.
        span: the whole, OVER included.
        args: spans of the arguments.
        named: spans of the arguments given by name.
        over: a span inside the brackets of OVER, or the name of a window; None without OVER.
        ignore_nulls: IGNORE NULLS was written.
        distinct: DISTINCT was written.
        order: the span behind ORDER BY inside of the brackets.
        filter: the condition of FILTER (WHERE ...).
        within: WITHIN GROUP was written.
    """

    name: str
    span: Span
    args: tuple[Span, ...]
    named: Mapping[str, Span] = field(default_factory=dict)
    over: Span | str | None = None
    ignore_nulls: bool = False
    distinct: bool = False
    order: Span | None = None
    filter: Span | None = None
    within: bool = False

    @property
    def foreign(self) -> bool:
        """Whether it has what only some functions take: for DataFusion, unless we know better."""
        return self.distinct or self.within or bool(self.order or self.filter)


def call_at(text: Text, i: int) -> CallSite | None:
    """The call that begins at a token, if one does."""
    tokens = text.tokens
    if not tokens[i].names or not tokens[i + 1].says("(") or tokens[i - 1 if i else 0].says("."):
        return None
    close = text.closing[i + 1]
    args, named, ignore = [], {}, False
    within, order, kept = False, None, None
    begin = i + 2
    distinct = tokens[begin].says("distinct")
    for start, stop in text.split(begin + distinct, close, ","):
        if order:
            break
        first = start
        if stop - start > 2 and tokens[start].names and tokens[start + 1].says("=>"):
            named[tokens[start].text] = (start + 2, stop)
            continue
        if tokens[stop - 1].says("nulls") and tokens[stop - 2].says("ignore", "respect"):
            ignore = tokens[stop - 2].text == "ignore"
            stop -= 2
        k = first
        while k < stop:
            if tokens[k].says("order") and tokens[k + 1].says("by"):
                order, stop = (k + 2, close), k
            k = text.closing.get(k, k) + 1
        if start < stop:
            args.append((start, stop))
    at = close + 1
    over: Span | str | None = None
    if tokens[at].says("within") and tokens[at + 1].says("group"):
        within, at = True, text.closing[at + 2] + 1
    if tokens[at].says("filter") and tokens[at + 1].says("("):
        kept, at = (at + 3, text.closing[at + 1]), text.closing[at + 1] + 1
    if tokens[at].says("ignore", "respect") and tokens[at + 1].says("nulls"):
        ignore, at = tokens[at].text == "ignore", at + 2
    if tokens[at].says("over") and tokens[at + 1].says("("):
        over, at = (at + 2, text.closing[at + 1]), text.closing[at + 1] + 1
    elif tokens[at].says("over") and tokens[at + 1].names:
        over, at = tokens[at + 1].text, at + 2
    else:
        at = max(at, close + 1)
    span = (i, at)
    return CallSite(
        tokens[i].text, span, tuple(args), named, over, ignore, distinct, order, kept, within
    )


@dataclass(frozen=True)
class KernelCall:
    """The arguments of a kernel call, a default as SQL, and the values of its constants."""

    args: tuple[Span | str, ...]
    params: Mapping[str, Any]


def kernel_call(text: Text, site: CallSite, constant: Callable[[Span], Any]) -> KernelCall:
    """Sort out what is given to a kernel: arguments, constants in order or by name, defaults.

    Raises:
        SqlError: too few or too many, or one given twice; the place is underlined.
    """
    spec = KERNELS[site.name].spec
    given = list(site.args)
    if site.foreign:
        text.fail(f"{spec.who} takes no DISTINCT, FILTER or ORDER BY", *site.span)
    named = dict(site.named)
    args: list[Span | str] = []
    for arg in spec.args:
        if given:
            args.append(given.pop(0))
        elif arg.name in named:
            args.append(named.pop(arg.name))
        elif not arg.required:
            args.append(arg.default_sql())
        else:
            text.fail(f"{spec.who} lacks its argument '{arg.name}': {spec.signature()}", *site.span)
    params = {}
    for param in spec.params:
        if given:
            if param.name in named:
                text.fail(f"{spec.who}: '{param.name}' is given twice", *site.span)
            params[param.name] = constant(given.pop(0))
        elif param.name in named:
            params[param.name] = constant(named.pop(param.name))
    if given:
        text.fail(f"{spec.who} takes no more: {spec.signature()}", *given[0])
    if named:
        name, span = next(iter(named.items()))
        known = [a.name for a in spec.args] + [p.name for p in spec.params]
        text.fail(str(UnknownNameError("parameter", name, known, who=spec.who)), *span)
    try:
        return KernelCall(tuple(args), KERNELS[site.name].bind(**params).params)
    except SqlError as error:
        text.fail(str(error), *site.span)
