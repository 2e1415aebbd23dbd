"""What the decoder of JSON is to do, written down slowly: a parser by the letter of RFC 8259, and
each type by exact fractions."""

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from fin_sql.catalog.paths import parse_path
from fin_sql.catalog.rows import NUMBER

DEPTH = 128
LEAST_NS, MOST_NS = -(2**63) + 1, 2**63 - 1
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)


class BadMessage(ValueError):
    """The code of what is wrong."""


@dataclass(frozen=True)
class Value:
    kind: str  # object, array, text, number, word, null
    raw: str
    value: Any = None


def parse(message):
    """A message as a Value."""
    if message is None:
        raise BadMessage("tombstone")
    if not message:
        raise BadMessage("empty")
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise BadMessage("encoding") from None
    if text[0] == "\ufeff":
        raise BadMessage("encoding")
    value, at = Parser(text).value(blank(text, 0), 0)
    if blank(text, at) != len(text):
        raise BadMessage("syntax")
    return value


def blank(text, at):
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


class Parser:
    def __init__(self, text):
        self.text = text

    def wants(self, at, char):
        if self.text[at : at + 1] != char:
            raise BadMessage("syntax")
        return at + 1

    def value(self, at, depth):
        """The value that begins at a place, and where it ends."""
        char = self.text[at : at + 1]
        if char and char in "{[":
            if depth == DEPTH:
                raise BadMessage("depth")
            inner, end = (self.object if char == "{" else self.array)(at, depth + 1)
            kind = "object" if char == "{" else "array"
            return Value(kind, self.text[at:end], inner), end
        if char == '"':
            inner, end = self.string(at)
            return Value("text", self.text[at:end], inner), end
        for word in ("true", "false", "null"):
            if self.text.startswith(word, at):
                return Value("null" if word == "null" else "word", word, word), at + len(word)
        if found := NUMBER.match(self.text, at):
            # what follows decides whether it was all of it: 01 and 1. are no numbers
            return Value("number", found[0], found[0]), found.end()
        raise BadMessage("syntax")

    def string(self, at):
        at, chars = self.wants(at, '"'), []
        while True:
            char = self.text[at : at + 1]
            if not char or char < " ":
                raise BadMessage("syntax")
            if char == '"':
                # halves of a surrogate pair come together; a lone one stays
                joined = "".join(chars).encode("utf-16-le", "surrogatepass")
                return joined.decode("utf-16-le", "surrogatepass"), at + 1
            if char == "\\":
                code = self.text[at + 1 : at + 2]
                if code == "u":
                    digits = self.text[at + 2 : at + 6]
                    if not re.fullmatch("[0-9a-fA-F]{4}", digits):
                        raise BadMessage("syntax")
                    chars.append(chr(int(digits, 16)))
                    at += 6
                    continue
                if code not in ESCAPES:
                    raise BadMessage("syntax")
                chars.append(ESCAPES[code])
                at += 2
                continue
            chars.append(char)
            at += 1

    def items(self, at, close, item):
        """What stands between brackets, separated by commas."""
        at = blank(self.text, at + 1)
        if self.text[at : at + 1] == close:
            return at + 1
        while True:
            at = blank(self.text, item(at))
            if self.text[at : at + 1] == close:
                return at + 1
            at = blank(self.text, self.wants(at, ","))

    def object(self, at, depth):
        members = {}

        def item(at):
            name, at = self.string(at)
            at = self.wants(blank(self.text, at), ":")
            members[name], at = self.value(blank(self.text, at), depth)
            return at

        return members, self.items(at, "}", item)

    def array(self, at, depth):
        elements = []

        def item(at):
            element, at = self.value(at, depth)
            elements.append(element)
            return at

        end = self.items(at, "]", item)
        return elements, end


def find(value, steps):
    """The value at a path; None if it is not there."""
    for step in steps:
        if isinstance(step, str):
            value = value.value.get(step) if value.kind == "object" else None
        else:
            there = value.kind == "array" and -len(value.value) <= step < len(value.value)
            value = value.value[step] if there else None
        if value is None:
            return None
    return value


def fraction(text):
    """An exact number; None of a text that is none.

    A power of ten beyond 20 000 is taken for that: no type can tell, and the fraction stays small.
    """
    if not isinstance(text, str) or not NUMBER.fullmatch(text):
        return None
    mantissa, _, power = text.lower().partition("e")
    return Fraction(f"{mantissa}e{min(max(int(power or 0), -20_000), 20_000)}")


def nearest_float(text):
    """The float32 that is nearest to a number, ties to even."""
    exact = fraction(text)
    with np.errstate(over="ignore"):
        guess = np.float32(float(text))
        if np.isinf(guess):  # below half a unit beyond the largest it is not infinite
            edge = Fraction(2) ** 128 - Fraction(2) ** 103
            largest = np.finfo(np.float32).max
            return guess if abs(exact) >= edge else np.copysign(largest, guess)
        near = [
            guess,
            np.nextafter(guess, np.float32(np.inf)),
            np.nextafter(guess, np.float32(-np.inf)),
        ]
    near = [x for x in near if np.isfinite(x)]
    best = min(abs(Fraction(float(x)) - exact) for x in near)
    close = [x for x in near if abs(Fraction(float(x)) - exact) == best]
    even = [x for x in close if x.view(np.uint32) % 2 == 0] or close
    return np.copysign(even[0] if len(close) > 1 else close[0], np.float32(float(text)))


