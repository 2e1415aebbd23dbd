"""The call that the cursor is in, and what its arguments may be."""

from __future__ import annotations

from dataclasses import dataclass

from fin_sql.cli.around import Around
from fin_sql.cli.scan import spans
from fin_sql.cli.words import Argument, Function, Words


@dataclass(frozen=True)
class Signature:
    """The call that the cursor is in.

    Args:
        name: of the function.
        parts: its arguments as the signature has them.
        active: the index of the one at the cursor, or None.
        about: what there is to say of that one, or else of the function.
    """

    name: str
    parts: tuple[str, ...]
    active: int | None
    about: str


def signature(text: str, cursor: int, words: Words) -> Signature | None:
    """The innermost call of a known function that a place of a text lies in."""
    if text[:cursor].lstrip().startswith("."):
        return None
    begin, end = next((b, e) for b, e in spans(text) if cursor <= e)
    found = called(Around(text[begin:end], cursor - begin, words), words)
    if found is None:
        return None
    function, index = found
    inside = function.signature.partition("(")[2].rpartition(")")[0]
    parts = tuple(part.strip() for part in inside.split(",")) if inside.strip() else ()
    active = index if index is not None and index < len(parts) else None
    about = function.summary
    if active is not None and active < len(function.arguments):
        argument = function.arguments[active]
        about = f"{argument.name}: {told(argument, default=False)}"
    return Signature(function.name, parts, active, about)


def called(around: Around, words: Words) -> tuple[Function, int | None] | None:
    """The function whose call the cursor is in, and the index of the argument.

    The index is None behind the name of an argument that the function does not have.
    """
    found = around.call()
    if found is None:
        return None
    name, bracket = found
    function = words.functions.get(around.tokens[name].text)
    if function is None:
        return None
    level = list(around.level(bracket.begin + 1, around.at))
    commas = [i for i in level if around.says(i, ",")]
    first = commas[-1] + 1 if commas else bracket.begin + 1
    if around.says(first + 1, "=>") and first < around.at:
        names = [argument.name for argument in function.arguments]
        named = around.tokens[first].text
        return function, names.index(named) if named in names else None
    return function, len(commas)


def told(argument: Argument, *, default: bool = True) -> str:
    """An argument in words: type, what it is, what it may be, and its default."""
    kind = "constant" if argument.constant else "column"
    allowed = f", {argument.allowed}" if argument.allowed else ""
    left_out = f", default {argument.default}" if default and argument.default is not None else ""
    return f"{argument.type} {kind}{allowed}{left_out}"


def choices(argument: Argument) -> list[str]:
    """The texts that a constant may be."""
    return [part.strip(" '") for part in (argument.allowed or "").partition("one of")[2].split(",")]
