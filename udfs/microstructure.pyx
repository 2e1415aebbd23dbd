"""Microstructure: quotes, order flow and its toxicity."""

from libc.math cimport copysign, fabs, floor, fmod
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, cell, define_ring, define_scalar
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._window cimport PlainWindow, added, plain_bytes, plain_push


# ---------------------------------------------------------------- midprice

cdef int midprice(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].f = (x[0].f + x[1].f) / 2.0
    return EMIT


def midprice_by_definition(bid, ask):
    """(bid + ask) / 2."""
    return (bid + ask) / 2


define_scalar(Spec(
    name="midprice",
    summary="Middle of bid and ask.",
    shape="scalar",
    args=(Arg("bid", unit="p", domain="positive"), Arg("ask", unit="p", domain="positive")),
    returns=Out(unit="p"),
    nulls="propagate",
    definition=midprice_by_definition,
    source="Hasbrouck (2007), Empirical Market Microstructure",
    notes="Crossed and locked quotes are computed too. TA-Lib's MIDPRICE is another thing.",
    example="SELECT ts, midprice(bid, ask) FROM quotes",
), midprice)


# ---------------------------------------------------------------- vpin

cdef struct Vpin:               # followed by a PlainWindow of |V_buy - V_sell| by bucket
    double filled
    double imbalance
    double value
    int64_t warm


cdef int64_t vpin_bytes(const cell* p) noexcept nogil:
    return sizeof(Vpin) + plain_bytes(p[1].i)


cdef inline void vpin_close(Vpin* s, const cell* p, double imbalance) noexcept nogil:
    cdef double total
    if plain_push(<PlainWindow*> (s + 1), added, p[1].i, imbalance, &total):
        s.warm = 1
        s.value = total / (<double> p[1].i * p[0].f)


cdef int vpin(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Vpin* s = <Vpin*> state
    cdef double size = p[0].f, left = x[0].f, sign = copysign(1.0, x[1].f), whole
    cdef int64_t _k
    if x[1].f == 0.0:
        return ABSENT
    if left < 0.0:
        return -1
    if left < size - s.filled:
        s.filled += left
        s.imbalance += sign * left
    else:
        left -= size - s.filled
        vpin_close(s, p, fabs(s.imbalance + sign * (size - s.filled)))
        # The buckets that this trade fills alone are all one-sided, and only the last count.
        whole = floor(left / size)
        left = fmod(left, size)
        for _k in range(<int64_t> (whole if whole < p[1].i else p[1].i)):
            vpin_close(s, p, size)
        s.filled = left
        s.imbalance = sign * left
    if not s.warm:
        return ABSENT
    out[0].f = s.value
    return EMIT


def vpin_by_definition(volume, side, bucket_volume, n_buckets):
    """Mean over the last n full buckets of |V_buy - V_sell| / V; trades are split at the edges."""
    found, closed, filled, imbalance = [], [], 0.0, 0.0
    for v, s in zip(volume, side):
        if s == 0:
            found.append(None)
            continue
        sign = 1 if s > 0 else -1
        while v >= bucket_volume - filled:
            part = bucket_volume - filled
            closed.append(abs(imbalance + sign * part))
            v, filled, imbalance = v - part, 0.0, 0.0
        filled, imbalance = filled + v, imbalance + sign * v
        last = closed[len(closed) - n_buckets:]
        warm = len(closed) >= n_buckets
        found.append(sum(last) / (n_buckets * bucket_volume) if warm else None)
    return found


define_ring(Spec(
    name="vpin",
    summary="Volume-synchronised probability of informed trading.",
    shape="window",
    args=(Arg("volume", unit="v", domain="positive"), Arg("side", domain="sign")),
    params=(
        Param("bucket_volume", 0.0, open_low=True, unit="v",
              summary="volume of a bucket; the paper takes 1/50 of a day"),
        Param("n_buckets", 1, 1_000_000, default=50, type="int64"),
    ),
    returns=Out(unit="1"),
    cases=({"bucket_volume": 3.0, "n_buckets": 3}, {"bucket_volume": 0.25, "n_buckets": 2}),
    errors={-1: "volume must not be negative"},
    definition=vpin_by_definition,
    source="Easley, Lopez de Prado and O'Hara (2012), Review of Financial Studies 25(5)",
    notes="NULL until n buckets are full, and on rows whose side is 0, which are left out.",
    bound="16 bytes a bucket",
    example="SELECT ts, vpin(size, side, 5, 10) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), vpin, vpin_bytes)
