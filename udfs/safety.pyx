"""Guards before an order goes out; one that cannot be evaluated does not let it pass."""

from libc.math cimport fabs, isfinite, isnan
from libc.stdint cimport int64_t, uint64_t

from fin_sql.abi cimport (
    ABSENT, EMIT, MISSING, Rows, cell, define_ring, define_scalar, define_window, drive,
)
from fin_sql.spec import Arg, Out, Param, Spec
from fin_sql.udfs._sorted cimport (
    SortedWindow, ranked_mad, ranked_median, sorted_bytes, sorted_push, sorted_rows,
)
from fin_sql.udfs._textbook import missing, quantile

LONGEST_MS = 9_000_000_000_000      # in ns it fits into 64 bits


# ---------------------------------------------------------------- stale_quote_detector

cdef inline bint older(int64_t then, int64_t now, int64_t ms) noexcept nogil:
    """Whether more than ms have passed; from one end of time to the other it must not wrap."""
    return now > then and <uint64_t> now - <uint64_t> then > <uint64_t> ms * 1_000_000


cdef int stale_quote(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].i = (x[0].i == MISSING or x[1].i == MISSING or older(x[1].i, x[0].i, p[0].i))
    return EMIT


def stale_quote_by_definition(now, last_update, max_age_ms):
    """now - last_update > max_age_ms; unknown times are stale."""
    return now is None or last_update is None or now - last_update > max_age_ms * 1_000_000


define_scalar(Spec(
    name="stale_quote_detector",
    summary="Whether a quote is too old to trade on.",
    shape="scalar",
    args=(Arg("now", type="timestamp"), Arg("last_update", type="timestamp")),
    params=(Param("max_age_ms", 0, LONGEST_MS, default=1000, type="int64",
                  summary="milliseconds"),),
    returns=Out("bool"),
    nulls="own",
    cases=({"max_age_ms": 100}, {}, {"max_age_ms": 20_000}),
    definition=stale_quote_by_definition,
    source="FIA (2024), Best Practices for Automated Trading Risk Controls",
    notes="True where a time is missing; a quote from the future is not stale. Times of different "
          "units are compared in nanoseconds.",
    example="SELECT t.ts, stale_quote_detector(t.ts, q.ts, 500) FROM trades t ASOF LEFT JOIN "
            "quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol",
), stale_quote)


# ---------------------------------------------------------------- price_band_guard, fat_finger

cdef inline bint inside(double price, double reference, double pct) noexcept nogil:
    """Within the band, whose edge is inside; NaN and infinities are not."""
    return (reference > 0.0 and isfinite(reference)
            and fabs(price - reference) <= pct * reference * (1.0 + 1e-12))


cdef int price_band(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].i = inside(x[0].f, x[1].f, x[2].f)
    return EMIT


cdef int fat_finger(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].i = inside(x[0].f, x[2].f, x[3].f) and fabs(x[0].f * x[1].f) <= x[4].f
    return EMIT


def band_by_definition(order_px, ref_px, pct):
    """|order_px - ref_px| <= pct * ref_px."""
    from fractions import Fraction

    if order_px is None or ref_px is None or pct is None or ref_px <= 0:
        return False
    o, r, f = (Fraction(str(v)) for v in (order_px, ref_px, pct))
    return abs(o - r) <= f * r


def fat_finger_by_definition(order_px, order_size, ref_px, pct, notional_max):
    """Price within pct of the reference, and |order_px * order_size| <= notional_max."""
    if order_size is None or notional_max is None:
        return False
    small = order_px is not None and abs(order_px * order_size) <= notional_max
    return band_by_definition(order_px, ref_px, pct) and small


ORDER, REFERENCE = (Arg(name, unit="p", domain="positive") for name in ("order_px", "ref_px"))

