"""Covariance matrix adaptation: minimises a function of many numbers from the order of its values alone.

After Hansen's tutorial (arXiv 1604.00772), with the negative weights of its table 1.
"""

from __future__ import annotations

import math

import torch


class Evolution:
    """Asks for points to be rated, and moves its normal distribution N(m, σ² C) towards the better ones.

    Args:
        size: n, numbers of a point.
        population: points a round; None for 4 + ⌊3 ln n⌋.
        step: σ at the start; m is 0, and C the identity.
        generator: of the points, on the CPU.
    """

    def __init__(self, size: int, *, population: int | None, step: float, generator: torch.Generator) -> None:
        self.size = size
        self.population = 4 + int(3 * math.log(size)) if population is None else population
        self.generator = generator
        self.sigma = step
        self.mean = torch.zeros(size, dtype=torch.float64)
        self.covariance = torch.eye(size, dtype=torch.float64)
        self.path = torch.zeros_like(self.mean)  # p_c
        self.step_path = torch.zeros_like(self.mean)  # p_σ
        self.rounds = 0
        self._set_rates()
        self._decompose()

    def ask(self) -> torch.Tensor:
        """Points (population, n)."""
        normal = torch.randn(self.population, self.size, generator=self.generator, dtype=torch.float64)
        points: torch.Tensor = self.mean + self.sigma * normal @ self.root.T
        return points

    def tell(self, points: torch.Tensor, values: torch.Tensor) -> None:
        """The values (population,) of the points that were asked for; less is better."""
        steps = (points[values.argsort(stable=True)] - self.mean) / self.sigma  # y, the best first
        mean_step = self.weights[: self.parents] @ steps[: self.parents]
        self.mean = self.mean + self.sigma * mean_step
        self.rounds += 1
        self._move_paths(mean_step)
        growth = self.step_path.norm() / self.expected_length - 1.0
        self.sigma *= math.exp(self.step_rate / self.damping * float(growth))
        lengths = (steps @ self.inverse_root.T).square().sum(dim=1)
        weights = torch.where(self.weights < 0, self.weights * self.size / lengths.clamp_min(1e-12), self.weights)
        kept = 1.0 - self.rank_one - self.rank_mu * float(self.weights.sum())
        kept += 0.0 if self.on_course else self.rank_one * self.path_rate * (2.0 - self.path_rate)
        self.covariance = (
            kept * self.covariance
            + self.rank_one * torch.outer(self.path, self.path)
            + self.rank_mu * (steps.T * weights) @ steps
        )
        if self.rounds - self.decomposed >= self.patience:
            self._decompose()

    def _move_paths(self, mean_step: torch.Tensor) -> None:
        keep, scale = 1.0 - self.step_rate, math.sqrt(self.step_rate * (2.0 - self.step_rate) * self.effective)
        self.step_path = keep * self.step_path + scale * self.inverse_root @ mean_step
        length = float(self.step_path.norm()) / math.sqrt(1.0 - keep ** (2 * self.rounds))
        self.on_course = length < (1.4 + 2.0 / (self.size + 1)) * self.expected_length  # h_σ
        self.path = (1.0 - self.path_rate) * self.path
        if self.on_course:
            self.path += math.sqrt(self.path_rate * (2.0 - self.path_rate) * self.effective) * mean_step

    def _set_rates(self) -> None:
        n = self.size
        raw = math.log((self.population + 1) / 2) - torch.arange(1, self.population + 1, dtype=torch.float64).log()
        self.parents = self.population // 2
        good, bad = raw[: self.parents], raw[self.parents :]
        self.effective = mu = float(good.sum() ** 2 / good.square().sum())
        negative = float(bad.sum() ** 2 / bad.square().sum())
        self.step_rate = (mu + 2) / (n + mu + 5)
        self.damping = 1 + 2 * max(0.0, math.sqrt((mu - 1) / (n + 1)) - 1) + self.step_rate
        self.path_rate = (4 + mu / n) / (n + 4 + 2 * mu / n)
        self.rank_one = 2 / ((n + 1.3) ** 2 + mu)
        self.rank_mu = min(1 - self.rank_one, 2 * (0.25 + mu + 1 / mu - 2) / ((n + 2) ** 2 + mu))
        most = min(
            1 + self.rank_one / self.rank_mu,
            1 + 2 * negative / (mu + 2),
            (1 - self.rank_one - self.rank_mu) / (n * self.rank_mu),
        )
        self.weights = torch.where(raw >= 0, raw / raw[raw > 0].sum(), most * raw / raw[raw < 0].sum().abs())
        self.expected_length = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self.patience = 1 / (self.rank_one + self.rank_mu) / n / 10
        """Rounds between two decompositions, which cost far more than a round."""

    def _decompose(self) -> None:
        self.covariance = (self.covariance + self.covariance.T) / 2
        values, vectors = torch.linalg.eigh(self.covariance)
        lengths = values.clamp_min(1e-20).sqrt()
        self.root = vectors * lengths
        self.inverse_root = (vectors / lengths) @ vectors.T
        self.decomposed = self.rounds
