"""Where a value stands in a message: the part of JSONPath that names one place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from fin_sql.errors import SqlError

MAX_STEPS = 64
MAX_FROM_END = 1024

_NAME = re.compile(r"\.([\w\-]+)")
_INDEX = re.compile(r"\[\s*(-?(?:0|[1-9][0-9]{0,8}))\s*\]")
_QUOTED = re.compile(r"""\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]""", re.DOTALL)
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PLAIN = re.compile(r"[\w\-]+")
_MANY = re.compile(r"\.\.|\.\*|\[\s*\*|\[\s*\?|\[[^\]'\"]*[:,]")


@dataclass(frozen=True)
class Path:
    """One place in a message.

    Args:
        origin: `$` for the message, `@` for the element of UNNEST.
        steps: names of members and numbers of elements, from there; a negative number counts
            from the end, -1 is the last.
    """

    origin: str
    steps: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.origin + "".join(_written(step) for step in self.steps)


def _written(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _PLAIN.fullmatch(step):
        return f".{step}"
    quoted = json.dumps(step, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"['{quoted}']"


def parse_path(text: str, who: str) -> Path:
    r"""Read `$`, `@`, `.name`, `['any name']`, `["any name"]`, `[n]` and `[-n]`.

    A name behind a dot is made of letters, digits, `_` and `-`. In a quoted name a backslash
    escapes as in JSON, and `\'` is a quote.

    Args:
        text: the path.
        who: begins the message of an error.

    Raises:
        SqlError: anything else.
    """
    if text[:1] not in ("$", "@"):
        raise SqlError(f"{who}: a path must begin with '$' or '@', was {text!r}; write '$.name'")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        if found := _NAME.match(text, at):
            steps.append(found[1])
        elif found := _INDEX.match(text, at):
            steps.append(int(found[1]))
        elif found := _QUOTED.match(text, at):
            steps.append(_unescaped(found[1] if found[1] is not None else found[2], text, who))
        else:
            raise SqlError(f"{who}: {_hint(text, at)}")
        at = found.end()
    if len(steps) > MAX_STEPS:
        msg = f"{who}: a path must have at most {MAX_STEPS} steps, had {len(steps)}"
        raise SqlError(msg)
    far = [step for step in steps if isinstance(step, int) and step < -MAX_FROM_END]
    if far:
        msg = f"{who}: an element may be counted up to {MAX_FROM_END} from the end, was {far[0]}"
        raise SqlError(msg)
    return Path(text[0], tuple(steps))


def _hint(text: str, at: int) -> str:
    if _MANY.match(text, at):
        return (
            f"the path {text!r} names many places at {text[at:]!r}, and a column has one value; "
            "write UNNEST with the path of the array for a row for each of its elements"
        )
    return (
        f"the path {text!r} cannot be read at {text[at:]!r}; write .name, ['any name'], [0] or [-1]"
    )


def _unescaped(name: str, text: str, who: str) -> str:
    def char(found: re.Match[str]) -> str:
        code = found[1]
        if code == "'":
            return code
        try:
            return str(json.loads(f'"\\{code}"'))
        except ValueError:
            raise SqlError(f"{who}: the path {text!r} has no such escape: \\{code}") from None

    name = _ESCAPED.sub(char, name)
    # A pair of surrogates that was written as two escapes is one character.
    try:
        return name.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise SqlError(f"{who}: the path {text!r} has half of a surrogate pair") from None
