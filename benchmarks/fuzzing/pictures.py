"""Image files whose pixels are known, because the bytes are put together here or by a codec that loses nothing."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from fuzzing.encoders import packed, png, tiff

Pixels = NDArray[np.uint8]
Samples = NDArray[np.uint16]


@dataclass(frozen=True)
class Picture:
    """An encoded image, and what it shows."""

    name: str
    """How it is stored."""
    suffix: str
    data: bytes
    pixels: Pixels
    """(H, W, 3), upright, on white."""
    tolerance: float = 0.0
    """By which levels may differ on average; 0 asks for equal pixels."""
    sniffed: bool = True
    """Whether the first bytes tell what it is."""
    cuts: bool = True
    """Whether a part of the file is seen to be one."""


# --- pixels


def _size(rng: random.Random) -> tuple[int, int]:
    """Height and width: mostly small, some of one pixel, long and thin, or larger."""
    kind = rng.random()
    if kind < 0.1:
        return 1, 1
    if kind < 0.2:
        return (1, rng.randint(60, 900)) if rng.random() < 0.5 else (rng.randint(60, 900), 1)
    if kind < 0.25:
        return rng.randint(200, 420), rng.randint(200, 420)
    if kind < 0.5:
        return 8, 8
    return rng.randint(2, 40), rng.randint(2, 40)


def _noise(rng: random.Random, shape: tuple[int, ...]) -> Pixels:
    return np.frombuffer(rng.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)


def _smooth(rng: random.Random, height: int, width: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(rng.random() * 6 + y / 90 * rng.random() + x / 90 * rng.random()) for _ in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def _grey(values: NDArray[Any]) -> Pixels:
    return np.repeat(values[..., None], 3, axis=-1).astype(np.uint8)


def _scaled(samples: NDArray[Any], most: float) -> Pixels:
    return (samples.astype(np.float64) / most * 255).round().clip(0, 255).astype(np.uint8)


def _deep(rng: random.Random, shape: tuple[int, ...], white: int) -> Samples:
    """Samples up to `white`, which enough of them reach for it to be found."""
    values = np.frombuffer(rng.randbytes(2 * int(np.prod(shape))), np.uint16).reshape(shape) & white
    flat = values.reshape(shape[0] * shape[1], -1).copy()
    flat[: max(5, len(flat) // 100)] = white
    return flat.reshape(shape).astype(np.uint16)


def _halves(white: int, planes: int) -> float:
    """Of colours that use the whole range the higher bytes are taken: a level less at times."""
    return 0.5 if white == 65535 and planes > 1 else 0.0


def _on_white(colour: Pixels, alpha: Pixels) -> Pixels:
    return np.where(alpha[..., None] > 0, colour, 255).astype(np.uint8)


# --- PNG


def _pngs(rng: random.Random) -> Picture:
    height, width = _size(rng)
    bits = rng.choice((1, 2, 4, 8))
    most = (1 << bits) - 1
    colour = rng.choice((0, 2, 3, 4, 6)) if bits == 8 else rng.choice((0, 3))
    name = f"PNG {bits} bits, colour type {colour}"
    if colour in (0, 3):
        values = _noise(rng, (height, width)) & most
        if colour == 0 and rng.random() < 0.3 and height * width > 1:
            values = values.copy()
            clear = int(values[0, 0])
            values[-1, -1] = (clear + 1) & most
            shown = _on_white(_grey(_scaled(values, most)), (values != clear).astype(np.uint8))
            data = png(packed(values, bits), width, bits, 0, (b"tRNS", struct.pack(">H", clear)))
            return Picture(f"{name}, one transparent", ".png", data, shown)
        if colour == 0:
            return Picture(name, ".png", png(packed(values, bits), width, bits, 0), _grey(_scaled(values, most)))
        table = _noise(rng, (most + 1, 3))
        data = png(packed(values, bits), width, bits, 3, (b"PLTE", table.tobytes()))
        return Picture(name, ".png", data, table[values])
    planes = {2: 3, 4: 2, 6: 4}[colour]
    values = _noise(rng, (height, width, planes)).copy()
    if colour == 2:
        return Picture(name, ".png", png(packed(values, 8), width, 8, 2), values)
    values[..., -1] = np.where(values[..., -1] > 100, 255, 0)
    values[0, 0, -1] = 255
    shown = _grey(values[..., 0]) if colour == 4 else values[..., :3]
    return Picture(name, ".png", png(packed(values, 8), width, 8, colour), _on_white(shown, values[..., -1]))


def _deep_png(rng: random.Random, white: int) -> Picture:
    height, width = _size(rng)
    colour = rng.choice((0, 2, 4, 6))
    planes = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = _deep(rng, (height, width, planes), white)
    if colour in (4, 6):
        values[..., -1] = 65535
    data = png(packed(values, 16), width, 16, colour)
    shown = _scaled(values[..., : 3 if planes > 2 else 1], white)
    shown = np.broadcast_to(shown, (height, width, 3))
    return Picture(f"PNG 16 bits, colour type {colour}", ".png", data, shown, _halves(white, planes))


# --- TIFF


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """What is seen of stored `pixels`, by the definition of EXIF's eight orientations."""
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: p[::-1].transpose(1, 0, 2),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: p[:, ::-1].transpose(1, 0, 2),
    }
    return np.ascontiguousarray(turns[orientation](pixels))


