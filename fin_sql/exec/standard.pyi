from fin_sql.abi import Bound, Kernel

FRAMED: dict[tuple[str, str], Kernel]
NUMBERS_OF: dict[str, int]
ROW_NUMBER: Kernel
LAG: Kernel
NTH_VALUE: Kernel

def bind(made: Kernel, **params: int) -> Bound: ...
