"""Tables that a home keeps: Parquet files, and for each table a manifest that names them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from fin_sql.catalog.files import FileSource, open_files
from fin_sql.catalog.options import ROW_GROUP, Options
from fin_sql.catalog.staging import discard, flush, unwritable, write_whole
from fin_sql.catalog.writers import Gathered, OneFile, conformed, open_writer, written_columns
from fin_sql.errors import SourceError, SqlError, StateCorruptError, StateError
from fin_sql.home import Home

MANIFEST = "manifest.json"
FORMAT = 1  # of a manifest
SMALL, FEW = 65_536, 16  # so many files of so few rows at the end become one
_PART = re.compile(r"part-[0-9a-f]{16}\.parquet")
_OWN = re.compile(rf"{_PART.pattern}|\.manifest\.json\.[0-9a-f]{{8}}\.part")
_HIDDEN = re.compile(r"\.new-[0-9a-f]{16}|\.gone-[0-9a-f]{16}")


@dataclass(frozen=True)
class Part:
    """A file of a table."""

    file: str
    rows: int
    bytes: int


class Kept:
    """The tables of a home.

    A folder `tables/name/` has a manifest from the moment that it has its name, so that one
    without is damaged. The manifest of a table that was dropped, or is not there yet, says so.

    A statement goes these steps; the third is the one that counts:

    1. The rows are written to a file that no manifest names, and which is flushed to the disk.
    2. A manifest that names it is written beside the one that there is, and flushed.
    3. The one takes the place of the other, by a rename, and the folder is flushed.
    4. What no manifest names is removed, unless a query still reads it.

    Args:
        home: whose.
        memory_limit: of which a quarter may be held while rows wait to be written.
    """

    def __init__(self, home: Home, memory_limit: int) -> None:
        self._home, self._limit = home, memory_limit // 4
        self._folder = home.folder("tables")
        self._parts: dict[str, list[Part]] = {}
        self._sources: dict[str, FileSource] = {}
        self._readable: weakref.WeakSet[FileSource] = weakref.WeakSet()
        self.damaged: dict[str, str] = {}
        for place in sorted(self._folder.iterdir()):
            if _HIDDEN.fullmatch(place.name):
                discard(place)
            elif place.is_dir() and not place.name.startswith("."):
                self._open(unquote(place.name))
        self.clean()

    def _open(self, name: str) -> None:
        try:
            parts = self._manifest(name)
            if parts is not None:
                self._sources[name] = self._source(name, parts)
                self._parts[name] = parts
        except StateCorruptError as error:
            self.damaged[name] = str(error)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))

    def __contains__(self, name: str) -> bool:
        return name in self._parts or name in self.damaged

    def source(self, name: str) -> FileSource:
        """The rows of a table.

        Raises:
            StateCorruptError: it is damaged.
        """
        self.check(name)
        return self._sources[name]

    def check(self, name: str) -> None:
        """Refuse a table that is damaged.

        Raises:
            StateCorruptError: it is.
        """
        if name in self.damaged:
            raise StateCorruptError(self.damaged[name])

    @property
    def writable(self) -> bool:
        """Whether the home is still open, and this process's."""
        try:
            self._home.check()
        except StateError:
            return False
        return True

    def pinned(self) -> list[FileSource]:
        """What is there now; who holds it can read it until he lets go."""
        return list(self._sources.values())

    # ------------------------------------------------------------ reading

    def _place(self, name: str) -> Path:
        folder = quote(name, safe="")
        return self._folder / (f"%2E{folder[1:]}" if folder.startswith(".") else folder)

    def _broken(self, name: str, what: str) -> StateCorruptError:
        msg = (
            f"table '{name}' of home '{self._home.path}' is damaged: {what}. It was left as it is: "
            f"put the files of '{self._place(name)}' back from a copy, or DROP TABLE {name}"
        )
        return StateCorruptError(msg)

    def _manifest(self, name: str) -> list[Part] | None:
        """The files of a table; None where it was dropped."""
        place = self._place(name) / MANIFEST
        try:
            held = json.loads(place.read_bytes())
            if held["format"] > FORMAT:
                raise self._broken(name, f"its manifest has format {held['format']}, a newer one")
            if held.pop("digest") != _digest(held) or held["table"] != name:
                raise ValueError("its digest is another")
            parts = [Part(**part) for part in held["parts"]]
            if not all(_PART.fullmatch(part.file) for part in parts):
                raise ValueError("it names a file that is none of a table")
            return parts if held["exists"] else None
        except FileNotFoundError:
            raise self._broken(name, f"it has no {MANIFEST}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._broken(name, f"its {MANIFEST} cannot be read ({error})") from None

    def _source(self, name: str, parts: Sequence[Part]) -> FileSource:
        for part in parts:
            try:
                size = (self._place(name) / part.file).stat().st_size
            except OSError as error:
                raise self._broken(name, f"{part.file}: {error.strerror}") from None
            if size != part.bytes:
                what = f"{part.file} has {size} bytes, and the manifest says {part.bytes}"
                raise self._broken(name, what)
        files = [str(self._place(name) / part.file) for part in parts]
        try:
            source = open_files(files, "parquet", as_listed=True)
        except SourceError as error:
            raise self._broken(name, str(error)) from None
        self._readable.add(source)
        return source

    # ------------------------------------------------------------ writing

    def create(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Make a table, or replace one when its rows are complete; returns how many it has.

        Raises:
            StateCorruptError: one of that name is damaged.
        """
        self._home.check()
        self.check(name)
        if len(os.fsencode(quote(name, safe=""))) > 200:
            raise SqlError(f"a table that is kept has a name of at most 200 bytes, was '{name}'")
        self._make_folder(name)
        part = self._written(name, written_columns("parquet", schema), batches)
        self._publish(name, [part])
        return part.rows

    def append(self, name: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Add rows in the columns of the table; returns how many."""
        self._home.check()
        source, parts = self.source(name), self._parts[name]
        few = len(parts)
        while few and parts[few - 1].rows < SMALL:
            few -= 1
        if len(parts) - few < FEW:
            few = len(parts)
        tail = parts[few:]
        before = sum(part.rows for part in tail)
        if tail:
            batches = chain(self._rows(name, tail, source.schema), batches)
        part = self._written(name, source.schema, batches)
        added = part.rows - before
        if added:
            self._publish(name, [*parts[:few], part])
        else:
            discard(self._place(name) / part.file)
        return added

    def _rows(
        self, name: str, parts: Sequence[Part], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        for batch in self._source(name, parts).scan(schema.names):
            yield conformed(batch, schema)

    def drop(self, name: str) -> None:
        """Remove a table, also a damaged one."""
        self._home.check()
        try:
            self._write_manifest(self._place(name), name, [], exists=False)
        except OSError as error:
            raise unwritable(str(self._place(name)), error) from None
        for known in (self._parts, self._sources, self.damaged):
            known.pop(name, None)

    def _make_folder(self, name: str) -> None:
        """A folder whose manifest says that there is no such table yet."""
        place = self._place(name)
        try:
            if not place.exists():
                new = self._folder / f".new-{secrets.token_hex(8)}"
                new.mkdir()
                self._write_manifest(new, name, [], exists=False)
                new.rename(place)
                flush(self._folder)
        except OSError as error:
            raise unwritable(str(place), error) from None

    def _written(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Part:
        """A new file that no manifest names yet."""
        file = f"part-{secrets.token_hex(8)}.parquet"
        place, rows, done = self._place(name) / file, 0, False
        options = Options(compression="zstd")
        gathered = Gathered(
            place, lambda path: open_writer("parquet", path, schema, options), schema, ROW_GROUP
        )
        writer = OneFile(gathered, self._limit)
        try:
            for batch in batches:
                writer.add(conformed(batch, schema))
                rows += batch.num_rows
            writer.close()
            flush(place)
            flush(place.parent)
            done = True
            return Part(file, rows, place.stat().st_size)
        except (OSError, pa.ArrowException) as error:
            raise unwritable(str(place), error) from None
        finally:
            if not done:
                writer.abandon()
                discard(place)

    def _publish(self, name: str, parts: list[Part]) -> None:
        """Let the manifest name other files, in one step."""
        place = self._place(name)
        try:
            self._write_manifest(place, name, parts, exists=True)
        except OSError as error:
            raise unwritable(str(place), error) from None
        self._parts[name] = parts
        self._sources[name] = self._source(name, parts)

    def _write_manifest(
        self, place: Path, name: str, parts: Sequence[Part], *, exists: bool
    ) -> None:
        held: dict[str, Any] = {"format": FORMAT, "table": name, "exists": exists}
        held["parts"] = [asdict(part) for part in parts]
        held["digest"] = _digest(held)
        write_whole(place / MANIFEST, (json.dumps(held, indent=1) + "\n").encode())

    # ------------------------------------------------------------ what is left over

    def clean(self) -> None:
        """Remove what no manifest names and no query reads."""
        read = {name for source in self._readable for name in source.files}
        for place in list(self._folder.iterdir()):
            name = unquote(place.name)
            if not place.is_dir() or place.name.startswith(".") or name in self.damaged:
                continue
            named = {MANIFEST, *(part.file for part in self._parts.get(name, ()))}
            left = []
            for path in place.iterdir():
                if path.name not in named and _OWN.fullmatch(path.name) and str(path) not in read:
                    discard(path)
                elif path.name not in named:
                    left.append(path)
            if name not in self._parts and not left:
                gone = self._folder / f".gone-{secrets.token_hex(8)}"
                try:
                    place.rename(gone)
                except OSError:
                    continue
                discard(gone)


def _digest(held: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
