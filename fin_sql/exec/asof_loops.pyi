import pyarrow as pa

from fin_sql.columns import Column, Slots
from fin_sql.exec.keys import Keys

class Course:
    time: int
    seen: bool
    def __new__(cls, keys: Keys | None = None) -> Course: ...
    def first_misplaced(self, slots: Slots, times: Column) -> int: ...
    def goes_on_from(self, t: int) -> None: ...

class Merge:
    left_at: int
    right_at: int
    def __new__(
        cls, keys: Keys, strict: bool, tolerance: int, ties: str, ranked: bool = False
    ) -> Merge: ...
    def by_time(
        self,
        left: Slots,
        left_times: Column,
        i: int,
        begun: bool,
        watermark: int,
        right: Slots,
        right_times: Column,
        ranks: Column | None,
        j: int,
        base: int,
        more: bool,
        out: pa.Buffer,
    ) -> None: ...
    def take_until(
        self, right: Slots, right_times: Column, ranks: Column | None, j: int, base: int, t: int
    ) -> int: ...
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
    def held(self) -> tuple[pa.Int32Array, pa.Int64Array]: ...
    def expire(self, t: int) -> None: ...
    @property
    def bytes_held(self) -> int: ...

def first_tied(out: pa.Buffer, begin: int, end: int) -> int: ...
def first_time(times: Column, i: int) -> int | None: ...
