"""Networks by name: torchvision's, timm's and transformers' classifiers, and a user's own.

ResNets also come narrow and with a stem for small images.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from gformer_cli.errors import GformerError, InputError, did_you_mean, reason
from gformer_cli.networks.hf import HF, hf_network
from gformer_cli.networks.own_code import own_code

_RESNETS = ("resnet", "resnext", "wide_resnet")
_FAMILIES = (
    *_RESNETS,
    "densenet",
    "mobilenet_v",
    "efficientnet_",
    "mnasnet",
    "regnet_",
    "shufflenet_v2",
    "googlenet",
    "inception_v3",
    "convnext_",
    "vit_",
    "swin_",
    "maxvit_",
)
NETWORKS = tuple(
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    if name.startswith(_FAMILIES) or name.endswith("_bn")
)
"""torchvision's image classifiers with normalisation layers that can be adapted, and a linear head."""
TIMM = "timm:"
"""Prefix of a name that timm resolves."""
_AUXILIARY: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Their auxiliary heads only help training from scratch, and make the output something other than logits."""

_FILLED = (torch.empty, torch.zeros, torch.ones, torch.randn)
"""What layers make their parameters and buffers with."""
_SCALABLE: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}


def build_network(
    name: str,
    num_classes: int,
    *,
    stem: str = "standard",
    width: float = 1.0,
    image_size: int | None = None,
    config: str | None = None,
) -> nn.Module:
    """A freshly initialised network that maps (B, 3, H, W) to (B, `num_classes`).

    Weights of the libraries' networks are laid out channels-last, in which convolutions and statistics of a batch are
    faster; a user's own are left as they come, since their code may count on the layout.

    Args:
        name: one of `NETWORKS`, `timm:NAME`, `hf:MODEL_TYPE` (see `hf_network`), or `FILE.py:FUNCTION`, a user's own
            (see `own_code`).
        num_classes: K.
        stem: `small` is a 3x3 convolution of stride 1 and no max-pooling, as is usual below 64 pixels.
        width: multiplies the channels of every stage.
        image_size: of the images, for the libraries' networks that are built for one size, such as ViTs; None for the
            size that they are known by. transformers' keep the size of their config, and take others.
        config: of `hf:MODEL_TYPE` alone, which needs it: its config.json, as text.

    Raises `InputError` for an unknown name, and for a stem, width or config that the network does not have.
    """
    if name not in NETWORKS and not name.startswith((TIMM, HF)) and not own_code(name):
        raise InputError(
            f"unknown backbone: {name!r}",
            did_you_mean(name, NETWORKS) + "Also possible: timm:NAME, or your own FILE.py:FUNCTION.",
        )
    if width != 1.0 and name not in _SCALABLE:
        raise InputError(
            f"backbone {name} has no settable width",
            f"Use --set backbone.width=1, or one of: {', '.join(_SCALABLE)}.",
        )
    if stem == "small" and not (name in NETWORKS and name.startswith(_RESNETS)):
        raise InputError(
            f"backbone {name} has no small stem",
            "Use --set backbone.stem=standard, or a resnet, resnext or wide_resnet of torchvision.",
        )
    if config is not None and not name.startswith(HF):
        raise InputError(f"backbone {name} has no config", f"Leave backbone.config out, or name {HF}MODEL_TYPE.")
    if own_code(name):
        return _own_network(name, num_classes)
    if name.startswith(HF):
        return hf_network(name, config, num_classes).to(memory_format=torch.channels_last)
    network = _library_network(name, num_classes, stem, width, image_size)
    return network.to(memory_format=torch.channels_last)


def _library_network(name: str, num_classes: int, stem: str, width: float, image_size: int | None) -> nn.Module:
    if name.startswith(TIMM):
        return _timm_network(name.removeprefix(TIMM), num_classes, image_size)
    network: nn.Module
    if width == 1.0:
        options = dict(_AUXILIARY.get(name, {}))
        if image_size is not None and name.startswith("vit_"):
            options["image_size"] = image_size
        elif image_size is not None and name.startswith("maxvit_"):
            options["input_size"] = (image_size, image_size)
        network = _sized(name, image_size, partial(_torchvision_network, name, num_classes, options))
    else:
        network = _ScaledResNet(*_SCALABLE[name], num_classes, width)
    if stem == "small":
        assert isinstance(network, ResNet)
        network.conv1 = _convolution(network.conv1.out_channels, kernel=3, stride=1)
        network.maxpool = nn.Identity()
    return network


class OnMeta(TorchFunctionMode):
    """Inside, networks are made without memory: shapes and types alone, whatever a file claims of their size.

    Unlike `torch.device("meta")` it leaves small computations alone that some networks do to find their widths.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLED and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _timm_network(name: str, num_classes: int, image_size: int | None) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise InputError(f"backbone timm:{name} needs timm", "Install it: pip install 'gformer[timm]'") from None
    base = name.partition(".")[0]  # a tag such as .in1k names weights, not an architecture
    if base not in timm.list_models():
        raise InputError(f"unknown timm backbone: {name!r}", did_you_mean(base, timm.list_models()))
    create = partial(timm.create_model, name, pretrained=False, num_classes=num_classes)
    if image_size is not None and _built_for_a_size(name):
        return _sized(f"{TIMM}{name}", image_size, partial(create, img_size=image_size))
    return create()


