from collections.abc import Sequence
from typing import Any

from fin_sql.spec import Spec, Value

class Kernel:
    spec: Spec
    family: str
    grows: bool
    @property
    def mergeable(self) -> bool: ...
    @property
    def retractable(self) -> bool: ...
    def bind(self, values: Sequence[Any] = (), **named: Any) -> Bound: ...

class Bound:
    kernel: Kernel
    params: dict[str, Value]
    state_size: int
    header: bytes
    def __new__(cls, kernel: Kernel, params: dict[str, Value]) -> Bound: ...
