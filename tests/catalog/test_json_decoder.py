"""The decoder of JSON: paths, rows of arrays, conditions, bad messages, hostile input."""

import json
import random
import sys
import threading
import time

import pyarrow as pa
import pytest
from json_documents import FEEDS, Writer
from test_json_rows import TYPES, column, drawn_fields, values_of, x

from fin_sql.catalog.json_rows import JsonDecoder
from fin_sql.catalog.paths import parse_path
from fin_sql.catalog.rows import Condition, Field
from fin_sql.errors import ArgumentTypeError, SqlError

BIG, TEXT = pa.int64(), pa.string()


def rows(messages, fields, unnest=(), where=(), encoded=()):
    """Rows as tuples, and {message: reason} of the bad ones."""
    got = JsonDecoder(fields, unnest, where, encoded).decode(messages)
    got.rows.validate(full=True)
    bad = dict(zip(got.bad.messages.to_pylist(), got.bad.reasons.to_pylist(), strict=True))
    return list(zip(*(values_of(c) for c in got.rows.columns), strict=True)), bad


def fields(*paths, kind=BIG):
    return [Field(f"c{k}", kind, path) for k, path in enumerate(paths)]


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("text", "steps", "written"),
    [
        ("$", (), "$"),
        ("$.a.b_1.c-d.é", ("a", "b_1", "c-d", "é"), "$.a.b_1.c-d.é"),
        ("@[0][-2].x", (0, -2, "x"), "@[0][-2].x"),
        ("$['a \"b\"']", ('a "b"',), "$['a \"b\"']"),
        ("$[\"a 'b'\"]", ("a 'b'",), r"$['a \'b\'']"),
        (r"$['it\'s']", ("it's",), r"$['it\'s']"),
        (r"$['\u00e9\n\\\ud83d\ude00']", ("é\n\\😀",), r"$['é\n\\😀']"),
        ("$[ 1 ][ 'a' ]", (1, "a"), "$[1].a"),
        ("$['']", ("",), "$['']"),
        ("$['a.b']['[0]']", ("a.b", "[0]"), "$['a.b']['[0]']"),
    ],
)
def test_paths(text, steps, written):
    path = parse_path(text, "it")
    assert (path.steps, str(path)) == (steps, written)
    assert parse_path(written, "it") == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "column 'c': a path must begin with '$' or '@', was 'a.b'; write '$.name'"),
        ("", "must begin with"),
        ("$.a[*]", "many places at '[*]', and a column has one value; write UNNEST"),
        ("$..a", "many places at '..a'"),
        ("$.*", "many places"),
        ("$[0:2]", "many places"),
        ("$[0,1]", "many places"),
        ("$[?(@.a)]", "many places"),
        ("$.a b", "cannot be read at ' b'; write .name, ['any name'], [0] or [-1]"),
        ("$[01]", "cannot be read"),
        ("$[-0x1]", "cannot be read"),
        ("$['a]", "cannot be read"),
        ("$.", "cannot be read"),
        (r"$['\q']", r"no such escape: \q"),
        (r"$['\ud800']", "half of a surrogate pair"),
        ("$" + ".a" * 65, "at most 64 steps, had 65"),
        ("$[-1025]", "up to 1024 from the end"),
    ],
)
def test_what_is_no_path_is_refused(text, message):
    with pytest.raises(SqlError) as refused:
        Field("c", BIG, text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Field("c", pa.list_(BIG), "$.a"), ArgumentTypeError, "declare it as VARCHAR"),
        (lambda: Field("c", pa.decimal256(50, 2), "$.a"), ArgumentTypeError, "up to 38 digits"),
        (lambda: Field("c", pa.decimal128(5, -2), "$.a"), ArgumentTypeError, "DECIMAL(p, s)"),
        (lambda: Field("c", TYPES["time"], "$.a", "epoch"), SqlError, "epoch_ns, iso, was 'epoch'"),
        (lambda: Field("c", BIG, "$.a", "iso"), SqlError, "the column is BIGINT"),
        (lambda: Condition("$.a", "<", (1,)), SqlError, "is not null, was '<'"),
        (lambda: Condition("$.a", "=", ()), SqlError, "'=' takes one value, had 0"),
        (lambda: Condition("$.a", "in"), SqlError, "'in' takes at least one value"),
        (lambda: Condition("$.a", "is null", (1,)), SqlError, "takes none, had 1"),
        (lambda: Condition("$.a", "in", "ab"), SqlError, "must be a tuple, was the text 'ab'"),
        (lambda: Condition("@.a", "=", (1,)), SqlError, "must begin with '$'"),
        (lambda: Condition("$.a", "=", (None,)), SqlError, "write 'is null'"),
        (lambda: Condition("$.a", "=", (float("nan"),)), SqlError, "a finite number"),
        (lambda: JsonDecoder([]), SqlError, "at least one column"),
        (lambda: JsonDecoder(fields("$.a") * 2), SqlError, "'c0' stands twice"),
        (lambda: JsonDecoder(fields("@.a")), SqlError, "there is none; write UNNEST"),
        (
            lambda: JsonDecoder(fields("$.a"), [f"$[{k}]" for k in range(65)]),
            SqlError,
            "there may be 64 paths, were 65",
        ),
        (lambda: JsonDecoder(fields("$.a"), ["@.b"]), SqlError, "must begin with '$', was '@.b'"),
        (lambda: JsonDecoder(fields("$.a"), ["$.b", "$['b']"]), SqlError, "stands twice"),
        (lambda: JsonDecoder(fields("$.a"), encoded=["c0"]), SqlError, "made of VARCHAR"),
        (
            lambda: JsonDecoder(fields("$.a")).decode([b"{}", "{}"]),
            ArgumentTypeError,
            "message 1 was str",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make, error, message):
    with pytest.raises(error) as refused:
        make()
    assert message in str(refused.value)


