"""Decoded and resized images on disk, by the content of their files: the next time they cost no decoding.

One SQLite database, in a folder that the user names. It is whole whatever process is killed, and several may use it.
What does not fit under its limit is decoded again. No torch here.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from threading import Lock
from typing import Any

import PIL

from gformer_cli.errors import InputError
from gformer_cli.files import make_folder
from gformer_cli.images.resizing import Resizing

NAME = "pixels.sqlite"
_PAGE = 16384
"""Bytes of the database's pages: an image takes whole ones."""
_AT_ONCE = 64
"""Images that make room together."""
_VERSION = 1
"""Of how files are decoded: a change makes other keys."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (key BLOB PRIMARY KEY, pixels BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS uses (key BLOB PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS oldest ON uses (time);
"""
_inherited: list[sqlite3.Connection] = []
"""Connections of the process that this one was forked off: they must not even be closed here."""


class PixelStore:
    """Pixels by key, in `folder`, whose database takes at most `limit` bytes.

    Where it is full, images that nobody has used since this command began make room; else nothing is added. Raises
    `InputError` where `folder` cannot hold one.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.path = make_folder(folder) / NAME
        self.limit = limit
        self._began = time.time()
        self._owner = 0
        self._full = False
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "limit": self.limit, "_began": self._began}  # on its way to a process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _owner=0)

    def get(self, key: bytes) -> bytes | None:
        """The pixels that were put under `key`; None where there are none."""
        found = self._do(lambda database: self._find(database, key))
        return None if found is None else bytes(found)

    def put(self, key: bytes, pixels: bytes) -> None:
        """Keep `pixels` under `key`, if there is room."""
        self._do(lambda database: self._keep(database, key, pixels))

    def _find(self, database: sqlite3.Connection, key: bytes) -> bytes | None:
        row = database.execute("SELECT pixels, time FROM images JOIN uses USING (key) WHERE key = ?", [key]).fetchone()
        if row is None:
            return None
        if row[1] < self._began:  # once a command is enough
            database.execute("UPDATE uses SET time = ? WHERE key = ?", [time.time(), key])
        return bytes(row[0])

    def _keep(self, database: sqlite3.Connection, key: bytes, pixels: bytes) -> None:
        while not self._full:
            try:
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    database.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", [key, pixels])
                    database.execute("INSERT OR REPLACE INTO uses VALUES (?, ?)", [key, time.time()])
                return
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise
                self._full = not self._make_room(database)

    def _make_room(self, database: sqlite3.Connection) -> bool:
        """Drop the images that were not used for the longest time; says whether there were any."""
        with database:
            database.execute("BEGIN IMMEDIATE")
            oldest = "SELECT key FROM uses WHERE time < ? ORDER BY time LIMIT ?"
            found = database.execute(oldest, [self._began, _AT_ONCE]).fetchall()
            database.executemany("DELETE FROM images WHERE key = ?", found)
            database.executemany("DELETE FROM uses WHERE key = ?", found)
        return bool(found)

    def _do(self, work: Callable[[sqlite3.Connection], bytes | None]) -> bytes | None:
        """What `work` makes of the database; None where another process holds it for too long, or the disk fails."""
        if self._owner != os.getpid():
            if self._owner:
                _inherited.append(self._database)
            self._open()
        try:
            with self._lock:
                return work(self._database)
        except sqlite3.Error:  # the image is decoded, as it is without a store
            return None

    def _open(self) -> None:
        try:
            database = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
            database.execute(f"PRAGMA page_size = {_PAGE}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InputError(
                f"cannot use {self.path} as a cache: {error}", "Remove it, or name another folder with --cache."
            ) from None
        self._database, self._owner, self._lock, self._full = database, os.getpid(), Lock(), False
        pages = max(1, self.limit // _PAGE)
        while self._pages("page_count") - self._pages("freelist_count") > pages and self._make_room(database):
            pass
        if self._pages("page_count") > pages:
            database.execute("PRAGMA incremental_vacuum").fetchall()
        database.execute(f"PRAGMA max_page_count = {pages}")

    def _pages(self, which: str) -> int:
        return int(self._database.execute(f"PRAGMA {which}").fetchone()[0])


def key_of(digest: str, how: Resizing, *others: object) -> bytes:
    """Of the file with this SHA-256, resized so; `others` is what else its pixels depend on."""
    told = [(one.name, getattr(how, one.name)) for one in fields(Resizing)]
    return hashlib.sha256(repr((_VERSION, PIL.__version__, digest, told, others)).encode()).digest()
