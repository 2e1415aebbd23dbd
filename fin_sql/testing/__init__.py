"""The test kit: a simulated market, sources that crash, a clock, and the checks of every kernel."""

from fin_sql.testing.market import Market
from fin_sql.testing.stream import CRASH, END, WAIT, Clock, ListSink, ListSource, SimulatedCrash

__all__ = [
    "CRASH",
    "END",
    "WAIT",
    "Clock",
    "ListSink",
    "ListSource",
    "Market",
    "SimulatedCrash",
]
