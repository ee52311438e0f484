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
    probe: Probe
    adapted: list[Statistics]
    """Per layer, in the pass under the generated parameters."""
    signature: torch.Tensor
    """How the first layer saw it, (2 C_1,): the one layer whose input no parameter has touched."""

    @property
    def count(self) -> int:
        return len(self.probe.logits)


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
        return _pooled([_statistics(batch.probe) for batch in self._batches])

    @property
    def adapted(self) -> list[Statistics] | None:
        """Per layer, pooled over the window under the parameters generated for each batch."""
        return _pooled([batch.adapted for batch in self._batches])

    def jumps_to(self, probe: Probe) -> bool:
        """Whether a batch lies outside of what the window's batches differ by among themselves.

        Distances between what the first layer shows are scaled by the root of the number of images, as the noise of a
        mean is, so that small and large batches can be compared.
        """
        if len(self._batches) < ENOUGH:
            return False
        signatures = torch.stack([batch.signature for batch in self._batches])
        typical = max(
            _distance(batch.signature, (signatures.sum(dim=0) - batch.signature) / (len(signatures) - 1))
            * batch.count**0.5
            for batch in self._batches
        )
        distance = _distance(_signature(probe), signatures.mean(dim=0))
        return distance > LEAST and distance * len(probe.logits) ** 0.5 > JUMP * typical

    def with_earlier(self, probe: Probe) -> Probe:
        """What a probe of the window's images and those of `probe` together shows."""
        probes = [*(batch.probe for batch in self._batches), probe]
        together = _pooled([_statistics(each) for each in probes])
        assert together is not None
        return replace(
            probe,
            means=tuple(layer.mean for layer in together),
            variances=tuple(layer.variance for layer in together),
            logits=torch.cat([each.logits for each in probes]),
            features=torch.cat([each.features for each in probes]),
            gradients=_mean_gradients(probes),
        )

    def remember(self, probe: Probe, adapted: Session) -> None:
        """A batch is done: its probe, and what the pass under its own parameters showed. The oldest batch goes."""
        count = len(probe.logits)
        layers = [Statistics(count, adapted.means[i], adapted.variances[i]) for i in range(len(probe.means))]
        self._batches.append(_Batch(probe, layers, _signature(probe)))


def _statistics(probe: Probe) -> list[Statistics]:
    count = len(probe.logits)
    return [Statistics(count, mean, variance) for mean, variance in zip(probe.means, probe.variances, strict=True)]


def _pooled(batches: Sequence[list[Statistics]]) -> list[Statistics] | None:
    return [pool(layer) for layer in zip(*batches, strict=True)] if batches else None


def _mean_gradients(probes: Sequence[Probe]) -> GradientFeatures | None:
    # the gradient of a mean loss over all images is the mean of the batches' gradients, weighted by their images
    # (but for what flows through batch statistics, where earlier images are constants)
    weighted = [(len(probe.logits), probe.gradients) for probe in probes if probe.gradients is not None]
    if not weighted:
        return None
    total = sum(count for count, _ in weighted)

    def mean(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([part * (count / total) for part, (count, _) in zip(parts, weighted, strict=True)]).sum(
            dim=0
        )

    return GradientFeatures(
        gammas=tuple(mean(parts) for parts in zip(*(each.gammas for _, each in weighted), strict=True)),
        betas=tuple(mean(parts) for parts in zip(*(each.betas for _, each in weighted), strict=True)),
        weight=mean([each.weight for _, each in weighted]),
        bias=mean([each.bias for _, each in weighted]),
    )


def _signature(probe: Probe) -> torch.Tensor:
    source = probe.source_means[0], probe.source_variances[0]
    return torch.cat(statistic_shift(source, (probe.means[0], probe.variances[0])))


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())
