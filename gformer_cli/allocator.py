"""How this process gets its memory: a network asks for the same large activations again and again."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
_LARGEST = 1 << 30
"""Bytes. What is larger is given back when it is freed, as ever."""
_LARGEST_BEFORE_2_35 = 1 << 25
"""The most that an older glibc accepts."""


def keep_freed_memory() -> bool:
    """Have malloc keep freed activations for the next ones instead of giving them back; whether it agreed.

    By default glibc returns every block of more than 32 MB to the system, which fills the next one with zeros page by
    page: a tenth of the time of a pass (docs/performance.md). The process's peak stays what it was, but it holds that
    much until it ends. A user's own settings of malloc (`MALLOC_...`, `GLIBC_TUNABLES`) stay in force, and on other
    systems nothing is done.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    if not any(mallopt(_M_MMAP_THRESHOLD, size) for size in (_LARGEST, _LARGEST_BEFORE_2_35)):
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
