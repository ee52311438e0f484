"""`pea`: a block by hand, the whole against an independent version, which blocks it finds, what each setting does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.transforms.v2 import functional as transforms

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Parts
from gformer_cli.methods.pea import Block, Pea, repeated_units

SOURCE = torch.rand(2, 8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_a_block_moves_its_output_onto_the_source(parts: Parts) -> None:
    unit = nn.Identity()
    block = Block(unit)
    source = torch.randn(50, 4, 3, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64) + 1.0
    target = torch.randn(40, 4, 3, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    block.listen()
    unit(source[:20])
    unit(source[20:])
    block.keep_source(group=4)
    assert block.count == 450
    rows = source.movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(block.source_mean, rows.mean(dim=0))
    torch.testing.assert_close(block.source_variance, rows.var(dim=0))
    block.listening = False
    assert torch.equal(unit(target), target)  # without an alignment nothing happens
    block.alignment = 1.0, 0.1, 0.2, 2.5
    moved = unit(target).movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(moved.mean(dim=0), rows.mean(dim=0))
    torch.testing.assert_close(moved.T.cov(), rows.T.cov(), rtol=1e-3, atol=1e-3)
    block.forget()
    block.alignment = 0.25, 0.1, 0.2, 2.5
    part = unit(target).movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(part, 0.75 * target.movedim(1, -1).reshape(-1, 4) + 0.25 * moved)


def test_groups_of_channels_are_aligned_by_themselves(parts: Parts) -> None:
    unit = nn.Identity()
    block = Block(unit)
    block.listen()
    unit(torch.randn(30, 3, 2, 2, dtype=torch.float64))
    block.keep_source(group=2)
    assert [root.shape for root in block.source_roots] == [(2, 2), (1, 1)]


def test_the_moving_statistics_start_anew_after_a_leap(parts: Parts) -> None:
    block = Block(nn.Identity())
    values = torch.randn(30, 2, dtype=torch.float64)
    block._follow(values, 0.1, 0.2, 2.5)
    mean, covariance = block.moving
    torch.testing.assert_close(covariance, values.T.cov() + 1e-5 * torch.eye(2).double())
    block.drift = 1.0
    block._follow(values + 1.0, 0.1, 0.2, 2.5)  # as far as usual
    torch.testing.assert_close(block.moving[0], mean + 0.1)
    torch.testing.assert_close(block.moving[1], covariance)
    block._follow(values + 50.0, 0.1, 0.2, 2.5)
    torch.testing.assert_close(block.moving[0], mean + 50.0)
    assert block.drift == pytest.approx(0.8 * 0.98 + 0.2 * 49.9, rel=0.01)


def _root(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-5 if exponent < 0 else 0.0) ** exponent) @ vectors.T


@torch.no_grad()
def test_both_passes_by_hand(parts: Parts, batches: list[torch.Tensor]) -> None:
    network = copy.deepcopy(parts.backbone.network)
    units = [block for layer in (network.layer1, network.layer2, network.layer3, network.layer4) for block in layer]
    seen: dict[int, torch.Tensor] = {}
    weights: list[float] = []
    moving: dict[int, list[Any]] = {}
    source: list[tuple[torch.Tensor, torch.Tensor]] = []

    def hook(index: int) -> Any:
        def listen(_m: nn.Module, _i: Any, output: torch.Tensor) -> torch.Tensor | None:
            x = output.permute(0, 2, 3, 1).flatten(0, 2)
            if not weights:
                seen[index] = x
                return None
            w = weights[index]
            if w < 1e-3:
                return None
            mean, cov = x.mean(dim=0), x.T.cov() + 1e-5 * torch.eye(x.shape[1]).double()
            if index not in moving:
                moving[index] = [mean, cov, 0.0]
            else:
                drift = (mean - moving[index][0]).abs().mean().item()
                smooth = 0.2 * drift + 0.8 * moving[index][2]
                new = [mean, cov] if drift > 2.5 * smooth else [0.3 * mean + 0.7 * moving[index][0]]
                if len(new) == 1:
                    new.append(0.3 * cov + 0.7 * moving[index][1])
                moving[index] = [*new, smooth]
            mu, sigma = source[index]
            y = x.clone()
            for first in range(0, x.shape[1], 32):
                g = slice(first, first + 32)
                own = (sigma + 1e-5 * torch.eye(len(mu)).double())[g, g]
                y[:, g] = (x - moving[index][0])[:, g] @ _root(moving[index][1][g, g], -0.5) @ _root(own, 0.5) + mu[g]
            b, c, h, s = output.shape
            return ((1 - w) * x + w * y).view(b, h, s, c).permute(0, 3, 1, 2)

        return listen

    for index, unit in enumerate(units):
        unit.register_forward_hook(hook(index))
    network(SOURCE.flatten(0, 1))
    source = [(seen[index].mean(dim=0), seen[index].T.cov()) for index in range(len(units))]
    method = Pea.from_parts(parts, momentum=0.3)
    method.prepare(SOURCE)
    for batch in batches:
        centre = transforms.resize(transforms.center_crop(batch, [14, 14]), [16, 16], antialias=False)
        views = torch.cat([batch, centre, batch.flip(3)])
        weights = []
        network(views)
        scores = []
        for index, (mu, sigma) in enumerate(source):
            variance = seen[index].var(dim=0)
            scores.append(((seen[index].mean(dim=0) - mu).norm() + (variance - sigma.diagonal()).norm()).item())
        weights = [(score - min(scores)) / (max(scores) - min(scores)) for score in scores]
        wanted = network(views).view(3, 6, 4).mean(dim=0)
        torch.testing.assert_close(method.predict(batch), wanted, rtol=1e-5, atol=1e-6)


def test_a_batch_of_high_entropy_makes_everything_start_anew(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Pea.from_parts(parts)
    method.prepare(SOURCE)
    method.predict(batches[0])
    assert method.level is not None and any(block.moving for block in method.blocks)
    method.level = -1.0
    method.predict(batches[1])
    assert not any(block.moving for block in method.blocks) and method.level > 0.0


def test_without_source_images_it_is_the_source_model(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Pea.from_parts(parts)
    method.prepare([])
    assert torch.equal(method.predict(batches[0]), parts.backbone(batches[0]))


def test_blocks_are_what_a_network_repeats(parts: Parts) -> None:
    names = {id(module): name for name, module in parts.backbone.network.named_modules()}
    found = [names[id(unit)] for unit in repeated_units(parts.backbone.network)]
    assert found == [f"layer{layer}.{block}" for layer in range(1, 5) for block in range(2)]
    mobile = Backbone(mobilenet_v2(num_classes=3), image_size=32)
    assert {type(unit).__name__ for unit in repeated_units(mobile.network)} == {"InvertedResidual"}
    plain = Backbone(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(256, 3)), image_size=8
    )
    assert repeated_units(plain.network) == plain.layers


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_tokens_and_maps_of_transformers_are_aligned(name: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    sizes = {
        "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2},
        "convnext_atto": {"dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1)},
        "swin_tiny_patch4_window7_224": {"img_size": 32, "window_size": 2, "embed_dim": 8, "num_heads": (1, 2, 2, 2)},
    }
    network = timm.create_model(name, num_classes=3, **sizes[name])
    backbone = Backbone(network, image_size=32).freeze()
    method = Pea(backbone, False)
    source, target = torch.randn(12, 3, 32, 32), 3.0 * torch.randn(6, 3, 32, 32) + 1.0
    method.prepare([source])
    assert len(method.blocks) >= 3
    for block in method.blocks:
        assert len(block.source_mean) in block.widths  # channels, not positions
        assert block.of_maps == (name != "vit_tiny_patch16_224")
    found = method.predict(target)
    assert found.isfinite().all() and not torch.allclose(found, backbone(target), atol=1e-4)


@pytest.mark.parametrize(
    "setting", [{"momentum": 0.9}, {"smoothing": 0.9}, {"rise": -9.0}], ids=lambda value: next(iter(value))
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = Pea.from_parts(parts), Pea.from_parts(parts, **setting)
    for method in (usual, changed):
        method.prepare(SOURCE)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