def _tiffs(rng: random.Random) -> Picture:
    height, width = _size(rng)
    order, photometric = rng.choice("<>"), rng.choice((0, 1, 2))
    orientation = rng.choice((1, 1, 2, 3, 4, 5, 6, 7, 8))
    values = _noise(rng, (height, width, 3 if photometric == 2 else 1))
    shown = values if photometric == 2 else _grey((255 - values if photometric == 0 else values)[..., 0])
    data = tiff(values, 8, photometric, order, orientation=orientation)
    name = f"TIFF 8 bits {order} photometric {photometric} orientation {orientation}"
    return Picture(name, ".tif", data, _turned(shown, orientation))


def _deep_tiff(rng: random.Random, white: int) -> Picture:
    height, width = _size(rng)
    order, photometric = rng.choice("<>"), rng.choice((0, 1, 2) if white == 65535 else (1, 2))
    orientation = rng.choice((1, 1, 1, 3, 6))
    values = _deep(rng, (height, width, 3 if photometric == 2 else 1), white)
    shown = _scaled(values, white)
    shown = np.broadcast_to(255 - shown if photometric == 0 else shown, (height, width, 3))
    data = tiff(values, 16, photometric, order, orientation=orientation)
    name = f"TIFF 16 bits {order} photometric {photometric} orientation {orientation}"
    return Picture(name, ".tiff", data, _turned(shown, orientation), _halves(white, values.shape[-1]))


def _float_tiff(rng: random.Random, _: int) -> Picture:
    height, width = _size(rng)
    order = rng.choice("<>")
    values = _deep(rng, (height, width, 1), 4095).astype(np.float32) / np.float32(4095)
    shown = np.broadcast_to(_scaled(values, 1.0), (height, width, 3))
    return Picture(f"TIFF float {order}", ".tif", tiff(values, 32, 1, order, kind=3), shown)


# --- Netpbm, by the book


def _netpbm(rng: random.Random) -> Picture:
    height, width = rng.randint(1, 40), rng.randint(1, 40)  # Pillow takes long for texts and odd maxvals
    kind = rng.randint(1, 6)
    most = 1 if kind in (1, 4) else rng.choice((255, 255, 15, 100, 200))
    planes = 3 if kind in (3, 6) else 1
    values = (_noise(rng, (height, width, planes)).astype(int) % (most + 1)).astype(np.uint8)
    remark = rng.choice((b"", b"# made by hand\n"))
    head = b"P%d\n%s%d %d\n" % (kind, remark, width, height) + (b"" if most == 1 else b"%d\n" % most)
    if kind == 4:
        body = np.packbits(values[..., 0], axis=1).tobytes()
    elif kind < 4:
        body = b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in values) + b"\n"
    else:
        body = values.tobytes()
    shown = _scaled(1 - values if most == 1 else values, most)
    suffix = (".pbm", ".pgm", ".ppm")[(kind - 1) % 3]
    shown = np.broadcast_to(shown, (height, width, 3))
    # of halves, Pillow rounds some down
    tolerance = 0.0 if most in (1, 255) else 0.5
    return Picture(f"P{kind} maxval {most}", suffix, head + body, shown, tolerance, cuts=kind > 3)


def _deep_netpbm(rng: random.Random, white: int) -> Picture:
    height, width = _size(rng)
    planes = rng.choice((1, 3))
    values = _deep(rng, (height, width, planes), white)
    most = rng.choice((white, 65535))  # a file of 12 bits may say so, or may not
    data = b"P%d\n%d %d\n%d\n" % (5 if planes == 1 else 6, width, height, most) + values.astype(">u2").tobytes()
    shown = np.broadcast_to(_scaled(values, white), (height, width, 3))
    suffix = ".pgm" if planes == 1 else ".ppm"
    return Picture(f"Netpbm 16 bits, maxval {most}", suffix, data, shown, _halves(white, planes))


# --- the rest, by a codec


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


KINDS = ("BMP", "BMP grey", "DIB", "GIF", "JPEG2000", "SGI", "PCX", "TIFF", "TIFF", "WEBP", "PNG EXIF", "APNG")


