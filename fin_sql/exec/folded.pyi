from fin_sql.abi import Bound, Kernel

FOLDED: dict[str, Kernel]

def bind(made: Kernel) -> Bound: ...
