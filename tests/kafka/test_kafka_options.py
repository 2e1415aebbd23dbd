"""WITH options: what is taken, and what is refused and how."""

import subprocess
import sys

import pytest

from fin_sql.catalog.kafka_options import (
    SINK_OPTIONS,
    SOURCE_OPTIONS,
    KafkaOptions,
    KafkaSinkOptions,
    Start,
    kafka_options,
    kafka_sink_options,
)
from fin_sql.errors import SourceError, SqlError, UnknownNameError

LEAST = {"topic": "t", "bootstrap_servers": "localhost:9092"}
SECRET = "s3cret-of-ours"
SASL = {"security_protocol": "sasl_ssl", "sasl_mechanism": "scram-sha-512", "sasl_username": "me",
        "sasl_password": SECRET}  # fmt: skip


def test_what_is_left_out_has_its_default():
    found = kafka_options(LEAST)
    assert found == KafkaOptions("t", "localhost:9092")
    assert found.start == Start("earliest")
    assert (found.isolation, found.tombstones, found.on_expired) == (
        "read_committed",
        "bad",
        "error",
    )
    assert kafka_sink_options(LEAST) == KafkaSinkOptions("t", "localhost:9092")


def test_every_field_has_its_option():
    for known, kind in ((SOURCE_OPTIONS, KafkaOptions), (SINK_OPTIONS, KafkaSinkOptions)):
        assert set(known) == set(kind.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", Start("earliest")),
        ("LATEST", Start("latest")),
        ("timestamp:2026-01-05T14:30:00Z", Start("timestamp", 1_767_623_400_000)),
        ("timestamp:2026-01-05 14:30", Start("timestamp", 1_767_623_400_000)),
        ("timestamp:2026-01-05T14:30:00.000001+00:00", Start("timestamp", 1_767_623_400_001)),
        ("timestamp: 1767623400000", Start("timestamp", 1_767_623_400_000)),
        ("offset:0=12,1=40", Start("offset", offsets={0: 12, 1: 40})),
        ("offset: 3 = 7", Start("offset", offsets={3: 7})),
    ],
)
def test_where_to_begin(text, start):
    assert kafka_options(LEAST | {"start": text}).start == start


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("start", "newest", "'earliest', 'latest', 'timestamp:2026"),
        ("start", "latest:1", "'earliest'"),
        ("start", "timestamp:", "an ISO 8601 time or milliseconds"),
        ("start", "timestamp:yesterday", "an ISO 8601 time or milliseconds"),
        ("start", "offset:", "'offset:0=12,1=40'"),
        ("start", "offset:0=1,0=2", "'offset:0=12,1=40'"),
        ("start", "offset:0=-1", "'offset:0=12,1=40'"),
        ("topic", "a b", "letters, digits"),
        ("bootstrap_servers", "localhost", "'host:port'"),
        ("isolation", "serializable", "read_committed or read_uncommitted"),
        ("tombstones", "keep", "bad, skip or null"),
        ("partitions", "1;2", "numbers with commas"),
        ("fetch_bytes", "1", "a whole number from 1024"),
        ("fetch_bytes", "1MB", "a whole number from 1024"),
        ("fetch_total_bytes", "2048", "at least fetch_bytes"),
        ("ssl_check_hostname", "yes", "true or false"),
        ("sasl_mechanism", "GSSAPI", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        ("group_id", "", "a text that is not empty"),
    ],
)
def test_what_an_option_must_be(name, text, wanted):
    with pytest.raises(SqlError, match=wanted) as caught:
        kafka_options(LEAST | {name: text}, who="Kafka table 'trades'")
    assert str(caught.value).startswith("Kafka table 'trades': ")
    assert f"'{name}'" in str(caught.value)


def test_an_unknown_option_is_refused_with_the_one_that_is_like_it():
    with pytest.raises(UnknownNameError, match="unknown option 'topics'; did you mean 'topic'"):
        kafka_options({"topics": "t"})
    with pytest.raises(UnknownNameError, match="'linger_ms'"):
        kafka_options(LEAST | {"linger_ms": "5"})  # it is a sink's
    with pytest.raises(SqlError, match="'bootstrap_servers' must be given"):
        kafka_options({"topic": "t"})
    with pytest.raises(SqlError, match="'topic' must be given"):
        kafka_sink_options({"bootstrap_servers": "a:1"})


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"sasl_password": SECRET}, "'sasl_password' must go with security_protocol"),
        (SASL | {"security_protocol": "ssl"}, "must go with security_protocol"),
        ({k: v for k, v in SASL.items() if k != "sasl_username"}, "needs option 'sasl_username'"),
        ({"ssl_ca_location": "/ca.pem"}, "must go with security_protocol = 'ssl'"),
        ({"security_protocol": "ssl", "ssl_key_location": "/k"}, "must be given together"),
        (SASL | {"sasl_password": ""}, r"must be a text that is not empty, was \*\*\*"),
    ],
)
def test_options_that_do_not_go_together(options, wanted):
    with pytest.raises(SqlError, match=wanted) as caught:
        kafka_options(LEAST | options)
    assert SECRET not in str(caught.value)


def test_secrets_are_shown_to_librdkafka_alone():
    found = kafka_options(LEAST | SASL | {"ssl_key_password": "another"})
    for text in (repr(found), str(found), f"{found}"):
        assert SECRET not in text
        assert "another" not in text
    assert (
        found.masked(f"the broker refused {SECRET} and another") == "the broker refused *** and ***"
    )
    assert found.config()["sasl.password"] == SECRET
    assert found.config()["ssl.endpoint.identification.algorithm"] == "https"
    assert found.sasl_mechanism == "SCRAM-SHA-512"


def test_without_the_package_the_error_names_the_extra():
    code = (
        "import sys\n"
        "sys.modules['confluent_kafka'] = None\n"
        "from fin_sql.catalog.kafka import KafkaSource\n"
        "from fin_sql.catalog.kafka_options import kafka_options\n"
        "import pyarrow as pa\n"
        "class Nothing: schema = pa.schema([('x', pa.string())])\n"
        "options = kafka_options(dict(topic='t', bootstrap_servers='a:1'))\n"
        "source = KafkaSource('t', options, Nothing())\n"
        "try: source.open()\n"
        "except OSError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == (
        "SourceError Kafka table 't' needs the package confluent-kafka, and confluent_kafka is not "
        "installed; pip install 'fin-sql[kafka]'\n"
    ), done.stderr
    assert issubclass(SourceError, OSError)
