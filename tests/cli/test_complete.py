"""What completion offers at a place, as a table; "|" is the cursor."""

import random

import pytest

from fin_sql.cli.complete import candidates
from fin_sql.cli.signature import signature
from fin_sql.cli.words import Argument, Column, Function, Words

FOLDERS = {
    "": [("trades.parquet", False), ("notes.txt", False), ("market", True), (".git", True)],
    "market/": [("quotes.csv", False), ("by symbol", True)],
}
FILES = {"trades.parquet": [Column("fts"), Column("fprice")]}


def table(*names):
    return [Column(name, "DOUBLE") for name in names]


def function(name, parts, constants="", fields=()):
    """A function whose constants are written as name=default:allowed."""
    columns = [Argument(part, "DOUBLE", False, None, None) for part in parts.split()]
    more = []
    for word in constants.split("|") if constants else ():
        named, _, allowed = word.partition(":")
        constant, _, default = named.partition("=")
        kind = "VARCHAR" if "one of" in allowed else "DOUBLE"
        more.append(Argument(constant, kind, True, default or None, allowed or None))
    shown = [*parts.split(), *(f"{a.name} = {a.default}" if a.default else a.name for a in more)]
    signed = f"{name}({', '.join(shown)})"
    return Function(name, signed, f"About {name}.", "window", (*columns, *more), fields)


FUNCTIONS = [
    function("ewma", "x", "alpha:in (0, 1]|adjust=false:true or false"),
    function("gap_fill", "x", "method=locf:one of 'locf', 'linear'|limit=0:an integer"),
    function("macd", "x", "fast=12:an integer", tuple(table("macd", "signal", "hist"))),
    function("midprice", "bid ask"),
    function("rolling_std", "x", "window:an integer"),
]
WORDS = Words(
    tables={
        "trades": table("ts", "symbol", "price", "size"),
        "quotes": table("ts", "symbol", "bid", "ask"),
        "BTC-USD": table("px", "Order Id"),
    },
    functions={f.name: f for f in FUNCTIONS},
    commands={
        ".mode": (".mode table|csv|json|vertical", "How rows are printed."),
        ".schema": (".schema NAME", "The columns of a table."),
        ".functions": (".functions [NAME]", "All functions."),
        ".read": (".read FILE", "Run a file."),
        ".tables": (".tables", "All tables."),
    },
    folder=lambda path: FOLDERS.get(path, []),
    file_columns=lambda path: FILES.get(path, []),
)


def at(marked):
    cursor = marked.index("|")
    return marked[:cursor] + marked[cursor + 1 :], cursor


def offered(marked):
    return [c.text for c in candidates(*at(marked), WORDS)]


def applied(marked, chosen):
    text, cursor = at(marked)
    found = next(c for c in candidates(text, cursor, WORDS) if c.text == chosen)
    return text[: found.start] + found.text + text[cursor:]


