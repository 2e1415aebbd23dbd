"""Crypto derivatives: funding, basis and open interest."""

from libc.math cimport expm1, isfinite, isnan, log1p
from libc.stdint cimport int64_t

from fin_sql.abi cimport (
    ABSENT, EMIT, MISSING, Rows, cell, define_scalar, define_window, drive,
)
from fin_sql.spec import Arg, Out, Spec

HOURS_A_YEAR = 8760
INTERVAL = Arg("interval_hours", unit="t", domain="positive", default=8.0)


# ---------------------------------------------------------------- funding_apr, funding_apy

cdef int funding_apr(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[1].f <= 0.0:
        return ABSENT
    out[0].f = x[0].f * (8760.0 / x[1].f)
    return EMIT


cdef int funding_apy(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[1].f <= 0.0 or x[0].f <= -1.0:
        return ABSENT
    out[0].f = expm1(log1p(x[0].f) * (8760.0 / x[1].f))
    return ABSENT if not isfinite(out[0].f) and isfinite(x[0].f) else EMIT


def funding_apr_by_definition(rate, interval_hours):
    """rate times the intervals in a year of 8760 hours."""
    return rate * HOURS_A_YEAR / interval_hours if interval_hours > 0 else None


def funding_apy_by_definition(rate, interval_hours):
    """(1 + rate)^(8760 / interval_hours) - 1."""
    if rate <= -1 or interval_hours <= 0:
        return None
    return (1 + rate) ** (HOURS_A_YEAR / interval_hours) - 1


define_scalar(Spec(
    name="funding_apr",
    summary="A funding rate a year, without compounding.",
    shape="scalar",
    args=(Arg("rate", unit="r"), INTERVAL),
    returns=Out(unit="r/t"),
    nulls="propagate",
    definition=funding_apr_by_definition,
    source="Convention of the exchanges: intervals of 8 hours, of some of 1 or 4",
    notes="As a decimal; positive is paid by longs. An interval that is not positive gives NULL.",
    example="SELECT ts, funding_apr(side * 0.0001, 8) FROM trades",
), funding_apr)

define_scalar(Spec(
    name="funding_apy",
    form_of="funding_apr",
    summary="A funding rate a year, each payment put back in.",
    shape="scalar",
    args=(Arg("rate"), Arg("interval_hours", domain="positive", default=8.0)),
    returns=Out(unit=None),
    nulls="propagate",
    definition=funding_apy_by_definition,
    source="Compound interest",
    notes="As a decimal. A rate of -1 or less, an interval that is not positive, or a result that "
          "no double holds, gives NULL.",
    example="SELECT ts, funding_apy(side * 0.0001, 8) FROM trades",
), funding_apy)


# ---------------------------------------------------------------- funding_cost

cdef int funding_cost(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[1].f <= 0.0:
        return ABSENT
    out[0].f = x[0].f * x[1].f * x[2].f
    return EMIT


def funding_cost_by_definition(position, mark_price, funding_rate):
    """position * mark_price * funding_rate."""
    return position * mark_price * funding_rate


define_scalar(Spec(
    name="funding_cost",
    summary="What a position pays at a funding time.",
    shape="scalar",
    args=(Arg("position", unit="v"), Arg("mark_price", unit="p", domain="positive"),
          Arg("funding_rate", unit="r")),
    returns=Out(unit="v*p*r"),
    nulls="propagate",
    definition=funding_cost_by_definition,
    source="Convention of linear perpetual swaps (Binance, BitMEX, Bybit)",
    notes="Positive is a cost: paid by a long where the rate is positive, received by a short. Sum "
          "it OVER the rows for the cost so far. A mark price that is not positive gives NULL. An "
          "inverse contract has the position in contracts of the quote currency: divide them by "
          "the price, give 1 as the price.",
    example="SELECT ts, sum(funding_cost(size * side, price, 0.0001)) OVER (PARTITION BY symbol "
            "ORDER BY ts, seq ROWS UNBOUNDED PRECEDING) FROM trades",
), funding_cost)


# ---------------------------------------------------------------- basis_annualized, term_structure

cdef inline double annual(double far, double near, double days) noexcept nogil:
    return (far / near - 1.0) * 365.0 / days


cdef int basis_annualized(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[1].f <= 0.0 or x[2].f <= 0.0:
        return ABSENT
    out[0].f = annual(x[0].f, x[1].f, x[2].f)
    return EMIT


def basis_annualized_by_definition(deriv_price, spot, t_days):
    """(deriv_price / spot - 1) * 365 / t_days."""
    if spot <= 0 or t_days <= 0:
        return None
    return (deriv_price - spot) / spot / t_days * 365


define_scalar(Spec(
    name="basis_annualized",
    summary="A future's premium over spot, a year and without compounding.",
    shape="scalar",
    args=(Arg("deriv_price", unit="p", domain="positive"), Arg("spot", unit="p", domain="positive"),
          Arg("t_days", unit="t", domain="sign", default=90.0)),
    returns=Out(unit="1/t"),
    nulls="propagate",
    tolerance=1e-9,
    definition=basis_annualized_by_definition,
    source="Hull (2018), Options, Futures, and Other Derivatives, 10th ed., ch. 5",
    notes="As a decimal; t_days to expiry, of 365. NULL where spot or t_days is not positive. A "
          "perpetual swap has no expiry: take funding_apr.",
    example="SELECT ts, basis_annualized(price * 1.03, price, 90) FROM trades",
), basis_annualized)


cdef int term_structure(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double spot = x[0].f, near = x[1].f, far = x[3].f
    if spot <= 0.0 or near <= 0.0 or far <= 0.0 or x[2].f <= 0.0 or x[4].f <= x[2].f:
        return ABSENT
    out[0].f = annual(near, spot, x[2].f)
    out[1].f = annual(far, spot, x[4].f)
    out[2].f = annual(far, near, x[4].f - x[2].f)
    out[3].i = MISSING if isnan(out[2].f) else out[2].f > 0.0
    return EMIT


def term_structure_by_definition(spot, near_px, near_days, far_px, far_days):
    """The annual premiums of two futures over spot, and of the far one over the near one."""
    if not 0 < near_days < far_days:
        return None
    slope = basis_annualized_by_definition(far_px, near_px, far_days - near_days)
    return {
        "near_ann": basis_annualized_by_definition(near_px, spot, near_days),
        "far_ann": basis_annualized_by_definition(far_px, spot, far_days),
        "slope_ann": slope,
        "contango": slope > 0,
    }


define_scalar(Spec(
    name="term_structure",
    summary="Premiums of two futures over spot, the slope between them, and whether it rises.",
    shape="scalar",
    args=(Arg("spot", unit="p", domain="positive"), Arg("near_px", unit="p", domain="positive"),
          Arg("near_days", unit="t", domain="positive"),
          Arg("far_px", unit="p", domain="positive"), Arg("far_days", unit="t", domain="positive")),
    returns=Out(fields=(Out(name="near_ann", unit="1/t"), Out(name="far_ann", unit="1/t"),
                        Out(name="slope_ann", unit="1/t"), Out("bool", name="contango"))),
    nulls="propagate",
    tolerance=1e-9,
    definition=term_structure_by_definition,
    source="Hull (2018), Options, Futures, and Other Derivatives, 10th ed., ch. 5",
    notes="A year of 365 days, no compounding. contango: the far future is dearer than the near "
          "one. NULL where a price is not positive or the days are not 0 < near < far.",
    example="SELECT ts, term_structure(price, price * 1.03, 90, price * 1.04, 180) FROM trades",
), term_structure)


# ---------------------------------------------------------------- open_interest_delta

cdef struct Before:
    int64_t seen
    double value


cdef inline int open_interest_delta(void* state, const cell* p, const cell* x,
                                    cell* out) noexcept nogil:
    cdef Before* s = <Before*> state
    cdef bint seen = s.seen
    out[0].f = x[0].f - s.value
    s.seen = 1
    s.value = x[0].f
    return EMIT if seen else ABSENT


cdef void open_interest_delta_loop(Rows* r) noexcept nogil:
    drive(open_interest_delta, 1, 1, r)


def open_interest_delta_by_definition(oi):
    """oi[t] - oi[t-1]."""
    return [None if now is None or before is None else now - before
            for now, before in zip(oi, [None, *oi])]


define_window(Spec(
    name="open_interest_delta",
    summary="Change of open interest against the row before.",
    shape="window",
    args=(Arg("oi", unit="v", domain="positive"),),
    returns=Out(unit="v"),
    nulls="row",
    definition=open_interest_delta_by_definition,
    source="SQL LAG with RESPECT NULLS; pandas Series.diff",
    notes="The first row has no change: NULL.",
    example="SELECT ts, open_interest_delta(size) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), open_interest_delta, sizeof(Before), open_interest_delta_loop)


# ---------------------------------------------------------------- perp_fair_price

cdef int perp_fair_price(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[0].f <= 0.0 or x[2].f < 0.0 or x[3].f <= 0.0:
        return ABSENT
    out[0].f = x[0].f * (1.0 + x[1].f * (x[2].f / x[3].f) + x[4].f)
    return EMIT


def perp_fair_price_by_definition(index, funding_rate, hours_to_funding, interval_hours, basis):
    """index (1 + funding_rate hours_to_funding / interval_hours + basis)."""
    share = hours_to_funding / interval_hours
    return index + index * funding_rate * share + index * basis


define_scalar(Spec(
    name="perp_fair_price",
    summary="Fair price of a perpetual swap: the index and the funding that is still to come.",
    shape="scalar",
    args=(Arg("index", unit="p", domain="positive"), Arg("funding_rate", domain="sign"),
          Arg("hours_to_funding", unit="t", domain="positive", default=8.0), INTERVAL,
          Arg("basis", domain="sign", default=0.0)),
    returns=Out(unit="p"),
    nulls="propagate",
    tolerance=1e-9,
    definition=perp_fair_price_by_definition,
    source="BitMEX, Fair Price Marking",
    notes="The funding counts for the part of its interval that is left; basis is any other "
          "premium, as a decimal. NULL where the index or the interval is not positive or the "
          "hours are negative.",
    example="SELECT ts, perp_fair_price(price, 0.0001, 4, 8, 0.0005) FROM trades",
), perp_fair_price)


# ---------------------------------------------------------------- cash_and_carry_edge

cdef int cash_and_carry(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[0].f <= 0.0:
        return ABSENT
    out[0].f = 1e4 * (x[1].f / x[0].f - 1.0 + x[2].f) - x[3].f
    return EMIT


def cash_and_carry_edge_by_definition(spot, deriv, expected_funding, fees_bps):
    """Premium and funding of long spot, short derivative, in 1/10000, less the fees."""
    return ((deriv - spot) / spot + expected_funding) * 10_000 - fees_bps


define_scalar(Spec(
    name="cash_and_carry_edge",
    summary="What long spot and short the derivative earn, in basis points, fees taken off.",
    shape="scalar",
    args=(Arg("spot", unit="p", domain="positive"), Arg("deriv", unit="p", domain="positive"),
          Arg("expected_funding", default=0.0), Arg("fees_bps", default=0.0)),
    returns=Out(),
    nulls="propagate",
    tolerance=1e-9,
    definition=cash_and_carry_edge_by_definition,
    source="Hull (2018), 5.4, with the funding that a short perpetual swap receives",
    notes="expected_funding is a decimal over the life of the trade, positive where longs pay, and "
          "fees_bps those of all its legs. For a dated future it is 0. A spot that is not positive "
          "gives NULL.",
    example="SELECT ts, cash_and_carry_edge(price, price * 1.03, 0.0009, 12) FROM trades",
), cash_and_carry)
