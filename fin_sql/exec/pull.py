"""The rows of a running DataFusion plan, which a flag stops while a batch is being made."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Generator
from time import perf_counter
from typing import Any

from fin_sql.states import Cancel

LOOK_SECONDS = 0.05  # how often the flag is looked at


class _GivenUp(BaseException):
    """Nobody waits any more."""


def pulled(stream: Any, cancel: Cancel) -> Generator[Any]:
    """The batches of a `datafusion.RecordBatchStream`.

    Who waits here goes on at once when the flag is set. The plan is dropped within a second, and
    its tasks end by themselves, each at its next batch.

    Raises:
        CancelledError: the flag was set.
    """
    quick = False
    while True:
        begin = perf_counter()
        # A wait that can be given up costs more than a quick batch does.
        batch = next(stream, None) if quick else _Wait(stream).result(cancel)
        quick = perf_counter() - begin < LOOK_SECONDS
        if batch is None:
            return
        cancel.check()
        yield batch


class _Wait:
    """The next batch of a stream, asked for in a thread that can be called off."""

    def __init__(self, stream: Any) -> None:
        self._found: Any = None
        self._error: BaseException | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(stream,), name="fin_sql pull", daemon=True
        )

    def _run(self, stream: Any) -> None:
        try:
            try:
                self._found = next(stream, None)
            except BaseException as error:  # a panic of DataFusion is no Exception
                self._error = error
            with self._lock:
                self._over.set()
        except _GivenUp:
            pass

    def result(self, cancel: Cancel) -> Any:
        """The batch, or None at the end."""
        self._thread.start()
        try:
            while not self._over.wait(LOOK_SECONDS):
                cancel.check()
        finally:
            self._call_off()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found

    def _call_off(self) -> None:
        """Let the thread end: DataFusion runs a word of Python each second, which then raises."""
        with self._lock:
            if not self._over.is_set():
                ident = ctypes.c_ulong(self._thread.ident or 0)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_GivenUp))