# What is typed, and what the list begins with; two blanks stand between.
FIRST = [
    # the begin of a statement
    ("|", "SELECT  WITH  EXPLAIN"),
    ("sel|", "select"),
    ("SELECT 1; se|", "select"),
    ("EXPLAIN |", "SELECT  WITH"),
    ("EXPLAIN ANALYZE SELECT pr| FROM trades", "price"),
    # columns of the tables of FROM, also of one that comes later
    ("SELECT pr| FROM trades", "price"),
    ("SELECT | FROM quotes", "ts  symbol  bid  ask  quotes."),
    ("SELECT price, si| FROM trades", "size"),
    ("SELECT * FROM trades WHERE pr|", "price"),
    ("SELECT * FROM trades WHERE price > 1 AND si|", "size"),
    ("SELECT * FROM trades GROUP BY sy|", "symbol"),
    ("SELECT * FROM trades ORDER BY |", "ts  symbol  price  size"),
    ("SELECT CASE WHEN pr| FROM trades", "price"),
    ("SELECT bid - as| FROM quotes", "ask"),
    ("SELECT CAST(pr| FROM trades", "price"),
    ("SELECT extract(hour FROM t| FROM trades", "ts  trades."),
    ("SELECT (price + si|) FROM trades", "size"),
    ("SELECT sum(pr|) FROM trades", "price"),
    # both sides of a join
    ("SELECT | FROM trades t, quotes q", "t.ts  q.ts  t.symbol  q.symbol  price"),
    ("SELECT sym| FROM trades t JOIN quotes q USING (ts)", "t.symbol  q.symbol"),
    ("SELECT q.|, t.x FROM trades t ASOF JOIN quotes q ON t.symbol", "ts  symbol  bid  ask  *"),
    ("SELECT q.bid FROM trades t ASOF JOIN quotes q ON t.|", "ts  symbol  price  size"),
    ("SELECT q.bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.|", "ts  symbol  price"),
    ("SELECT q.bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.|)", "ts  symbol"),
    ("SELECT q.bid FROM trades t ASOF LEFT JOIN quotes AS q ON t.symbol = q.sy|", "symbol"),
    ("SELECT trades.p| FROM trades", "price"),
    ("SELECT b.| FROM trades AS a JOIN (SELECT bid AS low FROM quotes) AS b ON a.ts", "low  *"),
    ("SELECT t.pr| FROM (trades t JOIN quotes q ON t.ts = q.ts)", "price"),
    # queries inside of queries
    ("SELECT * FROM (SELECT pr| FROM trades) x", "price"),
    ("SELECT * FROM (SELECT ewma(pr| FROM trades) x", "price"),
    ("SELECT lo| FROM (SELECT price AS low, size FROM trades) x", "low"),
    ("SELECT | FROM (SELECT price * 2 AS p2, size FROM trades) x", "p2  size  x."),
    ("SELECT | FROM (SELECT * EXCLUDE (ts, symbol) FROM quotes) x", "bid  ask  x."),
    ("SELECT | FROM (SELECT * FROM trades) x (a, b, c, d)", "a  b  c  d  x."),
    ("SELECT * FROM trades WHERE price > (SELECT max(b|) FROM quotes)", "bid"),
    ("SELECT * FROM trades t WHERE EXISTS (SELECT 1 FROM quotes q WHERE q.ts = t.|", "ts  symbol"),
    ("SELECT bi| FROM quotes UNION ALL SELECT price FROM trades", "bid"),
    ("SELECT bid FROM quotes UNION ALL SELECT pri| FROM trades", "price"),
    # CTEs
    ("WITH a AS (SELECT price AS p FROM trades) SELECT | FROM a", "p  a."),
    ("WITH a AS (SELECT price AS p FROM trades) SELECT x.| FROM a x", "p  *"),
    ("WITH a AS (SELECT pr| FROM trades) SELECT * FROM a", "price"),
    ("WITH a (u, v) AS (SELECT price, size FROM trades) SELECT | FROM a", "u  v  a."),
    ("WITH a AS (SELECT bid b1 FROM quotes), b AS (SELECT | FROM a) SELECT 1 FROM b", "b1  a."),
    ("WITH a AS (SELECT * FROM quotes), b AS (SELECT * FROM a) SELECT bi| FROM b", "bid"),
    ("WITH abc AS (SELECT 1 AS x) SELECT * FROM ab|", "abc"),
    ("CREATE VIEW v AS WITH abc AS (SELECT 1 AS x) SELECT * FROM ab|", "abc"),
    # tables
    ("SELECT * FROM |", 'trades  quotes  "BTC-USD"'),
    ("SELECT * FROM tr|", "trades"),
    ("SELECT * FROM trades t, q|", "quotes"),
    ("SELECT * FROM trades t ASOF JOIN q|", "quotes"),
    ("INSERT INTO tr|", "trades"),
    ("DESCRIBE q|", "quotes"),
    ("SELECT * FROM trades WHERE ts IN (SELECT ts FROM q|)", "quotes"),
    # names that need quotes
    ("SELECT * FROM btc|", '"BTC-USD"'),
    ('SELECT * FROM "B|', '"BTC-USD"'),
    ('SELECT * FROM "B|"', '"BTC-USD'),
    ('SELECT ord| FROM "BTC-USD"', '"Order Id"'),
    ('SELECT "Or| FROM "BTC-USD"', '"Order Id"'),
    ('SELECT x."Or|" FROM "BTC-USD" x', '"Order Id'),
    # files
    ("SELECT * FROM '|", "trades.parquet'  market/"),
    ("SELECT * FROM 'tr|", "trades.parquet'"),
    ("SELECT * FROM 'tr|'", "trades.parquet"),
    ("SELECT * FROM 'market/|' WHERE ts > 1", "market/quotes.csv  market/by symbol/"),
    ("SELECT * FROM trades t ASOF JOIN 'market/q|", "market/quotes.csv'"),
    ("SELECT fp| FROM 'trades.parquet'", "fprice"),
    ("SELECT f.| FROM 'trades.parquet' f", "fts  fprice  *"),
    # functions and their constants
    ("SELECT ew| FROM trades", "ewma("),
    ("SELECT ew|(price) FROM trades", "ewma"),
    ("SELECT std| FROM trades", "rolling_std("),
    ("SELECT ewma(price, | FROM trades", "alpha =>  adjust =>  ts"),
    ("SELECT ewma(price, al| FROM trades", "alpha =>"),
    ("SELECT ewma(price, 0.1, | FROM trades", "adjust =>  ts"),
    ("SELECT gap_fill(price, | FROM trades", "'locf'  'linear'  method =>"),
    ("SELECT gap_fill(price, 'li|", "'linear'"),
    ("SELECT gap_fill(price, method => |", "'locf'  'linear'"),
    ("SELECT midprice(b| FROM quotes", "bid"),
    ("SELECT rolling_std(ewma(pr|, 0.1), 5) FROM trades", "price"),
    # fields of a STRUCT
    ("SELECT (macd(price) OVER w).| FROM trades", "macd  signal  hist"),
    ("SELECT macd(price)['h| FROM trades", "'hist'"),
    # windows
    ("SELECT ewma(price, 0.1) OVER | FROM trades WINDOW w AS (ORDER BY ts)", "w  ("),
    ("SELECT ewma(price, 0.1) OVER (|", "PARTITION BY  ORDER BY"),
    ("SELECT ewma(price, 0.1) OVER (PARTITION BY sy| FROM trades", "symbol"),
    ("SELECT ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY t| FROM trades", "ts"),
    ("SELECT ewma(price, 0.1) OVER (PARTITION BY symbol or|) FROM trades", "order by"),
    ("SELECT 1 FROM trades WINDOW w AS (PARTITION BY s|", "symbol  size"),
    # keywords that follow one another
    ("SELECT * FROM trades |", "JOIN  ASOF JOIN"),
    ("SELECT * FROM trades t ASOF |", "JOIN  LEFT JOIN  INNER JOIN"),
    ("SELECT * FROM trades t ASOF JOIN quotes q |", "MATCH_CONDITION (  TOLERANCE INTERVAL"),
    ("SELECT * FROM trades t ASOF JOIN quotes q ma|", "match_condition ("),
    ("SELECT * FROM trades t ASOF JOIN quotes q ON t.ts = q.ts tol|", "tolerance interval"),
    ("SELECT * FROM a ASOF JOIN b TIES |", "LAST  FIRST  ERROR"),
    ("SELECT * FROM a ASOF JOIN b TOLERANCE |", "INTERVAL"),
    ("SELECT * FROM a ASOF JOIN b TOLERANCE INTERVAL '1' |", "NANOSECOND  MICROSECOND"),
    ("SELECT * FROM trades GROUP |", "BY  BY ALL"),
    ("SELECT * FROM trades gr|", "group by"),
    ("SELECT * FROM trades ORDER BY ts |", "ASC  DESC"),
    ("SELECT * FROM trades ORDER BY ts NULLS |", "FIRST  LAST"),
    ("SELECT price |", "AND  OR  AS"),
    ("SELECT price IS |", "NULL  NOT NULL"),
    ("SELECT CAST(price AS |", "BIGINT  INT"),
    ("SELECT price::do|", "double"),
    ("SELECT price * 2 AS twice FROM trades ORDER BY tw|", "twice"),
    # several lines, comments and strings on the way
    ("SELECT price, -- the last\n  si|\nFROM trades", "size"),
    ("SELECT 'it''s; FROM quotes', pr| FROM trades", "price"),
    ("SELECT pr| FROM trades; SELECT 'not closed", "price"),
    ("SELECT ((((pr| FROM trades", "price"),
    ("SELECT pr|)) FROM trades", "price"),
    ("SELECT [price, si| FROM trades", "size"),
    # commands
    (".|", ".mode  .schema  .functions  .read  .tables"),
    (".mo|", ".mode"),
    (".mode |", "table  csv  json  vertical"),
    (".mode v|", "vertical"),
    (".schema q|", "quotes"),
    (".functions e|", "ewma"),
    (".read m|", "market/"),
]  # fmt: skip
NOTHING = [
    "SELECT price AS p|x",  # a name of one's own, whatever it begins with: nothing of that begin
    "SELECT price -- pr|",
    "SELECT /* pr| */ price FROM trades",
    "SELECT 12| FROM trades",
    "SELECT $na| FROM trades",
    "SELECT 'tr| FROM trades",
    "SELECT nothing.| FROM trades",
    ".tables |",
    ".mode x|",
]


