import pyarrow as pa

from fin_sql.columns import Column, Slots

DIRECTIONS: tuple[str, ...]
TIES: tuple[str, ...]

class AsofIndex:
    ordered: bool
    def __new__(cls, slots: Slots, times: Column) -> AsofIndex: ...
    def match(
        self, slots: Slots, times: Column, direction: str, tolerance: int, ties: str
    ) -> pa.Buffer: ...
    @property
    def bytes_held(self) -> int: ...