define_scalar(Spec(
    name="price_band_guard",
    summary="Whether an order's price lies near enough to a reference.",
    shape="scalar",
    args=(ORDER, REFERENCE, Arg("pct", domain="sign", default=0.05)),
    returns=Out("bool"),
    nulls="own",
    definition=band_by_definition,
    source="SEC Rule 15c3-5; FIA (2024)",
    notes="True passes. pct is a decimal: 0.05 is 5 %. The edge of the band passes, with a "
          "tolerance of 1e-12 for what doubles round. False where anything is missing or the "
          "reference is not positive.",
    example="SELECT ts, price_band_guard(price, 100, 0.01) FROM trades",
), price_band)

define_scalar(Spec(
    name="fat_finger_guard",
    summary="Whether an order is neither too far from a reference nor too large.",
    shape="scalar",
    args=(ORDER, Arg("order_size", unit="v"), REFERENCE,
          Arg("pct", domain="sign", default=0.1),
          Arg("notional_max", unit="p*v", domain="positive", default=1e6)),
    returns=Out("bool"),
    nulls="own",
    definition=fat_finger_by_definition,
    source="SEC Rule 15c3-5; FIA (2024)",
    notes="True passes. Sales may have a negative size. False where anything is missing or the "
          "reference is not positive.",
    example="SELECT ts, fat_finger_guard(price, size, 100, 0.05, 10000) FROM trades",
), fat_finger)


# ---------------------------------------------------------------- circuit_breaker

