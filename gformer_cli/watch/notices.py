"""What the operating system tells about new files. A hint only: a scan from time to time finds what it missed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

# the library tells of its own stopping; what matters to a user is told here
logging.getLogger("watchdog").addHandler(logging.NullHandler())

FOLLOWED = 100
"""Sub-folders that there are notices of, besides the folder itself; each takes a thread of the library."""

_WANTED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]


class Noticed(NamedTuple):
    """What happened since the last look."""

    files: dict[str, bool]
    """Path of each new or changed file, relative to the folder, to whether it is being written to."""
    folders: bool
    """Whether a folder came: files in it may have come before anybody looked."""


class Notices:
    """Notices of one folder and of the sub-folders that it is told of. Where there are none, scans have to do."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = str(root) + os.sep
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._files: dict[str, bool] = {}
        self._folders = False
        self._observer: BaseObserver | None = None
        self.missing = ""
        """Why the system tells nothing; empty when it does."""
        self._handler = _Handler(self._take)
        self._watches: dict[str, ObservedWatch] = {}
        self._gone: set[str] = set()
        try:
            observer = Observer()
            # never recursive: the library then walks what comes, at the square of its depth in time and memory
            observer.schedule(self._handler, str(root), event_filter=_WANTED)
            observer.start()
            self._observer = observer
        except OSError as error:  # too many watches, or a file system without
            self.missing = error.strerror or str(error)

    def follow(self, folders: Iterable[str]) -> None:
        """Have notices of these sub-folders (relative paths) and no others: of the last changed where they are many."""
        if self._observer is None:
            return
        found: list[tuple[int, str]] = []
        for relative in folders:
            with suppress(OSError):  # it has gone
                found.append(((self._root / relative).stat().st_mtime_ns, relative))
        wanted = {relative for _, relative in sorted(found, reverse=True)[:FOLLOWED]}
        with self._lock:
            gone, self._gone = self._gone, set()
        # what was removed or renamed may be there again, but as another folder
        lost = {
            relative
            for relative in self._watches
            if not gone.isdisjoint({relative, *map(str, PurePosixPath(relative).parents)})
        }
        for relative in (self._watches.keys() - wanted) | lost:
            self._observer.unschedule(self._watches.pop(relative))
        for relative in sorted(wanted - self._watches.keys()):
            with suppress(OSError):  # too many watches: what comes there is found by scans
                watch = self._observer.schedule(self._handler, str(self._root / relative), event_filter=_WANTED)
                self._watches[relative] = watch

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5.0)

    def wait(self, seconds: float) -> None:
        """Until something happens, at most so long."""
        self._woken.wait(seconds)

    def take(self) -> Noticed:
        """Everything since the last call."""
        with self._lock:
            noticed = Noticed(self._files, self._folders)
            self._files, self._folders = {}, False
            self._woken.clear()
        return noticed

    def _take(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.dest_path or event.src_path)
        with self._lock:
            if event.is_directory:
                self._folders = True
                if event.event_type in (EVENT_TYPE_DELETED, EVENT_TYPE_MOVED):
                    self._gone.add(self._relative(os.fsdecode(event.src_path)))
            elif path.startswith(self._prefix):
                relative = self._relative(path)
                writing = self._files.get(relative, False)
                if event.event_type == EVENT_TYPE_MODIFIED:
                    writing = True
                elif event.event_type == EVENT_TYPE_CLOSED or event.dest_path:
                    writing = False
                self._files[relative] = writing
            self._woken.set()

    def _relative(self, path: str) -> str:
        return path.removeprefix(self._prefix).replace(os.sep, "/")


class _Handler(FileSystemEventHandler):
    def __init__(self, take: Callable[[FileSystemEvent], None]) -> None:
        self._take = take

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._take(event)
