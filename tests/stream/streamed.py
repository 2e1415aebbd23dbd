"""Queries over logs in memory: as a stream, and as the bounded table that they are."""

from __future__ import annotations

import pyarrow as pa

import fin_sql
from fin_sql.sql.batches import conformed
from fin_sql.sql.flow import Flow
from fin_sql.sql.statement import read_statement
from fin_sql.stream.intake import EventTime
from fin_sql.stream.run import Pipeline, Running
from fin_sql.stream.stages import Collector
from fin_sql.stream.tables import StreamingTable, ViewTable
from fin_sql.stream.views import KeyedView, Retain, RetainedView
from fin_sql.testing.compare import assert_same_bits
from fin_sql.testing.log import LogSource, dealt


def same_rows(found, wanted, what):
    """Raise AssertionError with the first value in which two tables differ."""
    assert found.schema.names == wanted.schema.names
    for name in wanted.schema.names:
        left, right = (table[name].combine_chunks() for table in (found, wanted))
        assert_same_bits(left, right, f"{what}: column '{name}'")


class Logs:
    """Tables dealt out to logs, which each read cuts in its own way.

    Args:
        tables: rows in the order of `ts`, by name.
        partitions: of each log.
        by: a column whose rows go to one partition; None deals at random.
        seed: how rows are dealt out.
        disorder_ns: rows come late by up to so much.
        delay_ns: how late a row may come.
        static: names of tables that are no logs.
    """

    def __init__(
        self, tables, partitions=3, by="symbol", seed=0, disorder_ns=0, delay_ns=0, static=()
    ):
        self.logs, self.static, self.delay_ns = {}, {}, delay_ns
        for k, (name, rows) in enumerate(tables.items()):
            if name in static:
                self.static[name] = rows
            else:
                n = 1 + (partitions + k) % 7
                self.logs[name] = dealt(rows, n, by, seed, disorder_ns)

    def session(self, seed):
        """A session that knows them; `seed` cuts the polls."""
        ctx = fin_sql.connect(threads=1 + seed % 2)
        for name, rows in self.static.items():
            ctx.register(name, rows)
        for name, parts in self.logs.items():
            time = EventTime("ts", self.delay_ns, None)
            table = StreamingTable(
                name, parts[0].schema, time, lambda n=name, p=parts: LogSource(n, p, seed)
            )
            ctx.streams.take_up(table)
        return ctx

    def batch(self, sql, seed=0):
        """The rows of a SELECT over what is there."""
        return self.session(seed).sql(sql).to_arrow()

    def stream(self, sql, seed=0, threaded=False):
        """The rows of a view of the same query, when the logs have ended."""
        ctx = self.session(seed)
        plan = read_statement(sql, {}, ctx).plan
        flow = Flow(ctx.evaluator, ctx.layouts, threads=ctx.threads)
        built = flow.build(plan)
        view = RetainedView(plan.schema, Retain())
        if built.retracts:
            view = KeyedView(plan.schema, built.upsert)
        running = Running("v", view, ViewTable("v", view, None), flow.inputs, flow.stages)
        built.stage.feeds(
            Collector(running.take, lambda batch: conformed(batch, plan.schema), running.reach)
        )
        pipeline = Pipeline(bounded=True, threaded=threaded)
        pipeline.add(running)
        if threaded:
            pipeline.start()
            assert pipeline.wait(60)
            pipeline.stop()
            if running.error is not None:
                raise running.error
        else:
            pipeline.run()
        self.counts = {feed.table.name: feed.intake.counts for feed in pipeline.feeds()}
        return pa.Table.from_batches(view.snapshot().batches, plan.schema)
