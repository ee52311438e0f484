"""Batches that are read ahead of the training that wants them, by processes: torch's `DataLoader`.

Which batch comes is a pure function of where training stands. Nothing is lost with a process, and a training that goes
on reads what it would have read.
"""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from gformer_cli import interrupts

Key = TypeVar("Key")
Tensors = tuple[torch.Tensor, ...]
_SHARED = 1 << 30
"""Bytes of shared memory that are enough for all that is read ahead; containers may have next to none."""


class Reader(Generic[Key]):
    """What `read` makes of one key after another: here and now, or ahead by so many `workers`.

    Args:
        read: tensors by a key. It is called in processes that are forked off, and only tensors come back.
        onwards: the keys that follow, from a given one on.
        workers: processes; 0 reads in this one. There are none where a process cannot be forked.
        pinned: keep what was read ahead in pinned memory, for a GPU.
    """

    def __init__(
        self,
        read: Callable[[Key], Tensors],
        onwards: Callable[[Key], Iterable[Key]],
        *,
        workers: int = 0,
        pinned: bool = False,
    ) -> None:
        self._read = read
        self._onwards = onwards
        self._workers = workers if sys.platform == "linux" else 0
        self._pinned = pinned
        self._keys = _Onwards()
        self._loader: DataLoader[Any] | None = None
        self._ahead: Iterator[tuple[Key, Any]] | None = None

    def get(self, key: Key) -> Tensors:
        """What `read(key)` gives. Raises what it raises."""
        if not self._workers:
            return self._read(key)
        found = None if self._ahead is None else next(self._ahead, None)
        if found is None or found[0] != key:
            self._ahead = self._start(key)
            found = next(self._ahead)
        return _unpacked(found[1])

    def close(self) -> None:
        """End the processes; the next `get` starts them again."""
        self._ahead = self._loader = None

    def _start(self, key: Key) -> Iterator[tuple[Key, Any]]:
        if self._loader is None:
            shared = _shared_memory() >= _SHARED
            self._loader = DataLoader(
                _Results(self._read, shared),
                batch_size=None,
                sampler=self._keys,
                num_workers=self._workers,
                pin_memory=shared and self._pinned,
                multiprocessing_context="fork",
                persistent_workers=True,  # to go on elsewhere takes no new ones
                worker_init_fn=_leave_shared,
            )
        self._keys.keys = self._onwards(key)
        with interrupts.held_back():  # Ctrl-C is for the process that trains
            return iter(self._loader)


class _Onwards(Sampler[Any]):
    """The keys of a reader, in their order."""

    keys: Iterable[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys)


@dataclass(frozen=True)
class _Failed:
    """An error on its way to the process that trains: torch's own way keeps the text alone."""

    error: Exception


class _Results(Dataset[Any]):
    """What a reader reads, by its key."""

    def __init__(self, read: Callable[[Any], Tensors], shared: bool) -> None:
        self._read = read
        self._shared = shared

    def __getitem__(self, key: Any) -> Any:
        try:
            tensors = self._read(key)
        except Exception as error:
            return key, _Failed(error)
        # arrays go through a pipe, tensors through shared memory
        return key, tensors if self._shared else tuple(tensor.numpy() for tensor in tensors)


def _leave_shared(_worker: int) -> None:
    """Keep the garbage collector from writing to what this process shares with the one that it was forked off."""
    gc.freeze()


def _unpacked(found: Any) -> Tensors:
    if isinstance(found, _Failed):
        raise found.error
    return tuple(one if isinstance(one, torch.Tensor) else torch.from_numpy(one) for one in found)


def _shared_memory() -> int:
    place = Path("/dev/shm")
    return shutil.disk_usage(place).free if place.is_dir() else 0
