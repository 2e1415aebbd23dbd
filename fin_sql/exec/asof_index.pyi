from typing import final

import pyarrow as pa

from fin_sql.columns import Column, Slots

DIRECTIONS: tuple[str, ...]
TIES: tuple[str, ...]

@final
class AsofIndex:
    ordered: bool
    def __init__(self, slots: Slots, times: Column) -> None: ...
    def match(
        self, slots: Slots, times: Column, direction: str, tolerance: int, ties: str
    ) -> pa.Array: ...
