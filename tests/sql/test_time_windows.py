"""TUMBLE and HOP against a slow definition, pandas and DuckDB; clocks that are set as examples."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fin_sql
from fin_sql.errors import KernelError, SqlError
from fin_sql.exec.aggregate import KernelAggregate
from fin_sql.exec.calls import Call
from fin_sql.exec.order import Piece
from fin_sql.exec.time_windows import TimeWindow

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STEP = {"s": SECOND, "ms": SECOND // 1_000, "us": 1_000, "ns": 1}


def ns(text, zone="UTC", fold=0):
    """A local time in nanoseconds since 1970 UTC."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int((local.astimezone(UTC) - EPOCH) / timedelta(seconds=1)) * SECOND


def session(times, kind="ns", zone=None, **columns):
    """A session with a table `t`: the times in nanoseconds, None for NULL."""
    step = STEP[kind]
    values = pa.array([None if t is None else t // step for t in times], pa.int64())
    ctx = fin_sql.connect(threads=2)
    ctx.register("t", pa.table({"ts": values.cast(pa.timestamp(kind, zone)), **columns}))
    return ctx


def windows(ctx, window, more=""):
    """(start, end, rows) of each window, in nanoseconds, as they come."""
    sql = f"SELECT window_start, window_end, count(*) AS n FROM t GROUP BY {window} {more}"
    found = ctx.sql(sql).to_arrow()
    kind = found.schema.field("window_start").type
    assert found.schema.field("window_end").type == kind
    step = STEP[kind.unit]
    ends = [
        [None if v is None else v * step for v in found[name].cast(pa.int64()).to_pylist()]
        for name in ("window_start", "window_end")
    ]
    return list(zip(*ends, found["n"].to_pylist(), strict=True))


# ---------------------------------------------------------------- the definition


@lru_cache(maxsize=100_000)
def first_moment(day, zone):
    """The first second at which a clock of the zone shows the day, or a later one."""
    low = int((datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH).total_seconds()) - 93_600
    high = low + 2 * 93_600
    zone = ZoneInfo(zone)

    def reached(second):
        return (EPOCH + timedelta(seconds=second)).astimezone(zone).date() >= day

    coarse = next(s for s in range(low, high, 300) if reached(s))  # no clock is set for less
    return next(s for s in range(coarse - 300, coarse + 1) if reached(s)) * SECOND


def tumbling(t, zone="UTC", width=0, days=0, months=0):
    """Start and end of the window of a time."""
    if width and zone == "UTC":
        return t // width * width, t // width * width + width
    shown = (EPOCH + timedelta(seconds=t // SECOND)).astimezone(ZoneInfo(zone)).date()
    # Where midnight comes twice the day has begun with the first one.
    day = max(d for d in (shown, shown + timedelta(days=1)) if first_moment(d, zone) <= t)
    if months:
        month = (day.year * 12 + day.month - 1) // months * months
        edges = [date(m // 12, m % 12 + 1, 1) for m in (month, month + months)]
        return tuple(first_moment(edge, zone) for edge in edges)
    anchor = date(1970, 1, 5) if days and days % 7 == 0 else date(1970, 1, 1)
    day -= timedelta(days=(day - anchor).days % (days or 1))
    begin = first_moment(day, zone)
    end = first_moment(day + timedelta(days=days or 1), zone)
    if days:
        return begin, end
    start = begin + (t - begin) // width * width
    return start, min(start + width, end)


def hopping(t, slide, size):
    """Starts and ends of all windows that hold a time, the earliest first."""
    start, found = t // slide * slide, []
    while start + size > t:
        found.insert(0, (start, start + size))
        start -= slide
    return found


def counted(pairs):
    """(start, end, rows) of each window, the earliest first."""
    return sorted((*window, n) for window, n in Counter(pairs).items())


# Zones with clocks set by an hour and by half an hour, at midnight, and with odd offsets.
ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Asia/Kathmandu",
         "Australia/Adelaide", "Australia/Lord_Howe", "Pacific/Chatham", "America/Sao_Paulo",
         "America/St_Johns", "Africa/Cairo", "America/Havana", "Pacific/Apia",
         "Asia/Tokyo"]  # fmt: skip
SIZES = {
    "1 second": {"width": SECOND},
    "15 minutes": {"width": 15 * MINUTE},
    "20 minutes": {"width": 20 * MINUTE},
    "1 hour": {"width": HOUR},
    "6 hours": {"width": 6 * HOUR},
    "24 hours": {"width": DAY},
    "1 day": {"days": 1},
    "3 days": {"days": 3},
    "7 days": {"days": 7},
    "1 month": {"months": 1},
    "3 months": {"months": 3},
    "1 year": {"months": 12},
}
# About days on which clocks were set, and before 1970.
DAYS = ["2024-03-10", "2024-11-03", "2024-03-31", "2024-10-27", "2024-04-07", "2024-10-06",
        "2018-11-04", "2018-02-18", "2023-04-28", "2011-12-30", "2010-11-07", "2024-02-29",
        "1969-12-31", "1964-04-26", "1999-12-31"]  # fmt: skip


def drawn(seed, n=400):
    """Times about some of the days, in any order, with ties."""
    rng = np.random.default_rng(seed)
    base = np.array([ns(f"{day}T12:00:00") for day in DAYS])
    around = rng.normal(0, 12 * HOUR, n).astype(np.int64) // SECOND * SECOND
    found = rng.choice(base, n) + around
    return [int(t) for t in rng.choice(found, n)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zone", ZONES)
def test_tumble_is_its_definition(zone, size):
    times = drawn(len(zone) * 31 + len(size))
    ctx = session(times, "s" if "second" in size else "us")
    found = windows(ctx, f"TUMBLE(ts, INTERVAL '{size}', '{zone}')")
    assert found == counted(tumbling(t, zone, **SIZES[size]) for t in times)
    if zone == "UTC":
        assert windows(ctx, f"TUMBLE(ts, INTERVAL '{size}')") == found


HOPS = [("1 minute", "5 minutes", MINUTE, 5 * MINUTE), ("25 s", "1 minute", 25 * SECOND, MINUTE),
        ("40 s", "1 minute", 40 * SECOND, MINUTE), ("1 hour", "1 hour", HOUR, HOUR),
        ("1 day", "7 days", DAY, 7 * DAY), ("7 minutes", "1 hour", 7 * MINUTE, HOUR),
        ("250 ms", "1 s", SECOND // 4, SECOND)]  # fmt: skip


@pytest.mark.parametrize(("slide", "size", "slide_ns", "size_ns"), HOPS)
@pytest.mark.parametrize("seed", [1, 2])
def test_hop_is_its_definition(slide, size, slide_ns, size_ns, seed):
    rng = np.random.default_rng(seed)
    times = [int(t) for t in rng.integers(-2 * DAY, 2 * DAY, 300) // 10**6 * 10**6]
    ctx = session(times, "ms")
    found = windows(ctx, f"HOP(ts, INTERVAL '{slide}', INTERVAL '{size}')")
    assert found == counted(w for t in times for w in hopping(t, slide_ns, size_ns))


def test_values_of_hop_are_those_of_the_rows_of_each_window():
    rng = np.random.default_rng(3)
    times = [int(t) for t in np.sort(rng.integers(0, 600, 500)) * SECOND]
    key, x = rng.choice(["a", "b"], 500), np.round(rng.normal(size=500), 2)
    ctx = session(times, "ms", k=key, x=x, i=range(500))
    found = ctx.sql(
        "SELECT k, window_start, min(x) AS low, first_value(x) AS head, last_value(x) AS tail, "
        "array_agg(i) AS rows, median(x) AS middle FROM t "
        "GROUP BY k, HOP(ts, INTERVAL '25' SECOND, INTERVAL '1' MINUTE)"
    ).to_arrow()
    wanted = {}
    for i, t in enumerate(times):
        for start, _ in hopping(t, 25 * SECOND, MINUTE):
            wanted.setdefault((key[i], start // 10**6), []).append(i)
    starts = found["window_start"].cast(pa.int64()).to_pylist()
    wanted = dict(sorted(wanted.items(), key=lambda item: item[0][1]))
    assert list(zip(found["k"].to_pylist(), starts, strict=True)) == list(wanted)
    for row, rows in zip(found.to_pylist(), wanted.values(), strict=True):
        assert row["rows"] == rows
        assert (row["low"], row["head"], row["tail"]) == (x[rows].min(), x[rows[0]], x[rows[-1]])
        assert row["middle"] == pytest.approx(np.median(x[rows]))


def test_many_windows_of_a_row_stay_in_bounded_memory():
    n = 20_000
    ctx = session([t * SECOND for t in range(n)], "s")
    found = windows(ctx, "HOP(ts, INTERVAL '1' SECOND, INTERVAL '1' HOUR)")
    assert len(found) == n + 3_599
    assert sum(rows for *_, rows in found) == n * 3_600
    assert found[3_599] == (0, HOUR, 3_600)


# ---------------------------------------------------------------- clocks that are set

# Zone, first and last local midnight, hours between them.
SET = [
    ("America/New_York", "2024-03-10", "2024-03-11", 23),
    ("America/New_York", "2024-11-03", "2024-11-04", 25),
    ("Europe/London", "2024-03-31", "2024-04-01", 23),
    ("Europe/London", "2024-10-27", "2024-10-28", 25),
    ("Australia/Adelaide", "2024-10-06", "2024-10-07", 23),
    ("Australia/Lord_Howe", "2024-04-07", "2024-04-08", 24.5),
    ("Australia/Lord_Howe", "2024-10-06", "2024-10-07", 23.5),
    ("Pacific/Chatham", "2024-04-07", "2024-04-08", 25),
    ("America/Sao_Paulo", "2018-11-04", "2018-11-05", 23),  # midnight itself was left out
    ("America/Sao_Paulo", "2018-02-17", "2018-02-18", 25),
    ("Asia/Kathmandu", "2024-03-10", "2024-03-11", 24),
    ("Asia/Tokyo", "2024-03-10", "2024-03-11", 24),
]
MIDNIGHT = {  # of the first day, in UTC
    ("America/New_York", "2024-03-10"): "2024-03-10T05:00:00",
    ("America/New_York", "2024-11-03"): "2024-11-03T04:00:00",
    ("Europe/London", "2024-03-31"): "2024-03-31T00:00:00",
    ("Europe/London", "2024-10-27"): "2024-10-26T23:00:00",
    ("Australia/Adelaide", "2024-10-06"): "2024-10-05T14:30:00",
    ("Australia/Lord_Howe", "2024-04-07"): "2024-04-06T13:00:00",
    ("Australia/Lord_Howe", "2024-10-06"): "2024-10-05T13:30:00",
    ("Pacific/Chatham", "2024-04-07"): "2024-04-06T10:15:00",
    ("America/Sao_Paulo", "2018-11-04"): "2018-11-04T03:00:00",
    ("America/Sao_Paulo", "2018-02-17"): "2018-02-17T02:00:00",
    ("Asia/Kathmandu", "2024-03-10"): "2024-03-09T18:15:00",
    ("Asia/Tokyo", "2024-03-10"): "2024-03-09T15:00:00",
}


@pytest.mark.parametrize(("zone", "day", "following", "hours"), SET)
def test_a_day_on_which_clocks_are_set(zone, day, following, hours):
    begin = ns(MIDNIGHT[zone, day])
    end = begin + int(hours * HOUR)
    times = list(range(begin - 2 * HOUR, end + 2 * HOUR, 10 * MINUTE))
    ctx = session(times, "us")
    days = windows(ctx, f"TUMBLE(ts, INTERVAL '1' DAY, '{zone}')")
    assert (begin, end, hours * 6) in days
    assert len(days) == 3
    shown = ctx.sql(
        f"SELECT DISTINCT window_end FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY, '{zone}') "
        f"HAVING window_start = to_timestamp({begin // SECOND})"
    ).to_arrow()
    local = shown["window_end"][0].as_py().replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    assert local.date().isoformat() == following
    within = [
        w for w in windows(ctx, f"TUMBLE(ts, INTERVAL '1' HOUR, '{zone}')") if begin <= w[0] < end
    ]
    whole = [(begin + k * HOUR, begin + (k + 1) * HOUR, 6) for k in range(int(hours))]
    rest = [(end - HOUR // 2, end, 3)] if hours % 1 else []
    assert within == whole + rest


def test_the_hours_of_both_sundays_of_new_york():
    ctx = session([ns(f"2024-03-10T{h:02}:30:00") for h in range(4, 12)], "s")
    found = windows(ctx, "TUMBLE(ts, INTERVAL '1' HOUR, 'America/New_York')")
    zone = ZoneInfo("America/New_York")
    local = [(EPOCH + timedelta(seconds=s // SECOND)).astimezone(zone) for s, _, _ in found]
    assert [t.hour for t in local] == [23, 0, 1, 3, 4, 5, 6, 7]
    ctx = session([ns(f"2024-11-03T{h:02}:30:00") for h in range(3, 9)], "s")
    found = windows(ctx, "TUMBLE(ts, INTERVAL '1' HOUR, 'America/New_York')")
    local = [(EPOCH + timedelta(seconds=s // SECOND)).astimezone(zone) for s, _, _ in found]
    assert [(t.hour, t.fold) for t in local] == [(23, 0), (0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]


def test_a_day_that_a_zone_left_out():
    # Samoa went from the 29th to the 31st of December 2011, at 10:00 UTC.
    times = [ns(f"2011-12-{d}T{h:02}:00:00") for d in (29, 30, 31) for h in range(0, 24, 2)]
    found = windows(session(times), "TUMBLE(ts, INTERVAL '1' DAY, 'Pacific/Apia')")
    assert found == [
        (ns("2011-12-28T10:00:00"), ns("2011-12-29T10:00:00"), 5),
        (ns("2011-12-29T10:00:00"), ns("2011-12-30T10:00:00"), 12),
        (ns("2011-12-30T10:00:00"), ns("2011-12-31T10:00:00"), 12),
        (ns("2011-12-31T10:00:00"), ns("2012-01-01T10:00:00"), 7),
    ]


def test_a_month_and_a_quarter_of_a_zone():
    times = [ns(f"2024-{m:02}-01T04:30:00") for m in range(1, 13)]
    ctx = session(times, "ms")
    found = windows(ctx, "TUMBLE(ts, INTERVAL '1' MONTH, 'America/New_York')")
    # 04:30 UTC is on the day before in winter, and after midnight in summer.
    assert [n for *_, n in found] == [1] * 10 + [2]
    assert found[0] == (ns("2023-12-01T05:00:00"), ns("2024-01-01T05:00:00"), 1)
    assert found[3] == (ns("2024-04-01T04:00:00"), ns("2024-05-01T04:00:00"), 1)
    assert found[-1] == (ns("2024-11-01T04:00:00"), ns("2024-12-01T05:00:00"), 2)
    quarters = windows(ctx, "TUMBLE(ts, INTERVAL '3 months', 'America/New_York')")
    assert quarters[1] == (ns("2024-01-01T05:00:00"), ns("2024-04-01T04:00:00"), 2)


# ---------------------------------------------------------------- times as they come


@pytest.mark.parametrize("unit", STEP)
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "+05:45"])
def test_units_and_zones_are_kept(unit, zone):
    times = [ns("2024-03-10T04:59:59"), ns("2024-03-10T05:00:00"), ns("1969-12-31T23:59:59"), None]
    ctx = session(times, unit, zone)
    query = (
        "SELECT window_start, window_end, min(ts) AS a, first_value(ts) AS b, count(*) AS n "
        "FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY, 'America/New_York')"
    )
    found = ctx.sql(query).to_arrow()
    assert found.schema.types == [pa.timestamp(unit, zone)] * 4 + [pa.int64()]
    midnight = [ns("1969-12-31T05:00:00"), ns("2024-03-09T05:00:00"), ns("2024-03-10T05:00:00")]
    instants = [
        None if v is None else v * STEP[unit]
        for v in found["window_start"].cast(pa.int64()).to_pylist()
    ]  # noqa: E501
    assert instants == [None, *midnight]
    assert found["a"].to_pylist() == found["b"].to_pylist()
    one = ctx.sql("SELECT ts, vwap(1, 1) AS v, count(*) AS n FROM t GROUP BY ts").to_arrow()
    assert one.schema.field("ts").type == pa.timestamp(unit, zone)
    assert one["n"].to_pylist() == [1, 1, 1, 1]


def test_a_null_time_is_in_a_window_without_ends():
    times = [None, 5 * SECOND, None, 65 * SECOND, None]
    for window in ("TUMBLE(ts, INTERVAL '1' MINUTE)", "TUMBLE(ts, INTERVAL '1' MONTH)",
                   "HOP(ts, INTERVAL '1' MINUTE, INTERVAL '2' MINUTES)"):  # fmt: skip
        found = windows(session(times), window)
        assert found[0] == (None, None, 3)
        assert all(start is not None for start, _, _ in found[1:])
    found = session([None, None]).sql(
        "SELECT window_start, count(*) AS n FROM t "
        "GROUP BY TUMBLE(ts, INTERVAL '1' DAY, 'Asia/Tokyo')"
    )
    assert found.to_arrow().to_pydict() == {"window_start": [None], "n": [2]}


def test_a_date_is_its_midnight():
    days = pa.array([0, 1, 30, 31, 58, None, -1], pa.int32()).cast(pa.date32())
    for column in (days, days.cast(pa.date64())):
        ctx = fin_sql.connect()
        ctx.register("t", pa.table({"ts": column}))
        assert windows(ctx, "TUMBLE(ts, INTERVAL '1' MONTH)") == [
            (None, None, 1), (-31 * DAY, 0, 1), (0, 31 * DAY, 3), (31 * DAY, 59 * DAY, 2),
        ]  # fmt: skip
        found = windows(ctx, "TUMBLE(ts, INTERVAL '7 days')")
        assert found[1] == (-3 * DAY, 4 * DAY, 3)  # from Monday, the 29th of December 1969
        assert len(windows(ctx, "HOP(ts, INTERVAL '1' DAY, INTERVAL '2 days')")) == 10
        mixed = ctx.sql("SELECT ts, vwap(1, 1) AS v FROM t GROUP BY ts").to_arrow()
        assert mixed["ts"].to_pylist() == column.to_pylist()


def test_an_expression_may_be_the_time():
    ctx = session([0, 30 * SECOND, 60 * SECOND], i=[1, 2, 3], ms=[0, 59_999, 60_000])
    found = windows(ctx, "TUMBLE(ts + INTERVAL '30' SECOND, INTERVAL '1' MINUTE)")
    assert found == [(0, MINUTE, 1), (MINUTE, 2 * MINUTE, 2)]
    found = windows(ctx, "TUMBLE(to_timestamp_millis(ms), INTERVAL '1' MINUTE)")
    assert found == [(0, MINUTE, 2), (MINUTE, 2 * MINUTE, 1)]


def test_window_lengths_may_be_parameters():
    ctx = session([0, 30 * SECOND, 60 * SECOND])
    query = "SELECT count(*) AS n FROM t GROUP BY TUMBLE(ts, $1, $2)"
    with pytest.raises(SqlError, match="an interval was expected"):
        ctx.sql(query, [5, "UTC"])
    found = ctx.sql(query, [pa.scalar(60, pa.duration("s")), "Asia/Tokyo"]).to_arrow()
    assert found["n"].to_pylist() == [2, 1]


@pytest.mark.parametrize("seed", range(3))
def test_batches_that_go_back_and_forth_in_time_find_their_windows(seed):
    rng = np.random.default_rng(seed)
    times = np.array(drawn(seed + 50)) // SECOND * SECOND
    zone = "Europe/London"
    for window, size in ((TimeWindow("ts", days=1, zone=zone), {"days": 1}),
                         (TimeWindow("ts", months=1, zone=zone), {"months": 1}),
                         (TimeWindow("ts", HOUR, zone=zone), {"width": HOUR})):  # fmt: skip
        batch = pa.record_batch({"ts": pa.array(times).cast(pa.timestamp("ns"))})
        operator = KernelAggregate([Call("count", (), "n")], batch.schema, [], window)
        edges = [0, *np.sort(rng.integers(0, len(times), 30)), len(times)]
        for begin, end in zip(edges[:-1], edges[1:], strict=True):
            operator.process(0, Piece(batch.slice(begin, end - begin)))
        found = operator.groups()
        ends = [found[name].cast(pa.int64()).to_pylist() for name in ("window_start", "window_end")]
        assert list(zip(*ends, found["n"].to_pylist(), strict=True)) == counted(
            tumbling(int(t), zone, **size) for t in times
        )


def test_one_time_far_away_costs_little():
    times = [ns("1700-01-01T00:00:00"), ns("2024-03-10T06:00:00"), ns("2250-01-01T00:00:00")]
    batch = pa.record_batch({"ts": pa.array(times).cast(pa.timestamp("ns"))})
    window = TimeWindow("ts", 20 * MINUTE, zone="America/New_York")
    operator = KernelAggregate([Call("count", (), "n")], batch.schema, [], window)
    operator.process(0, Piece(batch))
    assert operator.groups().num_rows == 3
    assert operator.bytes_held() < 4_000_000


@pytest.mark.parametrize(
    ("seconds", "window"),
    [
        (2**63 - 1, "TUMBLE(ts, INTERVAL '1' MINUTE)"),
        (-(2**63) + 1, "TUMBLE(ts, INTERVAL '1' MINUTE)"),
        (2**63 - 1, "HOP(ts, INTERVAL '1' SECOND, INTERVAL '1' MINUTE)"),
        (2**63 - 1, "TUMBLE(ts, INTERVAL '1' MONTH)"),
        (400_000_000_000, "TUMBLE(ts, INTERVAL '1' DAY, 'Asia/Tokyo')"),
    ],
)
def test_times_that_no_window_holds_are_refused(seconds, window):
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"ts": pa.array([0, seconds], pa.timestamp("s"))}))
    with pytest.raises(KernelError, match="window"):
        ctx.sql(f"SELECT count(*) FROM t GROUP BY {window}").to_arrow()


# ---------------------------------------------------------------- other libraries


@pytest.fixture(scope="module")
def ticks():
    """Times of two years, in order, and a value."""
    rng = np.random.default_rng(20261123)
    first, last = ns("2023-06-01T00:00:00"), ns("2025-06-01T00:00:00")
    times = np.sort(rng.integers(first, last, 3_000) // SECOND * SECOND)
    x = np.round(rng.normal(size=3_000), 2)
    return session([int(t) for t in times], "us", x=x), pd.DataFrame(
        {"ts": pd.to_datetime(times, utc=True).as_unit("us"), "x": x}
    )


RESAMPLED = {"5 minutes": "5min", "1 hour": "h", "1 day": "D", "7 days": "W-MON", "1 month": "MS",
             "3 months": "QS", "1 year": "YS"}  # fmt: skip


@pytest.mark.parametrize("size", RESAMPLED)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Adelaide"])
def test_tumble_is_the_grouper_of_pandas(ticks, zone, size):
    ctx, frame = ticks
    found = ctx.sql(
        f"SELECT window_start, count(*) AS n, sum(x) AS s, min(x) AS low, last_value(x) AS tail "
        f"FROM t GROUP BY TUMBLE(ts, INTERVAL '{size}', '{zone}')"
    ).to_pandas()
    local = frame.assign(ts=frame.ts.dt.tz_convert(zone))
    grouper = pd.Grouper(key="ts", freq=RESAMPLED[size], closed="left", label="left")
    wanted = local.groupby(grouper).x.agg(["count", "sum", "min", "last"])
    wanted = wanted[wanted["count"] > 0]
    starts = pd.to_datetime(found.window_start, utc=True).dt.tz_convert(zone)
    assert list(starts) == list(wanted.index)
    assert list(found.n) == list(wanted["count"])
    assert list(found["low"]) == list(wanted["min"])
    assert list(found["tail"]) == list(wanted["last"])
    np.testing.assert_allclose(found.s, wanted["sum"], atol=1e-12)


@pytest.mark.parametrize(
    "size", ["1 second", "15 minutes", "1 hour", "6 hours", "1 day", "7 days", "1 month", "1 year"]
)
def test_tumble_in_utc_is_the_time_bucket_of_duckdb(ticks, size):
    ctx, frame = ticks
    t = frame.assign(ts=frame.ts.dt.tz_localize(None))  # noqa: F841  read by its name
    found = ctx.sql(
        "SELECT window_start, count(*) AS n, max(x) AS m FROM t "
        f"GROUP BY TUMBLE(ts, INTERVAL '{size}')"
    ).to_arrow()
    wanted = duckdb.sql(
        f"SELECT time_bucket(INTERVAL '{size}', ts) AS w, count(*) AS n, max(x) AS m FROM t "
        "GROUP BY w ORDER BY w"
    ).fetchall()
    assert [tuple(row.values()) for row in found.to_pylist()] == wanted


@pytest.mark.parametrize("size", ["1 day", "7 days", "1 month", "3 months", "1 year"])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_days_and_months_of_a_zone_are_the_time_bucket_of_duckdb(ticks, zone, size):
    ctx, frame = ticks
    t = frame  # noqa: F841  read by its name
    found = ctx.sql(
        "SELECT window_start, count(*) AS n, max(x) AS m FROM t "
        f"GROUP BY TUMBLE(ts, INTERVAL '{size}', '{zone}')"
    ).to_arrow()
    wanted = duckdb.sql(
        f"SELECT epoch_us(time_bucket(INTERVAL '{size}', ts, '{zone}')) AS w, count(*) AS n, "
        "max(x) AS m FROM t GROUP BY w ORDER BY w"
    ).fetchall()
    starts = found["window_start"].cast(pa.int64()).to_pylist()
    assert list(zip(starts, *(found[c].to_pylist() for c in ("n", "m")), strict=True)) == wanted


def test_bars_are_those_of_pandas(ticks):
    ctx, frame = ticks
    found = ctx.sql(
        "SELECT window_start, ohlc(x, ts).open AS open, ohlc(x, ts).high AS high, "
        "ohlc(x, ts).low AS low, ohlc(x, ts).close AS close FROM t "
        "GROUP BY TUMBLE(ts, INTERVAL '1' DAY, 'America/New_York') ORDER BY window_start"
    ).to_pandas()
    local = frame.set_index(frame.ts.dt.tz_convert("America/New_York")).x
    wanted = local.resample("D").ohlc().dropna()
    starts = pd.to_datetime(found.window_start, utc=True).dt.tz_convert("America/New_York")
    assert list(starts) == list(wanted.index)
    for name in ("open", "high", "low", "close"):
        assert list(found[name]) == list(wanted[name]), name
