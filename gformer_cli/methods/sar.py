"""`sar`: sharpness-aware entropy minimisation on reliable samples (Niu et al. 2023, arXiv 2302.12400)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.core.parameters import Parameters
from gformer_cli.methods.affine import early_affine, early_layers, trainable_affine
from gformer_cli.methods.base import Method

RENEWED = 0.1
"""Share of the latest batch in e_m, the moving average of the loss."""


class Sar(Method):
    """Batch statistics; one SGD step a batch on early γ and β, from the gradient at the worst point nearby.

    Samples of entropy below E0 are reliable (eq. 2). Their mean entropy's gradient g leads to θ + ρ g / ‖g‖
    (eq. 4), where those still reliable give the gradient of the step that θ takes (eq. 5). A batch without such
    samples changes nothing (in the authors' code momentum still moves θ). The predictions are those before the step.

    Recovery (section 3.2): when the moving average e_m of the loss falls below e_0 the model is about to collapse
    onto one class, so that everything starts again from the source, e_m included. (The authors meant the latter, see
    issue 4 of mr-eggplant/SAR; their code puts the old e_m back. It also compares with 0.2 whatever it is told.)

    The last quarter of the BatchNorm layers stays as it is. The authors leave out the last stage, for stability, and
    find it by its name, `layer4` of a ResNet. A quarter needs no names, and is exactly that stage in a ResNet-18
    (5 of 20 layers); in a ResNet-50 it is that stage and one block more (13 of 53, not 10).

    Args:
        learning_rate: of SGD; the paper's for ResNets and batches of 64. The authors lower it in proportion for batches
            below 32, which is not done here.
        momentum: of SGD.
        entropy_margin: E0 in units of ln K, the entropy of a uniform prediction over the K classes.
        rho: ρ, the radius of the neighbourhood.
        reset_constant: e_0 in nats at 1000 classes; it is scaled by ln K / ln 1000, as entropies are.
    """

    tunable: ClassVar = {
        "learning_rate": (2.5e-4, 1e-3, 5e-3),
        "rho": (0.01, 0.05, 0.1),
        "reset_constant": (0.0, 0.2),
    }

    def __init__(
        self,
        backbone: Backbone,
        *,
        learning_rate: float = 2.5e-4,
        momentum: float = 0.9,
        entropy_margin: float = 0.4,
        rho: float = 0.05,
        reset_constant: float = 0.2,
    ) -> None:
        super().__init__(backbone)
        classes = self.backbone.num_classes
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.rho = rho
        self.max_entropy = entropy_margin * math.log(classes)
        self.min_average = reset_constant * math.log(classes) / math.log(1000)
        self.trained_layers = early_layers(self.backbone)
        self.reset()

    def reset(self) -> None:
        self.parameters = trainable_affine(self.backbone)
        self.optimizer = torch.optim.SGD(self._trained(), lr=self.learning_rate, momentum=self.momentum)
        self.average: float | None = None  # e_m

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.backbone(images, self.parameters)  # (B, K)
        entropy = entropies(logits)  # (B,)
        reliable = entropy.detach() < self.max_entropy
        if reliable.any():
            gradients = torch.autograd.grad(entropy[reliable].mean(), self._trained())
            self._step(images, reliable, gradients)
        return logits.detach()  # type: ignore[no-any-return]

    def _step(self, images: torch.Tensor, reliable: torch.Tensor, gradients: Sequence[torch.Tensor]) -> None:
        """Step with the gradient at θ + ρ g / ‖g‖ on the `reliable` samples (B,); recover where that is due."""
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm() + 1e-12  # g may be zero
        nearby = [
            (tensor + self.rho / norm * gradient).detach().requires_grad_(True)
            for tensor, gradient in zip(self._trained(), gradients, strict=True)
        ]
        entropy = entropies(self.backbone(images, self._with(nearby)))[reliable]
        entropy = entropy[entropy.detach() < self.max_entropy]
        if not len(entropy):
            return
        loss = entropy.mean()
        for tensor, gradient in zip(self._trained(), torch.autograd.grad(loss, nearby), strict=True):
            tensor.grad = gradient
        self.optimizer.step()
        self.average = loss.item() if self.average is None else (1 - RENEWED) * self.average + RENEWED * loss.item()
        if self.average < self.min_average:
            self.reset()

    def _trained(self) -> list[torch.Tensor]:
        return early_affine(self.parameters, self.trained_layers)

    def _with(self, trained: list[torch.Tensor]) -> Parameters:
        """The parameters with the tensors of `_trained` replaced, in its order."""
        count = self.trained_layers
        return replace(
            self.parameters,
            gammas=(*trained[:count], *self.parameters.gammas[count:]),
            betas=(*trained[count:], *self.parameters.betas[count:]),
        )
