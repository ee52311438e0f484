"""`shot-im`: information maximisation with a frozen classifier (Liang et al. 2020, arXiv 2002.08546)."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropy, marginal_entropy
from gformer_cli.methods.base import Method


class ShotIM(Method):
    """One SGD step a batch on everything below the classifier, for confident and diverse predictions.

    The loss is that of the paper's section 3.2: the mean entropy of the predictions minus the entropy of their mean.
    Batch statistics, as BatchNorm in the authors' training loop. The predictions are those before the step.

    The paper trains offline, for epochs over the whole target. Online there is no known end, hence no decay of the
    learning rate; and no pseudo-labels, since they need every target image at once (the `IM` in the name). A single
    image gives no step, as in the authors' code: its two entropies are one. Noise in training (dropout) is left out.

    Args:
        learning_rate: of SGD; the authors' for pretrained layers, a tenth of that of their new ones.
        momentum: of SGD, with Nesterov's correction as in the authors' code.
        weight_decay: of SGD.
    """

    tunable: ClassVar = {"learning_rate": (1e-4, 3e-4, 1e-3, 1e-2)}

    def __init__(
        self, backbone: Backbone, *, learning_rate: float = 1e-3, momentum: float = 0.9, weight_decay: float = 1e-3
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.reset()

    def reset(self) -> None:
        # Convolutions change too, and `Parameters` does not hold them: hence a whole network of one's own.
        self.adapted = copy.deepcopy(self.backbone).requires_grad_(True)
        self.adapted.classifier.requires_grad_(False)
        self.optimizer = torch.optim.SGD(
            [parameter for parameter in self.adapted.parameters() if parameter.requires_grad],
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,  # SGD refuses Nesterov's correction of no momentum
        )

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.adapted(images, self.adapted.mixing_batchnorm(1.0))  # (B, K)
        if len(logits) > 1:
            self.optimizer.zero_grad(set_to_none=True)
            (entropy(logits) - marginal_entropy(logits)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return logits.detach()  # type: ignore[no-any-return]
