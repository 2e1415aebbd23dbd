from collections.abc import Sequence

from fin_sql.columns import Column, Slots
from fin_sql.exec.keys import Keys
from fin_sql.exec.order import Verdict

class LayoutProof:
    by_time: bool
    within: bool
    contiguous: bool
    rows: int
    without_place: int
    def __new__(cls, doubles: Sequence[bool]) -> LayoutProof: ...
    def feed(self, slots: Slots, columns: list[Column]) -> bool: ...
    def verdict(self, keys: Keys) -> Verdict: ...
