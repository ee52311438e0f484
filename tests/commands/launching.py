"""Commands in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

GFORMER = (sys.executable, "-m", "gformer_cli")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
Launched = subprocess.CompletedProcess[str]


def line(*words: object, by: tuple[str, ...] = (*GFORMER, "launch"), processes: int = 2) -> list[str]:
    return [*by, "--standalone", "--nproc-per-node", str(processes), *map(str, words)]


def launched(*words: object, by: tuple[str, ...] = (*GFORMER, "launch"), processes: int = 2) -> Launched:
    """What processes of one thread each say and come to."""
    command = line(*words, by=by, processes=processes)
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)


def struck(until: Callable[[], bool], strike: Callable[[int], None], rank: int, *words: object) -> Launched:
    """The same, where `strike` is given the process of this `rank` once `until` holds."""
    running = subprocess.Popen(line(*words), stdout=-1, stderr=-1, text=True, env=ENVIRONMENT)
    while not until():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    strike(_process(running.pid, rank))
    out, err = running.communicate(timeout=120)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def _process(parent: int, rank: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, environment = (folder / "status").read_text(), (folder / "environ").read_bytes()
        except OSError:  # it has just ended
            continue
        if f"PPid:\t{parent}\n" in status and f"RANK={rank}".encode() in environment.split(b"\0"):
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")
