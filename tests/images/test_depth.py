"""Samples of more than 8 bits: what is black and white in them, by file, by folder, by training, and by the user."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gformer_cli.data.check import check_folders
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.images.decoding import decode
from gformer_cli.images.depth import Depth, Levels, Reach, choose, reach
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image

Array = NDArray[Any]
Read = Callable[..., tuple[list[Array], Depth]]
SIZE = 16
RAMP = np.add.outer(np.arange(SIZE) * SIZE, np.arange(SIZE)) / 255.0
"""Every share of white from 0 to 1 in steps of 1/255: 8 bits of it are 0 to 255."""
WANTED = (RAMP * 255).round().astype(np.uint8)


def grey(top: float, dtype: Any = np.uint16) -> Array:
    return (RAMP * top).round().astype(dtype) if np.issubdtype(dtype, np.integer) else (RAMP * top).astype(dtype)


def colour(top: float, *others: float) -> Array:
    return np.stack([grey(top)] * 3 + [np.full((SIZE, SIZE), other, np.uint16) for other in others], axis=-1)


def png(samples: Array, transparent: bytes = b"") -> bytes:
    """A 16-bit PNG; Pillow writes no colours and no alpha of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    kind = {2: 0, 3: {2: 4, 3: 2, 4: 6}.get(samples.shape[-1], 0)}[samples.ndim]
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    marked = chunk(b"tRNS", transparent) if transparent else b""
    parts = [chunk(b"IHDR", header), marked, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def netpbm(samples: Array, most: int) -> bytes:
    kind = b"P5" if samples.ndim == 2 else b"P6"
    return kind + b"\n%d %d\n%d\n" % (SIZE, SIZE, most) + samples.astype(">u2").tobytes()


def tiff(samples: Array, *, order: str = "<", photometric: int | None = None, packed: bool = False) -> bytes:
    """With any type of samples, in either order, and compressed: more than Pillow writes."""
    if photometric is None:
        photometric = 1 if samples.ndim == 2 else 2
    count = 1 if samples.ndim == 2 else samples.shape[2]
    content = samples.astype(samples.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    content = zlib.compress(content) if packed else content
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [SIZE]),
        257: ("I", [SIZE]),
        258: ("H", [samples.dtype.itemsize * 8] * count),
        259: ("H", [8 if packed else 1]),
        262: ("H", [photometric]),
        273: ("I", [0]),
        277: ("H", [count]),
        278: ("I", [SIZE]),
        279: ("I", [len(content)]),
        339: ("H", [kind] * count),
    }
    start, outside = 8 + 2 + 12 * len(tags) + 4, sum(2 * count for _, (_, v) in tags.items() if len(v) > 2)
    tags[273] = ("I", [start + outside])
    entries, rest = b"", b""
    for tag, (letter, values) in tags.items():
        packed_values = struct.pack(order + letter * len(values), *values)
        if len(packed_values) > 4:
            field, rest = struct.pack(order + "I", start + len(rest)), rest + packed_values
        else:
            field = packed_values.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[letter], len(values)) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + rest + content


@pytest.fixture
def read(add_image: Any, as_file: Any, tmp_path: Path) -> Read:
    """`read(contents, ...)`: a folder of such files as the commands read it: pixels (S, S, 3), and its levels."""

    def reading(contents: Sequence[bytes], depth: Depth | None = None, name: str = "site") -> tuple[list[Array], Depth]:
        paths = [add_image(tmp_path / name / f"{number:03d}.png", data) for number, data in enumerate(contents)]
        files = tuple(as_file(path) for path in paths)
        plain = Preprocessing(SIZE, "stretch", (0.5,) * 3, (0.5,) * 3, depth or Depth())
        preprocessing = plain.among([Domain(name, tmp_path / name, ImageFiles(files), ())])
        items = [read_image(file, preprocessing) for file in files]
        assert all(isinstance(item, Decoded) for item in items), items
        return [
            item.pixels.permute(1, 2, 0).numpy() for item in items if isinstance(item, Decoded)
        ], preprocessing.depth

    return reading


