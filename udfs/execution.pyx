"""Execution: prices of whole orders."""

from libc.math cimport asinh, exp, expm1, isfinite, sqrt
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fin_sql.abi cimport (
    ABSENT, EMIT, GROW, NO_MEMORY, Rows, absorb, cell, define_aggregate, define_scalar,
    define_window,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._ordered cimport (
    Ordered, ordered_add, ordered_copy, ordered_merge, ordered_rows,
)
from fin_sql.udfs._sum cimport Sum, sum_add, sum_value
from fin_sql.udfs._textbook import mean


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
    if isfinite(price * volume):
        sum_add(&s.traded, sign * price * volume)
        sum_add(&s.volume, sign * volume)
    else:
        s.beyond += sign
    if s.rows == 0:
        memset(s, 0, sizeof(Vwap))
    return EMIT


cdef inline int vwap(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    return vwap_move(<Vwap*> state, x[0].f, x[1].f, 1)


cdef void vwap_loop(Rows* r) noexcept nogil:
    absorb(vwap, 2, r)


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
    example="SELECT symbol, vwap(price, size) FROM trades GROUP BY symbol ORDER BY symbol",
), vwap, vwap_value, vwap_merge, sizeof(Vwap), vwap_back, False, vwap_loop)


# ---------------------------------------------------------------- twap

cdef struct Twap:               # followed by its rows: time, price
    Ordered rows
    Sum area                    # price times ns
    Sum prices


cdef inline double elapsed(int64_t since, int64_t until) noexcept nogil:
    """Nanoseconds; from one end of time to the other they fit into no signed integer."""
    return <double> (<uint64_t> until - <uint64_t> since)


cdef inline void held_until(Twap* s, const cell* row, int64_t until) noexcept nogil:
    """Let the price of a row count until a time."""
    sum_add(&s.area, row[1].f * elapsed(row[0].i, until))


