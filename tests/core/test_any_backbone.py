"""Every family through probe, generation, prediction and one meta-training step, at small size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Generator, Reads, VectorGenerator
from gformer_cli.errors import InputError
from gformer_cli.networks.build import build_network

FAMILIES = {
    "resnet18": 32,
    "resnext50_32x4d": 32,
    "wide_resnet50_2": 32,
    "densenet121": 32,
    "vgg11_bn": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_s": 32,
    "mnasnet0_5": 32,
    "regnet_y_400mf": 32,
    "shufflenet_v2_x0_5": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "timm:tf_efficientnet_lite0": 32,
    "timm:resnet18": 32,
    "timm:regnety_002": 32,
    "convnext_tiny": 32,
    "swin_t": 32,
    "vit_b_16": 32,
    "timm:vit_tiny_patch16_224": 32,
    "timm:deit_tiny_patch16_224": 32,
    "timm:convnext_atto": 32,
    "timm:resnet50_gn": 32,
    "timm:mobilevit_xxs": 32,
    "timm:dpn48b": 32,
}
"""A member of each family, and the pixels it is run at."""
LARGE = ("wide_resnet50_2", "vgg11_bn", "vit_b_16", "convnext_tiny", "swin_t")
"""Of 28 to 128 million weights; the others have at most 24."""


def step(backbone: Backbone, generator: Generator, images: torch.Tensor, *, single_pass: bool) -> None:
    """Untrained: the source model under the probe's statistics. Then one update, which moves the prediction."""
    before = {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}
    method = GeneralizeFormer(generator, prior_count=4.0, single_pass=single_pass)
    optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
    prediction = method(backbone, images)
    mix = torch.full((len(backbone.layer_names),), len(images) / (len(images) + 4.0))
    expected = backbone(images, backbone.source_parameters().with_mix(mix))
    assert prediction.logits.shape == (len(images), 3)
    torch.testing.assert_close(prediction.logits, expected)
    F.cross_entropy(prediction.logits, torch.arange(len(images)) % 3).backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0))
    optimizer.step()
    moved = method(backbone, images)
    assert torch.isfinite(moved.logits).all() and not torch.equal(moved.logits, prediction.logits)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.network.state_dict().items())


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> tuple[str, Backbone]:
    """A network by name, made once for all kinds of generators: the largest take a second to initialise."""
    name: str = request.param
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    size = FAMILIES[name]
    backbone = Backbone(build_network(name, 3, image_size=size), image_size=size).freeze()
    backbone.record([torch.rand(4, 3, size, size)])
    return name, backbone


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] if name in LARGE and kind != "single pass" else [])
        for name in FAMILIES
        for kind in ("single pass", "channel", "vector")
    ],
    indirect=["family"],
)
def test_every_family_is_generated_for_and_trained_on(family: tuple[str, Backbone], kind: str) -> None:
    name, backbone = family
    small = {"width": 8, "depth": 1, "heads": 2, "feed_forward": 8}
    reads = Reads(gradients=kind != "single pass")
    torch.manual_seed(0)
    generator = (
        VectorGenerator(backbone, **small, reads=reads)
        if kind == "vector"
        else ChannelGenerator(**small, channel_width=4, reads=reads)
    )
    images = torch.rand(3, 3, FAMILIES[name], FAMILIES[name])
    step(backbone, generator, images, single_pass=kind == "single pass")


UNALIKE = {
    "timm:vit_tiny_patch16_224": {"LayerNorm": 25},
    "timm:convnext_atto": {"LayerNorm": 17},
    "timm:resnet50_gn": {"GroupNorm": 53},
    "timm:mobilevit_xxs": {"BatchNorm": 32, "LayerNorm": 21},
    "swin_t": {"LayerNorm": 29},
}


@pytest.mark.parametrize("name", UNALIKE)
def test_layers_of_every_kind_are_found_and_a_generator_without_training_is_the_source(name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network(name, 3, image_size=32).eval()
    images = torch.rand(4, 3, 32, 32)
    expected = network(images)
    backbone = Backbone(network, image_size=32).freeze()
    assert backbone.families == UNALIKE[name] and not backbone.unadapted
    assert torch.equal(backbone(images), expected)
    assert torch.equal(backbone(images, backbone.source_parameters()), expected)
    backbone.record([torch.rand(8, 3, 32, 32)])
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4, reads=Reads(gradients=False))
    for single_pass in (True, False):
        untrained = GeneralizeFormer(generator, prior_count=1e9, single_pass=single_pass)
        torch.testing.assert_close(untrained(backbone, images).logits, expected, rtol=0.0, atol=2e-6)


@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite0", "mobilenet_v3_small", "densenet121"])
def test_wrapping_changes_no_prediction_and_no_name(name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network(name, 3).eval()
    images = torch.rand(2, 3, 32, 32)
    names, expected = list(network.state_dict()), network(images)
    backbone = Backbone(network).freeze()
    torch.testing.assert_close(backbone(images), expected)
    assert list(backbone.network.state_dict()) == names
    assert len(backbone.layer_names) == sum(name.endswith("running_mean") for name in names)


def test_torchvision_networks_without_normalisation_are_no_backbones() -> None:
    with pytest.raises(InputError, match="unknown backbone: 'alexnet'"):
        build_network("alexnet", 3)


def test_timm_network_without_normalisation_is_refused_with_what_is_supported() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="has no normalisation layer") as caught:
        Backbone(build_network("timm:vgg11", 3), image_size=32)
    assert "MobileNets" in caught.value.hint


def test_a_size_that_a_network_cannot_be_built_for_is_told() -> None:
    with pytest.raises(InputError, match="vit_b_16 cannot be built for 30 x 30 images") as caught:
        build_network("vit_b_16", 3, image_size=30)
    assert "--image-size" in caught.value.hint


def test_unknown_timm_name_is_refused_with_the_nearest() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="unknown timm backbone: 'resnet19'") as caught:
        build_network("timm:resnet19", 3)
    assert "Did you mean 'resnet18'" in caught.value.hint


OWN = """
from torch import nn

def small(num_classes):
    body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(4, num_classes))

def broken(num_classes):
    raise RuntimeError("no luck")

def number(num_classes):
    return 7
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_a_users_own_network_is_built_and_trained_on(own: Path) -> None:
    network = build_network(f"{own}:small", 3)
    assert isinstance(network, nn.Sequential)
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4)
    step(Backbone(network).freeze(), generator, torch.rand(4, 3, 8, 8), single_pass=False)


@pytest.mark.parametrize(
    ("function", "reason"),
    [("broken", "no luck"), ("number", "returned int, not a torch.nn.Module"), ("missing", "no attribute 'missing'")],
)
def test_own_code_that_gives_no_network_is_refused(own: Path, function: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"cannot build backbone .*{reason}"):
        build_network(f"{own}:{function}", 3)


def test_missing_file_of_own_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such backbone file"):
        build_network(f"{tmp_path / 'none.py'}:small", 3)


@pytest.mark.parametrize("name", ["densenet121", "timm:resnet18"])
@pytest.mark.parametrize("option", [{"width": 0.5}, {"stem": "small"}], ids=str)
def test_width_and_stem_are_refused_where_there_are_none(name: str, option: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"has no (settable width|small stem)"):
        build_network(name, 3, **option)  # type: ignore[arg-type]


def test_own_code_in_a_folder_named_like_a_resnet_has_no_small_stem() -> None:
    with pytest.raises(InputError, match="has no small stem") as caught:
        build_network("resnets/own.py:small", 3, stem="small")
    assert "--set backbone.stem=standard" in caught.value.hint
