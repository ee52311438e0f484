"""What is generated: the BatchNorm parameters, the mixing of their statistics, and the linear classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Parameters:
    """One θ: everything of a model that may differ from batch to batch. L BatchNorm layers, K classes."""

    gammas: tuple[torch.Tensor, ...]
    """Per layer l the BatchNorm scale γ_l, (C_l,)."""
    betas: tuple[torch.Tensor, ...]
    """Per layer l the BatchNorm shift β_l, (C_l,)."""
    mix: torch.Tensor | None
    """Per layer the weight of the batch's statistics, (L,) in [0, 1]; None for source statistics alone."""
    weight: torch.Tensor
    """Classifier weights W, (K, D)."""
    bias: torch.Tensor
    """Classifier bias b, (K,)."""
    means: tuple[torch.Tensor, ...] | None = None
    """Per layer l the mean that stands in for the source's, (C_l,); None for the source's own."""
    variances: tuple[torch.Tensor, ...] | None = None
    """Likewise the variance; given where `means` are."""

    def trainable(self) -> list[torch.Tensor]:
        """γ, β of every layer, then W and b: the tensors that have gradient features and fine-tuned targets."""
        return [*self.gammas, *self.betas, self.weight, self.bias]

    def detached(self, *, requires_grad: bool = False) -> Parameters:
        """Leaf tensors of the same values (views, not copies) that do or do not record gradients."""
        return self.with_trainable([t.detach().requires_grad_(requires_grad) for t in self.trainable()])

    def with_trainable(self, tensors: list[torch.Tensor]) -> Parameters:
        """The same statistics with the tensors of `trainable()` replaced, in its order."""
        layers = len(self.gammas)
        if len(tensors) != 2 * layers + 2:
            raise ValueError(f"expected {2 * layers + 2} tensors for {layers} layers, got {len(tensors)}")
        return replace(
            self,
            gammas=tuple(tensors[:layers]),
            betas=tuple(tensors[layers : 2 * layers]),
            weight=tensors[-2],
            bias=tensors[-1],
        )

    def with_mix(self, mix: torch.Tensor | None) -> Parameters:
        """The same parameters under other statistics: `mix` (L,), or None for the source's alone."""
        return replace(self, mix=mix)

    def towards(self, other: Parameters, share: float | torch.Tensor) -> Parameters:
        """self + share (other − self) for every tensor; statistics of the source alone count as mixing 0.

        `share` is a number, or a scalar tensor.
        """
        assert other.mix is not None
        start = torch.zeros_like(other.mix) if self.mix is None else self.mix

        def between(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return tuple(torch.lerp(a, b, share) for a, b in zip(ours, theirs, strict=True))

        return Parameters(
            gammas=between(self.gammas, other.gammas),
            betas=between(self.betas, other.betas),
            mix=torch.lerp(start, other.mix, share),
            weight=torch.lerp(self.weight, other.weight, share),
            bias=torch.lerp(self.bias, other.bias, share),
        )

    def with_statistics(self, means: tuple[torch.Tensor, ...], variances: tuple[torch.Tensor, ...]) -> Parameters:
        """The same parameters under statistics of their own, per layer (C_l,); nothing is mixed in."""
        return replace(self, mix=None, means=means, variances=variances)
