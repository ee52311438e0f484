"""Networks of the transformers library, `hf:MODEL_TYPE`, made from a config.json alone.

The text of a config may come from anybody, in a folder or in a bundle. It fills in numbers of a network that this
module knows by name. It names no class, no code and no file; nothing is downloaded.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gformer_cli.errors import GformerError, InputError, did_you_mean, reason

HF = "hf:"
"""Prefix of a name that transformers resolves."""
CLASSES = {
    "resnet": "ResNetForImageClassification",
    "regnet": "RegNetForImageClassification",
    "convnext": "ConvNextForImageClassification",
    "convnextv2": "ConvNextV2ForImageClassification",
    "mobilenet_v1": "MobileNetV1ForImageClassification",
    "mobilenet_v2": "MobileNetV2ForImageClassification",
    "efficientnet": "EfficientNetForImageClassification",
    "mobilevit": "MobileViTForImageClassification",
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassification",
    "dinov2": "Dinov2ForImageClassification",
    "dinov2_with_registers": "Dinov2WithRegistersForImageClassification",
    "swin": "SwinForImageClassification",
    "swinv2": "Swinv2ForImageClassification",
}
"""The library's classifier by the `model_type` of its config."""

_INTERPOLATE = ("vit", "deit", "swin", "swinv2")
"""Networks that have to be told to interpolate their position embeddings for images of another size."""
COMPUTED = "relative_position_index"
"""A tensor of Swin that follows from its config. Only releases up to 4 save it."""
_OF_FEATURES = {"out_features", "out_indices", "stage_names"}
"""Settings for networks that answer with features."""
_LARGEST = 16384
"""Of any number in a config, and of the length of a list as well."""
_LARGEST_WINDOW = 64
"""Of attention."""
_LARGEST_TABLES = 1 << 25
"""Entries of the tables of all blocks that say where in a window two positions lie; they are made at once."""
_MOST_TENSORS = 8000
"""That layers make of numbers yet to be filled in; the largest networks that are published have under 1,000."""


def hf_network(name: str, config: str | None, num_classes: int) -> nn.Module:
    """The network `hf:MODEL_TYPE` that `config`, the text of a config.json, describes, with fresh weights.

    It maps images (B, 3, H, W) to logits (B, `num_classes`). Its state dict has the names that transformers writes into
    files, whatever the modules of the installed release are called. It takes images of any size that it can: position
    embeddings are interpolated for other sizes than the config's.

    Raises `InputError` without the library or a config, and for a config that describes no such network.
    """
    model_type = name.removeprefix(HF)
    if model_type not in CLASSES:
        raise InputError(f"unknown transformers backbone: {name!r}", did_you_mean(model_type, CLASSES))
    if config is None:
        raise InputError(
            f"backbone {name} needs its config", "Import it from its folder: gformer import --from FOLDER --out RUN"
        )
    options = _read(name, config)
    try:
        import transformers
    except ImportError:
        raise InputError(f"backbone {name} needs transformers", "Install it: pip install 'gformer[hf]'") from None
    transformers.logging.set_verbosity_error()  # what it warns of has no place among this program's messages
    try:
        with _Counted():
            kind = getattr(transformers, CLASSES[model_type])
            network = kind(_config(kind.config_class, options, num_classes))
        return _wrapped(network)
    except (GformerError, MemoryError):
        raise
    except Exception as error:  # the library's own checks raise kinds of their own
        raise InputError(
            f"backbone {name} cannot be built from its config: {reason(error)}",
            "It may need another release: pip install --upgrade transformers",
        ) from None


def _read(name: str, config: str) -> dict[str, Any]:
    """What a config says. Raises `InputError` for what is no config of `name`."""
    hint = "Give the config.json of that network."
    try:
        options = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the config of backbone {name} is no JSON: {reason(error)}", hint) from None
    if not isinstance(options, dict) or options.get("model_type") != name.removeprefix(HF):
        raise InputError(f"the config of backbone {name} is of something else", hint)
    return options


def _config(kind: Any, options: dict[str, Any], num_classes: int) -> Any:
    """Only what networks of this kind alone have: the rest says how to load, train or answer, or names code."""
    import transformers

    own = kind().to_dict().keys() - transformers.PretrainedConfig().to_dict().keys() - _OF_FEATURES
    taken = {key: value for key, value in options.items() if key in own}
    for key, value in taken.items():
        _check_size(key, value)
    made = kind(**taken, num_labels=num_classes)
    if made.num_channels != 3:
        raise ValueError(f"it takes images of {made.num_channels} channels, not 3")
    entries = sum(taken.get("depths", [])) * taken.get("window_size", 0) ** 4
    if entries > _LARGEST_TABLES:
        raise ValueError(f"tables of its windows would have {entries} entries")
    return made


