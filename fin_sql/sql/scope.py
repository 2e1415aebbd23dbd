"""Which columns a name can mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from fin_sql.errors import UnknownNameError
from fin_sql.sql.plan import Node


@dataclass(frozen=True)
class Column:
    """A column as a statement names it, and its name in the plan."""

    alias: str
    name: str
    flat: str


@dataclass(frozen=True)
class Relation:
    """A node and the names of its columns.

    Args:
        node: gives the columns.
        columns: in the order of `*`; a name of the plan may stand here under several names.
        merged: columns of USING, which stand once without an alias.
        hidden: (alias, name) of columns that `*` leaves out.
    """

    node: Node
    columns: tuple[Column, ...]
    merged: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[tuple[str, str]] = frozenset()

    @property
    def aliases(self) -> list[str]:
        """The tables, in the order of FROM."""
        return list(dict.fromkeys(column.alias for column in self.columns))

    def qualified(self, alias: str, name: str) -> str | None:
        """The column `alias.name` in the plan."""
        return next((c.flat for c in self.columns if (c.alias, c.name) == (alias, name)), None)

    def plain(self, name: str) -> list[Column]:
        """The columns that a name without an alias may mean."""
        if name in self.merged:
            return [Column("", name, self.merged[name])]
        return [c for c in self.columns if c.name == name]

    def star(self, alias: str | None = None) -> list[Column]:
        """The columns of `*`, or of `alias.*`."""
        if alias is not None and alias not in self.aliases:
            raise UnknownNameError("table", alias, self.aliases)
        if alias is not None:
            return [c for c in self.columns if c.alias == alias]
        return [c for c in self.columns if (c.alias, c.name) not in self.hidden]


def relation(node: Node, alias: str) -> Relation:
    """A node whose columns are named as they are."""
    return Relation(node, tuple(Column(alias, name, name) for name in node.schema.names))
