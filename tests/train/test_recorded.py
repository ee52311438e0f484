"""Layers without running statistics: what source images show of them is recorded, kept in the bundle, and used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import load_bundle
from gformer_cli.config import resolve
from gformer_cli.data.labelled import load_labelled
from gformer_cli.folders.domains import Domain
from gformer_cli.settings import Settings
from gformer_cli.train.meta_train import meta_train
from gformer_cli.train.pretrain import pretrain
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import preprocessing_of

CPU = torch.device("cpu")
OWN = """
import timm

def vit(num_classes):
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=num_classes, **options)
"""


@pytest.fixture
def trained(domains: list[Domain], tiny: Settings, tmp_path: Path) -> tuple[RunFolder, Settings, str]:
    pytest.importorskip("timm")
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path}/own.py:vit"
    settings = resolve(base=tiny, assignments=[f"backbone.name={name}", "backbone.stem=standard", "backbone.width=1"])
    run = RunFolder(tmp_path / "run")
    pretrain(domains, settings, run, device=CPU, workers=0)
    meta_train(domains, settings, run, device=CPU, workers=0)
    return run, settings, name


def test_a_transformer_is_trained_recorded_and_adapted(
    domains: list[Domain], trained: tuple[RunFolder, Settings, str]
) -> None:
    run, settings, name = trained
    bundle = load_bundle(run.bundle, own_backbone=name)
    assert bundle.header.layers is not None and bundle.header.layers.adapted == {"LayerNorm": 3}
    assert bundle.header.backbone.head == "head"
    loaded, _ = load_labelled(
        domains,
        bundle.header.classes,
        preprocessing_of(settings),
        validation_fraction=settings.data.validation_fraction,
        seed=settings.seed,
        workers=0,
    )
    pixels = torch.cat([domain.pixels(domain.train) for domain in loaded])
    _, session = bundle.backbone.observe(bundle.preprocessing.network_input(pixels, CPU))
    for index, layer in enumerate(bundle.backbone.layers):
        torch.testing.assert_close(layer.running_mean, session.means[index], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var, session.variances[index], rtol=1e-4, atol=1e-5)
    images = torch.randn(5, 3, 8, 8)
    prediction = bundle.model(bundle.backbone, images)
    assert prediction.logits.isfinite().all() and not torch.allclose(prediction.logits, bundle.backbone(images))