# --- kinds of files


DEEP = {
    "16 bits": png(grey(65535)),
    "14 bits": png(grey(16383)),
    "12 bits": png(grey(4095)),
    "10 bits": png(grey(1023)),
    "8 bits in 16": png(grey(255)),
    "colour": png(colour(65535)),
    "colour of 12 bits": png(colour(4095)),
    "grey and alpha": png(np.stack([grey(4095), np.full_like(grey(1), 65535)], axis=-1)),
    "colour and alpha": png(colour(4095, 65535)),
    "PGM": netpbm(grey(65535), 65535),
    "PGM of 12 bits that says so": netpbm(grey(4095), 4095),
    "PGM of 12 bits that does not": netpbm(grey(4095), 65535),
    "PPM of 12 bits that says so": netpbm(colour(4095), 4095),
    "PPM of 12 bits that does not": netpbm(colour(4095), 65535),
    "TIFF colour": tiff(colour(4095)),
    "TIFF colour, other order": tiff(colour(4095), order=">"),
    "TIFF colour, compressed": tiff(colour(4095), packed=True),
}
for _order in "<>":
    for _packed in (False, True):
        for _dtype, _top in (
            (np.uint16, 65535),
            (np.uint16, 4095),
            (np.int16, 32767),
            (np.int16, 4095),
            (np.uint32, 2**32 - 1),
            (np.uint32, 65535),
            (np.int32, 4095),
            (np.float32, 1),
            (np.float32, 255),
            (np.float32, 65535),
            (np.float64, 1),
        ):
            _name = f"TIFF {np.dtype(_dtype).name} to {_top}, {_order}{', compressed' if _packed else ''}"
            DEEP[_name] = tiff(grey(_top, _dtype), order=_order, packed=_packed)


@pytest.mark.parametrize("name", DEEP)
def test_deep_images_use_the_whole_range_of_8_bits(read: Read, name: str) -> None:
    for pixels in read([DEEP[name]] * 2)[0]:
        assert np.abs(pixels.astype(int) - WANTED[..., None]).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_where_white_is_zero_the_picture_is_no_negative(read: Read, dtype: Any, order: str) -> None:
    top = {"u1": 255, "u2": 4095, "i2": 4095, "u4": 65535, "f4": 1}[np.dtype(dtype).str[1:]]
    (pixels,), _ = read([tiff(grey(top, dtype), order=order, photometric=0)])
    assert np.abs(pixels.astype(int) - (255 - WANTED[..., None].astype(int))).max() <= 1


@pytest.mark.parametrize(("top", "most"), [(65535, 65535), (4095, 65535), (900, 65535), (4095, 4095)])
def test_the_same_picture_looks_the_same_in_every_format(read: Read, encode: Any, top: int, most: int) -> None:
    samples = grey(top)
    files = [png(samples), netpbm(samples, most), tiff(samples), tiff(samples, order=">"), tiff(samples.astype("i4"))]
    files += [encode(Image.fromarray(samples), "TIFF", compression="tiff_lzw")]
    found = [read([data], name=f"site-{number}")[0][0] for number, data in enumerate(files)]
    for other in found[1:]:
        assert np.abs(other.astype(int) - found[0].astype(int)).max() <= 1


def test_planes_of_16_bits_are_read_as_such(read: Read) -> None:
    whole = bytearray(tiff(colour(65535)))
    place = whole.index(
        struct.pack("<HHI", 339, 3, 3)
    )  # the tag that tells unsigned from signed becomes that of planes
    whole[place : place + 12] = struct.pack("<HHIHH", 284, 3, 1, 2, 0)
    # three strips now, all of the same plane: where the first lies, and how long it is, is told for each
    data = bytes(whole)
    planes = struct.pack("<III", *[len(data) - 6 * SIZE * SIZE] * 3) + struct.pack("<III", *[2 * SIZE * SIZE] * 3)
    body = data[: len(data) - 6 * SIZE * SIZE] + grey(65535).tobytes() + planes
    for tag, offset in ((273, len(body) - 24), (279, len(body) - 12)):
        place = body.index(struct.pack("<HHI", tag, 4, 1))
        body = body[:place] + struct.pack("<HHII", tag, 4, 3, offset) + body[place + 12 :]
    (pixels,), _ = read([body])
    assert np.abs(pixels.astype(int) - WANTED[..., None]).max() <= 1


