"""Image files become tensors: every mode, both resizes, every kind of broken file."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.folders.domains import find_domains
from gformer_cli.images.preprocessing import (
    Decoded,
    Preprocessing,
    Skipped,
    decode,
    describe,
    read_batches,
    read_image,
    read_images,
    to_pixels,
)


def _pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    assert image.mode == "RGB"
    return np.asarray(image)


def _halves(size: tuple[int, int] = (4, 2)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image


def _preprocessing(size: int, resize: str) -> Preprocessing:
    return Preprocessing(size, resize, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_rgb_is_read_as_it_is(encode: Any) -> None:
    assert np.array_equal(_pixels(decode(encode(_halves()))), np.asarray(_halves()))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(encode: Any, file_format: str) -> None:
    values = np.array([[0, 256, 1000, 32768, 65535]], dtype=np.uint16)
    pixels = _pixels(decode(encode(Image.fromarray(values), file_format)))
    assert pixels[0, :, 0].tolist() == [0, 1, 4, 128, 255]
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_a_dark_16_bit_image_stays_dark(encode: Any) -> None:
    values = np.array([[0, 100, 255]], dtype=np.uint16)
    assert _pixels(decode(encode(Image.fromarray(values)))).max() == 1


def test_float_grey_from_0_to_1_uses_the_whole_range(encode: Any) -> None:
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert _pixels(decode(encode(Image.fromarray(values), "TIFF")))[0, :, 1].tolist() == [0, 128, 255]


def test_cmyk_becomes_rgb(encode: Any) -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red_value, green, blue = _pixels(decode(encode(red, "JPEG", quality=95)))[4, 4].tolist()
    assert red_value > 240
    assert max(green, blue) < 15


def test_a_palette_is_looked_up(encode: Any) -> None:
    image = _halves().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    assert np.array_equal(_pixels(decode(encode(image))), np.asarray(_halves()))


def test_grey_is_repeated_over_the_channels(encode: Any) -> None:
    assert _pixels(decode(encode(Image.new("L", (1, 1), 77))))[0, 0].tolist() == [77, 77, 77]


def test_1_bit_becomes_black_and_white(encode: Any) -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert _pixels(decode(encode(image)))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(encode: Any, mode: str) -> None:
    image = Image.new(mode, (1, 1), (10, 20, 30, 0) if mode == "RGBA" else (10, 0))
    assert _pixels(decode(encode(image)))[0, 0].tolist() == [255, 255, 255]


def test_half_transparent_black_becomes_grey(encode: Any) -> None:
    value = _pixels(decode(encode(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))))[0, 0, 0]
    assert abs(int(value) - 127) <= 1


def test_a_transparent_palette_entry_becomes_white(encode: Any) -> None:
    image = Image.new("P", (1, 1), 0)
    image.putpalette([0, 0, 0])
    assert _pixels(decode(encode(image, transparency=0)))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("clear", [0, 1])
def test_the_grey_that_means_transparent_becomes_white_at_any_depth(bits: int, clear: int) -> None:
    """One row of all samples from 0 up to the largest; `clear` is one of them, as the file numbers it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    most = 2**bits - 1
    row = np.packbits(np.arange(most + 1)[:, None] >> np.arange(bits)[::-1] & 1).tobytes()
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", most + 1, 1, bits, 0, 0, 0, 0)),
        chunk(b"tRNS", struct.pack(">H", clear)),
        chunk(b"IDAT", zlib.compress(b"\0" + row)),
        chunk(b"IEND", b""),
    ]
    wanted = [255 if sample == clear else sample * 255 // most for sample in range(most + 1)]
    assert _pixels(decode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)))[0, :, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("orientation", "transpose"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_270),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_exif_rotation_is_applied(encode: Any, orientation: int, transpose: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = _pixels(decode(encode(_halves(), exif=exif)))
    assert np.array_equal(upright, np.asarray(_halves().transpose(transpose)))


def test_the_first_frame_of_an_animation_is_read(encode: Any) -> None:
    red, blue = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "blue")
    pixels = _pixels(decode(encode(red, "GIF", save_all=True, append_images=[blue])))
    assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_a_single_pixel_fills_the_input(resize: str) -> None:
    pixels = to_pixels(Image.new("RGB", (1, 1), (1, 2, 3)), _preprocessing(8, resize))
    assert torch.equal(pixels, torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8))


