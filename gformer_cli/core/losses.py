"""Losses: the unsupervised ones behind the gradient features, and those that train the generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.parameters import Parameters


def entropies(logits: torch.Tensor) -> torch.Tensor:
    """Shannon entropy, in nats, of each image's softmax: (B,) for logits (B, K)."""
    return _entropy_of(logits.log_softmax(dim=1))


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Mean Shannon entropy, in nats, of the softmax of logits (B, K): scalar. (Tent, arXiv 2006.10726.)"""
    return entropies(logits).mean()


def marginal_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Shannon entropy, in nats, of the mean softmax of logits (B, K): scalar. (SHOT, arXiv 2002.08546.)"""
    count = torch.scalar_tensor(logits.shape[0], dtype=logits.dtype, device=logits.device)  # not baked into a graph
    return _entropy_of(logits.log_softmax(dim=1).logsumexp(dim=0) - count.log())


def _entropy_of(log_probabilities: torch.Tensor) -> torch.Tensor:
    # from logarithms, so that a class of probability 0 gives neither 0 * log 0 nor a gradient that is not finite
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)


def pseudo_label_cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits (B, K) to their own arg-max: scalar. (GeneralizeFormer, section 3.)"""
    return F.cross_entropy(logits, logits.detach().argmax(dim=1))


TEMPERATURES = tuple(2.0 ** (step / 4.0) for step in range(13))
"""1 to 8: models under a shift are too sure, seldom too unsure."""


def temperature_free_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (B, K) to labels (B,) at whichever of `TEMPERATURES` it is least: scalar.

    A model that meets a shift is sure of its mistakes, and the plain cross-entropy pays best for being less sure,
    which changes no prediction. Here that pays nothing: what is left to gain is the order of the classes. The gradient
    is that of the cross-entropy at the chosen temperature, as the envelope theorem has it.
    """
    with torch.no_grad():
        losses = torch.stack([F.cross_entropy(logits / temperature, labels) for temperature in TEMPERATURES])
        best = TEMPERATURES[int(losses.argmin())]
    return F.cross_entropy(logits / best, labels)


LEAST_START = 0.3
"""Nats: episodes that the source model nearly solves are not blown up."""


def relative_cross_entropy(logits: torch.Tensor, start: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`temperature_free_cross_entropy` of logits (B, K) as a share of that of the source's, `start` (B, K): scalar.

    Episodes differ in difficulty by far more than a generator can change. As a share, each has the same say, and
    those under a hopeless shift do not drown the others.
    """
    before = temperature_free_cross_entropy(start.detach(), labels)
    return temperature_free_cross_entropy(logits, labels) / before.clamp_min(LEAST_START)


def logarithmic_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logarithm of 1 + `temperature_free_cross_entropy` of logits (B, K), in nats: scalar.

    What is to be gained counts the less the more there is to lose, so that hopeless episodes do not drown the others,
    wherever the generator stands. The source model has no part in it.
    """
    return torch.log1p(temperature_free_cross_entropy(logits, labels))


def rms(values: torch.Tensor) -> torch.Tensor:
    """Root mean square over all entries: scalar, never zero, so that it can divide."""
    return values.detach().square().mean().sqrt().clamp_min(1e-6)


def parameter_distance(
    generated: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], units: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Huber distance of two lists of tensors, each entry in its tensor's unit, averaged per tensor: scalar.

    The unit (see `parameter_units`) makes layers of small and of large parameters count alike.
    """
    terms = [F.huber_loss(a / unit, b / unit) for a, b, unit in zip(generated, wanted, units, strict=True)]
    return torch.stack(terms).mean()


def parameter_units(source: Parameters) -> list[torch.Tensor]:
    """One scale per tensor of `source.trainable()`: γ and β in units of rms(γ_l), W and b of rms(W)."""
    gammas = [rms(gamma) for gamma in source.gammas]
    return [*gammas, *gammas, rms(source.weight), rms(source.weight)]


def fine_tuned(
    backbone: Backbone,
    images: torch.Tensor,
    labels: torch.Tensor,
    start: Parameters,
    *,
    steps: int,
    learning_rate: float,
) -> Parameters:
    """θ*: `start` after `steps` of gradient descent on the cross-entropy of one labelled batch.

    Each tensor moves in its own unit (`parameter_units`): a step changes it by `learning_rate` times its
    scale times the gradient with respect to the scaled tensor. Only meta-training calls this: it reads labels.
    """
    units = parameter_units(start)
    theta = start.detached(requires_grad=True)
    for _ in range(steps):
        loss = F.cross_entropy(backbone(images, theta), labels)
        gradients = torch.autograd.grad(loss, theta.trainable())
        moved = [
            (tensor - learning_rate * unit.square() * gradient).detach().requires_grad_(True)
            for tensor, gradient, unit in zip(theta.trainable(), gradients, units, strict=True)
        ]
        theta = theta.with_trainable(moved)
    return theta.detached()
