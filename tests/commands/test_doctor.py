from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gformer_cli import __version__
from gformer_cli.bundle import self_test
from gformer_cli.compute.threads import usable_cores

Gformer = Callable[..., Any]


def test_it_passes_and_shows_versions_and_devices(gformer: Gformer) -> None:
    done = gformer("doctor")
    assert done.status == 0
    rows = {line.split("  ")[0]: line.split()[-1] for line in done.out.splitlines() if line.strip()}
    assert rows["self-test"] == "passed"
    assert rows["gformer"] == __version__ and rows["torch"] == torch.__version__


def test_json(gformer: Gformer) -> None:
    found = gformer("doctor", "--json").json
    assert (found["self_test"], found["problems"]) == ("passed", [])
    assert found["threads"] == "1 (OMP_NUM_THREADS)"
    assert found["cores"] == usable_cores()
    assert "waiting_threads" in found
    assert found["devices"].startswith("cpu")


def test_a_failing_self_test_is_a_failure(gformer: Gformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "self_test", lambda: ["numbers are wrong"])
    done = gformer("doctor", "--json")
    assert done.status == 1
    assert done.json["problems"] == ["numbers are wrong"]
    assert "error: self-test failed: numbers are wrong" in done.err
