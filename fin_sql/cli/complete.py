"""What may be written at the cursor: from a text and a place to candidates, without a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fin_sql.cli import words as w
from fin_sql.cli.around import Around, Bracket
from fin_sql.cli.scan import Piece, pieces, spans
from fin_sql.cli.signature import called, choices, told
from fin_sql.cli.words import Argument, Column, Words, written

_OPENS_OPERAND = "( , + - * / % = < > <= >= <> != || => [ ::".split()
_BEFORE_OPERAND = (
    "select distinct all where and or not on having qualify by when then else case between in like "
    "ilike using limit offset set values"
).split()
_NAMES_TABLE = ("from", "join", "into", "table", "view", "describe", "desc", "update")
_FILES = (".parquet", ".pq", ".csv", ".csv.gz", ".json", ".ndjson", ".arrow", ".sql")


@dataclass(frozen=True)
class Candidate:
    """A text that may stand at the cursor.

    Args:
        text: what is written.
        start: the place from which on it replaces what stands before the cursor.
        kind: "column", "table", "function", "keyword", "argument", "path", "command" ...
        shown: as a list shows it.
        meta: what a list says beside it.
    """

    text: str
    start: int
    kind: str
    shown: str
    meta: str = ""


def candidates(text: str, cursor: int, words: Words) -> list[Candidate]:
    """All that may be written at a place of a text, the likeliest first."""
    if text[:cursor].lstrip().startswith("."):
        begin = len(text) - len(text.lstrip())
        return list(_commands(text[begin:cursor], begin, words))
    place = _Place(text, cursor, words)
    found = {c.text: c for c in reversed(list(place.candidates()))}
    return sorted(reversed(found.values()), key=lambda c: _rank(c, place.prefix))


def _fits(name: str, prefix: str) -> bool:
    """Whether a name, or one of its words, begins with what is written."""
    low, begun = name.lower(), prefix.lower()
    return low.startswith(begun) or (begun != "" and f"_{begun}" in low)


def _rank(candidate: Candidate, prefix: str) -> tuple[bool, int]:
    order = ("argument", "column", "alias", "table", "window", "path", "function", "keyword")
    begins = candidate.shown.lower().startswith(prefix.lower())
    return not begins, order.index(candidate.kind)


class _Place:
    """A place in a text, and what stands around it."""

    def __init__(self, text: str, cursor: int, words: Words) -> None:
        begin, end = next((b, e) for b, e in spans(text) if cursor <= e)
        self.text, self.words, self.offset = text[begin:end], words, begin
        self.cursor = cursor - begin
        self.piece = self._piece()
        first = self.piece.begin if self.piece else self.cursor
        self.prefix = self.text[first : self.cursor]
        self.start = begin + first
        last = self.piece.end if self.piece else self.cursor
        blank = " " * (last - first)
        self.around = Around(self.text[:first] + blank + self.text[last:], first, words)
        self.follows = self.text[last : last + 1]

    def _piece(self) -> Piece | None:
        """What is being written: a word, a quoted name, a string or a comment."""
        for piece in pieces(self.text):
            inside = piece.begin < self.cursor < piece.end
            at_end = piece.end == self.cursor
            if piece.kind in ("word", "param", "number") and (inside or at_end):
                return piece
            if piece.kind == "comment" and at_end and self.text[piece.begin] == "-":
                return piece
            if piece.kind in ("string", "quoted", "comment") and (
                inside or (at_end and not piece.closed)
            ):
                # One that is not closed yet ends at the next quote, which begins another one.
                if piece.kind != "comment" and all(
                    p.closed for p in pieces(self.text, self.cursor)
                ):
                    return Piece(piece.kind, piece.begin, self.cursor, closed=False)
                return piece
        return None

    def candidates(self) -> Iterator[Candidate]:
        kind = self.piece.kind if self.piece else ""
        if kind in ("comment", "param", "number"):
            return
        if kind == "string":
            yield from self._in_string()
            return
        if kind == "quoted":
            self.prefix = self.prefix[1:]
            quote = "" if self.text[self.cursor :].startswith('"') else '"'
            for column in self._columns():
                text = f'"{column.name}{quote}'
                yield self._candidate(text, "column", column.name, column.type)
            for name, columns in self._tables().items():
                if _fits(name, self.prefix):
                    yield self._candidate(f'"{name}{quote}', "table", name, _counted(columns))
            return
        yield from self._in_words()

    def _candidate(self, text: str, kind: str, shown: str, meta: str = "") -> Candidate:
        return Candidate(text, self.start, kind, shown, meta)

    # ------------------------------------------------------------ in quotes

    def _in_string(self) -> Iterator[Candidate]:
        inside = self.prefix[1:]
        quote = "" if self.text[self.cursor :].startswith("'") else "'"
        argument = self._argument()
        if argument is not None and argument.allowed and argument.type == "VARCHAR":
            for choice in choices(argument):
                if choice.startswith(inside):
                    yield Candidate(f"'{choice}{quote}", self.start, "argument", choice)
            return
        before = self.around.before()
        if before.says("["):
            for field in self._fields(self.around.at - 2):
                if field.name.startswith(inside):
                    yield Candidate(f"'{field.name}{quote}", self.start, "column", field.name)
        elif before.says("from", "join", "to", "location", ",") or "/" in inside:
            for found in paths(inside, self.start + 1, self.words):
                ended = "" if found.text.endswith("/") else quote
                yield replace(found, text=found.text + ended)

    # ------------------------------------------------------------ words

    def _in_words(self) -> Iterator[Candidate]:
        around, before = self.around, self.around.before()
        if before.says("."):
            yield from self._members()
        elif before.kind == "end":
            yield from self._keywords(w.STARTS)
        elif before.says("as"):
            cast = bool(around.open) and around.says(around.open[-1].begin - 1, "cast", "try_cast")
            yield from self._keywords(w.TYPES if cast else ())
            if around.says(around.at - 3, "with", ",", "recursive", "table", "view"):
                yield from self._keywords(("SELECT", "(SELECT"))
        elif around.at - 1 in around.extracts:
            yield from self._operands()
        elif before.says(*_NAMES_TABLE) or self._is_factor():
            yield from self._named(self._tables())
            yield from self._keywords(("SELECT", "WITH") if before.says("(") else ())
        elif before.says("over") or self._in_over():
            yield from self._window()
        elif before.kind == "word" and before.text in w.AFTER and not self._operand_due():
            yield from self._keywords(w.AFTER[before.text])
        elif before.kind == "string" and around.before(2).says("interval", "date", "timestamp"):
            yield from self._keywords(w.UNITS)
            yield from self._behind()
        elif before.says("::"):
            yield from self._keywords(w.TYPES)
        elif self._operand_due():
            yield from self._operands()
        else:
            yield from self._behind()

    def _is_factor(self) -> bool:
        """Whether a table stands at the cursor: behind a comma of FROM, or in its brackets."""
        around, before = self.around, self.around.before()
        if before.says(","):
            outer = around.open[-1].begin if around.open else -1
            return around.clause() == "from" and (outer < 0 or around.scopes()[0][0] > outer)
        return before.says("(") and around.before(2).says("from", "join")

    def _in_over(self) -> Bracket | None:
        """The bracket of the window that the cursor is in."""
        around = self.around
        for bracket in reversed(around.open):
            i = bracket.begin
            named = around.says(i - 1, "as") and around.clause() == "window"
            if around.tokens[i].says("(") and (around.says(i - 1, "over") or named):
                return bracket
            if around.tokens[i].says("(") and around.names(i - 1):
                return None
        return None

    def _operand_due(self) -> bool:
        before = self.around.before()
        if before.kind == "symbol":
            star = before.says("*") and self.around.before(2).says("select", ",", ".", "(", "all")
            return before.text in _OPENS_OPERAND and not star
        return before.kind == "word" and before.text in _BEFORE_OPERAND

    def _operands(self) -> Iterator[Candidate]:
        around, before = self.around, self.around.before()
        yield from self._arguments()
        yield from self._named_columns()
        if around.clause() in ("group", "having", "qualify", "order"):
            for column in around.outputs():
                if _fits(column.name, self.prefix):
                    name = written(column.name)
                    yield self._candidate(name, "column", column.name, "of the SELECT list")
        if not before.says("*"):
            for source in around.sources():
                if (
                    source.alias
                    and source.alias.isidentifier()
                    and _fits(source.alias, self.prefix)
                ):
                    yield self._candidate(
                        f"{written(source.alias)}.", "alias", source.alias, _counted(source.columns)
                    )
        yield from self._functions()
        if before.says("select"):
            yield from self._keywords(("DISTINCT",))
        if before.says("(") and around.before(2).says("match_condition"):
            yield from self._keywords(("NEAREST(",))
        if before.says("(") and around.before(2).says("in", "exists", "as", "=", "<", ">", "("):
            yield from self._keywords(("SELECT",))
        yield from self._keywords(w.OPERANDS)

    def _behind(self) -> Iterator[Candidate]:
        """What may follow a whole expression, a table or a clause."""
        around, before = self.around, self.around.before()
        clause = around.clause()
        if clause in ("from", "on", "using", "match_condition"):
            joined, asof = around.joins()
            yield from self._keywords(w.OF_ASOF if asof else ())
            yield from self._keywords(w.OF_JOINS if joined else ())
            yield from self._keywords(w.JOINS)
            yield from self._keywords(w.CLAUSES[1:])
            yield from self._keywords(w.OPERATORS if clause != "from" else ("AS",))
            return
        yield from self._keywords(w.AFTER_CALLS if before.says(")") else ())
        yield from self._keywords(w.AFTER_ORDER if clause == "order" else ())
        if clause:
            yield from self._keywords(w.OPERATORS)
            yield from self._keywords(_later(clause))
        elif around.tokens[0].says("explain"):
            yield from self._keywords(w.STARTS)
        else:
            yield from self._keywords(("AS", "SELECT", "VALUES", "TO", "STORED AS", "LOCATION"))

    def _window(self) -> Iterator[Candidate]:
        around, before = self.around, self.around.before()
        if before.says("over", "("):
            for name in around.windows():
                if _fits(name, self.prefix):
                    yield self._candidate(written(name), "window", name, "window")
        if before.says("over"):
            yield from self._keywords(("(", "(PARTITION BY", "(ORDER BY"))
        elif before.says("by", ",") or before.kind == "symbol" and not before.says("(", ")"):
            yield from self._operands()
        elif before.kind == "word" and before.text in w.AFTER:
            yield from self._keywords(w.AFTER[before.text])
        else:
            yield from self._keywords(w.IN_WINDOWS)

    # ------------------------------------------------------------ names

    def _members(self) -> Iterator[Candidate]:
        """The columns behind an alias and a dot."""
        around = self.around
        owner = around.before(2)
        for field in self._fields(around.at - 2):
            if _fits(field.name, self.prefix):
                yield self._candidate(written(field.name), "column", field.name, field.type)
        if not owner.names:
            return
        known = [s for s in around.sources() if s.alias == owner.text]
        columns = known[0].columns if known else self.words.tables.get(owner.text, ())
        for column in columns:
            if _fits(column.name, self.prefix):
                yield self._candidate(written(column.name), "column", column.name, column.type)
        if known and not self.prefix and around.before(3).says("select", ",", "distinct"):
            yield self._candidate("*", "column", "*", "all columns")

    def _fields(self, end: int) -> tuple[Column, ...]:
        """The fields of a call that ends at a token, in brackets or not."""
        around = self.around
        begin = next((b for b, e in around.closing.items() if e == end), None)
        if begin is None:
            return ()
        name = begin + 1 if around.says(begin + 2, "(") else begin - 1
        function = self.words.functions.get(around.tokens[name].text) if name >= 0 else None
        return function.fields if function else ()

    def _columns(self) -> list[Column]:
        """The columns that a name without an alias may mean."""
        found: dict[str, Column] = {}
        for source in self.around.sources():
            for column in source.columns:
                if _fits(column.name, self.prefix):
                    found.setdefault(column.name, column)
        return list(found.values())

    def _named_columns(self) -> Iterator[Candidate]:
        owners: dict[str, list[str]] = {}
        for source in self.around.sources():
            for column in source.columns:
                owners.setdefault(column.name, []).append(source.alias)
        for column in self._columns():
            aliases = owners[column.name]
            if len(aliases) == 1:
                meta = " · ".join(filter(None, (column.type, aliases[0])))
                yield self._candidate(written(column.name), "column", column.name, meta)
                continue
            for alias in dict.fromkeys(aliases):  # a name of both sides needs its alias
                name = f"{written(alias)}.{written(column.name)}"
                yield self._candidate(name, "column", f"{column.name} of {alias}", column.type)

    def _tables(self) -> dict[str, Iterable[Column]]:
        return {**self.words.tables, **self.around.ctes()}

    def _named(self, tables: dict[str, Iterable[Column]]) -> Iterator[Candidate]:
        for name, columns in tables.items():
            if _fits(name, self.prefix):
                yield self._candidate(written(name), "table", name, _counted(columns))

    def _functions(self) -> Iterator[Candidate]:
        bracket = "" if self.follows == "(" else "("
        for function in self.words.functions.values():
            if _fits(function.name, self.prefix):
                meta = " · ".join(filter(None, (function.signature, function.summary)))
                yield self._candidate(function.name + bracket, "function", function.name, meta)

    def _keywords(self, phrases: Iterable[str]) -> Iterator[Candidate]:
        lower = self.prefix != "" and self.prefix == self.prefix.lower()
        for phrase in phrases:
            text = phrase.lower() if lower else phrase
            if phrase.lower().startswith(self.prefix.lower()):
                yield self._candidate(text, "keyword", text.rstrip(" ("))

    # ------------------------------------------------------------ calls

    def _argument(self) -> Argument | None:
        found = called(self.around, self.words)
        if found is None or found[1] is None or found[1] >= len(found[0].arguments):
            return None
        return found[0].arguments[found[1]]

    def _arguments(self) -> Iterator[Candidate]:
        """The constants that a call may name, and the texts that one may be."""
        found, around = called(self.around, self.words), self.around
        if found is None or not around.before().says("(", ",", "=>"):
            return
        function, index = found
        argument = self._argument()
        if argument is not None and argument.constant and argument.type == "VARCHAR":
            for choice in choices(argument):
                if _fits(choice, self.prefix):
                    yield self._candidate(f"'{choice}'", "argument", f"'{choice}'", argument.name)
        if around.before().says("=>") or index is None:
            return
        least = sum(not a.constant and a.default is None for a in function.arguments)
        if index < least:
            return
        for argument in function.arguments[index:]:
            if (argument.constant or argument.default is not None) and _fits(
                argument.name, self.prefix
            ):
                text = f"{argument.name} => "
                yield self._candidate(text, "argument", text.strip(), told(argument))


def _counted(columns: Iterable[Column]) -> str:
    names = [column.name for column in columns]
    more = f", … {len(names)} columns" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _later(clause: str) -> tuple[str, ...]:
    """The clauses that may come behind one."""
    names = [phrase.split()[0].lower() for phrase in w.CLAUSES]
    return w.CLAUSES[names.index(clause) + 1 :] if clause in names else w.CLAUSES


def paths(inside: str, start: int, words: Words) -> Iterator[Candidate]:
    """The files and folders that a path that is being written may go on with."""
    folder, slash, begun = inside.rpartition("/")
    for name, is_folder in words.folder(folder + slash):
        hidden = name.startswith(".") and not begun.startswith(".")
        if name.startswith(begun) and not hidden and (is_folder or name.endswith(_FILES)):
            text = f"{folder}{slash}{name}{'/' if is_folder else ''}"
            meta = "folder" if is_folder else ""
            yield Candidate(text, start, "path", text.rpartition("/")[2] or f"{name}/", meta)


def _commands(line: str, offset: int, words: Words) -> Iterator[Candidate]:
    """The commands of the shell, and what may follow one."""
    name, space, rest = line.partition(" ")
    if not space:
        for command, (usage, summary) in words.commands.items():
            if command.startswith(name):
                more = " " if usage != command else ""
                yield Candidate(command + more, offset, "command", usage, summary)
        return
    usage = words.commands.get(name, ("", ""))[0]
    last = rest.rpartition(" ")[2]
    start = offset + len(line) - len(last)
    if "FILE" in usage or "PATH" in usage:
        yield from paths(last.lstrip("'\""), start, words)
    elif name == ".schema":
        for table, columns in words.tables.items():
            if _fits(table, last):
                yield Candidate(table, start, "table", table, _counted(columns))
    elif name == ".functions":
        for function in words.functions.values():
            if function.kind and _fits(function.name, last):
                meta = function.signature
                yield Candidate(function.name, start, "function", function.name, meta)
    else:
        for choice in usage.partition(" ")[2].split("|"):
            if choice.islower() and choice.startswith(last):
                yield Candidate(choice, start, "keyword", choice)
