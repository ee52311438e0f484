"""Files whose every pixel is there, though the decoder refuses them: what to add, and what to leave out.

Other programs show such files. One that lacks any part of its pixels is not repaired: half a picture is none.
No torch here.
"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image

_END = b"\xff\xd9"
"""Of a JPEG, and of JPEG 2000."""
_JPEG_2000 = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_OTHER = bytes(random.Random(0).choices(range(255), k=64))
"""Bytes that change what is decoded wherever the decoder still needs data."""
_ZEROS = 3
"""More of them at the end are what a copy that was broken off left behind, and no part of a picture."""
_PNG = b"\x89PNG\r\n\x1a\n"
_STRIP = 256


def digest(image: Image.Image) -> bytes:
    """Of all pixels, without a copy of them."""
    found = hashlib.sha256()
    for y in range(0, image.height, _STRIP):
        found.update(image.crop((0, y, image.width, min(y + _STRIP, image.height))).tobytes())
    return found.digest()


def filled_up(data: bytes) -> bool:
    """Whether a JPEG ends in zeros where its end marker should be: its decoder takes them for a picture."""
    return (
        data.startswith(b"\xff\xd8\xff") and data.endswith(bytes(_ZEROS + 1)) and not data.rstrip(b"\0").endswith(_END)
    )


def repair(data: bytes, pixels: Callable[[bytes], bytes]) -> bytes | None:
    """The file in a form that can be decoded, where it holds every pixel; None where nothing can be done.

    `pixels` decodes a file and gives the `digest` of what is seen; it raises for what it cannot decode.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _ended_jpeg(data, pixels)
    if data.startswith(_JPEG_2000) and not data.endswith(_END):
        # its decoder compares the lengths that the file announces, so half a file stays refused
        return data.removesuffix(_END[:1]) + _END
    if data.startswith(_PNG):
        return _plain_png(data)
    return None


def _ended_jpeg(data: bytes, pixels: Callable[[bytes], bytes]) -> bytes | None:
    """A JPEG that lacks its end marker, if what is decoded does not depend on what follows its last byte."""
    body = data.rstrip(b"\0")
    if len(data) - len(body) <= _ZEROS:
        body = data
    elif body.endswith(b"\xff"):  # a zero belongs to it
        body += b"\0"
    if body.endswith(b"\xff"):  # half of the end marker
        body = body[:-1]
    if not _all_scans(body):
        return None
    ended = body + _END
    if pixels(ended) != pixels(body + _OTHER + _END):
        return None
    return ended


def _all_scans(data: bytes) -> bool:
    """Whether a JPEG has begun the last of its scans: in progressive ones each adds to what came before."""
    place, progressive, components = 2, False, 0
    left: dict[tuple[int, int], int] = {}
    """Bits that are still to come, by component and coefficient."""
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return False
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            place += 2
            continue
        if marker == 0xD9:
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if len(segment) != length - 2:
            return False
        place += 2 + length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
                return False
            progressive, components = marker in (0xC2, 0xCA), segment[5]
            left = {(segment[6 + 3 * n], k): 16 for n in range(components) for k in range(64)}
        elif marker == 0xDA:
            if len(segment) < 4 or len(segment) != 4 + 2 * segment[0]:
                return False
            first, last, bits = segment[-3:]
            for name in segment[1:-3:2]:
                for k in range(first, last + 1) if progressive else range(64):
                    left[name, k] = bits & 15 if progressive else 0
            place = _after_scan(data, place)
    return bool(components) and not any(left.values())


def _after_scan(data: bytes, place: int) -> int:
    """Where the compressed data that begins at `place` ends: at a marker that is neither a restart nor stuffing."""
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return len(data)
        if data[place + 1] != 0 and not 0xD0 <= data[place + 1] <= 0xD7:
            return place
        place += 2


def _plain_png(data: bytes) -> bytes | None:
    """A PNG without the notes, profiles and times in it, of which one may be damaged.

    What its pixels depend on, transparency included, must be undamaged.
    """
    parts, place = [_PNG], len(_PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        chunk = data[place : place + 12 + length]
        place += 12 + length
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
            if len(chunk) != 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                return None
            parts.append(chunk)
        elif kind == b"IEND":
            break
        elif not kind[0] & 32:  # one that nobody may pass over
            return None
    if not any(part[4:8] == b"IDAT" for part in parts):
        return None
    return b"".join([*parts, struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))])