def _lossless(rng: random.Random) -> Picture:  # noqa: PLR0911
    height, width = _size(rng)
    pixels = _noise(rng, (height, width, 3))
    image = Image.fromarray(pixels)
    kind = rng.choice(
        ("BMP", "BMP grey", "DIB", "GIF", "JPEG2000", "SGI", "PCX", "TIFF", "TIFF", "WEBP", "PNG EXIF", "APNG")
    )
    if kind == "BMP grey":
        return Picture(kind, ".bmp", _saved(Image.fromarray(pixels[..., 0]), "BMP"), _grey(pixels[..., 0]))
    if kind == "GIF":
        indexed = Image.fromarray(pixels[..., 0], "P")
        table = _noise(rng, (256, 3))
        indexed.putpalette(table.tobytes())
        more = {"save_all": True, "append_images": [indexed.rotate(180)]} if rng.random() < 0.3 else {}
        return Picture(kind, ".gif", _saved(indexed, "GIF", optimize=False, **more), table[pixels[..., 0]])
    if kind == "TIFF":
        packing = rng.choice(("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"))
        return Picture(f"TIFF {packing}", ".tif", _saved(image, "TIFF", compression=packing), pixels)
    if kind == "PNG EXIF":
        turn = rng.randint(2, 8)
        return Picture(f"PNG orientation {turn}", ".png", _saved(image, "PNG", exif=_exif(turn)), _turned(pixels, turn))
    if kind == "APNG":
        data = _saved(image, "PNG", save_all=True, append_images=[image.rotate(180)])
        return Picture(kind, ".apng", data, pixels)
    if kind == "WEBP":
        return Picture("WEBP lossless", ".webp", _saved(image, "WEBP", lossless=True), pixels)
    if kind == "JPEG2000":
        return Picture(kind, rng.choice((".jp2", ".jpx")), _saved(image, kind, irreversible=False), pixels)
    if kind in ("SGI", "PCX"):
        return Picture(kind, f".{kind.lower()}", _saved(image, kind), pixels, sniffed=False)
    return Picture(kind, f".{kind.lower()}", _saved(image, kind), pixels, sniffed=kind == "BMP")


def _lossy(rng: random.Random) -> Picture:
    height, width = _size(rng)
    pixels = _smooth(rng, height, width)
    image = Image.fromarray(pixels)
    kind = rng.choice(("JPEG", "JPEG", "JPEG grey", "WEBP", "AVIF"))
    if kind == "AVIF" and features.check("avif") and min(height, width) > 1:
        return Picture(kind, ".avif", _saved(image, "AVIF", quality=90), pixels, tolerance=6.0)
    if kind == "WEBP":
        return Picture("WEBP lossy", ".webp", _saved(image, "WEBP", quality=95), pixels, tolerance=6.0)
    if kind == "JPEG grey":
        data = _saved(Image.fromarray(pixels[..., 0]), "JPEG", quality=97)
        return Picture(kind, ".jpg", data, _grey(pixels[..., 0]), tolerance=4.0)
    turn, progressive = rng.choice((1, 1, 1, 3, 6, 8)), rng.random() < 0.3
    data = _saved(image, "JPEG", quality=97, subsampling=0, exif=_exif(turn), progressive=progressive)
    name = f"JPEG orientation {turn}{' progressive' * progressive}"
    return Picture(name, rng.choice((".jpg", ".jpeg", ".jfif", ".jpe")), data, _turned(pixels, turn), tolerance=4.0)


Maker = Callable[[random.Random], Picture]
SHALLOW: list[Maker] = [_pngs, _pngs, _tiffs, _netpbm, _lossless, _lossless, _lossy]
DEEP: list[Callable[[random.Random, int], Picture]] = [_deep_png, _deep_tiff, _deep_netpbm]


class Album:
    """Many pictures, the same for one seed: making new ones for each tree would cost more than reading them."""

    def __init__(self, seed: int, count: int = 500) -> None:
        rng = random.Random(f"{seed} album")
        self.shallow = [SHALLOW[number % len(SHALLOW)](rng) for number in range(count)]
        self.deep = {
            white: [DEEP[number % len(DEEP)](rng, white) for number in range(count // 8)] for white in (4095, 65535)
        }
        self.floats = [_float_tiff(rng, 1) for _ in range(count // 25)]

    def draw(self, rng: random.Random, white: int) -> Picture:
        """Any picture; those of 16 bits have all the same `white`, or none are drawn for 0."""
        kind = rng.random()
        if white and kind < 0.3:
            return rng.choice(self.deep[white])
        return rng.choice(self.floats if white and kind < 0.35 else self.shallow)
