"""A pass belongs to one batch: threads may share a network, and a whole prediction is one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Reads
from gformer_cli.networks.build import build_network

Perturb = Callable[..., None]


def make_model(perturb: Perturb, *, single_pass: bool, gradients: bool = False) -> GeneralizeFormer:
    torch.manual_seed(0)
    generator = ChannelGenerator(width=16, depth=1, heads=2, channel_width=8, reads=Reads(gradients=gradients))
    perturb(generator, 0.2)
    return GeneralizeFormer(generator, prior_count=16.0, single_pass=single_pass).eval().requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("single_pass", "gradients", "context"),
    [(True, False, 0), (False, False, 0), (False, True, 0), (True, False, 2)],
    ids=["single pass", "probe", "probe with gradients", "context"],
)
def test_eight_threads_share_one_network(perturb: Perturb, single_pass: bool, gradients: bool, context: int) -> None:
    """200 batches of different sizes: every prediction equal to the bit to what one thread gives."""
    backbone = Backbone(convolutional((4, 6, 8), 5)).freeze()
    model = make_model(perturb, single_pass=single_pass, gradients=gradients)
    random = torch.Generator().manual_seed(0)
    streams = [
        [torch.randn(1 + (3 * number + thread) % 7, 3, 8, 8, generator=random) for number in range(25)]
        for thread in range(8)
    ]

    def predict(stream: list[torch.Tensor]) -> list[torch.Tensor]:
        remembered = Context(context) if context else None
        with torch.no_grad():
            return [model(backbone, images, remembered).logits for images in stream]

    torch.set_num_threads(1)
    alone = [predict(stream) for stream in streams]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predict, streams))
    for expected, found in zip(alone, together, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


class Adapted(nn.Module):
    """A whole adapted prediction: images to logits."""

    def __init__(self, backbone: Backbone, model: GeneralizeFormer) -> None:
        super().__init__()
        self.backbone, self.model = backbone, model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(self.backbone, images).logits  # type: ignore[no-any-return]


def convolutional(channels: Sequence[int], classes: int) -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in zip([3, *channels], channels, strict=False):
        parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes)).eval()


def small_vit() -> nn.Module:
    import timm

    options = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutional": lambda: convolutional((4, 6), 3),
    "vit": small_vit,
    "resnet": lambda: build_network("resnet18", 3, width=0.125, stem="small"),
}


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[pytest.mark.slow] if name == "resnet" else []) for name in NETWORKS]
)
@pytest.mark.parametrize("single_pass", [True, False], ids=["single pass", "probe"])
def test_a_whole_prediction_is_one_graph_of_any_batch_size(perturb: Perturb, network: str, single_pass: bool) -> None:
    torch.manual_seed(0)
    backbone = Backbone(NETWORKS[network](), image_size=16).freeze()
    whole = Adapted(backbone, make_model(perturb, single_pass=single_pass)).eval()
    size = torch.export.Dim("batch", min=1, max=512)
    example: dict[str, Any] = {"args": (torch.randn(5, 3, 16, 16),), "dynamic_shapes": ({0: size},)}
    with torch.no_grad():
        graph = torch.export.export(whole, **example).module()
        for count in (1, 3, 17):
            images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))
            torch.testing.assert_close(graph(images), whole(images), rtol=1e-5, atol=2e-5)
            assert not torch.allclose(whole(images), backbone(images), atol=1e-2)
