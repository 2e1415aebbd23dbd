"""Windows of time: how long they are, where they begin, and what days and months do to it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import KernelError, SqlError
from fin_sql.exec.time_groups import TimeGroups

DAY_NS = 86_400_000_000_000
QUARTER_NS = 900_000_000_000  # since 1980 all zones are whole ones of these away from UTC
STEP = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
NO_TIME = -(2**63)
MONDAY = date(1970, 1, 5)
# Dates are counted by Python's calendar; the longest window fits in at both ends.
FIRST_NS = (date(101, 1, 1) - date(1970, 1, 1)).days * DAY_NS
LAST_NS = (date(9899, 1, 1) - date(1970, 1, 1)).days * DAY_NS
MOST_DAYS, MOST_MONTHS = 36_500, 1_200
MOST_WINDOWS = 100_000  # of HOP, at one time


@dataclass(frozen=True)
class TimeWindow:
    """TUMBLE or HOP over a time column: windows [start, end).

    Args:
        time: the column.
        width_ns: length; 0 where it is counted in days or months.
        slide_ns: of HOP, from start to start; 0 where windows do not overlap.
        days: length in days of the zone.
        months: length in months of the zone.
        zone: whose midnight is meant; UTC where empty.
    """

    time: str
    width_ns: int = 0
    slide_ns: int = 0
    days: int = 0
    months: int = 0
    zone: str = ""

    @property
    def fixed_ns(self) -> tuple[int, int] | None:
        """Length and origin where all windows are equally long, counted from 1970 UTC."""
        if self.months:
            return None
        if self.days:
            monday = (MONDAY - date(1970, 1, 1)).days * DAY_NS
            fixed = self.days * DAY_NS, monday if self.days % 7 == 0 else 0
            return fixed if self.zone in ("", "UTC") else None
        if self.zone in ("", "UTC") or QUARTER_NS % self.width_ns == 0:
            return self.width_ns, 0
        return None

    def words(self) -> str:
        """As EXPLAIN shows it."""
        length = f"{self.months} months" if self.months else f"{self.days} days"
        if self.width_ns:
            length = f"{self.width_ns / 1e9:g} s"
        zone = f" in {self.zone}" if self.zone else ""
        if self.slide_ns:
            return f"HOP {self.time} by {self.slide_ns / 1e9:g} s, {length}{zone}"
        return f"TUMBLE {self.time} by {length}{zone}"


def checked(window: TimeWindow, unit: str = "ns") -> TimeWindow:
    """Raise SqlError for what cannot be a window over a time that counts in a unit."""
    if min(window.width_ns, window.slide_ns, window.days, window.months) < 0 or not (
        window.width_ns or window.days or window.months
    ):
        raise SqlError("a window must be longer than nothing")
    if bool(window.width_ns) + bool(window.days) + bool(window.months) > 1:
        msg = "a window is so many months, or days, or a time within a day; was more than one"
        raise SqlError(msg)
    if window.days > MOST_DAYS or window.months > MOST_MONTHS:
        raise SqlError("a window is no longer than a hundred years")
    if window.slide_ns and (window.days or window.months or window.zone):
        raise SqlError("HOP counts in hours or less and takes no zone; write TUMBLE for days")
    if window.slide_ns > window.width_ns:
        raise SqlError("HOP(ts, slide, size): slide must not be longer than size")
    if window.slide_ns and window.width_ns // window.slide_ns > MOST_WINDOWS:
        msg = f"HOP(ts, slide, size): a row may fall into {MOST_WINDOWS} windows, not more"
        raise SqlError(msg)
    if window.zone and window.width_ns and DAY_NS % window.width_ns:
        raise SqlError("a window of a zone's time must divide a day, or be days or months")
    if window.width_ns % STEP[unit] or window.slide_ns % STEP[unit]:
        msg = f"the time counts in {unit}, the window in shorter steps; cast the time to TIMESTAMP"
        raise SqlError(msg)
    try:
        ZoneInfo(window.zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"there is no time zone '{window.zone}'; write one such as 'America/New_York'"
        raise SqlError(msg) from None
    return window


class Timeline:
    """The windows that the rows of a time column fall into.

    Args:
        window: which; None takes each value of the column as a window of its own.
        kind: the type of the column.
    """

    def __init__(self, window: TimeWindow | None, kind: pa.DataType) -> None:
        self.window = window
        self.unit, self.step = kind.unit, STEP[kind.unit]
        self._bounds: list[int] = []
        fixed = (1, 0) if window is None else window.fixed_ns
        if fixed is None:
            self.groups = TimeGroups(part=window.width_ns // self.step if window else 0)
            return
        slide = window.slide_ns if window else 0
        width, origin = fixed
        if window is not None:
            checked(window, kind.unit)
            width, origin, slide = (part // self.step for part in (width, origin, slide))
        self.groups = TimeGroups(width, origin, slide)

    def first_open(self, ns: int) -> int:
        """The start, in ns, of the earliest window that ends behind a time in ns."""
        window = self.window
        assert window is not None
        if window.fixed_ns is None:
            found = starts(window, ns, ns)
            return found[max(0, bisect_right(found, ns) - 1)]
        width, origin = window.fixed_ns
        slide = window.slide_ns or width
        return (ns - width - origin) // slide * slide + origin + slide

    def cells(self, times: pa.Array) -> pa.Array:
        """The times as integers that TimeGroups takes."""
        cells = times.view(pa.int64())
        if cells.null_count:
            cells = pc.fill_null(cells, NO_TIME)
        window = self.window
        if window is not None and window.fixed_ns is None and len(cells) > times.null_count:
            ends = pc.min_max(times.view(pa.int64()))
            self._cover(window, ends["min"].as_py(), ends["max"].as_py())
        return cells

    def _cover(self, window: TimeWindow, low: int, high: int) -> None:
        known = self._bounds
        if known and known[0] <= low and high < known[-1]:
            return
        for time in (low, high):
            if not FIRST_NS <= time * self.step <= LAST_NS:
                msg = (
                    f"windows of days and months over '{window.time}' need times of the years 101 "
                    f"to 9898, was {time} {self.unit} since 1970"
                )
                raise KernelError(msg)
        if known:  # as much again, so that batches that go on in time do not count each day anew
            more = known[-1] - known[0]
            low = known[0] if low >= known[0] else low - more
            high = known[-1] if high < known[-1] else high + more
        first, last = max(low * self.step, FIRST_NS), min(high * self.step, LAST_NS)
        self._bounds = [ns // self.step for ns in starts(window, first, last)]
        self.groups.within(pa.array(self._bounds, pa.int64()))


def starts(window: TimeWindow, low_ns: int, high_ns: int) -> list[int]:
    """Starts of months or days, and what is between two times lies between the first and the last.

    Windows within a day are counted from its first moment; where a clock is set back or forward,
    the last one of the day ends with it all the same.
    """
    zone = ZoneInfo(window.zone or "UTC")
    day = _day_before(low_ns, zone)
    found: list[int] = []
    if window.months:
        month = (day.year * 12 + day.month - 1) // window.months * window.months
        while not found or found[-1] <= high_ns:
            found.append(_midnight(date(month // 12, month % 12 + 1, 1), zone))
            month += window.months
    else:
        days = window.days or 1
        anchor = MONDAY if days % 7 == 0 else date(1970, 1, 1)
        day -= timedelta(days=(day - anchor).days % days)
        while not found or found[-1] <= high_ns:
            found.append(_midnight(day, zone))
            day += timedelta(days=days)
    return found[max(0, bisect_right(found, low_ns) - 1) :]


def _day_before(ns: int, zone: ZoneInfo) -> date:
    utc = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)
    return utc.astimezone(zone).date() - timedelta(days=1)


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first moment of a day, in nanoseconds since 1970 UTC."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (
        (local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC))
        // timedelta(microseconds=1)
        * 1_000
    )