def test_the_sample_that_means_transparent_becomes_white_at_16_bits_too(read: Read) -> None:
    for data in (png(grey(65535), struct.pack(">H", 0)), png(colour(65535), struct.pack(">HHH", 0, 0, 0))):
        (pixels,), _ = read([data])
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[0, 1].tolist() == [1, 1, 1]


# --- stray pixels


@pytest.mark.parametrize("stray", [1.02, 3.0, 1e30, np.nan, np.inf, -np.inf])
def test_one_pixel_does_not_turn_a_float_image_black(read: Read, stray: float) -> None:
    samples = grey(1, np.float32)
    samples[3, 3] = stray
    (pixels,), _ = read([tiff(samples)])
    pixels[3, 3] = WANTED[3, 3]
    assert np.abs(pixels.astype(int) - WANTED[..., None]).max() <= 1
    alone = np.array(decode(tiff(samples)))
    alone[3, 3] = WANTED[3, 3]
    assert np.abs(alone.astype(int) - WANTED[..., None]).max() <= 1


def test_a_hot_pixel_does_not_turn_a_12_bit_folder_black(read: Read) -> None:
    samples = grey(4095)
    samples[3, 3] = 65535
    for pixels in read([png(samples)] * 3)[0]:
        assert pixels[3, 3].tolist() == [255, 255, 255]
        assert pixels[3, 4].tolist() == [WANTED[3, 4]] * 3