def test_crop_keeps_the_middle() -> None:
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (4, 0, 12, 8))
    assert to_pixels(image, _preprocessing(8, "crop")).min() == 255


def test_stretch_keeps_the_sides() -> None:
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (4, 0, 12, 8))
    row = to_pixels(image, _preprocessing(8, "stretch"))[0, 4]
    assert row[0] == 0
    assert row[-1] == 0
    assert row[4] == 255


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (40, 3)])
def test_pixels_have_the_wanted_shape(resize: str, size: tuple[int, int]) -> None:
    pixels = to_pixels(_halves(size), _preprocessing(8, resize))
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()


def test_an_image_of_the_wanted_size_is_not_touched() -> None:
    image = _halves((8, 8))
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    for resize in ("crop", "stretch"):
        assert torch.equal(to_pixels(image, _preprocessing(8, resize)), expected)


def test_normalise_is_the_formula_by_hand() -> None:
    preprocessing = Preprocessing(2, "crop", (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    images = torch.rand(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = preprocessing.normalise(images)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 2.0)]):
        torch.testing.assert_close(result[:, channel], (images[:, channel] - mean) / std)


def test_network_input_is_scaled_to_1_and_normalised() -> None:
    preprocessing = Preprocessing(1, "crop", (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    result = preprocessing.network_input(pixels, torch.device("cpu"))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.flatten(), torch.tensor([-2.0, 1.0, -0.3]))


@pytest.mark.parametrize(("device", "already", "pinned"), [("cpu", False, 0), ("cuda", False, 1), ("cuda", True, 0)])
def test_only_a_gpu_gets_pinned_memory_and_nobody_waits_for_the_copy(device: str, already: bool, pinned: int) -> None:
    calls: list[object] = []

    class Pixels:
        def is_pinned(self) -> bool:
            return already

        def pin_memory(self) -> Pixels:
            calls.append("pinned")
            return self

        def to(self, where: torch.device, *, non_blocking: bool) -> torch.Tensor:
            calls.append((where.type, non_blocking))
            return torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)

    made = _preprocessing(2, "crop").network_input(Pixels(), torch.device(device))  # type: ignore[arg-type]
    assert torch.equal(made, torch.ones(1, 3, 2, 2))
    assert calls == ["pinned"] * pinned + [(device, True)]


