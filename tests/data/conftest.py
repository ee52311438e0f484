"""Small image folders, made on the spot; every image differs from every other unless a test says so."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.data.folders import Domain, ImageFile, find_domains
from gformer_cli.data.images import Preprocessing
from gformer_cli.data.labelled import LabelledDomain, load_labelled

AddImage = Callable[..., Path]
Encode = Callable[..., bytes]
MakeFolder = Callable[..., Path]
MakeLabelled = Callable[..., list[LabelledDomain]]
SIZE = 8


def _noise(name: str, size: int = SIZE) -> Image.Image:
    """Random colours, the same for the same name."""
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    return Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture
def encode() -> Encode:
    """`encode(image, format, **options)`: the bytes of an image file."""

    def make(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def add_image(encode: Encode) -> AddImage:
    """`add_image(path, content)`: write a file and its folders; without content a PNG made from its name."""

    def add(path: Path, content: bytes | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(_noise("/".join(path.parts[-3:]))) if content is None else content)
        return path

    return add


@pytest.fixture
def make_folder(tmp_path: Path, add_image: AddImage) -> MakeFolder:
    """`make_folder("site", {"cat": 3})`: a domain folder with so many images per class."""

    def make(name: str, counts: Mapping[str, int], names: str = "{:02d}.png") -> Path:
        for label, count in counts.items():
            (tmp_path / name / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                add_image(tmp_path / name / label / names.format(number))
        return tmp_path / name

    return make


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing(image_size=SIZE, resize="crop", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.fixture
def make_labelled(make_folder: MakeFolder, preprocessing: Preprocessing) -> MakeLabelled:
    """`make_labelled({"site": {"cat": 3}})`: domains as training sees them."""

    def make(domains: Mapping[str, Mapping[str, int]], seed: int = 0) -> list[LabelledDomain]:
        found: list[Domain] = find_domains([make_folder(name, counts) for name, counts in domains.items()])
        classes = sorted({label for domain in found for label in domain.classes})
        loaded, _ = load_labelled(found, classes, preprocessing, validation_fraction=0.25, seed=seed, workers=0)
        return loaded

    return make


@pytest.fixture
def as_file() -> Callable[[Path], ImageFile]:
    return lambda path: ImageFile(path, path.name, None)