def _check_size(key: str, value: object) -> None:
    most = _LARGEST_WINDOW if "window" in key else _LARGEST
    if isinstance(value, list):
        if len(value) > _LARGEST_WINDOW:
            raise ValueError(f"{key} has {len(value)} entries")
        for part in value:
            _check_size(key, part)
    elif isinstance(value, dict):
        raise ValueError(f"{key} must be a number, a text or a list of them")
    elif isinstance(value, (int, float)) and not abs(value) <= most:
        raise ValueError(f"{key} is {value}, and may be {most} at most")


class _Counted(TorchFunctionMode):
    """Inside, a network may be made of `_MOST_TENSORS` tensors at most, however deep a config claims that it is."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.empty:  # what a layer's weights are made with
            self.made += 1
            if self.made > _MOST_TENSORS:
                raise ValueError(f"it would be of more than {_MOST_TENSORS} tensors")
        return func(*args, **(kwargs or {}))


class _HfNetwork(nn.Module):
    """What a network of the library becomes: images to logits, and the names of files in its state dict."""

    stored_modules: dict[str, str]
    """What files call a module, where the installed release calls it otherwise."""
    own_size: tuple[int, int] | None
    """Height and width of images beside which it has to interpolate; None for a network that does so by itself."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        resized = self.own_size is not None and images.shape[-2:] != self.own_size
        options = {"interpolate_pos_encoding": True} if resized else {}
        logits: torch.Tensor = super().forward(pixel_values=images, return_dict=True, **options).logits
        return logits

    def stored_name(self, module: str) -> str:
        """The name of a module as files have it."""
        return self.stored_modules.get(module, module)

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        prefix = options.get("prefix", "")
        state = super().state_dict(*arguments, **options)
        _rename(state, prefix, self.stored_modules)
        return state

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        _rename(state_dict, prefix, {stored: own for own, stored in self.stored_modules.items()})
        for name in [name for name in state_dict if name.endswith(f".{COMPUTED}")]:
            del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _rename(state: dict[str, Any], prefix: str, modules: dict[str, str]) -> None:
    """Rename, in place and in order, the tensors of `modules` below `prefix`."""
    for name in [name for name in state if name.startswith(prefix)]:
        module, _, tensor = name.removeprefix(prefix).rpartition(".")
        value = state.pop(name)
        state[f"{prefix}{modules.get(module, module)}.{tensor}" if module else name] = value


def _wrapped(network: nn.Module) -> nn.Module:
    """The same network, of a class that answers with logits: names, `isinstance` and copies are as they were."""
    kind = type(network)
    for module in network.modules():
        if COMPUTED in module._buffers:
            module._non_persistent_buffers_set.add(COMPUTED)
    modules, size = _stored_modules(network), _own_size(network)
    network.__class__ = type(kind.__name__, (_HfNetwork, kind), {"__module__": kind.__module__})
    assert isinstance(network, _HfNetwork)
    network.stored_modules, network.own_size = modules, size
    return network


def _own_size(network: Any) -> tuple[int, int] | None:
    taken = inspect.signature(network.forward).parameters
    told = "interpolate_pos_encoding" in taken or any(one.kind is one.VAR_KEYWORD for one in taken.values())
    if network.config.model_type not in _INTERPOLATE or not told:
        return None
    size = network.config.image_size
    return tuple(size) if isinstance(size, (list, tuple)) else (size, size)


def _stored_modules(network: Any) -> dict[str, str]:
    """The modules whose tensors have another name in files than in the installed release.

    Releases up to 4 write the names of their modules. Later ones have renamed some, and go on writing the old names.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:
        return {}
    names = list(network.state_dict())
    # tensors that say which they are: the library may hand on copies
    marks = {name: torch.tensor(index, device="cpu") for index, name in enumerate(names)}
    stored = {names[int(mark)]: name for name, mark in revert_weight_conversion(network, marks).items()}
    modules: dict[str, str] = {}
    for name in names:
        own, there = name.rpartition("."), stored.get(name, "").rpartition(".")
        if own[2] != there[2] or modules.setdefault(own[0], there[0]) != there[0]:
            raise ValueError(f"this release of transformers keeps {name} otherwise than in files")
    return {own: there for own, there in modules.items() if own != there}
