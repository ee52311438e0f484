from __future__ import annotations

import pytest
import torch

from gformer_cli.guard.hostile import HOSTILE, UNSEEN, hostile_batch

KINDS = [*HOSTILE, *UNSEEN]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "side"), [(1, 8), (5, 33)])
def test_pixels_are_as_decoded_images_are(kind: str, count: int, side: int) -> None:
    pixels = hostile_batch(kind, count, side, 0)
    assert (pixels.shape, pixels.dtype) == ((count, 3, side, side), torch.uint8)
    assert pixels.is_contiguous()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_makes_the_pixels(kind: str) -> None:
    first, same, other = (hostile_batch(kind, 3, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("black", "white")])
def test_the_images_of_a_batch_differ(kind: str) -> None:
    pixels = hostile_batch(kind, 2, 32, 0)
    assert not torch.equal(pixels[0], pixels[1])


def test_black_is_black_and_white_is_white() -> None:
    for seed in range(5):
        assert hostile_batch("black", 4, 16, seed).max() < 30
        assert hostile_batch("white", 4, 16, seed).min() > 225


def test_a_plain_image_has_one_colour_and_text_has_paper_and_ink() -> None:
    plain = hostile_batch("plain", 4, 16, 0).flatten(2)
    assert torch.equal(plain.amax(2), plain.amin(2))
    page = hostile_batch("text", 1, 64, 0)
    assert page.min() < 100 and page.max() > 240 and page.float().mean() > 128


def test_no_kind_is_both_seen_and_unseen() -> None:
    assert not set(HOSTILE) & set(UNSEEN)
