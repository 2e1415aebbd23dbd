from collections.abc import Sequence
from typing import Any, final

from fin_sql.spec import Spec, Value

@final
class Kernel:
    spec: Spec
    family: str
    grows: bool
    @property
    def mergeable(self) -> bool: ...
    @property
    def retractable(self) -> bool: ...
    def bind(self, values: Sequence[Any] = (), **named: Any) -> Bound: ...

@final
class Bound:
    kernel: Kernel
    params: dict[str, Value]
    state_size: int
    header: bytes
    def __init__(self, kernel: Kernel, params: dict[str, Value]) -> None: ...
