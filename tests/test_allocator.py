from __future__ import annotations

import subprocess
import sys

import pytest

from gformer_cli.allocator import keep_freed_memory

FAULTS = """
import resource, torch
from gformer_cli.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

agreed = keep_freed_memory()
faults()
print(agreed, faults())
"""


def run(**environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env={"PATH": "", **environment}
    )
    agreed, faults = done.stdout.split()
    return agreed, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again_unless_the_user_has_settings_of_malloc() -> None:
    kept, given_back = run(), run(MALLOC_ARENA_MAX="2")
    assert kept[0] == "True" and kept[1] < 100
    assert given_back[0] == "False" and given_back[1] > 1000


def test_a_system_without_glibc_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert not keep_freed_memory()
