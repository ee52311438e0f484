"""What the head of a network was given when a method answered: what AETTA needs and no method tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch._C import _functorch  # no public function tells that a tensor is one pass's share of a vectorised one

from gformer_cli.core.estimators.aetta import Classified
from gformer_cli.core.session import Session
from gformer_cli.networks.head import Head
from gformer_cli.networks.norms import current_pass


@dataclass(frozen=True)
class _Passed:
    classified: Classified
    logits: torch.Tensor
    """(B, K)"""


class HeadWatch:
    """Takes down what passes a head, and its copies, while it is asked to."""

    def __init__(self, head: Head) -> None:
        self._passed: list[_Passed] = []
        self._watching = False
        self._handle = head.register_forward_hook(self._take)

    def remove(self) -> None:
        """Leave the head itself."""
        self._handle.remove()

    def __deepcopy__(self, _memo: object) -> HeadWatch:
        return self  # the head of a method that copies the network is watched all the same

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block passes are taken down, in the place of those of before."""
        self._passed, self._watching = [], True
        try:
            yield
        finally:
            self._watching = False

    def behind(self, logits: torch.Tensor) -> Classified | None:
        """What gave the answer `logits` (B, K), where it is what a head gave in one pass, as it is."""
        for one in reversed(self._passed):
            if one.logits.shape == logits.shape and one.logits.equal(logits.to(one.logits)):
                return one.classified
        return None

    def _take(self, head: Head, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if not self._watching or _functorch.is_functorch_wrapped_tensor(output):
            return
        one = None if head.training else current_pass()
        weight, bias = one.classifier if isinstance(one, Session) else (head.matrix, head.bias)
        # copies: a method may go on to learn them
        given = Classified(inputs[0].detach().flatten(1), weight.detach().clone(), bias.detach().clone())
        self._passed.append(_Passed(given, output.detach().flatten(1)))


@contextmanager
def watched(head: Head) -> Iterator[HeadWatch]:
    """A `HeadWatch` of `head`, taken off at the end."""
    watch = HeadWatch(head)
    try:
        yield watch
    finally:
        watch.remove()
