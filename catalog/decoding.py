"""What turns messages into rows: the contract between a source and a format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa


class Bad(Protocol):
    """The messages that are no rows."""

    @property
    def messages(self) -> pa.Int32Array:
        """Their indices, ascending."""

    @property
    def reasons(self) -> pa.StringArray:
        """What is wrong with each, as a sentence."""


class Decoded(Protocol):
    """What came of some messages."""

    @property
    def rows(self) -> pa.RecordBatch:
        """The rows, in the order of the messages."""

    @property
    def source(self) -> pa.Int32Array:
        """For each row the index of its message, ascending; several rows may share one."""

    @property
    def bad(self) -> Bad:
        """The messages that could not be taken; they have no rows."""

    @property
    def passed(self) -> int:
        """How many messages the table's condition left out."""


class Decoder(Protocol):
    """Messages of one format to rows of one schema.

    One bad message costs itself alone. A decoder holds nothing from call to call, so that rows do
    not depend on how messages are cut into calls.
    """

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""

    def decode(self, messages: Sequence[bytes | None]) -> Decoded:
        """The rows of some messages; None is a message without a value."""
