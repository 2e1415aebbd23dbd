"""The last place in the order of each key: what every row is compared with as it passes."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memset

from fin_sql.abi cimport ABSENT, Bound, Functions, Kernel, cell
from fin_sql.columns cimport Column, Slots
from fin_sql.errors import KernelError
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.states cimport States

cdef enum:
    MAX_ORDER = 6               # order columns, the ordinal among them
    BACKWARDS = -1
    STALE = -2


cdef struct Last:
    int64_t seen
    cell at[MAX_ORDER]


cdef int in_order(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    """Take the row's place; p: columns, bits of those that are doubles, time to live or 0."""
    cdef Last* s = <Last*> state
    cdef int k
    cdef bint less, more
    if s.seen:
        for k in range(p[0].i):
            if p[1].i >> k & 1:
                less, more = x[k].f < s.at[k].f, x[k].f > s.at[k].f
            else:
                less, more = x[k].i < s.at[k].i, x[k].i > s.at[k].i
            if less:
                return BACKWARDS
            if more:
                break
        if p[2].i and x[0].i - s.at[0].i > p[2].i:
            return STALE
    s.seen = 1
    for k in range(p[0].i):
        s.at[k] = x[k]
    return ABSENT


class LastPlaces:
    """The last row of each slot, in an order of some columns.

    Args:
        kinds: "timestamp", "int64" or "float64" for each order column.
        ttl_ns: a key that was silent for longer is stale; 0 means never.
    """

    def __init__(self, kinds, int64_t ttl_ns=0):
        cdef Kernel kernel = Kernel.__new__(Kernel)
        if len(kinds) > MAX_ORDER:
            raise ValueError(f"an order has at most {MAX_ORDER} columns, not {len(kinds)}")
        kernel.spec = Spec(
            name="order",
            summary="The last place in the order.",
            shape="aggregate",
            args=tuple(Arg(f"column_{k}", kind) for k, kind in enumerate(kinds)),
            params=tuple(Param(name, type="int64") for name in ("columns", "doubles", "ttl")),
            returns=Out("bool"),
            nulls="reject",
            errors={BACKWARDS: "came too late", STALE: "is stale"},
            definition=None,
            source="",
            example="",
        )
        kernel.n_args = len(kinds)
        kernel.n_outs = 1
        memset(&kernel.c, 0, sizeof(Functions))
        kernel.c.step = in_order
        kernel.c.size = sizeof(Last)
        doubles = sum(1 << k for k, kind in enumerate(kinds) if kind == "float64")
        self.kinds = kinds
        self.states = States(Bound(kernel, {
            "columns": len(kinds), "doubles": doubles, "ttl": ttl_ns,
        }))

    def follow(self, list columns, Slots slots):
        """Take rows up to the first whose key was silent for too long.

        Returns:
            How many rows were taken.

        Raises:
            KernelError: a row came before the last of its key, or has no place; `row` says which.
        """
        try:
            self.states.fold(columns, slots)
        except KernelError as error:
            if error.code != STALE:
                raise
            return error.row
        return slots.n

    def at(self, Py_ssize_t slot, Py_ssize_t k):
        """The value of order column k in the last row of a slot; None before the first."""
        cdef States states = self.states
        cdef Last* last
        if slot >= states.capacity:
            return None
        last = <Last*> states.block(slot)
        if not last.seen:
            return None
        return last.at[k].f if self.kinds[k] == "float64" else last.at[k].i

    def before(self, Slots slots, int64_t event_ns):
        """Which of some slots had their last row before a time: a boolean Arrow array."""
        return pa.array([
            place is None or place < event_ns
            for place in (self.at(slots[i], 0) for i in range(slots.n))
        ], pa.bool_())


def last_peers(Slots slots, list columns, doubles):
    """For each row the last row of its key that is equal in all order columns.

    Rows of one key and equal order follow each other within the key; an int64 Arrow array.
    `doubles` tells of each column whether it is compared as a double: its two zeros are equal.
    """
    cdef Py_ssize_t i, n = slots.n, row
    cdef int k, n_columns = len(columns)
    cdef int32_t slot
    cdef int64_t is_double = sum(1 << k for k, double in enumerate(doubles) if double)
    cdef bint same
    cdef const cell* values[MAX_ORDER]
    for k in range(n_columns):
        values[k] = (<Column> columns[k]).values
    found = pa.allocate_buffer(n * 8)
    newest = pa.allocate_buffer(8 * max(1, slots.top))
    cdef int64_t* out = <int64_t*> <uintptr_t> found.address
    cdef int64_t* last = <int64_t*> <uintptr_t> newest.address
    with nogil:
        memset(last, 0xFF, 8 * slots.top)
        for i in range(n - 1, -1, -1):
            slot = slots.values[i] if slots.values != NULL else 0
            row = last[slot]
            same = row >= 0
            for k in range(n_columns):
                if is_double >> k & 1:
                    same = same and values[k][i].f == values[k][row].f
                else:
                    same = same and values[k][i].i == values[k][row].i
            out[i] = row = row if same else i
            last[slot] = row
    return pa.Array.from_buffers(pa.int64(), n, [None, found])
