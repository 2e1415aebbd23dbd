"""What DataFusion reads from our operators while its plan runs, and whose errors are whose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from fin_sql.errors import CancelledError, SqlError
from fin_sql.exec.fragment import Chosen, plain_message
from fin_sql.exec.pull import pulled
from fin_sql.states import Cancel


class Once(ds.Dataset):  # type: ignore[misc]
    """A stream of batches that one plan reads once."""

    def __init__(self, schema: pa.Schema, stream: Iterator[pa.RecordBatch]) -> None:
        self._schema, self._stream = schema, stream
        self.error: Exception | None = None
        self._read = False

    @property
    def schema(self) -> pa.Schema:
        """Of the batches."""
        return self._schema

    def get_fragments(self, filter: Any = None) -> Iterator[Once]:
        """Give the one fragment that a plan keeps."""
        return iter([self])

    def scanner(
        self, *_: Any, columns: list[str] | None = None, filter: Any = None, **__: Any
    ) -> Any:
        """Give the rows; a plan asks for their schema first, and for the rows once."""
        if filter is not None:
            reader = pa.RecordBatchReader.from_batches(self._schema, self._noting())
            return ds.Scanner.from_batches(reader, columns=columns, filter=filter)
        return Chosen(self._schema, columns, self._noting())

    def _noting(self) -> Iterator[pa.RecordBatch]:
        if self._read:
            raise RuntimeError("an input that is there once was read twice")
        self._read = True
        try:
            yield from self._stream
        except Exception as error:
            self.error = error
            raise


def started(frame: Any, cancel: Cancel) -> Any:
    """The rows of a DataFusion frame, until `cancel` is set; its errors are plain."""
    try:
        return pulled(frame.execute_stream(), cancel)
    except Exception as error:
        raise SqlError(plain_message(error)) from None


def own_errors(stream: Any, inputs: list[Once]) -> Iterator[Any]:
    """What DataFusion gives; its errors are plain, and those of our inputs are themselves."""
    try:
        yield from stream
    except CancelledError:
        raise
    except Exception as error:
        for part in inputs:
            if part.error is not None:
                raise part.error from None
        raise SqlError(plain_message(error)) from None
