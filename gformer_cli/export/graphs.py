"""What an exported file computes: a bundle's prediction of one batch, with tensors alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gformer_cli.bundle import Bundle
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.change import change_tensor
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.static import StaticModel
from gformer_cli.guard.rule import BLENDED, SOURCE, Guard
from gformer_cli.guard.signals import signal_tensors
from gformer_cli.guard.tensors import CODES, decide

Tensors = tuple[torch.Tensor, ...]
LOGITS, GENERATED, SOURCE_LOGITS, CHANGE = "logits", "generated_logits", "source_logits", "change"
SIGNAL_VALUES = "signals"
CHOICE = ("is_blended", "blended_logits", "other_logits", "chosen_logits")
"""Names that a guarded graph has until `conditional.py` has made a branch of them."""


class SourceGraph(nn.Module):
    """Images (B, 3, S, S) to logits (B, K) of the source model."""

    outputs: Sequence[str] = (LOGITS,)

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> Tensors:
        return (self.backbone(images),)


class BatchNormGraph(SourceGraph):
    """The same, where each BatchNorm takes the batch's statistics."""

    def forward(self, images: torch.Tensor) -> Tensors:
        return (self.backbone(images, self.backbone.mixing_batchnorm(1.0)),)


class AdaptedGraph(nn.Module):
    """Images (B, 3, S, S) to logits (B, K) under what is generated for them, or kept, to those of the source, and to
    how much that is a change (see `core.change`)."""

    outputs: Sequence[str] = (LOGITS, SOURCE_LOGITS, CHANGE)

    def __init__(self, backbone: Backbone, model: GeneralizeFormer | StaticModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.model = model

    def predicted(self, images: torch.Tensor) -> tuple[Prediction, torch.Tensor]:
        """What was generated, and the source model's logits."""
        prediction: Prediction = self.model(self.backbone, images)
        source = self.backbone(images) if prediction.source is None else prediction.source
        return prediction, source

    def forward(self, images: torch.Tensor) -> Tensors:
        prediction, source = self.predicted(images)
        return prediction.logits, source, change_tensor(prediction)


class GeneratedGraph(AdaptedGraph):
    """The first of these alone: no pass of the source model is made for its own sake."""

    outputs = (LOGITS,)

    def forward(self, images: torch.Tensor) -> Tensors:
        prediction: Prediction = self.model(self.backbone, images)
        return (prediction.logits,)


class GuardedGraph(AdaptedGraph):
    """The same, where a guard decides which parameters predict.

    Between generated and source parameters lie blended ones, which cost one more pass of the network. The outputs
    `CHOICE` are there so that the exporter can have this pass made only when it is wanted.
    """

    outputs = (
        LOGITS,
        SOURCE_LOGITS,
        CHANGE,
        GENERATED,
        "decision",
        "share",
        "strangeness",
        "expected_loss",
        SIGNAL_VALUES,
        *CHOICE,
    )

    def __init__(self, backbone: Backbone, model: GeneralizeFormer, guard: Guard) -> None:
        super().__init__(backbone, model)
        self.guard = guard

    def forward(self, images: torch.Tensor) -> Tensors:
        prediction, source = self.predicted(images)
        signals = signal_tensors(images, source, prediction)
        decided = decide(self.guard, images.shape[0], signals)
        own = self.backbone.source_parameters().detached()
        blended = self.backbone(images, own.towards(prediction.parameters, decided.share.float()))
        is_blended = decided.decision == CODES[BLENDED]
        other = torch.where(decided.decision == CODES[SOURCE], source, prediction.logits)
        chosen = torch.where(is_blended, blended, other)
        finite = chosen.isfinite().all()  # no numbers are no answer: then the source model's stands
        return (
            torch.where(finite, chosen, source),
            source,
            change_tensor(prediction),
            prediction.logits,
            torch.where(finite, decided.decision, CODES[SOURCE]),
            torch.where(finite, decided.share, torch.zeros_like(decided.share)).float(),
            decided.strangeness.float(),
            decided.expected_loss.float(),
            torch.stack(list(signals.values())),
            is_blended,
            blended,
            other,
            chosen,
        )


def graph_of(bundle: Bundle, kind: str, *, logits_only: bool = False) -> SourceGraph | AdaptedGraph:
    """The graph of that kind (`adaptive`, `static` or `source`), in eval mode; it shares the bundle's tensors.

    With `logits_only` it has neither the source model's answer nor a guard, which needs that.
    """
    if kind == "source":
        return SourceGraph(bundle.backbone).eval()
    if logits_only:
        return GeneratedGraph(bundle.backbone, bundle.model).eval()
    if isinstance(bundle.model, StaticModel) or bundle.guard is None:
        return AdaptedGraph(bundle.backbone, bundle.model).eval()
    return GuardedGraph(bundle.backbone, bundle.model, bundle.guard).eval()
