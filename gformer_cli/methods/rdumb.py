"""`rdumb`: ETA that begins again from the source every thousand batches (Press et al. 2023, arXiv 2306.05401)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.eata import Eata


class RDumb(Eata):
    """`Eata` without its Fisher penalty, reset to the source after every `reset_every` batches (section 5).

    Everything starts again then: γ, β, SGD's momentum and the average of predictions. It is the paper's yardstick for
    methods that promise not to collapse.

    Defaults are the authors', for ImageNet. Their similarity, 0.05 among 1000 classes, is 0.5 at ten (see `Eata`).

    Args:
        learning_rate: of SGD.
        momentum: of SGD.
        entropy_margin: E0 in units of ln K.
        similarity: ε at ten classes.
        reset_every: batches between two resets.
    """

    reads_source: ClassVar[bool] = False
    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "reset_every": (10, 100, 1000)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        learning_rate: float = 2.5e-4,
        momentum: float = 0.9,
        entropy_margin: float = 0.4,
        similarity: float = 0.5,
        reset_every: int = 1000,
    ) -> None:
        self.reset_every = reset_every
        super().__init__(
            backbone,
            learning_rate=learning_rate,
            momentum=momentum,
            entropy_margin=entropy_margin,
            similarity=similarity,
            fisher_weight=0.0,
        )

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        """Nothing: there is no penalty that could use source images."""

    def reset(self) -> None:
        super().reset()
        self.since_reset = 0

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        if self.since_reset == self.reset_every:
            self.reset()
        self.since_reset += 1
        return super().predict(images)
