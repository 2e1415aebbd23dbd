"""A broker that is away, that does not let us in, or that is not there at all."""

import time

import pytest
from kafka_kit import SECOND, TURN, Gate, Reader, open_source, send, start

from fin_sql.errors import SourceError
from fin_sql.testing.process import free_port


def test_a_broker_that_comes_back_is_read_on_and_nothing_is_lost_or_comes_twice(gated, topic):
    broker, gate = gated
    broker.create_topic(topic, 2)
    values = [f"m{i}" for i in range(4_000)]
    send(broker, topic, values)
    send(broker, topic, values, partition=1)
    reader = Reader(open_source(broker, topic, fetch_bytes="2048", queue_bytes="4096",
                                refresh_ms="100"))  # fmt: skip
    for messages in (500, 3_000):
        reader.until_messages(messages, most=50)
        gate.shut()
        reader.until(lambda me: me.source.lag() == {})  # not known
        assert reader.source.partitions() == [0, 1]
        before = time.monotonic()
        assert reader.poll(timeout_ns=SECOND // 5) == []
        assert time.monotonic() - before < 5
        gate.let_in()
    reader.until_messages(8_000, most=500)
    expected = list(enumerate(values))
    assert reader.rows() == {0: expected, 1: expected}
    send(broker, topic, ["more"])
    reader.until_messages(8_001)
    reader.until(lambda me: me.source.lag() == {0: 0, 1: 0})
    reader.source.close()


@pytest.mark.kafka
@pytest.mark.parametrize("kill", [False, True])
def test_a_broker_that_is_started_again_is_read_on(own_apache, topic, kill):
    broker = own_apache
    broker.create_topic(topic)
    send(broker, topic, [f"m{i}" for i in range(100)])
    reader = Reader(open_source(broker, topic, refresh_ms="100")).until_messages(60, most=7)
    identity = reader.source.identity
    broker.stop(kill=kill, keep=True)
    for _ in range(20):
        reader.poll()
    assert reader.source.lag() == {}
    broker.start()
    send(broker, topic, [f"m{i}" for i in range(100, 200)])
    reader.until_messages(200, seconds=40)
    assert reader.rows() == {0: [(i, f"m{i}") for i in range(200)]}
    assert reader.source.identity == identity
    reader.source.close()


def test_a_bounded_read_waits_for_its_broker(gated, topic):
    broker, gate = gated
    broker.create_topic(topic)
    send(broker, topic, [f"m{i}" for i in range(300)])
    source = open_source(broker, topic, bounded=True, fetch_bytes="1024", queue_bytes="1024")
    reader = Reader(source).until_messages(20, most=10)
    gate.shut()
    for _ in range(5):
        reader.poll(10)
    assert not source.ended(0)
    assert source.lag()[0] > 0
    gate.let_in()
    assert reader.until_ended().messages == 300
    source.close()


def test_nobody_there_is_told_in_time():
    class Nowhere:
        bootstrap_servers = f"127.0.0.1:{free_port()}"

    before = time.monotonic()
    with pytest.raises(SourceError, match=r"no broker at '127.*answered within 0.5 s: .*refused"):
        open_source(Nowhere, "t", connect_timeout_ms="500")
    assert time.monotonic() - before < 5


SCRAM = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "SCRAM-SHA-256",
         "sasl_username": "somebody", "sasl_password": "a-secret-of-mine"}  # fmt: skip


def test_a_user_who_is_not_let_in_is_told_so_at_once():
    with start("embedded", authentication=True) as broker:
        before = time.monotonic()
        with pytest.raises(SourceError, match="authentication") as caught:
            open_source(broker, "t", connect_timeout_ms="30000", **SCRAM)
        assert time.monotonic() - before < 10
    assert "a-secret-of-mine" not in str(caught.value)


@pytest.mark.kafka
def test_a_password_opens_the_door(apache, topic):
    apache.create_topic(topic)
    send(apache, topic, ["a"])
    options = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN",
               "sasl_username": "reader", "sasl_password": "reader-secret"}  # fmt: skip
    reader = Reader(open_source(apache.beside, topic, bounded=True, **options)).until_ended()
    assert reader.messages == 1
    assert "reader-secret" not in repr(reader.source)
    reader.source.close()
    with pytest.raises(SourceError, match="uthentication") as caught:
        open_source(apache.beside, topic, **options | {"sasl_password": "wrong-secret"})
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(SourceError, match="no broker at"):
        open_source(apache.beside, topic, connect_timeout_ms="700")


def test_a_certificate_that_is_not_there_is_told(broker, topic):
    with pytest.raises(SourceError, match="ssl.ca.location"):
        open_source(broker, topic, security_protocol="ssl", ssl_ca_location="/no/such/file.pem")


def test_the_gate_of_these_tests_shuts_and_opens(topic):
    with Gate() as gate, start("embedded", advertised=gate.port) as broker:
        gate.open(broker.port)
        broker.create_topic(topic)
        gate.shut()
        with pytest.raises(SourceError, match="no broker"):
            open_source(broker, topic, connect_timeout_ms="300")
        gate.let_in()
        source = open_source(broker, topic)
        assert source.poll(1, TURN) == []
        source.close()
