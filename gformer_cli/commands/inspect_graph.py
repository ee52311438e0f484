"""What `gformer inspect` shows of an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.errors import InputError, WorkError

if TYPE_CHECKING:
    from gformer_cli.export.header import GraphHeader, Int8


def graph_rows(header: GraphHeader) -> list[list[str]]:
    """What is the file's own; what it has from its bundle comes after it."""
    what = {
        "adaptive": "parameters are generated for each batch",
        "static": "parameters that a static bundle keeps",
        "source": "the source model as it was",
    }[header.kind]
    return [
        ["kind", f"{header.kind}: {what}"],
        ["decision", "of the guard, in the graph" if header.guarded else "none: no guard in the graph"],
        ["takes", "uint8 (B, H, W, 3) of any size" if header.prepares else "what is prepared as input says"],
        *([] if header.int8 is None else [["computes in", _integers(header.int8)]]),
        ["exported from", f"{header.bundle_name} (SHA-256 {header.bundle_sha256})"],
        ["exported by", f"gformer {header.version}, file format {header.format_version}"],
        ["licence", header.licence],
    ]


def _integers(int8: Int8) -> str:
    costs = ", ".join(
        f"{name} {100 * one.float32:.1f} to {100 * one.int8:.1f} %" for name, one in int8.accuracy.items()
    )
    return (
        f"8-bit integers in the network, calibrated on {int8.calibrated} images; "
        f"accuracy of {int8.measured} others: {costs}"
    )


def check_graph(file: Path, header: GraphHeader, parent: Path | None, *, verify: bool) -> None:
    """Raises `WorkError` unless the file was made from the bundle `parent`, where one is given."""
    from gformer_cli.bundle import file_hash

    if verify:
        raise InputError(
            f"{file} is an ONNX file, which records no hash of its own", "Ask with --parent for its bundle."
        )
    if parent is not None and file_hash(parent) != header.bundle_sha256:
        raise WorkError(
            f"{file} was not exported from {parent}", f"Its bundle was {header.bundle_name}: export that again."
        )
