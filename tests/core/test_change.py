from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gformer_cli.core.change import FIGURES, measure_change
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, statistic_shifts


@pytest.fixture
def prediction(make_probe: Callable[..., Probe]) -> Prediction:
    """Parameters that lie off the source's, by another amount in each layer."""
    probe = make_probe()
    source = probe.source
    assert source.mix is not None
    made = Parameters(
        tuple(gamma * (1.0 + 0.1 * (i + 1)) for i, gamma in enumerate(source.gammas)),
        tuple(beta + 0.2 * (i + 1) for i, beta in enumerate(source.betas)),
        torch.tensor([0.4, 0.1], dtype=torch.float64),
        source.weight * 1.5,
        source.bias - 0.25,
    )
    return Prediction(probe.logits, made, probe)


def size(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def test_every_figure_is_that_of_a_computation_layer_by_layer(prediction: Prediction) -> None:
    change, probe, made = measure_change(prediction), prediction.probe, prediction.parameters
    moved, stretched = statistic_shifts(probe)
    assert change.layers.shape == (2, len(FIGURES))
    for index, row in enumerate(change.layers.tolist()):
        unit = size(probe.source.gammas[index])
        assert dict(zip(FIGURES, row, strict=True)) == pytest.approx(
            {
                "gamma": size(made.gammas[index] - probe.source.gammas[index]) / unit,
                "beta": size(made.betas[index] - probe.source.betas[index]) / unit,
                "mixing": [0.4, 0.1][index],
                "mixing_change": [0.1, -0.2][index],
                "mean_shift": size(moved[index]),
                "spread_shift": size(stretched[index]),
            }
        )
    assert change.layers[:, 0].tolist() == pytest.approx([0.1, 0.2])
    assert (change.weight, change.bias) == pytest.approx((0.5, 0.25))


def test_the_source_itself_is_no_change(prediction: Prediction) -> None:
    change = measure_change(replace(prediction, parameters=prediction.probe.source))
    assert change.layers[:, [0, 1, 3]].abs().max() == 0.0
    assert (change.weight, change.bias) == (0.0, 0.0)


def test_source_statistics_alone_are_a_mixing_of_zero(prediction: Prediction) -> None:
    change = measure_change(replace(prediction, parameters=prediction.parameters.with_mix(None)))
    assert change.layers[:, 2:4].tolist() == [[0.0, pytest.approx(-0.3)]] * 2


def test_a_layer_whose_scale_is_zero_gives_no_nan(prediction: Prediction) -> None:
    source = prediction.probe.source
    dead = replace(source, gammas=(torch.zeros_like(source.gammas[0]), source.gammas[1]))
    change = measure_change(Prediction(prediction.logits, dead, replace(prediction.probe, source=dead)))
    assert change.layers.isfinite().all()
