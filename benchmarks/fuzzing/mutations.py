"""Bundles and images that are changed at random, and the readers that they go through."""

from __future__ import annotations

import io
import json
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gformer_cli.adapt import Predictor
from gformer_cli.bundle import DataHeader, build_generator, load_bundle, read_header, save_bundle
from gformer_cli.config import validate
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.check import check_folders
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.images.preprocessing import Batch, Preprocessing, Skipped, read_image
from gformer_cli.networks.build import build_network

BARE = re.compile(r"\w*(Error|Exception)\w*")
NONSENSE: list[Any] = [
    0,
    -1,
    1,
    2**31,
    2**63,
    10**9,
    10**30,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    True,
    None,
    "",
    "x",
]
NONSENSE += [
    "\x1b[2J",
    "../../etc/passwd",
    "resnet152",
    "timm:resnet18",
    "own.py:make",
    "🐈" * 99,
    [],
    {},
    [[]],
    [1e9] * 3,
]

Mutate = Callable[[bytes, random.Random], bytes]


# --- what is mutated


def tiny_bundle(folder: Path) -> bytes:
    """A whole bundle of some 100 kB, most of which is structure."""
    settings = validate(
        {
            "data": {"image_size": 8},
            "backbone": {"stem": "small", "width": 0.03, "weights": "none"},
            "generator": {"width": 4, "depth": 1, "heads": 2, "channel_width": 4, "feed_forward": 4},
        }
    )
    torch.manual_seed(0)
    options = settings.backbone
    backbone = Backbone(build_network(options.name, 3, stem=options.stem, width=options.width)).freeze()
    save_bundle(
        folder / "whole.gformer",
        backbone=backbone,
        generator=build_generator(settings.generator, backbone),
        constant=build_generator(settings.generator.model_copy(update={"kind": "constant"}), backbone),
        settings=settings,
        classes=["cat", "dog", "owl"],
        data=DataHeader(domains={"photo": {"cat": 2, "dog": 3, "owl": 4}}, fingerprint="abc"),
        validation={"gformer": 0.75, "source": 0.5},
    )
    return (folder / "whole.gformer").read_bytes()


def whole_images() -> list[bytes]:
    """Small images of every format, and of the modes that are read in a way of their own."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
    colour, clear = Image.fromarray(noise[..., :3]), Image.fromarray(noise, "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    real = Image.fromarray(noise[..., 0].astype(np.float32) / 255)
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *((colour, name, {}) for name in ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")),
        (colour, "JPEG", {"progressive": True, "exif": exif}),
        (colour.convert("CMYK"), "JPEG", {}),
        (clear, "PNG", {"exif": exif}),
        (clear, "WEBP", {"lossless": True}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("1"), "PPM", {}),
        (colour.convert("1"), "TIFF", {"compression": "group4"}),
        (wide, "PNG", {}),
        (wide, "TIFF", {"compression": "tiff_lzw"}),
        (real, "TIFF", {}),
        (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "PNG", {"save_all": True, "append_images": [colour.rotate(180)]}),
        (colour, "WEBP", {"save_all": True, "append_images": [colour.rotate(180)]}),
    ]
    found = []
    for image, name, options in kinds:
        stream = io.BytesIO()
        image.save(stream, name, **options)
        found.append(stream.getvalue())
    return found


# --- how


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to eight bits, more often near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[int(len(data) * rng.random() ** rng.choice((1, 4)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: int(len(data) * rng.random() ** 0.5)]


def insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.choice((1, 2, 7, 64, 4096))) + data[place:]


def drop(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.choice((1, 2, 7, 64, 4096)) :]


def number(data: bytes, rng: random.Random) -> bytes:
    """Two or four bytes become an extreme number: sizes, offsets and counts are such."""
    place = int(len(data) * rng.random() ** 3)
    return (
        data[:place]
        + (value := rng.choice((b"\xff\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4))))
        + data[place + len(value) :]
    )


def _edit(tree: Any, rng: random.Random) -> None:
    """Change, remove or double one place of a JSON tree."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = rng.choice(keys)
        if isinstance(tree[key], dict | list) and tree[key] and rng.random() < 0.8:
            tree = tree[key]
            continue
        how = rng.random()
        if how < 0.6:
            tree[key] = rng.choice(NONSENSE)
        elif how < 0.75:
            del tree[key]
        elif isinstance(tree, dict):
            tree[rng.choice(("backbone.extra", "other.tensor", "what", ""))] = tree[key]
        else:
            tree.append(tree[key])
        return


