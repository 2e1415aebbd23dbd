"""Topics that are deleted, made anew, grow or forget: nothing is re-read or left out in silence."""

import logging
import time

import confluent_kafka as ck
import pytest
from kafka_kit import Gate, Reader, needs, open_source, producer, send, start

from fin_sql.errors import SourceChangedError

AT_ONCE = {"refresh_ms": "100"}
WHAT_TO_DO = r"write where to begin \(start = 'earliest'.*drop the state"


def no_end(reader):
    return False


def test_a_topic_that_was_made_anew_between_two_reads_is_another(broker, topic):
    broker.create_topic(topic)
    send(broker, topic, ["a", "b", "c"])
    source = open_source(broker, topic)
    Reader(source).until_messages(3)
    positions, identity = source.positions(), source.identity
    source.close()
    assert identity
    same = open_source(broker, topic, at=positions, identity=identity)
    assert same.identity == identity
    same.close()

    broker.delete_topic(topic)
    broker.create_topic(topic)
    send(broker, topic, ["x"] * 5)  # it has our positions again
    with pytest.raises(SourceChangedError, match=f"made anew.*{WHAT_TO_DO}"):
        open_source(broker, topic, at=positions, identity=identity)
    fresh = Reader(open_source(broker, topic, bounded=True)).until_ended()
    assert fresh.source.identity not in (None, identity)
    assert fresh.messages == 5
    fresh.source.close()


def test_a_position_behind_the_end_is_refused(broker, topic):
    broker.create_topic(topic, 2)
    send(broker, topic, ["a", "b", "c"])
    with pytest.raises(
        SourceChangedError, match=f"position 4 lies behind the end.* 3: .*{WHAT_TO_DO}"
    ):
        open_source(broker, topic, at={0: 4})
    with pytest.raises(SourceChangedError, match="position 7 lies behind the end"):
        open_source(broker, topic, start="offset:1=7")
    at_end = open_source(broker, topic, at={0: 3, 1: 0})
    assert at_end.positions() == {0: 3, 1: 0}
    at_end.close()


def test_new_partitions_are_read_from_their_beginning(broker, topic):
    needs(broker, "add_partitions")
    broker.create_topic(topic)
    send(broker, topic, ["a"])
    reader = Reader(open_source(broker, topic, start="latest", **AT_ONCE))
    some = Reader(open_source(broker, topic, partitions="0", **AT_ONCE))
    send(broker, topic, ["b"])
    reader.until_messages(1)
    some.until_messages(2)
    broker.add_partitions(topic, 3)
    send(broker, topic, ["c", "d"], partition=1)
    send(broker, topic, ["e"], partition=2)
    reader.until_messages(4)
    assert reader.rows() == {0: [(1, "b")], 1: [(0, "c"), (1, "d")], 2: [(0, "e")]}
    assert reader.source.partitions() == [0, 1, 2]
    assert reader.source.positions() == {0: 2, 1: 2, 2: 1}
    positions = reader.source.positions()
    reader.source.close()
    again = Reader(open_source(broker, topic, at=positions, bounded=True))
    assert again.until_ended().messages == 0
    again.source.close()
    # A table that names its partitions does not take others.
    for _ in range(10):
        some.poll()
    assert some.source.partitions() == [0]
    some.source.close()


def test_a_topic_that_is_deleted_while_it_is_read_is_told(broker, topic):
    needs(broker, "deletes")
    broker.create_topic(topic)
    send(broker, topic, ["a"])
    reader = Reader(open_source(broker, topic, **AT_ONCE)).until_messages(1)
    broker.delete_topic(topic)
    with pytest.raises(SourceChangedError, match=f"was deleted.*{WHAT_TO_DO}"):
        reader.until(no_end)
    reader.source.close()


@pytest.mark.parametrize("messages", [1, 50])
def test_a_topic_that_is_made_anew_while_it_is_read_is_told(broker, topic, messages):
    """With fewer messages than before the position lies behind its end, with more it does not."""
    needs(broker, "deletes")
    broker.create_topic(topic)
    send(broker, topic, ["a"] * 10)
    reader = Reader(open_source(broker, topic, **AT_ONCE)).until_messages(10)
    broker.delete_topic(topic)
    broker.create_topic(topic)
    send(broker, topic, ["x"] * messages)
    with pytest.raises(SourceChangedError, match=WHAT_TO_DO):
        reader.until(no_end)
    assert reader.source.positions()[0] >= 10
    reader.source.close()


def test_expired_offsets_are_told_when_a_table_is_opened(broker, topic, caplog):
    needs(broker, "delete_records")
    broker.create_topic(topic, 2)
    send(broker, topic, [f"m{i}" for i in range(10)])
    broker.delete_records(topic, {0: 6})
    with pytest.raises(SourceChangedError, match=r"position 4 .*expired.* from 6 on, so 2 offsets"):
        open_source(broker, topic, at={0: 4})
    for at in ({0: 6}, None):
        reader = Reader(open_source(broker, topic, at=at, bounded=True)).until_ended()
        assert [offset for offset, _ in reader.rows()[0]] == [6, 7, 8, 9]
        reader.source.close()
    with caplog.at_level(logging.WARNING, "fin_sql.kafka"):
        source = open_source(broker, topic, at={0: 4}, bounded=True, on_expired="earliest")
    assert "offsets 4 to 5 of partition 0" in caplog.text
    assert Reader(source).until_ended().rows() == {0: [(i, f"m{i}") for i in range(6, 10)]}
    source.close()


