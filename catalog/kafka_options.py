"""The WITH options of Kafka tables and sinks: what they are called, take and mean by default."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fin_sql.errors import SqlError, UnknownNameError

Parser = Callable[[str], Any]

MASK = "***"
_SERVER = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_OFFSET = re.compile(r"\s*([0-9]{1,9})\s*=\s*([0-9]{1,18})\s*")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def secret(default: str = "") -> Any:
    """A field that is never shown."""
    return field(default=default, repr=False, metadata={"secret": True})


@dataclass(frozen=True)
class Connection:
    """Which topic, where, and how to get there.

    Args:
        topic: its name.
        bootstrap_servers: `host:port,...`.
        client_id: how the broker's logs call this client.
        security_protocol: plaintext, ssl, sasl_plaintext or sasl_ssl.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        sasl_username: who.
        sasl_password: the secret itself; it is masked in every message.
        ssl_ca_location: a file of trusted certificates; the system's where it is left out.
        ssl_certificate_location: the client's certificate, with its key.
        ssl_key_location: the client's key.
        ssl_key_password: what opens the key; masked.
        ssl_check_hostname: whether the broker's certificate must be its host's.
        connect_timeout_ms: how long the broker may take to answer when a table is opened.
    """

    topic: str
    bootstrap_servers: str
    client_id: str = "fin_sql"
    security_protocol: str = "plaintext"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = secret()
    ssl_ca_location: str = ""
    ssl_certificate_location: str = ""
    ssl_key_location: str = ""
    ssl_key_password: str = secret()
    ssl_check_hostname: bool = True
    connect_timeout_ms: int = 10_000

    def masked(self, text: str) -> str:
        """A text in which no secret of this connection stands."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.metadata.get("secret") and value:
                text = text.replace(value, MASK)
        return text

    def config(self) -> dict[str, Any]:
        """The same as librdkafka calls it."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": self.client_id,
            "security.protocol": self.security_protocol,
            # A broker that is back is found within a second, not within ten.
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
        }
        if "ssl" in self.security_protocol.split("_"):
            config["ssl.endpoint.identification.algorithm"] = (
                "https" if self.ssl_check_hostname else "none"
            )
        named = {
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_ca_location,
            "ssl.certificate.location": self.ssl_certificate_location,
            "ssl.key.location": self.ssl_key_location,
            "ssl.key.password": self.ssl_key_password,
        }
        return config | {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class Start:
    """Where partitions begin that have no position yet.

    Args:
        kind: which of them; the option's first word.
        at_ms: with `timestamp`: the first message of this time or a later one, ms since 1970 UTC.
        offsets: with `offset`: of each partition; those that are not named begin at the earliest.
    """

    kind: Literal["earliest", "latest", "timestamp", "offset"] = "earliest"
    at_ms: int = 0
    offsets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class KafkaOptions(Connection):
    """The options of a table that reads a topic.

    Args:
        start: earliest | latest | timestamp:2026-01-05T14:30:00Z | timestamp:<epoch ms> |
            offset:0=12,1=40.
        group_id: where positions are committed so that tools show the lag; partitions are never
            given out by a group. None: nothing is committed.
        partitions: those that are read; all, and new ones as they come, where it is left out.
        isolation: read_committed or read_uncommitted.
        tombstones: what a message without a value is: `bad` (a dead letter), `skip` (passed over)
            or `null` (a row whose columns are NULL, but for its METADATA columns).
        on_expired: what to do where the broker has deleted messages before they were read:
            `error`, or `earliest` to go on with the earliest that is left.
        fetch_bytes: the most of one partition in one answer.
        fetch_total_bytes: the most of one answer.
        fetch_wait_ms: how long the broker may wait for messages before it answers.
        queue_bytes: the most that is fetched ahead.
        refresh_ms: how often the topic is looked at for new partitions, and whether it is the same.
    """

    start: Start = field(default_factory=Start)
    group_id: str = ""
    partitions: tuple[int, ...] = ()
    isolation: str = "read_committed"
    tombstones: str = "bad"
    on_expired: str = "error"
    fetch_bytes: int = 1 << 20
    fetch_total_bytes: int = 50 << 20
    fetch_wait_ms: int = 100
    queue_bytes: int = 64 << 20
    refresh_ms: int = 3000


@dataclass(frozen=True)
class KafkaSinkOptions(Connection):
    """The options of a sink that writes a topic.

    Args:
        key: the columns that make a message's key; none: messages have no key.
        timestamp: the column that is a message's time; none: when it was sent.
        times: how times stand in a message: iso, epoch_s, epoch_ms, epoch_us or epoch_ns.
        nan: what NaN and the infinities become: null or text ("NaN", "Infinity", "-Infinity").
        delivery: at_least_once.
        compression: none, gzip, snappy, lz4 or zstd.
        linger_ms: how long a message may wait for others to travel with.
        queue_bytes: the most that waits to be sent; a writer that is ahead waits.
        timeout_ms: how long a message may take to arrive before it has failed.
    """

    key: tuple[str, ...] = ()
    timestamp: str = ""
    times: str = "iso"
    nan: str = "null"
    delivery: str = "at_least_once"
    compression: str = "none"
    linger_ms: int = 5
    queue_bytes: int = 64 << 20
    timeout_ms: int = 120_000


# ------------------------------------------------------------ parsers: each says what it requires


def _matching(pattern: re.Pattern[str], wanted: str) -> Parser:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(wanted)
        return text

    return parse


def _servers(text: str) -> str:
    servers = [part.strip() for part in text.split(",")]
    if not all(_SERVER.fullmatch(one) for one in servers):
        raise ValueError("'host:port', or several with commas between")
    return ",".join(servers)


def _text(text: str) -> str:
    if not text:
        raise ValueError("a text that is not empty")
    return text


def _one_of(*choices: str) -> Parser:
    known = {one.lower(): one for one in choices}

    def parse(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(" or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]])))
        return known[text.lower()]

    return parse


def _flag(text: str) -> bool:
    return bool(_one_of("true", "false")(text) == "true")


def _whole(least: int, most: int) -> Parser:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise ValueError("numbers with commas between")
    return tuple(sorted({int(part) for part in parts}))


def _names(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts) or len(set(parts)) < len(parts):
        raise ValueError("columns with commas between, each once")
    return parts


def _start(text: str) -> Start:
    kind, _, rest = text.partition(":")
    kind = kind.strip().lower()
    if kind in ("earliest", "latest") and not rest:
        return Start("earliest" if kind == "earliest" else "latest")
    if kind == "timestamp":
        return Start("timestamp", at_ms=_epoch_ms(rest.strip()))
    if kind == "offset":
        pairs = [_OFFSET.fullmatch(part) for part in rest.split(",")]
        found = {int(pair[1]): int(pair[2]) for pair in pairs if pair}
        if len(found) == len(pairs):
            return Start("offset", offsets=found)
    raise ValueError(
        "'earliest', 'latest', 'timestamp:2026-01-05T14:30:00Z', 'timestamp:<epoch ms>' or "
        "'offset:0=12,1=40'"
    )


def _epoch_ms(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        wanted = "'timestamp:' and an ISO 8601 time or milliseconds since 1970"
        raise ValueError(wanted) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # A message has whole milliseconds: the first that is not before the moment.
    return -((datetime(1970, 1, 1, tzinfo=UTC) - moment) // timedelta(milliseconds=1))


_BYTES = _whole(1 << 10, 1 << 30)
_MILLISECONDS = _whole(1, 3_600_000)
_CONNECTION: dict[str, Parser] = {
    "topic": _matching(_TOPIC, "letters, digits, '.', '_' and '-', up to 249"),
    "bootstrap_servers": _servers,
    "client_id": _text,
    "security_protocol": _one_of("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
    "sasl_mechanism": _one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
    "sasl_username": _text,
    "sasl_password": _text,
    "ssl_ca_location": _text,
    "ssl_certificate_location": _text,
    "ssl_key_location": _text,
    "ssl_key_password": _text,
    "ssl_check_hostname": _flag,
    "connect_timeout_ms": _MILLISECONDS,
}
SOURCE_OPTIONS: dict[str, Parser] = _CONNECTION | {
    "start": _start,
    "group_id": _text,
    "partitions": _numbers,
    "isolation": _one_of("read_committed", "read_uncommitted"),
    "tombstones": _one_of("bad", "skip", "null"),
    "on_expired": _one_of("error", "earliest"),
    "fetch_bytes": _BYTES,
    "fetch_total_bytes": _BYTES,
    "fetch_wait_ms": _MILLISECONDS,
    "queue_bytes": _BYTES,
    "refresh_ms": _MILLISECONDS,
}
SINK_OPTIONS: dict[str, Parser] = _CONNECTION | {
    "key": _names,
    "timestamp": _text,
    "times": _one_of("iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"),
    "nan": _one_of("null", "text"),
    "delivery": _one_of("at_least_once"),
    "compression": _one_of("none", "gzip", "snappy", "lz4", "zstd"),
    "linger_ms": _whole(0, 10_000),
    "queue_bytes": _BYTES,
    "timeout_ms": _MILLISECONDS,
}


def kafka_options(options: Mapping[str, str], *, who: str = "a Kafka table") -> KafkaOptions:
    """Read the WITH options of a table.

    Args:
        options: name to text; secrets are the secret itself.
        who: the table, for messages.

    Raises:
        SqlError: an option is missing, is not what it must be, or does not go with another.
        UnknownNameError: there is no option of that name.
    """
    found = KafkaOptions(**_parsed(options, SOURCE_OPTIONS, KafkaOptions, who))
    if found.fetch_total_bytes < found.fetch_bytes:
        msg = (
            f"{who}: option 'fetch_total_bytes' must be at least fetch_bytes ({found.fetch_bytes}),"
            f" was {found.fetch_total_bytes}"
        )
        raise SqlError(msg)
    _check_security(found, who)
    return found


def kafka_sink_options(
    options: Mapping[str, str], *, who: str = "a Kafka sink"
) -> KafkaSinkOptions:
    """Read the WITH options of a sink.

    Args:
        options: name to text; secrets are the secret itself.
        who: the sink, for messages.

    Raises:
        SqlError: an option is missing, is not what it must be, or does not go with another.
        UnknownNameError: there is no option of that name.
    """
    found = KafkaSinkOptions(**_parsed(options, SINK_OPTIONS, KafkaSinkOptions, who))
    _check_security(found, who)
    return found


def _parsed(
    options: Mapping[str, str], known: Mapping[str, Parser], kind: type[Connection], who: str
) -> dict[str, Any]:
    secrets = {one.name for one in fields(kind) if one.metadata.get("secret")}
    found = {}
    for name, text in options.items():
        if name not in known:
            raise UnknownNameError("option", name, sorted(known), who=who)
        try:
            found[name] = known[name](text)
        except ValueError as error:
            was = MASK if name in secrets else repr(text)
            msg = f"{who}: option '{name}' must be {error}, was {was}"
            raise SqlError(msg) from None
    for name in ("topic", "bootstrap_servers"):
        if name not in found:
            raise SqlError(f"{who}: option '{name}' must be given; write WITH ({name} = '...')")
    return found


def _check_security(found: Connection, who: str) -> None:
    sasl = found.security_protocol.startswith("sasl")
    ssl = found.security_protocol.endswith("ssl")
    given = [one.name for one in fields(Connection) if getattr(found, one.name)]
    needed = ("sasl_mechanism", "sasl_username", "sasl_password")
    for name in needed:
        if sasl and name not in given:
            msg = f"{who}: security_protocol = '{found.security_protocol}' needs option '{name}'"
            raise SqlError(msg)
        if not sasl and name in given:
            msg = (
                f"{who}: option '{name}' must go with security_protocol = 'sasl_ssl' or "
                f"'sasl_plaintext', was '{found.security_protocol}'"
            )
            raise SqlError(msg)
    for name in given:
        if name.startswith("ssl_") and name != "ssl_check_hostname" and not ssl:
            msg = (
                f"{who}: option '{name}' must go with security_protocol = 'ssl' or 'sasl_ssl', "
                f"was '{found.security_protocol}'"
            )
            raise SqlError(msg)
    if bool(found.ssl_certificate_location) != bool(found.ssl_key_location):
        msg = f"{who}: ssl_certificate_location and ssl_key_location must be given together"
        raise SqlError(msg)