def wrong():
    raise BadMessage("value")


def iso_ns(text):
    found = ISO.fullmatch(text)
    if found is None:
        wrong()
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    try:
        # year 0 is a leap year, as 400 is
        date = datetime.date(year or 400, month, day)
        time = datetime.time(hour, minute, second)
        ahead = datetime.time(int(found[9] or 0), int(found[10] or 0))
    except ValueError:
        wrong()
    days = date.toordinal() - datetime.date(1970, 1, 1).toordinal() - (0 if year else 146_097)
    seconds = days * 86_400 + time.hour * 3_600 + time.minute * 60 + time.second
    shift = ahead.hour * 3_600 + ahead.minute * 60
    seconds -= shift if found[8] == "+" else -shift if found[8] == "-" else 0
    return seconds * 10**9 + int((found[7] or "").ljust(9, "0"))


def time_ns(value, format):
    number = fraction(value.value)
    if format.startswith("epoch"):
        ns = wrong() if number is None else (number * UNITS[format[6:]]).__floor__()
    elif value.kind == "text":
        ns = iso_ns(value.value)
    else:
        wrong()
    return ns if LEAST_NS <= ns <= MOST_NS else wrong()


def convert(value, field):
    """A value as what its column holds: see fin_sql.catalog.rows.Field."""
    kind = field.type
    if value is None or value.kind == "null":
        if field.not_null:
            raise BadMessage("null")
        return None
    if kind == pa.string():
        text = value.value if value.kind == "text" else value.raw
        return text if text.isascii() or not re.search("[\ud800-\udfff]", text) else wrong()
    if value.kind in ("object", "array"):
        wrong()
    if pa.types.is_timestamp(kind):
        return time_ns(value, field.format) // UNITS[kind.unit]
    if kind == pa.date32():
        return time_ns(value, field.format) // (86_400 * 10**9)
    if kind == pa.bool_() and value.value in ("true", "false"):
        return value.value == "true"
    if kind in (pa.float64(), pa.float32()) and value.kind == "text":
        if value.value in ("NaN", "Infinity", "-Infinity"):
            return float(value.value)
    number = fraction(value.value)
    if number is None:
        wrong()
    if kind == pa.float64():
        return float(value.value)
    if kind == pa.float32():
        return float(nearest_float(value.value))
    if pa.types.is_decimal(kind):
        scaled = number * 10**kind.scale
        if scaled.denominator != 1 or abs(scaled) >= 10**kind.precision:
            wrong()
        digits = str(abs(scaled.numerator)).rjust(kind.scale + 1, "0")
        sign = "-" if scaled < 0 else ""
        return Decimal(f"{sign}{digits}E-{kind.scale}")
    if number.denominator != 1:
        wrong()
    if kind == pa.bool_():
        return bool(number) if number in (0, 1) else wrong()
    signed = pa.types.is_signed_integer(kind)
    least = -(2 ** (kind.bit_width - 1)) if signed else 0
    return int(number) if least <= number < 2 ** (kind.bit_width - signed) else wrong()


def equal(value, wanted):
    """Whether a value of a message is one of a condition."""
    if value.kind in ("object", "array"):
        return False
    if isinstance(wanted, bool):
        wanted = "true" if wanted else "false"
    if isinstance(wanted, str):
        if value.kind == "number":
            return fraction(wanted) is not None and fraction(wanted) == fraction(value.value)
        return value.value == wanted
    return fraction(value.value) is not None and fraction(value.value) == Fraction(str(wanted))


def fulfils(message, condition):
    value = find(message, condition.place.steps)
    missing = value is None or value.kind == "null"
    if condition.op.startswith("is"):
        return missing == (condition.op == "is null")
    if missing:
        return False
    return any(equal(value, one) for one in condition.values) == (condition.op != "<>")


def elements(message, unnest):
    """(index of the path, element) for each row of a message."""
    if not unnest:
        return [(-1, None)]
    rows = []
    for u, path in enumerate(unnest):
        array = find(message, parse_path(path, "").steps)
        if array is None or array.kind == "null":
            continue
        if array.kind != "array":
            raise BadMessage("unnest")
        rows += [(u, element) for element in array.value]
    return rows


def decode(messages, fields, unnest=(), where=()):
    """Rows as tuples, the message and path of each, {bad message: code}, passed, empty."""
    rows, source, paths, bad, passed, empty = [], [], [], {}, 0, 0
    for i, message in enumerate(messages):
        try:
            value = parse(message)
            if not all(fulfils(value, condition) for condition in where):
                passed += 1
                continue
            found = elements(value, unnest)
            # of several wrong values that of the first column is told
            columns = [
                [
                    convert(find(element if f.place.origin == "@" else value, f.place.steps), f)
                    for _, element in found
                ]
                for f in fields
            ]
        except BadMessage as error:
            bad[i] = str(error)
            continue
        empty += not found
        rows += zip(*columns, strict=True)
        source += [i] * len(found)
        paths += [u for u, _ in found]
    return rows, source, paths, bad, passed, empty
