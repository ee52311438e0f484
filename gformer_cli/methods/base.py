"""What every method shares: its interface, its settings, and how it may learn of the source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.static import StaticModel
from gformer_cli.errors import InputError
from gformer_cli.guard.rule import Guard
from gformer_cli.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Parts:
    """All that a method may be made from. Each takes what it needs."""

    backbone: Backbone
    """The source model."""
    preprocessing: Preprocessing
    """Of its images."""
    mirrored: bool
    """Whether the source model was trained on mirrored images as well."""
    model: GeneralizeFormer | StaticModel
    """What generates a batch's parameters, or has kept them."""
    constant: GeneralizeFormer | None = None
    """That of the constant generator."""
    guard: Guard | None = None


class Method(ABC):
    """A way to predict on a stream of unlabelled target batches.

    A method is built on a source model, which it never writes to, and keyword settings whose defaults are its paper's:
    `Tent(backbone, learning_rate=1e-4)`. It sees images alone: there is no argument through which a label could reach
    it.
    """

    tunable: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Keyword settings that `gformer evaluate --tune` may choose, each with the values it tries."""
    reads_source: ClassVar[bool] = False
    """Whether `prepare` does something: the method wants unlabelled source images before the stream."""

    without_source: ClassVar[str] = ""
    """Where it does: what the method is without them, to follow its name."""

    ask_once: ClassVar[bool] = False
    """Whether an image's prediction depends on that image alone and is too dear to be computed twice: `evaluate` then
    takes it from the first stream that the image came in."""

    share: float | None = None
    """How much of what was generated predicted the last batch, 0 for the source model: what its temperature depends on.
    None of methods that no temperature was fitted for."""

    needs_batchnorm: ClassVar[bool] = False
    """Whether all that it does, it does to BatchNorm layers."""

    def __init__(self, backbone: Backbone) -> None:
        """Raises `InputError` for a network that the method cannot adapt."""
        why = self.obstacle(backbone)
        if why is not None:
            raise InputError(f"{type(self).__name__} cannot adapt this network", f"{why}.")
        self.backbone = backbone

    @classmethod
    def obstacle(cls, backbone: Backbone) -> str | None:
        """Why the method cannot adapt `backbone`, a sentence without its full stop; None where it can."""
        if cls.needs_batchnorm and not any(layer.of_batch for layer in backbone.layers):
            return f"It needs BatchNorm, and the network has {', '.join(backbone.families)} alone"
        return None

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Method:
        """The method with these keyword `settings`; overridden where it takes more than the backbone.

        Raises `ValueError` where a part that it needs is missing.
        """
        return cls(parts.backbone, **settings)

    @abstractmethod
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of a preprocessed batch (B, 3, S, S). It may change the method's own state."""

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:  # noqa: B027 - most methods need nothing
        """Look at unlabelled source images, preprocessed (B, 3, S, S), once and before any target; outlasts `reset`."""

    def reset(self) -> None:  # noqa: B027 - most methods have nothing to forget
        """Forget every target batch seen so far; `evaluate` calls it before each stream."""
