"""Everything about a bundle that is not a tensor. New fields have defaults, so that older files load."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open

from gformer_cli import __version__
from gformer_cli.bundle.check import HEADER_LIMIT, damaged
from gformer_cli.errors import InputError, plain
from gformer_cli.guard.rule import Guard
from gformer_cli.settings import BackboneSettings, DataSettings, GeneratorSettings, Settings

FORMAT_VERSION = 3
"""1: BatchNorm alone, and the head is the linear layer defined last. 2: no imported models. Both are still read."""
KEY = "gformer"
"""The one key of the safetensors metadata: its library does not keep several in a fixed order."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class GeneratorHeader(_Part):
    """The generator's settings and its size."""

    settings: GeneratorSettings
    parameters: int


class DataHeader(_Part):
    """What the model was trained on."""

    domains: dict[str, dict[str, int]]
    """Per source domain the number of images per class."""
    fingerprint: str


class GuardHeader(_Part):
    """The guard as it was calibrated."""

    rule: Guard
    figures: dict[str, float]
    """On held-out source images, by guards that were fitted without the domain and the hostile kinds at hand:
    `flagged_*` shares of batches, accuracy gained over the source model and the worst domain's loss (`harm`), without
    and with (`_guarded`) the guard."""


class StaticHeader(_Part):
    """The sample that a static bundle was made from."""

    target: str
    """Its folder's name, without the place."""
    images: int
    batches: int
    batch_size: int
    seed: int
    """Of the order in which images formed batches."""
    fingerprint: str
    """SHA-256 over the SHA-256 of every image, in the order in which they were read."""


class LayersHeader(_Part):
    """The normalisation layers of the network."""

    adapted: dict[str, Annotated[int, Field(ge=1)]]
    """How many of each kind, such as `LayerNorm`."""
    unadapted: dict[str, str] = {}
    """Why a layer stays as it is, by its name."""


class OriginHeader(_Part):
    """Where an imported source model came from."""

    weights: str
    """The file's name, without the place, or the library's name of published weights, such as `IMAGENET1K_V2`."""
    sha256: str | None = None
    """Of that file."""
    entry: str | None = None
    """The entry of the checkpoint that holds the weights, such as `model_ema`; None for the whole file."""
    tensors: str
    """SHA-256 over names, types, shapes and contents of the network's own tensors, as they were imported."""
    classes: str
    """Where the classes' names and order came from."""
    transform: str
    """Where the preprocessing came from."""


class Lineage(_Part):
    """How a bundle came to be; data, settings and versions stand beside it in the header."""

    stage: Literal["import", "meta-train", "freeze"]
    parent: str | None = None
    """SHA-256 of the file of the bundle that this one was made from; None for the others."""
    parent_name: str | None = None
    """That file's name when it was read, without the place."""


def _unlike(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("two classes have one name")
    return names


def _rising(levels: tuple[float, float]) -> tuple[float, float]:
    if not levels[0] < levels[1]:
        raise ValueError("white is not above black")
    return levels


class BundleHeader(_Part):
    """Everything about a bundle that is not a tensor."""

    format_version: Annotated[int, Field(ge=1)]
    classes: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1), AfterValidator(_unlike)]
    preprocessing: DataSettings
    backbone: BackboneSettings
    generator: GeneratorHeader
    data: DataHeader
    validation: dict[str, FiniteFloat]
    """Figures on held-out source images under held-out shifts, by name."""
    versions: dict[str, str]
    settings: Settings
    levels: dict[Literal["integer", "float"], Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_rising)]] = {}
    """Black and white in images of more than 8 bits, per kind of samples, where all source folders agree."""
    guard: GuardHeader | None = None
    """None for a bundle without a calibrated guard."""
    static: StaticHeader | None = None
    """Of a bundle that `gformer freeze` made: it predicts every batch with the same parameters."""
    lineage: Lineage | None = None
    """None in bundles that were written before it was recorded, as with the hashes."""
    origin: OriginHeader | None = None
    """Of a bundle whose source model was imported, not trained by gformer."""
    class_map: dict[str, str] = {}
    """The class of a folder by its name, where folders are not named after their class."""
    layers: LayersHeader | None = None
    """None in bundles that were written before other layers than BatchNorm were adapted."""
    part_hashes: dict[str, str] = {}
    """Per kind of tensor (`backbone`, `generator`, ...) a SHA-256 over names, types, shapes and contents."""
    content_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 over the whole file with these 64 digits as zeros; see `integrity.py`."""


_BUILDERS = {"timm:": "timm", "hf:": "transformers"}
"""The library that builds a network whose name begins so."""


def library_versions(backbone: str = "") -> dict[str, str]:
    """Versions that a result may depend on; also of the library that the network `backbone` is of."""
    import torchvision

    builder = next((library for prefix, library in _BUILDERS.items() if backbone.startswith(prefix)), None)
    return {
        "gformer": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        **({builder: version(builder)} if builder is not None else {}),
    }


def open_file(path: Path) -> Any:
    """A safetensors file whose tensors are read one by one. Raises `InputError` for anything else."""
    if not path.is_file():
        what = "not a bundle, nor a regular file" if path.exists() else "no such bundle"
        raise InputError(f"{what}: {path}", "Give the .gformer file that gformer wrote.")
    try:
        with path.open("rb") as stream:
            if int.from_bytes(stream.read(8), "little") > HEADER_LIMIT:
                raise SafetensorError(f"its header would be over {HEADER_LIMIT >> 20} MiB")
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"not a bundle: {path} ({str(error).splitlines()[0]})",
            "Give the .gformer file that gformer wrote.",
        ) from None


def parse_header(path: Path, metadata: dict[str, str] | None) -> BundleHeader:
    text = (metadata or {}).get(KEY)
    if text is None:
        raise InputError(
            f"not a bundle: {path} is a safetensors file without gformer's header",
            "Give the .gformer file that gformer wrote.",
        )
    try:
        version = _Versioned.model_validate_json(text).format_version
        if version > FORMAT_VERSION:
            raise InputError(
                f"bundle {path} has format {version}; this gformer reads up to {FORMAT_VERSION}",
                "Upgrade gformer: pip install --upgrade gformer",
            )
        return BundleHeader.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "header"
        raise damaged(path, f"{where}: {plain(first['msg'])}") from None


class _Versioned(_Part):
    format_version: int
