"""A plan over endless tables as stages: what may follow what, and what it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pyarrow as pa

from fin_sql.errors import NotStreamableError
from fin_sql.exec.asof import END
from fin_sql.exec.asof import AsofJoin as AsofOperator
from fin_sql.exec.closing import ClosingAggregate, UpsertAggregate
from fin_sql.exec.fragment import Evaluator, params_in
from fin_sql.exec.order import Piece
from fin_sql.exec.windows import KernelWindow as WindowOperator
from fin_sql.sql.arrange import arrives, endless, event_times, origin
from fin_sql.sql.batches import (
    batch_of,
    conformed,
    decoded,
    filtered,
    fragment_inputs,
    order_of,
    text_arguments,
    without_texts,
)
from fin_sql.sql.lower import Run
from fin_sql.sql.plan import (
    Aggregate,
    AsofJoin,
    Concat,
    Filter,
    KernelWindow,
    Limit,
    Node,
    Project,
    Relational,
    Scan,
)
from fin_sql.sql.refusals import why_not, why_not_together
from fin_sql.sql.text import mentioned
from fin_sql.states import Cancel
from fin_sql.stream.intake import joined
from fin_sql.stream.stages import Each, Merged, Operated, Rows, Stage, Windowed

NOT_REPEATED = {"now", "random", "uuid", "current_timestamp", "current_date", "current_time"}


@dataclass(frozen=True)
class Built:
    """A part of a graph.

    Args:
        stage: gives its rows.
        upsert: the columns of a row's key, where later rows take the place of earlier ones.
        retracts: whether rows may take the place of others.
    """

    stage: Stage
    upsert: tuple[str, ...] = ()
    retracts: bool = False


@dataclass
class Flow:
    """Turns the plan of a continuous query into stages.

    Args:
        evaluator: the DataFusion session.
        layouts: how bounded tables lie.
        params: values of the statement's parameters.
        threads: for the calls of a window.
        memory_limit: for what bounded inputs hold.
        cancel: stops the operators from another thread.
        dry: nothing will run: bounded tables are not read.
    """

    evaluator: Evaluator
    layouts: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    memory_limit: int = 1 << 30
    cancel: Cancel = field(default_factory=Cancel)
    dry: bool = False
    inputs: list[tuple[Any, Rows]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    def build(self, node: Node) -> Built:
        """The stages of a node.

        Raises:
            NotStreamableError: it has no meaning over an endless input; the message says why.
        """
        made: Built = {
            Scan: self._scan,
            Project: self._project,
            Filter: self._filter,
            AsofJoin: self._asof,
            KernelWindow: self._window,
            Aggregate: self._aggregate,
            Concat: self._concat,
            Relational: self._relational,
            Limit: self._limit,
        }[type(node)](node)  # type: ignore[operator]
        self.stages.append(made.stage)
        return made

    def static(self, node: Node) -> list[pa.RecordBatch]:
        """The rows of a bounded part of the plan."""
        if self.dry:
            return []
        run = Run(self.evaluator, self.layouts, self.params, threads=self.threads,
                  memory_limit=self.memory_limit, cancel=self.cancel)  # fmt: skip
        return list(run.batches(node))

    # ------------------------------------------------------------ rows by themselves

    def _scan(self, node: Scan) -> Built:
        rows = Rows(node.columns)
        self.inputs.append((node.table, rows))
        key = getattr(node.table.source, "key", None)
        flats = {name: flat for name, flat in node.columns}
        upsert = tuple(flats.get(name, name) for name in key or ())
        return Built(rows, upsert, key is not None)

    def _project(self, node: Project) -> Built:
        below = self.build(node.input)
        made = [o for o in node.outputs if not o.bare]
        self._repeatable(" ".join(o.sql or "" for o in made))
        fragment = None
        used: tuple[str, ...] = ()
        if made:
            fragment, used = self._fragment(node.input, [(o.name, o.sql) for o in made], made)
        outputs, names = node.outputs, [o.name for o in node.outputs]
        places: list[int] = []

        def change(batch: pa.RecordBatch) -> pa.RecordBatch:
            if not places:
                places[:] = [
                    batch.schema.get_field_index(o.uses[0]) if o.bare else -1 for o in outputs
                ]
            values = iter(
                fragment.run(fragment_inputs(batch, used, node.input)) if fragment else ()
            )
            columns = [batch.column(k) if k >= 0 else next(values) for k in places]
            return batch_of(columns, names, batch.num_rows)

        renamed: dict[str, str] = {}
        for output in outputs:
            if output.bare:
                renamed.setdefault(output.uses[0], output.name)
        upsert = tuple(renamed[name] for name in below.upsert if name in renamed)
        if below.retracts and len(upsert) < len(below.upsert):
            missing = ", ".join(sorted(set(below.upsert) - set(renamed)))
            msg = (
                f"a view of a GROUP BY must keep its keys: {missing} is missing in the SELECT list"
            )
            raise NotStreamableError(msg)
        return self._next(below, Each(change), upsert)

    def _filter(self, node: Filter) -> Built:
        below = self.build(node.input)
        if below.retracts:
            self._refuse_upsert("HAVING, or a WHERE over it,")
        self._repeatable(node.sql)
        fragment, used = self._fragment(node.input, [("c", node.sql)], [node])

        def change(batch: pa.RecordBatch) -> pa.RecordBatch | None:
            (mask,) = fragment.run(fragment_inputs(batch, used, node.input))
            if mask.true_count == len(mask):
                return batch
            return filtered(batch, mask) if mask.true_count else None

        return self._next(below, Each(change), below.upsert)

    def _fragment(self, node: Node, items: Sequence[tuple[str, Any]], uses: Sequence[Any]) -> Any:
        used = tuple(dict.fromkeys(name for o in uses for name in o.uses))
        fields = [node.schema.field(name) for name in used] or [pa.field("__ord", pa.int8())]
        text = " ".join(sql for _, sql in items)
        return self.evaluator.over_rows(
            pa.schema(fields), items, params_in(text, self.params)
        ), used

    def _next(self, below: Built, stage: Stage, upsert: tuple[str, ...] = ()) -> Built:
        below.stage.feeds(stage)
        return Built(stage, upsert, below.retracts)

    def _repeatable(self, sql: str) -> None:
        found = mentioned(sql) & NOT_REPEATED if sql else set()
        calls = [name for name in sorted(found) if re.search(rf"\b{name}\s*\(", sql, re.I)]
        calls += [n for n in sorted(found) if n.startswith("current_") and n not in calls]
        if calls:
            msg = f"{calls[0]}() gives another value each time: a continuous query cannot repeat it"
            raise NotStreamableError(msg)

    def _refuse_upsert(self, what: str) -> NoReturn:
        msg = (
            f"{what} cannot follow a GROUP BY without a window of time: its rows change. Group by "
            "TUMBLE(ts, ...) too, or query the view with a SELECT"
        )
        raise NotStreamableError(msg)

    # ------------------------------------------------------------ operators

    def _asof(self, node: AsofJoin) -> Built:
        if not endless(node.left):
            msg = "ASOF JOIN: a bounded left side cannot be joined with an endless one; swap them"
            raise NotStreamableError(msg)
        left = self.build(node.left)
        if left.retracts:
            self._refuse_upsert("ASOF JOIN")
        self._by_time("ASOF JOIN", node.on[0], node.left)
        bounded = not endless(node.right)
        operator = AsofOperator(
            node.left.schema,
            node.right.schema,
            on=node.on,
            by=node.by,
            direction=node.direction,
            tolerance_ns=node.tolerance_ns,
            how=node.how,
            ties=node.ties,
            ties_by=None if bounded else node.ties_by,
            wait="wait" if bounded else node.wait,
            endless=not bounded,
            payload=[(name, name) for name in node.payload],
            keep=node.keep,
            loop="index" if bounded else "time",
            cancel=self.cancel,
        )
        stage = Operated(operator)
        left.stage.feeds(stage, 0)
        columns = [c for c in (node.on[1], node.ties_by) if c]
        if bounded:
            table = pa.Table.from_batches(self.static(node.right), node.right.schema)
            total = origin(node.right, tuple(columns)) is not None
            for batch in table.take(order_of(table, columns, total=total)).to_batches():
                operator.process(1, Piece(batch))
            stage.advance(1, END)
        else:
            self._right_side(node, stage)
        return Built(stage)

    def _right_side(self, node: AsofJoin, stage: Stage) -> None:
        right = self.build(node.right)
        if right.retracts:
            self._refuse_upsert("ASOF JOIN")
        self._by_time("ASOF JOIN", node.on[1], node.right)
        right.stage.feeds(stage, 1)

    def _by_time(self, what: str, column: str, rows: Node) -> None:
        """Check that something goes by the event time of its rows."""
        if arrives(rows):
            self._refuse_arrival(what)
        times = event_times(rows)
        if column not in times:
            known = ", ".join(sorted(times)) or "none: it must be in the SELECT list below"
            msg = (
                f"{what} over an endless table goes by its event time, was '{column}'; it has "
                f"{known}"
            )
            raise NotStreamableError(msg)

    def _refuse_arrival(self, what: str) -> NoReturn:
        msg = (
            f"{what} needs rows in the order of event time, and a table WITH (order = 'arrival') "
            "gives them as they come: leave that option out"
        )
        raise NotStreamableError(msg)

    def _window(self, node: KernelWindow) -> Built:
        below = self.build(node.input)
        if below.retracts:
            self._refuse_upsert("OVER")
        came = arrives(node.input)
        if not came:
            self._by_time("OVER (... ORDER BY ts)", (*node.order_by, "")[0], node.input)
        schema = node.input.schema
        operator = WindowOperator(
            node.calls, schema, node.partition_by, node.order_by, cancel=self.cancel,
            threads=self.threads,
        )  # fmt: skip
        texts = text_arguments(node)

        def prepare(batch: pa.RecordBatch) -> pa.RecordBatch:
            return decoded(batch, texts, schema) if texts else batch

        if operator.needs_whole_ties and came:
            self._refuse_arrival("OVER with a default or a RANGE frame")
        stage: Operated = Operated(operator, (prepare,))
        if operator.needs_whole_ties or (len(node.order_by) > 1 and not came):
            stage = Windowed(operator, prepare, node.order_by, lambda b: joined(b, b[0].schema))
        below.stage.feeds(stage)
        return Built(stage)

    def _aggregate(self, node: Aggregate) -> Built:
        below = self.build(node.input)
        if below.retracts:
            self._refuse_upsert("another GROUP BY")
        if node.others:
            names = ", ".join(sql for _, sql in node.others)
            msg = (
                f"{names}: this aggregate is DataFusion's and is not kept over an endless table yet"
            )
            raise NotStreamableError(msg)

        def prepare(batch: pa.RecordBatch) -> pa.RecordBatch:
            return without_texts(batch, node)

        options = {"cancel": self.cancel, "threads": self.threads}
        schema = node.input.schema
        if node.window is None:
            operator = UpsertAggregate(node.calls, schema, node.keys, None, **options)
            stage = Operated(operator, (prepare,))
            below.stage.feeds(stage)
            return Built(stage, node.keys, True)
        self._by_time("TUMBLE or HOP", node.window.time, node.input)
        closing = ClosingAggregate(node.calls, schema, node.keys, node.window, **options)
        stage = Operated(closing, (prepare,))
        below.stage.feeds(stage)
        return Built(stage)

    def _concat(self, node: Concat) -> Built:
        parts = [self.build(part) for part in node.parts]
        if any(part.retracts for part in parts):
            self._refuse_upsert("UNION ALL")
        if arrives(node):
            self._refuse_arrival("UNION ALL")
        times = event_times(node)
        if not times:
            msg = "UNION ALL of endless tables needs their event times in one column of each"
            raise NotStreamableError(msg)
        time = min(times)

        def conform(batch: pa.RecordBatch) -> pa.RecordBatch:
            return conformed(
                batch_of(batch.columns, node.schema.names, batch.num_rows), node.schema
            )

        merged = Merged(len(parts), time, node.schema, conform)
        for k, built in enumerate(parts):
            built.stage.feeds(merged, k)
        return Built(merged)

    # ------------------------------------------------------------ refused, or per batch

    def _limit(self, node: Limit) -> Built:
        msg = "LIMIT in a continuous query: give it where the view is read"
        raise NotStreamableError(msg)

    def _relational(self, node: Relational) -> Built:
        first = bool(node.named) and endless(node.named[0][1])
        if not first:
            raise NotStreamableError(why_not(node.sql, endless_first=False))
        from fin_sql.sql.lookup import lookup_of

        below = self.build(node.named[0][1])
        if below.retracts:
            self._refuse_upsert("a join")
        if any(endless(part) for _, part in node.named[1:]):
            raise NotStreamableError(why_not_together(node.sql))
        stages = lookup_of(self, node)
        if stages is None:
            raise NotStreamableError(why_not(node.sql, endless_first=True))
        for stage in stages:
            below = self._next(below, stage)
            self.stages.append(stage)
        self.stages.pop()  # as `build` appends the last one
        return below
