"""How much memory there is to take, on the machine and in the container."""

from __future__ import annotations

import re
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)
"""Limit, use and statistics of a container, in the two ways of Linux."""


def free_memory(device: torch.device) -> int | None:
    """Bytes that may be taken on `device`; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    known = [_of_machine(), *(_of_group(*map(Path, paths)) for paths in _GROUPS)]
    return min((size for size in known if size is not None), default=None)


def _of_machine() -> int | None:
    kib = _number(_MEMINFO, r"MemAvailable:\s+(\d+) kB")
    return None if kib is None else kib * 1024


def _of_group(limit: Path, use: Path, statistics: Path) -> int | None:
    most, taken = _number(limit, r"(\d+)"), _number(use, r"(\d+)")
    if most is None or taken is None:  # no container, or one without a limit
        return None
    cached = _number(statistics, r"(?m)^(?:total_)?inactive_file (\d+)") or 0  # is given up when memory runs short
    return max(0, most - taken + cached)


def _number(path: Path, pattern: str) -> int | None:
    try:
        found = re.search(pattern, path.read_text())
    except (OSError, UnicodeDecodeError):
        return None
    return None if found is None else int(found.group(1))
