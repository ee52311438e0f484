"""What a file looks like that holds no weights, told by its first bytes. No torch here."""

from __future__ import annotations

import zipfile
from pathlib import Path

SAVE = 'Save the tensors alone: torch.save(model.state_dict(), "site.pth"), or as safetensors.'
"""What to do about most files that hold something else."""
_SIGNATURES = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull."),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes", SAVE),
    (0, b"\x93NUMPY", "a NumPy array", SAVE),
    (0, b"GGUF", "a GGUF file", SAVE),
    (4, b"TFL3", "a TensorFlow Lite model", SAVE),
    (0, b"\x1f\x8b", "compressed by gzip", "Unpack it first."),
    (257, b"ustar", "a tar archive", "Unpack it first."),
)
"""Offset, bytes, what they tell, and what to do."""
AGAIN = "Copy or download it again."
_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""Near the beginning of what torch.save wrote before it wrote zip archives."""


def foreign_kind(path: Path) -> tuple[str, str] | None:
    """What `path` seems to be, as it completes "it is ...", and what to do about it.

    None for what begins as a file of safetensors or of `torch.save` does.
    """
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head and (is_safetensors(path) or _MAGIC in head[:32]):
        return None
    if head.startswith(b"PK"):
        return _zip_kind(path)
    if is_safetensors(path, complete=False):
        return "cut short", AGAIN
    return _by_first_bytes(head, path.suffix)


def _by_first_bytes(head: bytes, suffix: str) -> tuple[str, str]:
    for offset, signature, name, hint in _SIGNATURES:
        if head[offset:].startswith(signature):
            return name, hint
    what, todo = "neither safetensors nor a file of torch.save", SAVE
    if not head:
        what, todo = "empty", AGAIN
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        what, todo = "a web page, not the file that was asked for", "Its download failed: download it again."
    elif suffix == ".onnx" or (head[0] == 8 and any(mark in head[:64] for mark in (b"onnx", b"pytorch"))):
        what = "an ONNX model"
    elif head[0] == 0x80:  # how every binary pickle begins
        what = "a pickle that torch.save did not write"
    elif _is_text(head):
        what = "text"
    return what, todo


def is_safetensors(path: Path, *, complete: bool = True) -> bool:
    """Whether it begins as a safetensors file does: the header's length in 8 bytes, and a header in JSON.

    With `complete` the header must lie within the file.
    """
    with path.open("rb") as stream:
        head = stream.read(9)
    length = int.from_bytes(head[:8], "little")
    known = len(head) == 9 and head[8:] == b"{" and 2 <= length <= 100_000_000  # the format's own limit
    return known and (not complete or 8 + length <= path.stat().st_size)


def _zip_kind(path: Path) -> tuple[str, str] | None:
    try:
        if not zipfile.is_zipfile(path):
            return "cut short: a zip archive, as torch.save writes, without its end", AGAIN
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist()]
    except Exception:  # a damaged one makes nearly any kind
        return "a damaged zip archive", AGAIN
    inner = [name.partition("/")[2] for name in names]
    few = ", ".join(names[:3]) or "nothing"
    what = f"a zip archive that torch.save did not write: it holds {few}{' ...' if names[3:] else ''}"
    if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
        what = "TorchScript, which is a program"
    elif any("exported_program" in name or name.startswith("archive_format") for name in (*names, *inner)):
        what = "a program of torch.export"
    elif "model.weights.h5" in names:
        what = "a model of Keras"
    elif inner.count("data.pkl") == 1:
        return None
    return what, SAVE


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="replace")
    return all(letter.isprintable() or letter.isspace() for letter in text[:-1]) and "\ufffd" not in text[:-1]
