from __future__ import annotations

import math

import pytest
import torch

from gformer_cli.core.temperature import BOUNDS, Temperatures, fit_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_logits_were_multiplied_by_is_found(true: float) -> None:
    random = torch.Generator().manual_seed(0)
    honest = 2.0 * torch.randn(20_000, 5, generator=random)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=random).squeeze(1)
    assert fit_temperature(true * honest, labels) == pytest.approx(true, rel=0.03)


def test_right_answers_alone_do_not_make_a_model_sure_without_end() -> None:
    logits = torch.eye(3)
    assert fit_temperature(logits, torch.arange(3)) == BOUNDS[0]
    assert fit_temperature(logits, torch.tensor([1, 2, 0])) == BOUNDS[1]


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="images"):
        fit_temperature(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))


def test_the_temperature_of_blended_parameters_lies_between_the_two() -> None:
    found = Temperatures(1.37, 2.91)
    assert (found.of(0.0), found.of(1.0)) == (1.37, 2.91)
    assert found.of(0.5) == pytest.approx(math.sqrt(1.37 * 2.91))
    assert Temperatures().of(0.3) == 1.0
