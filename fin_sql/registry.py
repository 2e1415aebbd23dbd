"""Every kernel that the loaded families have defined, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fin_sql.errors import UnknownNameError
from fin_sql.spec import Spec

if TYPE_CHECKING:
    from fin_sql.abi import Kernel

KERNELS: dict[str, Kernel] = {}
BUILTINS: dict[str, tuple[str, Spec]] = {}  # DataFusion's own functions that complete a family


def add(kernel: Kernel) -> None:
    """Take a kernel up; two of one name are an error."""
    refuse_taken(kernel.spec.name)
    KERNELS[kernel.spec.name] = kernel


def add_builtin(family: str, spec: Spec) -> None:
    """List a function of DataFusion's own that a family counts as one of its kernels."""
    refuse_taken(spec.name)
    BUILTINS[spec.name] = (family, spec)


def refuse_taken(name: str) -> None:
    """Raise ValueError where a kernel of that name exists already."""
    if name in KERNELS or name in BUILTINS:
        msg = f"kernel '{name}' is defined twice; choose another name"
        raise ValueError(msg)


def lookup(name: str) -> Kernel:
    """Find a kernel by its SQL name, in any case.

    Raises:
        UnknownNameError: no such kernel; the message has a hint.
    """
    kernel = KERNELS.get(name.lower())
    if kernel is None:
        if name.lower() in BUILTINS:
            msg = f"'{name}' is DataFusion's own function: call it in SQL"
            raise UnknownNameError("kernel", name) from LookupError(msg)
        raise UnknownNameError("kernel", name, sorted(KERNELS))
    return kernel
