"""Where and how it is computed: the device, the processes and threads, the precision, deterministic kernels."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from gformer_cli.compute import launched, ranks
from gformer_cli.compute.pace import Pace
from gformer_cli.compute.threads import Cores, usable_cores
from gformer_cli.errors import InputError
from gformer_cli.progress import Progress

_DEVICES = ("cpu", "cuda", "mps", "xpu")
_KNOWN = "--device cpu, cuda, cuda:1, mps or auto"


def pick_device(name: str) -> torch.device:
    """`auto` is the first CUDA or MPS device, else the CPU. Raises `InputError` for one that is not there.

    Of several processes that torchrun has started on a machine each has a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in _DEVICES:
        raise InputError(f"cannot use device {name!r}: there is no such device", f"Use {_KNOWN}; see: gformer doctor")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError):  # its text is pages of the library's own
        raise InputError(
            f"cannot use device {name!r}: this machine, or its PyTorch, has none",
            "Use --device cpu; see: gformer doctor",
        ) from None
    return own_gpu(device, launched.seat().local) if ranks.size() > 1 else device


def own_gpu(device: torch.device, number: int) -> torch.device:
    """The GPU of the process that has this number among those of its machine; all of them were told `device`.

    Raises `InputError` where that leaves it none of its own: processes that share one cannot reach each other by it.
    """
    count = torch.cuda.device_count()
    if device.type != "cuda" or (device.index is not None and number == 0):
        return device
    if device.index is not None or number >= count:
        raise InputError(
            f"process {number} of this machine has no GPU of its own: {device} is what all of them were told",
            f"Start at most as many processes on a machine as it has GPUs (here {count}), and name none: --device cuda",
        )
    return torch.device("cuda", number)


def gpu_in_turn(device: torch.device, number: int) -> torch.device:
    """The device of worker `number` of a crew: the GPUs in turn, unless one of them was named."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", number % torch.cuda.device_count())


def pick_workers(workers: int | None) -> int:
    """Threads that decode images: by default one a core that this process may use, at most eight; none on one core.

    They share the cores with torch's threads: decoding is short beside a pass, and a core that waits for it is lost.
    """
    cores = usable_cores()
    return (0 if cores == 1 else min(8, cores)) if workers is None else workers


def crew_size(cores: Cores | None, pieces: int, device: torch.device) -> int:
    """How many processes share work of so many independent pieces: one on a GPU, which is kept busy by one, and one
    where torchrun has started this process and others."""
    return 1 if cores is None or device.type != "cpu" or ranks.size() > 1 else max(1, min(cores.count, pieces))


def pick_pace(cores: Cores | None, device: torch.device, progress: Progress) -> Pace:
    """The pace of a loop in this process: torch's own number of threads on a GPU and without `cores`."""
    if cores is None or device.type != "cpu":
        return Pace(torch.get_num_threads(), fixed=True)
    return Pace.of(cores, lambda threads: progress.detail(f"running on {threads} of {cores.count} threads"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of a `precision` setting on `device`."""
    wanted = precision == "bfloat16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def make_deterministic(seed: int) -> None:
    """Seed torch and ask for deterministic kernels (a warning where the device has none)."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
