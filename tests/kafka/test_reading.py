"""Every message of a topic once and in order, from where it was asked for, to where it ends."""

import numpy as np
import pyarrow as pa
import pytest
from kafka_kit import SECOND, TURN, Reader, bare, needs, open_source, producer, send

from fin_sql.errors import SourceChangedError, SourceError, SqlError

EPOCH_MS = 1_767_623_400_000  # 2026-01-05T14:30:00Z


def fill(broker, topic, partitions, messages, seed=1, name="m"):
    """Messages over partitions, in batches of several sizes."""
    rng = np.random.default_rng(seed)
    sender = producer(broker)
    for i in range(messages):
        sender.produce(topic, f"{name}{i}", partition=int(rng.integers(partitions)))
        if rng.random() < 0.01:
            sender.flush()
    assert sender.flush(20) == 0


def as_rows(found):
    return {p: [(at, v.decode()) for at, v in pairs] for p, pairs in found.items() if pairs}


def test_every_message_once_and_in_order_whatever_the_polls(broker, topic):
    broker.create_topic(topic, 3)
    fill(broker, topic, 3, 5_000)
    expected = as_rows(bare(broker, topic, 3))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        reader = Reader(open_source(broker, topic, bounded=True))
        assert reader.source.partitions() == [0, 1, 2]
        while not all(map(reader.source.ended, range(3))):
            reader.poll(int(rng.integers(1, 700)))
        assert reader.rows() == expected
        assert reader.messages == 5_000
        assert reader.source.positions() == {p: len(expected[p]) for p in range(3)}
        assert reader.source.lag() == {0: 0, 1: 0, 2: 0}
        assert reader.source.poll(10, SECOND) == []
        assert all(p.arrived_ns == 0 for p in reader.polled)
        reader.source.close()


def test_reading_goes_on_from_any_position(broker, topic):
    broker.create_topic(topic, 2)
    fill(broker, topic, 2, 3_000)
    expected = as_rows(bare(broker, topic, 2))
    rng = np.random.default_rng(4)
    positions, polled = None, []
    for _ in range(6):
        reader = Reader(open_source(broker, topic, at=positions))
        reader.until_messages(int(rng.integers(1, 400)), most=int(rng.integers(1, 100)))
        for one in reader.polled:
            assert one.next_offset == one.offsets[-1].as_py() + 1
            assert one.arrived_ns > EPOCH_MS * 1_000_000
        positions = reader.source.positions()
        polled += reader.polled
        reader.source.close()
    last = Reader(open_source(broker, topic, at=positions, bounded=True)).until_ended()
    last.polled = polled + last.polled
    last.source.close()
    assert last.rows() == expected


def test_a_bounded_read_ends_at_what_was_there(broker, topic):
    broker.create_topic(topic, 2)
    for size in (1, 3, 5):  # batches of several messages: their last one counts
        send(broker, topic, [f"a{size}{i}" for i in range(size)])
    source = open_source(broker, topic, bounded=True)
    assert source.ended(1)
    assert not source.ended(0)
    assert source.lag() == {0: 9, 1: 0}
    send(broker, topic, ["later", "later"])
    send(broker, topic, ["later"], partition=1)
    reader = Reader(source).until_ended()
    assert reader.messages == 9
    assert source.positions() == {0: 9, 1: 0}
    source.close()
    again = Reader(open_source(broker, topic, at={0: 9, 1: 0}, bounded=True)).until_ended()
    assert again.rows() == {0: [(9, "later"), (10, "later")], 1: [(0, "later")]}
    again.source.close()


def test_a_live_read_goes_on_and_knows_its_lag(broker, topic):
    broker.create_topic(topic, 2)
    send(broker, topic, ["a", "b", "c"])
    reader = Reader(open_source(broker, topic)).until_messages(1, most=1)
    assert reader.source.lag()[0] == 2
    reader.until_messages(3)
    assert not reader.source.ended(0)
    assert reader.source.lag()[0] == 0
    assert reader.poll() == []
    send(broker, topic, ["d"], partition=1)
    reader.until_messages(4)
    assert reader.rows() == {0: [(0, "a"), (1, "b"), (2, "c")], 1: [(0, "d")]}
    reader.until(lambda me: me.source.lag() == {0: 0, 1: 0})
    reader.source.close()


def test_a_message_is_given_at_once(broker, topic):
    """consume() of librdkafka alone would wait for the whole time."""
    import time

    broker.create_topic(topic)
    source = open_source(broker, topic)
    assert source.poll(10, TURN) == []
    send(broker, topic, ["a"])
    before = time.monotonic()
    assert sum(p.messages for p in source.poll(10_000, 10 * SECOND)) == 1
    assert time.monotonic() - before < 5
    source.close()


