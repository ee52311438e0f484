"""A small guarded bundle and its export, made once."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from gformer_cli.bundle import Bundle
from gformer_cli.core.backbone import Backbone
from gformer_cli.export.samples import made_images
from gformer_cli.export.write import export
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.rule import DECISIONS
from tests.conftest import randomise


@dataclass(frozen=True)
class Made:
    """An exported file and the bundle that it is of."""

    path: Path
    bundle: Bundle
    batches: dict[str, torch.Tensor]
    """Network inputs (B, 3, 8, 8) that the guard decides so on, by its decision."""


def small_network(classes: int) -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in ((3, 4), (4, 6)):
        parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return randomise(nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)), 0).float()


@pytest.fixture(scope="session")
def made(_loaded_bundle: Bundle, _bundle_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    trained = copy.deepcopy(_loaded_bundle)
    bundle = Bundle(trained.header, Backbone(small_network(2)).freeze(), trained.model)
    random = torch.Generator().manual_seed(0)
    drawn = [scale * torch.randn(5, 3, 8, 8, generator=random) + scale for scale in (0.2, 1.0, 3.0)]
    guard, header = bundle.guard, bundle.header.guard
    assert guard is not None and header is not None
    with torch.no_grad():
        scores = [guard.decide(predict_both(bundle.backbone, bundle.model, one).signals) for one in drawn]
    order = sorted(range(3), key=lambda index: scores[index].signals["strangeness"])
    low, middle, high = (scores[index].signals["strangeness"] for index in order)
    rule = replace(
        guard,
        strangeness=replace(guard.strangeness, limit=0.5 * (low + middle), far=0.5 * (middle + high)),
        expected_loss=replace(guard.expected_loss, limit=1e6, far=2e6),
        smallest_batch=2.0,
    )
    changed = header.model_copy(update={"rule": rule})
    bundle = Bundle(bundle.header.model_copy(update={"guard": changed}), bundle.backbone, bundle.model)
    out = tmp_path_factory.mktemp("export") / "model.onnx"
    export(_bundle_file, bundle, out, "adaptive", made_images(bundle, 8))
    return Made(out, bundle, {name: drawn[index] for name, index in zip(DECISIONS, order, strict=True)})
