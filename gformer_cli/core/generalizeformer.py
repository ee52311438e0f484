"""GeneralizeFormer: generate the parameters of a batch and predict it with them. No labels, no state of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generators import Generator, SinglePass, generation_of
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, part_of, prior_mix, probe_source
from gformer_cli.core.statistics import Statistics


@dataclass(frozen=True)
class Prediction:
    """What one target batch got."""

    logits: torch.Tensor
    """(B, K) under the generated parameters."""
    parameters: Parameters
    """θ_t, generated for this batch and for no other; or those of a static model, the same for every batch."""
    probe: Probe
    """What they were generated from."""
    earlier: Sequence[Statistics] | None = None
    """Per layer the earlier statistics that this batch's were pooled with, where there is a context."""
    source: torch.Tensor | None = None
    """(B, K) of the source model, where the probe was a pass of it over all images."""
    trust: torch.Tensor | None = None
    """The share of residuals and mixing that the generator gave the batch, a scalar; None where it gives all."""


class GeneralizeFormer(nn.Module):
    """The method as one module around its generator. Source models are passed in, never stored or changed.

    Args:
        generator: turns what a batch shows into parameters.
        prior_count: how many images the source statistics count as where mixing starts (`probe.prior_mix`).
        single_pass: generate while the batch passes, instead of probing the source model with it first.
        probe_images: the share of a batch's images that are probed, in (0, 1].
        probes_source: the probe is a pass of the source model as it is, not under mixed statistics.

    Raises `ValueError` for another share, and for a single pass that a generator cannot do.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        prior_count: float,
        single_pass: bool = False,
        probe_images: float = 1.0,
        probes_source: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 < probe_images <= 1.0:
            raise ValueError(f"the share of the images that are probed must be in (0, 1], not {probe_images:g}")
        self.probe_images = probe_images
        self.single_pass = single_pass
        self.generator = generator
        self.prior_count = prior_count
        self.probes_source = probes_source

    def forward(
        self,
        backbone: Backbone,
        images: torch.Tensor,
        context: Context | None = None,
        *,
        single_pass: bool | None = None,
    ) -> Prediction:
        """Predict a batch (B, 3, H, W) with the parameters generated for it, from the images alone.

        With `context`, from what these images and those of the last batches showed together; the batch then becomes
        a part of `context`, and is probed whole. `single_pass` overrides how the model generates. Differentiable in
        the generator's weights.
        """
        single_pass = self.single_pass if single_pass is None else single_pass
        if context is not None and not self.generator.reads_context:
            return self._with_context(backbone, images, context)
        if single_pass:
            return self._on_the_way(backbone, images, context, None)
        if self.generator.probed_classes:
            probe = self._probe(backbone, part_of(images, self.probe_images), None)
            return self._on_the_way(backbone, images, context, probe)
        if context is not None:
            return self._with_context(backbone, images, context)
        probe = self._probe(backbone, part_of(images, self.probe_images), None)
        if self.probe_images < 1.0:  # the mixing starts from the batch that is predicted, not from the part
            start = prior_mix(probe.source, images.shape[0], self.prior_count)
            probe = replace(probe, source=probe.source.with_mix(start))
        made = generation_of(self.generator, probe)
        parameters = made.parameters()
        return Prediction(
            backbone(images, parameters), parameters, probe, source=self._source(probe, images), trust=made.trust
        )

    def _on_the_way(
        self, backbone: Backbone, images: torch.Tensor, context: Context | None, probe: Probe | None
    ) -> Prediction:
        once = SinglePass(
            self.generator, backbone, images.shape[0], prior_count=self.prior_count, context=context, probe=probe
        )
        logits = once.run(backbone.network, images)
        source = None if probe is None else self._source(probe, images)
        trust = once.generation.trust
        return Prediction(logits, once.generated(), once.probe, once.earlier, source=source, trust=trust)

    def _source(self, probe: Probe, images: torch.Tensor) -> torch.Tensor | None:
        """The source model's logits of all `images`, where the probe has shown them."""
        return probe.logits if self.probes_source and probe.logits.shape[0] == images.shape[0] else None

    def _with_context(self, backbone: Backbone, images: torch.Tensor, context: Context) -> Prediction:
        probe = self._probe(backbone, images, context.probed)
        if context.jumps_to(probe):
            context.forget()
            probe = self._probe(backbone, images, None)
        together = context.with_earlier(probe)
        earlier = context.adapted
        made = generation_of(self.generator, together, len(images))
        parameters = made.parameters()
        logits, session = backbone.observe(images, parameters, earlier)
        context.remember(probe, session)
        return Prediction(logits, parameters, together, earlier, source=self._source(probe, images), trust=made.trust)

    def _probe(self, backbone: Backbone, images: torch.Tensor, earlier: Sequence[Statistics] | None) -> Probe:
        reads = self.generator.reads_gradients
        return probe_source(
            backbone,
            images,
            prior_count=self.prior_count,
            gradients=reads,
            earlier=earlier,
            plain=self.probes_source,
        )
