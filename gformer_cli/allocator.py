"""How this process gets its memory: a network asks for the same large activations again and again."""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
_LARGEST = 1 << 30
"""Bytes. What is larger is given back when it is freed, as ever."""
_LARGEST_BEFORE_2_35 = 1 << 25
"""The most that an older glibc accepts."""
GIVE_BACK_EVERY = 20.0
"""Seconds."""


class KeptMemory:
    """Freed activations that stay with the process for the next batch, and are given back every now and then.

    By default glibc returns every block of more than 32 MB to the system, which fills the next one with zeros page by
    page: a tenth of the time of a pass (docs/explanation/performance.md). Kept for ever, gaps between blocks would add
    up. The whole process is set so. A user's own settings of malloc (`MALLOC_...`, `GLIBC_TUNABLES`) stay in force, and
    on other systems nothing is done.
    """

    def __init__(self) -> None:
        libc = _glibc()
        self._libc = libc if libc is not None and _keep(libc) else None
        self._due = time.monotonic() + GIVE_BACK_EVERY

    @property
    def active(self) -> bool:
        """Whether malloc has agreed."""
        return self._libc is not None

    def give_back_if_due(self) -> bool:
        """Give back what is free, unless that was done a moment ago; whether it was."""
        if self._libc is None or time.monotonic() < self._due:
            return False
        self._libc.malloc_trim(0)
        self._due = time.monotonic() + GIVE_BACK_EVERY
        return True


def give_back() -> None:
    """Return what is free to the system, of all threads: each of them keeps memory for itself. Not on every system."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt, libc.malloc_trim  # noqa: B018
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return libc


def _keep(libc: ctypes.CDLL) -> bool:
    accepted = any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in (_LARGEST, _LARGEST_BEFORE_2_35))
    return accepted and bool(libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST))
