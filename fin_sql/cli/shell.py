"""fin-sql shell: statements and commands at a prompt, or from the standard input."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fin_sql.cli.commands import Leave, run_text
from fin_sql.cli.tables import Folders, Orders, Tables, add_tables
from fin_sql.errors import CancelledError, FinSqlError

if TYPE_CHECKING:
    from fin_sql.cli.session import Session


def shell(
    table: Tables = None,
    tables: Folders = None,
    order_by: Orders = None,
    history: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            show_default=False,
            help="Keep statements in this file; by default fin_sql/history in the state folder.",
        ),
    ] = None,
) -> None:
    """Type SQL at a prompt, with history, completion and signatures.

    A statement ends with ';' and may take several lines. A line that begins
    with a dot is a command: .help lists them. Tab completes, Ctrl-C cancels
    a query, Ctrl-D leaves.

    Statements on the standard input run up to the first that fails.

    For example:

        fin-sql shell --tables market

        fin-sql shell -t trades=trades.parquet -t quotes='quotes/*.parquet'

        fin-sql shell --tables market < features.sql
    """
    from fin_sql.cli.session import Session
    from fin_sql.connection import connect

    ctx = connect()
    add_tables(ctx, table, tables, order_by)
    session = Session(ctx, interactive=sys.stdin.isatty() and sys.stdout.isatty())
    if session.interactive:
        talk(session, history or state_folder() / "history")
    else:
        run_script(session, sys.stdin.read())
    _leave()


def state_folder() -> Path:
    """Where the history lies: $XDG_STATE_HOME/fin_sql, by default ~/.local/state/fin_sql."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "fin_sql"


def run_script(session: Session, text: str) -> None:
    """Run a script up to the first statement that fails.

    Raises:
        FinSqlError: one fails.
        typer.Exit: it was interrupted, or fails in a way that is not foreseen.
    """
    try:
        run_text(session, text)
    except Leave:
        pass
    except CancelledError as error:
        sys.stderr.write(f"fin-sql: {error}\n")
        raise typer.Exit(130) from None
    except (FinSqlError, BrokenPipeError):
        raise
    except Exception as error:  # whatever it is, a person wants no traceback
        sys.stderr.write(f"fin-sql: {type(error).__name__}: {error}\n")
        raise typer.Exit(1) from None


def talk(session: Session, history_file: Path, **terminal: Any) -> None:
    """Read and run what a person types, until they leave.

    Args:
        session: runs it.
        history_file: of earlier statements.
        terminal: `input` and `output` in place of the terminal's own.
    """
    from fin_sql.cli.prompt import history, prompt_session

    kept, trouble = history(history_file)
    prompt = prompt_session(session.words, lambda: _settings(session), kept, **terminal)
    print(_greeting(session))
    if trouble:
        _complain(trouble)
    while True:
        try:
            text = prompt.prompt()
        except KeyboardInterrupt:
            continue  # it clears the line
        except EOFError:
            return
        try:
            run_text(session, text)
        except Leave:
            return
        except FinSqlError as error:
            _complain(str(error))
        except (KeyboardInterrupt, SystemExit):
            _complain("interrupted")
        except BaseException as error:  # a panic of DataFusion is no Exception
            _complain(f"{type(error).__name__}: {error}")


def _greeting(session: Session) -> str:
    count = len(session.tables())
    tables = f"{count} table{'' if count == 1 else 's'}"
    return f"fin_sql with {tables}. Statements end with ';', .help lists the commands."


def _settings(session: Session) -> str:
    timing = "on" if session.timing else "off"
    output = f"  output {session.output}" if session.output else ""
    return f"mode {session.mode}  timing {timing}{output}  .help"


def _complain(message: str) -> None:
    red, plain = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    sys.stdout.flush()
    sys.stderr.write(f"{red}{message}{plain}\n")


def _leave() -> None:
    """End at once where a query was left behind: Python would not outlive its return."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith("fin_sql ") for thread in threading.enumerate()):
        os._exit(0)
