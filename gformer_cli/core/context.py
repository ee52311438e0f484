"""What the last batches of one domain showed, so that a small batch is not judged by itself alone.

Observations are kept, never parameters: each batch's parameters are generated anew, from what a probe of all images
of the window would show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from gformer_cli.core.gradients import GradientFeatures
from gformer_cli.core.probe import Probe
from gformer_cli.core.session import Session
from gformer_cli.core.statistics import Statistics, pool, statistic_shift

JUMP = 3.0
"""So many times farther from the others than any remembered batch is from its own others: another domain."""
LEAST = 0.1
"""A distance, in standard deviations of the source, that is never a jump."""
ENOUGH = 3
"""Batches that must be remembered before a jump can be told from ordinary variation."""


@dataclass(frozen=True)
class _Batch:
    seen: Probe
    adapted: list[Statistics]
    """Per layer, in the pass under the generated parameters."""
    signature: torch.Tensor
    """How the first layer saw it, (2 C_1,): the one layer whose input no parameter has touched."""

    @property
    def count(self) -> int:
        return len(self.seen.logits)


class Context:
    """The last batches of one domain. Forgets them by itself when a batch looks like another domain.

    Pooling is exact for a layer whose input is computed alike for all batches of the window, as the first one's is;
    deeper down, earlier batches were normalised with the window of their own time.

    Args:
        batches: how many batches before the present one are remembered, at least 1.
    """

    def __init__(self, batches: int) -> None:
        self._batches: deque[_Batch] = deque(maxlen=batches)

    def __len__(self) -> int:
        return len(self._batches)

    def forget(self) -> None:
        """As if there had been no batch before."""
        self._batches.clear()

    @property
    def probed(self) -> list[Statistics] | None:
        """Per layer, pooled over the window as the probes saw it; None without any batch."""
        return _pooled([_statistics(batch.seen) for batch in self._batches])

    @property
    def adapted(self) -> list[Statistics] | None:
        """Per layer, pooled over the window under the parameters generated for each batch."""
        return _pooled([batch.adapted for batch in self._batches])

    def jumps_to(self, seen: Probe) -> bool:
        """Whether a batch lies outside of what the window's batches differ by among themselves.

        Distances between what the first layer shows are scaled by the root of the number of images, as the noise of a
        mean is, so that small and large batches can be compared.
        """
        if len(self._batches) < ENOUGH:
            return False
        known = torch.stack([batch.signature for batch in self._batches])
        usual = max(
            _distance(batch.signature, (known.sum(dim=0) - batch.signature) / (len(known) - 1)) * batch.count**0.5
            for batch in self._batches
        )
        found = _distance(_signature(seen), known.mean(dim=0))
        return found > LEAST and found * len(seen.logits) ** 0.5 > JUMP * usual

    def with_earlier(self, seen: Probe) -> Probe:
        """What a probe of the window's images and those of `seen` together shows."""
        probes = [*(batch.seen for batch in self._batches), seen]
        together = _pooled([_statistics(probe) for probe in probes])
        assert together is not None
        return replace(
            seen,
            means=tuple(layer.mean for layer in together),
            variances=tuple(layer.variance for layer in together),
            logits=torch.cat([probe.logits for probe in probes]),
            features=torch.cat([probe.features for probe in probes]),
            gradients=_mean_gradients(probes),
        )

    def remember(self, seen: Probe, adapted: Session) -> None:
        """A batch is done: its probe, and what the pass under its own parameters showed. The oldest batch goes."""
        count = len(seen.logits)
        layers = [Statistics(count, adapted.means[i], adapted.variances[i]) for i in range(len(seen.means))]
        self._batches.append(_Batch(seen, layers, _signature(seen)))


def _statistics(seen: Probe) -> list[Statistics]:
    count = len(seen.logits)
    return [Statistics(count, mean, variance) for mean, variance in zip(seen.means, seen.variances, strict=True)]


def _pooled(batches: Sequence[list[Statistics]]) -> list[Statistics] | None:
    return [pool(layer) for layer in zip(*batches, strict=True)] if batches else None


def _mean_gradients(probes: Sequence[Probe]) -> GradientFeatures | None:
    # the gradient of a mean loss over all images is the mean of the batches' gradients, weighted by their images
    # (but for what flows through batch statistics, where earlier images are constants)
    found = [(len(probe.logits), probe.gradients) for probe in probes if probe.gradients is not None]
    if not found:
        return None
    total = sum(count for count, _ in found)

    def mean(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([part * (count / total) for part, (count, _) in zip(parts, found, strict=True)]).sum(dim=0)

    return GradientFeatures(
        gammas=tuple(mean(parts) for parts in zip(*(each.gammas for _, each in found), strict=True)),
        betas=tuple(mean(parts) for parts in zip(*(each.betas for _, each in found), strict=True)),
        weight=mean([each.weight for _, each in found]),
        bias=mean([each.bias for _, each in found]),
    )


def _signature(seen: Probe) -> torch.Tensor:
    source = seen.source_means[0], seen.source_variances[0]
    return torch.cat(statistic_shift(source, (seen.means[0], seen.variances[0])))


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())
