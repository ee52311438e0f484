"""The catalogue of corruptions: strength by severity, seeds, positions, sizes, and what each does."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from gformer_cli.data.corruptions import CORRUPTIONS, SEVERITIES

SEEDS = range(3)
PER_IMAGE = {"gaussian-noise", "shot-noise", "impulse-noise", "fog", "snow", "rain"}
"""Those that differ from image to image; the others are a condition that all images share."""
DIRECTED = {"motion-blur", "uneven-light", "colour-cast", "rotation", "shear"}
"""Those whose seed decides about a direction."""
UNCLEAR_ON_DRAWINGS = {"jpeg", "posterise"}
"""Two values and hard edges: how much these change depends on the very values."""


def _smooth(count: int = 2, size: int = 32) -> torch.Tensor:
    """The same random pictures at any size."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0.0, 1.0)


def _digit(size: int = 32) -> torch.Tensor:
    """A light 6 or so on dark ground: a ring and a slanted stroke."""
    down = torch.linspace(-1.0, 1.0, size)[:, None]
    across = torch.linspace(-1.0, 1.0, size)[None, :]
    ring = (torch.hypot(across, down - 0.2) - 0.35).abs() < 0.12
    stroke = ((across + 0.2 + 0.3 * down).abs() < 0.1) & (down < 0.0) & (down > -0.7)
    return torch.where(ring | stroke, 0.95, 0.08).expand(1, 3, size, size).clone()


def _changes(name: str, images: torch.Tensor, seed: int) -> list[float]:
    corruption = CORRUPTIONS[name]
    return [(corruption(images, severity=severity, seed=seed) - images).abs().mean().item() for severity in SEVERITIES]


def test_the_catalogue_is_named_and_grouped() -> None:
    assert all(corruption.name == name for name, corruption in CORRUPTIONS.items())
    groups = list(dict.fromkeys(corruption.group for corruption in CORRUPTIONS.values()))
    assert groups == ["noise", "blur", "weather", "digital", "photometric", "geometric"]
    assert [corruption.group for corruption in CORRUPTIONS.values()] == sorted(
        (corruption.group for corruption in CORRUPTIONS.values()), key=groups.index
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [32, 64])
def test_a_severity_changes_a_smooth_picture_more_than_the_one_before(name: str, size: int) -> None:
    for seed in SEEDS:
        changes = _changes(name, _smooth(size=size), seed)
        assert changes[0] > 1e-3
        assert all(later > earlier for earlier, later in pairwise(changes)), changes


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - UNCLEAR_ON_DRAWINGS))
def test_a_severity_changes_a_digit_more_than_the_one_before(name: str) -> None:
    for seed in SEEDS:
        changes = _changes(name, _digit(), seed)
        assert changes[0] > 1e-3
        assert all(later > earlier for earlier, later in pairwise(changes)), changes


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_worst_severity_leaves_something_to_see(name: str) -> None:
    # the smooth pictures differ; after the corruption they still do, far beyond noise
    first, second = CORRUPTIONS[name](_smooth(size=64), severity=5, seed=0)
    coarse = F.adaptive_avg_pool2d(torch.stack([first, second]), 5)
    assert (coarse[0] - coarse[1]).abs().mean() > 0.02


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [1, 8, 17, 224])
def test_any_size_works(name: str, size: int) -> None:
    images = _smooth(1, size)
    for severity in (1, 5):
        found = CORRUPTIONS[name](images, severity=severity, seed=0)
        assert found.shape == images.shape
        assert found.dtype == images.dtype
        assert found.isfinite().all()
        assert found.min() >= 0.0
        assert found.max() <= 1.0


@pytest.mark.parametrize("name", ["fog", "jpeg", "motion-blur", "pixelate", "rain", "zoom-blur"])
def test_sides_may_differ_and_float64_stays(name: str) -> None:
    images = _smooth()[..., :20].double()
    found = CORRUPTIONS[name](images, severity=3, seed=0)
    assert (found.shape, found.dtype) == (images.shape, torch.float64)


@pytest.mark.parametrize(
    "name", ["defocus", "motion-blur", "zoom-blur", "fog", "uneven-light", "rotation", "closer", "farther"]
)
def test_lengths_scale_with_the_image(name: str) -> None:
    small, large = (_changes(name, _smooth(size=size), seed=1)[3] for size in (48, 192))
    assert large == pytest.approx(small, rel=0.3)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_alone_decides(name: str) -> None:
    images = _smooth()
    kept, state = images.clone(), torch.get_rng_state()
    first = CORRUPTIONS[name](images, severity=3, seed=5)
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1234)
    random.seed(1234)
    assert torch.equal(CORRUPTIONS[name](images, severity=3, seed=5), first)
    torch.set_rng_state(state)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_seeds_differ_where_anything_is_drawn(name: str) -> None:
    found = [CORRUPTIONS[name](_smooth(), severity=3, seed=seed) for seed in range(6)]
    drawn = any(not torch.equal(found[0], other) for other in found[1:])
    assert drawn == (name in PER_IMAGE | DIRECTED)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_looks_the_same_in_any_batch(name: str) -> None:
    images, corruption = _smooth(5), CORRUPTIONS[name]
    whole = corruption(images, severity=4, seed=2)
    torch.testing.assert_close(corruption(images[:2], severity=4, seed=2), whole[:2])
    torch.testing.assert_close(corruption(images[3:], severity=4, seed=2, positions=[3, 4]), whole[3:])
    shuffled = [4, 0, 2]
    torch.testing.assert_close(corruption(images[shuffled], severity=4, seed=2, positions=shuffled), whole[shuffled])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_share_the_condition_but_not_the_noise(name: str) -> None:
    first, second = CORRUPTIONS[name](_smooth(1).expand(2, -1, -1, -1), severity=4, seed=0)
    if name in PER_IMAGE:
        assert not torch.equal(first, second)
    else:
        torch.testing.assert_close(first, second)


