"""States of a bound kernel over many interleaved keys, and the drivers that move them on."""

import pyarrow as pa

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, MAX_ARGS, MAX_OUTS, MISSING, NO_MEMORY, REJECTED, TOO_LARGE,
    Bound, Room, Rows, absorb, cell, drive, step_fn,
)
from fin_sql._loops cimport (
    BLOCK, Given, Scratch, allocate, find_missing, finish, follow, given_by, release,
)
from fin_sql.columns cimport Column, Slots
from fin_sql.columns import arrow_type, build
from fin_sql.errors import ArgumentTypeError, CancelledError, KernelError, StateVersionError

cdef enum:
    POLICY_SKIP = 0
    POLICY_ROW = 1
    POLICY_REJECT = 2

cdef double NAN = float("nan")

DEFAULT_MAX_STATE_BYTES = 64 << 20


cdef class Cancel:
    """A flag that stops drivers from another thread."""

    def set(self):
        """Stop every run that was given this flag, within 8 192 rows."""
        self.flag = 1

    def check(self):
        """Raise CancelledError once it is set."""
        if self.flag:
            raise CancelledError("the query was cancelled")


cdef void arguments(const Given* given, int n_args, Py_ssize_t begin, int policy, bint strict,
                    Rows* rows, Scratch* scratch) noexcept nogil:
    """Point the rows at their arguments, by the kernel's rule for missing ones."""
    cdef Py_ssize_t i, k
    cdef cell nothing
    cdef cell* patched
    cdef bint any_missing = False
    rows.code = 0
    rows.missing = NULL
    if policy != POLICY_ROW:
        memset(scratch.missing, 0, rows.n)
    for k in range(n_args):
        rows.columns[k] = given[k].values + begin
        if policy != POLICY_ROW:
            any_missing |= find_missing(&given[k], begin, rows.n, strict, scratch.missing)
            continue
        memset(scratch.missing, 0, rows.n)
        if find_missing(&given[k], begin, rows.n, strict, scratch.missing):
            if given[k].floating:
                nothing.f = NAN
            else:
                nothing.i = MISSING
            patched = scratch.patched + k * BLOCK
            for i in range(rows.n):
                patched[i] = nothing if scratch.missing[i] else given[k].values[begin + i]
            rows.columns[k] = patched
    if any_missing:
        rows.missing = scratch.missing
        if policy == POLICY_REJECT:
            rows.code = REJECTED
            while not scratch.missing[rows.at]:
                rows.at += 1