def test_a_dark_image_stays_dark_beside_the_others_of_its_folder(read: Read) -> None:
    bright, dark = read([png(grey(4095)), png(grey(4095) // 16)])[0]
    assert bright.max() == 255 and dark.max() == 16


def test_one_odd_image_of_many_does_not_darken_the_folder(read: Read) -> None:
    found = read([png(grey(4095))] * 10 + [png(grey(65535))])[0]
    assert all(np.array_equal(pixels[..., 0], WANTED) for pixels in found[:10])


def test_no_number_is_black_and_infinity_is_white(read: Read) -> None:
    samples = grey(1, np.float32)
    samples[0, :3] = [np.nan, np.inf, -np.inf]
    (pixels,), _ = read([tiff(samples)])
    assert pixels[0, :3, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("value", [0, 3000, 65535])
def test_constant_images_are_read(read: Read, value: int) -> None:
    (pixels,), _ = read([png(np.full((SIZE, SIZE), value, np.uint16))])
    assert len(np.unique(pixels)) == 1


@pytest.mark.parametrize(("dtype", "top"), [(np.float32, 1.0), (np.int16, 32767), (np.int32, 65535)])
def test_a_range_on_both_sides_of_zero_keeps_its_lower_half(read: Read, dtype: Any, top: float) -> None:
    (pixels,), _ = read([tiff((RAMP * 2 * top - top).astype(dtype))])
    assert np.abs(pixels.astype(int) - WANTED[..., None]).max() <= 1


def test_noise_around_black_is_no_such_range(read: Read) -> None:
    samples = grey(1, np.float32)
    samples[:2] = np.where(np.arange(2 * SIZE).reshape(2, SIZE) % 2, 0.02, -0.02)
    _, depth = read([tiff(samples)])
    assert depth.common() == {"float": Levels(0.0, 1.0)}


# --- who decides


def test_what_the_user_says_goes_for_every_deep_image_and_no_other(read: Read, encode: Any) -> None:
    shallow = encode(Image.fromarray(WANTED))
    deep, same = read([png(grey(4095)), shallow], Depth(16380.0))[0]
    assert np.abs(deep.astype(int) * 4 - WANTED[..., None]).max() <= 4
    assert np.array_equal(same[..., 0], WANTED)


def test_a_file_that_says_what_is_white_is_believed(read: Read) -> None:
    (pixels,), _ = read([netpbm(grey(1000), 1000)], Depth(65535.0))
    assert np.abs(pixels.astype(int) - WANTED[..., None]).max() <= 1


def test_a_folder_is_read_as_training_was_unless_it_goes_beyond(read: Read) -> None:
    trained: dict[Any, Levels] = {"integer": Levels(0.0, 4095.0)}
    (dark,), depth = read([png(grey(1000))], Depth(known=trained), "dark")
    assert dark.max() == 62
    assert depth.told() == ["images with integer samples of more than 8 bits: white is 4095 as in training"]
    (bright,), depth = read([png(grey(65535))], Depth(known=trained), "bright")
    assert np.array_equal(bright[..., 0], WANTED)
    assert depth.told() == ["images with integer samples of more than 8 bits: white is 65535"]


def test_without_a_folder_an_image_is_read_as_training_was_or_by_its_whole_range(
    as_file: Any, add_image: Any, tmp_path: Path
) -> None:
    file = as_file(add_image(tmp_path / "a.png", png(grey(4095))))
    for known, most in (({}, 16), ({"integer": Levels(0.0, 4095.0)}, 255)):
        depth = Depth(known=known)  # type: ignore[arg-type]
        item = read_image(file, Preprocessing(SIZE, "stretch", (0.5,) * 3, (0.5,) * 3, depth))
        assert isinstance(item, Decoded) and item.pixels.max() == most
        assert len(depth.news()) == 1 and depth.news() == []


def test_folders_decide_for_themselves_and_a_bundle_keeps_what_they_agree_on(
    add_image: Any, as_file: Any, tmp_path: Path
) -> None:
    domains = []
    for name, top in (("a", 4095), ("b", 65535)):
        file = as_file(add_image(tmp_path / name / "0.png", png(grey(top))))
        real = as_file(add_image(tmp_path / name / "1.png", tiff(grey(1, np.float32))))
        domains.append(Domain(name, tmp_path / name, ImageFiles([file, real]), ()))
    preprocessing = Preprocessing(SIZE, "stretch", (0.5,) * 3, (0.5,) * 3).among(domains)
    for domain in domains:
        for file in domain.files:
            item = read_image(file, preprocessing)
            assert isinstance(item, Decoded) and item.pixels.max() == 255
    assert preprocessing.depth.common() == {"float": Levels(0.0, 1.0)}
    assert preprocessing.depth.found() == {
        "a": {"integer": [0.0, 4095.0], "float": [0.0, 1.0]},
        "b": {"integer": [0.0, 65535.0], "float": [0.0, 1.0]},
    }
    assert preprocessing.depth.told() == [
        "images with integer samples of more than 8 bits: white is 4095 in a, 65535 in b",
        "images with float samples of more than 8 bits: white is 1",
    ]


def test_folders_of_8_bit_images_are_not_looked_into(read: Read, encode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_: ImageFile) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("gformer_cli.images.preprocessing.look_at_samples", look)
    (pixels,), depth = read([encode(Image.fromarray(WANTED))])
    assert np.array_equal(pixels[..., 0], WANTED) and depth.told() == [] and depth.common() == {}


def test_the_choice_does_not_depend_on_the_order_of_reading(add_image: Any, as_file: Any, tmp_path: Path) -> None:
    tops = [200] * 20 + [3000] * 20 + [60000] * 20
    files = [as_file(add_image(tmp_path / f"{n}.png", png(grey(top)))) for n, top in enumerate(tops)]
    found = []
    for order in (files, files[::-1]):
        depth = (
            Preprocessing(SIZE, "crop", (0.5,) * 3, (0.5,) * 3)
            .among([Domain("s", tmp_path, ImageFiles(order), ())])
            .depth
        )
        depth.of(order[0].path, "integer")
        found.append(depth.common())
    assert found[0] == found[1] != {}


def test_reach_passes_over_a_thousandth_and_what_is_no_number() -> None:
    values = np.concatenate([np.full(10_000, 5.0), np.full(9, 1e9), np.full(9, -1e9), [np.nan, np.inf]])
    assert reach(values, 65535.0) == Reach(5.0, 5.0, 65535.0)
    assert reach(np.array([np.nan]), 1.0) == Reach(0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("high", "white"),
    [(200, 255), (280, 255), (300, 1023), (1023, 1023), (4200, 4095), (5000, 16383), (20000, 65535), (65535, 65535)],
)
def test_the_least_standard_white_that_holds_the_samples_is_chosen(high: float, white: float) -> None:
    assert choose("integer", [Reach(0.0, high, 65535.0)]) == Levels(0.0, white)


@pytest.mark.parametrize(("high", "white"), [(0.3, 1), (1.9, 1), (2.1, 255), (270, 255), (900, 1023), (1e9, 65535)])
def test_the_same_for_floats(high: float, white: float) -> None:
    assert choose("float", [Reach(0.0, high, float("inf"))]) == Levels(0.0, white)


def test_nothing_but_black_decides_nothing() -> None:
    assert choose("integer", [Reach(0.0, 0.0, 65535.0)]) is None
    assert choose("integer", []) is None


# --- data check


def test_check_warns_of_pictures_that_come_out_nearly_black_or_white(
    add_image: Any, as_file: Any, encode: Any, tmp_path: Path
) -> None:
    contents = {
        "deep": png(grey(4095)),
        "good": encode(Image.fromarray(WANTED)),
        "black": encode(Image.fromarray(WANTED // 64)),
        "white": encode(Image.new("RGB", (SIZE, SIZE), "white")),
    }
    files = tuple(as_file(add_image(tmp_path / f"{name}.png", data)) for name, data in contents.items())
    domain = Domain("site", tmp_path, ImageFiles(files), ())
    report = check_folders([domain], workers=0)
    assert [Path(path).stem for path in report.nearly_black] == ["black"]
    assert [Path(path).stem for path in report.nearly_white] == ["white"]
    assert report.levels == {"site": {"integer": [0.0, 4095.0]}}
    assert report.ok
    dark = check_folders([domain], workers=0, white_level=1e6)
    assert [Path(path).stem for path in dark.nearly_black] == ["deep", "black"]
    bright = check_folders([domain], workers=0, white_level=1.0)
    assert [Path(path).stem for path in bright.nearly_white] == ["deep", "white"]


# --- files that are cut off


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("cut", range(1, 14))
def test_a_float_tiff_that_lacks_the_end_of_its_directory_is_not_taken_for_integers(order: str, cut: int) -> None:
    """The directory comes last, and in it the tag that tells that samples are floats."""
    whole = tiff(grey(1, np.float32), order=order)
    (count,) = struct.unpack_from(order + "H", whole, 8)
    directory = whole[8 : 10 + 12 * count]
    moved = whole[:4] + struct.pack(order + "I", len(whole)) + whole[8:] + directory
    assert np.array_equal(np.asarray(decode(moved)), np.asarray(decode(whole)))
    with pytest.raises(OSError, match="truncated"):
        decode(moved[:-cut])


def test_a_remark_of_a_tiff_may_be_lost() -> None:
    whole = tiff(grey(1, np.float32))
    (count,) = struct.unpack_from("<H", whole, 8)
    remark = struct.pack("<HHII", 37500, 7, 100, len(whole) + 8)
    directory = struct.pack("<H", count + 1) + whole[10 : 10 + 12 * count] + remark + bytes(4)
    moved = whole[:4] + struct.pack("<I", len(whole)) + whole[8:] + directory
    assert np.array_equal(np.asarray(decode(moved)), np.asarray(decode(whole)))
