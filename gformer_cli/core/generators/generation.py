"""Parameters while they are generated: where residuals become θ_t, whatever the generator and the order."""

from __future__ import annotations

import torch

from gformer_cli.core.generators.base import Generator, Observed, moved_affine, moved_classifier, moved_mix
from gformer_cli.core.losses import rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe


class Generation:
    """θ_t of one batch: the source's parameters, and of those that the batch has shown, the generated ones.

    A probe shows everything at once, a single pass layer after layer: `take` is the one way for both, and the one place
    where scope and constant count.

    Args:
        generator: what makes the residuals.
        source: θ_s with `mix`, where mixing starts.
        batch_size: images.
    """

    def __init__(self, generator: Generator, source: Parameters, batch_size: int) -> None:
        assert source.mix is not None
        self.source = source
        self.scope = generator.scope
        self.gammas = list(source.gammas)
        self.betas = list(source.betas)
        self.weight, self.bias = source.weight, source.bias
        self.mixes = list(source.mix.unbind())
        self._start = source.mix
        self._step = generator.begin(source, batch_size)
        self._constant = None if generator.constant is None else generator.constant.begin(source, batch_size)

    def take(self, observed: Observed) -> None:
        """Generate for what is shown."""
        residuals, scope, layers = self._step(observed), self.scope, observed.layers
        if self._constant is not None:
            residuals = residuals.plus(self._constant(observed))
        for place, index in enumerate(layers):
            if scope.generates_layer(index, len(self.gammas)):
                gamma = self.source.gammas[index]
                self.gammas[index], self.betas[index] = moved_affine(
                    gamma, self.source.betas[index], residuals.gammas[place], residuals.betas[place], rms(gamma)
                )
        if scope.mixing and len(layers):
            moved = moved_mix(self._start[layers.start : layers.stop], residuals.mix)
            self.mixes[layers.start : layers.stop] = moved.unbind()
        if scope.classifier and residuals.weight is not None and residuals.bias is not None:
            bias = residuals.bias if scope.bias else torch.zeros_like(residuals.bias)
            self.weight, self.bias = moved_classifier(self.source.weight, self.source.bias, residuals.weight, bias)

    def parameters(self) -> Parameters:
        """θ_t, as far as it is generated."""
        mix = torch.stack(self.mixes)
        return Parameters(tuple(self.gammas), tuple(self.betas), mix, self.weight, self.bias)


def generate(generator: Generator, probe: Probe) -> Parameters:
    """θ_t = θ_s + Δ for the probed batch, at once."""
    generation = Generation(generator, probe.source, probe.logits.shape[0])
    generation.take(Observed.all_of(probe))
    return generation.parameters()
