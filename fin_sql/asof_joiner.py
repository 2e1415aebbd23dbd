"""AsofJoiner: right rows come in as they happen, and are asked for by key and time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.asof import ALIASES, Names, _nanoseconds, _one_of, _table, must_compare
from fin_sql.columns import column
from fin_sql.errors import OrderError, SqlError, StateCorruptError, UnknownNameError
from fin_sql.exec.asof_history import History
from fin_sql.exec.asof_index import DIRECTIONS, TIES
from fin_sql.exec.asof_keys import key_slots
from fin_sql.exec.asof_loops import first_tied
from fin_sql.exec.asof_store import store_of
from fin_sql.exec.keys import Keys

MAGIC = b"fin_sql.AsofJoiner 1\n"


class AsofJoiner:
    """The right side of an ASOF join that grows; see `fin_sql.asof_join` for the semantics.

    Args:
        on: the time column, or a pair of left and right name.
        by: key columns: names, or pairs of left and right name.
        direction: ">=", ">", "<=", "<" or "nearest".
        tolerance: the largest distance, inclusive: a timedelta, or an integer in nanoseconds.
        ties: "last", "first" or "error".
        look_back: right rows that lie this far behind the newest are forgotten; a timedelta, or an
            integer in nanoseconds. Without it all are kept.
        suffix: added to right columns whose name the left side has too.

    Raises:
        SqlError: an argument is none of what it may be.
    """

    def __init__(
        self,
        *,
        on: str | tuple[str, str],
        by: Names = (),
        direction: str = ">=",
        tolerance: timedelta | int | None = None,
        ties: Literal["last", "first", "error"] = "last",
        look_back: timedelta | int | None = None,
        suffix: str = "_right",
    ) -> None:
        direction = ALIASES.get(direction, direction)
        _one_of("direction", direction, (*DIRECTIONS, *ALIASES))
        _one_of("ties", ties, TIES)
        pairs = [(p, p) if isinstance(p, str) else p for p in ([by] if isinstance(by, str) else by)]
        self._on = (on, on) if isinstance(on, str) else on
        self._by, self._suffix = pairs, suffix
        self._direction, self._ties = direction, ties
        self._tolerance, self._look_back = _nanoseconds(tolerance), _nanoseconds(look_back)
        said = (self._on, pairs, direction, self._tolerance, ties, self._look_back)
        self._said = repr(said).encode()
        self._clear()

    def _clear(self) -> None:
        self._keys = Keys()
        tolerance = -1 if self._tolerance is None else self._tolerance
        self._history = History(self._direction, tolerance, self._ties)
        self._schema: pa.Schema | None = None
        self._stores: list[Any] = []
        self._slots: dict[Any, int] = {}
        self._rows = 0
        self._newest = -(2**63)

    def add_right(self, rows: Any) -> None:
        """Take right rows, of each key in order of time; none is taken if one is out of order.

        Args:
            rows: anything with `__arrow_c_stream__`, or pandas; the same columns every time.

        Raises:
            OrderError: a row comes before one of its key that was taken.
            SqlError: other columns than before.
        """
        table = _table(rows, "right")
        if self._schema is not None and table.schema != self._schema:
            was = dict(zip(table.schema.names, table.schema.types, strict=True))
            raise SqlError(
                f"AsofJoiner: the right rows must have the columns {self._schema.names} of the "
                f"same types as before, were {was}"
            )
        for name in (self._on[1], *(r for _, r in self._by)):
            if name not in table.schema.names:
                raise UnknownNameError("column", name, table.schema.names, who="AsofJoiner, right")
        for batch in table.combine_chunks().to_batches():
            slots = key_slots(self._keys, batch, [r for _, r in self._by])
            times = column(batch[self._on[1]], "timestamp", f"AsofJoiner: time '{self._on[1]}'")
            late = self._history.first_misplaced(slots, times)
            if late >= 0:
                shown = batch[self._on[1]].slice(late, 1).cast(pa.string())[0].as_py()
                raise OrderError(
                    f"AsofJoiner: right row {late} at {shown} comes before one of its key that was "
                    "taken; add rows in order of time"
                )
            if self._schema is None:
                self._open(table.schema)
            self._history.add(slots, times, self._rows)
            for store, array in zip(self._stores, batch.columns, strict=True):
                store.append(array)
            self._rows += batch.num_rows
            newest = _newest(batch[self._on[1]])
            if self._look_back is not None and newest is not None:
                self._newest = max(self._newest, newest)
                self._history.forget(self._newest - self._look_back)
                if self._rows > 2 * self._history.n_rows + 65_536:
                    self._compact()

    def _open(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._stores = [store_of(kind) for kind in schema.types]

    def _compact(self) -> None:
        kept = self._history.renumber()
        for store in self._stores:
            store.keep(kept)
        self._rows = len(kept)

    def join(self, rows: Any) -> pa.Table:
        """Give left rows, in any order, the right row that each meets by now.

        Shapes: one output row for each left row: its columns, then the right ones without the keys
        and, where it has the same name on both sides, without the time.
        """
        left = _table(rows, "left").combine_chunks()
        if self._schema is not None:
            must_compare(left.schema, self._schema, self._on, self._by, "AsofJoiner")
        batch = left.to_batches()[0] if left.num_rows else left
        slots = key_slots(self._keys, batch, [one for one, _ in self._by])
        name = self._on[0]
        times = column(batch[name], "timestamp", f"AsofJoiner: left time '{name}'")
        out = self._history.match(slots, times)
        if (tied := first_tied(out, 0, left.num_rows)) >= 0:
            raise SqlError(
                f"AsofJoiner: left row {tied} meets several right rows of one key and time"
            )
        for right in self._payload():
            shown = right + self._suffix if right in left.column_names else right
            left = left.append_column(shown, self._store(right).take(out, 0, left.num_rows))
        return left

    def _payload(self) -> list[str]:
        dropped = {r for _, r in self._by} | (
            {self._on[1]} if self._on[0] == self._on[1] else set()
        )
        return [n for n in self._schema.names if n not in dropped] if self._schema else []

    def _store(self, name: str) -> Any:
        assert self._schema is not None
        return self._stores[self._schema.names.index(name)]

    def probe(self, key: Any, ts: datetime | int) -> dict[str, Any] | None:
        """The right row that a left row of this key and time would meet; None if none.

        Args:
            key: a value, or a tuple of as many as there are keys.
            ts: a datetime (without a zone: UTC), or nanoseconds.
        """
        row = self._row(key, ts if isinstance(ts, int) else pa.scalar(ts, pa.timestamp("ns")).value)
        if row < 0:
            return None
        return {name: self._store(name).one(row) for name in self._payload()}

    def _row(self, key: Any, ts: int) -> int:
        slot = self._slots.get(key)
        if slot is None:
            if self._schema is None:
                return -1
            values = key if isinstance(key, tuple) else (key,) if self._by else ()
            if len(values) != len(self._by):
                raise SqlError(f"AsofJoiner: a key has {len(self._by)} values, was {key!r}")
            parts = {
                right: pa.array([value], self._schema.field(right).type)
                for (_, right), value in zip(self._by, values, strict=True)
            }
            one = pa.record_batch(parts) if parts else pa.record_batch({"_": [0]})
            slot = self._slots[key] = key_slots(self._keys, one, list(parts))[0]
        found = self._history.find(slot, ts)
        if found == -2:
            raise SqlError(f"AsofJoiner: key {key!r} meets several right rows of one time")
        return found

    def snapshot(self) -> bytes:
        """All right rows that are held, as bytes for `restore`."""
        sink = io.BytesIO()
        sink.write(MAGIC)
        if self._schema is not None:
            self._compact()
            rows = pa.array(range(self._rows), pa.int64())
            arrays = [store.take(rows.buffers()[1], 0, self._rows) for store in self._stores]
            table = pa.Table.from_arrays(arrays, schema=self._schema)
            table = table.replace_schema_metadata({"joiner": self._said})
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        return sink.getvalue()

    def restore(self, data: bytes) -> None:
        """Take the rows of a snapshot, in place of all that were added.

        Raises:
            StateCorruptError: it is damaged, or of a joiner with other arguments; nothing changed.
        """
        table = None
        if data[: len(MAGIC)] != MAGIC:
            raise StateCorruptError("AsofJoiner: these bytes are no snapshot of a joiner")
        if len(data) > len(MAGIC):
            try:
                table = pa.ipc.open_stream(data[len(MAGIC) :]).read_all()
                table.validate(full=True)
            except (pa.ArrowException, OSError) as error:
                raise StateCorruptError(f"AsofJoiner: the snapshot is damaged: {error}") from None
            metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
            if metadata.get(b"joiner") != self._said:
                raise StateCorruptError(
                    "AsofJoiner: the snapshot is of a joiner with other arguments"
                )
        self._clear()
        if table is not None:
            self.add_right(table.replace_schema_metadata(None))


def _newest(times: pa.Array) -> int | None:
    """The latest time in nanoseconds; of integers the largest."""
    if not pa.types.is_integer(times.type):
        times = times.cast(pa.timestamp("ns", getattr(times.type, "tz", None))).view(pa.int64())
    return pc.max(times).as_py()  # type: ignore[no-any-return]
