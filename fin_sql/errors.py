"""One tree of exceptions; each class carries the SQLSTATE that clients see."""


class FinSqlError(Exception):
    """Root of everything that fin_sql raises on purpose."""

    sqlstate = "XX000"


class SqlError(FinSqlError, ValueError):
    """A statement, a call or a parameter that cannot be what was meant."""

    sqlstate = "42601"


class UnknownNameError(FinSqlError, LookupError):
    """A function, table or column that does not exist; the message ends in a hint."""

    sqlstate = "42883"

    def __init__(
        self, kind: str, name: str, known: list[str] | None = None, *, who: str = ""
    ) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), known or [], n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(repr(word) for word in near)}?" if near else ""
        prefix = f"{who}: " if who else ""
        super().__init__(f"{prefix}unknown {kind} {name!r}{hint}")


class ArgumentTypeError(FinSqlError, TypeError):
    """An argument whose type a kernel does not take."""

    sqlstate = "42804"


class NotStreamableError(FinSqlError, NotImplementedError):
    """A query that has no meaning over an endless input; the message says why."""

    sqlstate = "0A000"


class KernelError(FinSqlError, ArithmeticError):
    """A kernel met a value that it must not pass over; the message names row and value."""

    sqlstate = "22000"
    MISSING_ARGUMENT = -100  # the code of the drivers, REJECTED in abi.pxd

    def __init__(self, message: str, row: int | None = None, code: int = 0) -> None:
        super().__init__(message)
        self.row = row
        self.code = code


class OrderError(FinSqlError, ValueError):
    """A row came before one that it should have followed."""

    sqlstate = "22000"


class SourceError(FinSqlError, OSError):
    """Rows that lie outside cannot be read or written; the message names the place."""

    sqlstate = "08000"


class SourceChangedError(SourceError):
    """The log behind a position is gone or is another one; the message says what to do."""

    sqlstate = "55000"


class StateError(FinSqlError):
    """Kept state cannot be used; the message says what an operator can do."""

    sqlstate = "55000"


class StateVersionError(StateError):
    """State written by another kernel, another version or other parameters."""


class StateCorruptError(StateError):
    """State whose bytes are damaged or were never state of fin_sql."""


class MissingPackageError(FinSqlError, ImportError):
    """Something needs a package that is not installed; the message names the extra that has it."""

    sqlstate = "0A000"

    def __init__(self, what: str, package: str, extra: str) -> None:
        msg = f"{what} needs the package '{package}': pip install 'fin-sql[{extra}]'"
        super().__init__(msg)


class CancelledError(FinSqlError):
    """The statement was cancelled by its user."""

    sqlstate = "57014"
