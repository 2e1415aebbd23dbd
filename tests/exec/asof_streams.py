"""Random runs of AsofJoin over streams, each step compared with a plain definition over lists."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from fin_sql.exec.asof import END, AsofJoin
from fin_sql.exec.keys import KEY_GROUPS
from fin_sql.exec.operator import CHANGES
from fin_sql.exec.order import Ordinals, Piece
from fin_sql.testing.compare import assert_same_bits

DIRECTIONS = (">=", ">", "<=", "<", "nearest")
PAYLOAD = [("y", "y"), ("real", "real"), ("text", "text"), ("code", "code")]
CODES = pa.dictionary(pa.int32(), pa.string())
RIGHT = pa.schema(
    [
        pa.field("t", pa.timestamp("ns")),
        pa.field("k", pa.string()),
        pa.field("y", pa.int64()),
        pa.field("real", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("code", CODES),
        pa.field("seq", pa.float64()),
    ]
)
LEFT = pa.schema(
    [
        pa.field("u", pa.timestamp("ns")),
        pa.field("j", CODES),
        pa.field("x", pa.int64()),
        pa.field("unused", pa.float64()),
    ]
)


def times(rng, n, span):
    """In order, with many equal ones and a few NULLs."""
    return [None if rng.random() < 0.06 else int(t) for t in np.sort(rng.integers(0, span, n))]


def keys(rng, n):
    return [None if k == 3 else f"key {k}" for k in rng.integers(0, 4, n)]


@dataclass
class Sides:
    """Rows of both sides, as lists and as batches."""

    rng: np.random.Generator
    n: int = 40
    m: int = 40
    span: int = 30
    left: list = field(init=False)
    right: list = field(init=False)

    def __post_init__(self):
        rng = self.rng
        self.left = list(zip(times(rng, self.n, self.span), keys(rng, self.n), strict=True))
        seqs = [None if s == 3 else float(s) for s in rng.integers(-1, 4, self.m)]
        seqs = [float("nan") if s == 2 else s for s in seqs]
        both = times(rng, self.m, self.span), keys(rng, self.m), seqs
        self.right = list(zip(*both, strict=True))
        self.real = [[0.0, -0.0, np.nan, 1e-320, None][i] for i in rng.integers(0, 5, self.m)]

    def left_rows(self, begin, end):
        rows = self.left[begin:end]
        columns = [
            pa.array([t for t, _ in rows], pa.timestamp("ns")),
            pa.array([k for _, k in rows], pa.string()).dictionary_encode(),
            pa.array(range(begin, end), pa.int64()),
            pa.array([0.5] * len(rows)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=LEFT)

    def right_rows(self, begin, end):
        rows = self.right[begin:end]
        names = [None if i % 5 == 0 else f"text {i % 7}" for i in range(begin, end)]
        columns = [
            pa.array([t for t, _, _ in rows], pa.timestamp("ns")),
            pa.array([k for _, k, _ in rows], pa.string()),
            pa.array(range(begin, end), pa.int64()),
            pa.array(self.real[begin:end], pa.float64(), from_pandas=False),
            pa.array(names, pa.string()),
            pa.array(names, pa.string()).dictionary_encode(),
            pa.array([s for _, _, s in rows], pa.float64(), from_pandas=False),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=RIGHT)


@dataclass(frozen=True)
class Way:
    """How sides are joined."""

    direction: str
    tolerance: int | None = None
    ties: str = "last"
    how: str = "left"
    keyed: bool = True
    ranked: bool = False
    wait: str | int = "wait"

    def operator(self, loop="time", endless=False):
        options = {"ties_by": "seq"} if self.ranked else {}
        return AsofJoin(
            LEFT,
            RIGHT,
            on=("u", "t"),
            by=[("j", "k")] if self.keyed else (),
            direction=self.direction,
            tolerance_ns=self.tolerance,
            how=self.how,
            ties=self.ties,
            payload=PAYLOAD,
            keep=["x", "u"],
            loop=loop,
            wait=self.wait,
            endless=endless,
            **options,
        )

    def fits(self, t, u):
        return {
            ">=": u <= t, ">": u < t, "<=": u >= t, "<": u > t, "nearest": True
        }[self.direction]  # fmt: skip

    def candidates(self, row, rights):
        """Numbers and times of the right rows that a left row may meet, whatever the tolerance."""
        t, key = row
        if t is None or (self.keyed and key is None):
            return []
        return [
            (i, u)
            for i, (u, k, _) in enumerate(rights)
            if u is not None and self.fits(t, u) and (not self.keyed or k == key)
        ]

    def met(self, row, rights):
        """The right row that a left row meets among those that were given; "tied" is an error."""
        near = [
            (i, u)
            for i, u in self.candidates(row, rights)
            if self.tolerance is None or abs(u - row[0]) <= self.tolerance
        ]
        if not near:
            return None
        time = min((abs(u - row[0]), u) for _, u in near)[1]
        tied = [i for i, u in near if u == time]
        if self.ranked:  # NULL last, NaN before it
            ranks = {i: rank(rights[i][2]) for i in tied}
            tied.sort(key=lambda i: (ranks[i], i))
        if self.ties == "error" and len(tied) > 1:
            return "tied"
        return tied[0] if self.ties == "first" else tied[-1]

    def allowed(self, row, rights, mark):
        """Whether a left row may go out, by the table of the design."""
        t, key = row
        if t is None or (self.keyed and key is None) or mark == END:
            return True
        if self.direction in (">=", ">"):
            return mark >= t - (self.direction == ">")
        ends = [] if self.tolerance is None else [t + self.tolerance]
        ends += [t + abs(u - t) for _, u in self.candidates(row, rights)]
        return bool(ends) and mark >= min(ends)


def rank(seq):
    if seq is None:
        return (2, 0.0)
    return (1, 0.0) if np.isnan(seq) else (0, seq)


class Run:
    """A join fed with batches and watermarks, and beside it the lists of what it was fed."""

    def __init__(self, sides, way, endless=True):
        self.sides, self.way, self.endless = sides, way, endless
        self.join = way.operator(endless=endless)
        self.given, self.marks, self.now = [0, 0], [None, None], None
        self.arrived = []
        self.wanted, self.found, self.out, self.pieces = [], [], 0, []
        self.store = {}
        self.watermarks = []

    def rows_left(self, input):
        return (len(self.sides.left), len(self.sides.right))[input] - self.given[input]

    def give(self, input, rows):
        begin = self.given[input]
        end = self.given[input] = begin + rows
        if input == 0:
            self.arrived += [self.now] * rows
            numbers = pa.array(range(begin, end), pa.int64())
            split = Ordinals(3, 1, begin) if begin % 2 else Ordinals(3, 1, 0, numbers)
            piece = Piece(self.sides.left_rows(begin, end), split)
        else:
            piece = Piece(self.sides.right_rows(begin, end))
        self.take(self.join.process(input, piece))

    def advance(self, input, mark):
        self.marks[input] = mark if self.marks[input] is None else max(mark, self.marks[input])
        self.take(self.join.advance(input, mark))

    def clock(self, now):
        self.now = now
        self.arrived = [now if a is None else min(a, now) for a in self.arrived]
        self.take(self.join.clock(now))

    def next_time(self, input):
        """A watermark must stay below it."""
        rows = (self.sides.left, self.sides.right)[input][self.given[input] :]
        return next((row[0] for row in rows if row[0] is not None), END)

    def right_mark(self):
        given = [u for u, _, _ in self.sides.right[: self.given[1]] if u is not None]
        known = [m for m in (self.marks[1], given[-1] - 1 if given else None) if m is not None]
        return max(known, default=-(2**63))

    def take(self, pieces):
        """What came out must be what may come out, no more and no less."""
        rights = self.sides.right[: self.given[1]]
        mark, wait = self.right_mark(), self.way.wait
        while self.out < self.given[0]:
            row, since = self.sides.left[self.out], self.arrived[self.out]
            patient = wait == "wait" or (
                wait != "now" and (since is None or self.now - since < wait)
            )
            if patient and not self.way.allowed(row, rights, mark):
                break
            found = self.way.met(row, rights)
            assert found != "tied", "it should have been refused"
            if self.way.how == "left" or found is not None:
                self.wanted.append((self.out, found))
            self.out += 1
        self.pieces += pieces
        self.found += [n for piece in pieces for n in piece.batch["x"].to_pylist()]
        assert self.found[-9:] == [n for n, _ in self.wanted[-9:]]
        assert len(self.found) == len(self.wanted)
        for piece in pieces:
            assert piece.ordinals.source == 3 and piece.ordinals.part == 1
            rows = piece.ordinals.rows
            if rows is None:
                rows = range(piece.ordinals.first, piece.ordinals.first + len(piece.batch))
            assert list(map(int, rows)) == piece.batch["x"].to_pylist()
        self.watermarks.append((self.join.watermark(), self.out))

    def commit(self):
        for row in self.join.changes().to_pylist():
            key = row["part"], row["key_group"], row["key"]
            if row["state"] is None:
                self.store.pop(key, None)
            else:
                self.store[key] = row

    def restart(self):
        """A crash right after a commit."""
        self.commit()
        kept = pa.RecordBatch.from_pylist(list(self.store.values()), schema=CHANGES)
        self.join = self.way.operator(endless=self.endless)
        self.join.load(range(KEY_GROUPS), lambda: [kept])

    def table(self):
        names = [name for _, name in PAYLOAD]
        return plain([piece.batch for piece in self.pieces]).select(["x", "u", *names])

    def finish(self):
        for input in self.sides.rng.permutation(2).tolist():
            if self.rows_left(input):
                self.give(input, self.rows_left(input))
            self.advance(input, END)
        assert self.out == len(self.sides.left) and not self.join.waiting
        for mark, out in self.watermarks:
            later = [t for t, _ in self.sides.left[out:] if t is not None]
            assert mark is None or not later or min(later) > mark
        assert self.join.watermark() == END


def plain(batches):
    """Batches as one table without dictionaries."""
    decoded = [
        pa.record_batch(
            [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in b.columns],
            b.schema.names,
        )
        for b in batches
    ]
    return pa.Table.from_batches(decoded) if decoded else pa.table({})


def wanted_table(run):
    sides = run.sides
    left = sides.left_rows(0, len(sides.left)).take(
        pa.array([i for i, _ in run.wanted], pa.int64())
    )
    at = pa.array([j for _, j in run.wanted], pa.int64())
    right = sides.right_rows(0, len(sides.right)).take(at)
    columns = [left["x"], left["u"], *(right[name] for name, _ in PAYLOAD)]
    return plain([pa.record_batch(columns, ["x", "u", *(name for _, name in PAYLOAD)])])


def assert_same_tables(found, wanted, what):
    if not wanted.num_rows:
        assert found.num_rows == 0
        return
    for name in wanted.column_names:
        assert_same_bits(
            found[name].combine_chunks(), wanted[name].combine_chunks(), f"{what}: {name}"
        )


def random_run(sides, way, *, restarts=False, endless=True):
    """Rows and legal watermarks of both sides in random turns, to the end."""
    run, rng = Run(sides, way, endless), sides.rng
    lag = rng.integers(0, 2, 2)  # a side that says much about its time, or little
    while run.rows_left(0) or run.rows_left(1):
        input = int(rng.integers(0, 2))
        step = int(rng.integers(0, 7))
        if isinstance(way.wait, int) and rng.random() < 0.3:
            run.clock((run.now or 0) + int(rng.integers(-1, 4)))
        elif run.rows_left(input) and rng.random() < 0.6:
            run.give(input, min(step, run.rows_left(input)))
        elif lag[input] or rng.random() < 0.2:
            high = min(run.next_time(input), sides.span + 20) - 1
            run.advance(input, int(rng.integers(-3, high + 1)) if high > -3 else -4)
        if restarts and rng.random() < 0.4:
            run.commit() if rng.random() < 0.5 else run.restart()
            run.join._many = 0 if rng.random() < 0.3 else 100  # keys without rows are looked for
    run.finish()
    return run


def index_loop(sides, way):
    """The same by the loop that holds all right rows."""
    order = sorted(range(len(sides.right)), key=lambda i: sides.right[i][0] or 0)
    rights = sides.right_rows(0, len(sides.right)).take(pa.array(order, pa.int64()))
    if way.ranked:
        order = sorted(
            range(len(order)),
            key=lambda i: (rights["t"][i].value or 0, rank(rights["seq"][i].as_py()), i),
        )
        rights = rights.take(pa.array(order, pa.int64()))
    twin = Way(way.direction, way.tolerance, way.ties, way.how, way.keyed)
    join = twin.operator(loop="index")
    found = join.process(1, Piece(rights)) + join.advance(1, END)
    found += join.process(0, Piece(sides.left_rows(0, len(sides.left)))) + join.advance(0, END)
    names = ["x", "u", *(name for _, name in PAYLOAD)]
    return plain([piece.batch for piece in found]).select(names) if found else pa.table({})
