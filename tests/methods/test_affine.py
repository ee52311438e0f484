"""The methods that train γ and β do so whatever kind of layer holds them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods import METHODS
from gformer_cli.methods.affine import trainable_affine
from gformer_cli.methods.base import Parts
from gformer_cli.methods.bn import BatchStatistics
from gformer_cli.methods.tent import Tent


@pytest.fixture(scope="module")
def vit() -> Backbone:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=4, **options)
    backbone = Backbone(network, image_size=16).freeze()
    backbone.record([torch.randn(8, 3, 16, 16)])
    return backbone


@pytest.fixture
def stream() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [1.0 + 2.0 * torch.randn(6, 3, 16, 16, generator=random) for _ in range(2)]


@pytest.mark.parametrize("name", ["tent", "sar", "eata"])
def test_layernorms_scale_and_shift_are_trained_and_its_statistics_stay_each_images_own(
    name: str, vit: Backbone, stream: list[torch.Tensor]
) -> None:
    settings = {"learning_rate": 0.1} | ({"entropy_margin": 10.0} if name != "tent" else {})
    method = METHODS[name](vit, **settings)  # type: ignore[arg-type]
    torch.testing.assert_close(method.predict(stream[0]), vit(stream[0]), rtol=0.0, atol=1e-6)  # before any step
    assert not torch.allclose(method.predict(stream[1]), vit(stream[1]), atol=1e-6)
    moved = method.parameters  # type: ignore[attr-defined]
    trained = [
        not torch.equal(ours, theirs) for ours, theirs in zip(moved.gammas, vit.source_parameters().gammas, strict=True)
    ]
    assert trained[0] and (all(trained) or name == "sar")


def test_without_batchnorm_batch_statistics_are_nobodys(vit: Backbone, stream: list[torch.Tensor]) -> None:
    assert torch.equal(BatchStatistics(vit).predict(stream[0]), vit(stream[0]))
    assert trainable_affine(vit).mix is None


def test_batchnorm_beside_layernorm_takes_the_batchs_statistics_alone() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    backbone = Backbone(timm.create_model("mobilevit_xxs", num_classes=4), image_size=32).freeze()
    mix = backbone.mixing_batchnorm(1.0).mix
    assert mix is not None and mix.tolist() == [float(layer.family == "BatchNorm") for layer in backbone.layers]
    images = torch.randn(6, 3, 32, 32)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert not torch.allclose(Tent(backbone).predict(images), backbone(images))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


NEEDS_BATCHNORM = [name for name, method in METHODS.items() if method.needs_batchnorm]
GENERATED = ("constant", "gformer", "gformer-context", "gformer-guard")


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*NEEDS_BATCHNORM, *GENERATED, "memo")])
def test_every_method_takes_a_network_with_layernorm_alone(
    name: str, vit: Backbone, parts: Parts, stream: list[torch.Tensor]
) -> None:
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    method = METHODS[name].from_parts(replace(parts, backbone=vit))
    method.prepare(stream)
    first = [method.predict(images) for images in (*stream, stream[0][:1])]
    assert all(logits.isfinite().all() and not logits.requires_grad for logits in first)
    method.reset()
    again = [method.predict(images) for images in (*stream, stream[0][:1])]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())
