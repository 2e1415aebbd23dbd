"""What a kernel says about itself: the one source of SQL signatures, messages, docs and tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fin_sql.errors import SqlError, UnknownNameError

Type = Literal["float64", "int64", "bool", "timestamp", "text"]
Value = float | int | bool | str

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()


@dataclass(frozen=True)
class Arg:
    """One argument column.

    Args:
        name: as users write it in a named argument.
        type: what the kernel computes in; narrower numbers and decimals are converted.
        unit: product of powers of unit letters, such as "p", "p*v", "1/p"; "1" has none.
        domain: which values have a meaning; the laws draw their data from it. The high and the
            low of a row enclose its other prices.
        default: the constant that stands for a column that a call leaves out, None for NULL;
            without one the column must be given. Columns with a default come last.
    """

    name: str
    type: Type = "float64"
    unit: str = "1"
    domain: Literal["real", "positive", "sign", "high", "low"] = "real"
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether a call must give this column."""
        return self.default is REQUIRED

    def default_sql(self) -> str:
        """The default in the column's own type."""
        value = "NULL" if self.default is None else repr(self.default)
        return f"CAST({value} AS {SQL_TYPES[self.type]})"


@dataclass(frozen=True)
class Param:
    """One constant parameter, with the range that it must lie in.

    Args:
        name: as users write it in a named argument.
        low: least value; excluded where `open_low`.
        high: greatest value; excluded where `open_high`.
        default: taken where the call leaves it out; without one the parameter must be given.
        type: "text" takes one of `choices` and reaches the kernel as its index.
        unit: as for Arg.
        summary: a short phrase for the docs.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    default: Any = REQUIRED
    type: Type = "float64"
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    unit: str = "1"
    summary: str = ""

    @property
    def required(self) -> bool:
        """Whether a call must give this parameter."""
        return self.default is REQUIRED

    def allowed(self) -> str:
        """The allowed values in words, for messages and docs."""
        if self.type == "text":
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.type == "bool":
            return "true or false"
        if self.type == "timestamp":
            return "a time (a datetime, or nanoseconds since 1970 UTC)"
        kind = "an integer in " if self.type == "int64" else "in "
        left = "(" if self.open_low or self.low == -math.inf else "["
        right = ")" if self.open_high or self.high == math.inf else "]"
        low, high = (_plain(bound) for bound in (self.low, self.high))
        return f"{kind}{left}{low}, {high}{right}"

    def accept(self, value: Any, who: str) -> Value:
        """Return `value` in the parameter's own type, or say what it should have been.

        Raises:
            SqlError: the value is NULL, of another type or out of range.
        """
        if value is not None:
            taken = self._taken(value)
            if taken is not None:
                return taken
        said = "NULL" if value is None else repr(value)
        msg = f"{who}: parameter '{self.name}' must be {self.allowed()}, was {said}"
        raise SqlError(msg)

    def _taken(self, value: Any) -> Value | None:
        if self.type == "text":
            return (
                value.lower() if isinstance(value, str) and value.lower() in self.choices else None
            )
        if self.type == "bool":
            return value if isinstance(value, bool) else None
        if isinstance(value, (bool, str)):
            return None
        if self.type == "timestamp":
            return _nanoseconds(value)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if number != number or not self.low <= number <= self.high:
            return None
        if (self.open_low and number == self.low) or (self.open_high and number == self.high):
            return None
        if self.type == "int64":
            return int(value) if number == int(value) else None
        return number


def _nanoseconds(value: Any) -> int | None:
    """A time since 1970 UTC; one without a zone is UTC."""
    if isinstance(value, datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
    return value if isinstance(value, int) else None


def _plain(bound: float) -> str:
    """A bound as people write it."""
    return str(int(bound)) if math.isfinite(bound) and bound == int(bound) else f"{bound:g}"


@dataclass(frozen=True)
class Out:
    """What a kernel returns: one value, a STRUCT of named fields, or a LIST of STRUCT.

    Args:
        type: of a single value; "text" is one of `choices`.
        unit: as for Arg; None where scaling the inputs has no simple effect.
        name: of a field inside `fields`.
        choices: the texts that a "text" output may take.
        fields: makes the output a STRUCT.
        many: makes it a LIST of that STRUCT; the kernel then has a `count` function.
    """

    type: Type = "float64"
    unit: str | None = "1"
    name: str = ""
    choices: tuple[str, ...] = ()
    fields: tuple[Out, ...] = ()
    many: bool = False

    @property
    def leaves(self) -> tuple[Out, ...]:
        """The fields, or the single value itself."""
        return self.fields or (self,)

    def sql(self) -> str:
        """The SQL type in words, for docs."""
        if not self.fields:
            return SQL_TYPES[self.type]
        inner = ", ".join(f"{leaf.name} {SQL_TYPES[leaf.type]}" for leaf in self.fields)
        return f"LIST<STRUCT({inner})>" if self.many else f"STRUCT({inner})"


SQL_TYPES: dict[str, str] = {
    "float64": "DOUBLE",
    "int64": "BIGINT",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMP",
    "text": "VARCHAR",
}


@dataclass(frozen=True)
class Spec:
    """Everything about a kernel but its C functions.

    Args:
        name: the SQL name.
        summary: one sentence.
        shape: "scalar" (row by row), "window" (ordered, state per key) or "aggregate".
        args: the columns.
        params: the constants, in the order of the call, after the columns.
        returns: the output.
        nulls: what the driver does with a missing argument. "skip": the row gives NULL and the
            state never sees it; "row": it takes its place in a window, where the kernel sees NaN
            (or MISSING); "own": the kernel sees it too, and does what its notes say;
            "propagate": the result is NULL; "reject": an error. Missing is NULL, and in windows
            and aggregates also NaN and infinities.
        definition: the textbook, in slow and plain Python: lists (None is missing) and the
            parameters by name. A window returns a list, an aggregate one value, a scalar takes
            single values.
        source: where the formula comes from.
        example: a query that runs over the `trades` and `quotes` of `fin_sql.testing.Market`.
        cases: parameter sets for the laws.
        errors: texts for the negative codes that the step may return.
        check: says what is wrong between parameters, or returns None.
        prepare: numbers worked out once from the parameters; they follow them in the C array.
        lookahead: how many rows ahead the output of a row looks; 0 is causal.
        notes: traps and conventions, for the docs.
        bound: how large the state can be, in words.
        family: of the kernel, where it is not the name of its module.
        form_of: the kernel that this one is another form of, as an aggregate or in other units.
        version: raise it when the state's layout or meaning changes.
        tolerance: relative tolerance against the definition.
    """

    name: str
    summary: str
    shape: Literal["scalar", "window", "aggregate"]
    args: tuple[Arg, ...]
    returns: Out
    definition: Callable[..., Any] | None
    source: str
    example: str
    params: tuple[Param, ...] = ()
    nulls: Literal["skip", "row", "own", "propagate", "reject"] = "skip"
    cases: tuple[Mapping[str, Value], ...] = ({},)
    errors: Mapping[int, str] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], str | None] | None = None
    prepare: Callable[[Mapping[str, Any]], Sequence[float]] | None = None
    lookahead: Callable[[Mapping[str, Any]], int] | None = None
    notes: str = ""
    bound: str = ""
    family: str = ""
    form_of: str = ""
    version: int = 1
    tolerance: float = 1e-10

    @property
    def who(self) -> str:
        """How messages call this kernel."""
        return f"kernel '{self.name}'"

    def resolve(self, values: Sequence[Any] = (), **named: Any) -> dict[str, Value]:
        """Turn the constants of a call into a full set of parameters.

        Args:
            values: given by position, after the argument columns.
            named: given by name.

        Raises:
            SqlError: too many, too few, given twice, out of range.
            UnknownNameError: no parameter of that name.
        """
        names = [param.name for param in self.params]
        if len(values) > len(names):
            msg = f"{self.who}: takes {self.arity()}, was given {len(values)} parameters"
            raise SqlError(msg)
        given = dict(zip(names, values, strict=False))
        for name, value in named.items():
            if name not in names:
                raise UnknownNameError("parameter", name, names, who=self.who)
            if name in given:
                msg = f"{self.who}: parameter '{name}' is given twice"
                raise SqlError(msg)
            given[name] = value
        taken: dict[str, Value] = {}
        for param in self.params:
            if param.name not in given and param.required:
                msg = (
                    f"{self.who}: parameter '{param.name}' is missing; it must be {param.allowed()}"
                )
                raise SqlError(msg)
            taken[param.name] = param.accept(given.get(param.name, param.default), self.who)
        wrong = self.check(taken) if self.check else None
        if wrong:
            msg = f"{self.who}: {wrong}"
            raise SqlError(msg)
        return taken

    def arity(self) -> str:
        """How many arguments a call takes, in words."""
        words = _counted(self.args, "column")
        if self.params:
            words += f" and {_counted(self.params, 'parameter')}"
        return f"{words}: {self.signature()}"

    def signature(self) -> str:
        """The call as docs show it, defaults included."""
        parts: list[Arg | Param] = [*self.args, *self.params]
        return f"{self.name}({', '.join(map(_shown, parts))})"


def _counted(parts: Sequence[Arg | Param], word: str) -> str:
    least = sum(part.required for part in parts)
    span = f"{len(parts)}" if least == len(parts) else f"{least} to {len(parts)}"
    return f"{span} {word}{'s' if span != '1' else ''}"


def _shown(part: Arg | Param) -> str:
    if part.required:
        return part.name
    if part.type == "text":
        return f"{part.name} = '{part.default}'"
    return f"{part.name} = {'NULL' if part.default is None else repr(part.default).lower()}"
