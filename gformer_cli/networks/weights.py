"""Starting weights of a backbone: from scratch, from a local file, or the library's own download."""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.networks.build import TIMM
from gformer_cli.networks.head import find_head
from gformer_cli.networks.own_code import own_code
from gformer_cli.networks.torch_files import load_plain, unusable


def load_weights(
    network: nn.Module, name: str, weights: str, *, head: str | None = None, image_size: int | None = None
) -> list[str]:
    """Put `weights` (`none`, `default` or a file) into `network` in place; `name` is the backbone's.

    Returns the tensors that keep their fresh values because the class count or the stem differs: those of `head`, which
    is found with images of `image_size` where it is not named, and of the first convolution. Raises
    `InputError` for a missing or foreign file, for tensors that do not fit, and where a download fails.
    """
    if weights == "none":
        return []
    state = _downloaded(name) if weights == "default" else read_state_dict(Path(weights))
    return _put(network, state, weights, _head(network, head, image_size))


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a safetensors or a PyTorch file, without running any code that is in it."""
    if not path.is_file():
        raise InputError(f"no such weights file: {path}", "Give a state-dict file, or --weights none or default.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else load_plain(path)
    except Exception as error:  # the reader raises nearly any kind for a file that is none of its own
        raise InputError(
            f"cannot read weights {path}: {_reason(error)}",
            "It must be a state dict saved as safetensors or with torch.save(model.state_dict(), FILE).",
        ) from None
    for key in ("state_dict", "model"):  # how training scripts commonly wrap it
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(_is_plain(value) for value in state.values()):
        raise InputError(f"{path} holds no state dict", "Save one with torch.save(model.state_dict(), FILE).")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _is_plain(value: object) -> bool:
    """Whether it is a tensor that another can be filled with: one without storage would leave that as it was."""
    if not isinstance(value, torch.Tensor):
        return False
    return value.layout is torch.strided and not (value.is_meta or value.is_quantized or value.is_complex())


def _downloaded(name: str) -> Mapping[str, torch.Tensor]:
    if own_code(name):
        raise InputError(f"there are no default weights for {name}", "Use --weights none, or a file.")
    try:
        if name.startswith(TIMM):
            return _from_timm(name.removeprefix(TIMM))
        weights = torchvision.models.get_model_weights(name)["DEFAULT"]
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"cannot download the default weights of {name}: {_reason(error)}",
            "Download them elsewhere and pass the file with --weights FILE, or train from scratch: --weights none.",
        ) from None
    return state


def _from_timm(name: str) -> Mapping[str, torch.Tensor]:
    import timm

    try:
        state: Mapping[str, torch.Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # timm's hub client raises kinds of its own
        raise RuntimeError(_reason(error)) from None
    return state


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__  # some carry no text
    return text.splitlines()[0]


def _head(network: nn.Module, head: str | None, image_size: int | None) -> str | None:
    try:
        return head or find_head(network, image_size)
    except Exception:  # what is wrong with the network is told by its trial
        return None


def _put(network: nn.Module, state: Mapping[str, torch.Tensor], origin: str, head: str | None) -> list[str]:
    own = network.state_dict()
    allowed = {"conv1.weight", f"{head}.weight", f"{head}.bias"}  # may stay fresh
    state = _renamed(state, own, allowed)
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    fresh = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    unfit = [name for name in fresh if name not in allowed]
    if unfit:
        raise InputError(
            f"weights {origin} do not fit the backbone: {len(unfit)} of {len(own)} tensors, such as {unfit[0]}",
            "Name the backbone (stem, width, image size) that they were saved from.",
        )
    network.load_state_dict(fitting, strict=False)
    broken = unusable(network.state_dict())  # as loaded: a narrower type may not hold a value of a wider one
    if broken is not None:
        raise InputError(
            f"weights {origin} cannot be used: {broken}",
            "Save them again from a network that predicts, or use another file.",
        )
    return fresh


def _renamed(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], allowed: set[str]
) -> Mapping[str, torch.Tensor]:
    """`state` under the network's own names, where another library saved the same tensors in the same order.

    Only where no name but the classifier's is known, and every tensor fits its counterpart by shape.
    """
    if any(name in own for name in state if name not in allowed) or len(state) != len(own):
        return state
    pairs = list(zip(own, state.values(), strict=True))
    fits = all(value.shape == own[name].shape or name in allowed for name, value in pairs)
    return dict(pairs) if fits else state
