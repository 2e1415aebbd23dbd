"""What becomes of a message: rows, METADATA columns, dead letters, tombstones."""

import json

import numpy as np
import pyarrow as pa
import pytest
from kafka_kit import Bad, Decoded, Reader, Words, bare, open_source, producer, send

from fin_sql.catalog.kafka_columns import MetadataColumn
from fin_sql.errors import ArgumentTypeError, SqlError, UnknownNameError
from fin_sql.stream.source import DEAD_LETTERS

EPOCH_MS = 1_767_623_400_000


class Json:
    """JSON by the standard library: a price, and a row for each symbol."""

    schema = pa.schema(
        [
            pa.field("symbol", pa.dictionary(pa.int32(), pa.string())),
            pa.field("price", pa.float64()),
        ]
    )

    def decode(self, messages):
        symbols, prices, source, bad = [], [], [], {}
        for i, message in enumerate(messages):
            try:
                found = json.loads(message)
                rows = [(symbol, float(found["p"])) for symbol in found["s"]]
            except (ValueError, KeyError) as error:
                bad[i] = f"{type(error).__name__}"
                continue
            symbols += [symbol for symbol, _ in rows]
            prices += [price for _, price in rows]
            source += [i] * len(rows)
        arrays = [
            pa.array(symbols, pa.string()).dictionary_encode(),
            pa.array(prices, pa.float64()),
        ]
        return Decoded(
            pa.RecordBatch.from_arrays(arrays, schema=self.schema),
            pa.array(source, pa.int32()),
            Bad(pa.array([*bad], pa.int32()), pa.array([*bad.values()], pa.string())),
            0,
        )


def test_rows_dead_letters_and_passed_messages_are_all_messages(broker, topic):
    broker.create_topic(topic, 2)
    rng = np.random.default_rng(9)
    kinds = ["one", "two words", "", "bad thing", "pass on", "bad" + "x" * 40_000]
    sent = {p: [kinds[i] for i in rng.integers(len(kinds), size=300)] for p in (0, 1)}
    for p, values in sent.items():
        send(broker, topic, values, partition=p)
    for most in (1_000, 13):
        reader = Reader(open_source(broker, topic, bounded=True)).until_ended(most=most)
        rows = {p: [(i, word) for i, value in enumerate(values)
                    if not value.startswith(("bad", "pass")) for word in value.split()]
                for p, values in sent.items()}  # fmt: skip
        assert reader.rows() == rows
        letters = reader.letters()
        assert sorted((one["partition"], one["offset"]) for one in letters) == [
            (p, i) for p in (0, 1) for i, value in enumerate(sent[p]) if value.startswith("bad")
        ]
        for one in letters:
            value = sent[one["partition"]][one["offset"]].encode()
            assert one == {"source": topic, "partition": one["partition"], "offset": one["offset"],
                           "reason": "it begins with 'bad'", "event_time": None,
                           "payload": value[: 16 * 1024]}  # fmt: skip
        assert reader.passed == sum(v.startswith("pass") for vs in sent.values() for v in vs)
        assert reader.messages == 600
        assert all(p.bad is None or p.bad.schema.equals(DEAD_LETTERS) for p in reader.polled)
        reader.source.close()


METADATA = (
    MetadataColumn("part", "partition", pa.int64()),
    MetadataColumn("off", "offset", pa.int64()),
    MetadataColumn("at", "timestamp", pa.timestamp("ns")),
    MetadataColumn("key", "key", pa.string()),
    MetadataColumn("raw", "key", pa.binary()),
    MetadataColumn("topic", "topic", pa.string()),
    MetadataColumn("venue", "header.venue", pa.string()),
    MetadataColumn("trace", "header.trace", pa.binary()),
)


