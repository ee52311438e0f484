"""Which files are images, by suffix and by their first bytes. No Pillow here: listing a folder must be quick."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from gformer_cli.folders.walking import words

IMAGE_SUFFIXES = words(
    ".apng .bmp .dib .gif .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .pbm .pfm .pgm .png .pnm .ppm .tif .tiff "
    ".webp"
)
"""A file with one of these is an image, readable or not. Any other file is one if its first bytes say so."""
_OTHER_SUFFIXES = {
    "AVIF": ".avif .avifs",
    "HEIF": ".heic .heics .heif .heifs .hif",
    "PCX": ".pcx",
    "SGI": ".bw .rgb .rgba .sgi",
    "JPEG XL": ".jxl",
    "JPEG XR": ".hdp .jxr .wdp",
    "DICOM": ".dcm .dicom",
    "DDS": ".dds",
    "FITS": ".fits",
    "OpenEXR": ".exr",
    "PSD": ".psb .psd",
    "TGA": ".tga",
    "XCF": ".xcf",
    "camera raw": ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mrw .nef .nrw .orf .pef .raf .rw2 .sr2 .srf .srw .x3f",
}
"""Of images in formats that not every installation reads, or none."""
_BY_SUFFIX = {suffix: name for name, suffixes in _OTHER_SUFFIXES.items() for suffix in suffixes.split()}
_RAW = "camera raw"
UNFINISHED_SUFFIXES = words(
    ".!sync .bak .crdownload .download .filepart .old .opdownload .orig .part .partial .swp .temp .tmp"
)
"""Of files that a program is writing, or has put by: they are never looked into, whatever they hold."""

NO_SUFFIX = "(none)"
_HEAD = 512
_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0\x08\0\0\0", "TIFF"),
    (b"MM\0+\0\x08\0\0", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS\0", "PSD"),
    (b"v/1\x01", "OpenEXR"),
    (b"SIMPLE  =", "FITS"),
    (b"gimp xcf ", "XCF"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIU\0", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
)
_BRANDS = (  # of the container that AVIF and HEIF share, in order of preference
    ({b"avif", b"avis"}, "AVIF"),
    ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}, "HEIF"),
    ({b"crx "}, _RAW),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_PPM = re.compile(rb"P[1-6f][ \t\r\n]+(#|[0-9])")


class Kind(NamedTuple):
    """What a file is, as far as its suffix and its first bytes tell."""

    is_read: bool
    """Whether it is to be read as an image; it may turn out to be damaged."""
    unread: str = ""
    """The format of an image that is not read; empty for all others."""


def kind_of(path: str | Path) -> Kind:
    """What a file is: by the suffix alone where that is an image's, else by the first bytes of a regular file.

    Pipes and devices are never opened.
    """
    name = os.path.basename(path)  # noqa: PTH119 - of hundreds of thousands of files, a Path each takes seconds
    suffix = suffix_of(name)
    if suffix in IMAGE_SUFFIXES:
        return Kind(True)
    if suffix in UNFINISHED_SUFFIXES or name.endswith("~"):
        return Kind(False)
    expected = _BY_SUFFIX.get(suffix, "")
    if _is_read(expected):
        return Kind(True)
    found = sniff(_head(path))
    if expected == _RAW and found in ("", "TIFF"):  # it may hold a thumbnail where Pillow looks for the picture
        return Kind(False, _RAW)
    return Kind(True) if _is_read(found) else Kind(False, found or expected)


def _is_read(name: str) -> bool:
    if not name:
        return False
    from gformer_cli.folders.formats import FORMATS  # imports Pillow, which most folders do not need for this

    return name in FORMATS


def suffix_of(name: str) -> str:
    """The last suffix of a file name in lower case, with its dot; empty where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def sniff(head: bytes) -> str:
    """The format that the first bytes of a file tell; empty for no image."""
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _boxed(head)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if _PPM.match(head):
        return "PPM"
    return "DICOM" if head[128:132] == b"DICM" else ""


def _boxed(head: bytes) -> str:
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))}
    return next((name for known, name in _BRANDS if brands & known), "")


def _head(path: str | Path) -> bytes:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return b""
        # what was a file a moment ago may be a pipe now, whose opening waits for a writer
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            return os.read(descriptor, _HEAD)
        finally:
            os.close(descriptor)
    except OSError:  # it cannot be read, so nothing tells that it is an image
        return b""
