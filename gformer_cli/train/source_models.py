"""The frozen source models of a run, by the domain they have not seen."""

from __future__ import annotations

import torch

from gformer_cli.config import Settings
from gformer_cli.core.backbone import Backbone
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.run_folder import ALL, RunFolder, SourceData
from gformer_cli.train.source_trainer import trained_network


class SourceModels:
    """Frozen source models by the domain they have not seen."""

    def __init__(self, run: RunFolder, source: SourceData, settings: Settings, device: torch.device) -> None:
        self.full = self._load(run, ALL, source, settings, device)
        self._without = {
            name: self._load(run, f"without-{name}", source, settings, device)
            for name in (source.domains if source.leave_one_out else ())
        }

    def unaware_of(self, domain: str) -> Backbone:
        """The model for episodes on `domain`: one that never saw it, or the full model where there is none."""
        return self._without.get(domain, self.full)

    @staticmethod
    def _load(run: RunFolder, label: str, source: SourceData, settings: Settings, device: torch.device) -> Backbone:
        return Backbone(trained_network(run, label, settings, len(source.classes))).freeze().to(device)


def source_divergence(settings: Settings) -> Divergence:
    """What to say where the source models, which are frozen by now, answer with what is not finite."""
    return Divergence("source models", "pretrain", "pretrain.learning_rate", settings.pretrain.learning_rate)
