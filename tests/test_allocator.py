from __future__ import annotations

import subprocess
import sys

import pytest

from gformer_cli import allocator
from gformer_cli.allocator import KeptMemory

PASSES = """
import resource, torch
from gformer_cli import allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = torch.ones(1 << 24)  # 64 MB, as a wide activation; and one that comes of it
    b = a.relu()
    del a, b
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

memory = allocator.KeptMemory()
# the least of several passes: blocks find their places now and then in the first, now and then in the seventh
each, held = min(faults() for _ in range(10)), resident()
memory._due = 0.0
print(memory.active, each, memory.give_back_if_due(), held - resident())
"""


def run(**environment: str) -> tuple[str, int, str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PASSES], capture_output=True, text=True, check=True, env={"PATH": "", **environment}
    )
    active, faults, given, megabytes = done.stdout.split()
    return active, int(faults), given, int(megabytes)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again_and_given_back_when_due() -> None:
    active, faults, given, megabytes = run()
    assert active == given == "True"
    assert faults < 8_000 and megabytes > 100


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_users_own_settings_of_malloc_stay_in_force() -> None:
    active, faults, given, megabytes = run(MALLOC_ARENA_MAX="2")
    assert active == given == "False"
    assert faults > 30_000 and megabytes == 0


def test_it_is_not_given_back_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(allocator.time, "monotonic", lambda: now)
    memory = KeptMemory()
    assert not memory.give_back_if_due()
    now += allocator.GIVE_BACK_EVERY
    assert memory.give_back_if_due() == memory.active
    assert not memory.give_back_if_due()


def test_a_system_without_glibc_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    memory = KeptMemory()
    memory._due = 0.0
    assert not memory.active and not memory.give_back_if_due()
