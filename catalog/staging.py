"""Files and folders that are written beside their names, and get them when they are complete."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import pyarrow.fs as fs

from fin_sql.catalog.files import ENDINGS, s3
from fin_sql.errors import FinSqlError, SourceError

_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD of fcntl.h
_DATA = tuple(ending for endings in ENDINGS.values() for ending in endings)
_BESIDE = re.compile(r"_common_metadata|_metadata|_SUCCESS|\..*\.crc|\..*\.part|\.DS_Store")
_LONGEST = 200  # bytes of a name that has room for a prefix and an ending


def staged(path: str, *, folder: bool, overwrite: bool | None) -> Staged:
    """A place to write to, whose content `publish` puts under a name.

    Args:
        path: of the file or folder, here or `s3://bucket/key`.
        folder: it is a folder.
        overwrite: whether what exists is replaced; by default a file is and a folder is not.
    """
    return (Remote if path.startswith("s3://") else Staged)(path, folder, overwrite)


class Staged:
    """A file or folder `.name.XXXXXXXX.part` beside its target, locked while it is written.

    Use it in a `with`: what was not published by its end is removed.
    """

    def __init__(self, path: str, folder: bool, overwrite: bool | None) -> None:
        self.path, self.folder, self.overwrite = path, folder, overwrite
        self.target = Path(path).expanduser()
        self._lock = -1

    def __enter__(self) -> Staged:
        try:
            self._look()
            self.place = self._placed(self.target.parent, self.target.name)
        except OSError as error:
            raise unwritable(self.path, error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        discard(self.place)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _look(self) -> None:
        """Whether the target may be written."""
        self.target = Path(os.path.realpath(self.target))
        parent = self.target.parent
        if not parent.is_dir():
            msg = f"'{self.path}' cannot be written: there is no folder '{parent}'; make it first"
            raise SourceError(msg)
        if not self.target.exists():
            return
        if not self.folder:
            if self.target.is_dir():
                msg = "is a folder: name a file in it, or add PARTITIONED BY or a '/' at its end"
                raise SourceError(f"'{self.path}' {msg}")
            if not self.target.is_file():
                raise SourceError(f"'{self.path}' is no plain file, and cannot be replaced by one")
            if self.overwrite is False:
                raise SourceError(f"'{self.path}' exists, and overwrite is off")
            return
        if not self.target.is_dir():
            raise SourceError(f"'{self.path}' is a file, and a folder is to be written; remove it")
        if not any(self.target.iterdir()):
            return
        self._refuse_full()
        files = [path for path in self.target.rglob("*") if not path.is_dir()]
        self._refuse_other([str(path.relative_to(self.target)) for path in files])
        if not can_exchange(self.target):
            msg = (
                f"'{self.path}' is not empty, and cannot be overwritten in one step: that takes "
                "Linux and a file system with RENAME_EXCHANGE; remove the folder, or name a new one"
            )
            raise SourceError(msg)

    def _refuse_full(self) -> None:
        if not self.overwrite:
            msg = "is a folder that is not empty: name a new one, or use OPTIONS (overwrite true)"
            raise SourceError(f"'{self.path}' {msg}")

    def _refuse_other(self, names: list[str]) -> None:
        """Refuse to overwrite a folder that holds more than data, and what is written beside it."""
        for name in names:
            if not name.lower().endswith(_DATA) and not _BESIDE.fullmatch(PurePosixPath(name).name):
                msg = f"'{self.path}' holds '{name}', which is no data file, and is not overwritten"
                raise SourceError(msg)

    def _placed(self, parent: Path, name: str) -> Path:
        """A new place, after those that killed statements left were removed."""
        if len(os.fsencode(name)) > _LONGEST:
            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        left = re.compile(re.escape(f".{name}.") + r"[0-9a-f]{8}\.part")
        for entry in os.scandir(parent):
            if left.fullmatch(entry.name):
                remove_if_left(parent / entry.name)
        while True:
            place = parent / f".{name}.{secrets.token_hex(4)}.part"
            if self.folder:
                place.mkdir()
                lock = os.open(place, os.O_RDONLY)
            else:
                lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            with suppress(OSError):  # a file system without locks: nobody removes what is left
                fcntl.flock(lock, fcntl.LOCK_EX)
            if place.exists() and os.path.samestat(os.fstat(lock), place.stat()):
                self._lock = lock
                return place
            os.close(lock)  # another statement took it for a left one before it was locked

    def publish(self) -> None:
        """Flush everything to the disk, and give it its name in one step.

        Raises:
            SourceError: it is not possible; what was there before is unchanged.
        """
        try:
            flush_tree(self.place) if self.folder else os.fsync(self._lock)
            if self.folder:
                self._publish_folder()
            elif self.overwrite is False:
                os.link(self.place, self.target)
            else:
                if self.target.exists():
                    os.fchmod(self._lock, stat.S_IMODE(self.target.stat().st_mode))
                self.place.replace(self.target)
        except OSError as error:
            raise unwritable(self.path, error) from None
        try:
            flush(self.target.parent)
        except OSError as error:
            msg = f"'{self.path}' is written, but the disk does not confirm it: {error.strerror}"
            raise SourceError(msg) from None

    def _publish_folder(self) -> None:
        if self.target.exists() and any(self.target.iterdir()):
            if not self.overwrite:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            exchange(self.place, self.target)
        else:
            self.place.rename(self.target)


class Remote(Staged):
    """A temporary file or folder here, which is sent to S3 when it is complete."""

    def _look(self) -> None:
        self._system, self._key = s3(), self.path.removeprefix("s3://").rstrip("/")
        info = self._system.get_file_info(self._key)
        if not self.folder:
            if self.overwrite is False and info.type == fs.FileType.File:
                raise SourceError(f"'{self.path}' exists, and overwrite is off")
        elif info.type == fs.FileType.File:
            raise SourceError(f"'{self.path}' is an object, and a folder is to be written")
        else:
            names = [key.removeprefix(f"{self._key}/") for key in self._objects()]
            if names:
                self._refuse_full()
                self._refuse_other(names)
        digest = hashlib.sha256(self.path.encode()).hexdigest()[:16]
        self.target = Path(tempfile.gettempdir()) / f"fin_sql-{digest}"

    def _objects(self) -> list[str]:
        chosen = fs.FileSelector(self._key, recursive=True, allow_not_found=True)
        found = self._system.get_file_info(chosen)
        return [info.path for info in found if info.type == fs.FileType.File]

    def publish(self) -> None:
        """Send everything; an object appears when its upload is complete."""
        try:
            if not self.folder:
                self._send(self.place, self._key)
                return
            before = set(self._objects())
            files = [path for path in sorted(self.place.rglob("*")) if path.is_file()]
            keys = [f"{self._key}/{path.relative_to(self.place).as_posix()}" for path in files]
            for path, key in zip(files, keys, strict=True):
                self._send(path, key)
            self._remove(before - set(keys), set(keys))
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _remove(self, keys: set[str], left: set[str]) -> None:
        """Remove objects; a folder that would be empty goes as a whole, or its name would stay."""
        places = {str(place) for key in left for place in PurePosixPath(key).parents}
        gone = set()
        for key in keys:
            above = [str(place) for place in PurePosixPath(key).parents]
            empty = [place for place in above if place not in places]
            gone.add(empty[-1] if empty else key)
        for name in sorted(gone):
            if name in keys:
                self._system.delete_file(name)
            else:
                self._system.delete_dir(name)

    def _send(self, path: Path, key: str) -> None:
        fs.copy_files(
            str(path),
            key,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self._system,
        )


# ---------------------------------------------------------------- steps that cannot be half done


def unwritable(path: str, error: Exception) -> FinSqlError:
    """An error of the system in plain words; one of fin_sql is itself."""
    if isinstance(error, FinSqlError):
        return error
    number = getattr(error, "errno", None)
    said = os.strerror(number).lower() if number else str(error).split("\n")[0].rstrip(".")
    return SourceError(f"'{path}' cannot be written: {said}; what was there before is unchanged")


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def flush_tree(folder: Path) -> None:
    """Flush all files of a folder, and all folders, those inside first."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            flush(Path(root, name))
        flush(Path(root))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a small file in one step."""
    place = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with place.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        place.replace(path)
    finally:
        place.unlink(missing_ok=True)
    flush(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Let two paths change their names in one step.

    Raises:
        OSError: the system or the file system cannot do that.
    """
    call: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def can_exchange(path: Path) -> bool:
    """Whether a folder can change its name with one beside it in one step."""
    made = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for _ in range(2)]
    try:
        for folder in made:
            folder.mkdir()
        exchange(*made)
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
    finally:
        for folder in made:
            discard(folder)
    return True


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there and may be removed."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return  # it has a hidden name, and the next statement tries again


def remove_if_left(path: Path) -> None:
    """Remove what a killed statement left; a statement that runs has it locked."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        discard(path)
    except OSError:
        return
    finally:
        os.close(lock)
