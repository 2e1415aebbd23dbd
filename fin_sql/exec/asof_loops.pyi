from typing import Any

import pyarrow as pa

from fin_sql.columns import Column, Slots
from fin_sql.exec.keys import Keys

TIES: tuple[str, ...]

class Merge:
    left_at: int
    right_at: int
    left_seen: bool
    right_seen: bool
    def __new__(
        cls, keys: Keys, strict: bool, tolerance: int, ties: str, by_key: bool
    ) -> Merge: ...
    def first_misplaced(self, right: bool, slots: Slots, times: Column) -> int: ...
    def last_time(self, right: bool) -> int: ...
    def by_time(
        self,
        left: Slots,
        left_times: Column,
        i: int,
        begun: bool,
        watermark: int,
        right: Slots,
        right_times: Column,
        j: int,
        base: int,
        more: bool,
        out: pa.Buffer,
    ) -> None: ...
    def by_keys(
        self,
        left: Slots,
        left_times: Column,
        i: int,
        complete: bool,
        right: Slots,
        right_times: Column,
        j: int,
        base: int,
        out: pa.Buffer,
    ) -> None: ...
    def carried(self) -> pa.Int64Array: ...
    @property
    def bytes_held(self) -> int: ...

def first_tied(out: pa.Buffer, begin: int, end: int) -> int: ...
def is_fixed(kind: pa.DataType) -> bool: ...

class FixedStore:
    def __new__(cls, kind: Any) -> FixedStore: ...
    def __len__(self) -> int: ...
    def append(self, array: pa.Array) -> None: ...
    def take(self, rows: pa.Buffer, begin: int, end: int) -> pa.Array: ...
    def one(self, row: int) -> Any: ...
    def keep(self, rows: pa.Array) -> None: ...
    @property
    def bytes_held(self) -> int: ...
