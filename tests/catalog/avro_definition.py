"""What the decoder of Avro is to do, written down slowly; schemas and values drawn at random."""

import io
import json
import re
import struct
from decimal import Decimal

import fastavro
import numpy as np
import pyarrow as pa
from json_definition import LEAST_NS, MOST_NS, BadMessage, Value, convert

DOUBLES = [
    0.0, -0.0, 5.0, 1e22, 1e16, 1e-5, 12.5, 1e15, 123456.75, 3e38, 1e-45, 0.1,
    float("inf"), float("nan"), float("-inf"),
]  # fmt: skip
TEXTS = [
    "", "5", "12.50", "1e3", "true", "NaN", "abc", "2021-04-17T16:43:37.5Z", "2021-04-17",
    'q"\\\n\x00\x1f\t', "é😀", "9007199254740993", "a" * 40,
]  # fmt: skip
UNITS = {"millis": 10**6, "micros": 10**3, "nanos": 1}
DEPTH = 128


class Reader:
    """Reads a message by its schema, whose names are defined before they are used.

    Values are None, bool, int, float, str, bytes, list, and dict for records and maps; what has a
    logical type comes as (logical type, value).
    """

    def __init__(self, schema, data):
        self.named = {}
        self.schema, self.data, self.at = schema, data, 0

    def message(self):
        value = self.value(self.schema, 0)
        if self.at != len(self.data):
            raise BadMessage("syntax")
        return value

    def take(self, n):
        if not 0 <= n <= len(self.data) - self.at:
            raise BadMessage("syntax")
        self.at += n
        return self.data[self.at - n : self.at]

    def long(self, bits=64):
        value, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise BadMessage("syntax")
        value = value >> 1 ^ -(value & 1)
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise BadMessage("syntax")
        return value

    def value(self, schema, depth):
        if isinstance(schema, list):
            branch = self.long()
            if not 0 <= branch < len(schema):
                raise BadMessage("syntax")
            if depth == DEPTH:
                raise BadMessage("depth")
            return self.value(schema[branch], depth + 1)
        if isinstance(schema, str):
            schema = self.named.get(schema, {"type": schema})
        what = schema["type"]
        if "name" in schema:
            self.named[schema["name"]] = schema
        value = self.nested(what, schema, depth) if what in NESTED else self.single(what, schema)
        return (schema["logicalType"], value, schema) if "logicalType" in schema else value

    def single(self, what, schema):
        if what == "null":
            return None
        if what == "boolean":
            byte = self.take(1)
            if byte not in (b"\0", b"\1"):
                raise BadMessage("syntax")
            return byte == b"\1"
        if what in ("int", "long"):
            return self.long(32 if what == "int" else 64)
        if what == "float":
            return np.float32(struct.unpack("<f", self.take(4))[0])
        if what == "double":
            return struct.unpack("<d", self.take(8))[0]
        if what == "fixed":
            return bytes(self.take(schema["size"]))
        if what == "enum":
            k = self.long()
            if not 0 <= k < len(schema["symbols"]):
                raise BadMessage("syntax")
            return schema["symbols"][k].encode()
        return bytes(self.take(self.long()))  # a string is checked where it is wanted

    def nested(self, what, schema, depth):
        if depth == DEPTH:
            raise BadMessage("depth")
        if what == "record":
            return {f["name"]: self.value(f["type"], depth + 1) for f in schema["fields"]}
        found = []
        while count := self.long():
            end = None
            if count < 0:
                count, size = -count, self.long()
                if not 0 <= size <= len(self.data) - self.at:
                    raise BadMessage("syntax")
                end = self.at + size
            if count > len(self.data) - self.at:
                raise BadMessage("syntax")
            for _ in range(count):
                if what == "array":
                    found.append(self.value(schema["items"], depth + 1))
                else:
                    name = bytes(self.take(self.long()))
                    found.append((name, self.value(schema["values"], depth + 1)))
            if end not in (None, self.at):
                raise BadMessage("syntax")
        return found if what == "array" else Map(found)


class Map(list):
    """The members of a map in their order; a name may come twice."""


NESTED = ("record", "array", "map")


