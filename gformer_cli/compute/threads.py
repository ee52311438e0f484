"""How many cores this process may use, and how its threads wait. No torch here: some of it must be set before.

PyTorch's threads meet at a barrier after every operation, and there they spin: a core that another process needs is
burnt, and beside other work two threads are slower than one. A short spin costs nothing on an idle machine and gives
the core away on a busy one (docs/explanation/performance.md, "Beside other work").
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Whoever sets one of them has decided how threads wait."""
SHORT_SPIN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""GNU OpenMP, in turns of the loop (microseconds); Intel's and LLVM's, in milliseconds in the place of 200."""

MOST_THREADS = 256
"""Each thread that is asked for is made."""


def short_spin(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Let this process's threads spin briefly, unless the user has said how they wait; whether that was set.

    Works only before torch is imported. Processes that are started from this one do the same.
    """
    if any(name in environment for name in _WAITING):
        return False
    environment.update(SHORT_SPIN)
    return True


def how_threads_wait() -> str:
    """In words, as the environment has it."""
    said = [f"{name}={os.environ[name]}" for name in _WAITING if name in os.environ]
    return ", ".join(said) or "as the system has it"


@dataclass(frozen=True)
class Cores:
    """How many threads may run at once, and who says so."""

    count: int
    fixed: bool
    """The user has chosen the number: no other is tried."""
    reason: str


def pick_cores(wanted: int | None) -> Cores:
    """`wanted` (from `--threads`), else what OMP_NUM_THREADS says, else the cores that this process may use."""
    if wanted is not None:
        return Cores(wanted, True, "--threads")
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list is one number a level of nesting
    if told.isdecimal() and int(told) > 0:
        return Cores(int(told), True, "OMP_NUM_THREADS")
    count, quota = usable_cores(), cpu_quota()
    if quota is not None and quota < allowed_cores():
        return Cores(count, False, f"a quota of {quota:g} cores")
    return Cores(count, False, "one a core")


def usable_cores() -> int:
    """Cores that this process may use: of those that the scheduler allows, whole ones within its quota of time."""
    quota = cpu_quota()
    # what a part of a core is used for would be taken away again before the end of every period
    return allowed_cores() if quota is None else max(1, min(allowed_cores(), math.floor(quota)))


def allowed_cores() -> int:
    """Cores that the scheduler may put this process on (its affinity, where the system has such a thing)."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """The CPU time that this process's control group may use, in cores; None without a limit.

    Containers are limited so. The lowest limit of the group and its parents holds. Both versions of control groups
    are read, as the kernel documents them (cpu.max; cpu.cfs_quota_us and cpu.cfs_period_us).
    """
    found = [quota for folder in _groups(root, own) if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Folders of the groups that this process is in, with their parents."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        inside = Path(path.lstrip("/"))
        # within a container the path may name a folder that is mounted as the top one
        for folder in (inside, *inside.parents):
            yield top / folder
    yield from (root, root / "cpu")


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, _, period = (folder / "cpu.max").read_text(encoding="ascii").strip().partition(" ")
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        cores = float(quota) / float(period or 100_000)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: there is no limit
        return None
    return cores if cores > 0 else None
