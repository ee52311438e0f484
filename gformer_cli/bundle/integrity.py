"""Hashes of a bundle or a generator file: is it what was written, and which file was it made from?

The content hash is SHA-256 over every byte of the file, with its own 64 digits as zeros. So it covers tensors, header
and the safetensors layout alike. It finds damage and mix-ups. It is no signature: whoever can write the file can write
the hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save

from gformer_cli.bundle.card import GeneratorFileHeader, parse_generator_header
from gformer_cli.bundle.header import GENERATOR_KEY, KEY, BundleHeader, open_file, parse_header

_BLANK = "0" * 64
_CHUNK = 1 << 20
_FIELD = rb"\"content_hash\":\""
"""The field as JSON inside JSON; whatever a class may be called, its quotes have more backslashes."""


Header = BundleHeader | GeneratorFileHeader


def stamped(header: Header, tensors: Mapping[str, torch.Tensor], key: str = KEY) -> bytes:
    """The bytes of a file of contiguous `tensors` on the CPU, with its hashes. Same contents, same bytes."""
    header = header.model_copy(update={"part_hashes": _part_hashes(tensors.items()), "content_hash": _BLANK})
    content = bytearray(save(dict(tensors), metadata={key: header.model_dump_json()}))
    start = content.index(_FIELD + _BLANK.encode()) + len(_FIELD)
    content[start : start + len(_BLANK)] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


@dataclass(frozen=True)
class Verification:
    """What `verify` found."""

    stored: str | None
    """The content hash in the file; None in a bundle that was written before there were any."""
    computed: str
    """The content hash of the file as it is."""
    problems: tuple[str, ...]
    """What is wrong; empty for a good bundle."""


def verify(path: Path, parent: Path | None = None) -> Verification:
    """Recompute the hashes of a bundle or generator file and, with `parent`, whether it was made from that file.

    Raises `InputError` for what cannot be read as either at all.
    """
    file = open_file(path)
    header = _header(path, file.metadata())
    computed = _content_hash(path, header.content_hash)
    problems: list[str] = []
    if header.content_hash is None:
        problems.append("it holds no content hash, so nothing tells whether it is as it was written")
    elif computed != header.content_hash:
        now = _part_hashes((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118 - not a dict
        parts = sorted({*now, *header.part_hashes})
        changed = [f"tensors {part}.*" for part in parts if now.get(part) != header.part_hashes.get(part)]
        what = ", ".join(changed) or "the header"
        problems.append(
            f"{what} changed since it was written: hash {computed[:16]}, recorded {header.content_hash[:16]}"
        )
    if parent is not None:
        recorded = _parent(header)
        if recorded is None:
            problems.append("it records no parent")
        elif file_hash(parent) != recorded:
            problems.append(f"{parent} is not its parent: SHA-256 {file_hash(parent)[:16]}, recorded {recorded[:16]}")
    return Verification(header.content_hash, computed, tuple(problems))


def _header(path: Path, metadata: dict[str, str] | None) -> Header:
    read = parse_generator_header if GENERATOR_KEY in (metadata or {}) else parse_header
    return read(path, metadata)


def _parent(header: Header) -> str | None:
    """SHA-256 of the file that it was made from, where any is recorded."""
    if isinstance(header, GeneratorFileHeader):
        return header.card.start
    return None if header.lineage is None else header.lineage.parent


def file_hash(path: Path) -> str:
    """SHA-256 of a bundle or generator file, as `sha256sum` gives it. Raises `InputError` for a missing file."""
    open_file(path)
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, whatever it holds. Raises `OSError`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()


def _content_hash(path: Path, stored: str | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        length = file.read(8)
        head = file.read(int.from_bytes(length, "little"))
        digest.update(length)
        digest.update(head if stored is None else head.replace(stored.encode(), _BLANK.encode()))
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the names, types, shapes and contents of a state dict, whatever its order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        _add(digest, name, tensor)
    return digest.hexdigest()


def _part_hashes(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, str]:
    digests: dict[str, Any] = {}
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest = digests.setdefault(name.partition(".")[0], hashlib.sha256())
        _add(digest, name, tensor)
    return {part: digest.hexdigest() for part, digest in digests.items()}


def _add(digest: Any, name: str, tensor: torch.Tensor) -> None:
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