cdef class States:
    """One block of state for each slot of a bound kernel.

    Args:
        bound: the kernel and its parameters.
        max_state_bytes: bound of one slot's block for kernels that grow.
    """

    def __cinit__(self, Bound bound, int64_t max_state_bytes=DEFAULT_MAX_STATE_BYTES):
        self.bound = bound
        self.c = bound.kernel.c
        self.size = bound.state_size
        self.max_state_bytes = max_state_bytes

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.blocks != NULL:
            for i in range(self.capacity):
                free(self.blocks[i])
        free(self.blocks)
        free(self.states)

    cdef char* block(self, Py_ssize_t slot) noexcept nogil:
        return self.blocks[slot] if self.blocks != NULL else self.states + slot * self.size

    cdef int64_t block_bytes(self, Py_ssize_t slot) noexcept nogil:
        if self.blocks == NULL:
            return self.size
        return (<Room*> self.blocks[slot]).bytes if self.blocks[slot] != NULL else 0

    cdef int enlarge(self, Py_ssize_t slot) noexcept nogil:
        """Double the block of a slot; 0, TOO_LARGE or NO_MEMORY."""
        cdef int64_t held = self.block_bytes(slot)
        cdef int64_t wanted = 2 * held if held else max(self.size, 64)
        cdef char* larger
        if wanted > self.max_state_bytes:
            wanted = self.max_state_bytes
        if wanted <= held:
            return TOO_LARGE
        larger = <char*> calloc(1, wanted)
        if larger == NULL:
            return NO_MEMORY
        if held:
            memcpy(larger, self.blocks[slot], held)
            free(self.blocks[slot])
        (<Room*> larger).bytes = wanted
        self.blocks[slot] = larger
        return 0

    def reserve(self, Py_ssize_t slots):
        """Make room for slots 0 .. slots - 1; new ones are empty.

        Raises:
            MemoryError: the machine has no more memory.
        """
        cdef bint grows = self.bound.kernel.grows
        cdef Py_ssize_t i, each = sizeof(char*) if grows else self.size
        cdef void* larger
        if slots <= self.capacity or self.size == 0:
            return
        if slots > self.room:
            i = max(slots, 2 * self.room)
            larger = realloc(<void*> self.blocks if grows else <void*> self.states, i * each)
            if larger == NULL:
                raise MemoryError
            if grows:
                self.blocks = <char**> larger
            else:
                self.states = <char*> larger
            self.room = i
        if grows:
            memset(&self.blocks[self.capacity], 0, (slots - self.capacity) * each)
            for i in range(self.capacity, slots):
                self.capacity = i + 1
                if self.enlarge(i) != 0:
                    raise MemoryError
        else:
            memset(self.states + self.capacity * each, 0, (slots - self.capacity) * each)
        self.capacity = slots

    @property
    def bytes_held(self):
        """Bytes of all blocks."""
        cdef int64_t total = (self.room - self.capacity) * self.size if self.blocks == NULL else 0
        cdef Py_ssize_t i
        for i in range(self.capacity):
            total += self.block_bytes(i)
        return total

    def run(self, list columns, Slots slots, Cancel cancel=None, Py_ssize_t first_row=0):
        """Move the states on by these rows and return the output of each, in row order.

        An aggregate gives its running value. Shapes: n rows in, an Arrow array of n out. Messages
        count rows from `first_row`.

        Raises:
            KernelError: the kernel refused a row; rows before it may have been taken.
            CancelledError: `cancel` was set.
        """
        out = self.bound.kernel.spec.returns
        self.first_row = first_row
        if out.many:
            return self._run_lists(columns, slots.n)
        cdef Py_ssize_t n = slots.n, nulls = 0
        values = [pa.allocate_buffer(n * 8) for _ in out.leaves]
        emitted = pa.allocate_buffer((n + 7) // 8)
        nulls = self._blocks(columns, slots, cancel, values, emitted, self.c.step)
        return build(out, values, emitted, n, nulls)

    def fold(self, list columns, Slots slots, Cancel cancel=None):
        """Take rows into an aggregate's states without asking for its value."""
        self.first_row = 0
        self._blocks(columns, slots, cancel, None, None, self.c.step)

    def unfold(self, list columns, Slots slots, Cancel cancel=None):
        """Take rows back out of an aggregate's states."""
        if self.c.retract == NULL:
            msg = f"{self.bound.kernel.spec.who}: rows cannot be taken back from its state"
            raise KernelError(msg)
        self._blocks(columns, slots, cancel, None, None, self.c.retract)

    cdef Py_ssize_t _blocks(self, list columns, Slots slots, Cancel cancel, list values,
                            object emitted, step_fn step) except -1:
        """Run in blocks; returns the number of NULL outputs."""
        cdef Py_ssize_t n = slots.n, begin = 0, m, k, nulls = 0
        cdef int n_args = self.bound.kernel.n_args, n_outs = self.bound.kernel.n_outs
        cdef int policy = {
            "skip": POLICY_SKIP, "propagate": POLICY_SKIP, "row": POLICY_ROW, "own": POLICY_ROW,
            "reject": POLICY_REJECT,
        }[self.bound.kernel.spec.nulls]
        cdef bint strict = self.bound.kernel.spec.shape != "scalar"
        cdef cell* outs[MAX_OUTS]
        cdef bint floating[MAX_OUTS]
        cdef uint8_t* bits = NULL
        cdef Scratch scratch
        cdef Rows rows
        cdef int* flag = &cancel.flag if cancel is not None else NULL
        cdef bint running = values is not None and self.c.value != NULL
        cdef bint folding = values is None and (self.c.loop == NULL or step != self.c.step)
        cdef bint single = n_outs == 1 and not self.bound.kernel.spec.returns.fields
        cdef Given given[MAX_ARGS]
        for k, column in enumerate(checked(self.bound.kernel.spec, columns, n)):
            given[k] = given_by(column)
        self.reserve(slots.top)
        for k, leaf in enumerate(self.bound.kernel.spec.returns.leaves):
            outs[k] = <cell*> <uintptr_t> values[k].address if values is not None else NULL
            floating[k] = leaf.type == "float64"
        if values is not None:
            bits = <uint8_t*> <uintptr_t> emitted.address
        memset(&rows, 0, sizeof(rows))
        rows.p = self.bound.p
        rows.size = self.size
        allocate(&scratch, n_args)
        rows.emitted = scratch.emitted
        with nogil:
            while begin < n and rows.code >= 0 and not (flag != NULL and flag[0]):
                m = min(BLOCK, n - begin)
                rows.n = m
                rows.at = 0
                rows.slots = slots.values + begin if slots.values != NULL else NULL
                arguments(given, n_args, begin, policy, strict, &rows, &scratch)
                if rows.code == REJECTED:
                    break
                for k in range(n_outs):
                    rows.outs[k] = outs[k] + begin if outs[k] != NULL else NULL
                while rows.at < m:
                    rows.states = self.states
                    rows.blocks = self.blocks
                    if running:
                        follow(self.c.step, self.c.value, n_args, n_outs, &rows)
                    elif folding:
                        absorb(step, n_args, &rows)
                    elif self.c.loop != NULL:
                        self.c.loop(&rows)
                    else:
                        drive(step, n_args, n_outs, &rows)
                    if rows.code == GROW:
                        rows.code = self.enlarge(rows.slots[rows.at] if rows.slots else 0)
                    if rows.code < 0:
                        break
                if rows.code < 0:
                    break
                if bits != NULL:
                    nulls += finish(&rows, single, floating, n_outs, n_args, strict,
                                    bits + (begin >> 3))
                begin += m
            release(&scratch)
        if rows.code < 0:
            self._raise(rows.code, columns, begin + rows.at)
        if flag != NULL and flag[0]:
            raise CancelledError(f"{self.bound.kernel.spec.who}: cancelled at row {begin}")
        return nulls

    cdef int _raise(self, int code, list columns, Py_ssize_t row) except -1:
        spec = self.bound.kernel.spec
        if code == NO_MEMORY:
            raise MemoryError
        shown = ", ".join(
            f"{arg.name} = {shown_cell(column, row, arg.type)}"
            for arg, column in zip(spec.args, columns)
        )
        row += self.first_row
        if code == TOO_LARGE:
            msg = (
                f"{spec.who} at row {row}: the state of one key would need more than "
                f"{self.max_state_bytes} bytes ({spec.bound or 'it keeps every value'}); "
                "raise max_state_bytes or take fewer rows a group"
            )
            raise KernelError(msg, row, code)
        if code == REJECTED:
            reason = "no argument may be NULL, NaN or infinite"
        else:
            reason = spec.errors.get(code, f"error {code}")
        raise KernelError(f"{spec.who} at row {row}: {reason}; was {shown}", row, code)

    def _run_lists(self, list columns, Py_ssize_t n):
        """The lists of a scalar kernel whose output has many rows for one."""
        out = self.bound.kernel.spec.returns
        cdef list given = checked(self.bound.kernel.spec, columns, n)
        cdef int n_outs = self.bound.kernel.n_outs, code = 0
        cdef cell x[MAX_ARGS]
        cdef Py_ssize_t i, k
        cdef int64_t count, total = 0
        offsets = pa.allocate_buffer((n + 1) * 4)
        there = pa.allocate_buffer(n)
        cdef int32_t* ends = <int32_t*> <uintptr_t> offsets.address
        cdef uint8_t* emitted = <uint8_t*> <uintptr_t> there.address
        ends[0] = 0
        for i in range(n):
            emitted[i] = row_of(given, i, x)
            count = self.c.count(self.bound.p, x) if emitted[i] else 0
            if count < 0:
                self._raise(<int> count, given, i)
            total += count
            if total > 0x7FFFFFFF:
                self._raise(TOO_LARGE, given, i)
            ends[i + 1] = <int32_t> total
        items = pa.allocate_buffer(total * n_outs * sizeof(cell))
        cdef cell* found = <cell*> <uintptr_t> items.address
        for i in range(n):
            if emitted[i]:
                row_of(given, i, x)
                code = self.c.step(NULL, self.bound.p, x, found + ends[i] * n_outs)
                if code < 0:
                    self._raise(code, given, i)
                if code == ABSENT:
                    emitted[i] = 0
                    memset(found + ends[i] * n_outs, 0,
                           (ends[i + 1] - ends[i]) * n_outs * sizeof(cell))
        leaves = [pa.allocate_buffer(total * 8) for _ in out.fields]
        cdef cell* leaf
        for k in range(n_outs):
            leaf = <cell*> <uintptr_t> leaves[k].address
            for i in range(total):
                leaf[i] = found[i * n_outs + k]
        structs = build(type(out)(fields=out.fields), leaves, None, total, 0)
        bits = pa.Array.from_buffers(pa.uint8(), n, [None, there]).cast(pa.bool_()).buffers()[1]
        return pa.Array.from_buffers(arrow_type(out), n, [bits, offsets], children=[structs])

    def values(self, Py_ssize_t n, Slots slots=None):
        """The values of an aggregate's slots 0 .. n - 1, or of `slots`, as an Arrow array of n."""
        out = self.bound.kernel.spec.returns
        cdef Py_ssize_t i, k, nulls = 0, begin = 0
        cdef cell found[MAX_OUTS]
        cdef cell* outs[MAX_OUTS]
        cdef bint floating[MAX_OUTS]
        cdef int code = 0, n_outs = self.bound.kernel.n_outs
        cdef Rows rows
        cdef bint single = not out.fields
        self.reserve(n if slots is None else slots.top)
        buffers = [pa.allocate_buffer(n * 8) for _ in out.leaves]
        emitted = pa.allocate_buffer((n + 7) // 8)
        flags = bytearray(n)
        cdef uint8_t[::1] there = flags
        cdef uint8_t* bits = <uint8_t*> <uintptr_t> emitted.address
        memset(&rows, 0, sizeof(rows))
        for k, leaf in enumerate(out.leaves):
            outs[k] = <cell*> <uintptr_t> buffers[k].address
            floating[k] = leaf.type == "float64"
        for i in range(n):
            code = self.c.value(self.block(i if slots is None else slots.values[i]),
                                self.bound.p, found)
            if code < 0:
                self._raise(code, [], i)
            there[i] = code == EMIT
            for k in range(n_outs):
                outs[k][i] = found[k]
        while begin < n:
            rows.n = min(BLOCK, n - begin)
            rows.emitted = &there[begin]
            for k in range(n_outs):
                rows.outs[k] = outs[k] + begin
            nulls += finish(&rows, single, floating, n_outs, 0, True, bits + (begin >> 3))
            begin += rows.n
        return build(out, buffers, emitted, n, nulls)

    def merge(self, Py_ssize_t slot, States other, Py_ssize_t other_slot):
        """Merge another state of the same bound kernel into a slot.

        Raises:
            StateVersionError: the other state belongs to another kernel or other parameters.
        """
        cdef int code
        if other.bound.header != self.bound.header or self.c.merge == NULL:
            msg = f"{self.bound}: cannot merge a state of {other.bound}"
            raise StateVersionError(msg)
        self.reserve(slot + 1)
        other.reserve(other_slot + 1)
        code = GROW
        while code == GROW:
            code = self.c.merge(self.block(slot), other.block(other_slot), self.bound.p)
            if code == GROW and self.enlarge(slot) == 0:
                continue
            if code == GROW:
                self._raise(TOO_LARGE, [], 0)
        if code < 0:
            self._raise(code, [], 0)

    def keep(self, Slots live):
        """Move the i-th of `live` to slot i, and free everything else."""
        cdef Py_ssize_t i
        cdef States kept = States(self.bound, self.max_state_bytes)
        if self.size == 0:
            return
        self.reserve(live.top)
        if self.blocks == NULL:
            kept.states = <char*> calloc(max(1, live.n), self.size)
        else:
            kept.blocks = <char**> calloc(max(1, live.n), sizeof(char*))
        if kept.states == NULL and kept.blocks == NULL:
            raise MemoryError
        kept.capacity = kept.room = live.n
        for i in range(live.n):
            if self.blocks == NULL:
                memcpy(kept.block(i), self.block(live.values[i]), self.size)
            else:               # the block changes hands
                kept.blocks[i] = self.blocks[live.values[i]]
                self.blocks[live.values[i]] = NULL
        self.states, kept.states = kept.states, self.states
        self.blocks, kept.blocks = kept.blocks, self.blocks
        self.capacity, kept.capacity = kept.capacity, self.capacity
        self.room, kept.room = kept.room, self.room

    def clear_all(self, Slots slots):
        """Empty some slots."""
        cdef Py_ssize_t i
        for i in range(slots.n):
            self.clear(slots.values[i] if slots.values != NULL else 0)

    def clear(self, Py_ssize_t slot):
        """Empty a slot."""
        if slot >= self.capacity:
            return
        if self.blocks == NULL:
            memset(self.block(slot), 0, self.size)
            return
        free(self.blocks[slot])
        self.blocks[slot] = NULL
        if self.enlarge(slot) != 0:
            raise MemoryError


cdef list checked(object spec, list columns, Py_ssize_t n):
    """The argument columns, if they fit the kernel."""
    cdef Column column
    if len(columns) != len(spec.args):
        raise ArgumentTypeError(
            f"{spec.who}: takes {spec.arity()}, was given {len(columns)} columns"
        )
    for arg, column in zip(spec.args, columns):
        if column.n != n:
            raise ArgumentTypeError(
                f"{spec.who}: argument '{arg.name}' must have {n} rows, has {column.n}"
            )
    return columns


cdef bint row_of(list columns, Py_ssize_t i, cell* x) except -1:
    """Gather one row; False where an argument is NULL."""
    cdef Column column
    cdef Py_ssize_t k, bit
    for k in range(len(columns)):
        column = columns[k]
        bit = column.valid_offset + i
        if column.valid != NULL and not column.valid[bit >> 3] >> (bit & 7) & 1:
            return False
        x[k] = column.values[i]
    return True


def shown_cell(Column column, Py_ssize_t row, str kind):
    """A value as messages show it."""
    cdef cell x[1]
    if not row_of([column], row, x):
        return "NULL"
    return repr(x[0].f if kind == "float64" else x[0].i)