# ---------------------------------------------------------------- places


def test_of_equal_names_the_last_one_counts_with_all_below_it():
    paths = ["$.a.x", "$.a.y", "$.a", "$.b"]
    message = b'{"b":1,"a":{"x":1},"b":2,"\\u0061":{"y":2}}'
    assert rows([message], fields(*paths, kind=TEXT))[0] == [(None, "2", '{"y":2}', "2")]
    assert rows([b'{"a":{"x":1},"a":5}'], fields(*paths, kind=TEXT))[0] == [(None, None, "5", None)]
    assert rows([b'{"a":[1,2],"a":[3]}'], fields("$.a[0]", "$.a[1]", "$.a[-2]"))[0] == [
        (3, None, None)
    ]
    message = b'{"d":[1,2],"d":[3]}'
    assert rows([message], fields("@"), ["$.d"])[0] == [(3,)]
    assert rows([b'{"d":[1,2],"d":null}'], fields("@"), ["$.d"])[0] == []
    message = b'{"e":{"d":[1,2]},"e":{}}'
    assert rows([message], fields("@"), ["$.e.d"])[0] == []


def test_names_are_found_among_hundreds():
    names = [f"{k}" * (k % 9) + f"name{k}" for k in range(300)]
    random.Random(1).shuffle(names)
    message = json.dumps({name: {"v": k} for k, name in enumerate(names)}).encode()
    twice = message[:-1] + b"," + json.dumps({n: {} for n in names[::3]}).encode()[1:]
    found = rows([message, twice], fields(*(f"$['{name}'].v" for name in names)))[0]
    assert found[0] == tuple(range(300))
    assert found[1] == tuple(None if k % 3 == 0 else k for k in range(300))


def test_elements_count_from_both_ends():
    message = [b'[0,[10,11],2,{"a":[30]}]', b"[0]", b"[]", b"{}", b"5", b"[null,1]"]
    paths = ["$[0]", "$[1][-1]", "$[-1].a[0]", "$[-2]", "$[-4]", "$[3].a[-1]"]
    assert rows(message, fields(*paths))[0] == [
        (0, 11, 30, 2, 0, 30), (0, None, None, None, None, None), *[(None,) * 6] * 3,
        (None, None, None, None, None, None),
    ]  # fmt: skip


def test_paths_may_go_deep():
    path = "$" + ".a" * 32 + "[-1]" * 32
    message = b'{"a":' * 32 + b"[0,[0]," * 31 + b"[7]" + b"]" * 31 + b"}" * 32
    assert rows([message], fields(path))[0] == [(7,)]