def test_where_to_begin(broker, topic):
    broker.create_topic(topic, 2)
    send(broker, topic, ["a", "b", "c"])
    send(broker, topic, ["d", "e"])
    send(broker, topic, ["x"], partition=1)
    whole = [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")]

    def rows(**options):
        reader = Reader(open_source(broker, topic, bounded=True, **options)).until_ended()
        reader.source.close()
        return reader.rows()

    assert rows() == rows(start="earliest") == {0: whole, 1: [(0, "x")]}
    assert rows(start="latest") == {}
    assert rows(start="offset:0=3,1=1") == {0: whole[3:]}
    assert rows(start="offset:0=5") == {1: [(0, "x")]}
    assert rows(at={0: 4}) == {0: whole[4:], 1: [(0, "x")]}
    assert rows(at={0: 4}, start="latest") == {0: whole[4:]}
    assert rows(partitions="1") == {1: [(0, "x")]}

    live = Reader(open_source(broker, topic, start="latest"))
    assert live.source.positions() == {0: 5, 1: 1}
    send(broker, topic, ["f"])
    assert live.until_messages(1).rows() == {0: [(5, "f")]}
    live.source.close()


def test_begin_at_a_time(broker, topic):
    needs(broker, "timestamps")
    broker.create_topic(topic, 2)
    for i in range(10):
        send(broker, topic, [f"m{i}"], timestamp=EPOCH_MS + 1_000 * i)
    for text, first in [
        ("timestamp:2026-01-05T14:30:00Z", 0),
        ("timestamp:2026-01-05T14:30:04Z", 4),
        ("timestamp:2026-01-05T14:30:04.001Z", 5),
        ("timestamp:2026-01-05T16:30:04+02:00", 4),
        (f"timestamp:{EPOCH_MS + 3500}", 4),
        ("timestamp:2026-01-05T15:00:00Z", 10),
    ]:
        source = open_source(broker, topic, start=text)
        assert source.positions() == {0: first, 1: 0}, text
        source.close()


def test_partitions_that_are_not_there_are_refused(broker, topic):
    broker.create_topic(topic, 2)
    with pytest.raises(SqlError, match="has 0 to 1, had 5"):
        open_source(broker, topic, partitions="1,5")
    with pytest.raises(SourceChangedError, match="partition 7 of topic"):
        open_source(broker, topic, at={7: 0})


def test_a_topic_that_does_not_exist_is_told_with_those_like_it(broker, topic):
    broker.create_topic(f"{topic}-trades", 1)
    with pytest.raises(SourceError, match=f"did you mean '{topic}-trades'") as caught:
        open_source(broker, f"{topic}-trade")
    assert not isinstance(caught.value, SourceChangedError)
    with pytest.raises(SourceError, match="create it first"):
        open_source(broker, "nothing.of.the.kind")
    names = broker.admin().list_topics(timeout=5).topics
    assert "nothing.of.the.kind" not in names
    assert f"{topic}-trade" not in names


def test_a_source_is_opened_and_closed_as_often_as_one_likes(broker, topic):
    broker.create_topic(topic)
    send(broker, topic, ["a"])
    source = open_source(broker, topic, bounded=True)
    source.open(bounded=True)
    assert Reader(source).until_ended().rows() == {0: [(0, "a")]}
    source.close()
    source.close()
    with pytest.raises(SourceError, match="must be open"):
        source.poll(1, 0)
    source.open()
    assert Reader(source).until_messages(1).rows() == {0: [(0, "a")]}
    source.close()


def test_after_an_error_nothing_is_left_out_in_silence(broker, topic):
    class Broken:
        schema = pa.schema([("x", pa.string())])

        def decode(self, messages):
            raise RuntimeError("broken decoder")

    broker.create_topic(topic)
    send(broker, topic, ["a", "b"])
    source = open_source(broker, topic, Broken())
    with pytest.raises(RuntimeError, match="broken decoder"):
        for _ in range(100):
            source.poll(10, TURN)
    assert source.positions() == {0: 0}
    with pytest.raises(SourceError, match="after an error it must be closed"):
        source.poll(10, TURN)
    source.close()


def test_positions_are_committed_to_the_group(broker, topic):
    import time

    import confluent_kafka as ck

    broker.create_topic(topic, 2)
    send(broker, topic, ["a", "b", "c"])
    source = open_source(broker, topic, group_id=f"group-{topic}")
    reader = Reader(source).until_messages(2, most=1)
    source.commit(source.positions())
    asking = ck.Consumer(broker.config() | {"group.id": f"group-{topic}"})
    deadline, found = time.monotonic() + 15, None
    while found != [2, 0] and time.monotonic() < deadline:
        reader.poll(1, TURN)
        found = [p.offset for p in asking.committed([ck.TopicPartition(topic, n) for n in (0, 1)])]
    assert found == [2, 0]
    asking.close()
    source.close()
    # They are for others to look at: reading begins where it is told.
    again = Reader(open_source(broker, topic, bounded=True, group_id=f"group-{topic}"))
    assert again.until_ended().messages == 3
    again.source.close()
    nobody = open_source(broker, topic)
    nobody.commit({0: 1})
    nobody.close()
