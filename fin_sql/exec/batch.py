"""Operators over bounded inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from fin_sql.exec.asof import AsofJoin
from fin_sql.exec.operator import END
from fin_sql.exec.order import Piece


def bounded(
    join: AsofJoin, streams: Sequence[Iterator[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """Run a join: the input that is behind is asked for more, until no left row can come."""
    over = [False, False]
    streams = [iter(stream) for stream in streams]
    try:
        while not all(over):
            side = join.wants()
            side = 1 - side if over[side] else side
            batch = next(streams[side], None)
            if batch is None:
                over[side] = True
                pieces = join.advance(side, END)
            else:
                pieces = join.process(side, Piece(batch))
            for piece in pieces:
                yield piece.batch
            if over[0] and not join.waiting:
                return
    finally:
        for stream in streams:
            _close(stream)
        join.close()


def _close(stream: Any) -> None:
    if hasattr(stream, "close"):
        stream.close()