@pytest.mark.parametrize("wanted", ["$.x", "$", "$.a.a.a", "$[0][0][-1]"])
def test_128_brackets_may_stand_in_each_other(wanted):
    messages = [b"[" * n + b"]" * n for n in (128, 129, 100_000)]
    messages += [b'{"a":' * n + b"1" + b"}" * n for n in (128, 129, 100_000)]
    messages += [b"[" * 128, b"[" * 5_000_000]
    got = JsonDecoder(fields(wanted, kind=TEXT)).decode(messages)
    assert got.source.to_pylist() == [0, 3]
    codes = got.bad.codes.to_pylist()
    assert codes == ["depth", "depth", "depth", "depth", "syntax", "depth"]
    assert "at byte 128: at most 128 objects and arrays" in got.bad.reasons[0].as_py()


# ---------------------------------------------------------------- UNNEST


def test_rows_stand_in_the_order_of_paths_and_elements():
    message = b'{"s":"A","bids":[[1,2],[3,4]],"asks":[[5,6]],"t":9}'
    got = JsonDecoder(
        [*fields("@[0]", "@[-1]", "$.t"), Field("s", TEXT, "$.s")], ["$.asks", "$.bids"], (), ["s"]
    ).decode([message, b"{}", b'{"asks":[],"bids":null}', message])
    one = [(5, 6, 9, "A"), (1, 2, 9, "A"), (3, 4, 9, "A")]
    assert list(zip(*(values_of(c) for c in got.rows.columns), strict=True)) == one * 2
    assert got.source.to_pylist() == [0, 0, 0, 3, 3, 3]
    assert got.unnest.to_pylist() == [0, 1, 1] * 2
    assert (got.empty, got.passed, len(got.bad.messages)) == (2, 0, 0)


def test_a_path_of_unnest_must_be_an_array():
    found, bad = rows([b'{"d":{"a":1}}', b'{"d":"x"}', b'{"d":[5]}'], fields("@"), ["$.d"])
    assert found == [(5,)]
    assert bad == {
        0: "UNNEST '$.d' at byte 5: an array was required, was '{\"a\":1}'",
        1: "UNNEST '$.d' at byte 6: an array was required, was 'x'",
    }


def test_unnest_may_be_the_message_and_lie_in_another():
    assert rows([b"[1,2]"], fields("@", "$[0]", "$[-1]"), ["$"])[0] == [(1, 1, 2), (2, 1, 2)]
    found = rows([b'[[1,2],{"a":[3]}]'], [Field("v", TEXT, "@")], ["$", "$[0]", "$[-1].a"])[0]
    assert found == [("[1,2]",), ('{"a":[3]}',), ("1",), ("2",), ("3",)]


def test_64_paths_may_be_unnested():
    message = json.dumps([[k, k + 100] for k in range(70)]).encode()
    twice = b'{"a":[[1]],"a":%s}' % message
    for head, one in (("$", message), ("$.a", twice)):
        got = JsonDecoder(fields("@"), [f"{head}[{k}]" for k in range(63, -1, -1)]).decode([one])
        assert got.rows["c0"].to_pylist() == [v for k in range(63, -1, -1) for v in (k, k + 100)]
        assert got.unnest.to_pylist() == [u for u in range(64) for _ in range(2)]


def test_rows_need_no_column_of_the_element():
    got = JsonDecoder(fields("$.t"), ["$.d"]).decode([b'{"t":1,"d":[[],{},"x"]}', b'{"t":2}'])
    assert (got.rows["c0"].to_pylist(), got.empty) == ([1, 1, 1], 1)


def test_one_bad_element_costs_its_message_alone():
    kinds = [TEXT, TEXT, BIG]
    columns = [Field(f"c{k}", kind, "@") for k, kind in enumerate(kinds)]
    messages = [b'{"d":["1","2"]}', b'{"d":["3","x","4"]}', b'{"d":["5"]}']
    found, bad = rows(messages, columns, ["$.d"], (), ["c1"])
    assert found == [("1", "1", 1), ("2", "2", 2), ("5", "5", 5)]
    assert bad == {1: "column 'c2' (BIGINT) at byte 11: a number was required, was 'x'"}


def test_a_text_may_not_grow_without_end_in_the_rows_of_a_message():
    text = b"x" * 2_000_000
    messages = [b'{"t":"%s","d":[%s]}' % (text, b",".join([b"1"] * n)) for n in (30, 40, 1)]
    got = JsonDecoder([Field("t", TEXT, "$.t")], ["$.d"]).decode(messages)
    assert got.source.to_pylist() == [0] * 30 + [2]
    assert got.bad.codes.to_pylist() == ["size"]
    assert "over 64 MB" in got.bad.reasons[0].as_py()
    encoded = JsonDecoder([Field("t", TEXT, "$.t")], ["$.d"], encoded=["t"]).decode(messages)
    assert encoded.source.to_pylist() == [0] * 30 + [1] * 40 + [2]


