"""Clocks: the one place that reads the time of day."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The time of day, and a way to wait for it."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC; it may jump."""

    def steady_ns(self) -> int:
        """Nanoseconds since some moment; it never jumps and never goes back."""

    def wait(self, event: threading.Event, ns: int) -> bool:
        """Wait for an event, at most so long; returns whether it was set."""


class SystemClock:
    """The clock of the machine."""

    def now_ns(self) -> int:
        """The time of day."""
        return time.time_ns()

    def steady_ns(self) -> int:
        """The time since the machine was started."""
        return time.monotonic_ns()

    def wait(self, event: threading.Event, ns: int) -> bool:
        """Wait for an event."""
        return event.wait(max(0, ns) / 1e9)
