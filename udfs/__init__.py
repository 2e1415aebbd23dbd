"""The kernels: one block each, a module for a family; importing this loads them all."""

if __name__ != "fin_sql.udfs":
    raise ImportError(f"import fin_sql.udfs, not {__name__}")

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"fin_sql.udfs.{_module.name}")
