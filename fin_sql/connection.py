"""`fin_sql.connect()`; what a session needs is imported when the first one is opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fin_sql.context import Context


def connect(
    *,
    threads: int | None = None,
    memory_limit: int = 1 << 30,
    windows: Literal["fin_sql", "datafusion"] = "fin_sql",
    home: str | os.PathLike[str] | None = None,
) -> Context:
    """Open a session.

    Args:
        threads: for DataFusion and for the calls of a window; by default one for each core.
        memory_limit: bytes that an operator which must wait for all rows may hold before it writes
            them to a temporary file.
        windows: who computes the standard window functions.
        home: a folder that keeps the tables of CREATE TABLE; without one they live in memory. It
            is made if it does not exist, and belongs to one session at a time, until `close`.

    Raises:
        SqlError: an argument is none of what it may be.
        StateError: the home is in use, is none, or was written by a newer version.
    """
    from fin_sql.context import Context

    return Context(threads=threads, memory_limit=memory_limit, windows=windows, home=home)
