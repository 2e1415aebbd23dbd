"""Rows written to a topic: every one arrives, by key, as JSON; a slow broker slows the writer."""

import json

import numpy as np
import pyarrow as pa
import pytest
from kafka_kit import bare, messages, start

from fin_sql.catalog.kafka_options import kafka_sink_options
from fin_sql.catalog.kafka_sink import KafkaSink
from fin_sql.errors import ArgumentTypeError, KernelError, SourceError, SqlError, UnknownNameError
from fin_sql.testing import Market


def open_sink(broker, topic, schema, **options):
    given = {"topic": topic, "bootstrap_servers": broker.bootstrap_servers} | options
    sink = KafkaSink("out", kafka_sink_options(given), schema)
    sink.open()
    return sink


def test_rows_come_back_with_the_same_bits(broker, topic):
    broker.create_topic(topic, 3)
    table = Market(seed=3).trades(5_000)
    sink = open_sink(broker, topic, table.schema, key="symbol")
    for rows in table.to_batches(max_chunksize=700):
        sink.write(rows)
    sink.flush()
    assert sink.messages == 5_000
    sink.close()
    found = messages(broker, topic, 3)
    rows = [json.loads(m.value()) for m in found]
    assert [m.key().decode() for m in found] == [row["symbol"] for row in rows]
    homes = {row["symbol"]: m.partition() for m, row in zip(found, rows, strict=True)}
    assert all(homes[row["symbol"]] == m.partition() for m, row in zip(found, rows, strict=True))
    columns = {name: pa.array([row[name] for row in rows]) for name in table.column_names}
    columns["ts"] = pa.array([t.removesuffix("Z") for t in columns["ts"].to_pylist()]).cast(
        pa.timestamp("ns")
    )
    back = pa.table(columns, schema=table.schema)
    for symbol in table["symbol"].unique().to_pylist():  # each in its order
        kept = [t.filter(pa.compute.equal(t["symbol"], symbol)) for t in (back, table)]
        assert kept[0].equals(kept[1])
    assert back.num_rows == table.num_rows


def murmur2(data):
    """The hash of Kafka's own clients, written down from its definition."""
    mask = 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    for i in range(0, len(data) - 3, 4):
        k = int.from_bytes(data[i : i + 4], "little") * 0x5BD1E995 & mask
        k = (k ^ k >> 24) * 0x5BD1E995 & mask
        h = (h * 0x5BD1E995 & mask) ^ k
    rest = data[len(data) // 4 * 4 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & mask
    h = (h ^ h >> 13) * 0x5BD1E995 & mask
    return h ^ h >> 15


def test_a_key_has_the_partition_that_kafkas_own_clients_give_it(broker, topic):
    broker.create_topic(topic, 7)
    keys = ["BTC-USD", "a", "", "ab", "abc", "abcd", "ключ", *(f"key-{i}" for i in range(50))]
    rows = pa.RecordBatch.from_pydict({"k": keys})
    sink = open_sink(broker, topic, rows.schema, key="k")
    sink.write(rows)
    sink.flush()
    sink.close()
    found = messages(broker, topic, 7)
    assert sorted(m.key().decode() for m in found) == sorted(keys)
    for message in found:
        assert message.partition() == (murmur2(message.key()) & 0x7FFFFFFF) % 7, message.key()


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (pa.array(["a", None, "é"]), [b"a", None, "é".encode()]),
        (pa.array(["a", None, "é"]).dictionary_encode(), [b"a", None, "é".encode()]),
        (pa.array([b"\xff", None, b""]), [b"\xff", None, b""]),
        (pa.array([1, None, -5]), [b"1", None, b"-5"]),
        (pa.array([0, None, 1], pa.timestamp("ms")),
         [b"1970-01-01T00:00:00.000Z", None, b"1970-01-01T00:00:00.001Z"]),
    ],
)  # fmt: skip
def test_a_key_is_the_text_of_its_column(broker, topic, column, keys):
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_arrays([column, pa.array([0, 1, 2])], ["k", "i"])
    sink = open_sink(broker, topic, rows.schema, key="k")
    sink.write(rows)
    sink.flush()
    sink.close()
    found = {json.loads(m.value())["i"]: m.key() for m in messages(broker, topic, 1)}
    assert [found[i] for i in range(3)] == keys


def test_several_columns_make_a_key_of_json(broker, topic):
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_pydict({"a": ["x", None], "n": [1, 2], "z": [0.5, 0.25]})
    sink = open_sink(broker, topic, rows.schema, key="n, a", times="epoch_ms")
    sink.write(rows)
    sink.flush()
    sink.close()
    assert {m.key() for m in messages(broker, topic, 1)} == {
        b'{"n":1,"a":"x"}',
        b'{"n":2,"a":null}',
    }


