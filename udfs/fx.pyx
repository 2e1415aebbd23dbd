"""Foreign exchange: arbitrage, forwards, carry, and what a move is worth.

A rate AB is the price of one A in B.
"""

from libc.math cimport expm1, log, log1p

from fin_sql.abi cimport ABSENT, EMIT, MISSING, cell, define_scalar
from fin_sql.spec import Arg, Out, Param, Spec


# ---------------------------------------------------------------- triangular_arbitrage

cdef int arbitrage(double forth, double back, double fees, cell* out) noexcept nogil:
    """The better of the two ways round, given what each makes of 1."""
    cdef bint first = forth >= back
    out[0].f = 1e4 * ((forth if first else back) - 1.0) - fees
    out[1].i = MISSING
    if out[0].f > 0.0:
        out[1].i = 0 if first else 1
    return EMIT


cdef int triangular(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double ab = x[0].f, bc = x[1].f, ac = x[2].f
    if ab <= 0.0 or bc <= 0.0 or ac <= 0.0:
        return ABSENT
    return arbitrage(ab * bc / ac, ac / (ab * bc), x[3].f, out)


cdef int triangular_quotes(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef int k
    for k in range(6):
        if x[k].f <= 0.0:
            return ABSENT
    return arbitrage(x[0].f * x[2].f / x[5].f, x[4].f / (x[1].f * x[3].f), x[6].f, out)


ROUTES = ("AB-BC-CA", "AC-CB-BA")
ARBITRAGE = Out(fields=(Out(name="edge_bps"), Out("text", name="route", choices=ROUTES)))
FEES = Arg("fees_bps", domain="sign", default=0.0)


def triangular_by_definition(spot_ab, spot_bc, spot_ac, fees_bps):
    """Change 1 A both ways round, at mids: what is left over, in 1/10000, less the fees."""
    return triangular_quotes_by_definition(spot_ab, spot_ab, spot_bc, spot_bc, spot_ac, spot_ac,
                                           fees_bps)


def triangular_quotes_by_definition(bid_ab, ask_ab, bid_bc, ask_bc, bid_ac, ask_ac, fees_bps):
    """Change 1 A both ways round, selling at bids and buying at asks."""
    ends = {
        "AB-BC-CA": 1 * bid_ab * bid_bc / ask_ac,
        "AC-CB-BA": 1 * bid_ac / ask_bc / ask_ab,
    }
    route = max(ends, key=lambda name: ends[name])
    edge = (ends[route] - 1) * 10_000 - fees_bps
    return {"edge_bps": edge, "route": route if edge > 0 else None}


define_scalar(Spec(
    name="triangular_arbitrage",
    summary="What is left of changing a currency into two others and back, the better way round.",
    shape="scalar",
    args=(Arg("spot_ab", unit="a", domain="positive"), Arg("spot_bc", unit="b", domain="positive"),
          Arg("spot_ac", unit="a*b", domain="positive"), FEES),
    returns=ARBITRAGE,
    nulls="propagate",
    definition=triangular_by_definition,
    source="Aiba, Hatano, Takayasu et al. (2002), Physica A 310",
    notes="fees_bps are those of all three trades together. route is NULL where nothing is left. "
          "Mids promise what no one can trade: use triangular_arbitrage_quotes.",
    example="SELECT ts, triangular_arbitrage(1.1, price / 100, 1.1 * bid / 100, 1) FROM "
            "(SELECT t.ts, t.price, q.bid FROM trades t ASOF JOIN quotes q "
            "ON t.symbol = q.symbol AND t.ts >= q.ts)",
), triangular)

define_scalar(Spec(
    name="triangular_arbitrage_quotes",
    form_of="triangular_arbitrage",
    summary="The same at the bids and asks that each trade meets.",
    shape="scalar",
    args=tuple(Arg(f"{side}_{pair}", unit=unit, domain="positive")
               for pair, unit in (("ab", "a"), ("bc", "b"), ("ac", "a*b"))
               for side in ("bid", "ask")) + (FEES,),
    returns=ARBITRAGE,
    nulls="propagate",
    definition=triangular_quotes_by_definition,
    source="Aiba, Hatano, Takayasu et al. (2002), Physica A 310",
    notes="'AB-BC-CA' sells A for B, B for C, and buys A with C; 'AC-CB-BA' goes the other way. "
          "route is NULL where nothing is left.",
    example="SELECT ts, triangular_arbitrage_quotes(1.0999, 1.1001, bid, ask, 1.1 * bid, "
            "1.1 * ask, 0.5) FROM quotes",
), triangular_quotes)


# ---------------------------------------------------------------- forward_points

cdef int forward_points(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double spot = x[0].f, dom = x[1].f, base = x[2].f, years = x[3].f
    cdef double growth
    if spot <= 0.0 or years < 0.0:
        return ABSENT
    if p[0].i == 0:
        growth = expm1((dom - base) * years)
    elif p[0].i == 1:
        if base * years <= -1.0 or dom * years <= -1.0:
            return ABSENT
        growth = (dom - base) * years / (1.0 + base * years)
    else:
        if base <= -1.0 or dom <= -1.0:
            return ABSENT
        growth = expm1((log1p(dom) - log1p(base)) * years)
    out[0].f = spot * growth / p[1].f
    return EMIT


def forward_points_by_definition(spot, r_dom, r_for, t_years, compounding, pip_size):
    """The forward that leaves no arbitrage, less the spot, in pips.

    The forward is spot e^((r_dom - r_for) t), spot (1 + r_dom t) / (1 + r_for t), or
    spot ((1 + r_dom) / (1 + r_for))^t.
    """
    from decimal import Decimal

    s, d, f, t = (Decimal(v) for v in (spot, r_dom, r_for, t_years))
    if s <= 0 or t < 0:
        return None
    legs = (1 + d * t, 1 + f * t) if compounding == "simple" else (1 + d, 1 + f)
    if compounding == "continuous":
        growth = ((d - f) * t).exp()
    elif min(legs) <= 0:
        return None
    else:
        growth = (legs[0] / legs[1]) ** (1 if compounding == "simple" else t)
    return float((s * growth - s) / Decimal(pip_size))


define_scalar(Spec(
    name="forward_points",
    summary="Forward price less spot, by covered interest parity.",
    shape="scalar",
    args=(Arg("spot", unit="p", domain="positive"), Arg("r_dom", domain="sign"),
          Arg("r_for", domain="sign"), Arg("t_years", domain="sign", default=1.0)),
    params=(Param("compounding", type="text", choices=("continuous", "simple", "annual"),
                  default="continuous"),
            Param("pip_size", 0.0, open_low=True, default=1.0,
                  summary="1 gives price; 0.0001, of JPY 0.01, gives points")),
    returns=Out(unit="p"),
    nulls="propagate",
    cases=({}, {"compounding": "simple", "pip_size": 0.01}, {"compounding": "annual"}),
    definition=forward_points_by_definition,
    source="Hull (2018), Options, Futures, and Other Derivatives, 10th ed., 5.10",
    notes="spot is the price of a unit of FOR in DOM. The market takes 'simple' below a year. "
          "t_years is the caller's day count (act/365 or act/360); a negative one gives NULL.",
    example="SELECT ts, forward_points(price / 100, 0.05, 0.03, 0.5, 'simple', 0.0001) "
            "FROM trades",
), forward_points)


# ---------------------------------------------------------------- cip_basis

cdef int cip_basis(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[0].f <= 0.0 or x[1].f <= 0.0 or x[4].f <= 0.0:
        return ABSENT
    out[0].f = log(x[0].f / x[1].f) / x[4].f - (x[2].f - x[3].f)
    return EMIT


def cip_basis_by_definition(forward, spot, r_dom, r_for, t_years):
    """log(forward / spot) / t - (r_dom - r_for): what the forward pays beyond the rates."""
    from math import log as ln

    if t_years <= 0:
        return None
    return (ln(forward) - ln(spot)) / t_years - r_dom + r_for


define_scalar(Spec(
    name="cip_basis",
    summary="Deviation from covered interest parity, a year and as a decimal.",
    shape="scalar",
    args=(Arg("forward", unit="p", domain="positive"), Arg("spot", unit="p", domain="positive"),
          Arg("r_dom", domain="sign"), Arg("r_for", domain="sign"),
          Arg("t_years", domain="sign", default=1.0)),
    returns=Out(unit="1"),
    nulls="propagate",
    tolerance=1e-8,
    definition=cip_basis_by_definition,
    source="Du, Tepper and Verdelhan (2018), Journal of Finance 73(3)",
    notes="Rates compound continuously. The basis comes on top of the quote (DOM) currency's rate: "
          "it is the paper's x where USD is the base, as in USDJPY; for EURUSD turn the sign. NULL "
          "where t_years is not positive.",
    example="SELECT ts, cip_basis(price * 1.01, price, 0.05, 0.03, 0.5) FROM trades",
), cip_basis)


# ---------------------------------------------------------------- carry_signal

cdef int carry_signal(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[2].f <= 0.0:
        return ABSENT
    out[0].f = (x[1].f - x[0].f) / x[2].f
    return EMIT


def carry_signal_by_definition(r_dom, r_for, vol):
    """(r_for - r_dom) / vol."""
    return (r_for - r_dom) / vol if vol > 0 else None


define_scalar(Spec(
    name="carry_signal",
    summary="Carry of being long the base currency, for each unit of risk where vol is given.",
    shape="scalar",
    args=(Arg("r_dom", unit="r"), Arg("r_for", unit="r"),
          Arg("vol", unit="u", domain="sign", default=1.0)),
    returns=Out(unit="r/u"),
    nulls="propagate",
    definition=carry_signal_by_definition,
    source="Brunnermeier, Nagel and Pedersen (2008), NBER Macroeconomics Annual 23",
    notes="Long the base (FOR) currency, paid in DOM: positive where FOR yields more. A vol that "
          "is not positive gives NULL.",
    example="SELECT ts, carry_signal(0.01, 0.01 + size / 10000, 0.08) FROM trades",
), carry_signal)


# ---------------------------------------------------------------- pip_value, fx_cross_price

cdef int pip_value(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[1].f <= 0.0 or x[2].f <= 0.0:
        return ABSENT
    out[0].f = x[0].f * x[1].f * x[2].f
    return EMIT


def pip_value_by_definition(units, pip_size, quote_to_account):
    """units * pip_size * quote_to_account."""
    if pip_size <= 0 or quote_to_account <= 0:
        return None
    return units * pip_size * quote_to_account


define_scalar(Spec(
    name="pip_value",
    summary="What a move of one pip is worth to a position, in the account's currency.",
    shape="scalar",
    args=(Arg("units", unit="v"), Arg("pip_size", unit="p", domain="positive", default=0.0001),
          Arg("quote_to_account", unit="a", domain="positive", default=1.0)),
    returns=Out(unit="v*p*a"),
    nulls="propagate",
    definition=pip_value_by_definition,
    source="Convention of the FX market: a pip is 0.0001, of pairs in JPY 0.01",
    notes="units of the base currency, negative for a short position. quote_to_account is the "
          "price of the quote currency in the account's. One of the two that is not positive gives "
          "NULL.",
    example="SELECT ts, pip_value(size * 1000, 0.01, 1 / price) FROM trades",
), pip_value)


cdef int cross_price(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[0].f <= 0.0 or x[1].f <= 0.0:
        return ABSENT
    out[0].f = x[0].f * x[1].f
    return EMIT


cdef int cross_price_div(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[0].f <= 0.0 or x[1].f <= 0.0:
        return ABSENT
    out[0].f = x[0].f / x[1].f
    return EMIT


def fx_cross_price_by_definition(rate_ab, rate_bc):
    """rate_ab * rate_bc."""
    return rate_ab * rate_bc


def fx_cross_price_div_by_definition(rate_ac, rate_bc):
    """rate_ac / rate_bc."""
    return rate_ac / rate_bc


define_scalar(Spec(
    name="fx_cross_price",
    summary="Price of A in C through B.",
    shape="scalar",
    args=(Arg("rate_ab", unit="a", domain="positive"), Arg("rate_bc", unit="b", domain="positive")),
    returns=Out(unit="a*b"),
    nulls="propagate",
    definition=fx_cross_price_by_definition,
    source="Absence of arbitrage between three currencies",
    notes="The bid of the cross is bid * bid, its ask ask * ask. A rate that is not positive gives "
          "NULL.",
    example="SELECT ts, fx_cross_price(1.1, price) FROM trades",
), cross_price)

define_scalar(Spec(
    name="fx_cross_price_div",
    form_of="fx_cross_price",
    summary="Price of A in B, both of which are quoted in C.",
    shape="scalar",
    args=(Arg("rate_ac", unit="a", domain="positive"), Arg("rate_bc", unit="b", domain="positive")),
    returns=Out(unit="a/b"),
    nulls="propagate",
    definition=fx_cross_price_div_by_definition,
    source="Absence of arbitrage between three currencies",
    notes="The bid of the cross is bid / ask, its ask ask / bid. A rate that is not positive gives "
          "NULL.",
    example="SELECT ts, fx_cross_price_div(price, 1.25) FROM trades",
), cross_price_div)
