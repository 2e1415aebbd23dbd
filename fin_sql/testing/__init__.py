"""The test kit: a simulated market, sources that crash, a clock, and the checks of every kernel."""

from fin_sql.testing import more_checks as _more_checks  # noqa: F401  fills the list of laws
from fin_sql.testing.checks import Check, checks_for
from fin_sql.testing.market import Market
from fin_sql.testing.stream import CRASH, END, WAIT, Clock, ListSink, ListSource, SimulatedCrash

__all__ = [
    "CRASH",
    "END",
    "WAIT",
    "Check",
    "Clock",
    "ListSink",
    "ListSource",
    "Market",
    "SimulatedCrash",
    "checks_for",
]