@pytest.mark.parametrize(("marked", "wanted"), FIRST, ids=[marked for marked, _ in FIRST])
def test_the_likeliest_come_first(marked, wanted):
    found = [text.strip() for text in offered(marked)]
    assert found[: len(wanted.split("  "))] == wanted.split("  ")


@pytest.mark.parametrize("marked", NOTHING)
def test_where_nothing_fits_nothing_is_offered(marked):
    assert offered(marked) == []


def test_names_that_do_not_belong_here_are_not_offered():
    assert "bid" not in offered("SELECT | FROM trades")
    assert "price" not in offered("SELECT * FROM (SELECT | FROM quotes) x JOIN trades t")
    assert "p" not in offered("WITH a AS (SELECT | FROM quotes) SELECT p FROM a")
    assert "b" not in offered("WITH a AS (SELECT 1 FROM |), b AS (SELECT 1) SELECT 1")
    assert ".git/" not in offered("SELECT * FROM '|")
    assert "notes.txt" not in offered("SELECT * FROM '|")
    assert "TIES" not in offered("SELECT * FROM trades |")
    assert "ON" not in offered("SELECT * FROM trades |")


@pytest.mark.parametrize(
    ("marked", "chosen", "becomes"),
    [
        ("SELECT pr| FROM trades", "price", "SELECT price FROM trades"),
        ("SELECT 1; SELECT ew| FROM trades", "ewma(", "SELECT 1; SELECT ewma( FROM trades"),
        ("SELECT * FROM 'tr|", "trades.parquet'", "SELECT * FROM 'trades.parquet'"),
        ("SELECT * FROM 'market/q|'", "market/quotes.csv", "SELECT * FROM 'market/quotes.csv'"),
        ('SELECT "Or| FROM "BTC-USD"', '"Order Id"', 'SELECT "Order Id" FROM "BTC-USD"'),
        ("SELECT gap_fill(x, 'l|)", "'linear'", "SELECT gap_fill(x, 'linear')"),
        ("SELECT t.|, 1 FROM trades t", "size", "SELECT t.size, 1 FROM trades t"),
        ("  .schema tr|", "trades", "  .schema trades"),
        ("  .mo|", ".mode ", "  .mode "),
    ],
)
def test_a_chosen_candidate_replaces_what_was_begun(marked, chosen, becomes):
    assert applied(marked, chosen) == becomes


