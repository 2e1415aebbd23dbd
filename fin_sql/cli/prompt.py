"""The line that a person types at: history, colours, completion and the signature below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from fin_sql.cli.colours import FinSqlLexer
from fin_sql.cli.complete import Candidate, candidates
from fin_sql.cli.scan import complete, holds_words, pieces
from fin_sql.cli.signature import signature
from fin_sql.cli.words import Words

PROMPT, MORE = "fin_sql> ", "      -> "
META = 100  # characters that a list says of a candidate
STYLE = Style.from_dict(
    {
        "pygments.keyword": "bold ansiblue",
        "pygments.keyword.type": "ansicyan",
        "pygments.name.function": "bold ansigreen",
        "pygments.name.builtin": "ansicyan",
        "pygments.name.variable": "ansimagenta",
        "pygments.literal.string": "ansiyellow",
        "pygments.literal.number": "ansimagenta",
        "pygments.comment": "italic ansibrightblack",
        "pygments.error": "",
        "bottom-toolbar": "noreverse ansibrightblack",
        "bottom-toolbar.active": "noreverse bold ansigreen",
        "prompt": "bold ansigreen",
    }
)


class SqlCompleter(Completer):
    """Candidates as prompt_toolkit has them."""

    def __init__(self, words: Callable[[], Words]) -> None:
        self._words = words

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """The candidates at the cursor; unasked only where something is begun."""
        text, cursor = document.text, document.cursor_position
        for found in candidates(text, cursor, self._words()):
            if complete_event.completion_requested or _begun(found, text[:cursor]):
                meta = found.meta if len(found.meta) <= META else found.meta[: META - 1] + "…"
                start = found.start - cursor
                yield Completion(found.text, start, display=found.shown, display_meta=meta)


def _begun(found: Candidate, before: str) -> bool:
    """Whether a list may open by itself: it must not be in the way of a line that is finished."""
    written = before[found.start :]
    if not written:
        return before.endswith((".", "'", "/"))
    return found.text.lower() != written.lower()


def finished(text: str) -> bool:
    """Whether Enter ends the input: a command, a statement with its semicolon, or nothing."""
    if text.lstrip().startswith(".") or complete(text):
        return True
    return not holds_words(text) and all(piece.closed for piece in pieces(text))


def bindings() -> KeyBindings:
    """Enter ends a finished text and takes a line more of one that is not; Alt-Enter ends any."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer: Buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif finished(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys


def toolbar(text: str, cursor: int, words: Words, settings: str) -> StyleAndTextTuples:
    """The signature of the call at the cursor, or else the settings."""
    found = signature(text, cursor, words)
    if found is None:
        return [("class:bottom-toolbar", settings)]
    shown: StyleAndTextTuples = [("class:bottom-toolbar", f"{found.name}(")]
    for k, part in enumerate(found.parts):
        active = "class:bottom-toolbar.active" if k == found.active else "class:bottom-toolbar"
        shown += [("class:bottom-toolbar", ", " if k else ""), (active, part)]
    return [*shown, ("class:bottom-toolbar", f")  {found.about}")]


def history(path: Path) -> tuple[History, str]:
    """The statements of earlier sessions; and a word, where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        return InMemoryHistory(), f"the history is not kept: {error}"
    return FileHistory(str(path)), ""


def prompt_session(
    words: Callable[[], Words], settings: Callable[[], str], kept: History, **terminal: Any
) -> PromptSession[str]:
    """A prompt.

    Args:
        words: what completion may offer.
        settings: what the toolbar says outside of a call.
        kept: earlier statements.
        terminal: `input` and `output` in place of the terminal's own.
    """

    class Coloured(FinSqlLexer):
        kernels = frozenset(f.name for f in words().functions.values() if f.kind)

    def below() -> StyleAndTextTuples:
        buffer = get_app().current_buffer
        return toolbar(buffer.text, buffer.cursor_position, words(), settings())

    return PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=MORE,
        key_bindings=bindings(),
        lexer=PygmentsLexer(Coloured),
        completer=SqlCompleter(words),
        complete_while_typing=True,
        complete_in_thread=True,
        history=kept,
        style=STYLE,
        include_default_pygments_style=False,
        color_depth=ColorDepth.DEPTH_4_BIT,
        bottom_toolbar=below,
        **terminal,
    )