@pytest.mark.kafka
@pytest.mark.parametrize("rule", ["error", "earliest"])
def test_offsets_that_expire_before_they_are_read(topic, rule):
    with Gate() as gate, start("apache", advertised=gate.port) as broker:
        gate.open(broker.port)
        broker.create_topic(topic)
        send(broker, topic, ["a", "b"])
        reader = Reader(open_source(broker, topic, on_expired=rule)).until_messages(2)
        gate.shut()
        assert reader.poll() == []
        beside = broker.beside
        send(beside, topic, [f"m{i}" for i in range(2, 22)])
        beside.delete_records(topic, {0: 12})
        gate.let_in()
        if rule == "error":
            with pytest.raises(SourceChangedError, match="position 2 .*expired"):
                reader.until(no_end)
        else:
            reader.until_messages(12)
            assert reader.rows()[0] == [(0, "a"), (1, "b"), *((i, f"m{i}") for i in range(12, 22))]
        reader.source.close()


@pytest.mark.kafka
class TestTransactions:
    """Control records take offsets, and rows of open or aborted transactions are not there."""

    @staticmethod
    def transactions(broker, topic, outcomes):
        sender = producer(broker, **{"transactional.id": f"sender-{topic}"})
        sender.init_transactions(20)
        for i, outcome in enumerate(outcomes):
            sender.begin_transaction()
            for k in range(3):
                sender.produce(topic, f"{outcome}{i}{k}", partition=0)
            sender.flush(10)
            if outcome == "commit":
                sender.commit_transaction(10)
            elif outcome == "abort":
                sender.abort_transaction(10)
        return sender

    def test_only_what_was_committed_is_read(self, apache, topic):
        apache.create_topic(topic)
        self.transactions(apache, topic, ["commit", "abort", "commit"])
        expected = [(0, "commit00"), (1, "commit01"), (2, "commit02"),
                    (8, "commit20"), (9, "commit21"), (10, "commit22")]  # fmt: skip
        for most in (1, 2, 100):
            reader = Reader(open_source(apache, topic, bounded=True)).until_ended(most=most)
            assert reader.rows() == {0: expected}
            assert reader.source.positions() == {0: 12}  # behind the last commit's own record
            reader.source.close()
        live = Reader(open_source(apache, topic)).until_messages(6)
        live.until(lambda me: me.source.positions() == {0: 12})
        assert live.source.lag() == {0: 0}
        assert [p.next_offset for p in live.polled][-1] == 12
        positions = live.source.positions()
        live.source.close()
        self.transactions(apache, topic, ["abort", "commit"])
        again = Reader(open_source(apache, topic, at=positions, bounded=True)).until_ended()
        assert again.rows() == {0: [(16 + k, f"commit1{k}") for k in range(3)]}
        again.source.close()

    def test_aborted_rows_at_the_end_do_not_hold_a_bounded_read(self, apache, topic):
        apache.create_topic(topic)
        self.transactions(apache, topic, ["commit", "abort"])
        reader = Reader(open_source(apache, topic, bounded=True)).until_ended()
        assert reader.messages == 3
        assert reader.source.positions() == {0: 8}
        reader.source.close()
        everything = open_source(apache, topic, bounded=True, isolation="read_uncommitted")
        assert Reader(everything).until_ended().messages == 6
        everything.close()

    def test_an_open_transaction_is_not_read_before_its_end(self, apache, topic):
        apache.create_topic(topic)
        sender = self.transactions(apache, topic, ["commit", "open"])
        reader = Reader(open_source(apache, topic, bounded=True)).until_ended()
        assert reader.messages == 3
        positions = reader.source.positions()
        assert positions == {0: 4}
        reader.source.close()
        live = Reader(open_source(apache, topic, at=positions))
        for _ in range(10):
            assert not any(p.messages for p in live.poll())
        sender.commit_transaction(10)
        live.until_messages(3)
        assert [value for _, value in live.rows()[0]] == ["open10", "open11", "open12"]
        live.source.close()


@pytest.mark.kafka
def test_offsets_that_compaction_has_taken_are_holes(apache, topic):
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "delete.retention.ms": "100",
                "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100"}  # fmt: skip
    apache.create_topic(topic, 1, settings)
    for i in range(6):
        send(apache, topic, [f"m{i}"], key="same")
    deadline, found = time.monotonic() + 60, 6
    while found == 6:
        assert time.monotonic() < deadline, "nothing was compacted"
        send(apache, topic, ["last"], key="other")  # a segment that is written to is not compacted
        reader = Reader(open_source(apache, topic, bounded=True)).until_ended()
        rows = reader.rows()[0]
        end = ck.Consumer(apache.config() | {"group.id": "x"})
        high = end.get_watermark_offsets(ck.TopicPartition(topic, 0), timeout=5)[1]
        end.close()
        assert reader.source.positions() == {0: high}
        assert rows[-1] == (high - 1, "last")
        found = sum(value.startswith("m") for _, value in rows)
        reader.source.close()
        time.sleep(0.3)
    assert ("m5" in [value for _, value in rows]) and found < 6
    offsets = [offset for offset, _ in rows]
    assert offsets == sorted(set(offsets))
