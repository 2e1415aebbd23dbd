"""Messages a second from the embedded broker, beside a bare loop of confluent_kafka; and to it.

BENCH_MESSAGES messages (500 000) of some 120 bytes over 2 partitions.
"""

import os
import time

import numpy as np
import pyarrow as pa
import pytest
from test_kernel_cost import show

from fin_sql.testing.broker import why_no_broker

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(why_no_broker() is not None, reason=str(why_no_broker())),
]
MESSAGES = int(os.environ.get("BENCH_MESSAGES", 500_000))
PARTITIONS, AT_ONCE, ROUNDS = 2, 10_000, 3
TRADES = pa.schema([("value", pa.binary())])


class Nothing:
    """Decodes as little as can be: the messages themselves, as one column."""

    schema = TRADES

    def decode(self, messages):
        from types import SimpleNamespace

        rows = pa.RecordBatch.from_arrays([pa.array(messages, pa.binary())], schema=TRADES)
        source = pa.array(np.arange(len(messages), dtype=np.int32))
        bad = SimpleNamespace(messages=pa.array([], pa.int32()), reasons=pa.array([], pa.string()))
        return SimpleNamespace(rows=rows, source=source, bad=bad, passed=0)


@pytest.fixture(scope="module")
def filled():
    """A broker with a topic of trades, and how fast the sink wrote them."""
    from fin_sql.catalog.kafka_options import kafka_sink_options
    from fin_sql.catalog.kafka_sink import KafkaSink
    from fin_sql.testing import Market
    from fin_sql.testing.broker import Broker

    rows = Market(seed=1).trades(50_000).combine_chunks().to_batches()[0]
    with Broker() as broker:
        broker.create_topic("trades", PARTITIONS)
        options = {"topic": "trades", "bootstrap_servers": broker.bootstrap_servers, "key": "seq"}
        sink = KafkaSink("trades", kafka_sink_options(options), rows.schema)
        sink.open()
        before = time.perf_counter()
        for _ in range(MESSAGES // rows.num_rows):
            sink.write(rows)
        sink.flush()
        took = time.perf_counter() - before
        sink.close()
        yield broker, took


def bare(broker):
    """consume() and nothing else, but for the values and offsets of the messages."""
    import confluent_kafka as ck

    config = {"group.id": "bare", "enable.auto.commit": False, "fetch.queue.backoff.ms": 5}
    consumer = ck.Consumer(broker.config() | config)
    consumer.list_topics("trades", timeout=10)
    before, found = time.perf_counter(), 0
    consumer.assign(
        [ck.TopicPartition("trades", p, ck.OFFSET_BEGINNING) for p in range(PARTITIONS)]
    )
    while found < MESSAGES:
        for message in consumer.consume(AT_ONCE, 0.05):
            assert message.error() is None
            message.value()
            message.offset()
            found += 1
    took = time.perf_counter() - before
    consumer.close()
    return took


def ours(broker, metadata=()):
    from fin_sql.catalog.kafka import KafkaSource
    from fin_sql.catalog.kafka_options import kafka_options

    options = {"topic": "trades", "bootstrap_servers": broker.bootstrap_servers}
    source = KafkaSource("trades", kafka_options(options), Nothing(), metadata=metadata)
    source.open()
    before, found = time.perf_counter(), 0
    while found < MESSAGES:
        found += sum(p.messages for p in source.poll(AT_ONCE, 50_000_000))
    took = time.perf_counter() - before
    assert found == MESSAGES
    source.close()
    return took


def test_beside_a_bare_consumer(filled):
    from fin_sql.catalog.kafka_columns import MetadataColumn

    broker, written = filled
    extra = [
        MetadataColumn("off", "offset", pa.int64()),
        MetadataColumn("at", "timestamp", pa.timestamp("ns")),
        MetadataColumn("key", "key", pa.string()),
    ]
    ways = {
        "a bare loop": lambda: bare(broker),
        "KafkaSource": lambda: ours(broker),
        "KafkaSource, 3 METADATA columns": lambda: ours(broker, extra),
    }
    seconds = {name: min(way() for _ in range(ROUNDS)) for name, way in ways.items()}
    seconds["KafkaSink (written)"] = written
    own = seconds["a bare loop"]
    table = [(name, MESSAGES / took / 1e3, own / took) for name, took in seconds.items()]
    show(f"{MESSAGES:,} messages", ("way", "thousand/s", "x bare"), table, "kafka")
    # The bare loop looks at each message in Python, as we do, and makes nothing of them.
    assert seconds["KafkaSource"] < 3 * own
