"""A text cut into words, strings and comments, whether or not they are closed yet.

The prompt asks at every key what it holds, and a text is seldom a statement while it is typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fin_sql.errors import SqlError
from fin_sql.sql.text import Token, tokenized

_PIECE = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*)
      | (?P<string>'(?:[^']|'')*'?)
      | (?P<quoted>"(?:[^"]|"")*"?)
      | (?P<dollars>\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z))
      | (?P<param>\$\w+)
      | (?P<word>[^\W\d]\w*)
      | (?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?|\.\d\w*)
      | (?P<symbol>=>|::|:=|[<>!]=|<>|\|\||->>?|.)""",
    re.VERBOSE | re.DOTALL,
)
_EDGE = re.compile(r"/\*|\*/")
_COMMAND = re.compile(r"\.[A-Za-z?][^\n]*")
_EXPLAIN = re.compile(r"\s*explain\b(\s+analyze\b)?(\s+verbose\b)?", re.IGNORECASE)


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Args:
        kind: "space", "comment", "string", "quoted", "param", "word", "number" or "symbol".
        begin: its place.
        end: the place behind it.
        closed: whether a string, a quoted name or a comment has its end.
    """

    kind: str
    begin: int
    end: int
    closed: bool = True


def pieces(text: str, begin: int = 0) -> Iterator[Piece]:
    """All parts of a text, one behind the other."""
    at = begin
    while at < len(text):
        if text.startswith("/*", at):
            end, closed = _block(text, at)
            yield Piece("comment", at, end, closed)
            at = end
            continue
        found = _PIECE.match(text, at)
        assert found is not None and found.lastgroup is not None
        kind, written = found.lastgroup, found.group()
        if found["dollars"] is not None:
            fence = f"${found['tag']}$"
            closed = len(written) >= 2 * len(fence) and written.endswith(fence)
            yield Piece("string", at, found.end(), closed)
        elif kind in ("string", "quoted"):
            yield Piece(kind, at, found.end(), _closed(written))
        else:
            yield Piece(kind, at, found.end())
        at = found.end()


def _closed(written: str) -> bool:
    """Whether a string ends in a quote that is not half of a doubled one."""
    quotes = len(written) - len(written.rstrip(written[0]))
    return quotes % 2 == 0 if quotes == len(written) else quotes % 2 == 1


def _block(text: str, begin: int) -> tuple[int, bool]:
    """The end of a comment in /* */, which may hold others."""
    depth = 0
    for edge in _EDGE.finditer(text, begin):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end(), True
    return len(text), False


def spans(text: str) -> list[tuple[int, int]]:
    """Where the parts between semicolons begin and end; the last one has no semicolon."""
    found, begin = [], 0
    for piece in pieces(text):
        if piece.kind == "symbol" and text[piece.begin] == ";":
            found.append((begin, piece.begin))
            begin = piece.end
    return [*found, (begin, len(text))]


def holds_words(text: str) -> bool:
    """Whether there is more than space and comments."""
    return any(piece.kind not in ("space", "comment") for piece in pieces(text))


def complete(text: str) -> bool:
    """Whether a statement ends here: by a semicolon, with nothing but comments behind it."""
    *before, (begin, end) = spans(text)
    behind = list(pieces(text[begin:end]))
    unsaid = all(p.kind == "space" or (p.kind == "comment" and p.closed) for p in behind)
    return bool(before) and unsaid


def statements(text: str) -> Iterator[str]:
    """The statements of a script, each without its semicolon, on the lines where they stand."""
    for begin, end in spans(text):
        if holds_words(text[begin:end]):
            yield on_its_lines(text, begin, end)


def on_its_lines(text: str, begin: int, end: int) -> str:
    """A part of a text behind as many line ends as stand before it: messages count lines."""
    return "\n" * text.count("\n", 0, begin) + text[begin:end]


def steps(text: str) -> Iterator[tuple[str, str]]:
    """The statements and commands of a script: ("sql", statement) or ("command", line).

    A command begins with a dot at the begin of a line, between two statements.
    """
    at = 0
    while at < len(text):
        begin = at
        for piece in pieces(text, at):
            if piece.kind not in ("space", "comment"):
                break
            begin = piece.end
        if begin >= len(text):
            return
        command = _COMMAND.match(text, begin)
        if command and not text[text.rfind("\n", 0, begin) + 1 : begin].strip():
            yield "command", command.group()
            at = command.end()
            continue
        end = len(text)
        for piece in pieces(text, begin):
            if piece.kind == "symbol" and text[piece.begin] == ";":
                end = piece.begin
                break
        if holds_words(text[begin:end]):
            yield "sql", on_its_lines(text, begin, end)
        at = end + 1


def tokens(text: str) -> list[Token]:
    """The tokens of the engine; of a text that it cannot read, the same as far as they show."""
    explains = _EXPLAIN.match(text)  # the tokenizer takes what follows EXPLAIN for one string
    if explains:
        text = " " * explains.end() + text[explains.end() :]
    try:
        return tokenized(text)
    except SqlError:
        return list(_rough(text))


def _rough(text: str) -> Iterator[Token]:
    for piece in pieces(text):
        written = text[piece.begin : piece.end]
        if piece.kind == "word":
            yield Token("word", written.lower(), piece.begin, piece.end)
        elif piece.kind in ("string", "quoted"):
            quote = written[0]
            inner = written[1 : len(written) - piece.closed].replace(quote * 2, quote)
            yield Token(piece.kind, inner, piece.begin, piece.end)
        elif piece.kind not in ("space", "comment"):
            kind = "symbol" if piece.kind == "param" else piece.kind
            yield Token(kind, written, piece.begin, piece.end)
