"""Source models: the network that the settings ask for, and the trained ones of a run, by what they have not seen."""

from __future__ import annotations

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.networks.build import build_network
from gformer_cli.networks.norms import make_adaptive
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import Settings
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.run_folder import ALL, RunFolder, SourceData
from gformer_cli.weights.published import names_published
from gformer_cli.weights.starting import load_weights


def preprocessing_of(settings: Settings) -> Preprocessing:
    """The part of the settings that says how a file becomes an input."""
    return Preprocessing.of(settings.data, Depth(settings.data.white_level))


def new_network(settings: Settings, num_classes: int, *, with_weights: bool) -> nn.Module:
    """The settings' network, adaptive, with its starting weights or freshly initialised from the seed."""
    return starting_network(settings, num_classes, with_weights=with_weights)[0]


def starting_network(settings: Settings, num_classes: int, *, with_weights: bool) -> tuple[nn.Module, list[str]]:
    """That network, and which of its tensors its starting weights leave fresh, since they do not fit there."""
    torch.manual_seed(derive_seed(settings.seed, "network"))
    backbone = settings.backbone
    network = build_network(
        backbone.name,
        num_classes,
        stem=backbone.stem,
        width=backbone.width,
        image_size=settings.data.image_size,
        config=backbone.config,
    )
    if backbone.width != 1.0 and names_published(backbone.weights):
        raise InputError(
            f"there are no {backbone.weights} weights for backbone.width={backbone.width}",
            "Use --weights none, or a file that was saved at this width.",
        )
    fresh = []
    if with_weights:
        fresh = load_weights(
            network,
            backbone.name,
            backbone.weights,
            head=backbone.head,
            image_size=settings.data.image_size,
        )
    make_adaptive(network)  # after its weights: some layers gain a place for what is recorded of source images
    return network, fresh


class SourceModels:
    """Frozen source models by the domain they have not seen."""

    def __init__(self, run: RunFolder, source: SourceData, settings: Settings, device: torch.device) -> None:
        self.full = self._load(run, ALL, source, settings, device)
        self._without = {
            name: self._load(run, f"without-{name}", source, settings, device)
            for name in (source.domains if source.leave_one_domain_out else ())
        }

    def unaware_of(self, domain: str) -> Backbone:
        """The model for episodes on `domain`: one that never saw it, or the full model where there is none."""
        return self._without.get(domain, self.full)

    @staticmethod
    def _load(run: RunFolder, label: str, source: SourceData, settings: Settings, device: torch.device) -> Backbone:
        network = new_network(settings, len(source.classes), with_weights=False)
        run.put_model(label, network)
        backbone = Backbone(network, image_size=settings.data.image_size, head=settings.backbone.head)
        return backbone.freeze().to(device)


def source_divergence(settings: Settings) -> Divergence:
    """What to say where the source models, which are frozen by now, answer with what is not finite."""
    return Divergence("source models", "pretrain", "pretrain.learning_rate", settings.pretrain.learning_rate)
