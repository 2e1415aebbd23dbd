"""SQL text as tokens that know their place, so that expressions are carried as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from sqlglot.errors import TokenError
from sqlglot.tokens import Tokenizer, TokenType  # type: ignore[attr-defined]

from fin_sql.errors import SqlError

_SHOW = re.compile(r"\s*(show)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d]\w*")
_KINDS = {
    TokenType.STRING: "string",
    TokenType.IDENTIFIER: "quoted",
    TokenType.NUMBER: "number",
}


@dataclass(frozen=True)
class Token:
    """A word, a quoted name, a string, a number or a symbol.

    Args:
        kind: "word", "quoted", "string", "number", "symbol" or "end".
        text: a word in lower case, a quoted name or a string without its quotes, a symbol as it is.
        begin: its place in the statement.
        end: the place behind it.
    """

    kind: str
    text: str
    begin: int
    end: int

    def says(self, *words: str) -> bool:
        """Whether it is one of these words or symbols."""
        return self.kind in ("word", "symbol") and self.text in words

    @property
    def names(self) -> bool:
        """Whether it may be a name."""
        return self.kind in ("word", "quoted")


def tokenized(sql: str) -> list[Token]:
    """The tokens of a text, whose brackets need not be closed.

    Raises:
        SqlError: a string, a quoted name or a comment is not closed.
    """
    shows = _SHOW.match(sql)  # the tokenizer takes what follows for one string
    try:
        found = Tokenizer().tokenize(" " * shows.end() + sql[shows.end() :] if shows else sql)
    except TokenError as error:
        raise SqlError(f"the statement cannot be read: {error}") from None
    tokens: list[Token] = []
    if shows:
        tokens.append(Token("word", "show", shows.start(1), shows.end(1)))
    for token in found:
        begin, end = token.start, token.end + 1
        if token.token_type in _KINDS:
            tokens.append(Token(_KINDS[token.token_type], token.text, begin, end))
        elif not _WORD.match(sql[begin:end]):
            tokens.append(Token("symbol", sql[begin:end], begin, end))
        else:
            for word in re.finditer(r"\S+", sql[begin:end]):  # the tokenizer joins GROUP and BY
                at = begin + word.start()
                text = word.group()
                tokens.append(Token("word", text.lower(), at, at + len(text)))
    return tokens


class Text:
    """A statement and its tokens; the last one is of kind "end"."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = [*tokenized(sql), Token("end", "", len(sql.rstrip()), len(sql.rstrip()))]
        self.closing = self._pair()

    def _pair(self) -> dict[int, int]:
        """For each opening bracket the index of the one that closes it."""
        pairs, open_at = {}, []
        for i, token in enumerate(self.tokens):
            if token.says("(", "[", "{"):
                open_at.append(i)
            elif token.says(")", "]", "}"):
                closes = {")": "(", "]": "[", "}": "{"}[token.text]
                if not open_at or not self.tokens[open_at[-1]].says(closes):
                    self.fail(f"'{token.text}' closes nothing", i)
                pairs[open_at.pop()] = i
        if open_at:
            self.fail(f"'{self.tokens[open_at[-1]].text}' is not closed", open_at[-1])
        return pairs

    def written(self, begin: int, end: int) -> str:
        """The text of the tokens from `begin` to before `end`."""
        return self.sql[self.tokens[begin].begin : self.tokens[end - 1].end] if begin < end else ""

    def fail(self, message: str, begin: int, end: int | None = None) -> NoReturn:
        """Raise a SqlError that underlines the tokens."""
        first = self.tokens[begin]
        last = self.tokens[max(begin, (end or begin + 1) - 1)]
        raise SqlError(underlined(message, self.sql, first.begin, last.end))

    def split(self, begin: int, end: int, *separators: str) -> list[tuple[int, int]]:
        """The parts between separators that stand in no brackets; an empty span has no parts."""
        parts, start, i = [], begin, begin
        while i < end:
            if i in self.closing:
                i = self.closing[i]
            elif self.tokens[i].says(*separators):
                parts.append((start, i))
                start = i + 1
            i += 1
        return [*parts, (start, end)] if begin < end else []


def underlined(message: str, sql: str, begin: int, end: int) -> str:
    """A message with the line of the text that it is about, and a mark under the place."""
    start = sql.rfind("\n", 0, begin) + 1
    stop = sql.find("\n", begin)
    line = sql[start : stop if stop >= 0 else len(sql)]
    width = max(1, min(end - begin, len(line) - (begin - start)))
    number = sql.count("\n", 0, begin) + 1
    shown = f"  line {number}: "
    return f"{message}\n{shown}{line}\n{' ' * (len(shown) + begin - start)}{'^' * width}"


def quoted(name: str) -> str:
    """A name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def mentioned(sql: str) -> set[str]:
    """All that may be a name in a text."""
    return {token.text for token in Text(sql).tokens if token.names}
