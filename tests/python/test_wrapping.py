"""Somebody's own network in memory: what `gformer import` does with files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms

import gformer_cli as gformer
from gformer_cli.app import run
from tests.python.conftest import GOLDEN

MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
SAID = {"resize": 18, "crop": 16, "mean": MEAN, "std": STD}
CODE = transforms.Compose(
    [transforms.Resize(18), transforms.CenterCrop(16), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
)
CLASSES = ["zebra", "ant", "moth"]


class Norm(nn.Sequential):
    """conv - norm - relu - pool - linear."""

    def __init__(self, norm: Callable[[], nn.Module] = lambda: nn.BatchNorm2d(4)) -> None:
        body = nn.Conv2d(3, 4, 3), norm(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        super().__init__(*body)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.shufflenet_v2_x0_5(num_classes=3)
    return network.train()


def test_the_network_itself_stays_as_it_is(network: nn.Module, files: list[Path]) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kinds, modes = [type(part) for part in network.modules()], [part.training for part in network.modules()]
    state = torch.random.get_rng_state()
    result = gformer.wrap(network, CLASSES, CODE, device="cpu").predict(files[:6])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [type(part) for part in network.modules()] == kinds
    assert [part.training for part in network.modules()] == modes
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    prepared = torch.stack([CODE(Image.open(file).convert("RGB")) for file in files[:6]])
    with torch.no_grad():
        assert torch.equal(network.eval()(prepared).softmax(dim=1), result.source_probabilities)


def test_it_predicts_as_the_import_of_the_same_files_does(
    network: nn.Module, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(network.state_dict(), tmp_path / "site.pth")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "transform.json").write_text(json.dumps(SAID))
    own = ["--weights", "site.pth", "--classes", "classes.txt", "--transform", "transform.json"]
    own = [str(tmp_path / word) if "." in word else word for word in own]
    imported = ["import", "--backbone", "shufflenet_v2_x0_5", *own, "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert run(imported) == 0
    wanted = gformer.load(tmp_path / "run", device="cpu").predict(files[:6])
    for transform in (CODE, tmp_path / "transform.json"):
        found = gformer.wrap(network, CLASSES, transform, device="cpu").predict(files[:6])
        assert torch.allclose(found.probabilities, wanted.probabilities, atol=1e-5)
        assert torch.allclose(found.source_probabilities, wanted.source_probabilities, atol=1e-5)
    assert not torch.allclose(wanted.probabilities, wanted.source_probabilities, atol=1e-2)


def test_what_is_wrapped_is_saved_as_a_bundle_by_what_builds_it(files: list[Path], tmp_path: Path) -> None:
    code = "from torch import nn\ndef build(classes):\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), "
    code += "nn.{}(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))\n"
    for name, activation in (("same", "ReLU"), ("other", "Sigmoid")):
        (tmp_path / f"{name}.py").write_text(code.format(activation))
    model, path = gformer.wrap(Norm(), CLASSES, SAID, device="cpu"), tmp_path / "own.gformer"
    same, other = (f"{tmp_path}/{name}.py:build" for name in ("same", "other"))
    model.save(path, backbone=same)
    with pytest.raises(gformer.InputError, match="own code"):
        gformer.load(path)
    loaded = gformer.load(path, device="cpu", backbone=same)
    assert loaded.classes == tuple(CLASSES)
    assert torch.equal(loaded.predict(files).probabilities, model.predict(files).probabilities)
    for saved, backbone, overwrite, told in [
        (model, same, False, "exists"),
        (model, other, True, "answers otherwise"),
        (model, "shufflenet_v2_x0_5", True, "does not build the network that was wrapped"),
        (loaded, same, True, "is a file already"),
        (gformer.wrap(Norm(), CLASSES, CODE, device="cpu"), same, True, "the transform is code"),
    ]:
        with pytest.raises(gformer.InputError, match=told):
            saved.save(path, backbone=backbone, overwrite=overwrite)
    model.save(path, backbone=same, overwrite=True)


def test_group_norm_needs_source_images_which_are_recorded(files: list[Path]) -> None:
    torch.manual_seed(0)
    network = Norm(lambda: nn.GroupNorm(2, 4))
    with pytest.raises(gformer.InputError, match="1 GroupNorm layers keep no statistics"):
        gformer.wrap(network, CLASSES, SAID, device="cpu")
    with pytest.raises(gformer.InputError, match="source holds no images"):
        gformer.wrap(network, CLASSES, SAID, source=[], device="cpu")
    model = gformer.wrap(network, CLASSES, SAID, source=files, device="cpu")
    with torch.no_grad():
        shown = network[0](torch.stack([model.preprocessing(file) for file in files]))
        shown = nn.functional.group_norm(shown, 2).transpose(0, 1).flatten(1)
    assert torch.allclose(model.module.source.layers[0].running_mean, shown.mean(dim=1), atol=1e-5)
    assert torch.allclose(model.module.source.layers[0].running_var, shown.var(dim=1, correction=0), atol=1e-5)
    result = model.predict(files[:4])
    assert not torch.allclose(result.probabilities, result.source_probabilities, atol=1e-3)
    still = gformer.wrap(network, CLASSES, SAID, generator="none", device="cpu").predict(files)
    assert torch.allclose(still.probabilities, still.source_probabilities, atol=1e-6)


def test_the_generator_is_the_one_that_is_named(files: list[Path]) -> None:
    torch.manual_seed(0)
    network = Norm()
    named = ["universal", "none", GOLDEN / "bundles" / "channel-none.gformer"]
    found = [gformer.wrap(network, CLASSES, SAID, generator=name, device="cpu").predict(files) for name in named]
    assert not torch.allclose(found[0].probabilities, found[1].probabilities, atol=1e-4)
    assert not torch.allclose(found[2].probabilities, found[1].probabilities, atol=1e-4)


def test_images_are_prepared_by_as_many_threads_as_workers(files: list[Path]) -> None:
    names: set[str] = set()

    def prepare(image: Image.Image) -> torch.Tensor:
        names.add(threading.current_thread().name.split("_")[0])
        return CODE(image)

    for workers, wanted in ((0, {"MainThread"}), (2, {"decode"})):
        model = gformer.wrap(Norm(), CLASSES, prepare, workers=workers, device="cpu")
        names.clear()
        model.predict(files[:4])
        assert names == wanted


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": "resnet18"}, "no network"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Linear(768, 3))}, "no normalisation layer"),
        ({"network": Norm().half()}, "weights of torch.float16"),
        ({"classes": CLASSES[:2]}, r"it answers 3 images with a tensor \(3, 3\)"),
        ({"classes": "abc"}, "one text"),
        ({"classes": ["a", "b", "a"]}, "two classes are called 'a'"),
        ({"classes": ["a", "", "b"]}, "empty"),
        ({"transform": 3}, "no transform"),
        ({"transform": "torchvision"}, "unknown transform"),
        ({"transform": {"size": 3}}, "unknown key: 'size'"),
        ({"transform": transforms.ToTensor()}, r"makes a tensor \(3, 240, 320\)"),
        ({"transform": transforms.Resize(16)}, "type Image"),
        ({"transform": transforms.Compose([transforms.RandomCrop(16), transforms.ToTensor()])}, "each time"),
        ({"transform": lambda image: image.nonsense}, "the transform failed: .*nonsense"),
        ({"generator": "no-such-file"}, "no such generator file"),
        ({"head": "7"}, "has no layer '7'"),
    ],
)
def test_what_cannot_be_wrapped_is_told(changes: dict[str, Any], told: str) -> None:
    wanted: dict[str, Any] = {"network": Norm(), "classes": CLASSES, "transform": SAID, "device": "cpu"}
    with pytest.raises(gformer.InputError, match=told):
        gformer.wrap(**wanted | changes)
