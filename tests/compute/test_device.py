from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from gformer_cli.compute import ranks
from gformer_cli.compute.device import (
    autocast,
    crew_size,
    gpu_in_turn,
    make_deterministic,
    own_gpu,
    pick_device,
    pick_workers,
)
from gformer_cli.compute.threads import Cores
from gformer_cli.errors import InputError

CPU = torch.device("cpu")


def test_pick_device_takes_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps")])
def test_auto_prefers_cuda_then_mps(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    assert pick_device("auto").type == expected


@pytest.mark.parametrize("name", ["toaster", "", "cuda:99", "hpu", "meta", "cuda:-1", "mps", "xpu", "mkldnn"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"cannot use device '{name}': .") as caught:
        pick_device(name)
    assert "--device cpu" in caught.value.hint and caught.value.exit_status == 2
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 2), (8, 8), (64, 8), (None, 0)])
def test_workers_are_one_a_core_at_most_eight(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, expected: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert pick_workers(None) == expected


def test_workers_are_no_more_than_the_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert pick_workers(None) == 2


@pytest.mark.parametrize("workers", [0, 1, 20])
def test_workers_asked_for_are_given(workers: int) -> None:
    assert pick_workers(workers) == workers


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_precision_on_a_cpu(precision: str, expected: torch.dtype) -> None:
    with autocast(precision, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.fixture
def restored_determinism() -> Iterator[None]:
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before)
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.usefixtures("restored_determinism")
def test_make_deterministic_seeds_torch_and_asks_for_deterministic_kernels() -> None:
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    make_deterministic(3)
    first = torch.rand(4)
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark
    make_deterministic(3)
    assert torch.equal(torch.rand(4), first)
    make_deterministic(4)
    assert not torch.equal(torch.rand(4), first)


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cuda = torch.device("cuda")
    assert [own_gpu(cuda, number) for number in (0, 1)] == [torch.device("cuda:0"), torch.device("cuda:1")]
    assert own_gpu(torch.device("cpu"), 5) == torch.device("cpu")
    assert own_gpu(torch.device("cuda:1"), 0) == torch.device("cuda:1")  # the only process here may choose
    with pytest.raises(InputError, match="process 2 of this machine has no GPU of its own"):
        own_gpu(cuda, 2)
    with pytest.raises(InputError, match="cuda:1 is what all of them were told"):
        own_gpu(torch.device("cuda:1"), 1)


def test_workers_of_a_crew_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [gpu_in_turn(torch.device("cuda"), number) for number in range(3)]
    assert found == [torch.device("cuda:0"), torch.device("cuda:1"), torch.device("cuda:0")]
    assert gpu_in_turn(torch.device("cuda:1"), 0) == torch.device("cuda:1")
    assert gpu_in_turn(torch.device("cpu"), 1) == torch.device("cpu")


def test_processes_of_torchrun_have_no_crews(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = Cores(4, True, "--threads")
    assert crew_size(cores, 8, torch.device("cpu")) == 4
    monkeypatch.setattr(ranks, "size", lambda: 2)
    assert crew_size(cores, 8, torch.device("cpu")) == 1
