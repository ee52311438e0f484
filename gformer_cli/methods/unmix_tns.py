"""`unmix-tns`: several statistics that together stand for all classes (Tomar et al. 2024, arXiv 2401.08328)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Method
from gformer_cli.methods.normalisation import Normalisation, image_moments, renormalised
from gformer_cli.networks.norms import AdaptiveNorm

TEMPERATURE = 0.07
"""Of the assignment of images to components."""
SPREAD = 0.5
"""α: the part of the source's variance that lies between the components at the start, not within them."""
FULL_BATCH = 64
"""Images in the batch that `momentum` is given for."""


class UnMixTNS(Method):
    """Each BatchNorm keeps `components` statistics, and an image is normalised as if one image of each were beside it.

    Of an image b with its own statistics m, s² over positions (section 3.3), the assignment p_k is the softmax over
    components of cos(m, μ_k) / 0.07. It is normalised by the moments of the even mixture of the components
    (1 - p_k) (μ_k, σ_k²) + p_k (m, s²). Then μ_k and σ_k² move by λ times the mean over the batch of
    p_k times their difference to the image's. At the start μ_k = μ + √(α K / (K - 1)) σ ε with normal ε, and
    σ_k² = (1 - α) σ², with α = 1/2.

    No gradients: it is the authors' `source` under their layers. They put them under other methods as well.

    What differs from the authors' code: λ depends on the images of the batch at hand, 1 - (1 - `momentum`)^(B / 64),
    there on a fixed number; `momentum` is one number, there each layer's own, which is nearly always this one.

    Args:
        components: K; the authors' for one domain at a time, and 128 for streams of mixed domains.
        momentum: λ for a batch of 64 images.
        seed: of the components at the start.
    """

    needs_batchnorm: ClassVar[bool] = True
    tunable: ClassVar = {"components": (4, 16, 128), "momentum": (0.01, 0.1, 0.3)}

    def __init__(self, backbone: Backbone, *, components: int = 16, momentum: float = 0.1, seed: int = 0) -> None:
        super().__init__(backbone)
        self.components = components
        self.momentum = momentum
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.adapted, _ = renormalised(
            self.backbone, lambda layer: Unmixing(layer, self.components, self.momentum, generator)
        )

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.adapted(images)  # type: ignore[no-any-return]


class Unmixing(Normalisation):
    """See `UnMixTNS`. Features without positions, (B, C), are normalised by the source's statistics."""

    def __init__(self, layer: AdaptiveNorm, components: int, momentum: float, generator: torch.Generator) -> None:
        super().__init__(layer)
        self.momentum = momentum
        mean, variance = layer.running_mean, layer.running_var
        spread = SPREAD if components > 1 else 0.0
        # drawn on the CPU, so that every device starts alike
        noise = torch.randn(components, len(mean), generator=generator, dtype=torch.float64).to(mean)
        between = math.sqrt(spread * components / max(1, components - 1))
        self.means = mean + between * variance.sqrt() * noise  # (K, C)
        self.variances = (1.0 - spread) * variance.expand(components, -1)  # (K, C)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.layer(input) if input.dim() == 2 else super().forward(input)

    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        own_mean, own_variance = image_moments(input)  # (B, C)
        similarity = F.normalize(own_mean, dim=1) @ F.normalize(self.means, dim=1).T  # (B, K)
        share = (similarity / TEMPERATURE).softmax(dim=1)[..., None]  # (B, K, 1)
        to_mean, to_variance = own_mean[:, None] - self.means, own_variance[:, None] - self.variances  # (B, K, C)
        means, variances = self.means + share * to_mean, self.variances + share * to_variance
        mean = means.mean(dim=1)  # (B, C)
        variance = variances.mean(dim=1) + (means - mean[:, None]).square().mean(dim=1)
        rate = 1.0 - (1.0 - self.momentum) ** (len(input) / FULL_BATCH)
        self.means = self.means + rate * (share * to_mean).mean(dim=0)
        self.variances = self.variances + rate * (share * to_variance).mean(dim=0)
        return self.standardised(input, mean, variance)
