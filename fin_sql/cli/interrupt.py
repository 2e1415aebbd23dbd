"""Work that Ctrl-C stops while the session goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fin_sql.errors import CancelledError

if TYPE_CHECKING:
    from fin_sql.query import Query

T = TypeVar("T")
PATIENCE_SECONDS = 2.0  # before a word on a query that does not stop


class Running:
    """What is at work, so that it can be cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self._query: Query | None = None

    def on(self, query: Query) -> Query:
        """Take note of the query that runs from now on."""
        self._query = query
        if self.cancelled:
            query.cancel()
        return query

    def cancel(self) -> None:
        """Stop it, or the query that is to come."""
        self.cancelled = True
        if self._query is not None:
            self._query.cancel()


def interruptible(work: Callable[[Running], T]) -> T:
    """Do work in another thread; Ctrl-C cancels it, and once more leaves it alone.

    Raises:
        CancelledError: Ctrl-C was pressed, and the work has ended or was left.
    """
    running, found, failed = Running(), [], []
    done = threading.Event()

    def run() -> None:
        try:
            found.append(work(running))
        except BaseException as error:  # a panic of DataFusion is no Exception
            failed.append(error)
        done.set()

    threading.Thread(target=run, name="fin_sql statement", daemon=True).start()
    waited = 0.0
    while not done.is_set():
        try:
            while not done.wait(0.1):
                if running.cancelled:
                    waited += 0.1
                    if waited - 0.1 < PATIENCE_SECONDS <= waited:
                        sys.stderr.write("It ends at its next batch; Ctrl-C leaves it behind.\n")
        except KeyboardInterrupt:
            if running.cancelled:
                left = "the statement was left, and ends in the background at its next batch"
                raise CancelledError(left) from None
            running.cancel()
    if failed:
        raise failed[0]
    return found[0]
