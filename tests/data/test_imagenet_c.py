from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gformer_cli.data.corruptions import SEVERITIES
from gformer_cli.data.imagenet_c import IMAGENET_C

Calls = list[tuple[str, int, dict[str, int], np.ndarray]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A stand-in for the library, which adds noise; what it was called with."""
    found: Calls = []

    def corrupt(image: np.ndarray, severity: int = 1, corruption_name: str = "", **options: Any) -> np.ndarray:
        print("the library talks")
        found.append((corruption_name, severity, options, image))
        noise = np.random.randint(0, 10 * severity, image.shape)
        return (image.astype(int) + noise).clip(0, 255).astype(np.uint8)

    module = ModuleType("imagecorruptions")
    module.corrupt = corrupt  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)
    return found


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size + 8, generator=torch.Generator().manual_seed(0))


def test_the_library_gets_files_pixels_and_its_own_names(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    given = images()
    found = IMAGENET_C["imagenet-c:elastic-transform"](given, severity=4, seed=0)
    assert [call[:3] for call in calls] == [("elastic_transform", 4, {})] * 3
    for image, (*_, pixels) in zip(given, calls, strict=True):
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, (image * 255.0).round().byte().permute(1, 2, 0).numpy())
    assert torch.equal(found * 255.0, (found * 255.0).round()) and found.shape == given.shape
    assert capsys.readouterr().out == ""


def test_an_images_seed_and_position_alone_decide(calls: Calls) -> None:
    corruption, given = IMAGENET_C["imagenet-c:fog"], images()
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first = corruption(given, severity=3, seed=5, positions=[7, 8, 9])
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[arg-type]
    np.random.rand()
    assert torch.equal(corruption(given[1:], severity=3, seed=5, positions=[8, 9]), first[1:])
    assert not torch.equal(corruption(given, severity=3, seed=6, positions=[7, 8, 9]), first)
    same = given[:1].expand(2, -1, -1, -1)
    one, other = corruption(same, severity=3, seed=5)
    assert not torch.equal(one, other)


def test_functions_with_a_seed_of_their_own_are_told_it(calls: Calls) -> None:
    for name, corruption in IMAGENET_C.items():
        corruption(images(2), severity=1, seed=1)
        (_, _, first, _), (_, _, second, _) = calls[-2:]
        seeded = name in ("imagenet-c:glass-blur", "imagenet-c:impulse-noise")
        assert ({*first} == {"seed"}) == seeded and (first == second) != seeded


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGENET_C)
def test_each_corruption_is_there_exact_and_grows(name: str) -> None:
    pytest.importorskip("imagecorruptions")
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    given = torch.nn.functional.interpolate(coarse, size=(64, 80), mode="bicubic").clamp(0.0, 1.0)
    changes = []
    for severity in SEVERITIES:
        found = IMAGENET_C[name](given, severity=severity, seed=3)
        assert torch.equal(IMAGENET_C[name](given, severity=severity, seed=3), found)
        assert found.shape == given.shape and found.isfinite().all() and 0.0 <= found.min() <= found.max() <= 1.0
        changes.append((found - given).abs().mean().item())
    assert changes[0] > 1e-3 and changes[4] > changes[0]
