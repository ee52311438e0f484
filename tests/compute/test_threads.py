from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gformer_cli.compute.threads import SHORT_SPIN, allowed_cores, cpu_quota, pick_cores, short_spin


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores whose control groups lie below the path that is returned."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("gformer_cli.compute.threads.allowed_cores", lambda: 8)
    monkeypatch.setattr("gformer_cli.compute.threads.cpu_quota", lambda: cpu_quota(tmp_path, tmp_path / "own"))
    (tmp_path / "own").write_text("0::/user/session\n")
    return tmp_path


def group(root: Path, path: str, **files: str) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / path / name.replace("__", ".")).write_text(text)


def test_a_short_spin_is_set_for_gnu_and_intel_openmp() -> None:
    environment: dict[str, str] = {}
    assert short_spin(environment)
    assert environment == SHORT_SPIN
    assert set(environment) == {"GOMP_SPINCOUNT", "KMP_BLOCKTIME"}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"])
def test_a_users_own_way_of_waiting_stays(name: str) -> None:
    environment = {name: "1"}
    assert not short_spin(environment)
    assert environment == {name: "1"}


def test_the_command_sets_the_spin_before_torch_is_imported() -> None:
    code = (
        "import sys, os\n"
        "from gformer_cli import app\n"
        "app.run = lambda **_: print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])\n"
        "app.main()"
    )
    environment = {name: value for name, value in os.environ.items() if name not in SHORT_SPIN}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", SHORT_SPIN["GOMP_SPINCOUNT"]]


def test_what_the_user_says_comes_first(quota: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (pick_cores(None).count, pick_cores(None).fixed) == (8, False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert (pick_cores(None).count, pick_cores(None).fixed, pick_cores(None).reason) == (3, True, "OMP_NUM_THREADS")
    assert (pick_cores(5).count, pick_cores(5).fixed, pick_cores(5).reason) == (5, True, "--threads")


@pytest.mark.parametrize("nonsense", ["", "0", "many", "-2"])
def test_an_omp_num_threads_that_is_no_number_says_nothing(
    quota: Path, monkeypatch: pytest.MonkeyPatch, nonsense: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
    assert pick_cores(None).count == 8


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("9000000 100000", 8)],
)
def test_a_containers_quota_counts_as_the_number_of_cores(quota: Path, text: str, cores: int) -> None:
    group(quota, "user/session", cpu__max=text + "\n")
    assert pick_cores(None).count == cores
    assert ("quota" in pick_cores(None).reason) == (cores < 8)


def test_the_lowest_limit_of_the_group_and_its_parents_holds(quota: Path) -> None:
    group(quota, "user/session", cpu__max="400000 100000")
    group(quota, "user", cpu__max="300000 100000")
    assert cpu_quota(quota, quota / "own") == 3.0


def test_within_a_container_the_limit_lies_at_the_top(quota: Path) -> None:
    (quota / "own").write_text("0::/../../outside\n")
    group(quota, ".", cpu__max="150000 100000")
    assert cpu_quota(quota, quota / "own") == 1.5


def test_limits_of_the_first_version_of_control_groups_are_read(quota: Path) -> None:
    (quota / "own").write_text("3:memory:/m\n2:cpu,cpuacct:/box\n")
    group(quota, "cpu,cpuacct/box", **{"cpu__cfs_quota_us": "200000", "cpu__cfs_period_us": "50000"})
    assert cpu_quota(quota, quota / "own") == 4.0
    group(quota, "cpu,cpuacct/box", **{"cpu__cfs_quota_us": "-1"})
    assert cpu_quota(quota, quota / "own") is None


def test_what_cannot_be_read_is_no_limit(quota: Path) -> None:
    assert cpu_quota(quota / "none", quota / "none") is None
    group(quota, ".", cpu__max="100000 0")
    assert cpu_quota(quota, quota / "own") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_counts_as_the_number_of_cores() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from gformer_cli.compute.threads import allowed_cores; print(allowed_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert allowed_cores() >= 1
