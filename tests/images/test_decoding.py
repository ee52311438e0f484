"""Files that are made to do harm, or happen to: what is read of them, and why the others are skipped."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from gformer_cli.data.check import check_folders
from gformer_cli.folders.domains import Domain, ImageFiles
from gformer_cli.images import decoding, opening
from gformer_cli.images.budget import Budget
from gformer_cli.images.colour import to_rgb
from gformer_cli.images.decoding import Skipped, attempt, decode, decode_to, read_bytes
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image, to_pixels

GRADIENT = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)


def announce(width: int, height: int) -> bytes:
    """A PNG of 60 bytes that says it is of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def reason(path: Path, as_file: Any) -> str:
    item = read_image(as_file(path), Preprocessing(8, "crop", (0.5,) * 3, (0.5,) * 3))
    assert isinstance(item, Skipped)
    return item.reason


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 80 x 60 are over the limit; those of 40 x 30 are half of it."""
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 2400)
    monkeypatch.setattr(decoding, "JPEG_LIMIT", 4800)


@pytest.fixture
def no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding pixels fails the test; reading headers does not."""

    def load(_: object) -> None:
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


# --- size


@pytest.mark.parametrize("size", [(20_000, 20_000), (200_000_001, 1), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.usefixtures("no_pixels")
@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_by_its_header(add_image: Any, as_file: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    assert "more than 200 million pixels" in reason(add_image(tmp_path / "a.png", announce(*size)), as_file)


@pytest.mark.parametrize("size", [(11_648, 8_736), (14_204, 10_652), (16_320, 12_240)])
@pytest.mark.filterwarnings("error")
def test_the_largest_cameras_are_within_the_limit(
    add_image: Any, as_file: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Medium format of 102 and 151 megapixels, a telephone of 200: decoding begins, and finds that nothing follows."""
    assert "pixels" not in reason(add_image(tmp_path / "a.png", announce(*size)), as_file)


@pytest.mark.usefixtures("small_limits")
def test_a_jpeg_beyond_the_limit_is_decoded_at_half_its_size(encode: Any) -> None:
    data = encode(Image.fromarray(GRADIENT), "JPEG", quality=95)
    image = decode(data)
    assert image.size == (40, 30)
    whole = Image.fromarray(GRADIENT).convert("RGB")
    half = Preprocessing(8, "crop", (0.5,) * 3, (0.5,) * 3)
    assert (to_pixels(image, half).int() - to_pixels(whole, half).int()).abs().max() <= 2


@pytest.mark.parametrize(
    ("side", "size"), [(None, (640, 480)), (240, (640, 480)), (120, (320, 240)), (60, (160, 120)), (8, (80, 60))]
)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_decoded_no_larger_than_is_needed(
    encode: Any, side: int | None, size: tuple[int, int], progressive: bool
) -> None:
    data = encode(Image.fromarray(GRADIENT).resize((640, 480)), "JPEG", progressive=progressive)
    assert decode(data, side=side).size == size


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_jpeg_that_is_decoded_small_looks_as_the_whole_does(
    encode: Any, as_file: Any, tmp_path: Path, add_image: Any, resize: str, turned: int
) -> None:
    photograph = pytest.importorskip("sklearn.datasets").load_sample_image("china.jpg")  # 640 x 427
    exif = Image.Exif()
    exif[0x0112] = turned
    data = encode(Image.fromarray(photograph), "JPEG", quality=90, exif=exif)
    preprocessing = Preprocessing(48, resize, (0.5,) * 3, (0.5,) * 3)
    small = read_image(as_file(add_image(tmp_path / "a.jpg", data)), preprocessing)
    assert isinstance(small, Decoded)
    whole = to_pixels(decode(data), preprocessing)
    difference = (small.pixels.int() - whole.int()).abs()
    assert 0 < difference.max() <= 16 and difference.float().mean() < 2.0


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF", "JPEG2000"])
def test_other_formats_are_decoded_whole(encode: Any, file_format: str) -> None:
    assert decode(encode(Image.fromarray(GRADIENT), file_format), side=4).size == (80, 60)


@pytest.mark.usefixtures("small_limits", "no_pixels")
@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_what_needs_the_whole_in_memory_is_not_halved(encode: Any, options: dict[str, Any]) -> None:
    """A progressive JPEG, and one whose first scan is said to hold one of its three components."""
    data = encode(Image.fromarray(GRADIENT).convert("RGB"), "JPEG", **options)
    if not options:
        place = data.index(b"\xff\xda")
        data = data[:place] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + data[place + 14 :]
    with pytest.raises(ValueError, match="80 x 60 is more than"):
        decode(data)


@pytest.mark.usefixtures("no_pixels")
def test_a_jpeg_beyond_its_own_limit_is_refused(encode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 2400)
    monkeypatch.setattr(decoding, "JPEG_LIMIT", 4799)
    with pytest.raises(ValueError, match="80 x 60 is more than"):
        decode(encode(Image.fromarray(GRADIENT), "JPEG"))


def test_jpeg_2000_is_halved_from_a_quarter_of_the_limit_on(encode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(GRADIENT), "JPEG2000")
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 4 * 4800)
    assert decode(data).size == (80, 60)
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 4 * 4800 - 1)
    assert decode(data).size == (40, 30)
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 4799)
    with pytest.raises(ValueError, match="80 x 60 is more than"):
        decode(data)


def test_webp_has_a_quarter_of_the_limit(encode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(GRADIENT), "WEBP")
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 4 * 4800)
    assert decode(data).size == (80, 60)
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 4 * 4800 - 1)
    with pytest.raises(ValueError, match="80 x 60 is more than"):
        decode(data)


@pytest.mark.slow
def test_400_megapixels_take_half_a_gigabyte(tmp_path: Path) -> None:
    Image.new("RGB", (20_000, 20_000), (10, 200, 30)).save(tmp_path / "a.jpg")
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom gformer_cli.images.decoding import decode\n"
        "data, before = Path(sys.argv[1]).read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(decode(data).size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.jpg"], capture_output=True, text=True, check=True
    )
    size, _, mebibytes = done.stdout.rpartition(" ")
    assert size == "(10000, 10000)" and int(mebibytes) < 600


@pytest.mark.usefixtures("small_limits")
def test_check_tells_which_images_are_read_at_half_size(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    path = add_image(tmp_path / "large.jpg", encode(Image.fromarray(GRADIENT), "JPEG"))
    small = add_image(tmp_path / "small.jpg", encode(Image.fromarray(GRADIENT[:30, :40]), "JPEG"))
    domain = Domain("site", tmp_path, ImageFiles([as_file(path), as_file(small)]), ())
    report = check_folders([domain], workers=0)
    assert report.odd_modes["half size"] == (str(path),)
    assert report.sizes is not None and report.sizes.largest == (80, 60)


def test_a_tall_image_is_converted_as_a_whole_would_be(encode: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 3, 4), dtype=np.uint8)
    clear = Image.fromarray(pixels, "RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    assert np.array_equal(np.asarray(decode(encode(clear))), np.asarray(expected))
    wide = pixels[..., 0].astype(np.uint16) * 257
    assert np.array_equal(np.asarray(decode(encode(Image.fromarray(wide))))[..., 0], pixels[..., 0])


def test_large_images_wait_for_each_other() -> None:
    budget = Budget(10)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.taking(7):
            entered.set()
            leave.wait()

    def follow() -> None:
        with budget.taking(4):
            pass

    first, second = threading.Thread(target=hold), threading.Thread(target=follow)
    first.start()
    entered.wait()
    with budget.taking(3):  # what still fits does not wait
        second.start()
    second.join(0.05)
    assert second.is_alive()
    leave.set()
    second.join(10)
    assert not second.is_alive()
    with budget.taking(10):  # and everything is given back
        first.join(10)


def test_what_an_image_takes_is_granted_to_others_when_it_is_small(encode: Any) -> None:
    """Not when it is decoded: ten images would be in memory at once, waiting to be resized."""
    total = decoding._decoding._left
    left: list[int] = []
    for kind in ("RGB", "RGBA"):
        data = encode(Image.new(kind, (40, 30), "red"))
        assert decode_to(data, lambda image: left.append(decoding._decoding._left) or image.size) == (40, 30)
    assert left == [total - 1200] * 2
    assert decoding._decoding._left == total


def test_files_wait_for_each_other_as_images_do(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Image.fromarray(GRADIENT))
    monkeypatch.setattr(decoding, "_SMALL_FILE", len(data) - 1)
    total = decoding._reading._left
    left = attempt(as_file(add_image(tmp_path / "a.png", data)), lambda _: decoding._reading._left)
    assert left == total - len(data)
    assert decoding._reading._left == total


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "most"), [("RGB", 1000), ("RGBA", 1800)])
def test_ten_images_of_196_megapixels_and_8_workers_stay_within_what_the_documentation_says(
    tmp_path: Path, mode: str, most: int
) -> None:
    Image.new(mode, (14_000, 14_000), "red").save(tmp_path / "0.png", compress_level=1)
    for number in range(1, 10):
        os.link(tmp_path / "0.png", tmp_path / f"{number}.png")
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom gformer_cli.folders.domains import find_domains\n"
        "from gformer_cli.images.preprocessing import Preprocessing, read_images\n"
        "files = find_domains([Path(sys.argv[1])], unlabelled=True)[0].files\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "made = list(read_images(files, Preprocessing(224, 'crop', (0.5,) * 3, (0.5,) * 3), workers=8))\n"
        "print(made[9].pixels.shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    shape, _, mebibytes = done.stdout.rpartition(" ")
    assert shape == "torch.Size([3, 224, 224])" and int(mebibytes) < most


# --- what is no file


def test_a_pipe_is_not_waited_for(as_file: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert reason(tmp_path / "a.png", as_file) == "not a regular file"


def test_what_becomes_a_pipe_on_the_way_is_not_waited_for(
    as_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "a.png")
    monkeypatch.setattr(opening.stat, "S_ISREG", lambda _: True)
    assert reason(tmp_path / "a.png", as_file) == "the file is empty"


def test_devices_sockets_and_folders_are_not_read(as_file: Any, tmp_path: Path) -> None:
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name in ("zero.png", "folder.png", "socket.png"):
            assert reason(tmp_path / name, as_file) == "not a regular file"


def test_links_that_lead_nowhere_are_skipped_with_the_reason(as_file: Any, tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nothing")
    assert reason(tmp_path / "loop.png", as_file) == "Too many levels of symbolic links"
    assert reason(tmp_path / "gone.png", as_file) == "No such file or directory"


@pytest.mark.parametrize(
    ("size", "told"), [(100 << 30, "the file is larger than 2 GiB"), (1 << 30, "not an image that Pillow can read")]
)
def test_a_sparse_file_is_not_read_into_memory(
    as_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, told: str
) -> None:
    path = tmp_path / "a.png"
    path.touch()
    os.truncate(path, size)
    peaks: list[int] = []
    original = io.BufferedReader.read
    real_open = open

    class Watched(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            content = original(self, size)
            peaks.append(len(content))
            return content

    def watched(path: Path, mode: str, opener: Any) -> Any:
        return Watched(real_open(path, mode, opener=opener, buffering=0))

    monkeypatch.setattr(opening, "open", watched, raising=False)
    assert reason(path, as_file) == told
    assert max(peaks, default=0) < 1 << 20


def test_a_large_file_that_is_an_image_is_read_whole(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Image.fromarray(GRADIENT))
    monkeypatch.setattr(decoding, "_LARGE_FILE", 10)
    assert read_bytes(as_file(add_image(tmp_path / "a.png", data))) == data


def test_permission_is_the_reason_where_it_lacks(
    add_image: Any, as_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add_image(tmp_path / "a.png")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(opening.os, "open", refuse)
    assert reason(path, as_file) == "Permission denied"


# --- formats


def test_the_content_tells_the_format_not_the_suffix(encode: Any, add_image: Any, as_file: Any, tmp_path: Path) -> None:
    path = add_image(tmp_path / "a.png", encode(Image.fromarray(GRADIENT), "JPEG"))
    assert isinstance(read_image(as_file(path), Preprocessing(8, "crop", (0.5,) * 3, (0.5,) * 3)), Decoded)


def test_postscript_is_no_image_as_it_would_be_run(add_image: Any, as_file: Any, tmp_path: Path) -> None:
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/tmp/x) (w) file\n"
    assert Image.open(io.BytesIO(text)).format == "EPS"  # Pillow by itself would hand it to Ghostscript
    assert reason(add_image(tmp_path / "a.png", text), as_file) == "not an image that Pillow can read"


@pytest.mark.parametrize("kind", ["AVIF", "MPO", "JPEG2000", "PCX", "SGI"])
def test_what_pillow_reads_safely_is_read(encode: Any, add_image: Any, as_file: Any, tmp_path: Path, kind: str) -> None:
    if kind == "AVIF":
        pytest.importorskip("PIL.AvifImagePlugin")
    path = add_image(tmp_path / "a.png", encode(Image.new("RGB", (16, 16), "red"), kind))
    item = read_image(as_file(path), Preprocessing(8, "crop", (0.5,) * 3, (0.5,) * 3))
    assert isinstance(item, Decoded)
    assert np.abs(item.pixels[:, 4, 4].numpy() - np.array([255, 0, 0])).max() <= 3


def test_exif_that_cannot_be_read_turns_nothing(encode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    assert np.array_equal(np.asarray(decode(encode(Image.fromarray(GRADIENT))))[..., 0], GRADIENT)


def test_a_decoders_own_defect_is_called_damage(add_image: Any, as_file: Any, tmp_path: Path) -> None:
    def work(error: Exception) -> str:
        def fail(_: bytes) -> None:
            raise error

        found = attempt(as_file(add_image(tmp_path / "a.png")), fail)
        assert isinstance(found, Skipped)
        return found.reason

    assert work(IndexError("list index out of range")) == "damaged image (list index out of range)"
    assert work(MemoryError()) == "not enough memory to decode it"
    assert work(OSError("image file is truncated")) == "image file is truncated"


def _whole(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GRADIENT[:20, :20]).convert("RGB").save(stream, kind)
    return stream.getvalue()


WHOLE = {kind: _whole(kind) for kind in ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")}


def _read(data: bytes, folder: Path) -> None:
    path = folder / "a.png"
    path.write_bytes(data)
    item = read_image(decoding.FoundFile(path, "a.png", None), Preprocessing(8, "crop", (0.5,) * 3, (0.5,) * 3))
    if isinstance(item, Decoded):
        assert item.pixels.shape == (3, 8, 8)
    else:
        assert item.reason and "\n" not in item.reason and len(item.reason) < 300


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200), head=st.sampled_from([b"", *(whole[:12] for whole in WHOLE.values())]))
def test_any_bytes_are_read_or_skipped(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    _read(head + data, tmp_path_factory.getbasetemp())


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(WHOLE)), seed=st.integers(0, 2**32), size=st.floats(0.1, 1.0))
def test_any_damage_is_read_or_skipped(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int, size: float
) -> None:
    rng, data = random.Random(seed), bytearray(WHOLE[kind])
    for _ in range(rng.randint(1, 6)):
        data[int(len(data) * rng.random() ** 3)] = rng.randrange(256)
    _read(bytes(data[: int(len(data) * size)]), tmp_path_factory.getbasetemp())


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    resize=st.sampled_from(["crop", "stretch"]),
)
def test_any_mode_and_size_becomes_pixels(mode: str, size: tuple[int, int], resize: str) -> None:
    pixels = to_pixels(to_rgb(Image.new(mode, size)), Preprocessing(8, resize, (0.5,) * 3, (0.5,) * 3))
    assert pixels.shape == (3, 8, 8)