def test_a_column_gives_messages_their_time(broker, topic):
    broker.create_topic(topic)
    ns = [1_767_623_400_123_456_789, 1_767_623_400_999_999_999]
    for unit, step in (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9)):
        times = pa.array([v // step for v in ns], pa.timestamp(unit))
        rows = pa.RecordBatch.from_arrays([times], ["ts"])
        sink = open_sink(broker, topic, rows.schema, timestamp="ts", times=f"epoch_{unit}")
        sink.write(rows)
        sink.flush()
        sink.close()
        last = messages(broker, topic, 1)[-2:]
        assert [m.timestamp()[1] for m in last] == [v // step * step // 10**6 for v in ns]
        assert [m.value() for m in last] == [f'{{"ts":{v // step}}}'.encode() for v in ns]
    before = pa.RecordBatch.from_arrays([pa.array([0, None, -1], pa.timestamp("ms"))], ["ts"])
    sink = open_sink(broker, topic, before.schema, timestamp="ts")
    with pytest.raises(
        KernelError, match="1970 or later, was 1969-12-31.* in row 2 of column 'ts'"
    ):
        sink.write(before)
    sink.close()


def test_a_row_that_is_deleted_is_a_tombstone(broker, topic):
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_pydict({
        "k": ["a", "b", "a", "b"], "n": [1, 2, 3, 4],
        "__op": ["insert", "insert", "update", "delete"],
    })  # fmt: skip
    sink = open_sink(broker, topic, rows.schema, key="k")
    sink.write(rows)
    sink.flush()
    assert [(m.key(), m.value()) for m in messages(broker, topic, 1)] == [
        (b"a", b'{"k":"a","n":1}'), (b"b", b'{"k":"b","n":2}'),
        (b"a", b'{"k":"a","n":3}'), (b"b", None),
    ]  # fmt: skip
    for column, value, wanted in (("__op", "upsert", "must be one of insert.*'upsert' in row 1"),
                                  ("__op", None, "was None in row 1"),
                                  ("k", None, "must not be NULL, was in row 1")):  # fmt: skip
        wrong = rows.to_pydict()
        wrong[column][1] = value
        with pytest.raises(KernelError, match=wanted):
            sink.write(pa.RecordBatch.from_pydict(wrong, schema=rows.schema))
    sink.close()
    assert len(messages(broker, topic, 1)) == 4


def test_a_queue_that_is_full_makes_the_writer_wait(broker, topic):
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_pydict({"i": np.arange(3_000), "pad": ["x" * 500] * 3_000})
    sink = open_sink(broker, topic, rows.schema, queue_bytes="65536", linger_ms="0")
    for _ in range(3):
        sink.write(rows)
    sink.flush()
    sink.close()
    found = [json.loads(value)["i"] for _, value in bare(broker, topic, 1)[0]]
    assert found == [*range(3_000)] * 3


def test_a_broker_that_goes_away_while_rows_are_written(gated, topic):
    broker, gate = gated
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_pydict({"i": np.arange(2_000)})
    sink = open_sink(broker, topic, rows.schema)
    sink.write(rows)
    gate.shut()
    sink.write(rows)
    gate.let_in()
    sink.write(rows)
    sink.flush()
    sink.close()
    found = [json.loads(value)["i"] for _, value in bare(broker, topic, 1)[0]]
    if "add_partitions" in broker.lacks:  # it does not know what it has taken already
        assert set(found) == set(range(2_000)) and len(found) >= 6_000
    else:
        assert found == [*range(2_000)] * 3


def test_rows_that_never_arrive_are_told(gated, topic):
    broker, gate = gated
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_pydict({"i": [1, 2]})
    sink = open_sink(broker, topic, rows.schema, timeout_ms="500")
    gate.shut()
    sink.write(rows)
    with pytest.raises(SourceError, match=f"was not written to topic '{topic}'.*its last flush"):
        sink.flush()
    with pytest.raises(SourceError, match="was not written"):
        sink.write(rows)
    sink.close()
    sink.close()
    with pytest.raises(SourceError, match="must be open"):
        sink.flush()


def test_a_topic_that_does_not_exist_is_not_made(broker, topic):
    schema = pa.schema([("x", pa.int64())])
    broker.create_topic(f"{topic}-out")
    with pytest.raises(SourceError, match=f"Kafka sink 'out': topic .*did you mean '{topic}-out'"):
        open_sink(broker, f"{topic}-oot", schema)
    assert f"{topic}-oot" not in broker.admin().list_topics(timeout=5).topics


def test_a_message_that_is_too_large_is_told(broker, topic):
    broker.create_topic(topic)
    rows = pa.RecordBatch.from_pydict({"x": ["small", "x" * 2_000_000]})
    sink = open_sink(broker, topic, rows.schema)
    with pytest.raises(SourceError, match="row 1: .*(size|large)"):
        sink.write(rows)
    sink.close()


def sink_of(schema, **options):
    given = {"topic": "t", "bootstrap_servers": "a:1"} | options
    return KafkaSink("out", kafka_sink_options(given), pa.schema(schema))


def test_what_a_sink_refuses():
    with pytest.raises(UnknownNameError, match="unknown column 'simbol'; did you mean 'symbol'"):
        sink_of([("symbol", pa.string())], key="simbol")
    with pytest.raises(UnknownNameError, match="unknown column 'ts'"):
        sink_of([("symbol", pa.string())], timestamp="ts")
    with pytest.raises(ArgumentTypeError, match="timestamp = 'ts' must be a TIMESTAMP, was int64"):
        sink_of([("ts", pa.int64())], timestamp="ts")
    with pytest.raises(ArgumentTypeError, match="column 'd': duration"):
        sink_of([("d", pa.duration("s"))])
    with pytest.raises(SqlError, match="rows that are updated need a key"):
        sink_of([("x", pa.int64()), ("__op", pa.string())])
    with pytest.raises(SqlError, match="'delivery' must be at_least_once, was 'exactly_once'"):
        sink_of([("x", pa.int64())], delivery="exactly_once")


def test_a_batch_must_have_the_columns_of_the_sink(topic):
    with start("embedded") as broker:
        broker.create_topic(topic)
        sink = open_sink(broker, topic, pa.schema([("x", pa.int64())]))
        with pytest.raises(ArgumentTypeError, match="rows must have the columns x: int64"):
            sink.write(pa.RecordBatch.from_pydict({"y": [1]}))
        sink.close()