# ---------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("op", "values", "kept"),
    [
        ("=", ("a",), [0, 1]),
        ("=", ("5",), [2, 3, 4, 6]),
        ("=", (5,), [2, 3, 4, 5, 6]),
        ("<>", ("a",), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("in", ("a", "b", True, "0.5e1"), [0, 1, 2, 3, 4, 7, 8]),
        ("in", (0, "x"), [11]),
        ("IS  NULL", (), [12, 13, 14]),
        ("is not null", (), list(range(12))),
        ("=", ("[1]",), []),
    ],
)
def test_conditions(op, values, kept):
    messages = x(
        '"a"', '"\\u0061"', 5, "5.0", "50e-1", '"5.0"', '"5"', "true", '"true"', "[1]", "{}", "-0.0"
    )
    messages += [b'{"x":null}', b"{}", b"[]"]
    got = JsonDecoder(fields("$.y"), where=[Condition("$.x", op, values)]).decode(messages)
    assert got.source.to_pylist() == kept
    assert got.passed == len(messages) - len(kept)


def test_a_message_that_fails_a_condition_is_passed_over_whatever_it_holds():
    where = [Condition("$.type", "=", ("match",)), Condition("$.x", "<>", ("no",))]
    messages = [b'{"type":"match","x":1}', b'{"x":"bad","type":"ticker"}',
                b'{"type":"match","x":"bad"}',
                b'{"type":"match","x":"no"}', b'{"type":"ticker",']  # fmt: skip
    got = JsonDecoder([Field("x", BIG, "$.x", not_null=True)], where=where).decode(messages)
    assert (got.source.to_pylist(), got.passed) == ([0], 2)
    assert got.bad.messages.to_pylist() == [2, 4]
    assert got.bad.codes.to_pylist() == ["value", "syntax"]


# ---------------------------------------------------------------- bad messages


END = "the message ends"
NO_MARK = "UTF-8 without a byte order mark was required"
SINGLE = "a single value was required; VARCHAR takes objects and arrays"
NOT_NULL = "a value was required, for it is NOT NULL"


@pytest.mark.parametrize(
    ("message", "code", "who", "wanted", "was"),
    [
        (b" ", "syntax", "at byte 1", "a value was required", END),
        (b'{"x"', "syntax", "at byte 4", "':' was required", END),
        (b'{"x":1,}', "syntax", "at byte 7", "a name in double quotes was required", "was '}'"),
        (b"[1 2]", "syntax", "at byte 3", "',' or ']' was required", "was '2'"),
        (b'{"y":1 2}', "syntax", "at byte 7", "',' or '}' was required", "was '2'"),
        (b"{} {}", "syntax", "at byte 3", "the end of the message was required", "was '{'"),
        (b"{}\x00", "syntax", "at byte 2", "the end of the message was required", r"was '\x00'"),
        (b'{"y":01}', "syntax", "at byte 6", "',' or '}' was required", "was '1'"),
        (b'{"y":-}', "syntax", "at byte 6", "a digit was required", "was '}'"),
        (b'{"y":NaN}', "syntax", "at byte 5", "a value was required", "was 'N'"),
        (b'{"y":tru}', "syntax", "at byte 5", "a value was required", "was 't'"),
        (b'{"y":"a\n"}', "syntax", "at byte 7",
         "an escape was required in place of a control character", r"was '\n'"),
        (b'{"y":"\\x"}', "syntax", "at byte 6", "an escape of JSON was required", r"was '\\'"),
        (b'{"y":"abc', "syntax", "at byte 9", "a closing quote was required", END),
        (b'{"y":"\xff"}', "encoding", "at byte 6", "UTF-8 was required", "was '\ufffd'"),
        (b'\xef\xbb\xbf{"x":1}', "encoding", "at byte 0", NO_MARK, r"was '\ufeff'"),
        (b"{}", "null", "column 'x' (BIGINT)", NOT_NULL, "and the message has none at $.x"),
        (b'{"x":null}', "null", "column 'x' (BIGINT) at byte 5", NOT_NULL, "was 'null'"),
        (b'{"x":[1]}', "value", "column 'x' (BIGINT) at byte 5", SINGLE, "was '[1]'"),
        (b'{"x":true}', "value", "column 'x' (BIGINT) at byte 5", "a number was required",
         "was 'true'"),
        (b'{"x":"' + b"9" * 50 + b'"}', "value", "column 'x' (BIGINT) at byte 6",
         "a number in the range of the type was required", "was '" + "9" * 40 + "' ..."),
    ],
)  # fmt: skip
def test_reasons(message, code, who, wanted, was):
    good = b'{"x":1}'
    got = JsonDecoder([Field("x", BIG, "$.x", not_null=True)]).decode([good, message, good])
    assert got.rows["x"].to_pylist() == [1, 1]
    assert got.source.to_pylist() == [0, 2]
    assert got.bad.messages.to_pylist() == [1]
    assert got.bad.codes.to_pylist() == [code]
    assert got.bad.reasons.to_pylist() == [f"{who}: {wanted}, {was}"]


