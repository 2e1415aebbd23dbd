"""What stands around the cursor: the query that it is in, its tables and their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fin_sql.cli.scan import tokens
from fin_sql.cli.words import RESERVED, Column, Words
from fin_sql.sql.text import Token

_ENDS_CALLS = ("from", "where", "group", "having", "window", "qualify")
_ENDS_FROM = ("where", "group", "having", "window", "qualify", "order", "limit", "offset")
_SETS = ("union", "intersect", "except")
_FROM_INSIDE = ("extract", "trim", "substring", "substr", "overlay", "position")
_QUERIES = ("select", "with", "values")
_CLOSES = {")": "(", "]": "[", "}": "{"}
DEPTH = 20  # of queries in queries: a CTE that reads itself ends here


@dataclass(frozen=True)
class Source:
    """A table of FROM, by the name that columns are written with."""

    alias: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Bracket:
    """An opening bracket and, where it has one, its end; both as indexes of tokens."""

    begin: int
    end: int | None


class Around:
    """A statement as far as it can be understood, and a place in it.

    Args:
        text: of one statement; what is being written at the cursor is left blank.
        cursor: the place.
        words: what the session knows.
    """

    def __init__(self, text: str, cursor: int, words: Words) -> None:
        self.words = words
        self.tokens = tokens(text)
        self.at = sum(token.begin < cursor for token in self.tokens)  # tokens before the cursor
        self.closing, self.open, self.extracts = _brackets(self.tokens, self.at)

    # ------------------------------------------------------------ places

    def before(self, back: int = 1) -> Token:
        """The token before the cursor, or one that stands further back."""
        return self.tokens[self.at - back] if self.at >= back else _NOTHING

    def says(self, i: int, *words: str) -> bool:
        """Whether the token of an index is one of these words."""
        return 0 <= i < len(self.tokens) and self.tokens[i].says(*words)

    def names(self, i: int) -> bool:
        """Whether the token of an index may be a name."""
        if not 0 <= i < len(self.tokens):
            return False
        token = self.tokens[i]
        return token.kind == "quoted" or (token.kind == "word" and token.text not in RESERVED)

    def scopes(self) -> list[tuple[int, int]]:
        """The queries that the cursor is in, as spans of tokens, the innermost first."""
        found = []
        for bracket in reversed(self.open):
            begin = bracket.begin + 1
            if self.says(begin, *_QUERIES) or self._is_source(bracket):
                found.append((begin, len(self.tokens) if bracket.end is None else bracket.end))
        return [*found, (0, len(self.tokens))]

    def _is_source(self, bracket: Bracket) -> bool:
        """Whether a bracket stands where a table may, so that a query is begun in it."""
        before = bracket.begin - 1
        return self.says(before, "from", "join") and bracket.begin + 1 >= self.at

    def call(self) -> tuple[int, Bracket] | None:
        """The innermost call that the cursor is in: the index of its name, and its bracket."""
        for bracket in reversed(self.open):
            i = bracket.begin
            if not self.tokens[i].says("("):
                continue
            if self.says(i + 1, *_QUERIES) and i + 1 < self.at:
                return None
            if self.says(i - 1, "over"):
                return None
            if self.names(i - 1) or (self.says(i - 1, "left", "right", "replace", "nearest")):
                return i - 1, bracket
        return None

    def clause(self) -> str:
        """The word that began the clause of the cursor's query: "select", "from", "where" ..."""
        begin, _ = self.scopes()[0]
        found = ""
        for i in self.level(begin, self.at):
            token = self.tokens[i]
            if i not in self.extracts and token.says(
                "select", "from", "on", "using", "match_condition", *_ENDS_FROM, *_SETS
            ):
                found = token.text
            elif token.says("join", "asof", "tolerance", "ties") and found in _OF_FROM:
                found = "from"
        return found

    def outputs(self) -> tuple[Column, ...]:
        """The columns that the cursor's query gives."""
        return self.output(*self._core(*self.scopes()[0]), self.ctes())

    def joins(self) -> tuple[bool, bool]:
        """Whether the FROM clause before the cursor has a join, and an ASOF JOIN."""
        begin, _ = self._core(*self.scopes()[0])
        level = list(self.level(begin, self.at))
        return tuple(any(self.says(i, word) for i in level) for word in ("join", "asof"))  # type: ignore[return-value]

    def level(self, begin: int, end: int) -> Iterator[int]:
        """The indexes of the tokens of a span that stand in no brackets of their own."""
        i = begin
        while i < end:
            yield i
            i = self.closing.get(i, i) + 1

    # ------------------------------------------------------------ tables

    def sources(self) -> list[Source]:
        """The tables whose columns may be named at the cursor, the nearest first."""
        known, found = self.ctes(), []
        for begin, end in self.scopes():
            found += self._sources(*self._core(begin, end), known)
            if self.says(begin - 2, "from", "join", "as"):
                break  # it does not see the tables of the query that it is a table of
        return found

    def ctes(self) -> dict[str, tuple[Column, ...]]:
        """The names that WITH gives, as far as the cursor may use them."""
        found: dict[str, tuple[Column, ...]] = {}
        for begin, end in reversed(self.scopes()):
            level = self.level(begin, min(end, self.at))
            start = next((i for i in level if self.says(i, "with")), None)
            if start is None:
                continue
            for name, columns, (first, last) in self._with(start, end, found):
                if first > self.at:
                    break
                if last < self.at:
                    found[name] = columns
        return found

    def windows(self) -> list[str]:
        """The names that the WINDOW clause of the cursor's query gives."""
        begin, end = self._core(*self.scopes()[0])
        level = list(self.level(begin, end))
        starts = [k for k, i in enumerate(level) if self.says(i, "window")]
        return [
            self.tokens[i].text
            for i, following in zip(level[starts[0] :], level[starts[0] + 1 :], strict=False)
            if self.names(i) and self.says(following, "as")
        ] if starts else []  # fmt: skip

    def _core(self, begin: int, end: int) -> tuple[int, int]:
        """Of queries between UNION and the like the one that the cursor is in."""
        for i in self.level(begin, end):
            if self.tokens[i].says(*_SETS) and self._is_set(i):
                if i < self.at:
                    begin = i + 1
                else:
                    return begin, i
        return begin, end

    def _is_set(self, i: int) -> bool:
        """EXCEPT behind a star leaves out columns."""
        if not self.says(i, "except"):
            return True
        return not self.says(i - 1, "*")

    def _with(
        self, begin: int, end: int, known: Mapping[str, tuple[Column, ...]], depth: int = 0
    ) -> Iterator[tuple[str, tuple[Column, ...], tuple[int, int]]]:
        """Name, columns and place of each query of a WITH."""
        known = dict(known)
        i = begin + 1 + self.says(begin + 1, "recursive")
        while i < end and self.names(i):
            name, i = self.tokens[i].text, i + 1
            declared: tuple[str, ...] = ()
            if self.says(i, "(") and i in self.closing:
                declared = self._listed(i)
                i = self.closing[i] + 1
            if not self.says(i, "as") or not self.says(i + 1, "("):
                return
            last = self.closing.get(i + 1, end)
            columns = self.output(i + 2, last, known, depth + 1)
            known[name] = _renamed(columns, declared)
            yield name, known[name], (i + 2, last)
            if not self.says(last + 1, ","):
                return
            i = last + 2

    def _listed(self, bracket: int) -> tuple[str, ...]:
        """The names of a list in brackets."""
        inside = range(bracket + 1, self.closing.get(bracket, bracket + 1))
        return tuple(self.tokens[i].text for i in inside if self.tokens[i].names)

    def _sources(
        self, begin: int, end: int, known: Mapping[str, tuple[Column, ...]], depth: int = 0
    ) -> list[Source]:
        """The tables of the FROM clause of a query."""
        found: list[Source] = []
        inside, due, i = False, False, begin
        while i < end:
            token = self.tokens[i]
            if i in self.extracts:
                pass
            elif token.says("from", "join") or (inside and token.says(",")):
                inside = due = True
            elif inside and token.says(*_ENDS_FROM):
                return found
            elif due and not token.says("lateral"):
                factor, i = self._factor(i, end, known, depth)
                found += factor
                due = False
                continue
            i = self.closing.get(i, i) + 1
        return found

    def _factor(
        self, i: int, end: int, known: Mapping[str, tuple[Column, ...]], depth: int
    ) -> tuple[list[Source], int]:
        """The table that begins at a token, and where it ends."""
        token, name = self.tokens[i], ""
        columns: tuple[Column, ...] = ()
        if token.says("(") and i in self.closing:
            last = self.closing[i]
            if self.says(i + 1, *_QUERIES, "("):
                columns = self.output(i + 1, last, known, depth + 1)
            else:
                return self._joined(i + 1, last, known, depth + 1), last + 1
            i = last + 1
        elif token.kind == "string":
            columns, i = tuple(self.words.file_columns(token.text)), i + 1
        elif self.names(i):
            while self.says(i + 1, ".") and i + 2 < end:
                i += 2
            name, i = self.tokens[i].text, i + 1
            if self.says(i, "(") and i in self.closing:
                i = self.closing[i] + 1  # a table function
            else:
                columns = known.get(name) or tuple(self.words.tables.get(name, ()))
        else:
            return [], i + 1
        i += self.says(i, "as")
        if i < end and self.names(i) and not self.says(i, "wait", "now", "ties"):
            # At the cursor nothing is written yet: what follows is of the next clause.
            name, i = self.tokens[i].text, i + 1
        if self.says(i, "(") and i in self.closing and name and not self.says(i - 1, "as"):
            columns = _renamed(columns, self._listed(i))
            i = self.closing[i] + 1
        return ([Source(name, columns)] if columns or name else []), i

    def _joined(
        self, begin: int, end: int, known: Mapping[str, tuple[Column, ...]], depth: int
    ) -> list[Source]:
        """The tables of joins in brackets."""
        if depth > DEPTH:
            return []
        first, i = self._factor(begin, end, known, depth)
        return first + self._sources(i, end, known, depth)

    def output(
        self, begin: int, end: int, known: Mapping[str, tuple[Column, ...]], depth: int = 0
    ) -> tuple[Column, ...]:
        """The columns that a query gives, as far as its text shows them."""
        if depth > DEPTH:
            return ()
        known = dict(known)
        if self.says(begin, "with"):
            for name, columns, (_, last) in self._with(begin, end, known, depth):
                known[name] = columns
                begin = last + 1
        if self.says(begin, "(") and begin in self.closing:
            return self.output(begin + 1, self.closing[begin], known, depth + 1)
        level = list(self.level(begin, end))
        for k, i in enumerate(level):
            if self.says(i, *_SETS) and self._is_set(i):
                level, end = level[:k], i
                break
        if not level or not self.says(level[0], "select"):
            return ()
        stop = next((i for i in level if self.says(i, "from", *_ENDS_FROM)), end)
        sources = self._sources(begin, end, known, depth)
        found: list[Column] = []
        item: list[int] = []
        for i in [*(i for i in level[1:] if i < stop), stop]:
            if i != stop and not self.says(i, ","):
                item.append(i)
                continue
            found += self._item(item, sources)
            item = []
        return tuple(found)

    def _item(self, item: Sequence[int], sources: Sequence[Source]) -> list[Column]:
        """The columns of one entry of a SELECT list."""
        star = next((k for k, i in enumerate(item) if self.says(i, "*")), None)
        every = [column for source in sources for column in source.columns]
        if star == 0 or (star == 2 and self.says(item[1], ".")):
            if star == 2:
                alias = self.tokens[item[0]].text
                every = [c for s in sources if s.alias == alias for c in s.columns]
            left_out: set[str] = set()
            for i in item[star + 1 :]:
                if self.says(i, "(") and self.says(i - 1, "exclude", "except"):
                    left_out |= set(self._listed(i))
            return [column for column in every if column.name not in left_out]
        if not item or not self.names(item[-1]):
            return []
        name = self.tokens[item[-1]].text
        if len(item) == 1 or (len(item) == 3 and self.says(item[1], ".")):
            owner = self.tokens[item[0]].text if len(item) == 3 else None
            kinds = [
                c.type for s in sources for c in s.columns
                if c.name == name and owner in (None, s.alias)
            ]  # fmt: skip
            return [Column(name, kinds[0] if kinds else "")]
        before = self.tokens[item[-2]]
        ended = before.says("as", ")", "end", "]") or before.kind in ("number", "string")
        return [Column(name)] if ended or self.names(item[-2]) else []


