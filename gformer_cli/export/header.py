"""What stands in an exported file beside its graph, and how it is read: by no library, and without the tensors."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field

from gformer_cli import __version__
from gformer_cli.bundle import UNIVERSAL, Bundle, BundleHeader, file_hash, generator_path, read_header, sha256_of
from gformer_cli.bundle.header import GRAPH_SUFFIX, Part, parsed_header
from gformer_cli.errors import InputError
from gformer_cli.files import MIB, open_regular

GRAPH_FORMAT = 1
KEY = "gformer"
"""Of the metadata: JSON of `GraphHeader`. The other keys say parts of it again, for whoever reads no JSON."""
_LIMIT = 64 * MIB
"""Of the metadata together."""
_METADATA = 14
"""The field of ONNX's `ModelProto` with keys and values."""

Kind = Literal["adaptive", "static", "source"]


Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Accuracy(Part):
    """Of the same images."""

    float32: Share
    int8: Share


class Int8(Part):
    """How a file came to its integers, and what they cost."""

    calibrated: Annotated[int, Field(ge=1)]
    """Images that the ranges of activations are from."""
    measured: Annotated[int, Field(ge=1)]
    """Other images, with labels."""
    accuracy: dict[str, Accuracy]
    """By what answers: `source`, `bn` and `adapted`, where there is such an answer."""


class GraphHeader(Part):
    """Everything about an exported file that is not its graph."""

    format_version: Annotated[int, Field(ge=1)]
    kind: Kind
    guarded: bool
    """Whether the graph decides which parameters predict."""
    prepares: bool = False
    """Whether it resizes and normalises images itself."""
    bundle_sha256: str
    """Of the bundle's file."""
    bundle_name: str
    """That file's name, without the place."""
    version: str
    """Of gformer."""
    licence: str
    layer_names: list[str]
    """Of the adapted normalisation layers."""
    classifier_name: str
    image_bytes: Annotated[int, Field(ge=0)]
    """What an image takes of memory in the network's widest layer alone."""
    outputs: list[str]
    int8: Int8 | None = None
    """Where the network computes in integers."""
    bundle: BundleHeader


def is_graph_file(path: Path) -> bool:
    """Whether a model is meant to be an ONNX file: by its name."""
    return path.suffix.lower() == GRAPH_SUFFIX


def header_of(
    bundle: Bundle, path: Path, kind: Kind, outputs: Sequence[str], *, guarded: bool, prepares: bool = False
) -> GraphHeader:
    """The header of an export of `bundle`, which was read from `path`, to a graph of `outputs`."""
    return GraphHeader(
        format_version=GRAPH_FORMAT,
        kind=kind,
        guarded=guarded,
        prepares=prepares,
        bundle_sha256=file_hash(path),
        bundle_name=path.name,
        version=__version__,
        licence=_licence(bundle.header, kind),
        layer_names=bundle.backbone.layer_names,
        classifier_name=bundle.backbone.classifier_name,
        image_bytes=bundle.image_bytes,
        outputs=list(outputs),
        bundle=bundle.header,
    )


def metadata_of(header: GraphHeader) -> dict[str, str]:
    """Keys and values for the file's `metadata_props`."""
    bundle = header.bundle
    generator, size = bundle.generator.settings, bundle.preprocessing.image_size
    return {
        KEY: header.model_dump_json(),
        "format": str(header.format_version),
        "version": header.version,
        "kind": header.kind,
        "input": "uint8 (B, H, W, 3)" if header.prepares else f"float32 (B, 3, {size}, {size})",
        "bundle_sha256": header.bundle_sha256,
        "classes": json.dumps(bundle.classes, ensure_ascii=False),
        "preprocessing": bundle.preprocessing.model_dump_json(),
        "network": bundle.backbone.name,
        "generator": f"{generator.kind}, {bundle.generator.parameters} parameters" if header.kind == "adaptive" else "",
        "temperatures": json.dumps(_temperatures(bundle)),
        "licence": header.licence,
    }