def test_a_readable_image_carries_the_hash_of_its_file(
    add_image: Any, as_file: Any, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    path = add_image(tmp_path / "a.png")
    item = read_image(as_file(path), preprocessing)
    assert isinstance(item, Decoded)
    assert item.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_truncated_image_is_skipped_with_a_reason(
    encode: Any, add_image: Any, as_file: Any, preprocessing: Preprocessing, tmp_path: Path, file_format: str
) -> None:
    rng = np.random.default_rng(0)
    data = encode(Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)), file_format)
    path = add_image(tmp_path / "cut.png", data[: len(data) // 2])
    item = read_image(as_file(path), preprocessing)
    assert isinstance(item, Skipped)
    assert item.path == "cut.png"
    assert item.reason
    assert str(tmp_path) not in item.reason
    assert "0x" not in item.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"not an image at all", "not an image that Pillow can read")],
)
def test_what_is_no_image_is_skipped_with_the_reason(
    add_image: Any, as_file: Any, preprocessing: Preprocessing, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = add_image(tmp_path / "a.png", content)
    assert read_image(as_file(path), preprocessing) == Skipped("a.png", reason)


def test_a_missing_file_is_skipped_with_the_reason(as_file: Any, preprocessing: Preprocessing, tmp_path: Path) -> None:
    assert read_image(as_file(tmp_path / "gone.png"), preprocessing) == Skipped("gone.png", "No such file or directory")


def test_describe_leaves_out_the_path_and_further_lines() -> None:
    assert describe(ValueError("/a/b.png is odd\nmore"), Path("/a/b.png")) == "is odd"
    assert describe(ValueError(), Path("a")) == "ValueError"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_images_come_in_order_with_and_without_workers(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing, workers: int
) -> None:
    folder = make_folder("site", {"cat": 30})
    add_image(folder / "cat" / "07.png", b"")
    (domain,) = find_domains([folder])
    items = list(read_images(domain.files, preprocessing, workers=workers))
    names = [item.path if isinstance(item, Skipped) else item.file.relative for item in items]
    assert names == [file.relative for file in domain.files]
    assert [number for number, item in enumerate(items) if isinstance(item, Skipped)] == [7]


def test_workers_do_not_change_the_pixels(make_folder: Any, preprocessing: Preprocessing) -> None:
    (domain,) = find_domains([make_folder("site", {"cat": 5})])
    alone = list(read_images(domain.files, preprocessing, workers=0))
    threaded = list(read_images(domain.files, preprocessing, workers=2))
    for one, other in zip(alone, threaded, strict=True):
        assert isinstance(one, Decoded)
        assert isinstance(other, Decoded)
        assert torch.equal(one.pixels, other.pixels)


def test_reading_runs_only_a_bounded_number_of_images_ahead(make_folder: Any, preprocessing: Preprocessing) -> None:
    (domain,) = find_domains([make_folder("site", {"cat": 40})])
    asked: list[str] = []

    def watched() -> Any:
        for file in domain.files:
            asked.append(file.relative)
            yield file

    images = read_images(watched(), preprocessing, workers=2)
    next(images)
    assert len(asked) == 16
    images.close()  # type: ignore[attr-defined]
    assert len(asked) == 16


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_filled_from_the_images_that_follow(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing, workers: int
) -> None:
    folder = make_folder("site", {"cat": 6})
    add_image(folder / "cat" / "01.png", b"")
    (domain,) = find_domains([folder])
    skipped: list[Skipped] = []
    batches = list(read_batches(domain.files, preprocessing, batch_size=2, workers=workers, skipped=skipped))
    assert [[file.path.stem for file in batch.files] for batch in batches] == [["00", "02"], ["03", "04"], ["05"]]
    assert [tuple(batch.pixels.shape) for batch in batches] == [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]
    assert skipped == [Skipped("cat/01.png", "the file is empty")]


def test_batches_hold_the_pixels_of_their_files(make_folder: Any, preprocessing: Preprocessing) -> None:
    (domain,) = find_domains([make_folder("site", {"cat": 3})])
    (batch,) = read_batches(domain.files, preprocessing, batch_size=8, workers=0, skipped=[])
    for file, pixels in zip(batch.files, batch.pixels, strict=True):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(Image.open(file.path)))


def test_no_readable_image_gives_no_batch(
    add_image: Any, as_file: Any, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    skipped: list[Skipped] = []
    file = as_file(add_image(tmp_path / "a.png", b""))
    assert list(read_batches([file], preprocessing, batch_size=2, workers=0, skipped=skipped)) == []
    assert len(skipped) == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_an_image_without_a_visible_pixel_is_skipped_with_the_reason(
    encode: Any, add_image: Any, as_file: Any, preprocessing: Preprocessing, tmp_path: Path, mode: str
) -> None:
    image, options = Image.new(mode, (9, 9)), {}
    if mode == "P":
        image.putpalette([9, 9, 9])
        options = {"transparency": 0}
    if mode == "RGB":
        options = {"transparency": (0, 0, 0)}
    path = add_image(tmp_path / "a.png", encode(image, **options))
    reason = "wholly transparent: no pixel of it is visible"
    assert read_image(as_file(path), preprocessing) == Skipped("a.png", reason)


def test_one_visible_pixel_is_enough(
    encode: Any, add_image: Any, as_file: Any, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    image = Image.new("RGBA", (9, 600))
    image.putpixel((4, 500), (1, 2, 3, 255))
    assert isinstance(read_image(as_file(add_image(tmp_path / "a.png", encode(image))), preprocessing), Decoded)
