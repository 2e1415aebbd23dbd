"""From a query's text to its plan: names, types, stars, windows and joins are settled here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from fin_sql.errors import FinSqlError, SqlError, UnknownNameError
from fin_sql.exec.fragment import Evaluator, params_in
from fin_sql.sql.concern import Ours, concerns
from fin_sql.sql.grouped import fold_groups, pass_groups_on
from fin_sql.sql.joins import bind_source
from fin_sql.sql.names import Rewriter, Written, unique
from fin_sql.sql.parse import conjuncts, read_query
from fin_sql.sql.plan import (
    ORDINAL,
    Concat,
    Filter,
    Limit,
    Node,
    Output,
    Project,
    Relational,
    named_columns,
)
from fin_sql.sql.scope import Relation
from fin_sql.sql.syntax import Combined, Cte, Query, Select, Span, Star
from fin_sql.sql.text import Text, mentioned, quoted, underlined
from fin_sql.sql.windows import Windows


@dataclass(frozen=True)
class Known:
    """What a query may refer to.

    Args:
        evaluator: the DataFusion session.
        table: the table of a name, or None.
        open_path: the table of a file, a folder or a glob.
        tables: all names, for hints.
        params: values of the parameters.
        ours: what a session takes beside our forms.
    """

    evaluator: Evaluator
    table: Callable[[str], Any]
    open_path: Callable[[str], Any]
    tables: Callable[[], Sequence[str]]
    params: Mapping[str, Any] = field(default_factory=dict)
    ours: Ours = Ours()


class Binder:
    """Plans the queries of one statement.

    Args:
        text: the statement.
        known: what it may refer to.
    """

    def __init__(self, text: Text, known: Known) -> None:
        self.text, self.known = text, known
        self.evaluator = known.evaluator
        self.ctes: dict[str, tuple[Cte, dict[str, Any]]] = {}
        self.aggregates = {*known.evaluator.ctx.udafs()}
        self._inputs = 0

    def query(self, begin: int, end: int) -> Node:
        """Plan the tokens of a span as a query."""
        return self.plan(read_query(self.text, begin, end))

    # ------------------------------------------------------------ what DataFusion knows

    def params_in(self, sql: str) -> dict[str, Any]:
        """The parameters that a text mentions; others would be refused."""
        return params_in(sql, self.known.params)

    def constant(self, span: Span) -> Any:
        """The value of an expression without columns."""
        sql = self.text.written(*span)
        try:
            return self.evaluator.constant(sql, self.params_in(sql))
        except FinSqlError as error:
            self.text.fail(f"a constant was expected: {error}", *span)

    def interval(self, span: Span) -> tuple[int, int, int]:
        """Months, days and nanoseconds of an interval."""
        sql = self.text.written(*span)
        try:
            found = self.evaluator.interval(sql, self.params_in(sql))
        except SqlError:
            found = None
        if found is None:
            self.text.fail("an interval was expected, such as INTERVAL '1' MINUTE", *span)
        return found

    def describe(
        self, items: list[str], schema: pa.Schema, windows: bool = False
    ) -> list[pa.DataType]:
        """The types of expressions over columns."""
        if windows:
            schema = schema.append(pa.field(ORDINAL, pa.int64()))
        shown = ", ".join(f"{sql} AS c{k}" for k, sql in enumerate(items))
        sql = f"SELECT {shown} FROM __in"
        try:
            found = self.evaluator.describe(sql, {"__in": schema}, self.params_in(sql))
        except SqlError as error:
            if len(items) > 1:
                for item in items:  # the one that it is
                    self.describe([item], schema)
            at = self.text.sql.find(items[0])
            if at < 0:
                raise
            end = at + len(items[0])
            raise SqlError(underlined(str(error), self.text.sql, at, end)) from None
        return [f.type for f in found]

    def input_name(self) -> str:
        """A new name for an input of a DataFusion query."""
        self._inputs += 1
        return f"__in{self._inputs}"

    def relational(
        self,
        sql: str,
        named: Mapping[str, Node],
        *,
        ordered: bool = False,
        note: str = "",
    ) -> Relational:
        """A query of DataFusion's over inputs; the plain CTEs that it mentions stand before it."""
        prefix, more = self._prefix(sql)
        named = {**named, **more}
        sql = prefix + sql
        schemas = {name: node.schema for name, node in named.items()}
        if ordered:
            first = next(iter(schemas))
            schemas[first] = schemas[first].append(pa.field(ORDINAL, pa.int64()))
        schema = self.evaluator.describe(sql, schemas, self.params_in(sql))
        return Relational(sql, tuple(named.items()), schema, ordered, note)

    def _prefix(self, sql: str) -> tuple[str, dict[str, Node]]:
        """WITH for the CTEs that a text mentions, and those of them that are planned."""
        waiting = [name for name in self.ctes if name in mentioned(sql)]
        wanted: dict[str, None] = {}
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                inside = mentioned(self.text.written(*self.ctes[name][0].query.span))
                waiting += [n for n in self.ctes[name][1] if n in inside]
            wanted[name] = None
        parts, named, recursive = [], {}, False
        for name in self.ctes:
            if name not in wanted:
                continue
            cte, _ = self.ctes[name]
            if cte.recursive:
                self._refuse_ours(cte)
            elif self.is_ours(cte.query.span):
                node = self.cte(name)
                inner = self.input_name()
                named[inner] = node
                parts.append(f"{quoted(name)} AS (SELECT * FROM {inner})")
                continue
            recursive |= cte.recursive
            parts.append(self.text.written(*cte.span))
        if not parts:
            return "", {}
        return f"WITH {'RECURSIVE ' if recursive else ''}{', '.join(parts)} ", named

    def _refuse_ours(self, cte: Cte) -> None:
        """A recursive CTE is DataFusion's, and may read what others have computed."""
        if concerns(self.text, *cte.query.span, self.known.ours):
            msg = (
                f"the recursive CTE '{cte.name}' holds a kernel, an ASOF JOIN or a window of "
                "fin_sql: compute it in a CTE before this one, or over what this one gives"
            )
            self.text.fail(msg, cte.span[0])

    def is_ours(self, span: Span) -> bool:
        """Whether a part of the statement has a form of ours, or a CTE that has."""
        if concerns(self.text, *span, self.known.ours):
            return True
        begin, end = span
        tokens = self.text.tokens
        for i in range(begin, end):
            name = tokens[i].text
            if tokens[i].names and name in self.ctes and tokens[i - 1].says("from", "join", ","):
                inner = self.ctes[name][0].query.span
                if not (inner[0] <= begin < inner[1]) and self.is_ours(inner):
                    return True
        return False

    # ------------------------------------------------------------ queries

    def plan(self, query: Query) -> Node:
        """The plan of a query."""
        outer = dict(self.ctes)
        for cte in query.ctes:
            self.ctes[cte.name] = (cte, dict(self.ctes))
        try:
            return self._plan(query)
        finally:
            self.ctes = outer

    def cte(self, name: str) -> Node:
        """The plan of a CTE, as it is seen where it stands."""
        cte, around = self.ctes[name]
        now, self.ctes = self.ctes, dict(around)
        try:
            return named_columns(self.plan(cte.query), cte.columns, cte.name)
        finally:
            self.ctes = now

    def subquery(self, span: Span) -> tuple[str, Node] | None:
        """A query in an expression, if it must be planned."""
        if not self.is_ours(span):
            return None
        return self.input_name(), self.query(*span)

    def _plan(self, query: Query) -> Node:
        if isinstance(query.body, Select):
            return self._select(query.body, query)
        if isinstance(query.body, Query):
            node = self.plan(query.body)
        elif isinstance(query.body, Combined):
            node = self._combined(query.body)
        else:  # VALUES, whose rows come as they are written
            node = replace(self.relational(self.text.written(*query.body.span), {}), settled=True)
        return self._sorted(node, query)

    def _combined(self, body: Combined) -> Node:
        parts = [self.plan(part) for part in body.parts]
        named = {self.input_name(): part for part in parts}
        pieces = []
        for name, operator in zip(named, ("", *body.operators), strict=True):
            pieces += [operator, f"SELECT * FROM {name}"]
        node = self.relational(" ".join(pieces).strip(), named)
        if all(" ".join(op.lower().split()) == "union all" for op in body.operators):
            if all(part.schema.types == node.schema.types for part in parts):
                return Concat(tuple(parts), node.schema)
        return node

    def _sorted(self, node: Node, query: Query) -> Node:
        """ORDER BY and LIMIT over the names of the output."""
        if query.order_by is None:
            return self._limited(node, query)
        columns = ", ".join(quoted(name) for name in node.schema.names)
        order = self.text.written(*query.order_by)
        sql = f"SELECT {columns} FROM __in ORDER BY {order}, {ORDINAL}{self.limit_words(query)}"
        return self.relational(sql, {"__in": node}, ordered=True)

    def limit_words(self, query: Query) -> str:
        """LIMIT and OFFSET as they are written."""
        limit = f" LIMIT {self.text.written(*query.limit)}" if query.limit else ""
        return limit + (f" OFFSET {self.text.written(*query.offset)}" if query.offset else "")

    def _limited(self, node: Node, query: Query) -> Node:
        if query.limit is None and query.offset is None:
            return node
        limit = query.limit
        count = None
        if limit is not None and self.text.written(*limit).lower() != "all":
            count = self._rows("LIMIT", limit)
        offset = self._rows("OFFSET", query.offset) if query.offset else 0
        return Limit(node, count, offset or 0)

    def _rows(self, clause: str, span: Span) -> int | None:
        value = self.constant(span)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 0
        ):
            self.text.fail(f"{clause} must be a whole number, was {value!r}", *span)
        return value

    # ------------------------------------------------------------ SELECT

    def rewriter(self, relation: Relation, **more: Any) -> Rewriter:
        """Expressions over a relation."""
        return Rewriter(
            self.text,
            relation,
            aggregates=self.aggregates,
            constant=self.constant,
            plan_query=self.subquery,
            **more,
        )

    def filtered(self, relation: Relation, span: Span) -> Relation:
        """The rows that a condition is true for; each conjunct is a Filter of its own."""
        node = relation.node
        for part in conjuncts(self.text, *span):
            written = self.rewriter(relation).write(part)
            if written.aggregates:
                self.text.fail("WHERE takes no aggregate; use HAVING", *part)
            if written.subquery:
                names = ", ".join(quoted(name) for name in node.schema.names)
                sql = f"SELECT {names} FROM __in WHERE {written.sql} ORDER BY {ORDINAL}"
                node = self.relational(sql, {"__in": node, **written.inputs}, ordered=True)
            else:
                self.describe([written.sql], node.schema)
                node = Filter(node, written.sql, tuple(sorted(written.uses)))
        return Relation(node, relation.columns, relation.merged, relation.hidden)

    def _select(self, select: Select, query: Query) -> Node:
        if select.source is None:
            span = query.body.span
            if not concerns(self.text, *span, self.known.ours):
                return self._sorted(self.relational(self.text.written(*span), {}), query)
            relation = Relation(self.relational("SELECT 1 AS __one", {}), ())
        else:
            relation = bind_source(self, select.source)
        if select.where:
            relation = self.filtered(relation, select.where)
        windows = Windows(
            self.text,
            select.windows,
            self.describe,
            self.constant,
            leave=not self.known.ours.windows,
        )
        if select.group_by is not None and select.qualify:
            self.text.fail("QUALIFY filters windows; a GROUP BY has HAVING", *select.qualify)
        if select.group_by is not None or select.having is not None:
            folded = fold_groups(self, select, query, relation)
            if folded is not None:
                return folded
        rewriter = self.rewriter(relation, lift=windows.lift)
        windows.rewriter, windows.schema = rewriter, relation.node.schema
        outputs = self.outputs(select, relation, rewriter)
        aggregated = select.group_by is not None or select.having is not None
        aggregated |= any(written.aggregates for _, written, _ in outputs)
        if aggregated:
            if windows.calls:
                site = next(iter(windows.calls.values())).site
                msg = (
                    "a window over aggregates: compute the aggregates in a CTE, the window over it"
                )
                self.text.fail(msg, *site.span)
            folded = None
            if select.group_by is None and select.having is None:
                folded = fold_groups(self, select, query, relation)
            return folded or pass_groups_on(self, select, query, relation, outputs)
        rewriter.meanings = {name: written for name, written, star in outputs if not star and name}
        qualify = rewriter.write(select.qualify) if select.qualify else None
        order = self.order_terms(query, rewriter, outputs)
        node = windows.build(relation.node)
        if qualify:
            if not windows.calls:
                self.text.fail(
                    "QUALIFY needs a window function; use WHERE", *(select.qualify or (0, 1))
                )
            node = Filter(node, qualify.sql, tuple(sorted(qualify.uses)))
        return self.projected(select, query, node, outputs, order, rewriter)

    def outputs(
        self, select: Select, relation: Relation, rewriter: Rewriter
    ) -> list[tuple[str, Written, bool]]:
        """(name, expression, from a star) of each column of the SELECT list."""
        found: list[tuple[str, Written, bool]] = []
        for item in select.items:
            if item.star is not None:
                if select.source is None:
                    self.text.fail("SELECT * needs a FROM", *item.span)
                found += self._star(item.star, item.span, relation, rewriter)
                continue
            written = rewriter.write(item.span)
            last = self.text.tokens[item.span[1] - 1]
            path = all(
                t.names or t.says(".") for t in self.text.tokens[item.span[0] : item.span[1]]
            )
            name = item.alias or (
                last.text
                if path and last.names
                else " ".join(self.text.written(*item.span).split())
            )
            found.append((name, written, False))
        return unique(found)

    def _star(
        self, star: Star, span: Span, relation: Relation, rewriter: Rewriter
    ) -> list[tuple[str, Written, bool]]:
        try:
            columns = relation.star(star.alias)
        except UnknownNameError as error:
            self.text.fail(str(error), *span)
        names = [c.name for c in columns]
        for name in (*star.exclude, *(name for name, _ in star.replace)):
            if name not in names:
                self.text.fail(str(UnknownNameError("column", name, names)), *span)
        replaced = dict(star.replace)
        found = []
        for column in columns:
            if column.name in star.exclude:
                continue
            if column.name in replaced:
                written = rewriter.write(replaced[column.name])
            else:
                written = Written(quoted(column.flat), {column.flat})
            found.append((column.name, written, True))
        return found

    def select_words(self, select: Select, outputs: Any) -> str:
        """SELECT and its columns."""
        items = ", ".join(f"{written.sql} AS {quoted(name)}" for name, written, _ in outputs)
        distinct = f"{self.text.written(*select.distinct)} " if select.distinct else ""
        return f"SELECT {distinct}{items}"

    def order_terms(self, query: Query, rewriter: Rewriter, outputs: Any) -> str | None:
        """ORDER BY over what a query reads, or over the names that it gives."""
        if query.order_by is None:
            return None
        names = {name for name, _, _ in outputs}
        kept, rewriter.meanings = rewriter.meanings, {}
        parts = []
        for part in self.text.split(*query.order_by, ","):
            token = self.text.tokens[part[0]]
            if (
                token.names
                and token.text in names
                and not self.text.tokens[part[0] + 1].says(".", "(")
            ):
                parts.append(quoted(token.text) + " " + self.text.written(part[0] + 1, part[1]))
            else:
                parts.append(rewriter.write(part).sql)
        rewriter.meanings = kept
        return ", ".join(parts)

    def _first_of_each(
        self, select: Select, outputs: Any, order: str | None, on: Span, rewriter: Rewriter
    ) -> str:
        """DISTINCT ON: of each group the first row, in the given order, then in the input's."""
        keys = ", ".join(rewriter.write(part).sql for part in self.text.split(*on, ","))
        items = ", ".join(f"{written.sql} AS {quoted(name)}" for name, written, _ in outputs)
        if order is not None:
            return f"SELECT DISTINCT ON ({keys}) {items} FROM __in ORDER BY {order}, {ORDINAL}"
        names = ", ".join(quoted(name) for name, _, _ in outputs)
        inner = f"SELECT DISTINCT ON ({keys}) {items}, {ORDINAL} FROM __in ORDER BY {keys}"
        return f"SELECT {names} FROM ({inner}, {ORDINAL}) ORDER BY {ORDINAL}"

    def projected(
        self,
        select: Select,
        query: Query,
        node: Node,
        outputs: Any,
        order: str | None,
        rewriter: Rewriter,
    ) -> Node:
        """The SELECT list over a node, with DISTINCT, ORDER BY and LIMIT."""
        inputs: dict[str, Node] = {}
        for _, written, _ in outputs:
            inputs |= written.inputs
        if select.distinct and self.text.tokens[select.distinct[1] - 1].says(")"):
            on = (select.distinct[0] + 3, select.distinct[1] - 1)
            sql = self._first_of_each(select, outputs, order, on, rewriter)
            sql += self.limit_words(query)
            return self.relational(sql, {"__in": node, **inputs}, ordered=True)
        words = self.select_words(select, outputs)
        if select.distinct or order is not None:
            tail = "" if select.distinct else f", {ORDINAL}"
            sql = f"{words} FROM __in"
            if order is not None:
                sql += f" ORDER BY {order}{tail}"
            sql += self.limit_words(query)
            return self.relational(sql, {"__in": node, **inputs}, ordered=not select.distinct)
        sql = f"{words} FROM __in"
        if any(written.subquery for _, written, _ in outputs):
            sql += f" ORDER BY {ORDINAL}"
            projected = self.relational(sql, {"__in": node, **inputs}, ordered=True)
            return self._limited(projected, query)
        bare = all(written.column for _, written, _ in outputs)
        if not bare and not self.evaluator.row_local(sql, node.schema, self.params_in(words)):
            return self._limited(self.relational(sql, {"__in": node}, ordered=True), query)
        return self._limited(self.project(node, [(n, w) for n, w, _ in outputs]), query)

    def project(self, node: Node, outputs: Sequence[tuple[str, Written]]) -> Node:
        """Columns and expressions of each row; columns as they are need no evaluation."""
        made = [written.sql for _, written in outputs if written.column is None]
        types = iter(self.describe(made, node.schema)) if made else iter(())
        found, fields = [], []
        for name, written in outputs:
            column = written.column
            if column is not None and column in node.schema.names:
                found.append(Output(name, None, (column,)))
                fields.append(node.schema.field(column).with_name(name))
            else:
                found.append(Output(name, written.sql, tuple(sorted(written.uses))))
                fields.append(pa.field(name, next(types)))
        return Project(node, tuple(found), pa.schema(fields))
