"""What every method shares: its interface, its settings, and how it may learn of the source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from gformer_cli.bundle import Bundle


class Method(ABC):
    """A way to predict on a stream of unlabelled target batches.

    A method is built from a bundle, which it never writes to, and keyword settings whose defaults are its paper's.
    It sees images alone: there is no argument through which a label could reach it.
    """

    tunable: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Keyword settings that `gformer evaluate --tune` may choose, each with the values it tries."""
    reads_source: ClassVar[bool] = False
    """Whether `prepare` does something: the method wants unlabelled source images before the stream."""

    ask_once: ClassVar[bool] = False
    """Whether an image's prediction depends on that image alone and is too dear to be computed twice: `evaluate` then
    takes it from the first stream that the image came in."""

    def __init__(self, bundle: Bundle) -> None:
        self.backbone = bundle.backbone

    @abstractmethod
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of a preprocessed batch (B, 3, S, S). It may change the method's own state."""

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:  # noqa: B027 - most methods need nothing
        """Look at unlabelled source images, preprocessed (B, 3, S, S), once and before any target; outlasts `reset`."""

    def reset(self) -> None:  # noqa: B027 - most methods have nothing to forget
        """Forget every target batch seen so far; `evaluate` calls it before each stream."""
