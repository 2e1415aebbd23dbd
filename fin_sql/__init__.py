"""fin_sql: SQL for market data on Apache DataFusion.

`connect` opens a session with kernels, windows and ASOF JOIN in SQL. `register` installs the
kernels in a DataFusion session, `kernel` calls one from Python, `functions` lists them, `asof_join`
joins two tables by key and time, `AsofJoiner` a right side that grows.
"""

from fin_sql.asof import asof_join
from fin_sql.asof_joiner import AsofJoiner
from fin_sql.catalogue import functions
from fin_sql.connection import connect
from fin_sql.errors import (
    ArgumentTypeError,
    CancelledError,
    FinSqlError,
    KernelError,
    NotStreamableError,
    OrderError,
    SourceError,
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
    "SourceError",
    "SqlError",
    "StateCorruptError",
    "StateError",
    "StateVersionError",
    "UnknownNameError",
    "AsofJoiner",
    "asof_join",
    "connect",
    "functions",
    "kernel",
    "register",
]