def test_metadata_columns_stand_behind_the_rows_of_their_message(broker, topic):
    broker.create_topic(topic, 2)
    sender = producer(broker)
    sent = []
    for i in range(40):
        symbols = ["A", "B", "C"][: i % 4]
        key = None if i % 5 == 0 else f"k{i}".encode()
        headers = [("venue", "old"), ("venue", f"v{i}"), ("trace", bytes([i, 255]))][: i % 4]
        sent.append((i % 2, i // 2, symbols, float(i), key, headers, EPOCH_MS + i))
        value = json.dumps({"s": symbols, "p": i})
        sender.produce(
            topic, value, key=key, partition=i % 2, headers=headers, timestamp=EPOCH_MS + i
        )
    assert sender.flush(20) == 0
    source = open_source(broker, topic, Json(), metadata=METADATA, bounded=True)
    reader = Reader(source).until_ended(most=7)
    assert source.schema.names == ["symbol", "price", *(m.name for m in METADATA)]
    expected = []
    for part, off, symbols, price, key, headers, ms in sent:
        last = dict(headers)
        for symbol in symbols:
            expected.append({
                "symbol": symbol, "price": price, "part": part, "off": off, "at": ms * 1_000_000,
                "key": key and key.decode(), "raw": key, "topic": topic,
                "venue": last.get("venue"), "trace": last.get("trace"),
            })  # fmt: skip
    table = reader.table()
    at = table.schema.get_field_index("at")
    found = table.set_column(at, "at", table["at"].cast(pa.int64())).to_pylist()
    assert sorted(found, key=lambda r: (r["part"], r["off"], r["symbol"])) == sorted(
        expected, key=lambda r: (r["part"], r["off"], r["symbol"])
    )
    assert [row["off"] for row in found if row["part"] == 0] == [o for o, _ in reader.rows()[0]]
    source.close()


def test_a_key_or_header_that_is_no_text_costs_its_message_alone(broker, topic):
    broker.create_topic(topic)
    sender = producer(broker)
    for i, (key, header) in enumerate(
        [(b"a", b"x"), (b"\xff\xfe", b"x"), (b"c", b"\xff"), (None, None)]
    ):
        sender.produce(topic, f"m{i} n{i}", key=key, partition=0, headers=[("h", header)])
    sender.flush(20)
    columns = [
        MetadataColumn("k", "key", pa.string()),
        MetadataColumn("h", "header.h", pa.string()),
    ]
    source = open_source(broker, topic, metadata=columns, bounded=True)
    reader = Reader(source).until_ended()
    assert reader.table().to_pylist() == [
        {"word": "m0", "k": "a", "h": "x"}, {"word": "n0", "k": "a", "h": "x"},
        {"word": "m3", "k": None, "h": None}, {"word": "n3", "k": None, "h": None},
    ]  # fmt: skip
    assert [(one["offset"], one["reason"]) for one in reader.letters()] == [
        (1, "column 'k': key must be UTF-8; declare the column as VARBINARY"),
        (2, "column 'h': header.h must be UTF-8; declare the column as VARBINARY"),
    ]
    source.close()


def test_times_out_of_range_are_bad_messages(broker, topic):
    broker.create_topic(topic, 1, {"message.timestamp.after.max.ms": str(2**63 - 1)})
    send(broker, topic, ["a"], timestamp=EPOCH_MS)
    send(broker, topic, ["b"], timestamp=20_000_000_000_000)  # the year 2603
    times = [MetadataColumn("at", "timestamp", pa.timestamp("ns"))]
    reader = Reader(open_source(broker, topic, metadata=times, bounded=True)).until_ended()
    assert reader.rows() == {0: [(0, "a")]}
    assert [one["offset"] for one in reader.letters()] == [1]
    assert "1677 to 2262, was 20000000000000 ms" in reader.letters()[0]["reason"]
    reader.source.close()
    times = [MetadataColumn("at", "timestamp", pa.timestamp("ms"))]
    reader = Reader(open_source(broker, topic, metadata=times, bounded=True)).until_ended()
    assert reader.table()["at"].cast(pa.int64()).to_pylist() == [EPOCH_MS, 20_000_000_000_000]
    reader.source.close()


@pytest.mark.parametrize("most", [100, 2])
def test_tombstones_are_what_the_option_says(broker, topic, most):
    broker.create_topic(topic)
    values = [None, "a b", None, None, "bad", "pass", "c", None]
    send(broker, topic, values, key="k")
    assert [v for _, v in bare(broker, topic, 1)[0]] == [v and v.encode() for v in values]
    keys = [MetadataColumn("k", "key", pa.string())]
    options = {"metadata": keys, "bounded": True}

    def read(rule, decoder=None):
        given = {"tombstones": rule} if rule else {}
        reader = Reader(open_source(broker, topic, decoder, **given, **options)).until_ended(
            most=most
        )
        reader.source.close()
        assert reader.messages == 8
        assert set(reader.table()["k"].to_pylist()) == {"k"}
        return reader.rows()[0], [one["offset"] for one in reader.letters()], reader.passed

    words = [(1, "a"), (1, "b"), (6, "c")]
    assert read(None) == read("bad") == (words, [0, 2, 3, 4, 7], 1)
    assert read("skip") == (words, [4], 5)
    nulls = [(0, None), (1, "a"), (1, "b"), (2, None), (3, None), (6, "c"), (7, None)]
    assert read("null") == (nulls, [4], 1)

    class Required(Words):
        schema = pa.schema([pa.field("word", pa.string(), nullable=False)])

    assert read("null", Required()) == (words, [0, 2, 3, 4, 7], 1)


def test_what_a_metadata_column_must_be():
    with pytest.raises(UnknownNameError, match="did you mean 'offset'"):
        MetadataColumn("x", "ofset", pa.int64())
    with pytest.raises(UnknownNameError):
        MetadataColumn("x", "header.", pa.string())
    with pytest.raises(ArgumentTypeError, match="'offset' must be BIGINT, was string"):
        MetadataColumn("x", "offset", pa.string())
    with pytest.raises(
        ArgumentTypeError, match="'header.h' must be VARCHAR or VARBINARY, was int64"
    ):
        MetadataColumn("x", "header.h", pa.int64())


def test_a_column_may_stand_once():
    class Nowhere:
        bootstrap_servers = "127.0.0.1:1"

    twice = [MetadataColumn("word", "key", pa.string())]
    with pytest.raises(SqlError, match="column 'word' stands twice"):
        open_source(Nowhere, "t", metadata=twice)
