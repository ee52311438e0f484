"""Processes that train one source model together: torch's `DistributedDataParallel`.

A step's batch is dealt out to them, and their gradients are averaged. On GPUs batch statistics are those of the whole
batch (SyncBatchNorm). On CPUs, for which torch has none, each process has those of its own part, and the running
statistics of the first process are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gformer_cli.compute import ranks
from gformer_cli.errors import InputError
from gformer_cli.settings import PretrainSettings

Item = TypeVar("Item")
FEWEST = 2
"""Images of a process in a step: batch statistics of one are none."""


def is_needed(models: int) -> bool:
    """Whether there are more processes than models: then each model is trained by all of them."""
    return ranks.size() > models


def check_batch(options: PretrainSettings, models: int) -> None:
    """Raises `InputError` where a batch is too small for the processes that share it."""
    if is_needed(models) and options.batch_size < FEWEST * ranks.size():
        raise InputError(
            f"{ranks.size()} processes cannot share batches of {options.batch_size} images: each needs {FEWEST}",
            "Start fewer processes, or set a larger pretrain.batch_size.",
        )


class Team:
    """The processes that take each step of a training; of one alone, nothing is shared."""

    def __init__(self, network: nn.Module, device: torch.device, *, together: bool) -> None:
        self.together = together and ranks.size() > 1
        self.size = ranks.size() if self.together else 1
        self.rank = ranks.rank() if self.together else 0
        self.network: nn.Module = _parallel(network, device) if self.together else network
        """What is called in a training step. It has the parameters and buffers of the network, not copies."""

    def share(self, items: Sequence[Item], before: int = 0) -> Sequence[Item]:
        """This process's part of a batch, of which so many items came before these."""
        return items[(self.rank - before) % self.size :: self.size]

    def weighed(self, loss: torch.Tensor, own: int, batch: int) -> torch.Tensor:
        """The mean loss of this process's `own` images, so that the average over processes is that of the batch."""
        return loss * (own * self.size / batch) if self.together else loss

    def mean(self, weighed: float) -> float:
        """The loss of the whole batch."""
        return float(ranks.summed(torch.tensor(weighed, dtype=torch.float64))) / self.size if self.together else weighed

    def summed(self, counts: Sequence[int]) -> list[int]:
        """The sum of what each process has counted."""
        return [int(count) for count in ranks.summed(torch.tensor(counts))] if self.together else [*counts]


def _parallel(network: nn.Module, device: torch.device) -> nn.Module:
    return DistributedDataParallel(twin(network, synchronised=device.type == "cuda"))


def twin(network: nn.Module, *, synchronised: bool) -> nn.Module:
    """A network of other layers with the same tensors: what one learns the other has learnt.

    With `synchronised` its BatchNorm layers have the statistics of all processes. The network keeps its own layers: it
    validates, and is written.
    """
    tensors: list[Any] = [*network.parameters(), *network.buffers()]
    made = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    if synchronised:
        made = nn.SyncBatchNorm.convert_sync_batchnorm(made)  # type: ignore[no-untyped-call]
    return made
