"""Augmentation: seeded, each option has its own effect, and nothing else is disturbed."""

from __future__ import annotations

import torch

from gformer_cli.data.augment import augment, make_augmentation

SIZE = 16


def _pixels(count: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def _augmented(
    pixels: torch.Tensor, *, crop: float = 1.0, flip: bool = False, jitter: float = 0.0, seed: int = 0
) -> torch.Tensor:
    transform = make_augmentation(image_size=SIZE, crop=crop, flip=flip, jitter=jitter)
    return augment(transform, pixels, seed)


def test_with_everything_off_nothing_changes() -> None:
    assert torch.equal(_augmented(_pixels()), _pixels())


def test_flip_mirrors_some_images_and_leaves_the_others() -> None:
    pixels = _pixels()
    result = _augmented(pixels, flip=True)
    mirrored = [torch.equal(one, other.flip(-1)) for one, other in zip(result, pixels, strict=True)]
    kept = [torch.equal(one, other) for one, other in zip(result, pixels, strict=True)]
    assert any(mirrored)
    assert any(kept)
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))


def test_crop_enlarges_a_part_of_the_image() -> None:
    # a ramp from left to right: a part of it has a smaller range, and stays the same in every row
    ramp = torch.linspace(0, 255, SIZE).to(torch.uint8).expand(8, 3, SIZE, SIZE)
    result = _augmented(ramp, crop=0.3).int()
    assert result.shape == ramp.shape
    assert (result - result[:, :, :1]).abs().max() <= 1
    ranges = (result.amax(dim=(1, 2, 3)) - result.amin(dim=(1, 2, 3))).float()
    assert ranges.min() < 200
    assert len(set(ranges.tolist())) > 1


def test_a_larger_crop_keeps_more() -> None:
    ramp = torch.linspace(0, 255, SIZE).to(torch.uint8).expand(32, 3, SIZE, SIZE)
    small, large = (_augmented(ramp, crop=crop).float().std(dim=3).mean() for crop in (0.2, 0.9))
    assert small < large


def test_jitter_changes_colours_and_keeps_places() -> None:
    flat = torch.full((8, 3, SIZE, SIZE), 100, dtype=torch.uint8)
    result = _augmented(flat, jitter=0.5).int()
    assert (result == result[:, :, :1, :1]).all()
    assert len(set(result[:, 0, 0, 0].tolist())) > 1


def test_more_jitter_changes_more() -> None:
    pixels = _pixels(32)
    little, much = ((_augmented(pixels, jitter=jitter).float() - pixels.float()).abs().mean() for jitter in (0.05, 0.5))
    assert 0.0 < little < much


def test_the_same_seed_gives_the_same_images() -> None:
    one, other, third = (_augmented(_pixels(), crop=0.5, flip=True, jitter=0.3, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_images_of_a_batch_are_drawn_apart() -> None:
    same = _pixels(1).expand(4, -1, -1, -1)
    result = _augmented(same, crop=0.5, jitter=0.3)
    assert not torch.equal(result[0], result[1])


def test_the_shape_and_type_stay() -> None:
    result = _augmented(_pixels(3), crop=0.5, flip=True, jitter=0.3)
    assert result.shape == (3, 3, SIZE, SIZE)
    assert result.dtype == torch.uint8


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    _augmented(_pixels(), crop=0.5, flip=True, jitter=0.3)
    assert torch.equal(torch.get_rng_state(), state)
