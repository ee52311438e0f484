"""ICC profiles are applied: a picture has the colours that a viewer shows."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gformer_cli.images.decoding import decode
from gformer_cli.images.profiles import to_srgb

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
BROWN = (39, 9, 3)


def _profile(primaries: Any = None, gamma: float = 2.2) -> bytes:
    """A profile of primaries and one gamma; of grey without primaries."""

    def xyz(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(79), b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags[b"cprt"] = b"text\0\0\0\0x\0\0\0"
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"XYZ": xyz(value) for name, value in zip((b"r", b"g", b"b"), primaries, strict=True)}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    space = b"GRAY" if primaries is None else b"RGB "
    header = struct.pack(">I4sI4s4s4s12x4s", start + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + b"lcms"
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _colour(data: bytes) -> tuple[int, ...]:
    return tuple(np.asarray(decode(data))[4, 4].tolist())


@pytest.mark.parametrize("primaries", [ADOBE, P3])
def test_a_wide_profile_is_turned_into_srgb(encode: Any, primaries: Any) -> None:
    image = Image.new("RGB", (8, 8), (200, 60, 40))
    profile = _profile(primaries)
    wanted = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    assert wanted is not None
    found = _colour(encode(image, icc_profile=profile))
    assert found == wanted.getpixel((4, 4))
    assert found[0] > 210  # the same numbers are a stronger red there


def test_plain_reading_passes_a_profile_over(encode: Any) -> None:
    data = encode(Image.new("RGB", (8, 8), (200, 60, 40)), icc_profile=_profile(ADOBE))
    assert np.asarray(decode(data, plain=True))[4, 4].tolist() == [200, 60, 40]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("AVIF", {"quality": 100}),
    ],
)
def test_linear_light_is_brightened_in_every_format(encode: Any, kind: str, options: dict[str, Any]) -> None:
    if kind == "AVIF":
        pytest.importorskip("PIL.AvifImagePlugin")
    data = encode(Image.new("RGB", (8, 8), BROWN), kind, icc_profile=_profile(SRGB_PRIMARIES, 1.0), **options)
    assert np.abs(np.subtract(_colour(data)[:2], (109, 53))).max() <= 2


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_palettes_and_alpha_keep_their_profile(encode: Any, mode: str) -> None:
    image = Image.new("RGB", (8, 8), BROWN)
    image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image.convert(mode)
    assert _colour(encode(image, icc_profile=_profile(SRGB_PRIMARIES, 1.0))) == (109, 53, 28)


def test_a_grey_profile_is_applied_at_8_and_16_bits_and_beside_alpha(encode: Any) -> None:
    profile = _profile(None, 1.0)
    deep = Image.fromarray(np.full((8, 8), 50 * 257, dtype=np.uint16))
    for image in (Image.new("L", (8, 8), 50), Image.new("LA", (8, 8), (50, 255)), deep):
        assert _colour(encode(image, icc_profile=profile)) == (122, 122, 122)


def test_a_large_image_is_converted_in_strips_as_a_whole_would_be(encode: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 3, 3), dtype=np.uint8)
    profile = _profile(ADOBE)
    whole = to_srgb(profile, "RGB")
    assert whole is not None
    found = np.asarray(decode(encode(Image.fromarray(pixels), icc_profile=profile)))
    assert np.array_equal(found, np.asarray(whole.apply(Image.fromarray(pixels))))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_looks_like_srgb_changes_no_pixel(encode: Any, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    assert np.array_equal(np.asarray(decode(encode(image, icc_profile=SRGB))), np.asarray(image.convert("RGB")))
    assert to_srgb(SRGB, "RGB") is None


@pytest.mark.parametrize(
    "profile",
    [b"no profile", SRGB[:200], _profile(ADOBE)[:-60], _profile(ADOBE)[:132] + b"\xff" * 300, _profile(None, 1.0)],
)
def test_a_profile_that_is_broken_or_of_another_space_loses_no_image(encode: Any, profile: bytes) -> None:
    assert _colour(encode(Image.new("RGB", (8, 8), BROWN), icc_profile=profile)) == BROWN


def test_a_profile_of_rgb_says_nothing_of_grey_and_cmyk(encode: Any) -> None:
    profile = _profile(SRGB_PRIMARIES, 1.0)
    assert _colour(encode(Image.new("L", (8, 8), 50), icc_profile=profile)) == (50, 50, 50)
    inks = Image.new("CMYK", (8, 8), (10, 20, 30, 40))
    assert _colour(encode(inks, "TIFF", icc_profile=profile)) == _colour(encode(inks, "TIFF"))


def test_a_profile_is_read_once_for_all_images_that_have_it(encode: Any) -> None:
    data = encode(Image.new("RGB", (8, 8), BROWN), icc_profile=_profile(ADOBE, 1.8))
    before = to_srgb.cache_info().misses
    for _ in range(3):
        decode(data)
    assert to_srgb.cache_info().misses == before + 1
