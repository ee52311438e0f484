"""Files that end early or carry damaged notes are read where every pixel is there, and refused where one is missing."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gformer_cli.images.decoding import decode


def _picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((96, 64), Image.Resampling.BICUBIC)


KINDS: list[dict[str, Any]] = [{}, {"progressive": True}, {"restart_marker_rows": 2}, {"subsampling": 0}]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_marker_is_read_whole(encode: Any, options: dict[str, Any], cut: int) -> None:
    data = encode(_picture(), "JPEG", **options)
    assert np.array_equal(np.asarray(decode(data[:-cut])), np.asarray(decode(data)))


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_a_jpeg_that_lacks_pixels_stays_unreadable(encode: Any, options: dict[str, Any], share: float) -> None:
    data = encode(_picture(), "JPEG", **options)
    for tail in (b"", bytes(5000)):  # a copy that was broken off may be filled up with zeros
        with pytest.raises(OSError, match="truncated"):
            decode(data[: int(len(data) * share)] + tail)


def test_a_progressive_jpeg_that_lacks_its_last_scans_stays_unreadable(encode: Any) -> None:
    data = encode(_picture(), "JPEG", progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    assert len(scans) > 5
    for start in scans[1:]:
        with pytest.raises(OSError, match="truncated"):
            decode(data[:start])


@pytest.mark.parametrize("cut", [3, 100, 1000])
def test_a_jpeg_that_lacks_pixels_stays_unreadable_where_a_small_image_is_wanted(encode: Any, cut: int) -> None:
    """At an eighth of its size nothing is seen of the fine detail that the last scan holds."""
    y, x = np.mgrid[0:240, 0:240]
    waves = 128 + 100 * np.sin(np.stack([y / 60, x / 70, (x + y) / 80], axis=-1))
    data = encode(Image.fromarray(waves.astype(np.uint8)), "JPEG", quality=97, subsampling=0, progressive=True)
    for side in (8, 16, None):
        with pytest.raises(OSError, match="truncated"):
            decode(data[:-cut], side=side)
        assert decode(data[:-2], side=side).width == decode(data, side=side).width


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_plain_grey_and_cmyk_jpegs_may_lack_the_end_marker_too(encode: Any, mode: str) -> None:
    for image in (_picture().convert(mode), Image.new(mode, (64, 64), 128)):
        data = encode(image, "JPEG")
        assert np.array_equal(np.asarray(decode(data[:-2])), np.asarray(decode(data)))


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_jpeg_2000_may_lack_the_end_marker_and_nothing_else(encode: Any, options: dict[str, Any]) -> None:
    data = encode(_picture(), "JPEG2000", **options)
    for cut in (1, 2):
        assert np.array_equal(np.asarray(decode(data[:-cut])), np.asarray(decode(data)))
    for cut in (3, 30, len(data) // 2):
        with pytest.raises(OSError, match="broken"):
            decode(data[:-cut])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_what_follows_an_image_does_not_matter(encode: Any, kind: str) -> None:
    data = encode(_picture(), kind)
    rest = random.Random(0).randbytes(100)
    assert np.array_equal(np.asarray(decode(data + rest)), np.asarray(decode(data)))


@pytest.mark.parametrize("cut", [1, 4, 12])
def test_a_png_may_lack_its_end(encode: Any, cut: int) -> None:
    data = encode(_picture())
    assert np.array_equal(np.asarray(decode(data[:-cut])), np.asarray(decode(data)))


def _spoilt(data: bytes, chunk: bytes) -> bytes:
    """With one byte of that chunk changed, so that its checksum is wrong."""
    place = data.index(chunk) + 5
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("chunk", [b"tEXt", b"iCCP"])
def test_damaged_notes_and_profiles_cost_a_png_nothing(encode: Any, chunk: bytes) -> None:
    notes = PngInfo()
    notes.add_text("Title", "a note")
    data = encode(_picture(), pnginfo=notes, icc_profile=b"no profile at all")
    assert np.array_equal(np.asarray(decode(_spoilt(data, chunk))), np.asarray(_picture()))


def test_a_note_that_is_too_long_for_pillow_costs_a_png_nothing(encode: Any) -> None:
    notes = PngInfo()
    notes.add_text("Title", "a" * (2 << 20), zip=True)
    assert np.array_equal(np.asarray(decode(encode(_picture(), pnginfo=notes))), np.asarray(_picture()))


@pytest.mark.parametrize("chunk", [b"IDAT", b"tRNS", b"PLTE", b"IHDR"])
def test_a_png_whose_pixels_may_be_damaged_stays_unreadable(encode: Any, chunk: bytes) -> None:
    data = encode(_picture().convert("P"), transparency=0)
    with pytest.raises((OSError, SyntaxError)):
        decode(_spoilt(data, chunk))


def test_a_gif_may_lack_its_trailer(encode: Any) -> None:
    data = encode(_picture().convert("P"), "GIF")
    assert np.array_equal(np.asarray(decode(data[:-1])), np.asarray(decode(data)))


def test_check_reads_what_training_reads(encode: Any, add_image: Any, as_file: Any, tmp_path: Path) -> None:
    from gformer_cli.data.check import check_folders
    from gformer_cli.folders.domains import Domain, ImageFiles

    data = encode(_picture(), "JPEG")
    files = [add_image(tmp_path / "whole.jpg", data[:-2]), add_image(tmp_path / "half.jpg", data[: len(data) // 2])]
    report = check_folders([Domain("site", tmp_path, ImageFiles(map(as_file, files)), ())], workers=0)
    assert [Path(item.path).name for item in report.unreadable] == ["half.jpg"]
