"""SQL in colours: a lexer of Pygments that knows the clauses and the kernels of fin_sql."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pygments.lexer import Lexer
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Text,
)

from fin_sql.cli.scan import pieces
from fin_sql.cli.words import KEYWORDS, TYPES

_TYPES = frozenset(word.lower() for word in TYPES)
_KINDS = {
    "space": Text,
    "comment": Comment,
    "string": String.Single,
    "quoted": Name,
    "param": Name.Variable,
    "number": Number,
}


class FinSqlLexer(Lexer):  # type: ignore[misc]
    """SQL as `fin_sql.connect()` reads it."""

    name = "fin_sql"
    aliases: ClassVar[list[str]] = ["fin_sql"]
    filenames: ClassVar[list[str]] = ["*.sql"]
    kernels: frozenset[str] = frozenset()  # coloured apart from other functions

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, Any, str]]:
        """The parts of a text with their places and kinds."""
        stripped = text.lstrip()
        if stripped.startswith(".") and stripped[1:2].isalpha():  # a command of the shell
            begin = len(text) - len(stripped)
            end = begin + len(stripped.split(None, 1)[0])
            yield 0, Text, text[:begin]
            yield begin, Keyword, text[begin:end]
            yield end, Text, text[end:]
            return
        found = list(pieces(text))
        for i, piece in enumerate(found):
            written = text[piece.begin : piece.end]
            kind = _KINDS.get(piece.kind)
            if piece.kind == "word":
                behind = (p for p in found[i + 1 : i + 3] if p.kind != "space")
                called = any(text[p.begin] == "(" for p in list(behind)[:1])
                before = text[found[i - 1].begin : found[i - 1].end] if i else ""
                kind = self._word(written.lower(), called=called, member=before == ".")
            elif piece.kind == "symbol":
                kind = Punctuation if written in "()[]{},;." else Operator
            yield piece.begin, kind or Error, written

    def _word(self, word: str, *, called: bool, member: bool) -> Any:
        if member:
            return Name
        if called and word in self.kernels:
            return Name.Function
        if word in _TYPES and not called:
            return Keyword.Type
        if word in KEYWORDS:
            return Keyword
        return Name.Builtin if called else Name
