"""What predicting costs: passes of the network, and memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._C import _functorch  # no public function tells how many images a vectorised pass holds
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.hooks import RemovableHandle


class Counter:
    """Images that have passed forward and backward since they were last asked for."""

    def __init__(self) -> None:
        self.forwards = 0
        self.backwards = 0

    def take(self) -> tuple[int, int]:
        """Images forward and backward since the last call."""
        counts = self.forwards, self.backwards
        self.forwards = self.backwards = 0
        return counts


class PassCounter(Counter):
    """Counts images that pass through a network and through copies made of it while it is on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._handle: RemovableHandle = network.register_forward_hook(self._count)

    def remove(self) -> None:
        """Stop counting passes of the network itself."""
        self._handle.remove()

    def __deepcopy__(self, _memo: object) -> PassCounter:
        return self  # a method that copies the network is counted all the same

    def _count(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        images = _unwrapped(inputs[0]).numel() // inputs[0][0].numel()
        self.forwards += images
        if output.requires_grad:
            output.register_hook(lambda _gradient: self._back(images))  # type: ignore[no-untyped-call]

    def _back(self, images: int) -> None:
        self.backwards += images


def _unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that holds what every pass of a `torch.func.vmap` around this call sees its share of."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes of tensors that `work()` holds at once beyond what was held before it.

    On the CPU without what a kernel uses inside itself, which the allocator does not tell.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return int(torch.cuda.max_memory_allocated(device)) - before
    allocations = _Allocations()
    with allocations:
        work()
    return allocations.most


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every storage that an operation makes until nobody holds it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        self.most = 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tree_map_only(torch.Tensor, lambda tensor: self._note(tensor, made=False), (args, kwargs))
        made = func(*args, **kwargs)
        tree_map_only(torch.Tensor, lambda tensor: self._note(tensor, made=True), made)
        return made

    def _note(self, tensor: torch.Tensor, *, made: bool) -> None:
        storage = tensor.untyped_storage()
        key: int = storage._cdata  # the address of the storage itself: a view has that of what it looks at
        if key in self._storages:
            return
        size = storage.nbytes() if made else 0  # what comes in was there before
        self._storages[key] = weakref.ref(storage, lambda _: self._gone(key, size))
        self.held += size
        self.most = max(self.most, self.held)

    def _gone(self, key: int, size: int) -> None:
        del self._storages[key]
        self.held -= size


@contextmanager
def counting(network: nn.Module) -> Iterator[PassCounter]:
    """A `PassCounter` on `network`, taken off at the end."""
    counter = PassCounter(network)
    try:
        yield counter
    finally:
        counter.remove()
