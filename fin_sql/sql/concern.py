"""Whether a statement is ours: decided on its tokens, never on strings or comments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fin_sql.exec.calls import STANDARD
from fin_sql.registry import KERNELS
from fin_sql.sql.calls import call_at
from fin_sql.sql.syntax import Span
from fin_sql.sql.text import Text

_JOIN = ("left", "right", "inner", "full", "outer", "semi", "anti", "join")
_ROUNDING = {
    "sum", "avg", "mean", "stddev", "stddev_samp", "stddev_pop", "var", "var_samp", "var_pop",
    "var_sample", "var_population", "corr", "covar", "covar_samp", "covar_pop", "regr_avgx",
    "regr_avgy", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy",
    "approx_median", "approx_percentile_cont", "approx_percentile_cont_with_weight",
    "first_value", "last_value", "nth_value", "array_agg", "string_agg",
}  # fmt: skip
_STANDARD = STANDARD | {"mean", "covar", "stddev", "var", "var_sample", "var_population"}


@dataclass(frozen=True)
class Ours:
    """What a session takes beside the forms that only fin_sql knows.

    Args:
        windows: the standard windows.
        deterministic: aggregates whose bits depend on the order of their rows.
        tables: names of tables that DataFusion cannot read.
    """

    windows: bool = True
    deterministic: bool = False
    tables: Collection[str] = ()


def concerns(text: Text, begin: int, end: int, ours: Ours) -> bool:
    """Whether tokens have a form that DataFusion does not know, or that we compute otherwise."""
    tokens = text.tokens
    for i in range(begin, end):
        token = tokens[i]
        if not token.names:
            continue
        if token.says("asof") and tokens[i + 1].says(*_JOIN):
            return True
        if token.says("match_condition", "pivot") and tokens[i + 1].says("("):
            return True
        if token.says("distinct") and tokens[i + 1].says("on") and tokens[i + 2].says("("):
            return True
        if token.text in ours.tables and not tokens[i - 1].says(".", "as"):
            return True
        if not tokens[i + 1].says("("):
            continue
        name = token.text
        if name in ("tumble", "hop"):
            return True
        if name in KERNELS:
            spec = KERNELS[name].spec
            site = call_at(text, i)
            if site and (spec.shape == "window" or site.over or site.named):
                return True
            if spec.shape == "aggregate":  # folded in our operator
                return True
            if site and len(site.args) < len(spec.args) + len(spec.params):
                return True
            if any(arg.type == "timestamp" for arg in spec.args):  # of any unit and zone
                return True
        elif ours.deterministic and name in _ROUNDING:
            return True
        elif name in _STANDARD and ours.windows:
            site = call_at(text, i)
            if site and site.over and _ordered(text, site.over, begin, end):
                return True
    return False


def _ordered(text: Text, over: Span | str, begin: int, end: int) -> bool:
    if isinstance(over, str):  # a named window: its brackets stand behind WINDOW
        for i in range(begin, end - 2):
            if text.tokens[i].text == over and text.tokens[i + 1].says("as"):
                if text.tokens[i + 2].says("("):
                    return _ordered(text, (i + 3, text.closing[i + 2]), begin, end)
        return False
    first, last = over
    tokens = text.tokens
    if (
        first < last
        and tokens[first].names
        and not tokens[first].says("partition", "order", "rows", "range", "groups")
    ):
        return True  # it extends a named window
    return any(tokens[i].says("order") and tokens[i + 1].says("by") for i in range(first, last))
