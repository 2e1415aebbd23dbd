"""The prompt's keys, its list and its toolbar, on a terminal that is none."""

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from fin_sql.cli.prompt import META, SqlCompleter, finished, history, prompt_session, toolbar
from fin_sql.cli.words import Argument, Column, Function, Words

EWMA = Function(
    "ewma", "ewma(x, alpha)", "Exponentially " * 20, "window",
    (Argument("x", "DOUBLE", False, None, None), Argument("alpha", "DOUBLE", True, None, None)),
)  # fmt: skip
WORDS = Words(tables={"trades": [Column("price", "DOUBLE")]}, functions={"ewma": EWMA})


def typed(keys):
    """What the prompt gives for some keys."""
    with create_pipe_input() as pipe:
        prompt = prompt_session(
            lambda: WORDS, lambda: "", InMemoryHistory(), input=pipe, output=DummyOutput()
        )
        pipe.send_text(keys)
        return prompt.prompt()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("SELECT 1;\r", "SELECT 1;"),
        ("SELECT\r1;\r", "SELECT\n1;"),
        ("SELECT ';\r';\r", "SELECT ';\n';"),
        ("SELECT 1; -- so\r", "SELECT 1; -- so"),
        (".help\r", ".help"),
        ("\r", ""),
        ("SELECT 1\x1b\r", "SELECT 1"),  # Alt-Enter
        ("SELECT 2;\x1b[D\x1b[D\r", "SELECT 2;"),  # the cursor need not stand at the end
        ("\x1b[200~SELECT 1;\nSELECT 2;\x1b[201~\r", "SELECT 1;\nSELECT 2;"),  # pasted
    ],
)
def test_enter_ends_what_is_finished(keys, text):
    assert typed(keys) == text


def test_ctrl_d_leaves_and_ctrl_c_interrupts():
    with pytest.raises(EOFError):
        typed("\x04")
    with pytest.raises(KeyboardInterrupt):
        typed("SELECT\x03")


@pytest.mark.parametrize("text", ["", "  ", "-- c", ".x", "SELECT 1;", "/* a */"])
def test_a_finished_text(text):
    assert finished(text)


@pytest.mark.parametrize("text", ["SELECT", "SELECT ';", "/* a", "SELECT 1; SELECT"])
def test_a_text_that_is_not_finished(text):
    assert not finished(text)


def listed(text, *, asked):
    event = CompleteEvent(completion_requested=asked, text_inserted=not asked)
    return list(SqlCompleter(lambda: WORDS).get_completions(Document(text), event))


def test_the_list_opens_by_itself_where_something_is_begun():
    assert listed("SELECT ", asked=False) == []
    assert [c.text for c in listed("SELECT ew", asked=False)] == ["ewma("]
    assert [c.text for c in listed("SELECT * FROM trades t WHERE t.", asked=False)] == ["price"]
    assert listed("SELECT * FROM trades", asked=False) == []
    assert len(listed("SELECT ", asked=True)) > 3
    (found,) = listed("SELECT ew", asked=True)
    assert found.start_position == -2
    assert len(found.display_meta_text) == META and found.display_meta_text.endswith("…")


def test_the_toolbar_marks_the_argument_at_the_cursor():
    text = "SELECT ewma(price, 0.1)"
    shown = toolbar(text, len(text) - 1, WORDS, "settings")
    assert [part for style, part in shown if style.endswith("active")] == ["alpha"]
    assert "".join(part for _, part in shown) == "ewma(x, alpha)  alpha: DOUBLE constant"
    assert toolbar("SELECT ", 7, WORDS, "settings") == [("class:bottom-toolbar", "settings")]


def test_a_history_that_cannot_be_kept_is_no_obstacle(tmp_path):
    kept, trouble = history(tmp_path / "a" / "history")
    assert isinstance(kept, FileHistory) and trouble == ""
    (tmp_path / "file").write_text("")
    kept, trouble = history(tmp_path / "file" / "history")
    assert isinstance(kept, InMemoryHistory)
    assert trouble.startswith("the history is not kept: ")
