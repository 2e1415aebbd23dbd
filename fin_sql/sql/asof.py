"""The clauses of ASOF JOIN as a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from fin_sql.exec.asof_keys import is_timed, keys_compare, times_compare
from fin_sql.exec.time_windows import DAY_NS
from fin_sql.sql.names import Written
from fin_sql.sql.parse import conjuncts
from fin_sql.sql.plan import AsofJoin, Filter, Node, Output, Project
from fin_sql.sql.scope import Relation
from fin_sql.sql.syntax import Asof, Span
from fin_sql.sql.text import quoted

if TYPE_CHECKING:
    from fin_sql.sql.bind import Binder

_SWAPPED = {">=": "<=", ">": "<", "<=": ">=", "<": ">"}


@dataclass
class _Terms:
    """What the clauses of one join ask for."""

    time: tuple[Written, Written] | None = None
    direction: str = ">="
    keys: list[tuple[Written, Written]] = field(default_factory=list)
    left_only: list[Written] = field(default_factory=list)
    right_only: list[Written] = field(default_factory=list)


def bind_asof(binder: Binder, asof: Asof, left: Relation, right: Relation) -> Relation:
    """An ASOF JOIN of two relations whose columns have different names.

    Raises:
        SqlError: a clause is not as docs/sql.md has it; the place is underlined.
    """
    text = binder.text
    terms = _Terms()
    merged, hidden = dict(left.merged), set(left.hidden) | set(right.hidden)
    if asof.match:
        _match(binder, asof.match, left, right, terms)
    if asof.on:
        for span in conjuncts(text, *asof.on):
            _conjunct(binder, asof, span, left, right, terms)
    names = list(asof.using)
    if names and not asof.match:
        time = names.pop()
        pair = _using(binder, asof, time, left, right)
        terms.time = pair
        hidden |= {(c.alias, c.name) for c in right.plain(time)}
        merged[time] = left.plain(time)[0].flat
    for name in names:
        terms.keys.append(_using(binder, asof, name, left, right))
        hidden |= {(c.alias, c.name) for c in right.plain(name)}
        merged[name] = left.plain(name)[0].flat
    if terms.time is None:
        msg = "an ASOF JOIN needs one inequality of the times: MATCH_CONDITION (l.ts >= r.ts)"
        text.fail(msg, *asof.span)
    kind = asof.kind or ("left" if asof.match else "inner")

    left_node, right_node = left.node, right.node
    for written in terms.right_only:
        right_node = Filter(right_node, written.sql, tuple(sorted(written.uses)))
    left_time, right_time = terms.time
    if terms.left_only:  # such a row meets nothing: its time is made NULL
        condition = " AND ".join(f"({w.sql})" for w in terms.left_only)
        uses = set(left_time.uses).union(*(w.uses for w in terms.left_only))
        left_time = Written(f"CASE WHEN {condition} THEN {left_time.sql} END", uses)
    left_node, left_names = _computed(
        binder, left_node, [left_time, *(a for a, _ in terms.keys)], "l"
    )
    right_node, right_names = _computed(
        binder, right_node, [right_time, *(b for _, b in terms.keys)], "r"
    )
    ties_by = None
    if asof.ties_by:
        written = binder.rewriter(right).write(asof.ties_by)
        if written.column is None:
            text.fail("TIES BY takes a column of the right side", *asof.ties_by)
        ties_by = written.column
    _comparable_times(binder, asof, left_node, right_node, left_names[0], right_names[0])
    for (one, other), span in zip(
        zip(left_names[1:], right_names[1:], strict=True), _key_spans(asof, terms), strict=True
    ):
        _comparable_keys(binder, span, left_node.schema.field(one), right_node.schema.field(other))
    node = AsofJoin(
        left_node,
        right_node,
        (left_names[0], right_names[0]),
        tuple(zip(left_names[1:], right_names[1:], strict=True)),
        terms.direction,
        _tolerance(binder, asof, left_node.schema.field(left_names[0]).type),
        kind,
        asof.ties,
        ties_by,
        tuple(right.node.schema.names),
        tuple(left.node.schema.names),
        _wait(binder, asof),
    )
    return Relation(node, (*left.columns, *right.columns), merged, frozenset(hidden))


def _wait(binder: Binder, asof: Asof) -> Literal["wait", "now"] | int:
    """What a left row of an endless table waits for; at most so many ns by the clock."""
    if isinstance(asof.wait, str):
        return asof.wait
    months, days, ns = binder.interval(asof.wait)
    if months or min(days, ns) < 0:
        binder.text.fail("WAIT AT MOST takes an interval of days or less", *asof.wait)
    return days * DAY_NS + ns


def _side(written: Written, left: Relation, right: Relation) -> str:
    """Which side the columns of an expression belong to."""
    in_left = written.uses & set(left.node.schema.names)
    in_right = written.uses & set(right.node.schema.names)
    if in_left and in_right:
        return "both"
    return "left" if in_left else "right" if in_right else "none"


def _write(binder: Binder, span: Span, left: Relation, right: Relation) -> Written:
    both = Relation(
        left.node, (*left.columns, *right.columns), left.merged | right.merged, left.hidden
    )
    written = binder.rewriter(both).write(span)
    if written.subquery or written.aggregates:
        binder.text.fail("a query or an aggregate cannot stand in an ASOF JOIN's condition", *span)
    return written


def _compared(binder: Binder, span: Span, *operators: str) -> tuple[Span, str, Span] | None:
    """The two sides of a comparison that stands outside of brackets."""
    tokens = binder.text.tokens
    i = span[0]
    while i < span[1]:
        if tokens[i].says(*operators):
            return (span[0], i), tokens[i].text, (i + 1, span[1])
        i = binder.text.closing.get(i, i) + 1
    return None


def _match(binder: Binder, span: Span, left: Relation, right: Relation, terms: _Terms) -> None:
    text = binder.text
    begin, end = span
    tokens = text.tokens
    if begin < end and tokens[begin].says("(") and text.closing[begin] == end - 1:
        return _match(binder, (begin + 1, end - 1), left, right, terms)
    if begin < end and tokens[begin].says("nearest") and tokens[begin + 1].says("("):
        parts = text.split(begin + 2, text.closing[begin + 1], ",")
        if len(parts) != 2 or text.closing[begin + 1] != end - 1:
            text.fail("NEAREST(left.ts, right.ts) was expected", begin, end)
        one, other = (_write(binder, part, left, right) for part in parts)
        operator = "nearest"
    else:
        found = _compared(binder, span, ">=", "<=", ">", "<")
        if found is None:
            msg = "one of left.ts >= right.ts, >, <=, < or NEAREST(left.ts, right.ts) was expected"
            text.fail(msg, begin, max(end, begin + 1))
        first, operator, second = found
        one, other = (_write(binder, part, left, right) for part in (first, second))
    _take_time(binder, span, one, operator, other, left, right, terms)
    return None


def _take_time(
    binder: Binder, span: Span, one: Written, operator: str, other: Written,
    left: Relation, right: Relation, terms: _Terms,
) -> None:  # fmt: skip
    sides = _side(one, left, right), _side(other, left, right)
    if sides == ("right", "left"):
        one, other, operator = other, one, _SWAPPED.get(operator, operator)
    elif sides != ("left", "right"):
        msg = "each operand must have columns of one side: left.ts >= right.ts"
        binder.text.fail(msg, *span)
    if terms.time is not None:
        binder.text.fail("an ASOF JOIN takes one inequality", *span)
    terms.time, terms.direction = (one, other), operator


def _conjunct(
    binder: Binder, asof: Asof, span: Span, left: Relation, right: Relation, terms: _Terms
) -> None:
    text = binder.text
    begin, end = span
    if text.tokens[begin].says("(") and text.closing[begin] == end - 1:
        for part in conjuncts(text, begin + 1, end - 1):
            _conjunct(binder, asof, part, left, right, terms)
        return
    written = _write(binder, span, left, right)
    side = _side(written, left, right)
    if side == "right":
        terms.right_only.append(written)
        return
    if side in ("left", "none"):
        terms.left_only.append(written)
        return
    found = _compared(binder, span, ">=", "<=", ">", "<", "=")
    if found is None:
        msg = "ON takes equalities of keys, and conditions of one side; put the rest into WHERE"
        text.fail(msg, begin, end)
    first, operator, second = found
    one, other = (_write(binder, part, left, right) for part in (first, second))
    sides = _side(one, left, right), _side(other, left, right)
    if "both" in sides or "none" in sides or sides[0] == sides[1]:
        text.fail("each side of a comparison in ON must have columns of one table", begin, end)
    if operator == "=":
        terms.keys.append((one, other) if sides[0] == "left" else (other, one))
    elif asof.match:
        text.fail(
            "the inequality stands in MATCH_CONDITION already; put this into WHERE", begin, end
        )
    else:
        _take_time(binder, span, one, operator, other, left, right, terms)


def _using(
    binder: Binder, asof: Asof, name: str, left: Relation, right: Relation
) -> tuple[Written, Written]:
    found = []
    for side, word in ((left, "left"), (right, "right")):
        columns = side.plain(name)
        if len(columns) != 1:
            what = "no" if not columns else "more than one"
            binder.text.fail(f"USING: the {word} side has {what} column '{name}'", *asof.span)
        found.append(Written(quoted(columns[0].flat), {columns[0].flat}))
    return found[0], found[1]


def _computed(
    binder: Binder, node: Node, operands: list[Written], side: str
) -> tuple[Node, list[str]]:
    """A node with a column for each operand that is none yet."""
    made = {w.sql: f"__{side}{binder.input_name()[2:]}" for w in operands if w.column is None}
    if made:
        new = {w.sql: w for w in operands if w.column is None}
        types = binder.describe(list(new), node.schema)
        outputs = [Output(n, None, (n,)) for n in node.schema.names]
        outputs += [Output(made[s], s, tuple(sorted(w.uses))) for s, w in new.items()]
        fields = [pa.field(made[s], t) for s, t in zip(new, types, strict=True)]
        node = Project(node, tuple(outputs), pa.schema([*node.schema, *fields]))
    return node, [w.column or made[w.sql] for w in operands]


def _tolerance(binder: Binder, asof: Asof, kind: pa.DataType) -> int | None:
    if asof.tolerance is None:
        return None
    text = binder.text
    value = binder.constant(asof.tolerance)
    words = text.written(*asof.tolerance).lower()
    timed = is_timed(kind)
    given = text.tokens[asof.tolerance[0]].kind == "number"
    if isinstance(value, bool) or not isinstance(value, int) or (timed and given):
        text.fail("TOLERANCE INTERVAL '5' SECOND was expected", *asof.tolerance)
    if value < 0:
        text.fail(f"TOLERANCE must not be negative, was {words}", *asof.tolerance)
    return value


def _comparable_times(
    binder: Binder, asof: Asof, left: Node, right: Node, one: str, other: str
) -> None:
    kinds = [left.schema.field(one).type, right.schema.field(other).type]
    span = asof.match or asof.on or asof.span
    for kind in kinds:
        if not is_timed(kind) and not pa.types.is_integer(kind):
            binder.text.fail(f"the times must be timestamps or integers, was {kind}", *span)
    if not times_compare(*kinds):
        msg = f"the times do not compare: {kinds[0]} and {kinds[1]}; cast one of them"
        binder.text.fail(msg, *span)


def _key_spans(asof: Asof, terms: _Terms) -> list[Span]:
    return [asof.on or asof.span] * len(terms.keys)


def _comparable_keys(binder: Binder, span: Span, left: pa.Field, right: pa.Field) -> None:
    if not keys_compare(left.type, right.type):
        msg = f"the keys do not compare: {left.type} and {right.type}; cast one of them"
        binder.text.fail(msg, *span)
