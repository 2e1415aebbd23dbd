"""What the tests of Kafka share: small decoders, a bare consumer and producer, a gate."""

import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka as ck
import pyarrow as pa
import pytest

from fin_sql.catalog.kafka import KafkaSource
from fin_sql.catalog.kafka_options import kafka_options
from fin_sql.testing.apache import ApacheBroker, why_no_apache
from fin_sql.testing.broker import Broker, why_no_broker

BUILD = Path(__file__).parents[2] / "build"
SECOND = 1_000_000_000
TURN = SECOND // 20


@dataclass(frozen=True)
class Bad:
    messages: pa.Int32Array
    reasons: pa.StringArray


@dataclass(frozen=True)
class Decoded:
    rows: pa.RecordBatch
    source: pa.Int32Array
    bad: Bad
    passed: int


class Words:
    """A row for each word of a message: of none there are none, 'bad' is bad, 'pass' is passed."""

    schema = pa.schema([pa.field("word", pa.string())])

    def decode(self, messages):
        words, source, bad, passed = [], [], [], 0
        for i, message in enumerate(messages):
            if message.startswith(b"bad"):
                bad.append(i)
            elif message.startswith(b"pass"):
                passed += 1
            else:
                found = message.decode().split()
                words += found
                source += [i] * len(found)
        rows = pa.RecordBatch.from_arrays([pa.array(words, pa.string())], schema=self.schema)
        reasons = pa.array(["it begins with 'bad'"] * len(bad), pa.string())
        return Decoded(
            rows, pa.array(source, pa.int32()), Bad(pa.array(bad, pa.int32()), reasons), passed
        )


def start(kind, **options):
    """A broker of a kind, or a reason why there is none."""
    missing = why_no_broker() if kind == "embedded" else why_no_apache(BUILD)
    if missing:
        pytest.skip(missing)
    return Broker(**options) if kind == "embedded" else ApacheBroker(BUILD, **options)


def needs(broker, what):
    if what in broker.lacks:
        pytest.skip(f"the embedded broker: {broker.lacks[what]}")


def open_source(broker, topic, decoder=None, *, at=None, bounded=False, identity=None, metadata=(),
                clock=None, **options):  # fmt: skip
    given = {"topic": topic, "bootstrap_servers": broker.bootstrap_servers} | options
    source = KafkaSource(
        "t", kafka_options(given), decoder or Words(), metadata=metadata, clock=clock
    )
    source.open(at, bounded=bounded, identity=identity)
    return source


def producer(broker, **config):
    return ck.Producer(broker.config() | {"linger.ms": 5} | config)


def send(broker, topic, values, partition=0, **fields):
    """Send values to one partition, and wait until they are there."""
    failed = []
    sender = producer(broker)

    def report(error, _):
        if error is not None:
            failed.append(error)

    for value in values:
        sender.produce(topic, value, partition=partition, on_delivery=report, **fields)
    assert sender.flush(20) == 0
    assert failed == []


def messages(broker, topic, partitions, isolation="read_committed"):
    """Every message, by a consumer without anything of ours, in the order of offsets."""
    consumer = ck.Consumer(
        broker.config() | {"group.id": "bare", "isolation.level": isolation,
                           "fetch.wait.max.ms": 50, "enable.auto.commit": False,
                           "enable.partition.eof": True}
    )  # fmt: skip
    consumer.list_topics(topic, timeout=10)  # or it would take a second to ask by itself
    consumer.assign([ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in range(partitions)])
    found, ended, deadline = [], set(), time.monotonic() + 15
    while len(ended) < partitions:
        assert time.monotonic() < deadline
        for message in consumer.consume(10_000, 0.02):
            if message.error() is None:
                found.append(message)
            else:
                assert message.error().code() == ck.KafkaError._PARTITION_EOF
                ended.add(message.partition())
    consumer.close()
    return sorted(found, key=lambda m: (m.partition(), m.offset()))


def bare(broker, topic, partitions):
    """{partition: [(offset, value)]} of all messages."""
    found = {p: [] for p in range(partitions)}
    for message in messages(broker, topic, partitions):
        found[message.partition()].append((message.offset(), message.value()))
    return found


class Reader:
    """Polls a source, and keeps what it gave."""

    def __init__(self, source):
        self.source = source
        self.polled = []

    def poll(self, most=10_000, timeout_ns=TURN):
        found = self.source.poll(most, timeout_ns)
        self.polled += found
        assert len({p.partition for p in found}) == len(found)
        assert sum(p.messages for p in found) <= most
        return found

    def until(self, done, seconds=15, most=10_000):
        """Poll until it is so."""
        deadline = time.monotonic() + seconds
        while not done(self):
            source = self.source
            assert time.monotonic() < deadline, (self.messages, source.positions(), source.lag())
            self.poll(most)
        return self

    def until_messages(self, n, **options):
        return self.until(lambda me: me.messages >= n, **options)

    def until_ended(self, **options):
        return self.until(lambda me: all(map(me.source.ended, me.source.partitions())), **options)

    @property
    def messages(self):
        return sum(p.messages for p in self.polled)

    def rows(self):
        """{partition: [(offset, value of the first column)]}."""
        found = {}
        for p in self.polled:
            pairs = zip(p.offsets.to_pylist(), p.rows[0].to_pylist(), strict=True)
            found.setdefault(p.partition, []).extend(pairs)
        return {number: pairs for number, pairs in sorted(found.items()) if pairs}

    def table(self):
        return pa.Table.from_batches([p.rows for p in self.polled], self.source.schema)

    def letters(self):
        return [row for p in self.polled if p.bad is not None for row in p.bad.to_pylist()]

    @property
    def passed(self):
        return sum(p.passed for p in self.polled)


class Gate:
    """A port before a broker: it can be shut, and then connections break and none is let in."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._target = None
        self._pairs = {}
        self._shut = self._ended = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def open(self, port):
        self._target = port
        self._thread.start()

    def shut(self):
        with self._lock:
            self._shut = True
            self._listener.close()
            for one in list(self._pairs):
                self._drop(one)

    def let_in(self):
        with self._lock:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._shut = False

    def _drop(self, one):
        other = self._pairs.pop(one, None)
        one.close()
        if other is not None:
            self._pairs.pop(other, None)
            other.close()

    def _run(self):
        while not self._ended:
            with self._lock:
                waiting = [*self._pairs, *([] if self._shut else [self._listener])]
                ready = select.select(waiting, [], [], 0)[0] if waiting else []
                for one in ready:
                    if one is self._listener:
                        client, _ = one.accept()
                        try:
                            server = socket.create_connection(("127.0.0.1", self._target))
                        except OSError:
                            client.close()
                        else:
                            self._pairs |= {client: server, server: client}
                    elif one in self._pairs:
                        self._pass_on(one)
            if not ready:
                time.sleep(0.002)

    def _pass_on(self, one):
        try:
            data = one.recv(1 << 16)
            if data:
                self._pairs[one].sendall(data)
                return
        except OSError:
            pass
        self._drop(one)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._ended = True
        if self._thread.is_alive():
            self._thread.join()
        self.shut()
