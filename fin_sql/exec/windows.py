"""KernelWindow: all kernel calls over one PARTITION BY and ORDER BY, in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import ARROW_TYPES, Slots, column
from fin_sql.errors import (
    KernelError,
    NotStreamableError,
    OrderError,
    SqlError,
    StateVersionError,
)
from fin_sql.exec.calls import Call, Computed
from fin_sql.exec.keys import Keys
from fin_sql.exec.last import LastPlaces, last_peers
from fin_sql.exec.lookahead import rows_ahead, run_whole
from fin_sql.exec.operator import CHANGES, Operator, Reader, last_states, semantic_id
from fin_sql.exec.order import Order, Piece, order_kind
from fin_sql.snapshots import pack, unpack, verify
from fin_sql.states import Cancel, States

SPREAD_ROWS = 4_096  # of a batch whose calls are worth other threads
Job = tuple[int, pa.RecordBatch, Slots, list[tuple[int, int]]]


class KernelWindow(Operator):
    """Appends a column for each call; rows come out as they came in.

    Args:
        calls: what to compute.
        schema: of the input.
        partition_by: the key columns; none means one key.
        order_by: the order columns, the event time first.
        upstream: identity of the input, for the identity of the state.
        ttl_ns: a key whose rows are further apart than this starts anew; 0 means never.
        fetch: asked for keys that may have been evicted (a binary array), gives CHANGES.
        cancel: a flag that stops it from another thread.
        threads: that the calls are spread over; the results are the same.
        whole: all rows come in one batch, so that calls may look ahead.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        schema: pa.Schema,
        partition_by: Sequence[str] = (),
        order_by: Sequence[str] = (),
        *,
        upstream: int = 0,
        ttl_ns: int = 0,
        fetch: Callable[[pa.Array], pa.RecordBatch] | None = None,
        cancel: Cancel | None = None,
        threads: int = 1,
        whole: bool = False,
    ) -> None:
        self.calls = tuple(calls)
        self.partition_by, self.order_by = tuple(partition_by), tuple(order_by)
        self.fetch, self.cancel = fetch, cancel
        self._ttl_ns = ttl_ns
        where = (self.partition_by, self.order_by, upstream, ttl_ns)
        self._parts: list[int] = []
        self._computed: dict[int, Computed] = {}  # equal calls are computed once
        for call in self.calls:
            computed = Computed(call, schema, self.order_by)
            if rows_ahead(computed.bound) and not whole:
                msg = f"{computed.bound.kernel.spec.who} looks ahead and cannot run row by row"
                raise NotStreamableError(msg)
            part = semantic_id(*computed.identity, *where)
            self._parts.append(part)
            self._computed[part] = computed
        self._looking = {part for part, c in self._computed.items() if rows_ahead(c.bound)}
        # Whether rows of equal key and order must come in one batch.
        self.needs_whole_ties = any(c.whole_ties for c in self._computed.values())
        self._threads = min(threads, len(self._computed))
        self._pool: ThreadPoolExecutor | None = None
        self._kinds = [order_kind(schema.field(name)) for name in self.order_by]
        if ttl_ns and self._kinds[:1] not in (["timestamp"], ["int64"]):
            msg = f"ttl_ns needs a time as the first order column, was order_by {self.order_by}"
            raise SqlError(msg)
        self._arrow_kinds = [ARROW_TYPES[kind] for kind in self._kinds]
        self._order_part = semantic_id("order", *where)
        self.id = semantic_id(self._order_part, *sorted(self._computed))
        self.close()

    def close(self) -> None:  # noqa: D102
        self._keys = Keys()
        self._last = LastPlaces(self._kinds, self._ttl_ns)
        self._seconds = dict.fromkeys(self._computed, 0.0)  # that each took for the last batch
        self._states = {part: States(c.bound) for part, c in self._computed.items()}
        self._gone: list[pa.RecordBatch] = []
        self._marks = {}
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def needs(self, input: int = 0) -> Order:  # noqa: D102
        return Order(self.order_by, self.partition_by)

    def process(self, input: int, piece: Piece) -> list[Piece]:  # noqa: D102
        batch = piece.batch
        slots = self._keys.intern([batch[name] for name in self.partition_by], len(batch))
        self._fetch(self._keys.added())
        self._keys.touch(slots)
        stretches = list(self._stretches(batch, slots))
        found = self._outputs([(part, batch, slots, stretches) for part in self._seconds])
        if self.needs_whole_ties and len(batch):
            peers = self._peers(batch, slots)
            for part, computed in self._computed.items():
                if computed.whole_ties:
                    found[part] = found[part].take(peers)
        outputs = [found[part] for part in self._parts]
        names = [*batch.schema.names, *(call.name for call in self.calls)]
        arrays = [*batch.columns, *outputs]
        return [Piece(pa.RecordBatch.from_arrays(arrays, names), piece.ordinals)]

    def _outputs(self, jobs: list[Job]) -> dict[int, pa.Array]:
        if self._threads > 1 and len(jobs[0][1]) >= SPREAD_ROWS:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads)
            made = list(self._pool.map(self._run, jobs))
            # The longest go first, so that the threads end together.
            ordered = sorted(self._seconds.items(), key=lambda item: -item[1])
            self._seconds = dict(ordered)
        else:
            made = [self._run(job) for job in jobs]
        return {job[0]: output for job, output in zip(jobs, made, strict=True)}

    def _run(self, job: Job) -> pa.Array:
        begin = time.perf_counter()
        try:
            return self._computed_over(job)
        finally:
            self._seconds[job[0]] = time.perf_counter() - begin

    def _computed_over(self, job: Job) -> pa.Array:
        part, batch, slots, stretches = job
        computed, states = self._computed[part], self._states[part]
        found = []
        for begin, length in stretches:
            rows, of_rows = batch.slice(begin, length), slots.slice(begin, length)
            if part in self._looking:
                columns = partial(computed.columns, rows)
                found.append(run_whole(states, columns, of_rows, self.cancel))
            else:
                found.append(states.run(computed.columns(rows), of_rows, self.cancel, begin))
            if begin + length < len(batch):
                states.clear_all(slots.slice(begin + length, 1))
        return computed.finish(found[0] if len(found) == 1 else pa.concat_arrays(found))

    def _peers(self, batch: pa.RecordBatch, slots: Slots) -> pa.Array:
        """For each row the last one of its key and order."""
        places = [
            column(batch[name], kind, f"order column '{name}'")
            for name, kind in zip(self.order_by, self._kinds, strict=True)
        ]
        return last_peers(slots, places, [kind == "float64" for kind in self._kinds])

    def _stretches(self, batch: pa.RecordBatch, slots: Slots) -> Iterator[tuple[int, int]]:
        """Check the order, and cut the rows where a key starts anew."""
        if not self.order_by:
            yield 0, len(batch)
            return
        places = [
            column(batch[name], kind, f"order column '{name}'")
            for name, kind in zip(self.order_by, self._kinds, strict=True)
        ]
        begin = 0
        while True:
            try:
                taken = self._last.follow([p.slice(begin) for p in places], slots.slice(begin))
            except KernelError as error:
                raise self._misplaced(batch, begin + (error.row or 0), slots, error) from None
            yield begin, taken
            begin += taken
            if begin == len(batch):
                return
            self._last.states.clear_all(slots.slice(begin, 1))

    def _misplaced(
        self, batch: pa.RecordBatch, row: int, slots: Slots, error: KernelError
    ) -> OrderError:
        key = ", ".join(f"{name} = {_shown(batch[name], row)}" for name in self.partition_by)
        where = f"row {row}{f' ({key})' if key else ''} has {_tuple(self.order_by)} = " + _tuple(
            _shown(batch[name], row) for name in self.order_by
        )
        if error.code == KernelError.MISSING_ARGUMENT:
            msg = f"{where}: NULL and NaN have no place in an order; filter such rows out"
            return OrderError(msg)
        last = _tuple(
            _shown(pa.array([self._last.at(slots[row], k)], kind).cast(batch[name].type), 0)
            for k, (name, kind) in enumerate(zip(self.order_by, self._arrow_kinds, strict=True))
        )
        msg = (
            f"{where}, behind {last} of the row before it; the input must come in the order "
            f"{self.needs()}: sort it, or correct order_by"
        )
        return OrderError(msg)

    def _clear(self, slots: Slots) -> None:
        for states in (self._last.states, *self._states.values()):
            states.clear_all(slots)

    def _all_states(self) -> dict[int, States]:
        ordered = {self._order_part: self._last.states} if self.order_by else {}
        return ordered | self._states

    def _fetch(self, added: Slots) -> None:
        """Bring back what may have been evicted of the keys that this batch added."""
        if self.fetch is not None and len(added):
            self._take(pa.Table.from_batches([self.fetch(self._keys.bytes_of(added))], CHANGES))

    def changes(self) -> pa.RecordBatch:  # noqa: D102
        gone, self._gone = self._gone, []
        return pa.concat_batches([*gone, self._changes_of(self._keys.changed())])

    def _changes_of(self, slots: Slots, *, gone: bool = False) -> pa.RecordBatch:
        keys, groups = self._keys.bytes_of(slots), self._keys.groups_of(slots)
        parts = self._all_states()
        states = [
            pa.nulls(len(slots), pa.large_binary()) if gone else pack(states, slots)
            for states in parts.values()
        ]
        each = np.repeat(np.array(list(parts), np.uint64), len(slots))
        columns = [
            pa.array(each),
            pa.concat_arrays([groups] * len(parts)),
            pa.concat_arrays([keys] * len(parts)),
            pa.concat_arrays(states),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=CHANGES)

    def load(self, key_groups: Collection[int], reader: Reader) -> None:  # noqa: D102
        wanted = pa.array(sorted(key_groups), pa.uint16())
        batches = [batch.filter(pc.is_in(batch["key_group"], wanted)) for batch in reader()]
        self._take(pa.Table.from_batches(batches, CHANGES))

    def _take(self, changes: pa.Table) -> None:
        """Put the last state of each key in its place; all of them are examined first."""
        changes = last_states(changes)
        known = self._all_states()
        by_part = {
            part: changes.filter(pc.field("part") == pa.scalar(part, pa.uint64())).combine_chunks()
            for part in changes["part"].unique().to_pylist()
        }
        if unknown := sorted(set(by_part) - set(known)):
            msg = f"state of parts {unknown} belongs to another query; drop it or keep that query"
            raise StateVersionError(msg)
        packed = {part: _one_array(rows["state"]) for part, rows in by_part.items()}
        for part in by_part:
            verify(known[part], packed[part])
        for part, rows in by_part.items():
            unpack(known[part], self._keys.slots_of(_one_array(rows["key"])), packed[part])
        self._keys.added()

    def drop(self, key_groups: Collection[int]) -> None:  # noqa: D102
        live = self._keys.live()
        wanted = pa.array(sorted(key_groups), pa.uint16())
        chosen = pc.is_in(self._keys.groups_of(live), wanted)
        self._forget(live.filter(chosen))

    def expire(self, before_ns: int) -> int:
        """Forget the keys whose last row lies before a time; `changes` tells that they are gone.

        Returns:
            How many there were.

        Raises:
            SqlError: without `order_by` a key has no last time.
        """
        if not self.order_by:
            msg = "keys expire by the time of their last row: name it in order_by"
            raise SqlError(msg)
        live = self._keys.live()
        old = self._last.before(live, before_ns)
        slots = live.filter(old)
        self._gone.append(self._changes_of(slots, gone=True))
        self._forget(slots)
        return len(slots)

    def advance(self, input: int, watermark_ns: int) -> list[Piece]:  # noqa: D102
        if self._ttl_ns and self.order_by:
            self.expire(watermark_ns - self._ttl_ns)
        return super().advance(input, watermark_ns)

    def _forget(self, slots: Slots) -> None:
        self._clear(slots)
        self._keys.drop(slots)
        if 4 * self._keys.n_keys < 3 * self._keys.n_slots:  # give memory back
            live = self._keys.live()
            for states in self._all_states().values():
                states.keep(live)
            self._keys = self._keys.compacted(live)

    def bytes_held(self) -> int:  # noqa: D102
        return self._keys.bytes_held + sum(s.bytes_held for s in self._all_states().values())

    def evict(self, wanted: int) -> pa.RecordBatch:  # noqa: D102
        each = max(1, self.bytes_held() // max(1, self._keys.n_keys))
        slots = self._keys.coldest(-(-wanted // each))
        gone, self._gone = self._gone, []
        left = pa.concat_batches([*gone, self._changes_of(slots)])
        self._forget(slots)
        return left


def _shown(array: pa.Array, row: int) -> str:
    """A value in words; times keep their nanoseconds."""
    text = array.slice(row, 1).cast(pa.string())[0].as_py()
    return "NULL" if text is None else str(text)


def _tuple(words: Iterable[str]) -> str:
    return f"({', '.join(words)})"


def _one_array(chunked: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(chunked.chunks) if chunked.num_chunks else pa.nulls(0, chunked.type)
