from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gformer_cli.data.inventory import Facts
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.folders.domains import ImageFiles
from gformer_cli.settings import Settings
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import preprocessing_of
from gformer_cli.train.source_trainer import SourceTrainer

CPU = torch.device("cpu")


def test_validation_accuracy_counts_every_domain_alike(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One right of four in one domain, one right of one in the other: 5/8, not 2/5."""
    preprocessing = preprocessing_of(tiny)

    def domain(name: str, labels: list[int]) -> LabelledDomain:
        pixels = [torch.zeros(3, 8, 8, dtype=torch.uint8) for _ in labels]
        return LabelledDomain(
            name, ImageFiles(), Facts(), torch.tensor(labels), [], range(len(labels)), preprocessing, pixels
        )

    class First(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    parts = [domain("a", [0, 1, 1, 1]), domain("b", [0])]
    trainer = SourceTrainer("all", parts, tiny, RunFolder(tmp_path), 2, CPU)
    trainer.network = First()
    assert trainer.validate() == pytest.approx((0.25 + 1.0) / 2)