def test_the_list_says_what_a_candidate_is():
    found = {c.text: c for c in candidates(*at("SELECT | FROM trades"), WORDS)}
    assert (found["price"].kind, found["price"].meta) == ("column", "DOUBLE · trades")
    assert found["ewma("].meta == "ewma(x, alpha, adjust = false) · About ewma."
    assert found["ewma("].shown == "ewma"
    found = {c.text: c for c in candidates(*at("SELECT ewma(price, |"), WORDS)}
    assert found["alpha => "].meta == "DOUBLE constant, in (0, 1]"
    found = {c.text: c for c in candidates(*at("SELECT 1 FROM |"), WORDS)}
    assert found["quotes"].meta == "ts, symbol, bid, ask"
    (found,) = candidates(*at(".mo|"), WORDS)
    assert (found.shown, found.meta) == (".mode table|csv|json|vertical", "How rows are printed.")


@pytest.mark.parametrize(
    ("marked", "name", "active", "about"),
    [
        ("SELECT ewma(|", "ewma", 0, "x: DOUBLE column"),
        ("SELECT ewma(price, | FROM trades", "ewma", 1, "alpha: DOUBLE constant, in (0, 1]"),
        ("SELECT ewma(price, 0.|5) FROM trades", "ewma", 1, "alpha: DOUBLE constant, in (0, 1]"),
        ("SELECT ewma(midprice(a, b), |", "ewma", 1, "alpha: DOUBLE constant, in (0, 1]"),
        ("SELECT ewma(midprice(a, |b), 2)", "midprice", 1, "ask: DOUBLE column"),
        ("SELECT ewma((a + |b), 2)", "ewma", 0, "x: DOUBLE column"),
        ("SELECT ewma(x, adjust => |", "ewma", 2,
         "adjust: DOUBLE constant, true or false"),
        ("SELECT ewma(x, nothing => |", "ewma", None, "About ewma."),
        ("SELECT ewma(x, 1, true, 4, |", "ewma", None, "About ewma."),
        ("SELECT gap_fill('a, b', '|", "gap_fill", 1,
         "method: VARCHAR constant, one of 'locf', 'linear'"),
    ],
)  # fmt: skip
def test_the_signature_is_that_of_the_call_at_the_cursor(marked, name, active, about):
    found = signature(*at(marked), WORDS)
    assert (found.name, found.active, found.about) == (name, active, about)


@pytest.mark.parametrize(
    "marked",
    [
        "SELECT |ewma(x)", "SELECT ewma(x)|", "SELECT nothing(|", "|", ".mode (|",
        "SELECT ewma(x, 1) OVER (|", "SELECT ewma((SELECT |",
    ],
)  # fmt: skip
def test_outside_of_a_call_there_is_no_signature(marked):
    assert signature(*at(marked), WORDS) is None


def test_every_place_of_every_text_has_an_answer():
    """Also of texts that are cut anywhere, and of heaps of tokens."""
    seeded = random.Random(20260105)
    texts = [at(marked)[0] for marked, _ in FIRST]
    heap = (
        "( ) [ ] ' \" , ; . * => :: SELECT FROM WITH AS trades t q OVER -- /* $1 1e5 \n ASOF".split(
            " "
        )
    )
    texts += [" ".join(seeded.choices(heap, k=30)) for _ in range(150)]
    for text in texts:
        for _ in range(8):
            cut = text[: seeded.randint(0, len(text))] if seeded.random() < 0.5 else text
            cursor = seeded.randint(0, len(cut))
            for found in candidates(cut, cursor, WORDS):
                assert 0 <= found.start <= cursor
            signature(cut, cursor, WORDS)