def test_a_message_without_bytes_is_told_from_one_that_is_none():
    got = JsonDecoder(fields("$.x")).decode([None, b""])
    assert got.bad.codes.to_pylist() == ["tombstone", "empty"]
    assert got.bad.reasons[0].as_py() == "the message is a tombstone: it has a key and no value"


def test_a_half_of_a_surrogate_pair_is_no_text_but_costs_nothing_where_nobody_looks():
    halves = [
        "a\\ud83d",
        "\\ude00\\ud83d",
        "\\ud83dx",
        "\\ude00\\ude00",
        "\\ud83d\\ud83d",
        "\\ud83d\\n",
    ]
    *found, whole = column(x(*(f'"{half}"' for half in [*halves, "\\ud83d\\ude00"])), TEXT)
    assert whole == "😀"
    for half, reason in zip(halves, found, strict=True):
        at = half.index("\\") + 6
        wanted = f"column 'x' (VARCHAR) at byte {at}: a whole surrogate pair was required, was "
        assert reason.startswith(wanted), half
    assert rows([b'{"y":"\\ud83d","\\ud83d":1,"x":2}'], fields("$.x"))[0] == [(2,)]


def test_every_message_is_counted_once():
    writer = Writer(random.Random(3))
    messages = [writer.message() for _ in range(3_000)]
    where = [Condition("$.b", "is null")]
    got = JsonDecoder(fields("@", kind=TEXT), ["$.data", "$.a"], where).decode(messages)
    told = set(got.source.to_pylist()), got.bad.messages.to_pylist()
    assert len(told[0]) + len(told[1]) + got.passed + got.empty == len(messages)
    assert not told[0] & set(told[1])
    assert min(len(told[0]), len(told[1]), got.passed, got.empty) > 100


@pytest.mark.parametrize("seed", range(5))
def test_batches_do_not_matter(seed):
    writer = Writer(random.Random(seed))
    messages = [writer.message() for _ in range(400)]
    columns = drawn_fields(writer, 8, "@")
    texts = [field.name for field in columns if field.type == TEXT][:2]
    decoder = JsonDecoder(columns, ["$.data", "$"], encoded=texts)
    whole = decoder.decode(messages)
    at, parts = 0, []
    while at < len(messages):
        n = writer.rng.randrange(1, 60)
        parts.append((at, decoder.decode(messages[at : at + n])))
        at += n
    for k in range(len(columns)):
        assert [repr(v) for _, p in parts for v in values_of(p.rows[k])] == list(
            map(repr, values_of(whole.rows[k]))
        )
    assert [at + i for at, p in parts for i in p.source.to_pylist()] == whole.source.to_pylist()
    assert [r for _, p in parts for r in p.bad.reasons.to_pylist()] == whole.bad.reasons.to_pylist()


def test_no_messages_give_no_rows_of_the_same_schema():
    columns = [Field(f"c{k}", kind, "$.x", "") for k, kind in enumerate(TYPES.values())]
    decoder = JsonDecoder(columns, encoded=["c13"])
    assert decoder.schema.field("c13").type == pa.dictionary(pa.int32(), TEXT)
    for messages in ([], [None, b"{"]):
        got = decoder.decode(messages)
        assert (got.rows.num_rows, got.rows.schema) == (0, decoder.schema)
        assert len(got.bad.messages) == len(messages)
    nulls = decoder.decode([b"{}", b'{"x":null}'])
    assert all(column.null_count == 2 for column in nulls.rows.columns)