cdef int circuit_breaker(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    out[0].i = not inside(x[0].f, x[1].f, x[2].f)
    return EMIT


def circuit_breaker_by_definition(price, ref, pct):
    """|price / ref - 1| > pct."""
    return not band_by_definition(price, ref, pct)


define_scalar(Spec(
    name="circuit_breaker",
    summary="Whether a price has moved too far from its reference: stop trading.",
    shape="scalar",
    args=(Arg("price", unit="p", domain="positive"), Arg("ref", unit="p", domain="positive"),
          Arg("pct", domain="sign", default=0.05)),
    returns=Out("bool"),
    nulls="own",
    definition=circuit_breaker_by_definition,
    source="Limit Up-Limit Down plan, 77 FR 33498 (2012)",
    notes="True halts. A move of exactly pct does not, with a tolerance of 1e-12 for what doubles "
          "round. True where anything is missing or the reference is not positive. It knows its "
          "row alone: to stay halted take circuit_breaker_latched.",
    example="SELECT ts, circuit_breaker(price, 100, 0.01) FROM trades",
), circuit_breaker)


# ---------------------------------------------------------------- circuit_breaker_latched

cdef struct Latch:
    int64_t shut
    int64_t since               # the last breach


cdef int breaker_latched(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Latch* s = <Latch*> state
    cdef bint breach = not inside(x[1].f, x[2].f, p[0].f)
    cdef int64_t now = x[0].i
    if now == MISSING:
        out[0].i = 1
        return EMIT
    if breach:
        s.since = now if not s.shut or now > s.since else s.since
        s.shut = 1
    elif s.shut:                # opens once the whole cooldown has passed
        s.shut = now < s.since or not (older(s.since, now, p[1].i)
                                       or now - s.since == p[1].i * 1_000_000)
    out[0].i = s.shut
    return EMIT


def breaker_latched_by_definition(ts, price, ref, pct, cooldown_ms):
    """A breach halts, and so does any time until cooldown_ms after the last one."""
    found, breaches = [], []
    for now, p, r in zip(ts, price, ref):
        if now is None:
            found.append(True)
            continue
        breach = circuit_breaker_by_definition(p, r, pct)
        breaches += [now] * breach
        found.append(any(now < then + cooldown_ms * 1_000_000 for then in breaches) or breach)
    return found


define_window(Spec(
    name="circuit_breaker_latched",
    form_of="circuit_breaker",
    summary="A circuit breaker that stays shut for a while after the last breach.",
    shape="window",
    args=(Arg("ts", type="timestamp"), Arg("price", unit="p", domain="positive"),
          Arg("ref", unit="p", domain="positive")),
    params=(Param("pct", 0.0, default=0.05, summary="a decimal: 0.05 is 5 %"),
            Param("cooldown_ms", 0, LONGEST_MS, default=300_000, type="int64",
                  summary="milliseconds")),
    returns=Out("bool"),
    nulls="own",
    cases=({"cooldown_ms": 700}, {"pct": 0.03, "cooldown_ms": 0},
           {"pct": 0.1, "cooldown_ms": 1250}, {"pct": 0.2, "cooldown_ms": 5000},
           {"pct": 0.3, "cooldown_ms": 60_000}),
    definition=breaker_latched_by_definition,
    source="Limit Up-Limit Down plan, 77 FR 33498 (2012): a pause of five minutes",
    notes="True halts. A missing price or reference is a breach; a missing time halts its row "
          "alone.",
    example="SELECT ts, circuit_breaker_latched(ts, price, 100, 0.005, 2000) OVER "
            "(PARTITION BY symbol ORDER BY ts, seq) FROM trades",
), breaker_latched, sizeof(Latch))


# ---------------------------------------------------------------- throttle_check

cdef struct Throttle:           # followed by the times of the last accepted, in a ring
    int64_t at
    int64_t full


cdef int64_t throttle_bytes(const cell* p) noexcept nogil:
    return sizeof(Throttle) + p[0].i * sizeof(int64_t)


cdef int throttle_check(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Throttle* s = <Throttle*> state
    cdef int64_t* accepted = <int64_t*> (s + 1)
    cdef int64_t now = x[0].i, oldest = accepted[s.at]
    out[0].i = 0
    if now == MISSING:
        return EMIT
    if s.full and not (older(oldest, now, p[1].i) or now - oldest == p[1].i * 1_000_000):
        return EMIT
    out[0].i = 1
    accepted[s.at] = now
    s.at += 1
    if s.at == p[0].i:
        s.at = 0
        s.full = 1
    return EMIT


def throttle_check_by_definition(ts, max_events, window_ms):
    """Less than max_events accepted after ts - window_ms."""
    found, accepted = [], []
    for now in ts:
        passes = now is not None and (
            sum(then > now - window_ms * 1_000_000 for then in accepted) < max_events)
        accepted += [now] * passes
        found.append(passes)
    return found


define_ring(Spec(
    name="throttle_check",
    summary="Whether an order keeps within a number of orders in a time.",
    shape="window",
    args=(Arg("ts", type="timestamp"),),
    params=(Param("max_events", 1, 10_000_000, default=100, type="int64"),
            Param("window_ms", 0, LONGEST_MS, default=1000, type="int64",
                  summary="milliseconds")),
    returns=Out("bool"),
    nulls="own",
    cases=({"max_events": 3}, {"max_events": 5, "window_ms": 2500}, {"max_events": 2}),
    definition=throttle_check_by_definition,
    source="FIA (2024); sliding-window log",
    notes="True passes. Only orders that passed count, those of the same time too, and one that is "
          "window_ms old does not count any more. A missing time does not pass.",
    bound="8 bytes for each of max_events",
    example="SELECT ts, throttle_check(ts, 5, 1000) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), throttle_check, throttle_bytes)


# ---------------------------------------------------------------- token_bucket

cdef struct Bucket:
    int64_t seen
    int64_t last
    double debt                 # ns until the bucket is full


cdef int token_bucket(void* state, const cell* p, const cell* x, cell* out) noexcept nogil:
    cdef Bucket* s = <Bucket*> state
    cdef int64_t now = x[0].i
    cdef double token = 1e9 / p[0].f, most = (p[1].f - 1.0) * token
    out[0].i = 0
    if now == MISSING:
        return EMIT
    if s.seen and now > s.last:
        s.debt -= <double> (<uint64_t> now - <uint64_t> s.last)
        s.debt = s.debt if s.debt > 0.0 else 0.0
    if not s.seen or now > s.last:
        s.last = now
    s.seen = 1
    if s.debt <= most + 1e-9 * token:       # a time that rounding has left open is closed
        s.debt += token
        out[0].i = 1
    return EMIT


def token_bucket_by_definition(ts, rate, burst):
    """Tokens come at `rate` a second up to `burst`; an order takes one, or does not pass."""
    from fractions import Fraction

    found, tokens, last = [], Fraction(burst), None
    for now in ts:
        if now is not None:
            past = Fraction(max(0, now - (now if last is None else last)), 10**9)
            last = now if last is None else max(now, last)
            tokens = min(Fraction(burst), tokens + past * Fraction(rate))
        found.append(now is not None and tokens >= 1)
        tokens -= found[-1]
    return found


define_window(Spec(
    name="token_bucket",
    form_of="throttle_check",
    summary="Whether an order finds a token in a bucket that fills at a rate.",
    shape="window",
    args=(Arg("ts", type="timestamp"),),
    params=(Param("rate", 0.0, open_low=True, default=100.0, summary="tokens a second"),
            Param("burst", 1.0, default=100.0, summary="tokens that the bucket holds")),
    returns=Out("bool"),
    nulls="own",
    cases=({"rate": 1.5, "burst": 3.0}, {"rate": 3.0, "burst": 1.0}, {"rate": 2.0, "burst": 4.5}),
    definition=token_bucket_by_definition,
    source="ITU-T I.371, generic cell rate algorithm",
    notes="True passes. The bucket is full at first. A missing time does not pass; one before the "
          "last adds no tokens.",
    example="SELECT ts, token_bucket(ts, 2, 3) OVER (PARTITION BY symbol ORDER BY ts, seq) "
            "FROM trades",
), token_bucket, sizeof(Bucket))


# ---------------------------------------------------------------- outlier_flag_mad

cdef int64_t outlier_bytes(const cell* p) noexcept nogil:
    return sorted_bytes(p[0].i)


cdef inline int outlier_flag_mad(void* state, const cell* p, const cell* x,
                                 cell* out) noexcept nogil:
    cdef SortedWindow* s = <SortedWindow*> state
    cdef int64_t w = p[0].i
    cdef const double* ranked = sorted_rows(s) + w
    cdef bint ready = s.n == w and not isnan(x[0].f)
    cdef double median
    if ready:                   # by the rows before this one
        median = ranked_median(ranked, w)
        out[0].i = (fabs(x[0].f - median)
                    > p[1].f * (1.4826022185056018 * ranked_mad(ranked, w, median)))
    sorted_push(s, w, x[0].f)
    return EMIT if ready else ABSENT


cdef void outlier_flag_mad_loop(Rows* r) noexcept nogil:
    drive(outlier_flag_mad, 1, 1, r)


def outlier_flag_mad_by_definition(x, window, k):
    """|x - median| > k * 1.4826 * median |x - median|, over the rows before."""
    found = []
    for t, value in enumerate(x):
        before = x[t - window:t] if t >= window else [None]
        if value is None or missing(before):
            found.append(None)
            continue
        median = quantile(before, 0.5)
        mad = quantile([abs(v - median) for v in before], 0.5)
        found.append(abs(value - median) > k * 1.4826022185056018 * mad)
    return found


define_ring(Spec(
    name="outlier_flag_mad",
    summary="Whether a value lies far off the median of the rows before it.",
    shape="window",
    args=(Arg("x", unit="u"),),
    params=(Param("window", 1, 1_000_000, default=100, type="int64", summary="rows"),
            Param("k", 0.0, default=3.0, summary="scaled MADs")),
    returns=Out("bool"),
    nulls="row",
    cases=({"window": 5}, {"window": 6, "k": 1.0}, {"window": 7, "k": 2.0}),
    definition=outlier_flag_mad_by_definition,
    source="Rousseeuw and Croux (1993), JASA 88; Iglewicz and Hoaglin (1993)",
    notes="True is an outlier; the row itself is not in its window. Where the MAD is 0 any value "
          "off the median is one. NULL for the first `window` rows, and where the value or one of "
          "the window is missing: a condition NOT outlier_flag_mad(..) passes none of them.",
    bound="16 bytes a row of the window",
    example="SELECT ts, outlier_flag_mad(price, 50, 3.5) OVER (PARTITION BY symbol "
            "ORDER BY ts, seq) FROM trades",
), outlier_flag_mad, outlier_bytes, outlier_flag_mad_loop)