cdef int twap(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Twap* s = <Twap*> state
    cdef const cell* rows = ordered_rows(state, sizeof(Twap))
    if ordered_add(&s.rows, sizeof(Twap), 1, x[1].i, x) == GROW:
        return GROW
    if s.rows.n > 1 and not s.rows.stale:
        held_until(s, rows + 2 * (s.rows.n - 2), x[1].i)
    sum_add(&s.prices, x[0].f)
    return EMIT


cdef int twap_value(const void* state, const cell* p, cell* out) noexcept nogil:
    cdef const Twap* s = <const Twap*> state
    cdef const cell* rows = ordered_rows(state, sizeof(Twap))
    cdef const cell* last
    cdef cell* copy = NULL
    cdef Twap anew
    cdef int64_t i, end
    if s.rows.n == 0:
        return ABSENT
    memset(&anew, 0, sizeof(Twap))
    anew.area = s.area
    if s.rows.stale:
        rows = copy = ordered_copy(&s.rows, sizeof(Twap), 1)
        if copy == NULL:
            return NO_MEMORY
        memset(&anew, 0, sizeof(Twap))
        for i in range(1, s.rows.n):
            held_until(&anew, rows + 2 * (i - 1), rows[2 * i].i)
    last = rows + 2 * (s.rows.n - 1)
    end = max(last[0].i, p[0].i) if p[0].i else last[0].i
    if end == rows[0].i:
        out[0].f = sum_value(&s.prices) / <double> s.rows.n
    else:
        out[0].f = ((sum_value(&anew.area) + last[1].f * elapsed(last[0].i, end))
                    / elapsed(rows[0].i, end))
    free(copy)
    return EMIT


cdef int twap_merge(void* state, const void* other, const cell* p) noexcept nogil:
    cdef Twap* s = <Twap*> state
    cdef const Twap* o = <const Twap*> other
    if ordered_merge(&s.rows, &o.rows, sizeof(Twap), 1) == GROW:
        return GROW
    sum_add(&s.prices, o.prices.total)
    sum_add(&s.prices, o.prices.lost)
    return EMIT


def twap_by_definition(price, ts, end_ts):
    """Mean of the last known price over time; where no time passes, of the prices."""
    from math import fsum

    if not price:
        return None
    order = sorted(range(len(ts)), key=lambda i: ts[i])
    price, ts = [price[i] for i in order], [ts[i] for i in order]
    ends = [*ts[1:], max(ts[-1], end_ts)]
    spans = [end - begin for begin, end in zip(ts, ends)]
    if sum(spans) == 0:
        return mean(price)
    return fsum(p * span for p, span in zip(price, spans)) / sum(spans)


define_aggregate(Spec(
    name="twap",
    summary="Time-weighted average price: each price counts until the next one.",
    shape="aggregate",
    args=(Arg("price", unit="p", domain="positive"), Arg("ts", type="timestamp")),
    params=(Param("end_ts", type="timestamp", default=0,
                  summary="until when the last price counts; 0 is its own time, for no weight"),),
    returns=Out(unit="p"),
    cases=({}, {"end_ts": 1_767_603_600_000_000_000}, {"end_ts": 1_767_600_010_000_000_000}),
    definition=twap_by_definition,
    source="Previous-tick integral of the price over time, divided by the time",
    notes="One row gives its price, rows of one time their mean. Rows may come in any order. An "
          "end_ts before the last row adds nothing. The mean of bars of equal length, also called "
          "TWAP, is avg(price).",
    bound="16 bytes a row of the group: its rows are kept, as partial groups meet in any order",
    example="SELECT ts, twap(price, ts, TIMESTAMP '1970-01-01') OVER (PARTITION BY symbol "
            "ORDER BY ts, seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM trades",
), twap, twap_value, twap_merge, sizeof(Twap) + 4 * 2 * sizeof(cell), NULL, True)


# ---------------------------------------------------------------- pov

cdef struct Pov:
    double done


cdef int pov(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Pov* s = <Pov*> state
    cdef double left = p[1].f - s.done, child = p[0].f * x[0].f
    if x[0].f < 0.0:
        return ABSENT
    if child < left:
        s.done += child
        out[0].f = child
        out[1].f = p[1].f - s.done
    else:
        s.done = p[1].f         # what is left must be exactly 0
        out[0].f = left
        out[1].f = 0.0
    return EMIT


def pov_by_definition(market_volume, rate, order_qty):
    """A share of each volume, until the order is done."""
    from math import fsum

    found, children = [], []
    for volume in market_volume:
        left = max(order_qty - fsum(children), 0.0)
        children.append(min(left, rate * volume))
        found.append({"child_qty": children[-1], "remaining": left - children[-1]})
    return found


define_window(Spec(
    name="pov",
    summary="Child orders that take a share of the market's volume until the order is done.",
    shape="window",
    args=(Arg("market_volume", unit="v", domain="positive"),),
    params=(Param("rate", 0.0, 1.0, open_low=True, summary="share of the volume of others"),
            Param("order_qty", 0.0, open_low=True, unit="v")),
    returns=Out(fields=(Out(name="child_qty", unit="v"), Out(name="remaining", unit="v"))),
    cases=({"rate": 0.01, "order_qty": 1e6}, {"rate": 0.13, "order_qty": 700.0},
           {"rate": 1.0, "order_qty": 1.0}),
    definition=pov_by_definition,
    source="Participation as a fixed share of volume; Kissell (2013), ch. 1",
    notes="market_volume is that of others: for a share r of all volume, own prints included, the "
          "rate is r / (1 - r). A negative volume gives NULL and trades nothing.",
    example="SELECT ts, pov(size, 0.1, 500) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), pov, sizeof(Pov))


# ---------------------------------------------------------------- optimal_ac_schedule

cdef int64_t ac_schedule_rows(const cell* p, const cell* x) noexcept nogil:
    return x[2].i + 1 if 1 <= x[2].i <= 1_000_000 else -1


cdef int ac_schedule(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double quantity = x[0].f, horizon = x[1].f, sigma = x[3].f, aversion = x[5].f
    cdef int64_t n = x[2].i, k
    cdef double tau = horizon / n, eta = x[4].f - x[6].f * tau / 2.0
    cdef double rate, held = quantity, rest
    if not (horizon > 0.0 and sigma >= 0.0 and aversion >= 0.0 and eta > 0.0
            and isfinite(quantity)):
        return ABSENT
    # kappa tau; acosh(1 + z^2 / 2) = 2 asinh(z / 2) keeps the digits of a small z
    rate = 2.0 * asinh(sigma * sqrt(aversion / eta) * tau / 2.0)
    if not isfinite(rate):
        return ABSENT
    for k in range(n + 1):
        if k == n:
            rest = 0.0
        elif rate * n < 1e-300:
            rest = quantity * (<double> (n - k) / n)
        else:                   # sinh(rate (n - k)) / sinh(rate n) without its overflow
            rest = quantity * (exp(-rate * k) * (expm1(-2.0 * rate * (n - k))
                                                 / expm1(-2.0 * rate * n)))
        out[4 * k].i = k
        out[4 * k + 1].f = horizon if k == n else k * tau
        out[4 * k + 2].f = rest
        out[4 * k + 3].f = held - rest
        held = rest
    return EMIT


def optimal_ac_schedule_by_definition(qty, horizon, n_slices, sigma, eta, risk_aversion, gamma):
    """Solve (x[k-1] - 2 x[k] + x[k+1]) / tau^2 = kappa~^2 x[k], x[0] = qty, x[n] = 0."""
    tau = horizon / n_slices
    eta -= gamma * tau / 2
    if eta <= 0:
        return None
    middle = 2 + risk_aversion * sigma ** 2 / eta * tau ** 2
    ratios = [0.0]              # x[k] = ratio * x[k-1], from the end
    for _ in range(n_slices - 1):
        ratios.append(1 / (middle - ratios[-1]))
    holdings = [qty]
    for ratio in reversed(ratios):
        holdings.append(holdings[-1] * ratio)
    return [{"k": k, "t": k * horizon / n_slices, "holdings": holdings[k],
             "trade": (holdings[k - 1] if k else qty) - holdings[k]}
            for k in range(n_slices + 1)]


define_scalar(Spec(
    name="optimal_ac_schedule",
    summary="Optimal schedule of an order by Almgren and Chriss: what to hold and trade, by slice.",
    shape="scalar",
    args=(Arg("qty", unit="v", domain="positive"), Arg("horizon", unit="t", domain="positive"),
          Arg("n_slices", type="int64", domain="positive"),
          Arg("sigma", unit="p", domain="positive"), Arg("eta", unit="p", domain="positive"),
          Arg("risk_aversion", domain="positive"), Arg("gamma", domain="sign", default=0.0)),
    returns=Out(fields=(Out("int64", name="k"), Out(name="t", unit="t"),
                        Out(name="holdings", unit=None), Out(name="trade", unit=None)), many=True),
    nulls="propagate",
    errors={-1: "n_slices must be from 1 to 1000000"},
    definition=optimal_ac_schedule_by_definition,
    source="Almgren and Chriss (2001), Journal of Risk 3(2)",
    notes="Row 0 is the whole order, nothing traded yet; trade k ends at time t. sigma is in price "
          "(not a share of it) per root of time, eta in price per (quantity / time), gamma in "
          "price per quantity, risk_aversion in 1 / currency; 0 of it gives equal slices. NULL "
          "where eta - gamma horizon / n_slices / 2 is not positive.",
    example="SELECT optimal_ac_schedule(1000000, 5, 5, 0.95, 0.0000025, 0.000001, 0.00000025)",
), ac_schedule, ac_schedule_rows)