_NOTHING = Token("end", "", 0, 0)
_OF_FROM = ("from", "on", "using", "match_condition")


def _renamed(columns: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    if not names:
        return tuple(columns)
    kinds = [column.type for column in columns] if len(columns) == len(names) else [""] * len(names)
    return tuple(Column(name, kind) for name, kind in zip(names, kinds, strict=True))


def _brackets(
    found: Sequence[Token], at: int
) -> tuple[dict[int, int], list[Bracket], frozenset[int]]:
    """The brackets that are closed, those that the cursor is in, and each FROM of EXTRACT."""
    closing: dict[int, int] = {}
    open_at: list[int] = []
    extracts: dict[int, int] = {}  # the FROM of each bracket that has one of its own
    for i, token in enumerate(found):
        if token.says("(", "[", "{"):
            open_at.append(i)
        elif token.says(")", "]", "}"):
            fitting = [k for k in open_at if found[k].says(_CLOSES[token.text])]
            if fitting:
                closing[fitting[-1]] = i
                del open_at[open_at.index(fitting[-1]) :]
        elif token.says("from") and open_at and _extracts(found, open_at[-1], extracts):
            extracts[open_at[-1]] = i
        elif i >= at and token.says(*_ENDS_CALLS):
            # A call that is being written has no end yet, and what follows is not part of it.
            while open_at and open_at[-1] < at and not found[open_at[-1] + 1].says(*_QUERIES):
                open_at.pop()
    inside = [k for k in range(at) if found[k].says("(", "[", "{") and closing.get(k, at) >= at]
    brackets = [Bracket(k, closing.get(k)) for k in inside]
    return closing, brackets, frozenset(extracts.values())


def _extracts(found: Sequence[Token], bracket: int, extracts: Mapping[int, int]) -> bool:
    return bracket > 0 and found[bracket - 1].says(*_FROM_INSIDE) and bracket not in extracts
