"""Tables that live outside: names, schemas and the order that their rows come in."""

if __name__ != "fin_sql.catalog":
    raise ImportError(f"import fin_sql.catalog, not {__name__}")

from collections.abc import Iterator

from fin_sql.catalog.table import Table
from fin_sql.errors import UnknownNameError

__all__ = ["Catalog", "Table"]


class Catalog:
    """The tables of a session by name; names are folded to lower case, as SQL does."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def add(self, table: Table) -> None:
        """Take a table up; one of the same name is replaced."""
        self._tables[table.name.lower()] = table

    def remove(self, name: str) -> None:
        """Forget a table.

        Raises:
            UnknownNameError: there is none of that name.
        """
        del self._tables[self[name].name.lower()]

    def __getitem__(self, name: str) -> Table:
        table = self._tables.get(name.lower())
        if table is None:
            raise UnknownNameError("table", name, sorted(self._tables))
        return table

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tables))

    def __len__(self) -> int:
        return len(self._tables)
