"""Execution: prices of whole orders."""

from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libc.string cimport memset

from fin_sql.abi cimport ABSENT, EMIT, cell, define_aggregate
from fin_sql.spec import Arg, Out, Spec
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value


# ---------------------------------------------------------------- vwap

cdef struct Vwap:
    Sum traded                  # price times volume
    Sum volume
    int64_t rows
    int64_t beyond              # rows whose product no double holds: NULL while they are inside


cdef inline int vwap_move(Vwap* s, double price, double volume, int sign) noexcept nogil:
    if volume < 0.0:
        return EMIT
    s.rows += sign
    if not isfinite(price * volume):
        s.beyond += sign
        return EMIT
    sum_add(&s.traded, sign * price * volume)
    sum_add(&s.volume, sign * volume)
    if s.rows == 0:
        memset(s, 0, sizeof(Vwap))
    return EMIT


cdef int vwap(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return vwap_move(<Vwap*> state, x[0].f, x[1].f, 1)


cdef int vwap_back(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return vwap_move(<Vwap*> state, x[0].f, x[1].f, -1)


cdef int vwap_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Vwap* s = <const Vwap*> state
    cdef double volume = sum_value(&s.volume)
    if s.beyond or not volume > 0.0:
        return ABSENT
    out[0].f = sum_value(&s.traded) / volume
    return EMIT


cdef int vwap_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Vwap* s = <Vwap*> state
    cdef const Vwap* o = <const Vwap*> other
    sum_add(&s.traded, o.traded.total)
    sum_add(&s.traded, o.traded.lost)
    sum_add(&s.volume, o.volume.total)
    sum_add(&s.volume, o.volume.lost)
    s.rows += o.rows
    s.beyond += o.beyond
    return EMIT


def vwap_by_definition(price, volume):
    """Sum of price times volume over the sum of volume."""
    total = sum(v for v in volume if v >= 0)
    return sum(p * v for p, v in zip(price, volume) if v >= 0) / total if total else None


define_aggregate(Spec(
    name="vwap",
    summary="Volume-weighted average price.",
    shape="aggregate",
    args=(Arg("price", unit="p", domain="positive"), Arg("volume", unit="v", domain="positive")),
    returns=Out(unit="p"),
    definition=vwap_by_definition,
    source="Berkowitz, Logue and Noser (1988), Journal of Finance 43(1)",
    notes="Rows with a missing or negative volume are skipped. Begin a session anew by PARTITION "
          "BY its day; over ties write ROWS, as the default frame takes all of them at once.",
    bound="48 bytes a group",
    example="SELECT symbol, vwap(price, size) FROM trades GROUP BY symbol",
), vwap, vwap_value, vwap_merge, sizeof(Vwap), vwap_back)
