"""What the operating system tells about new files. A hint only: a scan from time to time finds what it missed."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_MODIFIED,
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

# the library tells of its own stopping; what matters to a user is told here
logging.getLogger("watchdog").addHandler(logging.NullHandler())

# the library walks folders by functions that call themselves; no path is so long that it holds more folders than that
_DEEPEST_CALLS = 10_000

_WANTED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class Noticed(NamedTuple):
    """What happened since the last look."""

    files: dict[str, bool]
    """Path of each new or changed file, relative to the folder, to whether it is being written to."""
    folders: bool
    """Whether a folder came: files in it may have come before anybody looked."""


class Notices:
    """Notices of one folder and all below it, gathered by a thread. Where there are none, scans have to do."""

    def __init__(self, root: Path) -> None:
        self._prefix = str(root) + os.sep
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._files: dict[str, bool] = {}
        self._folders = False
        self._observer: BaseObserver | None = None
        self.missing = ""
        """Why the system tells nothing; empty when it does."""
        handler = _Handler(self._take)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEEPEST_CALLS))
        try:
            observer = Observer()
            observer.schedule(handler, str(root), recursive=True, event_filter=_WANTED)
            observer.start()
            self._observer = observer
        except OSError as error:  # too many watches, or a file system without
            self.missing = error.strerror or str(error)

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
            elif path.startswith(self._prefix):
                relative = path[len(self._prefix) :].replace(os.sep, "/")
                writing = self._files.get(relative, False)
                if event.event_type == EVENT_TYPE_MODIFIED:
                    writing = True
                elif event.event_type == EVENT_TYPE_CLOSED or event.dest_path:
                    writing = False
                self._files[relative] = writing
            self._woken.set()


class _Handler(FileSystemEventHandler):
    def __init__(self, take: Callable[[FileSystemEvent], None]) -> None:
        self._take = take

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._take(event)
