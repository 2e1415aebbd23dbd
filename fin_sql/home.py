"""A home: the folder in which a session keeps things, which is its own while it is open."""

from __future__ import annotations

import fcntl
import os
import re
import weakref
from pathlib import Path

from fin_sql.catalog.staging import discard, flush, unwritable, write_whole
from fin_sql.errors import StateError, StateVersionError

FORMAT = 1
_MARK = "fin_sql home"
_LEFT = re.compile(r"\.format\.[0-9a-f]{8}\.part")  # by a process that was killed


class Home:
    """A folder with a format-version file, a lock, and a folder for each kind of thing.

    ```text
    format    "fin_sql home 1": what wrote it must be understood
    lock      held by the process that has it open, which it names
    tables/   see fin_sql.kept
    ```

    Args:
        path: it is made if it does not exist, or is empty.

    Raises:
        StateError: it is in use, or no home.
        StateVersionError: it was written by a newer version.
        SourceError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        try:
            self._make()
            self._close = weakref.finalize(self, os.close, self._locked())
            self._process = os.getpid()
            try:
                self._check_format()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise unwritable(str(self.path), error) from None

    def _make(self) -> None:
        if not self.path.exists():
            if not self.path.parent.is_dir():
                msg = (
                    f"there is no folder '{self.path.parent}' for home '{self.path}'; make it first"
                )
                raise StateError(msg)
            self.path.mkdir(exist_ok=True)
            flush(self.path.parent)
        if not self.path.is_dir():
            raise StateError(f"home '{self.path}' is no folder")
        names = {entry.name for entry in self.path.iterdir() if not _LEFT.fullmatch(entry.name)}
        if "format" not in names and names - {"lock"}:
            msg = f"folder '{self.path}' is no home: it has no file 'format', and is not empty"
            raise StateError(f"{msg}; name a new folder")

    def _locked(self) -> int:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 20).decode().strip()
            os.close(lock)
            who = "another process"
            if pid:
                who = "this process" if pid == str(os.getpid()) else f"process {pid}"
            msg = f"home '{self.path}' is in use by {who}: close the session that has it open"
            raise StateError(msg) from None
        except OSError:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return lock

    def _check_format(self) -> None:
        place = self.path / "format"
        for left in filter(lambda path: _LEFT.fullmatch(path.name), list(self.path.iterdir())):
            discard(left)
        if not place.exists():
            write_whole(place, f"{_MARK} {FORMAT}\n".encode())
        said = place.read_bytes().decode(errors="replace").strip()
        mark, _, number = said.rpartition(" ")
        if mark != _MARK or not number.isdigit():
            raise StateError(
                f"folder '{self.path}' is no home: its file 'format' says '{said[:40]}'"
            )
        if int(number) > FORMAT:
            msg = (
                f"home '{self.path}' has format {number}, and this fin_sql knows {FORMAT}: "
                "use the newer version that wrote it"
            )
            raise StateVersionError(msg)

    def folder(self, name: str) -> Path:
        """The folder of one kind of thing; it is made if it does not exist."""
        place = self.path / name
        if not place.is_dir():
            place.mkdir()
            flush(self.path)
        return place

    def check(self) -> None:
        """Whether this process may write here.

        Raises:
            StateError: it was given back, or is another process's.
        """
        if not self._close.alive:
            raise StateError(f"home '{self.path}' was closed: open it again by fin_sql.connect")
        if self._process != os.getpid():
            msg = (
                f"home '{self.path}' belongs to process {self._process}, of which this one is a "
                "copy: it can read there, and not write"
            )
            raise StateError(msg)

    def close(self) -> None:
        """Give it back, so that another session can open it."""
        self._close()