def _temperatures(bundle: BundleHeader) -> dict[str, float]:
    """What logits are to be divided by before a softmax."""
    found = bundle.temperatures
    return {"source": 1.0, "adapted": 1.0} if found is None else {"source": found.source, "adapted": found.adapted}


def _licence(bundle: BundleHeader, kind: Kind) -> str:
    """Whose terms hold for what the file holds."""
    source = "the source model" if bundle.origin is None else f"the source model ({bundle.origin.weights})"
    if kind != "adaptive":
        return f"The weights are those of {source}: its licence holds."
    lineage = bundle.lineage
    of_universal = lineage is not None and lineage.parent == file_hash(generator_path(UNIVERSAL))
    of = " It is from universal: gformer inspect universal lists the licences of its data." if of_universal else ""
    return f"The weights are those of {source} and of a generator that was made for it: their licences hold.{of}"


def read_graph_header(path: Path) -> GraphHeader:
    """The checked header of an exported file; the graph is not looked at. Raises `InputError` for anything else."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            found = _metadata(file).get(KEY)
    except FileNotFoundError:
        raise InputError(f"no such ONNX file: {path}", "Write it with gformer export.") from None
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}", "Give a file that gformer export wrote."
        ) from error
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"{path} is no ONNX file, or damaged", "Give a file that gformer export wrote.") from None
    if found is None:
        raise InputError(
            f"{path} is an ONNX file without gformer's metadata",
            "Give one that gformer export wrote; a model of your own comes in with gformer import.",
        )
    return _parsed(path, found)


def model_hash(path: Path) -> str:
    """SHA-256 of a bundle's file or of an exported one. Raises `InputError` for anything else."""
    if not is_graph_file(path):
        return file_hash(path)
    read_graph_header(path)
    return sha256_of(path)


def model_header(path: Path) -> BundleHeader:
    """The header of a bundle, or of the one that a file was exported from. Raises `InputError` likewise."""
    return read_graph_header(path).bundle if is_graph_file(path) else read_header(path)


def _parsed(path: Path, text: str) -> GraphHeader:
    def damaged(what: str) -> InputError:
        return InputError(f"damaged ONNX file {path}: {what}", "Write it again with gformer export.")

    return parsed_header(text, GraphHeader, GRAPH_FORMAT, str(path), damaged)


def _metadata(file: BinaryIO) -> dict[str, str]:
    """Keys and values of an ONNX file. Raises `ValueError` for what is none.

    Its fields have a number and a length each: the graph is stepped over.
    """
    size = os.fstat(file.fileno()).st_size
    found: dict[str, str] = {}
    budget = _LIMIT
    while file.tell() < size:
        number, kind = divmod(_number(file), 8)
        if kind == 0:
            _number(file)
            continue
        if kind != 2:
            raise ValueError("no field of ONNX")
        length = _number(file)
        if length > size - file.tell():
            raise ValueError("cut off")
        if number != _METADATA:
            file.seek(length, os.SEEK_CUR)
            continue
        budget -= length
        if budget < 0:
            raise OSError(errno.EFBIG, f"its metadata are larger than {_LIMIT // MIB} MiB")
        key, value = _entry(file.read(length))
        found[key] = value
    if size == 0:
        raise ValueError("empty")
    return found


def _entry(content: bytes) -> tuple[str, str]:
    """Key and value of one entry."""
    file, parts = io.BytesIO(content), {1: "", 2: ""}
    while file.tell() < len(content):
        number, kind = divmod(_number(file), 8)
        if kind != 2 or number not in parts:
            raise ValueError("no entry of metadata")
        length = _number(file)
        if length > len(content) - file.tell():
            raise ValueError("cut off")
        parts[number] = file.read(length).decode("utf-8")
    return parts[1], parts[2]


def _number(file: BinaryIO) -> int:
    """The next number, seven bits a byte, the lowest first."""
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError("cut off")
        value |= (byte[0] & 127) << (7 * place)
        if byte[0] < 128:
            return value
    raise ValueError("a number without an end")
