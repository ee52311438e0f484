from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.networks.build import NETWORKS, build_network


def sizes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


RESNETS = [name for name in NETWORKS if name.startswith(("resnet", "resnext", "wide_resnet"))]


@pytest.mark.parametrize("name", RESNETS)
def test_full_width_networks_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        assert sizes(build_network(name, 7)) == sizes(torchvision.models.get_model(name, num_classes=7))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_width_scales_channels_and_keeps_names(name: str) -> None:
    with torch.device("meta"):
        narrow, full = build_network(name, 7, width=0.25), torchvision.models.get_model(name, num_classes=7)
    assert list(sizes(narrow)) == list(sizes(full))
    for layer, expected in (("conv1.weight", 16), ("layer1.0.conv1.weight", 16), ("layer4.0.conv1.weight", 128)):
        assert sizes(narrow)[layer][0] == expected == sizes(full)[layer][0] / 4
    assert sizes(narrow)["fc.weight"][1] == sizes(full)["fc.weight"][1] / 4


@pytest.mark.parametrize("width", [0.001, 0.125, 2.0])
def test_any_width_runs(width: float) -> None:
    network = build_network("resnet18", 4, width=width, stem="small").eval()
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 4)


def test_small_stem_keeps_the_resolution() -> None:
    stages: dict[str, torch.Size] = {}
    for stem in ("standard", "small"):
        network = build_network("resnet18", 4, width=0.125, stem=stem).eval()
        network.get_submodule("layer1").register_forward_pre_hook(
            lambda _, inputs, stem=stem: stages.__setitem__(stem, inputs[0].shape[2:])
        )
        network(torch.zeros(1, 3, 32, 32))
    assert stages == {"standard": (8, 8), "small": (32, 32)}


def test_small_stem_works_at_full_width() -> None:
    with torch.device("meta"):
        network = build_network("resnet18", 4, stem="small")
    assert sizes(network)["conv1.weight"] == (64, 3, 3, 3)
    assert isinstance(network.get_submodule("maxpool"), nn.Identity)


def test_same_seed_gives_the_same_weights() -> None:
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(build_network("resnet18", 4, width=0.125, stem="small").state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["conv1.weight"], found[2]["conv1.weight"])


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown backbone: 'resnet81'") as caught:
        build_network("resnet81", 4)
    assert "Did you mean 'resnet18'?" in caught.value.hint and "timm:NAME" in caught.value.hint


def test_width_of_a_fixed_network_is_refused() -> None:
    with pytest.raises(InputError, match="resnext50_32x4d has no settable width") as caught:
        build_network("resnext50_32x4d", 4, width=0.5)
    assert "resnet18" in caught.value.hint


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "shufflenet_v2_x0_5", "timm:tf_efficientnet_lite0"])
def test_channels_last_predicts_as_the_plain_layout(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 4).double().eval()
    assert next(network.parameters()).is_contiguous(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        fast = network(images)
        slow = network.to(memory_format=torch.contiguous_format)(images)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