def text_of(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadMessage("value") from None


def iso(logical, value):
    """A date or timestamp as a text, also outside of the years of datetime."""
    if logical == "date":
        at, digits = np.datetime64(value, "D"), ""
    else:
        unit = {"millis": "ms", "micros": "us", "nanos": "ns"}[logical.rpartition("-")[2]]
        at, digits = np.datetime64(value, unit), "Z" if logical.startswith("timestamp") else ""
    sign, year, rest = re.fullmatch(r"(-?)(\d+)(-.*)", str(at)).groups()
    return f"{sign}{year.zfill(4)}{rest}{digits}"


def number_text(value):
    """The shortest text of a float or double, as Python writes it."""
    if isinstance(value, np.float32) and np.isfinite(value):
        text = np.format_float_scientific(value, unique=True, trim="-", exp_digits=2)
        power = int(text.partition("e")[2])
        return (
            text
            if not -4 <= power < 16
            else np.format_float_positional(value, unique=True, trim="0")
        )
    return repr(float(value))


def ns_of(logical, value):
    ns = value * (86_400 * 10**9 if logical == "date" else UNITS[logical.rpartition("-")[2]])
    if not LEAST_NS <= ns <= MOST_NS:
        raise BadMessage("value")
    return ns


def decimal_of(value, schema):
    return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-schema.get("scale", 0))


def written(value):
    """A value as JSON."""
    if isinstance(value, tuple):
        logical, value, schema = value
        if logical == "decimal":
            return f"{decimal_of(value, schema):f}"
        return json.dumps(iso(logical, value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Map):
        return "{" + ",".join(f"{written(k)}:{written(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, bytes):
        return json.dumps(text_of(value), ensure_ascii=False)
    if isinstance(value, float | np.floating):
        text = number_text(value)
        words = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
        return words.get(text, text)
    return json.dumps(value)


def cell(value, field):
    """A value as what its column holds."""
    kind = field.type
    if value is None:
        return convert(None, field)
    if isinstance(value, tuple):
        logical, value, schema = value
        if logical == "decimal":
            return convert(Value("number", *[f"{decimal_of(value, schema):f}"] * 2), field)
        if pa.types.is_temporal(kind):
            ns = ns_of(logical, value)
            units = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
            return ns // (units[kind.unit] if pa.types.is_timestamp(kind) else 86_400 * 10**9)
        if kind == pa.string():
            ns_of(logical, value)
            return iso(logical, value)
    if isinstance(value, dict | list):
        if kind != pa.string():
            raise BadMessage("value")
        return written(value)
    if isinstance(value, bytes):
        return convert(Value("text", "", text_of(value)), field)
    if isinstance(value, bool):
        return convert(Value("word", *["true" if value else "false"] * 2), field)
    if isinstance(value, float | np.floating):
        if kind == pa.float64():
            return float(value)
        if kind == pa.float32():
            with np.errstate(over="ignore"):
                return float(np.float32(value))
        text = number_text(value)
        words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        if text in words:
            return convert(Value("text", "", words[text]), field)
        return convert(Value("number", text, text), field)
    return convert(Value("number", str(value), str(value)), field)


def find(value, steps):
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def decode(messages, schemas, fields):
    """Rows as tuples, the message of each, {bad message: code}; each message has its schema."""
    rows, source, bad = [], [], {}
    for i, (message, schema) in enumerate(zip(messages, schemas, strict=True)):
        try:
            if message is None:
                raise BadMessage("tombstone")
            if not message:
                raise BadMessage("empty")
            record = Reader(schema, message).message()
            row = tuple(cell(find(record, f.place.steps), f) for f in fields)
        except BadMessage as error:
            bad[i] = str(error)
            continue
        rows.append(row)
        source.append(i)
    return rows, source, bad


def encode(schema, datum):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), datum)
    return out.getvalue()


