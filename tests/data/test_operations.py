from __future__ import annotations

import math

import pytest
import torch

from gformer_cli.data import operations


def test_a_large_filter_does_what_a_small_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 20, 31, generator=random, dtype=torch.float64)
    taps = torch.rand(9, 13, generator=random, dtype=torch.float64)
    found = []
    for most in (1, 1000):
        monkeypatch.setattr(operations, "_MOST_TAPS", most)
        found.append(operations.convolve(images, taps))
    assert found[0].shape == images.shape
    assert torch.allclose(*found, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 90), (90, 60)])
def test_a_turned_view_keeps_lengths(height: int, width: int) -> None:
    """A spot that lies 20 pixels to the right of the middle lies 20 pixels above or below it after a quarter turn."""
    images = torch.zeros(1, 1, height, width, dtype=torch.float64)
    middle = height // 2, width // 2
    images[0, 0, middle[0] - 1 : middle[0] + 1, middle[1] + 19 : middle[1] + 21] = 1.0
    turned = operations.affine(images, angle=math.pi / 2.0)[0, 0]
    down, across = (turned > 0.5).nonzero().double().mean(dim=0).tolist()
    assert abs(down + 0.5 - middle[0]) == pytest.approx(20.0, abs=0.01)
    assert across + 0.5 == pytest.approx(middle[1], abs=0.01)
