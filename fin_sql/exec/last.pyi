from collections.abc import Sequence

import pyarrow as pa

from fin_sql.columns import Column, Slots
from fin_sql.states import States

class LastPlaces:
    kinds: Sequence[str]
    states: States
    def __init__(self, kinds: Sequence[str], ttl_ns: int = 0) -> None: ...
    def follow(self, columns: list[Column], slots: Slots) -> int: ...
    def at(self, slot: int, k: int) -> float | int | None: ...
    def before(self, slots: Slots, event_ns: int) -> pa.BooleanArray: ...

def last_peers(
    slots: Slots, columns: list[Column], doubles: Sequence[bool]
) -> pa.Int64Array: ...
