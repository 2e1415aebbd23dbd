"""Execution: what an order cost against prices of reference."""

from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libc.string cimport memset

from fin_sql.abi cimport ABSENT, EMIT, cell, define_aggregate, define_scalar
from fin_sql.spec import Arg, Out, Spec
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value


# ---------------------------------------------------------------- shortfall in basis points

cdef inline double direction(double side) noexcept nogil:
    """1 of a buy, -1 of a sale, 0 of neither; NaN stays."""
    return 1.0 if side > 0.0 else (-1.0 if side < 0.0 else 0.0 * side)


cdef int shortfall(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double side = direction(x[2].f)
    if side == 0.0 or x[1].f <= 0.0:
        return ABSENT
    out[0].f = 1e4 * (side * ((x[0].f - x[1].f) / x[1].f))
    return EMIT


def shortfall_by_definition(exec_price, arrival_price, side):
    """How much worse than on arrival, of the arrival price, in 1/10000."""
    if side == 0:
        return None
    worse = exec_price - arrival_price if side > 0 else arrival_price - exec_price
    return worse / arrival_price * 10_000


define_scalar(Spec(
    name="implementation_shortfall",
    summary="Cost of an execution against the price on arrival, in basis points.",
    shape="scalar",
    family="execution",
    args=(Arg("exec_price", unit="p", domain="positive"),
          Arg("arrival_price", unit="p", domain="positive"), Arg("side", domain="sign")),
    returns=Out(unit="1"),
    nulls="propagate",
    definition=shortfall_by_definition,
    source="Perold (1988), Journal of Portfolio Management 14(3); Kissell (2006)",
    notes="Positive is a cost. The sign of side counts: positive buys, negative sells. NULL where "
          "it is 0 or the arrival price is not positive.",
    example="SELECT ts, implementation_shortfall(price, 100, side) FROM trades",
), shortfall)

define_scalar(Spec(
    name="arrival_price_impact",
    summary="Price of an execution against the mid at order entry, in basis points.",
    shape="scalar",
    family="execution",
    args=(Arg("exec_price", unit="p", domain="positive"),
          Arg("arrival_mid", unit="p", domain="positive"), Arg("side", domain="sign", default=1.0)),
    returns=Out(unit="1"),
    nulls="propagate",
    definition=shortfall_by_definition,
    source="Perold (1988), Journal of Portfolio Management 14(3)",
    notes="Positive is a cost: without a side, that of a buy. NULL where side is 0 or the mid is "
          "not positive.",
    example="SELECT ts, arrival_price_impact(price, 100, side) FROM trades",
), shortfall)


# ---------------------------------------------------------------- implementation_shortfall_agg

cdef struct Shortfall:
    Sum cost
    Sum notional                # at the arrival prices
    int64_t rows
    int64_t beyond              # rows whose product no double holds: NULL while they are inside


cdef inline int shortfall_move(Shortfall* s, const cell* x, int sign) noexcept nogil:
    cdef double quantity = x[1].f, arrival = x[2].f, side = direction(x[3].f)
    cdef double cost = side * quantity * (x[0].f - arrival)
    if quantity < 0.0 or arrival <= 0.0 or side == 0.0:
        return EMIT
    s.rows += sign
    if isfinite(cost) and isfinite(quantity * arrival):
        sum_add(&s.cost, sign * cost)
        sum_add(&s.notional, sign * quantity * arrival)
    else:
        s.beyond += sign
    if s.rows == 0:
        memset(s, 0, sizeof(Shortfall))
    return EMIT


cdef int shortfall_agg(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return shortfall_move(<Shortfall*> state, x, 1)


cdef int shortfall_back(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return shortfall_move(<Shortfall*> state, x, -1)


cdef int shortfall_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Shortfall* s = <const Shortfall*> state
    cdef double notional = sum_value(&s.notional)
    if s.beyond or not notional > 0.0:
        return ABSENT
    out[0].f = 1e4 * (sum_value(&s.cost) / notional)
    return EMIT


cdef int shortfall_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Shortfall* s = <Shortfall*> state
    cdef const Shortfall* o = <const Shortfall*> other
    sum_add(&s.cost, o.cost.total)
    sum_add(&s.cost, o.cost.lost)
    sum_add(&s.notional, o.notional.total)
    sum_add(&s.notional, o.notional.lost)
    s.rows += o.rows
    s.beyond += o.beyond
    return EMIT


def shortfall_agg_by_definition(exec_price, qty, arrival_price, side):
    """Cost of all fills over their value at the arrival prices, in 1/10000."""
    fills = [(q, p, a, 1 if s > 0 else -1)
             for p, q, a, s in zip(exec_price, qty, arrival_price, side) if s != 0]
    value = sum(q * a for q, _, a, _ in fills)
    return sum(s * q * (p - a) for q, p, a, s in fills) / value * 1e4 if value else None


define_aggregate(Spec(
    name="implementation_shortfall_agg",
    form_of="implementation_shortfall",
    summary="Cost of the fills of an order against the price on arrival, in basis points.",
    shape="aggregate",
    family="execution",
    args=(Arg("exec_price", unit="p", domain="positive"), Arg("qty", unit="v", domain="positive"),
          Arg("arrival_price", unit="p", domain="positive"), Arg("side", domain="sign")),
    returns=Out(unit="1"),
    definition=shortfall_agg_by_definition,
    source="Perold (1988), Journal of Portfolio Management 14(3); Kissell (2006)",
    notes="Positive is a cost; each fill weighs its quantity. Rows with a negative quantity, a "
          "side of 0 or an arrival price that is not positive are skipped.",
    bound="48 bytes a group",
    example="SELECT symbol, implementation_shortfall_agg(price, size, 100, side) "
            "FROM trades GROUP BY symbol ORDER BY symbol",
), shortfall_agg, shortfall_value, shortfall_merge, sizeof(Shortfall), shortfall_back)


# ---------------------------------------------------------------- slippage_decomposition

cdef int slippage(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double side = direction(x[0].f), order = x[1].f, filled = x[2].f, decision = x[3].f
    cdef double arrival = x[4].f, paid = x[5].f, close = x[6].f
    cdef double scale = 1e4 / order / decision
    if side == 0.0 or order <= 0.0 or decision <= 0.0:
        return ABSENT
    out[0].f = side * filled * (arrival - decision) * scale
    out[1].f = side * filled * (paid - arrival) * scale
    out[2].f = side * (order - filled) * (close - decision) * scale
    out[3].f = x[7].f * scale
    out[4].f = out[0].f + out[1].f + out[2].f + out[3].f
    return EMIT


def slippage_decomposition_by_definition(side, order_qty, filled_qty, decision_px, arrival_px,
                                         avg_exec_px, close_px, fees):
    """The paper portfolio at the decision price, less the real one, by cause."""
    if side == 0:
        return None
    sign = 1 if side > 0 else -1
    costs = {
        "delay_bps": sign * filled_qty * (arrival_px - decision_px),
        "trading_bps": sign * filled_qty * (avg_exec_px - arrival_px),
        "opportunity_bps": sign * (order_qty - filled_qty) * (close_px - decision_px),
        "fee_bps": fees,
    }
    paper = sign * order_qty * (close_px - decision_px)
    real = sign * filled_qty * (close_px - avg_exec_px) - fees
    costs["total_bps"] = paper - real
    return {name: cost / (order_qty * decision_px) * 1e4 for name, cost in costs.items()}


define_scalar(Spec(
    name="slippage_decomposition",
    summary="Cost of an order by cause: delay, trading, what was not filled, and fees.",
    shape="scalar",
    family="execution",
    args=(Arg("side", domain="sign"), Arg("order_qty", unit="v", domain="positive"),
          Arg("filled_qty", unit="v", domain="positive"),
          *(Arg(name, unit="p", domain="positive")
            for name in ("decision_px", "arrival_px", "avg_exec_px", "close_px")),
          Arg("fees", unit="p*v", domain="positive")),
    returns=Out(fields=tuple(Out(name=f"{name}_bps")
                             for name in ("delay", "trading", "opportunity", "fee", "total"))),
    nulls="propagate",
    definition=slippage_decomposition_by_definition,
    source="Perold (1988); Wagner and Edwards (1993); Kissell and Glantz (2003)",
    notes="In basis points of order_qty * decision_px; positive is a cost, and the four sum to the "
          "total. Wagner charges delay to the whole order: the total is the same. fees are in "
          "currency. Of an order without any fill give 0 and any avg_exec_px that is not NULL.",
    example="SELECT ts, slippage_decomposition(side, 12, 10, 99.9, 100, price, 100.5, 5) "
            "FROM trades",
), slippage)
