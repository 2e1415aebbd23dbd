"""The rows of a running DataFusion plan, which a flag stops while a batch is being made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from time import perf_counter
from typing import Any

from fin_sql.states import Cancel

LOOK_SECONDS = 0.05  # how often the flag is looked at


def pulled(stream: Any, cancel: Cancel) -> Generator[Any]:
    """The batches of a `datafusion.RecordBatchStream`.

    A plan that is given up is dropped: its tasks end by themselves, each at its next batch, and who
    waits here goes on at once.

    Raises:
        CancelledError: the flag was set.
    """
    quick = False
    while True:
        begin = perf_counter()
        # A wait that can be given up costs more than a quick batch does.
        batch = next(stream, None) if quick else _waited_for(stream, cancel)
        quick = perf_counter() - begin < LOOK_SECONDS
        if batch is None:
            return
        cancel.check()
        yield batch


def _waited_for(stream: Any, cancel: Cancel) -> Any:
    """The next batch, or None at the end."""
    found: list[Any] = []
    given_up = threading.Event()

    async def wait() -> None:
        step = asyncio.ensure_future(anext(stream, None))
        while not step.done() and not given_up.is_set():
            await asyncio.wait({step}, timeout=LOOK_SECONDS)
        if step.done():
            found.append(step.result())

    def run() -> None:
        try:
            asyncio.run(wait())
        except BaseException as error:  # a panic of DataFusion is no Exception
            found.append(error)

    # In a thread, as the loop of a notebook's is busy with the cell that asks.
    thread = threading.Thread(target=run, name="fin_sql pull", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            cancel.check()
    finally:
        given_up.set()
        thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]
