"""Texts cut into statements, whatever their strings and comments hold."""

import random

import pytest
from pygments.token import Comment, Keyword, Name, String

from fin_sql.cli.colours import FinSqlLexer
from fin_sql.cli.scan import complete, pieces, statements, steps, tokens
from fin_sql.sql.text import tokenized


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", " SELECT 2"]),
        ("SELECT ';' AS a -- ; no\n; SELECT /* ; /* ; */ ; */ 2", None),
        ("SELECT 'it''s;' ;", ["SELECT 'it''s;' "]),
        ('SELECT "a;b"', ['SELECT "a;b"']),
        ("SELECT $$a;b$$", ["SELECT $$a;b$$"]),
        (" ;; -- nothing\n;", []),
        ("", []),
    ],
)
def test_a_semicolon_ends_a_statement_where_it_is_one(text, found):
    if found is None:
        found = ["SELECT ';' AS a -- ; no\n", "\n SELECT /* ; /* ; */ ; */ 2"]
    assert list(statements(text)) == found


def test_a_statement_keeps_its_lines():
    one, two = statements("SELECT 1;\n\nSELECT\n2;")
    assert two.count("\n") - two.lstrip().count("\n") == 2


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- so", True),
        ("SELECT 1; /* so", False),
        ("SELECT ';", False),
        ("SELECT ''';", False),
        ("SELECT '''';", True),
        ('SELECT ";', False),
        ("SELECT 1 -- ;", False),
        ("SELECT 1; SELECT", False),
        ("", False),
    ],
)
def test_an_input_is_complete_behind_its_last_semicolon(text, ends):
    assert complete(text) == ends


def test_a_line_with_a_dot_is_a_command_between_statements_alone():
    text = ".mode csv\nSELECT a\n.b FROM t; .not\n-- c\n  .rows 3\nSELECT 1"
    assert list(steps(text)) == [
        ("command", ".mode csv"),
        ("sql", "\nSELECT a\n.b FROM t"),
        ("sql", "\n\n .not\n-- c\n  .rows 3\nSELECT 1".replace(" .not", ".not")),
    ]


def test_the_parts_of_any_text_are_the_text():
    seeded = random.Random(7)
    heap = "a 1 ' \" -- /* */ $ $$ $x$ ; . \n e+ 1e 1e5 => :: é 漢 '' ( \\".split(" ")
    for _ in range(400):
        text = "".join(seeded.choices(heap, k=20))
        assert "".join(text[p.begin : p.end] for p in pieces(text)) == text


def test_tokens_are_those_of_the_engine_where_it_can_read_the_text():
    text = "SELECT t.price, ewma(t.price, 0.1) OVER w -- so\nFROM 'a b.csv' t GROUP BY \"X y\""
    assert tokens(text) == tokenized(text)
    explained = tokens("EXPLAIN SELECT a FROM t")
    assert [token.text for token in explained] == ["select", "a", "from", "t"]
    rough = tokens(text + " WHERE x = 'not closed")
    assert [t.text for t in rough][: len(tokens(text))] == [t.text for t in tokens(text)]
    assert (rough[-1].kind, rough[-1].text) == ("string", "not closed")


def test_colours_know_clauses_and_kernels():
    class Coloured(FinSqlLexer):
        kernels = frozenset({"ewma"})

    text = (
        "SELECT ewma(x, 1), abs(x) FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) TIES LAST -- 'c"
    )
    kinds = {word.strip(): kind for kind, word in Coloured().get_tokens(text)}
    assert kinds["ewma"] is Name.Function and kinds["abs"] is Name.Builtin
    for word in ("SELECT", "ASOF", "MATCH_CONDITION", "TIES", "LAST"):
        assert kinds[word] is Keyword
    assert kinds["a"] is Name and kinds["-- 'c"] is Comment
    kinds = {word.strip(): kind for kind, word in Coloured().get_tokens("SELECT 'not closed")}
    assert kinds["'not closed"] is String.Single
    parts = [part for part in Coloured().get_tokens_unprocessed(".mode csv") if part[2]]
    assert parts[0] == (0, Keyword, ".mode")
