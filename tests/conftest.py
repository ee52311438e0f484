"""Small networks, images and probes that every test may use. All of them are float64 and seeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.gradients import GradientFeatures
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe
from gformer_cli.evaluate import Cell
from gformer_cli.files import remove_tree
from gformer_cli.networks.build import build_network

pytest_plugins = ["tests.fixtures.folders", "tests.fixtures.trained"]


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Weights, affine parameters and running statistics that are nowhere 0, 1 or alike; eval mode, float64."""
    random = torch.Generator().manual_seed(seed)
    network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.weight.uniform_(0.5, 1.5, generator=random)
                module.bias.normal_(0.0, 0.3, generator=random)
                module.running_mean.normal_(0.0, 0.3, generator=random)
                module.running_var.uniform_(0.5, 2.0, generator=random)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0.0, module.weight[0].numel() ** -0.5, generator=random)
                if module.bias is not None:
                    module.bias.normal_(0.0, 0.3, generator=random)
    return network


@pytest.fixture
def make_network() -> Callable[..., nn.Module]:
    """conv - bn - relu for each of `channels`, then pool - linear: images (B, 3, H, W) to (B, classes)."""

    def make(channels: Sequence[int] = (4, 6), classes: int = 3, *, seed: int = 0, bias: bool = True) -> nn.Module:
        parts: list[nn.Module] = []
        for before, after in zip([3, *channels], channels, strict=False):
            parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        head = nn.Linear(channels[-1], classes, bias=bias)
        return randomise(nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head), seed)

    return make


@pytest.fixture
def make_backbone(make_network: Callable[..., nn.Module]) -> Callable[..., Backbone]:
    """A frozen backbone around `make_network`."""

    def make(channels: Sequence[int] = (4, 6), classes: int = 3, *, seed: int = 0) -> Backbone:
        return Backbone(make_network(channels, classes, seed=seed)).freeze()

    return make


@pytest.fixture
def backbone(make_backbone: Callable[..., Backbone]) -> Backbone:
    """Two BatchNorm layers of 4 and 6 channels, three classes, frozen."""
    return make_backbone()


@pytest.fixture
def narrow_resnet() -> Backbone:
    """A frozen resnet18 for small images, an eighth as wide, five classes, float64."""
    return Backbone(randomise(build_network("resnet18", 5, width=0.125, stem="small"), seed=1)).freeze()


@pytest.fixture
def make_images() -> Callable[..., torch.Tensor]:
    """Images (count, 3, 8, 8) whose statistics differ from the source's."""

    def make(count: int = 6, *, seed: int = 0) -> torch.Tensor:
        random = torch.Generator().manual_seed(seed)
        return 0.5 + 1.5 * torch.randn(count, 3, 8, 8, generator=random, dtype=torch.float64)

    return make


@pytest.fixture
def images(make_images: Callable[..., torch.Tensor]) -> torch.Tensor:
    return make_images()


@pytest.fixture
def make_probe() -> Callable[..., Probe]:
    """A probe of random numbers, for what no real network shows on demand."""

    def make(channels: Sequence[int] = (5, 7), classes: int = 3, features: int = 6, batch: int = 8) -> Probe:
        random = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64)

        def layers(low: float, high: float) -> tuple[torch.Tensor, ...]:
            return tuple(
                low + (high - low) * torch.rand(count, generator=random, dtype=torch.float64) for count in channels
            )

        mix = torch.full((len(channels),), 0.3, dtype=torch.float64)
        return Probe(
            source=Parameters(layers(0.5, 1.5), layers(-0.5, 0.5), mix, normal(classes, features), normal(classes)),
            source_means=layers(-0.5, 0.5),
            source_variances=layers(0.5, 2.0),
            means=layers(-1.0, 1.0),
            variances=layers(0.2, 3.0),
            logits=normal(batch, classes),
            features=normal(batch, features).abs(),
            gradients=GradientFeatures(
                layers(-1.0, 1.0), layers(-1.0, 1.0), normal(classes, features), normal(classes)
            ),
        )

    return make


@pytest.fixture
def perturb() -> Callable[..., None]:
    """Adds noise of a standard deviation to every weight of a module, in place, also to those that start at 0."""

    def add(module: nn.Module, scale: float, *, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
                parameter.add_(noise, alpha=scale)

    return add


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    """`make_cell("bn", "fog", [4, 2])`: a cell by the correct predictions in each of its batches, of five images unless
    `images` is given; the other figures can be set by name."""

    def make(method: str, target: str, correct: Sequence[int], *, images: Sequence[int] = (), **others: Any) -> Cell:
        counts = list(images) or [5] * len(correct)
        accuracy = sum(correct) / sum(counts)
        figures: dict[str, Any] = {
            "stream": "stationary",
            "part": target,
            "batch_size": max(counts),
            "seed": 0,
            "severity": None,
            **dict.fromkeys(("balanced_accuracy", "macro_f1"), accuracy),
            **dict.fromkeys(("nll", "ece", "brier"), 1.0 - accuracy),
            "seconds_per_image": 0.001,
            "cost_ratio": 1.0,
            "forwards": 1.0,
            "backwards": 0.0,
            "peak_mib": 1.0,
            "calibration": [(sum(counts), 0.5, accuracy)],
            "predictions": "",
        }
        return Cell(
            method=method,
            target=target,
            n=sum(counts),
            accuracy=accuracy,
            batch_images=counts,
            batch_correct=list(correct),
            **figures | others,
        )

    return make


@pytest.fixture
def make_deep() -> Iterator[Callable[[Path], Path]]:
    """`make_deep(folder)`: 1,200 folders below one another; returns the lowest. Removed, as pytest itself cannot."""
    made: list[Path] = []

    def make(folder: Path) -> Path:
        made.append(folder)
        for _ in range(1200):
            folder.mkdir()
            folder = folder / "d"
        return folder.parent

    yield make
    for folder in made:
        if folder.exists():
            remove_tree(folder)