def test_two_corruptions_draw_apart() -> None:
    grey = torch.full((1, 3, 32, 32), 0.5)
    one, other = (CORRUPTIONS[name](grey, severity=1, seed=0) - grey for name in ("gaussian-noise", "shot-noise"))
    assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].abs() < 0.1


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_other_severities_are_refused(severity: int) -> None:
    with pytest.raises(ValueError, match=f"severity must be from 1 to 5, got {severity}"):
        CORRUPTIONS["fog"](_smooth(), severity=severity, seed=0)


def test_positions_must_be_one_an_image() -> None:
    with pytest.raises(ValueError, match="2 images but 1 positions"):
        CORRUPTIONS["fog"](_smooth(), severity=1, seed=0, positions=[0])


def _worst(name: str, images: torch.Tensor) -> torch.Tensor:
    return CORRUPTIONS[name](images, severity=5, seed=0)


def test_noise_has_the_strength_it_says() -> None:
    grey = torch.full((1, 3, 128, 128), 0.5)
    noisy = CORRUPTIONS["gaussian-noise"](grey, severity=2, seed=0)
    assert noisy.std().item() == pytest.approx(0.09, rel=0.02)
    # the variance of shot noise grows with the light
    dark = CORRUPTIONS["shot-noise"](grey / 2.0, severity=1, seed=0).var().item()
    bright = CORRUPTIONS["shot-noise"](grey, severity=1, seed=0).var().item()
    assert bright == pytest.approx(0.5 / 60.0, rel=0.05)
    assert bright / dark == pytest.approx(2.0, rel=0.05)
    lost = _worst("impulse-noise", grey)
    assert (lost == 0.0).float().mean().item() == pytest.approx(0.125, abs=0.01)
    assert (lost == 1.0).float().mean().item() == pytest.approx(0.125, abs=0.01)


@pytest.mark.parametrize("name", ["defocus", "motion-blur", "zoom-blur", "pixelate"])
def test_a_plain_image_cannot_be_blurred(name: str) -> None:
    plain = torch.full((1, 3, 32, 32), 0.6)
    torch.testing.assert_close(_worst(name, plain), plain, atol=2e-3, rtol=0.0)


def test_a_blurred_point_becomes_a_disc_and_a_line() -> None:
    point = torch.zeros(1, 3, 65, 65)
    point[..., 32, 32] = 1.0
    disc, line = _worst("defocus", point)[0, 0], _worst("motion-blur", point)[0, 0]
    torch.testing.assert_close(disc, disc.T)
    for spread in (disc, line):
        assert spread.sum().item() == pytest.approx(1.0, abs=1e-5)
    # the second moments of a disc are alike in all directions; of a line, one vanishes
    steps = torch.arange(65.0) - 32.0
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    moments = torch.stack([torch.stack([(line * a * b).sum() for b in (down, across)]) for a in (down, across)])
    thin, long = torch.linalg.eigvalsh(moments)
    assert thin < 1.0
    assert long.item() == pytest.approx((0.24 * 65.0 + 1.0) ** 2 / 12.0, rel=0.1)


def test_weather_brightens_and_uneven_light_darkens() -> None:
    dark = torch.full((1, 3, 64, 64), 0.2)
    for name in ("fog", "snow", "rain"):
        assert (_worst(name, dark) >= dark - 1e-6).all()
        assert _worst(name, dark).std() > 0.01
    lit = _worst("uneven-light", dark)
    assert (lit <= dark).all()
    assert lit.max() > 3.0 * lit.min()


def test_digital_ones_leave_few_pixels_and_values() -> None:
    images = _smooth()
    assert len(set(_worst("pixelate", images)[0, 0].flatten().tolist())) <= 6 * 6
    assert set(_worst("posterise", images).flatten().tolist()) == {0.0, 1.0}
    # a JPEG of fair quality changes little, and keeps the light
    coded = CORRUPTIONS["jpeg"](images, severity=1, seed=0)
    assert (coded - images).abs().mean() < 0.03
    torch.testing.assert_close(coded.mean(), images.mean(), atol=5e-3, rtol=0.0)


def test_photometric_ones_are_their_formulas() -> None:
    images = _smooth()
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(_worst("brighter", images), (images + 0.55).clamp(max=1.0))
    torch.testing.assert_close(_worst("darker", images), 0.12 * images)
    torch.testing.assert_close(_worst("low-contrast", images), middle + 0.12 * (images - middle))
    torch.testing.assert_close(_worst("negative", images), 1.0 - images)


def test_a_colour_cast_keeps_one_channel_and_takes_from_another() -> None:
    gains = _worst("colour-cast", torch.ones(1, 3, 2, 2))[0, :, 0, 0]
    assert gains.max().item() == pytest.approx(1.0)
    assert gains.min().log().item() == pytest.approx(-2.2)


def test_geometric_ones_move_things() -> None:
    square = torch.zeros(1, 3, 64, 64)
    square[..., 22:42, 22:42] = 1.0
    area = square.mean().item()
    assert _worst("closer", square).mean().item() == pytest.approx(1.6**2 * area, rel=0.05)
    assert _worst("farther", square).mean().item() == pytest.approx(area / 1.6**2, rel=0.05)
    for name in ("rotation", "shear"):
        assert _worst(name, square).mean().item() == pytest.approx(area, rel=0.02)
        mirrored = {CORRUPTIONS[name](square, severity=5, seed=seed)[0, 0, 20, 20].item() for seed in range(8)}
        assert len(mirrored) <= 2