def _built_for_a_size(name: str) -> bool:
    """Whether timm's network takes images of the size alone that it was built for."""
    import timm

    return bool(timm.models.get_pretrained_cfg_value(name, "fixed_input_size"))


def _torchvision_network(name: str, num_classes: int, options: Mapping[str, Any]) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def _sized(name: str, image_size: int | None, build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes. Raises `InputError` where it does not go with the size of the images."""
    try:
        return build()
    except (ValueError, AssertionError, RuntimeError) as error:
        raise InputError(
            f"backbone {name} cannot be built for {image_size} x {image_size} images: {reason(error)}",
            "Use another --image-size: a multiple of its patches.",
        ) from None


def _own_network(name: str, num_classes: int) -> nn.Module:
    path, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location("gformer_own_backbone", Path(path))
    if not Path(path).is_file() or spec is None or spec.loader is None:
        raise InputError(f"no such backbone file: {path}", "Give FILE.py:FUNCTION, with FUNCTION(num_classes).")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        factory: Callable[[int], object] = getattr(module, function)
        network = factory(num_classes)
        if not isinstance(network, nn.Module):
            raise TypeError(f"{function} returned {type(network).__name__}, not a torch.nn.Module")
    except (Exception, SystemExit) as error:  # it is the user's code: it may raise anything
        raise InputError(
            f"cannot build backbone {name}: {reason(error)}", f"{function}(num_classes) must return a torch.nn.Module."
        ) from None
    return _speaking(network, name)


def _speaking(network: nn.Module, name: str) -> nn.Module:
    """The same network, of a class that says whose code it was where a pass of it fails.

    A class, not a wrapper: names of its state dict, `isinstance` and copies are as they were.
    """
    kind = type(network)

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        try:
            return kind.forward(self, *arguments, **options)
        except (GformerError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"backbone {name} failed: {reason(error)}", "It is your own code: mend it there."
            ) from error

    if not isinstance(network, torch.jit.ScriptModule):  # whose class cannot be changed
        network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return network


class _ScaledResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet with every stage `width` times as wide; the names in its state dict are the same."""

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], num_classes: int, width: float) -> None:
        self.width = width  # `_make_layer` needs it before the base class returns
        super().__init__(block, layers, num_classes)
        channels = self._scaled(64)
        self.conv1 = _convolution(channels, kernel=7, stride=2)
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(self._scaled(512) * block.expansion, num_classes)

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        if planes == 64:  # the first stage reads the stem
            self.inplanes = self._scaled(64)
        stage: nn.Sequential = super()._make_layer(block, self._scaled(planes), blocks, stride, dilate)
        return stage

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))


def _convolution(channels: int, *, kernel: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(3, channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
