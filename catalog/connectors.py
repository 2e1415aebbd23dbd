"""What WITH (connector = ...) of a streaming table means."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.stream.definition import StreamDefinition
from fin_sql.stream.source import StreamSource

Make = Callable[[], StreamSource]


def make_source(definition: StreamDefinition, options: dict[str, str]) -> Make:
    """What makes the source of a streaming table.

    Args:
        definition: the table.
        options: of WITH, without those that all connectors share.

    Raises:
        SqlError: an option is missing, unknown or wrong.
    """
    known = {"kafka": _kafka, "parquet": _parquet}
    connector = options.pop("connector", None)
    if connector is None:
        msg = f"streaming table '{definition.name}' needs WITH (connector = 'kafka', ...)"
        raise SqlError(msg)
    if connector not in known:
        raise UnknownNameError("connector", connector, sorted(known), who=definition.name)
    return known[connector](definition, {name: secret(name, v) for name, v in options.items()})


def secret(name: str, value: str) -> str:
    """The value of an option: `env:NAME` and `file:PATH` are looked up.

    Raises:
        SqlError: there is no such variable or file.
    """
    kind, _, place = value.partition(":")
    if kind == "env" and place:
        if place not in os.environ:
            raise SqlError(f"option '{name}': there is no environment variable '{place}'")
        return os.environ[place]
    if kind == "file" and place:
        try:
            return Path(place).expanduser().read_text().strip()
        except OSError as error:
            raise SqlError(f"option '{name}': '{place}' cannot be read: {error.strerror}") from None
    return value


def _parquet(definition: StreamDefinition, options: dict[str, str]) -> Make:
    from fin_sql.catalog.parquet_stream import ParquetStream

    path = options.pop("path", "")
    follow = _flag("follow", options.pop("follow", "false"))
    if not path:
        raise SqlError(
            f"streaming table '{definition.name}': connector 'parquet' needs path = '...'"
        )
    _nothing_left(definition, options, ["path", "follow"])
    for column in definition.given:
        if column.metadata or column.format or column.path not in ("", f"$.{column.name}"):
            msg = (
                f"column '{column.name}': a Parquet file has columns, not messages: leave FROM, "
                "FORMAT and METADATA out"
            )
            raise SqlError(msg)
    if definition.unnest or definition.where:
        raise SqlError("connector 'parquet' has no UNNEST and no WHERE: put them in the view")
    schema = definition.schema(definition.given)
    return lambda: ParquetStream(definition.name, schema, path, definition.time, follow=follow)


def _kafka(definition: StreamDefinition, options: dict[str, str]) -> Make:
    from fin_sql.catalog.decoders import make_decoder
    from fin_sql.catalog.kafka import KafkaSource
    from fin_sql.catalog.kafka_columns import MetadataColumn
    from fin_sql.catalog.kafka_options import kafka_options

    who = f"streaming table '{definition.name}'"
    decoder = make_decoder(definition, options.pop("format", "json"))
    kafka = kafka_options(options, who=who)
    metadata = [
        MetadataColumn(c.name, c.metadata, c.type)
        for c in definition.given
        if c.metadata and c.metadata != "unnest"
    ]
    return lambda: KafkaSource(definition.name, kafka, decoder, metadata=metadata)


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise SqlError(f"option '{name}' is true or false, was '{value}'")
    return value.lower() == "true"


def _nothing_left(definition: StreamDefinition, options: dict[str, str], known: list[str]) -> None:
    if options:
        name = sorted(options)[0]
        raise UnknownNameError("option", name, known, who=f"streaming table '{definition.name}'")
