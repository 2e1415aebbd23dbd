"""Microstructure: quotes, order flow and its toxicity."""

from math import erfc as textbook_erfc, sqrt as textbook_sqrt

from libc.math cimport copysign, erfc, fabs, floor, fmod, isnan
from libc.stdint cimport int64_t

from fin_sql.abi cimport (
    ABSENT, EMIT, Rows, cell, define_ring, define_scalar, define_window, drive,
)
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


# ---------------------------------------------------------------- microprice

cdef int microprice(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double total = x[2].f + x[3].f
    if x[2].f < 0.0 or x[3].f < 0.0 or total == 0.0:
        return ABSENT
    out[0].f = (x[0].f * x[3].f + x[1].f * x[2].f) / total
    return EMIT


def microprice_by_definition(bid, ask, bid_size, ask_size):
    """Bid and ask, each weighted with the size of the other side."""
    if bid_size < 0 or ask_size < 0 or bid_size + ask_size == 0:
        return None
    return (bid * ask_size + ask * bid_size) / (bid_size + ask_size)


define_scalar(Spec(
    name="microprice",
    summary="Mid of bid and ask, weighted by the sizes of the other sides.",
    shape="scalar",
    args=(Arg("bid", unit="p", domain="positive"), Arg("ask", unit="p", domain="positive"),
          Arg("bid_size", unit="v", domain="positive"),
          Arg("ask_size", unit="v", domain="positive")),
    returns=Out(unit="p"),
    nulls="propagate",
    definition=microprice_by_definition,
    source="Cartea, Jaimungal and Penalva (2015), Algorithmic and High-Frequency Trading, ch. 3",
    notes="The size-weighted mid. Stoikov's (2018) micro-price, a fitted martingale limit, is "
          "another thing. No or negative size gives NULL.",
    example="SELECT ts, microprice(bid, ask, bid_size, ask_size) FROM quotes",
), microprice)


# ---------------------------------------------------------------- quoted_spread

cdef int quoted_spread(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].f = x[1].f - x[0].f
    return EMIT


def quoted_spread_by_definition(bid, ask):
    """ask - bid."""
    return ask - bid


define_scalar(Spec(
    name="quoted_spread",
    summary="Ask minus bid.",
    shape="scalar",
    args=(Arg("bid", unit="p", domain="positive"), Arg("ask", unit="p", domain="positive")),
    returns=Out(unit="p"),
    nulls="propagate",
    definition=quoted_spread_by_definition,
    source="Huang and Stoll (1996), Journal of Financial Economics 41(3)",
    notes="In units of price, negative when crossed.",
    example="SELECT ts, quoted_spread(bid, ask) FROM quotes",
), quoted_spread)


# ---------------------------------------------------------------- quoted_spread_bps

cdef int quoted_spread_bps(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef double mid = (x[0].f + x[1].f) / 2.0
    if mid <= 0.0:
        return ABSENT
    out[0].f = 1e4 * (x[1].f - x[0].f) / mid
    return EMIT


def quoted_spread_bps_by_definition(bid, ask):
    """10 000 (ask - bid) / mid."""
    mid = (bid + ask) / 2
    return 1e4 * (ask - bid) / mid if not mid <= 0 else None


define_scalar(Spec(
    name="quoted_spread_bps",
    form_of="quoted_spread",
    summary="Ask minus bid, in basis points of the mid.",
    shape="scalar",
    args=(Arg("bid", unit="p", domain="positive"), Arg("ask", unit="p", domain="positive")),
    returns=Out(),
    nulls="propagate",
    definition=quoted_spread_bps_by_definition,
    source="Huang and Stoll (1996), Journal of Financial Economics 41(3)",
    notes="NULL where the mid is not positive.",
    example="SELECT ts, quoted_spread_bps(bid, ask) FROM quotes",
), quoted_spread_bps)


# ---------------------------------------------------------------- effective_spread

cdef int effective_spread(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].f = 2.0 * fabs(x[0].f - x[1].f)
    return EMIT


def effective_spread_by_definition(exec_price, mid):
    """2 |price - mid|."""
    return 2 * abs(exec_price - mid)


define_scalar(Spec(
    name="effective_spread",
    summary="Twice the distance of a trade from the mid.",
    shape="scalar",
    args=(Arg("exec_price", unit="p", domain="positive"),
          Arg("mid", unit="p", domain="positive")),
    returns=Out(unit="p"),
    nulls="propagate",
    definition=effective_spread_by_definition,
    source="Huang and Stoll (1996), Journal of Financial Economics 41(3)",
    notes="In units of price; times 1e4 / mid for basis points. The mid is the last one before "
          "the trade: join the quotes by ASOF.",
    example="SELECT t.ts, effective_spread(t.price, midprice(q.bid, q.ask)) FROM trades t ASOF "
            "JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol",
), effective_spread)


# ---------------------------------------------------------------- trade_sign

cdef struct TradeSign:
    int64_t prices              # different ones so far, at most 2
    double last
    double other                # the last price that differed from it


cdef inline int trade_sign(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef TradeSign* s = <TradeSign*> state
    cdef double price = x[0].f, mid = (x[1].f + x[2].f) / 2.0
    if isnan(price):
        return ABSENT
    if s.prices == 0 or price != s.last:
        s.other = s.last
        s.last = price
        s.prices += s.prices < 2
    if x[2].f >= x[1].f and price != mid:
        out[0].i = 1 if price > mid else -1
    elif s.prices < 2:
        out[0].i = 0
    else:
        out[0].i = 1 if price > s.other else -1
    return EMIT


cdef void trade_sign_loop(Rows* r) noexcept nogil:
    drive(trade_sign, 3, 1, r)


def trade_sign_by_definition(price, bid, ask):
    """The side of the mid that a trade is on; at the mid, against the last different price."""
    found = []
    for t, (trade, b, a) in enumerate(zip(price, bid, ask)):
        if trade is None:
            found.append(None)
            continue
        mid = (a + b) / 2 if a is not None and b is not None and a >= b else trade
        before = [other for other in price[:t] if other is not None and other != trade]
        against = mid if mid != trade else before[-1] if before else trade
        found.append((trade > against) - (trade < against))
    return found


define_window(Spec(
    name="trade_sign",
    summary="Who began a trade: 1 the buyer, -1 the seller, 0 unknown (Lee and Ready).",
    shape="window",
    args=(Arg("price", unit="p", domain="positive"), Arg("bid", unit="p", domain="positive"),
          Arg("ask", unit="p", domain="positive")),
    returns=Out(type="int64"),
    nulls="own",
    definition=trade_sign_by_definition,
    source="Lee and Ready (1991), Journal of Finance 46(2)",
    notes="Above the mid a purchase, below a sale; at the mid, and where a quote is missing or "
          "crossed, by the last different price. A missing price gives NULL. Join the "
          "quotes by ASOF; the five seconds of the paper were a matter of its data.",
    example="SELECT t.ts, trade_sign(t.price, q.bid, q.ask) OVER (PARTITION BY t.symbol ORDER BY "
            "t.ts, t.seq) FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON "
            "t.symbol = q.symbol",
), trade_sign, sizeof(TradeSign), trade_sign_loop)


# ---------------------------------------------------------------- l1_imbalance

cdef int l1_imbalance(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[0].f + x[1].f == 0.0:
        return ABSENT
    out[0].f = (x[0].f - x[1].f) / (x[0].f + x[1].f)
    return EMIT


def l1_imbalance_by_definition(bid_size, ask_size):
    """(bid size - ask size) over their sum."""
    total = bid_size + ask_size
    return (bid_size - ask_size) / total if total else None


define_scalar(Spec(
    name="l1_imbalance",
    summary="Imbalance of the sizes at the touch, from -1 (all on the ask) to 1.",
    shape="scalar",
    args=(Arg("bid_size", unit="v", domain="positive"),
          Arg("ask_size", unit="v", domain="positive")),
    returns=Out(),
    nulls="propagate",
    definition=l1_imbalance_by_definition,
    source="Cartea, Jaimungal and Penalva (2015), Algorithmic and High-Frequency Trading, ch. 12",
    notes="Some write bid / (bid + ask), from 0 to 1: that is (this + 1) / 2.",
    example="SELECT ts, l1_imbalance(bid_size, ask_size) FROM quotes",
), l1_imbalance)


# ---------------------------------------------------------------- ofi

cdef struct Ofi:
    int64_t seen
    cell before[4]              # bid, ask, bid size, ask size


cdef inline int ofi(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Ofi* s = <Ofi*> state
    cdef bint seen = s.seen
    cdef double bid = s.before[0].f, ask = s.before[1].f
    out[0].f = ((x[2].f if x[0].f >= bid else 0.0) - (s.before[2].f if x[0].f <= bid else 0.0)
                - (x[3].f if x[1].f <= ask else 0.0) + (s.before[3].f if x[1].f >= ask else 0.0))
    s.seen = 1
    s.before[0], s.before[1], s.before[2], s.before[3] = x[0], x[1], x[2], x[3]
    return EMIT if seen else ABSENT


cdef void ofi_loop(Rows* r) noexcept nogil:
    drive(ofi, 4, 1, r)


def ofi_by_definition(bid, ask, bid_size, ask_size):
    """What came to the bid less what left it, less the same of the ask."""
    found = [None][:len(bid)]
    for t in range(1, len(bid)):
        flow = 0.0
        if bid[t] >= bid[t - 1]:
            flow += bid_size[t]
        if bid[t] <= bid[t - 1]:
            flow -= bid_size[t - 1]
        if ask[t] <= ask[t - 1]:
            flow -= ask_size[t]
        if ask[t] >= ask[t - 1]:
            flow += ask_size[t - 1]
        found.append(flow)
    return found


define_window(Spec(
    name="ofi",
    summary="Order flow imbalance: what a quote adds to the bid and takes from the ask.",
    shape="window",
    args=(Arg("bid", unit="p", domain="positive"), Arg("ask", unit="p", domain="positive"),
          Arg("bid_size", unit="v", domain="positive"),
          Arg("ask_size", unit="v", domain="positive")),
    returns=Out(unit="v"),
    tolerance=1e-8,
    definition=ofi_by_definition,
    source="Cont, Kukanov and Stoikov (2014), Journal of Financial Econometrics 12(1)",
    notes="A better bid counts with its whole size, a worse one takes the old size away, an equal "
          "one counts the change. Sum it over any bucket of time.",
    example="SELECT ts, ofi(bid, ask, bid_size, ask_size) OVER (PARTITION BY symbol ORDER BY ts, "
            "seq) FROM quotes",
), ofi, sizeof(Ofi), ofi_loop)


# ---------------------------------------------------------------- bulk_buy_volume

cdef int bulk_buy_volume(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    if x[1].f <= 0.0:
        return ABSENT
    out[0].f = x[2].f * (0.5 * erfc(-x[0].f / x[1].f * 0.7071067811865476))
    return EMIT


def bulk_buy_volume_by_definition(change, sigma, volume):
    """Volume times the normal distribution at change / sigma."""
    if sigma <= 0:
        return None
    return volume * 0.5 * textbook_erfc(-change / sigma / textbook_sqrt(2))


define_scalar(Spec(
    name="bulk_buy_volume",
    form_of="vpin",
    summary="Share of a bar's volume that buyers began, by the change of its price.",
    shape="scalar",
    args=(Arg("change", unit="p"), Arg("sigma", unit="p", domain="positive"),
          Arg("volume", unit="v", domain="positive")),
    returns=Out(unit="v"),
    nulls="propagate",
    definition=bulk_buy_volume_by_definition,
    source="Easley, Lopez de Prado and O'Hara (2012), Review of Financial Studies 25(5)",
    notes="sigma is the standard deviation of the changes; one that is not positive gives NULL.",
    example="SELECT bulk_buy_volume(0.5, 0.8, 1000)",
), bulk_buy_volume)


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