# ---------------------------------------------------------------- hostile input


def filled(n, head, item, tail):
    return head + item * n + tail


@pytest.mark.parametrize(
    "message",
    [
        filled(1_000_000, b"{", b'"x":{"y":1},', b'"x":{"y":2}}'),
        filled(1_000_000, b"{", b'"x":1,', b'"x":[7]}'),
        filled(1_000_000, b"{", b'"\\u0078":[1],', b'"x":7}'),
        filled(10_000_000, b'{"x":"', b"a", b'"}'),
        filled(5_000_000, b'{"x":"', b'\\"', b'"}'),
        filled(2_000_000, b'{"x":"', b"\\u00e9", b'"}'),
        filled(10_000_000, b'{"x":"', b"\\", b""),
        filled(5_000_000, b'{"x":', b"7", b"}"),
        filled(5_000_000, b'{"x":0.', b"7", b"e-1}"),
        filled(5_000_000, b'{"x":"1e', b"7", b'"}'),
        filled(3_000_000, b'{"x":[', b"[],", b"1]}"),
        filled(10_000_000, b'{"x":', b"\t", b"5}"),
        filled(3_000_000, b'{"d":[', b"1,", b"1]}"),
        filled(60_000, b'{"d":[', b"[" * 100 + b"]" * 100 + b",", b"1]}"),
        filled(10_000_000, b"", b"\xc3\xa9", b""),
        filled(10_000_000, b"", b"[", b""),
        filled(3_000_000, b"", b'{"":', b""),
    ],
    ids=range(17),
)
def test_time_grows_with_the_message_alone(message):
    """What took the square of a megabyte would take hours."""
    decoder = JsonDecoder(
        [
            Field("x", TEXT, "$.x"),
            Field("y", pa.float64(), "$.x.y"),
            Field("last", pa.float64(), "$.x[-1]"),
            Field("n", pa.decimal128(38, 9), "$.n"),
            Field("d", TEXT, "@"),
        ],
        ["$.d"],
        [Condition("$.x", "<>", (5,))],
    )
    begin = time.perf_counter()
    decoder.decode([message])
    for kind in (pa.float64(), pa.float32(), BIG, pa.decimal128(38, 9), pa.timestamp("us"), TEXT):
        format = "epoch_s" if kind == pa.timestamp("us") else ""
        JsonDecoder([Field("x", kind, "$.x", format)]).decode([message])
    assert time.perf_counter() - begin < 20


def test_a_million_texts_make_a_dictionary():
    texts = [f"{k * 7919 % 1_000_003:x}" for k in range(1_000_000)]
    got = JsonDecoder([Field("x", TEXT, "$.x")], encoded=["x"]).decode(
        x(*(f'"{t}"' for t in texts + texts))
    )
    found = got.rows["x"]
    assert len(found.dictionary) == 1_000_000
    assert found.dictionary.to_pylist() == texts
    assert found.indices.equals(pa.array([*range(1_000_000)] * 2, pa.int32()))


# ---------------------------------------------------------------- threads and memory


def test_a_decoder_serves_several_threads():
    decoder = JsonDecoder(
        [Field("type", TEXT, "$.type"), Field("all", TEXT, "$"), Field("last", TEXT, "$[-1]")],
        encoded=["type"],
    )
    messages = [FEEDS[k % len(FEEDS)] for k in range(20_000)]
    alone, found = decoder.decode(messages).rows, []
    threads = [
        threading.Thread(target=lambda: found.append(decoder.decode(messages).rows))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(rows.equals(alone) for rows in found)


def test_others_run_while_messages_are_read():
    message = b"[" + b"1.5," * 20_000_000 + b"1]"
    decoder = JsonDecoder(fields("$[-1]"))
    done = threading.Event()
    thread = threading.Thread(target=lambda: (decoder.decode([message]), done.set()))
    turns = 0
    thread.start()
    while not done.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 10


def test_no_object_is_made_per_row():
    decoder = JsonDecoder(
        [Field("all", TEXT, "$"), Field("type", TEXT, "$.type")], encoded=["type"]
    )
    messages = [FEEDS[2]] * 50_000
    decoder.decode(messages)
    before = sys.getallocatedblocks()
    got = decoder.decode(messages)
    assert sys.getallocatedblocks() - before < 500
    assert got.rows.num_rows == 50_000
