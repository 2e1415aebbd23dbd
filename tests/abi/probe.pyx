"""Kernels that use what the shipped ones do not: every type, lists, growing state, error codes."""

from libc.stdint cimport int64_t
from libc.string cimport memmove

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, MISSING, Room, cell, define_aggregate, define_scalar, define_window,
)
from fin_sql.spec import Arg, Out, Param, Spec


# ---------------------------------------------------------------- probe_types

cdef int probe_types(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].i = x[0].i + p[2].i - p[4].i
    out[1].i = not x[1].i
    out[2].i = x[2].i * (1 if p[0].i == 0 else -1)
    out[3].f = x[3].f + p[3].f
    out[4].i = p[0].i if p[1].i else 1 - p[0].i
    return EMIT


def probe_types_by_definition(ts, flag, n, x, direction, same, shift, add, origin):
    words = ["up", "down"]
    word = direction if same else words[1 - words.index(direction)]
    i = n if direction == "up" else -n
    return {"t": ts + shift - origin, "f": not flag, "i": i, "x": x + add, "word": word}


define_scalar(Spec(
    name="probe_types",
    summary="Every type in and out.",
    shape="scalar",
    args=(Arg("ts", "timestamp"), Arg("flag", "bool"), Arg("n", "int64"), Arg("x")),
    params=(Param("direction", type="text", choices=("up", "down")),
            Param("same", type="bool", default=True),
            Param("shift", 0, 10**18, type="int64", default=1),
            Param("add", default=0.5),
            Param("origin", type="timestamp", default=0)),
    returns=Out(fields=(Out("timestamp", name="t", unit=None), Out("bool", name="f"),
                        Out("int64", name="i"), Out(name="x", unit=None),
                        Out("text", name="word", choices=("up", "down")))),
    nulls="propagate",
    cases=({"direction": "up"}, {"direction": "down", "same": False, "shift": 7},
           {"direction": "up", "origin": 1_000_000_000}),
    definition=probe_types_by_definition,
    source="test",
    example="SELECT probe_types(ts, true, seq, price, 'up', true, 1, 0.5, TIMESTAMP '2026-01-01') "
            "FROM trades",
), probe_types)


# ---------------------------------------------------------------- probe_list

cdef int64_t list_length(const cell* p, const cell* x) noexcept nogil:
    return x[0].i if x[0].i >= 0 else -1


cdef int probe_list(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef int64_t k
    for k in range(x[0].i):
        out[2 * k].i = k
        out[2 * k + 1].f = k * p[0].f
    return EMIT


def probe_list_by_definition(n, step):
    return [{"k": k, "y": k * step} for k in range(n)]


define_scalar(Spec(
    name="probe_list",
    summary="A list of n rows.",
    shape="scalar",
    args=(Arg("n", "int64"),),
    params=(Param("step", default=0.5),),
    returns=Out(fields=(Out("int64", name="k"), Out(name="y")), many=True),
    nulls="propagate",
    errors={-1: "n must not be negative"},
    definition=probe_list_by_definition,
    source="test",
    example="SELECT probe_list(seq % 4, 0.5) FROM trades",
), probe_list, list_length)


# ---------------------------------------------------------------- probe_median

cdef struct Median:             # followed by double x[n], sorted
    Room room
    int64_t n


cdef double* values_of(void* state) noexcept nogil:
    return <double*> (<Median*> state + 1)


cdef int64_t place(void* state, double x) noexcept nogil:
    cdef Median* s = <Median*> state
    cdef int64_t k = 0
    while k < s.n and values_of(state)[k] < x:
        k += 1
    return k


cdef int median_take(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Median* s = <Median*> state
    cdef double* v = values_of(state)
    cdef int64_t k
    if <int64_t> (sizeof(Median) + (s.n + 1) * sizeof(double)) > s.room.bytes:
        return GROW
    k = place(state, x[0].f)
    memmove(v + k + 1, v + k, (s.n - k) * sizeof(double))
    v[k] = x[0].f
    s.n += 1
    return EMIT


cdef int median_back(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Median* s = <Median*> state
    cdef double* v = values_of(state)
    cdef int64_t k = place(state, x[0].f)
    s.n -= 1
    memmove(v + k, v + k + 1, (s.n - k) * sizeof(double))
    return EMIT


cdef int median_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Median* s = <const Median*> state
    cdef const double* v = <const double*> (s + 1)
    if s.n == 0:
        return ABSENT
    out[0].f = (v[(s.n - 1) // 2] + v[s.n // 2]) / 2
    return EMIT


cdef int median_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Median* s = <Median*> state
    cdef const Median* o = <const Median*> other
    cdef cell x
    cdef int64_t k
    if <int64_t> (sizeof(Median) + (s.n + o.n) * sizeof(double)) > s.room.bytes:
        return GROW
    for k in range(o.n):
        x.f = (<const double*> (o + 1))[k]
        median_take(state, p, &x, NULL)
    return EMIT


def probe_median_by_definition(x):
    v, n = sorted(x), len(x)
    return (v[(n - 1) // 2] + v[n // 2]) / 2 if n else None


define_aggregate(Spec(
    name="probe_median",
    summary="Median of all values, which it keeps.",
    shape="aggregate",
    args=(Arg("x", unit="u"),),
    returns=Out(unit="u"),
    definition=probe_median_by_definition,
    source="test",
    bound="8 bytes a value",
    example="SELECT symbol, probe_median(price) FROM trades GROUP BY symbol",
), median_take, median_value, median_merge, sizeof(Median), median_back, True)


# ---------------------------------------------------------------- probe_strict

cdef struct Count:
    int64_t n


cdef int probe_strict(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Count* s = <Count*> state
    if x[0].i > 1_000_000:
        return -7
    s.n += 1
    out[0].i = s.n
    return EMIT


def probe_strict_by_definition(n):
    return list(range(1, len(n) + 1))


define_window(Spec(
    name="probe_strict",
    summary="Counts rows; refuses missing and large ones.",
    shape="window",
    args=(Arg("n", "int64"),),
    returns=Out("int64", unit=None),
    nulls="reject",
    errors={-7: "n must not be greater than a million"},
    definition=probe_strict_by_definition,
    source="test",
    example="SELECT probe_strict(seq) OVER (ORDER BY seq) FROM trades",
), probe_strict, sizeof(Count))


# ---------------------------------------------------------------- probe_gaps

cdef int probe_gaps(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Count* s = <Count*> state
    s.n += (x[0].i == MISSING) + (x[1].f != x[1].f)
    out[0].i = s.n
    return EMIT


def probe_gaps_by_definition(n, x):
    found, gaps = [], 0
    for a, b in zip(n, x):
        gaps += (a is None) + (b is None)
        found.append(gaps)
    return found


define_window(Spec(
    name="probe_gaps",
    summary="Counts missing arguments.",
    shape="window",
    args=(Arg("n", "int64"), Arg("x")),
    returns=Out("int64"),
    nulls="row",
    definition=probe_gaps_by_definition,
    source="test",
    example="SELECT probe_gaps(seq, price) OVER (ORDER BY seq) FROM trades",
), probe_gaps, sizeof(Count))
