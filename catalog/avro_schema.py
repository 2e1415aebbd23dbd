"""Schemas of Avro, and the places in them that columns are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fin_sql.errors import SqlError

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
NS = {"millis": 10**6, "micros": 10**3, "nanos": 1}
MOST_SCALE = 1_000_000


@dataclass(eq=False)
class Type:
    """A type of a schema.

    Args:
        what: one of PRIMITIVES, or fixed, enum, record, union, array, map.
        logical: decimal, date or timestamp; empty where it has no such meaning.
        unit: nanoseconds of one unit of a timestamp.
        local: a timestamp without a zone.
        scale: of a decimal.
        size: bytes of a fixed.
        names: of the members of a record, or the symbols of an enum.
        children: types of the members, of the branches, or of the items.
        empty: a value takes no byte.
        noted: a wanted place is at or below it.
        slot: where a value is noted; -1 where nobody wants it.
    """

    what: str
    logical: str = ""
    unit: int = 0
    local: bool = False
    scale: int = 0
    size: int = 0
    names: tuple[str, ...] = ()
    children: list[Type] = field(default_factory=list)
    empty: bool = False
    noted: bool = False
    slot: int = -1


@dataclass
class Place:
    """Where the paths of the columns lead: the members that they name, and a slot at their ends."""

    slot: int = -1
    members: dict[str, Place] = field(default_factory=dict)

    def at(self, steps: Sequence[str | int]) -> Place:
        """The place at the end of a path."""
        place = self
        for step in steps:
            place = place.members.setdefault(str(step), Place())
        return place


def read_schema(text: str, places: Place, who: str) -> Type:
    """Read a writer's schema, and note the wanted places in it.

    Raises:
        SqlError: no schema of Avro, or a path that leads into an array or a map.
    """
    try:
        written = json.loads(text)
    except ValueError as error:
        raise SqlError(f"{who}: the schema must be JSON: {error}") from None
    root = _Reader(who).type(written, "")
    _mark_empty(root, who)
    return _placed(root, places, "$", who)


class _Reader:
    """Reads the types of one schema; a name stands for the type that was defined under it."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._named: dict[str, Type] = {}

    def _refuse(self, what: str) -> SqlError:
        return SqlError(f"{self._who}: {what}")

    def type(self, written: Any, space: str) -> Type:
        if isinstance(written, str):
            return self._by_name(written, space)
        if isinstance(written, list):
            return Type("union", children=[self.type(branch, space) for branch in written])
        if not isinstance(written, Mapping) or "type" not in written:
            raise self._refuse(f"a type must be a name, a list or have a 'type', was {written!r}")
        what = written["type"]
        if not isinstance(what, str):  # {"type": {...}} says no more than what is inside
            return self.type(what, space)
        if what in ("record", "error", "enum", "fixed"):
            return self._define(written, space)
        if what in ("array", "map"):
            items = self._need(written, "items" if what == "array" else "values")
            return Type(what, children=[self.type(items, space)])
        return self._with_logical(self._by_name(what, space), written)

    def _need(self, written: Mapping[str, Any], key: str) -> Any:
        if key not in written:
            raise self._refuse(f"the type {written['type']!r} must have {key!r}, had not")
        return written[key]

    def _by_name(self, name: str, space: str) -> Type:
        if name in PRIMITIVES:
            return Type(name)
        for full in (f"{space}.{name}", name) if space and "." not in name else (name,):
            if full in self._named:
                return self._named[full]
        raise self._refuse(f"the type {name!r} is not defined before it is used")

    def _define(self, written: Mapping[str, Any], space: str) -> Type:
        name = self._need(written, "name")
        if "." in name:
            space, _, name = name.rpartition(".")
        else:
            space = written.get("namespace", space) or ""
        full = f"{space}.{name}" if space else name
        if full in self._named:
            raise self._refuse(f"the name {full!r} is defined twice")
        what = "record" if written["type"] == "error" else written["type"]
        made = self._named[full] = Type(what)
        if what == "enum":
            made.names = tuple(self._need(written, "symbols"))
        elif what == "fixed":
            made.size = self._need(written, "size")
            if not isinstance(made.size, int) or not 0 <= made.size < 2**31:
                raise self._refuse(f"the size of {full!r} must be a number, was {made.size!r}")
            # the name goes on to mean the same
            self._named[full] = made = self._with_logical(made, written)
        else:
            fields = self._need(written, "fields")
            made.names = tuple(self._need({"type": full, **one}, "name") for one in fields)
            for one in fields:
                made.children.append(self.type(self._need(one, "type"), space))
        return made

    def _with_logical(self, made: Type, written: Mapping[str, Any]) -> Type:
        """What a value means; a logical type that is not known has no meaning, as Avro says."""
        logical = written.get("logicalType")
        scale = written.get("scale", 0)
        if logical == "decimal" and made.what in ("bytes", "fixed") and scale in range(MOST_SCALE):
            return replace(made, logical="decimal", scale=scale)
        if logical == "date" and made.what == "int":
            return replace(made, logical="date")
        if isinstance(logical, str) and made.what == "long":
            zoneless = logical.startswith("local-")
            unit = NS.get(logical.removeprefix("local-").removeprefix("timestamp-"))
            if unit and "timestamp-" in logical:
                return replace(made, logical="timestamp", unit=unit, local=zoneless)
        return made


def _mark_empty(root: Type, who: str) -> None:
    """Find the types whose values take no byte; refuse a record that has no end."""
    known: dict[int, bool] = {}

    def is_empty(one: Type, inside: frozenset[int]) -> bool:
        if id(one) in inside:
            raise SqlError(f"{who}: a record holds itself and so has no end; hold it in a union")
        if id(one) not in known:
            one.empty = one.what == "null" or (one.what == "fixed" and one.size == 0)
            if one.what == "record":
                within = inside | {id(one)}
                one.empty = all([is_empty(child, within) for child in one.children])
            known[id(one)] = one.empty
        return known[id(one)]

    for one in types_of(root):
        is_empty(one, frozenset())


def _placed(one: Type, place: Place, path: str, who: str, beside: bool = False) -> Type:
    """A copy of a type along the wanted places; what nobody wants stays as it is.

    Beside a record in a union, an array or a map just does not have the wanted members.
    """
    children = one.children
    if one.what == "union":
        beside = any(branch.what == "record" for branch in children)
        children = [_placed(branch, place, path, who, beside) for branch in children]
        return replace(one, noted=True, children=children)
    if place.members and one.what in ("array", "map") and not beside:
        msg = (
            f"{who}: the path '{path}.{next(iter(place.members))}' leads into the {one.what} "
            f"'{path}'; take that as VARCHAR, it is written as JSON"
        )
        raise SqlError(msg)
    if place.members and one.what == "record":
        children = [
            _placed(child, place.members[name], f"{path}.{name}", who)
            if name in place.members
            else child
            for name, child in zip(one.names, children, strict=True)
        ]
    return replace(one, slot=place.slot, noted=True, children=children)


def types_of(root: Type) -> list[Type]:
    """A type and all that it is made of, each once."""
    found: dict[int, Type] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found[id(one)] = one
            waiting.extend(one.children)
    return list(found.values())
