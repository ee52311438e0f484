"""Starting weights of a backbone: from scratch, from a local file, or published ones that a library downloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.weights.file import read_weights
from gformer_cli.weights.fitting import fits, head_of, put
from gformer_cli.weights.matching import counts_batches, match
from gformer_cli.weights.published import published


def load_weights(
    network: nn.Module, name: str, weights: str, *, head: str | None = None, image_size: int | None = None
) -> list[str]:
    """Put `weights` (`none`, published ones or a file) into `network` in place; `name` is the backbone's.

    Returns the tensors that keep their fresh values because the class count or the stem differs: those of `head`, which
    is found with images of `image_size` where it is not named, and of the first convolution. Raises
    `InputError` for a missing or foreign file, for tensors that do not fit, and where a download fails.
    """
    if weights == "none":
        return []
    found = published(name, weights)
    state = read_weights(Path(weights)).tensors if found is None else found.load()
    return _put(network, state, weights, head or head_of(network, image_size))


def _put(network: nn.Module, state: Mapping[str, torch.Tensor], origin: str, head: str | None) -> list[str]:
    own = network.state_dict()
    allowed = frozenset({"conv1.weight", f"{head}.weight", f"{head}.bias"})  # may stay fresh
    names = match(own, state, origin, free=allowed).names
    fitting = {name: other for name, other in names.items() if fits(own[name], state[other])}
    fresh = [name for name in own if name not in fitting and not counts_batches(name)]
    unfit = [name for name in fresh if name not in allowed]
    if unfit:
        raise InputError(
            f"weights {origin} do not fit the backbone: {len(unfit)} of {len(own)} tensors, such as {unfit[0]}",
            "Name the backbone (stem, width, image size) that they were saved from.",
        )
    put(network, fitting, state, origin)
    return fresh
