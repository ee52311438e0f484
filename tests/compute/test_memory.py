from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gformer_cli.compute import memory

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of what the system tells, with 4 GiB available; nothing of a container."""
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4194304 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", (tuple(str(tmp_path / name) for name in ("max", "current", "stat")),))
    return tmp_path


def test_the_machine_tells_what_is_available(machine: Path) -> None:
    assert memory.free_memory(CPU) == 4 << 30


@pytest.mark.parametrize(("limit", "expected"), [("1073741824", 1073741824 - 1000 + 300), ("max", 4 << 30)])
def test_a_container_may_have_less(machine: Path, limit: str, expected: int) -> None:
    (machine / "max").write_text(f"{limit}\n")
    (machine / "current").write_text("1000\n")
    (machine / "stat").write_text("anon 7\ninactive_file 300\n")
    assert memory.free_memory(CPU) == expected


def test_nothing_is_known_where_the_system_says_nothing(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert memory.free_memory(CPU) is None
    assert memory.free_memory(torch.device("mps")) is None
