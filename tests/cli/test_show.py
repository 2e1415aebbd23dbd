"""Results on a screen: their ends, long texts, odd characters and every type."""

import datetime
import io

import pyarrow as pa
import pytest
from rich.console import Console

from fin_sql.cli.places import marked
from fin_sql.cli.show import Ends, clipped, records, result, texts


def printed(shown, width=80):
    out = Console(width=width, record=True, file=io.StringIO())
    out.print(shown)
    return out.export_text()


@pytest.mark.parametrize("sizes", [[], [3], [5], [6], [1] * 12, [4, 0, 9], [100, 1], [2, 50, 2]])
@pytest.mark.parametrize("ends", [1, 2, 3])
def test_the_ends_of_a_stream_are_those_of_the_whole(sizes, ends):
    rows = list(range(sum(sizes)))
    schema = pa.schema([("x", pa.int64())])
    batches, at = [], 0
    for size in sizes:
        batches.append(pa.record_batch({"x": pa.array(rows[at : at + size], pa.int64())}))
        at += size
    found = Ends(schema, ends).extend(batches)
    assert found.rows == len(rows)
    wanted = rows if len(rows) <= 2 * ends else [*rows[:ends], "…", *rows[-ends:]]
    assert found.cells(0) == [str(value) for value in wanted]
    assert sum(b.num_rows for b in found._last) <= ends + max([0, *sizes])


def test_texts_cannot_break_a_table():
    odd = ["[/red]", "two\nlines", "\x1b[31mred\x07", "漢字" * 40, "x" * 200]
    shown = printed(result(pa.table({"[b]name": odd}), "", 60, 9), 60)
    assert "[/red]" in shown and "[b]name" in shown
    assert "two⏎lines" in shown and "\x1b" not in shown and "\x07" not in shown
    assert all(len(line) <= 60 for line in shown.splitlines())
    assert clipped("漢字" * 40, 11) == "漢字漢字漢…"


def test_records_fold_and_number_their_rows():
    rows = pa.table({"name": ["a" * 100, "[/b]", "c"], "x": [1, None, 3]})
    shown = printed(records(Ends(rows.schema, 1).extend(rows.to_batches()), 40), 40)
    lines = [line.strip() for line in shown.splitlines()]
    assert lines[0] == "row 1" and "…" in lines and "row 3" in lines
    assert "".join(lines).count("a") == 102  # two are those of the name
    assert all(len(line) <= 40 for line in lines)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([1_767_623_400_123_456_789, None], pa.timestamp("ns")),
         ["2026-01-05 14:30:00.123", "NULL"]),
        (pa.array([1_500_000_001, None], pa.duration("ns")), ["1.5 s", "NULL"]),
        (pa.array([datetime.date(2026, 1, 5)]), ["2026-01-05"]),
        (pa.array([{"a": 1.5, "t": None}, None],
                  pa.struct([("a", pa.float64()), ("t", pa.timestamp("ns"))])),
         ["{a: 1.5, t: NULL}", "NULL"]),
        (pa.array([[1, 2], None]), ["[1, 2]", "NULL"]),
        (pa.array([b"\x01\xff"]), ["01ff"]),
        (pa.array(["x", None]).dictionary_encode(), ["x", "NULL"]),
        (pa.nulls(1), ["NULL"]),
        (pa.array([True, False]), ["yes", "no"]),
    ],
)  # fmt: skip
def test_every_type_has_a_short_text(values, shown):
    found = texts(pa.chunked_array([values]), dates=True)
    assert found[0].startswith(shown[0]) and found[1:] == shown[1:]


@pytest.mark.parametrize(
    ("message", "statement", "wanted"),
    [
        ('ParserError("Expected: an SQL statement, found: SELEC at Line: 1, Column: 1")',
         "SELEC 1", ["Expected: an SQL statement, found: SELEC", "  line 1: SELEC 1",
                     "          ^^^^^"]),
        ('ParserError("Expected: an expression, found: EOF")', "SELECT\n 1 +  ",
         ["Expected: an expression, found: EOF", "  line 2:  1 +  ", "              ^"]),
        ("No field named t.foo.\nValid fields are t.a.", "SELECT\n  t.foo FROM t",
         ["No field named t.foo.", "Valid fields are t.a.", "  line 2:   t.foo FROM t",
          "            ^^^^^"]),
        ("table 'datafusion.public.trade' not found", "SELECT * FROM trade",
         ["table 'datafusion.public.trade' not found", "  line 1: SELECT * FROM trade",
          "                        ^^^^^"]),
        ("Invalid function 'abz'.\nDid you mean 'abs'?", "SELECT abz(1)",
         ["Invalid function 'abz'.", "Did you mean 'abs'?", "  line 1: SELECT abz(1)",
          "                 ^^^"]),
        ("whatever", "SELECT 'abc",
         ["the string is not closed", "  line 1: SELECT 'abc", "                 ^"]),
        ("nothing to mark", "SELECT 1", ["nothing to mark"]),
        ("marked\n  line 1: x\n          ^", "SELECT x", ["marked", "  line 1: x", "          ^"]),
    ],
)  # fmt: skip
def test_messages_of_datafusion_get_their_place(message, statement, wanted):
    assert marked(message, statement).splitlines() == wanted
