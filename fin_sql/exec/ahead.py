"""Batches that another thread makes while those before them are worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing

import pyarrow as pa

Batches = Generator[pa.RecordBatch, None, None]


def ahead(stream: Batches, batches: int = 1) -> Batches:
    """The same batches, errors and end.

    Args:
        stream: it is read and closed by the other thread.
        batches: that may be ready and not taken yet.
    """
    ready: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(batches)
    stopped = threading.Event()

    def put(item: pa.RecordBatch | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            with closing(stream):
                for batch in stream:
                    if not put(batch):
                        return
            put(None)
        except BaseException as error:  # a panic of DataFusion is no Exception
            put(error)

    thread = threading.Thread(target=work, name="fin_sql ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
