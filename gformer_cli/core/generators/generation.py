"""Parameters while they are generated: where residuals become θ_t, whatever the generator and the order."""

from __future__ import annotations

import torch

from gformer_cli.core.generators.base import Generator, Observed, moved_affine, moved_classifier, moved_mix
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe
from gformer_cli.core.statistics import mean_by_layer, owners


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
        self.mixes = list(torch.split(source.mix, 1))
        """Per layer, (1,)."""
        self.trust: torch.Tensor | None = None
        """The share of what is generated that counts, a scalar; None for everything."""
        self._start = source.mix
        self._units = _units(source)
        self._step = generator.begin(source, batch_size)
        self._constant = None if generator.constant is None else generator.constant.begin(source, batch_size)

    def take(self, observed: Observed) -> None:
        """Generate for what is shown."""
        residuals, scope, layers = self._step(observed), self.scope, observed.layers
        if self._constant is not None:
            residuals = residuals.plus(self._constant(observed))
        if residuals.trust is not None:
            self.trust = residuals.trust
        trust = self.trust
        for place, index in enumerate(layers):
            if scope.generates_layer(index, len(self.gammas)):
                gamma = self.source.gammas[index]
                unit = self._units[index] if trust is None else trust * self._units[index]
                self.gammas[index], self.betas[index] = moved_affine(
                    gamma, self.source.betas[index], residuals.gammas[place], residuals.betas[place], unit
                )
        if len(layers) and (scope.mixing or trust is not None):
            whole = len(layers) == len(self.mixes)
            mix = self._start if whole else self.mixes[layers.start]
            moved = moved_mix(mix, residuals.mix) if scope.mixing else mix
            moved = moved if trust is None else trust * moved
            self.mixes[layers.start : layers.stop] = torch.split(moved, 1) if whole else [moved]
        if scope.classifier and residuals.weight is not None and residuals.bias is not None:
            weight, bias = residuals.weight, residuals.bias if scope.bias else torch.zeros_like(residuals.bias)
            if trust is not None:
                weight, bias = trust * weight, trust * bias
            self.weight, self.bias = moved_classifier(self.source.weight, self.source.bias, weight, bias)

    def parameters(self) -> Parameters:
        """θ_t, as far as it is generated."""
        return Parameters(tuple(self.gammas), tuple(self.betas), torch.cat(self.mixes), self.weight, self.bias)


def _units(source: Parameters) -> tuple[torch.Tensor, ...]:
    """rms(γ) of each layer."""
    gammas, sizes = torch.cat(source.gammas).detach(), [len(gamma) for gamma in source.gammas]
    squares = mean_by_layer(gammas.square()[:, None], owners(sizes, gammas.device), sizes)
    return squares.sqrt().clamp_min(1e-6)[:, 0].unbind()


def generation_of(generator: Generator, probe: Probe, own: int | None = None) -> Generation:
    """θ_t = θ_s + Δ for the probed batch, at once; `own` images of the probe are the batch's, the last ones."""
    generation = Generation(generator, probe.source, probe.logits.shape[0])
    generation.take(Observed.all_of(probe, own))
    return generation


def generate(generator: Generator, probe: Probe) -> Parameters:
    """θ_t of the probed batch, the classifier included."""
    return generation_of(generator, probe).parameters()