class Drawer:
    """Draws schemas, and values of them; its names are unique within a schema."""

    def __init__(self, rng):
        self.rng, self.names = rng, 0

    def name(self, kind):
        self.names += 1
        return f"{kind}{self.names}"

    def schema(self, depth=0):
        rng = self.rng
        way = rng.random()
        if way < 0.3 and depth < 4:
            return self.record(depth + 1)
        if way < 0.4 and depth < 4:
            return {"type": "array", "items": self.schema(depth + 1)}
        if way < 0.47 and depth < 4:
            return {"type": "map", "values": self.schema(depth + 1)}
        if way < 0.65 and depth < 4:
            others = [self.schema(depth + 3) for _ in range(rng.randrange(1, 3))]
            kinds = {
                s if isinstance(s, str) else s["type"]: s for s in others if not isinstance(s, list)
            }
            # fastavro cannot tell a date from a text of another branch
            branches = ["null", *(s for what, s in kinds.items() if what not in ("null", "int"))]
            rng.shuffle(branches)
            return branches
        if way < 0.72:
            return {
                "type": "enum",
                "name": self.name("E"),
                "symbols": ["BUY", "SELL", "NONE_OF_THEM"],
            }
        if way < 0.77:
            return {"type": "fixed", "name": self.name("F"), "size": rng.choice([0, 1, 4, 20])}
        if way < 0.9:
            return rng.choice([
                {"type": "int", "logicalType": "date"},
                {"type": "long", "logicalType": "timestamp-millis"},
                {"type": "long", "logicalType": "timestamp-micros"},
                {"type": "long", "logicalType": "timestamp-nanos"},
                {"type": "long", "logicalType": "local-timestamp-micros"},
                {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 6},
                {"type": "fixed", "name": self.name("D"), "size": 9, "logicalType": "decimal",
                 "precision": 20, "scale": 2},
            ])  # fmt: skip
        return rng.choice(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])

    def record(self, depth=0):
        names = self.rng.sample(
            ["a", "b", "c", "d", "long_name_of_a_member"], self.rng.randrange(1, 5)
        )
        fields = [{"name": name, "type": self.schema(depth)} for name in names]
        return {"type": "record", "name": self.name("R"), "fields": fields}

    def value(self, schema):
        """A value as fastavro takes it; times are plain counts."""
        rng = self.rng
        if isinstance(schema, list):
            return self.value(rng.choice(schema))
        what = schema if isinstance(schema, str) else schema["type"]
        logical = "" if isinstance(schema, str) else schema.get("logicalType", "")
        if what == "record":
            return {f["name"]: self.value(f["type"]) for f in schema["fields"]}
        if what == "array":
            return [self.value(schema["items"]) for _ in range(rng.randrange(4))]
        if what == "map":
            return {self.text(): self.value(schema["values"]) for _ in range(rng.randrange(4))}
        if what == "enum":
            return rng.choice(schema["symbols"])
        if logical == "decimal":
            digits = rng.randrange(-(10**18), 10**18) // 10 ** rng.randrange(18)
            return Decimal(digits).scaleb(-schema["scale"])
        if logical == "date":
            return rng.choice(
                [0, -1, rng.randrange(-40_000, 40_000), rng.randrange(-(10**6), 10**6)]
            )
        if logical:
            unit = UNITS[logical.rpartition("-")[2]]
            return rng.choice([rng.randrange(-(2**63), 2**63) // unit, rng.randrange(10**13), -1])
        return {
            "null": lambda: None,
            "boolean": lambda: rng.random() < 0.5,
            "int": lambda: rng.choice([rng.randrange(-(2**31), 2**31), rng.randrange(-200, 300)]),
            "long": lambda: rng.choice(
                [rng.randrange(-(2**63), 2**63), rng.randrange(-9, 9), 2**53 + 1]
            ),
            "float": self.single,
            "double": self.double,
            "string": self.text,
            "bytes": lambda: rng.choice([self.text().encode(), rng.randbytes(rng.randrange(5))]),
            "fixed": lambda: rng.choice([rng.randbytes, lambda n: b"7" * n])(schema["size"]),
        }[what]()

    def double(self):
        rng = self.rng
        if rng.random() < 0.5:
            return rng.choice(DOUBLES)
        return rng.choice(
            [rng.random() * 1e4, struct.unpack("d", rng.randbytes(8))[0], rng.gauss(0, 1)]
        )

    def single(self):
        with np.errstate(over="ignore"):
            return float(np.float32(self.double()))

    def text(self):
        rng = self.rng
        if rng.random() < 0.5:
            return rng.choice(TEXTS)
        return "".join(
            chr(rng.choice([rng.randrange(32, 127), rng.randrange(160, 0xD800)]))
            for _ in range(rng.randrange(9))
        )