def _pack(header: Any, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def _unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + struct.unpack_from("<Q", data)[0]
    return json.loads(data[8:end]), data[end:]


def edit_header(data: bytes, rng: random.Random) -> bytes:
    """One to three edits of gformer's own header."""
    header, tensors = _unpack(data)
    ours = json.loads(header["__metadata__"]["gformer"])
    for _ in range(rng.randint(1, 3)):
        _edit(ours, rng)
    header["__metadata__"]["gformer"] = json.dumps(ours)
    return _pack(header, tensors)


def edit_index(data: bytes, rng: random.Random) -> bytes:
    """One to three edits of names, shapes, types and offsets of tensors."""
    header, tensors = _unpack(data)
    for _ in range(rng.randint(1, 3)):
        _edit(header, rng)
    return _pack(header, tensors)


def poison(data: bytes, rng: random.Random) -> bytes:
    """Values that are not finite, or huge, in the tensors."""
    header, tensors = _unpack(data)
    changed = bytearray(tensors)
    for _ in range(rng.randint(1, 4)):
        place = 4 * rng.randrange(len(tensors) // 4)
        changed[place : place + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), -3e38, 3e38, -1.0)))
    return _pack(header, bytes(changed))


BYTES: list[Mutate] = [flip, cut, insert, drop, number]
JSON: list[Mutate] = [edit_header, edit_header, edit_header, edit_index, edit_index, poison]


# --- the readers


def read_bundle(path: Path) -> str:
    """Header, tensors, and one batch predicted."""
    read_header(path)
    bundle = load_bundle(path)
    size = bundle.preprocessing.image_size
    pixels = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    files = tuple(ImageFile(Path(), name) for name in ("a", "b"))
    outcome = Predictor(bundle, torch.device("cpu")).predict(Batch(pixels, files, ("", "")), "target")
    outcome.rows(bundle.header.classes)
    return "read" if bool(torch.isfinite(outcome.probabilities).all()) else "read, predicts no numbers"


def read_one_image(path: Path) -> str:
    """As for predicting, and as `gformer data check` reads it: both must agree."""
    file = ImageFile(path.parent, path.name)
    item = read_image(file, Preprocessing(8, "crop", (0.5,) * 3, (0.5,) * 3))
    report = check_folders([Domain("target", path.parent, ImageFiles([file]), ())], workers=0)
    if isinstance(item, Skipped) == report.ok:
        return f"crash: read_image and check disagree: {item}, {report.unreadable}"
    return unclear(item.reason) or "refused" if isinstance(item, Skipped) else "read"


def unclear(text: str, *, longest: int = 500) -> str:
    """A complaint about a reason that tells a user nothing, or ''."""
    bad = not text.strip() or len(text) > longest or "\n" in text or bool(BARE.fullmatch(text.strip()))
    return f"unclear: {text!r}" if bad else ""


READERS: dict[str, Callable[[Path], str]] = {"bundles": read_bundle, "images": read_one_image}


def case(kind: str, wholes: list[bytes], seed: int, index: int) -> tuple[str, bytes]:
    """The name of what was done, and the mutated file."""
    rng = random.Random(f"{seed} {kind} {index}")
    data = rng.choice(wholes)
    steps = rng.choices(BYTES if kind == "images" or rng.random() < 0.4 else JSON, k=1)
    if kind == "images":
        steps += rng.choices(BYTES, k=rng.choice((0, 0, 1, 2)))
    for step in steps:
        data = step(data, rng) if data else data
    return "+".join(step.__name__ for step in steps), data
