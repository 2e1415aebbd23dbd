"""A plan as a stream of batches: operators, fragments of DataFusion, and what is sorted between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.errors import SqlError
from fin_sql.exec import asof
from fin_sql.exec import windows as exec_windows
from fin_sql.exec.aggregate import KernelAggregate
from fin_sql.exec.ahead import ahead
from fin_sql.exec.batch import bounded
from fin_sql.exec.fragment import Evaluator, RowFragment, params_in
from fin_sql.exec.order import Piece, Verdict
from fin_sql.exec.spool import Spool
from fin_sql.exec.ties import whole_ties
from fin_sql.sql.arrange import endless, event_times, join_plan, window_lie
from fin_sql.sql.batches import (
    Batches,
    batch_of,
    conformed,
    decoded,
    filtered,
    fragment_inputs,
    is_text,
    numbered,
    one_batch,
    order_of,
    text_arguments,
    without_texts,
)
from fin_sql.sql.beside import beside
from fin_sql.sql.once import Once, own_errors, started
from fin_sql.sql.plan import (
    ORDINAL,
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
from fin_sql.states import Cancel
from fin_sql.stream.intake import END, NEVER
from fin_sql.stream.stages import Collector, Merged, times_ns

# Batches are as large as memory allows: each call loads the states of its keys once a batch.
BATCH_BYTES = 64 << 20


@dataclass
class Counted:
    """What EXPLAIN ANALYZE says of a node."""

    rows: int = 0
    seconds: float = 0.0


@dataclass
class Run:
    """One execution of a plan.

    Args:
        evaluator: the DataFusion session.
        layouts: how tables lie, as far as it was proven.
        params: values of the statement's parameters.
        threads: for the calls of a window.
        memory_limit: bytes that a wait for all rows may hold before it goes to a file.
        batch_rows: most rows of a scan's batch; wide rows come in smaller ones.
        cancel: stops it from another thread.
        progress: is told of the rows that were scanned.
    """

    evaluator: Evaluator
    layouts: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    memory_limit: int = 1 << 30
    batch_rows: int = 524_288
    cancel: Cancel = field(default_factory=Cancel)
    progress: Callable[[int], None] | None = None
    counted: dict[int, Counted] | None = None
    moments: dict[int, Any] = field(default_factory=dict)  # of the views that it reads

    def batches(self, node: Node) -> Batches:
        """The rows of a plan, in the types of its schema."""
        with closing(self.stream(node)) as stream:
            for batch in stream:
                if batch.num_rows:
                    yield conformed(batch, node.schema)

    def stream(self, node: Node) -> Batches:
        """The rows of a node; texts may be dictionaries."""
        made = _LOWER[type(node)](self, node)
        return made if self.counted is None else self._counting(node, made)

    def _counting(self, node: Node, stream: Batches) -> Batches:
        assert self.counted is not None
        counted = self.counted.setdefault(id(node), Counted())
        while True:
            begin = time.perf_counter()
            batch = next(stream, None)
            counted.seconds += time.perf_counter() - begin
            if batch is None:
                return
            counted.rows += batch.num_rows
            yield batch

    # ------------------------------------------------------------ rows

    def scan(self, node: Scan) -> Batches:
        """Read a table; its texts come as dictionaries."""
        columns = [name for name, _ in node.columns]
        texts = [n for n in columns if is_text(node.table.schema.field(n).type)]
        names = [flat for _, flat in node.columns]
        distinct = list(dict.fromkeys(columns))
        rows = max(BATCH_BYTES // _row_bytes(node), 8_192)
        scanned = self._source(node).scan(
            distinct, encoded=texts, batch_rows=min(rows, self.batch_rows), bounds=node.bounds
        )
        for batch in scanned:
            self.cancel.check()
            if self.progress:
                self.progress(batch.num_rows)
            if distinct != columns:
                batch = batch.select(columns)
            yield batch_of(batch.columns, names, batch.num_rows)

    def _source(self, node: Scan) -> Any:
        """Where rows are read; a view has the same ones wherever the statement names it."""
        source = node.table.source
        moment = getattr(source, "moment", None)
        if moment is None:
            return source
        if id(source) not in self.moments:
            self.moments.setdefault(id(source), moment())
        return self.moments[id(source)]

    def project(self, node: Project) -> Batches:
        """Columns as they are, and expressions by DataFusion."""
        made = [o for o in node.outputs if not o.bare]
        fragment: RowFragment | None = None
        used: tuple[str, ...] = ()
        if made:
            fragment, used = self._fragment(node.input, [(o.name, o.sql) for o in made], made)
        for batch in self.stream(node.input):
            values = iter(
                fragment.run(fragment_inputs(batch, used, node.input)) if fragment else ()
            )
            columns = [batch[o.uses[0]] if o.bare else next(values) for o in node.outputs]
            yield batch_of(columns, [o.name for o in node.outputs], batch.num_rows)

    def _fragment(
        self, node: Node, items: Sequence[tuple[str, Any]], uses: Sequence[Any]
    ) -> tuple[RowFragment, tuple[str, ...]]:
        used = tuple(dict.fromkeys(name for o in uses for name in o.uses))
        fields = [node.schema.field(name) for name in used] or [pa.field(ORDINAL, pa.int8())]
        text = " ".join(sql for _, sql in items)
        params = params_in(text, self.params)
        return self.evaluator.over_rows(pa.schema(fields), items, params), used

    def filter(self, node: Filter) -> Batches:
        """The rows for which a condition is true."""
        fragment, used = self._fragment(node.input, [("c", node.sql)], [node])
        for batch in self.stream(node.input):
            (mask,) = fragment.run(fragment_inputs(batch, used, node.input))
            if not pa.types.is_boolean(mask.type):
                raise SqlError(f"a condition must be true or false, '{node.sql}' is {mask.type}")
            if mask.true_count == len(mask):
                yield batch
            elif mask.true_count:
                yield filtered(batch, mask)

    def limit(self, node: Limit) -> Batches:
        """Some rows; the input is not asked for more."""
        skip, left = node.offset, node.count
        if left == 0:
            return
        with closing(self.stream(node.input)) as stream:
            for batch in stream:
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                batch = batch.slice(skip, left)
                skip = 0
                if left is not None:
                    left -= batch.num_rows
                yield batch
                if left == 0:
                    return

    def concat(self, node: Concat) -> Batches:
        """One input after the other; those that never end are merged by their event time."""
        times = event_times(node) if endless(node) else None
        if times:
            yield from self._merged(node, min(times))
            return
        for part in node.parts:
            yield from self._renamed(part, node)

    def _merged(self, node: Concat, time: str) -> Batches:
        """The rows of all inputs, each in the order of event time, in that order."""
        streams = [self._renamed(part, node) for part in node.parts]
        ready: list[pa.RecordBatch] = []
        stage = Merged(len(streams), time, node.schema, lambda batch: batch)
        stage.feeds(Collector(ready.append, lambda batch: batch))
        reached = [NEVER] * len(streams)
        while min(reached) < END:
            k = reached.index(min(reached))
            batch = next(streams[k], None)
            if batch is None:
                reached[k] = END
            elif batch.num_rows:
                stage.rows(k, batch)
                reached[k] = times_ns(batch[time])[-1] - 1  # more rows of that time may follow
            stage.advance(k, reached[k])
            yield from ready
            ready.clear()

    def _renamed(self, part: Node, node: Concat) -> Batches:
        """The rows of a part under the names of the whole."""
        for batch in self.stream(part):
            batch = conformed(batch, part.schema)
            yield batch_of(batch.columns, node.schema.names, batch.num_rows)

    # ------------------------------------------------------------ our operators

    def asof(self, node: AsofJoin) -> Batches:
        """Two inputs, of which the one that is behind is asked for more."""
        plan = join_plan(node, self.layouts)
        streams = [self.stream(node.left), self.stream(node.right)]
        if plan.loop == "index" and not plan.right.keyed:
            columns = [c for c in (node.on[1], node.ties_by) if c]
            streams[1] = self._sorted(node.right, streams[1], columns, total=plan.right.total)
        join = asof.AsofJoin(
            node.left.schema,
            node.right.schema,
            on=node.on,
            by=node.by,
            direction=node.direction,
            tolerance_ns=node.tolerance_ns,
            how=node.how,
            ties=node.ties,
            payload=[(name, name) for name in node.payload],
            keep=node.keep,
            loop=plan.loop,
            cancel=self.cancel,
        )
        yield from bounded(join, streams)

    def window(self, node: KernelWindow) -> Batches:
        """All calls in one pass; what does not lie in order is sorted, and put back."""
        lie = window_lie(node, self.layouts)
        operator = exec_windows.KernelWindow(
            node.calls,
            node.input.schema,
            node.partition_by,
            node.order_by,
            cancel=self.cancel,
            threads=self.threads,
            whole=node.looks_ahead,
        )
        texts = text_arguments(node)
        rows = self.stream(node.input)
        stream: Iterator[pa.RecordBatch] = ahead(rows) if self.threads > 1 else rows
        if texts:
            stream = (decoded(batch, texts, node.input.schema) for batch in stream)
        if not lie.keyed:
            yield from self._window_over_sorted(node, operator, stream, total=lie.total)
            return
        if node.looks_ahead:
            stream = iter(one_batch([conformed(b, node.input.schema) for b in stream], node))
        elif operator.needs_whole_ties:
            keys = () if lie.verdict is Verdict.TIME else node.partition_by
            if lie.verdict is Verdict.WITHIN:
                stream = iter(one_batch([conformed(b, node.input.schema) for b in stream], node))
            else:
                stream = whole_ties(stream, (*keys, *node.order_by))
        try:
            for batch in stream:
                for piece in operator.process(0, Piece(batch)):
                    yield piece.batch
        finally:
            operator.close()

    def _window_over_sorted(
        self,
        node: KernelWindow,
        operator: Any,
        stream: Iterator[pa.RecordBatch],
        *,
        total: bool,
    ) -> Batches:
        schema = node.input.schema
        batches = [conformed(batch, schema) for batch in stream]
        table = pa.Table.from_batches(batches, schema).combine_chunks()
        if not table.num_rows:
            return
        order = order_of(table, node.order_by, total=total)
        needed = list(
            dict.fromkeys(
                [*node.partition_by, *node.order_by, *(a for c in node.calls for a in c.args)]
            )
        )
        rows = table.select(needed).take(order).combine_chunks().to_batches()[0]
        found = []
        whole = operator.needs_whole_ties or node.looks_ahead
        step = len(rows) if whole else self.batch_rows
        try:
            for begin in range(0, len(rows), step):
                for piece in operator.process(0, Piece(rows.slice(begin, step))):
                    found.append(piece.batch.select([c.name for c in node.calls]))
        finally:
            operator.close()
        back = np.empty(len(rows), np.int64)
        back[order.to_numpy()] = np.arange(len(rows))
        made = pa.Table.from_batches(found).take(pa.array(back))
        for call in node.calls:
            table = table.append_column(call.name, made[call.name])
        yield from table.to_batches(self.batch_rows)

    def aggregate(self, node: Aggregate) -> Batches:
        """All rows into the states of their groups; other aggregates by DataFusion beside it."""
        operator = KernelAggregate(
            node.calls,
            node.input.schema,
            node.keys,
            node.window,
            cancel=self.cancel,
            threads=self.threads,
        )
        rows = self.stream(node.input)
        stream: Iterator[pa.RecordBatch] = ahead(rows) if self.threads > 1 else rows
        stream = (without_texts(batch, node) for batch in stream)
        try:
            more: dict[str, pa.Array] = {}
            if node.others:
                more = beside(self, node, operator, stream)
            else:
                for batch in stream:
                    operator.process(0, Piece(batch))
            whole = operator.groups(more)
            for begin in range(0, whole.num_rows, self.batch_rows):
                yield whole.slice(begin, self.batch_rows)
        finally:
            operator.close()

    def _sorted(
        self, node: Node, stream: Batches, columns: Sequence[str], *, total: bool
    ) -> Batches:
        """All rows in the order of some columns; equal ones keep their order."""
        batches = [conformed(batch, node.schema) for batch in stream]
        table = pa.Table.from_batches(batches, node.schema)
        yield from table.take(order_of(table, columns, total=total)).to_batches(self.batch_rows)

    # ------------------------------------------------------------ DataFusion

    def relational(self, node: Relational) -> Batches:
        """A query over whole inputs."""
        spools: list[Spool] = []
        try:
            data = {
                name: self._input(node, k, name, part, spools)
                for k, (name, part) in enumerate(node.named)
            }
            with self.evaluator.tables(data):
                frame = self.evaluator.sql(node.sql, params_in(node.sql, self.params))
                rows = started(frame, self.cancel)
            for batch in own_errors(rows, [d for d in data.values() if isinstance(d, Once)]):
                self.cancel.check()
                found = batch.to_pyarrow()
                yield batch_of(found.columns, node.schema.names, found.num_rows)
        finally:
            for spool in spools:
                spool.close()

    def _input(
        self, node: Relational, k: int, name: str, part: Node, spools: list[Spool]
    ) -> ds.Dataset:
        """An input as DataFusion reads it: as a stream where that is safe, else whole."""
        schema, stream = part.schema, self.batches(part)
        if node.ordered and k == 0:
            schema = schema.append(pa.field(ORDINAL, pa.int64()))
            stream = numbered(stream, schema)
        if not len(schema):  # DataFusion counts rows by a column
            schema = pa.schema([pa.field(ORDINAL, pa.int8())])
            stream = (batch_of([pa.nulls(b.num_rows, pa.int8())], [ORDINAL], 0) for b in stream)
        # A CTE that is used twice is read twice.
        once = node.sql.count(name) == 1 and "WITH " not in node.sql
        if once and self.pure(part):
            return Once(schema, stream)
        spools.append(Spool(schema, self.memory_limit))
        return spools[-1].extend(stream).dataset()

    def pure(self, node: Node) -> bool:
        """Whether no DataFusion runs below: such a node may be read from inside of a plan."""
        if isinstance(node, (Relational, Filter)) or self.counted is not None:
            return False
        if isinstance(node, Aggregate) and node.others:
            return False
        if isinstance(node, Project) and not all(o.bare for o in node.outputs):
            return False
        return all(self.pure(part) for part in node.inputs)


_LOWER: dict[type, Callable[[Run, Any], Batches]] = {
    Scan: Run.scan,
    Project: Run.project,
    Filter: Run.filter,
    Limit: Run.limit,
    Concat: Run.concat,
    AsofJoin: Run.asof,
    Aggregate: Run.aggregate,
    KernelWindow: Run.window,
    Relational: Run.relational,
}


def _row_bytes(node: Scan) -> int:
    """About how many bytes a row has."""
    kinds = [node.table.schema.field(name).type for name, _ in node.columns]
    return sum(max(1, k.bit_width // 8) if pa.types.is_primitive(k) else 16 for k in kinds) or 1
