"""Views for CoTTA, RoTTA and MEMO: what they keep, what they change, and whose randomness they use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torchvision.transforms import v2

from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.methods.augmentations import Augmentation, augmix_views, jitter_views

FACTORIES = [jitter_views, augmix_views]
Factory = Callable[..., Augmentation]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _preprocessing(mean: float = 0.0, std: float = 1.0) -> Preprocessing:
    return Preprocessing(16, "crop", (mean,) * 3, (std,) * 3)


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_generator_alone_decides_and_global_randomness_stays(batches: list[torch.Tensor], factory: Factory) -> None:
    augment = factory(_preprocessing(), mirrored=True)
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
    batches: list[torch.Tensor], factory: Factory, dtype: torch.dtype
) -> None:
    augment = factory(_preprocessing(), mirrored=True)
    images = batches[0].to(dtype)
    for seed in range(20):
        view = augment(images, _generator(seed))
        assert type(view) is torch.Tensor and view.dtype == dtype and view.shape == images.shape
        assert view.min() >= 0.0 and view.max() <= 1.0
        assert not torch.allclose(view, images)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_view_does_not_depend_on_the_other_images(batches: list[torch.Tensor], factory: Factory) -> None:
    augment = factory(_preprocessing(), mirrored=True)
    for seed in range(20):
        together = augment(batches[0], _generator(seed))
        torch.testing.assert_close(augment(batches[0][3:4], _generator(seed)), together[3:4])


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_transform_sees_pixels_whatever_the_normalisation(batches: list[torch.Tensor], factory: Factory) -> None:
    plain = factory(_preprocessing(), mirrored=True)(batches[0], _generator())
    normalised = factory(_preprocessing(0.4, 0.2), mirrored=True)((batches[0] - 0.4) / 0.2, _generator())
    torch.testing.assert_close(normalised, (plain - 0.4) / 0.2)


@pytest.mark.parametrize("factory", FACTORIES)
def test_images_are_mirrored_only_if_the_source_model_knows_mirrored_ones(factory: Factory) -> None:
    slope = torch.linspace(0.2, 0.8, 16, dtype=torch.float64).expand(1, 3, 16, 16)  # brighter to the right

    def mirrored(known: bool) -> int:
        augment = factory(_preprocessing(), mirrored=known)
        # whatever inverts brightness does not count as a mirror
        augment.transform = v2.Compose([t for t in augment.transform.transforms if not isinstance(t, v2.AugMix)])
        views = [augment(slope, _generator(seed)).mean(dim=(0, 1, 2)) for seed in range(20)]
        return sum(int(view[:8].mean() > view[8:].mean()) for view in views)

    assert mirrored(False) == 0
    assert 0 < mirrored(True) < 20


@pytest.mark.parametrize("factory", FACTORIES)
def test_colours_change_as_colours_where_the_network_sees_blue_first(
    batches: list[torch.Tensor], factory: Factory
) -> None:
    seen = Preprocessing(16, "crop", (0.0,) * 3, (1.0,) * 3, channels="bgr")
    for seed in range(5):
        view = factory(seen, mirrored=True)(batches[0].flip(1), _generator(seed))
        torch.testing.assert_close(view.flip(1), factory(_preprocessing(), mirrored=True)(batches[0], _generator(seed)))
