"""Plain reading is `Image.open(FILE).convert("RGB")`: no turn, no profile, no white; and JPEGs in full or reduced."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Decoded, Preprocessing, decode, read_image

SIZE = 16
FILES = [
    *[(mode, file_format) for mode in ("RGB", "RGBA", "L", "LA", "P", "1") for file_format in ("PNG", "WEBP", "TIFF")],
    *[("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "JPEG"), ("P", "GIF"), ("CMYK", "TIFF"), ("RGB", "BMP"), ("P", "BMP")],
]


def _image(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8), "RGBA")
    return image.convert("RGB").convert(mode) if mode in ("P", "CMYK") else image.convert(mode)


def _options(mode: str, file_format: str) -> dict[str, Any]:
    """What `upright` reading goes by: transparency and a turn."""
    options: dict[str, Any] = {}
    if mode == "P" and file_format in ("PNG", "GIF"):
        options["transparency"] = 3
    if file_format in ("PNG", "JPEG", "WEBP"):
        turned = Image.Exif()
        turned[0x0112] = 6
        options["exif"] = turned
    return options


def _preprocessing(**options: Any) -> Preprocessing:
    return Preprocessing(SIZE, "stretch", (0.5,) * 3, (0.5,) * 3, **options)


@pytest.mark.parametrize(("mode", "file_format"), FILES)
def test_plain_reading_is_pillows_conversion(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path, mode: str, file_format: str
) -> None:
    data = encode(_image(mode), file_format, **_options(mode, file_format))
    path = add_image(tmp_path / "image", data)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    found = read_image(as_file(path), _preprocessing(reading="plain"))
    assert isinstance(found, Decoded)
    assert np.array_equal(found.pixels.permute(1, 2, 0).numpy(), expected)


def test_upright_reading_is_another(encode: Any) -> None:
    for mode in ("RGBA", "P", "L"):
        data = encode(_image(mode), "PNG", **_options(mode, "PNG"))
        assert not np.array_equal(np.asarray(decode(data)), np.asarray(decode(data, plain=True)))


def test_what_is_wholly_transparent_has_colours_in_plain_reading(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    path = add_image(tmp_path / "clear.png", encode(Image.new("RGBA", (SIZE, SIZE), (10, 20, 30, 0))))
    assert not isinstance(read_image(as_file(path), _preprocessing()), Decoded)
    found = read_image(as_file(path), _preprocessing(reading="plain"))
    assert isinstance(found, Decoded)
    assert found.pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_samples_of_16_bits_are_scaled_in_plain_reading_and_not_turned(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    samples = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 16
    turned = Image.Exif()
    turned[0x0112] = 6
    path = add_image(tmp_path / "deep.png", encode(Image.fromarray(samples), "PNG", exif=turned))
    expected = (samples / 4095.0 * 255.0).round().astype(np.uint8)
    for reading, pixels in (("plain", expected), ("upright", np.rot90(expected, -1))):
        found = read_image(as_file(path), _preprocessing(reading=reading, depth=Depth(4095.0)))
        assert isinstance(found, Decoded)
        assert np.array_equal(found.pixels[0].numpy(), pixels)


def test_colours_of_16_bits_are_scaled_in_plain_reading_without_white(
    add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    pixel = struct.pack(">4H", 4095, 2048, 0, 0)  # transparent
    rows = (b"\0" + pixel * SIZE) * SIZE

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, 16, 6, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path = add_image(tmp_path / "deep.png", b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    found = read_image(as_file(path), _preprocessing(reading="plain", depth=Depth(4095.0)))
    assert isinstance(found, Decoded)
    assert found.pixels[:, 0, 0].tolist() == [255, 128, 0]


def test_jpegs_are_decoded_in_full_where_the_settings_say_so(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    path = add_image(tmp_path / "large.jpg", encode(noise, "JPEG"))
    with Image.open(path) as image:
        whole = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    for reduced in (False, True):
        found = read_image(as_file(path), _preprocessing(reduced_jpeg=reduced))
        assert isinstance(found, Decoded)
        assert np.array_equal(found.pixels.permute(1, 2, 0).numpy(), whole) != reduced


def test_a_reduced_jpeg_has_enough_pixels_for_what_it_is_resized_to(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    """128 are not twice the 100 that the shorter side is resized to, though more than twice the input's 16."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    path = add_image(tmp_path / "large.jpg", encode(noise, "JPEG"))
    found = [
        read_image(as_file(path), _preprocessing(resize_size=100, reduced_jpeg=reduced)) for reduced in (False, True)
    ]
    assert isinstance(found[0], Decoded) and isinstance(found[1], Decoded)
    assert torch.equal(found[0].pixels, found[1].pixels)
