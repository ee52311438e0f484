from __future__ import annotations

import torch

from gformer_cli.core.context import Context
from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts


def test_it_predicts_with_what_the_last_batches_showed(parts: Parts, batches: list[torch.Tensor]) -> None:
    method, context = METHODS["gformer-context"].from_parts(parts), Context(64)
    for batch in batches:
        assert torch.equal(method.predict(batch), parts.model(parts.backbone, batch, context).logits)
    alone = METHODS["gformer"].from_parts(parts).predict(batches[-1])
    assert not torch.equal(method.predict(batches[-1]), alone)


def test_reset_forgets_the_batches(parts: Parts, batches: list[torch.Tensor]) -> None:
    method, fresh = METHODS["gformer-context"].from_parts(parts), METHODS["gformer-context"].from_parts(parts)
    for batch in batches:
        method.predict(batch)
    method.reset()
    assert torch.equal(method.predict(batches[0]), fresh.predict(batches[0]))


def test_so_many_batches_are_remembered(parts: Parts, batches: list[torch.Tensor]) -> None:
    """With one, what came before the batch before matters no more."""

    def last(first: torch.Tensor, count: int) -> torch.Tensor:
        method = METHODS["gformer-context"].from_parts(parts, batches=count)
        return [method.predict(batch) for batch in (first, batches[1], batches[2])][-1]

    def difference(count: int) -> float:
        return float((last(batches[0], count) - last(batches[0] / 2, count)).abs().max())

    assert difference(2) > 2 * difference(1) > 0.0
