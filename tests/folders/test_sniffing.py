"""Which files are images: by suffix, else by their first bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gformer_cli.folders.sniffing import IMAGE_SUFFIXES, Kind, kind_of, sniff
from gformer_cli.images.decoding import FORMATS

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
SAVED = [name for name in FORMATS if name not in {"DIB", "HEIF", "PCX", "SGI"}]


def saved(name: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (3, 2), 1).save(stream, name, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", SAVED)
def test_the_first_bytes_tell_every_format(name: str) -> None:
    assert sniff(saved(name)[:512]) == name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (saved("JPEG2000", no_jp2=True), "JPEG2000"),
        (saved("PPM", "1"), "PPM"),
        (saved("PPM", "F"), "PPM"),
        (saved("TIFF", big_tiff=True), "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"P2\n# made by hand\n1 1 255\n0\n", "PPM"),
        (b"GIF87a", "GIF"),
        (HEIC, "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"8BPS\0\1", "PSD"),
    ],
)
def test_the_first_bytes_of_variants_and_of_formats_that_are_not_read(content: bytes, name: str) -> None:
    assert sniff(content) == name


@pytest.mark.parametrize(
    "content",
    [b"", b"B", b"BM", b"BM is a text about bitmaps", b"P5", b"P1 is the first", b"PNG", b"\0\0\0\x18ftypmp42isom",
     b"RIFF\0\0\0\0WAVE", b"\x7fELF", b"%PDF-1.7", b"II", b"{}", b"<svg", bytes(512)],
)  # fmt: skip
def test_other_files_are_none(content: bytes) -> None:
    assert sniff(content) == ""


@pytest.mark.parametrize(
    "name", ["a.jfif", "a.JPE", "a.jp2", "a.j2k", "a.apng", "a.dib", "a.pnm", "a.tiff", "a.b.PNG", "a .png"]
)
def test_a_known_suffix_is_an_image_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    assert kind_of(tmp_path / name) == Kind(True)


@pytest.mark.parametrize("name", ["a", "a.dat", "a.jpg_large", "photo.heic", "a.txt", "a.jpg:large", "noext.", "a.001"])
def test_any_other_file_is_an_image_if_it_begins_as_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(saved("JPEG"))
    assert kind_of(tmp_path / name) == Kind(True)
    (tmp_path / name).write_bytes(b"text")
    assert not kind_of(tmp_path / name).is_read


def test_an_image_that_is_not_read_is_told_by_content_or_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.folders.formats.FORMATS", ("JPEG", "TIFF"))
    for name, content, format_ in (
        ("a.heic", HEIC, "HEIF"),
        ("a", HEIC, "HEIF"),
        ("a.heic", b"", "HEIF"),
        ("a.avif", saved("JPEG")[:0], "AVIF"),
        ("a.dng", saved("TIFF"), "camera raw"),
        ("a.CR2", b"", "camera raw"),
    ):
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name) == Kind(False, format_)
    monkeypatch.setattr("gformer_cli.folders.formats.FORMATS", ("HEIF",))
    assert kind_of(tmp_path / "a.heic") == Kind(True)


@pytest.mark.parametrize("name", ["a.jpg.part", "a.crdownload", "a.jpg~", "a.TMP", "a.png.bak"])
def test_what_is_being_written_or_put_by_is_never_looked_into(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(saved("JPEG"))
    assert kind_of(tmp_path / name) == Kind(False)


def test_nothing_but_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zero", "nowhere", "folder", "missing"):
        assert kind_of(tmp_path / name) == Kind(False)


def test_suffixes_are_in_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)
