"""fin_sql: SQL for market data on Apache DataFusion.

`register` installs the kernels in a DataFusion session, `kernel` calls one from Python,
`functions` lists them.
"""

from fin_sql.catalogue import functions
from fin_sql.errors import (
    ArgumentTypeError,
    CancelledError,
    FinSqlError,
    KernelError,
    NotStreamableError,
    OrderError,
    SqlError,
    StateCorruptError,
    StateError,
    StateVersionError,
    UnknownNameError,
)
from fin_sql.kernel import kernel
from fin_sql.session import register

__all__ = [
    "ArgumentTypeError",
    "CancelledError",
    "FinSqlError",
    "KernelError",
    "NotStreamableError",
    "OrderError",
    "SqlError",
    "StateCorruptError",
    "StateError",
    "StateVersionError",
    "UnknownNameError",
    "functions",
    "kernel",
    "register",
]
