"""What the source model and the generated parameters say of a batch, for a guard to choose between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.static import StaticModel
from gformer_cli.guard.rule import GENERATED, SOURCE, Verdict
from gformer_cli.guard.signals import batch_signals


@dataclass(frozen=True)
class Candidates:
    """The two answers to a batch of images (B, C, H, W). K classes."""

    backbone: Backbone
    images: torch.Tensor
    source: torch.Tensor
    """Logits (B, K) of the unadapted model, in float32 or wider."""
    prediction: Prediction
    """Under the generated parameters; its logits likewise."""

    @cached_property
    def signals(self) -> dict[str, float]:
        """What a guard decides by: `batch_signals`."""
        return batch_signals(self.images, self.source, self.prediction)

    def under(self, verdict: Verdict) -> tuple[torch.Tensor, Parameters]:
        """Logits (B, K) under the parameters that `verdict` lets predict, and these. Only `blended` costs a pass."""
        if verdict.decision == GENERATED:
            return self.prediction.logits, self.prediction.parameters
        source = self.backbone.source_parameters().detached()
        if verdict.decision == SOURCE:
            return self.source, source
        blended = source.towards(self.prediction.parameters, verdict.share)
        return _widened(self.backbone(self.images, blended, self.prediction.earlier)), blended


def predict_both(
    backbone: Backbone, model: GeneralizeFormer | StaticModel, images: torch.Tensor, context: Context | None = None
) -> Candidates:
    """Predict a batch (B, C, H, W) with the source model and with `model`, which reads `context` where there is one."""
    prediction: Prediction = model(backbone, images, context)
    source = _widened(backbone(images) if prediction.source is None else prediction.source)
    return Candidates(backbone, images, source, replace(prediction, logits=_widened(prediction.logits)))


def _widened(logits: torch.Tensor) -> torch.Tensor:
    """In float32 at least: under autocast a network answers in fewer bits than a decision is taken in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
