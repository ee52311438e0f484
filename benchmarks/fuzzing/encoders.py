"""PNG and TIFF put together by the book, in kinds that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def png(rows: list[bytes], width: int, bits: int, colour: int, *extra: tuple[bytes, bytes]) -> bytes:
    """`rows` are packed samples; `colour` is 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def packed(values: NDArray[Any], bits: int) -> list[bytes]:
    """Rows of samples of 1, 2, 4, 8 or 16 bits, most significant first."""
    flat = values.reshape(len(values), -1)
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    shifts = np.arange(bits - 1, -1, -1)
    return [np.packbits((row[:, None] >> shifts & 1).astype(np.uint8).ravel()).tobytes() for row in flat]


def tiff(
    values: NDArray[Any], bits: int, photometric: int, order: str, *, kind: int = 1, orientation: int = 1
) -> bytes:
    """One strip of `values` (H, W, planes), not compressed; `kind` 1 is integers, 3 floats."""
    height, width, planes = values.shape
    body = values.astype(np.dtype(values.dtype).newbyteorder(order)).tobytes()
    more = struct.pack(f"{order}{planes}H", *[bits] * planes) if planes > 2 else b""
    place = 8 + len(body) + len(body) % 2
    tags: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack(order + "I", width)),
        (257, 4, 1, struct.pack(order + "I", height)),
        (258, 3, planes, struct.pack(order + "I", place) if more else struct.pack(order + "HH", bits, 0)),
        (259, 3, 1, struct.pack(order + "HH", 1, 0)),
        (262, 3, 1, struct.pack(order + "HH", photometric, 0)),
        (273, 4, 1, struct.pack(order + "I", 8)),
        (274, 3, 1, struct.pack(order + "HH", orientation, 0)),
        (277, 3, 1, struct.pack(order + "HH", planes, 0)),
        (278, 4, 1, struct.pack(order + "I", height)),
        (279, 4, 1, struct.pack(order + "I", len(body))),
        (339, 3, 1, struct.pack(order + "HH", kind, 0)),
    ]
    directory = struct.pack(order + "H", len(tags))
    directory += b"".join(struct.pack(order + "HHI", *tag[:3]) + tag[3] for tag in tags) + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", place + len(more))
    return head + body + bytes(len(body) % 2) + more + directory
