"""Generation in a single pass: each layer's parameters are made as the batch reaches it.

What a generator reads of a layer is what the batch shows up to that layer, so no pass has to come before. Its
transformer is causal over the layers, in the order in which the network runs them. The classifier comes last and sees
everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generators.base import Generator, Observed
from gformer_cli.core.generators.generation import Generation
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, prior_mix, probe_of
from gformer_cli.core.session import Session
from gformer_cli.core.statistics import Statistics
from gformer_cli.networks.norms import AdaptiveNorm, Affine, Moments

_NOTHING = range(0)


class SinglePass(Session):
    """A pass of one batch under parameters that are generated on the way.

    Args:
        generator: one that can generate layer by layer, without gradient features: there is no backward pass to take
            them from.
        backbone: the frozen source model.
        batch_size: images in the batch.
        prior_count: N of `probe.prior_mix`, from which the mixing starts.
        context: earlier batches of the same domain, whose statistics, features and logits count as the batch's own;
            the batch becomes a part of it.
        probe: what the batch has shown to the source model before. Its classes then come first: they are known before
            the first layer is generated, and so is how far the batch is trusted.
    """

    def __init__(
        self,
        generator: Generator,
        backbone: Backbone,
        batch_size: int,
        *,
        prior_count: float,
        context: Context | None = None,
        probe: Probe | None = None,
    ) -> None:
        if not generator.layer_by_layer:
            raise ValueError(f"{type(generator).__name__} needs a probe")
        if generator.reads_gradients:
            raise ValueError("a single pass has no gradient features")
        source = backbone.source_parameters().detached()
        super().__init__(source, observing=True)
        self.generator = generator
        self.backbone = backbone
        self.batch_size = batch_size
        self.prior_count = prior_count
        self.context = context
        self.before = probe
        self._begin(None if context is None else context.adapted)

    def _begin(self, earlier: Sequence[Statistics] | None) -> None:
        self.earlier = earlier
        count = self.batch_size + (earlier[0].count if earlier else 0)
        self.source = self.parameters.with_mix(prior_mix(self.parameters, count, self.prior_count))
        self.generation = Generation(self.generator, self.source, count)
        if self.before is not None:
            self.generation.take(classes(self.before.logits, self.before.features, last=False))

    def affine(self, layer: AdaptiveNorm, batch: Moments | None) -> Affine:
        assert batch is not None
        index = layer.index
        if index == 0 and self.earlier and self.context is not None and self.context.jumps_to(self._first_layer(layer)):
            self.context.forget()
            self._begin(None)
        batch = self.pooled(index, batch)
        made = self.generation
        own = layer.running_mean, layer.running_var
        made.take(Observed(range(index, index + 1), (own,), (batch,)))
        return Affine(made.gammas[index], made.betas[index], layer.mixed(batch, made.mixes[index]))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        self.features = features.detach()
        made, source = self.generation, self.source
        logits = F.linear(features, source.weight, source.bias)
        own = self.probe = probe_of(self.backbone, source, self, logits)
        if self.earlier and self.context is not None:
            self.probe = self.context.with_earlier(own)
            made.take(classes(self.probe.logits, self.probe.features, len(logits)))
        else:
            made.take(classes(logits, features))
        if self.context is not None:
            self.context.remember(own, self)
        return F.linear(features, *self.classifier)

    @property
    def classifier(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.generation.weight, self.generation.bias

    def generated(self) -> Parameters:
        """θ_t, once the batch has passed."""
        return self.generation.parameters()

    def _first_layer(self, layer: AdaptiveNorm) -> Probe:
        """What the batch shows to the one layer whose input no parameter has touched."""
        nothing = layer.weight.new_empty(self.batch_size, 0)
        return Probe(
            source=self.source,
            source_means=(layer.running_mean,),
            source_variances=(layer.running_var,),
            means=(self.means[layer.index],),
            variances=(self.variances[layer.index],),
            logits=nothing,
            features=nothing,
            gradients=None,
        )


def classes(logits: torch.Tensor, features: torch.Tensor, own: int | None = None, *, last: bool = True) -> Observed:
    """The classes, as a probe or the end of the pass shows them."""
    return Observed(_NOTHING, (), (), logits=logits, features=features, own=own, last=last)
