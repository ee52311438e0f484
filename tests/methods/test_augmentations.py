"""Views for CoTTA, RoTTA and MEMO: what they keep, what they change, and whose randomness they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torchvision.transforms import v2

from gformer_cli.bundle import Bundle
from gformer_cli.methods.augmentations import Augmentation, augmix_views, jitter_views

FACTORIES = [jitter_views, augmix_views]
Factory = Callable[[Bundle], Augmentation]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _with(bundle: Bundle, *, flip: bool, mean: float = 0.0, std: float = 1.0) -> Bundle:
    pretrain = bundle.header.settings.pretrain.model_copy(update={"flip": flip})
    settings = bundle.header.settings.model_copy(update={"pretrain": pretrain})
    data = bundle.header.preprocessing.model_copy(update={"mean": (mean,) * 3, "std": (std,) * 3})
    return replace(bundle, header=bundle.header.model_copy(update={"settings": settings, "preprocessing": data}))


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_generator_alone_decides_and_global_randomness_stays(
    bundle: Bundle, batches: list[torch.Tensor], factory: Factory
) -> None:
    augment = factory(bundle)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = augment(batches[0], _generator())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(augment(batches[0], _generator()), first)
    assert not torch.equal(augment(batches[0], _generator(1)), first)
    generator = _generator()
    assert not torch.equal(augment(batches[0], generator), augment(batches[0], generator))


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_view_keeps_shape_type_and_the_range_of_pixels(
    bundle: Bundle, batches: list[torch.Tensor], factory: Factory, dtype: torch.dtype
) -> None:
    augment = factory(bundle)
    images = batches[0].to(dtype)
    for seed in range(20):
        view = augment(images, _generator(seed))
        assert type(view) is torch.Tensor and view.dtype == dtype and view.shape == images.shape
        assert view.min() >= 0.0 and view.max() <= 1.0
        assert not torch.allclose(view, images)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_view_does_not_depend_on_the_other_images(
    bundle: Bundle, batches: list[torch.Tensor], factory: Factory
) -> None:
    augment = factory(bundle)
    for seed in range(20):
        together = augment(batches[0], _generator(seed))
        torch.testing.assert_close(augment(batches[0][3:4], _generator(seed)), together[3:4])


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_transform_sees_pixels_whatever_the_normalisation(
    bundle: Bundle, batches: list[torch.Tensor], factory: Factory
) -> None:
    plain = factory(bundle)(batches[0], _generator())
    normalised = factory(_with(bundle, flip=True, mean=0.4, std=0.2))((batches[0] - 0.4) / 0.2, _generator())
    torch.testing.assert_close(normalised, (plain - 0.4) / 0.2)


@pytest.mark.parametrize("factory", FACTORIES)
def test_images_are_mirrored_only_if_the_source_model_knows_mirrored_ones(bundle: Bundle, factory: Factory) -> None:
    slope = torch.linspace(0.2, 0.8, 16, dtype=torch.float64).expand(1, 3, 16, 16)  # brighter to the right

    def mirrored(flip: bool) -> int:
        augment = factory(_with(bundle, flip=flip))
        # whatever inverts brightness does not count as a mirror
        augment.transform = v2.Compose([t for t in augment.transform.transforms if not isinstance(t, v2.AugMix)])
        views = [augment(slope, _generator(seed)).mean(dim=(0, 1, 2)) for seed in range(20)]
        return sum(int(view[:8].mean() > view[8:].mean()) for view in views)

    assert mirrored(False) == 0
    assert 0 < mirrored(True) < 20
