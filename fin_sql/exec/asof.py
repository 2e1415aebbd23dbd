"""AsofJoin: each left row with the right row of its key that is next to it in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.columns import Column, Slots, converted
from fin_sql.errors import ArgumentTypeError, NotStreamableError, SqlError
from fin_sql.exec.asof_index import DIRECTIONS, TIES
from fin_sql.exec.asof_keys import key_slots
from fin_sql.exec.asof_loops import Course, Merge, first_tied, first_time
from fin_sql.exec.asof_rights import (
    Around,
    Behind,
    Indexed,
    Passing,
    Rights,
    Rows,
    Values,
    Waiting,
    cells,
    of_type,
)
from fin_sql.exec.asof_side import Side
from fin_sql.exec.asof_state import AsofState, Held, Places
from fin_sql.exec.asof_stream import Chains
from fin_sql.exec.calls import ordered_cells
from fin_sql.exec.keys import Keys
from fin_sql.exec.operator import CHANGES, Operator, Reader
from fin_sql.exec.operator import END as END
from fin_sql.exec.order import Order, Piece
from fin_sql.states import Cancel

Loop = Literal["time", "key", "index"]
Wait = Literal["wait", "now"] | int
EARLIEST = -(2**63)
HELD = 1 << 18  # right rows that are held before those that no key needs are let go
MANY_KEYS = 1 << 16  # keys that are held before those without rows are looked for


class AsofJoin(Operator):
    """Appends the columns of the right row that each left row meets; left rows keep their order.

    Args:
        left: columns of the left side.
        right: columns of the right side.
        on: the left and the right time.
        by: pairs of key columns.
        direction: how the left time compares with the right one: ">=", ">", "<=", "<", "nearest".
        tolerance_ns: the largest distance, inclusive; of integer times in their unit.
        how: "inner" leaves out left rows that meet nothing.
        ties: which of several right rows of equal key and time is taken: "last", "first", "error".
        payload: (right column, its name in the output).
        keep: the left columns that are put out; None is all.
        loop: how the sides lie. "time": both in order of time; the right rows are held that a left
            row to come may meet. "key": both in order of key and time, for ">=" and ">". "index":
            the right side is held whole, each key of it in order of time; the left side comes in
            any order.
        cancel: stops it from another thread.
        ties_by: a right column, of numbers or times, that orders right rows of equal key and time
            in the loop "time"; NULL comes last.
        wait: what a left row waits for in the loop "time". "wait": until no right row can come
            that it should meet instead. A number of nanoseconds: for that, but at most so long by
            the clock. "now": for nothing; it meets one of the right rows that were given.
        endless: the sides may never end, and `changes` is asked for; "<=", "<" and "nearest" then
            need a tolerance, and the loop is "time".
        upstream: identity of the inputs, for the identity of the state.

    Raises:
        SqlError: an argument is none of what it may be.
        NotStreamableError: it cannot run over sides that never end.
    """

    inputs = ("left", "right")

    def __init__(
        self,
        left: pa.Schema,
        right: pa.Schema,
        *,
        on: tuple[str, str],
        by: Sequence[tuple[str, str]] = (),
        direction: str = ">=",
        tolerance_ns: int | None = None,
        how: str = "left",
        ties: str = "last",
        payload: Sequence[tuple[str, str]] = (),
        keep: Sequence[str] | None = None,
        loop: Loop = "time",
        cancel: Cancel | None = None,
        ties_by: str | None = None,
        wait: Wait = "wait",
        endless: bool = False,
        upstream: int = 0,
    ) -> None:
        if direction not in DIRECTIONS or ties not in TIES or how not in ("left", "inner"):
            raise SqlError(f"AsofJoin: not known: {direction!r}, {ties!r} or {how!r}")
        if wait not in ("wait", "now") and not (isinstance(wait, int) and wait >= 0):
            raise SqlError(f"AsofJoin: wait must be 'wait', 'now' or nanoseconds, was {wait!r}")
        backward = direction in (">=", ">")
        if loop == "key" and not backward:
            raise SqlError(f"AsofJoin: '{direction}' needs loop='time' or 'index', was 'key'")
        if loop != "time" and (endless or ties_by or wait != "wait"):
            raise SqlError(f"AsofJoin: endless, ties_by and wait need loop='time', was '{loop}'")
        if endless and not backward and tolerance_ns is None:
            msg = (
                f"ASOF JOIN over streams: a left row would wait for ever for its right one; "
                f"'{direction}' needs a TOLERANCE"
            )
            raise NotStreamableError(msg)
        if ties_by is not None:
            _must_rank(right.field(ties_by))
        self.on, self.by, self.how, self.ties, self.ties_by = on, tuple(by), how, ties, ties_by
        self.direction, self.loop, self.wait, self.endless = direction, loop, wait, endless
        self.payload = tuple(payload)
        self.keep = tuple(left.names if keep is None else keep)
        self.cancel = cancel
        self._tolerance = -1 if tolerance_ns is None else tolerance_ns
        self._right = right
        self._extra = (1 + (ties_by is not None)) * endless  # columns of right rows: time and rank
        self._needed = list(dict.fromkeys([*self.keep, on[0], *(one for one, _ in self.by)]))
        fields = [left.field(name) for name in self.keep]
        fields += [right.field(c).with_name(n).with_nullable(True) for c, n in self.payload]
        self.schema = pa.schema(fields)
        self._state = AsofState(
            pa.schema([left.field(name) for name in self._needed]),
            pa.schema([right.field(name) for name, _ in self.payload]),
            ranked=ties_by is not None,
            meaning=(on, self.by, direction, tolerance_ns, ties, ties_by, upstream),
        )
        self.id = self._state.id
        self.close()

    def close(self) -> None:  # noqa: D102
        self._begin(Keys())
        self._sides = [self._side(input) for input in range(2)]
        self._lefts: deque[Waiting] = deque()
        self._watermark: int | None = None  # every right row up to it was seen
        self._now: int | None = None
        self._many = MANY_KEYS
        self._state.clear()

    def _side(self, input: int) -> Side:
        course = None
        if self.loop != "index":
            course = Course(self._keys if self.loop == "key" else None)
        by = tuple(pair[input] for pair in self.by)
        name, order = self.inputs[input], self.needs(input)
        return Side(name, self.on[input], by, order, course, self.loop == "time")

    def _begin(self, keys: Keys) -> None:
        """Have no right rows."""
        self._keys = keys
        self._values = Values()
        self._passing: Passing | None = None
        ranked = self.ties_by is not None
        if self.loop == "index":
            self._rights: Rights = Indexed(
                keys, self.direction, self._tolerance, self.ties, str(self.needs(1))
            )
            return
        if self.direction in (">=", ">"):
            merge = Merge(keys, self.direction == ">", self._tolerance, self.ties, ranked)
            self._passing = Behind(merge, by_key=self.loop == "key")
        else:
            chains = Chains(keys, self.direction, self._tolerance, self.ties, ranked, self.endless)
            self._passing = Around(chains)
        self._rights = self._passing

    def needs(self, input: int = 0) -> Order:  # noqa: D102
        if self.loop == "index" and input == 0:
            return Order()
        keys = tuple(pair[input] for pair in self.by)
        if self.loop == "key":
            return Order((*keys, self.on[input]))
        return Order((self.on[input],), keys if self.loop == "index" else ())

    def gives(self) -> Order:  # noqa: D102
        return self.needs(0)

    @property
    def waiting(self) -> bool:
        """Whether left rows wait for right ones."""
        return bool(self._lefts)

    def wants(self) -> int:
        """The input whose next batch lets it go on."""
        if self._sides[1].over:
            return 0
        if self.loop == "index":
            return 1
        return 1 if self._lefts else 0

    # ------------------------------------------------------------ rows and time in

    def process(self, input: int, piece: Piece) -> list[Piece]:  # noqa: D102
        batch = piece.batch
        if self.cancel is not None:
            self.cancel.check()
        if not batch.num_rows:
            return []
        slots = key_slots(self._keys, batch, [pair[input] for pair in self.by])
        name = self.on[input]
        who = f"ASOF JOIN: {self.inputs[input]} time '{name}'"
        ns = converted(batch[name], "timestamp", who)
        times = cells(ns)
        side = self._sides[input]
        side.follow(batch, slots, times)
        if input == 0:
            kept = batch.select(self._needed)
            numbers = range(side.rows - batch.num_rows, side.rows)
            self._lefts.append(Waiting(kept, piece.ordinals, slots, times, numbers, self._now))
            return self._go()
        ranks = None if self.ties_by is None else ordered_cells(batch[self.ties_by])
        self._add(slots, ns, times, ranks, [batch[name] for name, _ in self.payload])
        if self.endless:
            self._keys.touch(slots)
        self._reached()
        return self._go()

    def _add(
        self,
        slots: Slots,
        ns: pa.Int64Array,
        times: Column,
        ranks: pa.Int64Array | None,
        columns: Sequence[pa.Array],
    ) -> None:
        """Take right rows."""
        base = self._values.rows
        extra = [] if ranks is None else [ranks]
        self._values.append([*[ns, *extra][: self._extra], *columns], len(ns))
        rank_cells = None if ranks is None else cells(ranks)
        self._rights.add(Rows(slots, ns, times, rank_cells, base))

    def advance(self, input: int, watermark_ns: int) -> list[Piece]:  # noqa: D102
        self._sides[input].advance(watermark_ns)
        self._reached()
        return self._go()

    def _reached(self) -> None:
        """See how far the right side has come: up to its watermark, and before its last row."""
        right = self._sides[1]
        known = [mark for mark in (right.mark, self._watermark) if mark is not None]
        if right.time is not None and right.time > EARLIEST:
            known.append(right.time - 1)
        self._watermark = max(known, default=None)

    def clock(self, now_ns: int) -> list[Piece]:  # noqa: D102
        self._now = now_ns
        if not isinstance(self.wait, int):
            return []
        for left in reversed(self._lefts):  # nobody waits longer because the clock was set back
            if left.arrived_ns is not None and left.arrived_ns <= now_ns:
                break
            left.arrived_ns = now_ns
        return self._go()

    def watermark(self) -> int | None:  # noqa: D102
        left = self._sides[0]
        if self._lefts and self.loop != "time":
            return None
        mark = left.mark
        if left.time is not None and not left.over:
            mark = left.time - 1
        first = self._first_left()
        if mark is not None and first is not None:
            mark = min(mark, first - 1)
        return None if mark is None or mark < EARLIEST else mark

    def _first_left(self) -> int | None:
        """The least time of the left rows that wait, where they come in order of time."""
        found = (first_time(left.times, left.at) for left in self._lefts)
        return next((time for time in found if time is not None), None)

    # ------------------------------------------------------------ rows out

    def _go(self) -> list[Piece]:
        """Match what can be matched, and let go of what no left row will meet."""
        pieces: list[Piece] = []
        while self._lefts:
            left = self._lefts[0]
            begin = left.at
            out = self._rights.match(left, self._watermark_for(left), self._sides[1].over)
            if left.at > begin:
                pieces += self._put_out(left, out, begin, left.at)
            if not left.done:
                break
            self._lefts.popleft()
        self._let_go()
        return pieces

    def _watermark_for(self, left: Waiting) -> int | None:
        """The watermark of the right side, or END for rows that do not wait for it any longer."""
        if self.wait == "now":
            return END
        if isinstance(self.wait, int) and left.arrived_ns is not None and self._now is not None:
            if self._now - left.arrived_ns >= self.wait:
                return END
        return self._watermark

    def _put_out(self, left: Waiting, out: pa.Buffer, begin: int, end: int) -> list[Piece]:
        if self.ties == "error" and (row := first_tied(out, begin, end)) >= 0:
            raise self._tied(left.batch, row)
        batch = left.batch.slice(begin, end - begin)
        ordinals = left.ordinals.slice(begin, end - begin)
        columns = self._values.take(out, begin, end, self._extra)
        if columns is None:
            columns = [
                pa.nulls(end - begin, self._right.field(name).type) for name, _ in self.payload
            ]
        columns = [*(batch[name] for name in self.keep), *columns]
        names = self.schema.names
        found = pa.RecordBatch.from_arrays(columns, names) if names else _no_columns(end - begin)
        if self.how == "inner":
            rows = pa.Array.from_buffers(pa.int64(), end - begin, [None, out], offset=begin)
            met = pc.greater_equal(rows, 0)
            kept = met.true_count
            if kept < len(met):
                found = found.filter(met) if found.num_columns else _no_columns(kept)
                ordinals = ordinals.filter(met)
        return [Piece(found, ordinals)] if found.num_rows else []

    def _tied(self, batch: pa.RecordBatch, row: int) -> SqlError:
        names = (*(one for one, _ in self.by), self.on[0])
        shown = ", ".join(
            f"{name} = {batch[name].slice(row, 1).cast(pa.string())[0].as_py()}" for name in names
        )
        return SqlError(
            f"ASOF JOIN: the left row with {shown} meets several right rows of one key "
            "and time; take TIES LAST or TIES FIRST, or order them by TIES ... BY a column"
        )

    def _let_go(self) -> None:
        """Forget right rows that no left row can meet any more."""
        rights = self._passing
        if rights is None:
            return
        bound = self._bound()
        if bound is not None:
            rights.take_until(bound)
        if self.endless and self._keys.n_keys >= self._many:
            self._forget_keys()
        held = self._values.rows
        if held >= HELD + 2 * self._keys.n_slots and rights.ahead(held) <= held // 2:
            self._values.keep(rights.carried(held))

    def _bound(self) -> int | None:
        """No left row before this time will be matched."""
        first = self._first_left() if self.loop == "time" else None
        return self._sides[0].time if first is None else first

    # ------------------------------------------------------------ state

    def changes(self) -> pa.RecordBatch:  # noqa: D102
        self._must_keep()
        lefts = self._held_lefts()
        changed = self._keys.changed().array()
        rights = self._held_rights(changed)
        return self._state.changes(self._keys, changed, rights, lefts, self._places())

    def _must_keep(self) -> None:
        if not self.endless:
            msg = "an ASOF JOIN over sides that end cannot be checkpointed; make it endless=True"
            raise NotStreamableError(msg)

    def _places(self) -> Places:
        left, right = self._sides
        return Places(
            left.mark, right.mark, left.time, right.time, left.rows, right.rows, self._now
        )

    def _held_lefts(self) -> Held:
        """The left rows that wait, by key; NULL is a key of its own here."""
        slots = [pa.array([], pa.int32())]
        for left in self._lefts:
            columns = [left.batch[one].slice(left.at) for one, _ in self.by]
            slots.append(self._keys.intern(columns, left.batch.num_rows - left.at).array())
        of_slots = Slots.of(pa.concat_arrays(slots), self._keys.n_slots)
        return self._state.held_lefts(self._lefts, of_slots)

    def _held_rights(self, chosen: pa.Int32Array | None = None) -> Held:
        """The right rows that are held, by key: all, or those of some keys."""
        assert self._passing is not None
        slots, rows = self._passing.held()
        if chosen is not None:
            among = pc.is_in(slots, chosen)
            slots, rows = slots.filter(among), rows.filter(among)
        columns = self._values.take(rows.buffers()[1], 0, len(rows)) if len(rows) else None
        found = self._state.rights.rows(columns) if columns else self._state.rights.nothing
        timed = found.column(0).is_valid()
        return Held(slots.filter(timed), found.filter(timed)).by_key()

    def _hold(self, lefts: Held, rights: Held) -> None:
        """Have these rows and no others."""
        self._begin(self._keys)
        in_time = rights.take(pc.sort_indices(rights.rows.column(0)))
        rows, ns = in_time.rows, in_time.rows.column(0)
        columns = [
            of_type(array, self._right.field(name).type)
            for array, (name, _) in zip(rows.columns[self._extra :], self.payload, strict=True)
        ]
        ranks = rows.column(1) if self.ties_by is not None else None
        if len(ns):
            of_slots = Slots.of(in_time.slots, self._keys.n_slots)
            self._add(of_slots, ns, cells(ns), ranks, columns)
        self._lefts.clear()
        for batch, ordinals, numbers, arrived in self._state.waiting_lefts(lefts):
            left_slots = key_slots(self._keys, batch, [one for one, _ in self.by])
            times = cells(converted(batch[self.on[0]], "timestamp", "ASOF JOIN"))
            self._lefts.append(Waiting(batch, ordinals, left_slots, times, numbers, arrived))
        self._let_go()

    def load(self, key_groups: Collection[int], reader: Reader) -> None:
        """Take the state of some key groups, from batches of CHANGES.

        The times that both sides had come to are kept with the key group of the empty key; a
        worker without it learns them from `advance`.

        Raises:
            StateError: the state is foreign or damaged; nothing of it was taken.
        """
        self._must_keep()
        wanted = pa.array(sorted(key_groups), pa.uint16())
        batches = [batch.filter(pc.is_in(batch["key_group"], wanted)) for batch in reader()]
        changes = pa.Table.from_batches(batches, CHANGES)
        lefts, rights = self._held_lefts(), self._held_rights()
        more_rights, more_lefts, places = self._state.read(changes, self._keys)
        self._state.own(key_groups)
        if places is not None:
            self._take_places(places)
        self._hold(
            lefts.without(more_lefts.slots).followed_by(more_lefts),
            rights.without(more_rights.slots).followed_by(more_rights),
        )
        self._keys.added()

    def _take_places(self, places: Places) -> None:
        left, right = self._sides
        for side, mark, time, rows in (
            (left, places.left_mark, places.left_time, places.left_rows),
            (right, places.right_mark, places.right_time, places.right_rows),
        ):
            if mark is not None:
                side.advance(mark)
            if time is not None:
                side.goes_on_from(time)
            side.rows = max(side.rows, rows)
        self._reached()
        self._now = places.now if self._now is None else self._now

    def drop(self, key_groups: Collection[int]) -> None:  # noqa: D102
        self._must_keep()
        lefts, rights = self._held_lefts(), self._held_rights()
        live = self._keys.live()
        wanted = pa.array(sorted(key_groups), pa.uint16())
        gone = live.filter(pc.is_in(self._keys.groups_of(live), wanted))
        self._state.disown(key_groups)
        self._keys.drop(gone)
        self._hold(lefts.without(gone.array()), rights.without(gone.array()))

    def _forget_keys(self) -> None:
        """Let go of the keys that have no rows any more; `changes` tells that they are gone."""
        assert self._passing is not None
        if (bound := self._bound()) is not None:
            self._passing.expire(bound)
        lefts, rights = self._held_lefts(), self._held_rights()
        live = pc.unique(pa.concat_arrays([rights.slots, lefts.slots]))
        changed = self._keys.changed().array()
        known = pc.is_in(changed, live)
        self._state.forget(self._keys, changed.filter(pc.invert(known)))
        self._keys.touch(Slots.of(changed.filter(known), self._keys.n_slots))
        self._many = max(MANY_KEYS, 2 * len(live))
        if 2 * len(live) < self._keys.n_slots:
            self._keys = self._keys.compacted(Slots.of(live, self._keys.n_slots))
            slots = pc.index_in(rights.slots, live)
            self._hold(lefts, Held(slots, rights.rows))

    def bytes_held(self) -> int:  # noqa: D102
        waiting = sum(left.batch.nbytes for left in self._lefts)
        return int(
            self._values.bytes_held + waiting + self._keys.bytes_held + self._rights.bytes_held
        )


def _must_rank(field: pa.Field) -> None:
    kind = field.type
    tests = ("integer", "floating", "timestamp", "date")
    if not any(getattr(pa.types, f"is_{test}")(kind) for test in tests):
        msg = f"ASOF JOIN: TIES BY '{field.name}' takes numbers and times, was {kind}; cast it"
        raise ArgumentTypeError(msg)


def _no_columns(rows: int) -> pa.RecordBatch:
    return pa.record_batch({"_": pa.nulls(rows)}).select([])
