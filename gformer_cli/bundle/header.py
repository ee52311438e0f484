"""Everything about a bundle that is not a tensor. New fields have defaults, so that older files load."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open

from gformer_cli import __version__
from gformer_cli.bundle.check import BUNDLE, HEADER_LIMIT, Wanted, damaged
from gformer_cli.errors import InputError, plain
from gformer_cli.guard.rule import Guard
from gformer_cli.settings import TEMPERATURES, BackboneSettings, DataSettings, GeneratorSettings, Settings

FORMAT_VERSION = 3
"""1: BatchNorm alone, and the head is the linear layer defined last. 2: no imported models. Both are still read."""
KEY = "gformer"
"""The one key of the safetensors metadata: its library does not keep several in a fixed order."""
GENERATOR_KEY = "gformer-generator"
"""That of a generator in a file of its own."""
GRAPH_SUFFIX = ".onnx"
"""Of exported files."""


class Part(BaseModel):
    """Of a header. What a newer gformer adds to it is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class GeneratorHeader(Part):
    """The generator's settings and its size."""

    settings: GeneratorSettings
    parameters: int


class DataHeader(Part):
    """What the model was trained on."""

    domains: dict[str, dict[str, int]]
    """Per source domain the number of images per class."""
    fingerprint: str
    validation_accuracy: FiniteFloat | None = None
    """Of the source model, on validation images of these domains; None where it is not known."""
    still_rising: bool | None = None
    """Whether that accuracy was still rising when training of the source model ended; None where it is not known."""


class GuardHeader(Part):
    """The guard as it was calibrated."""

    rule: Guard
    figures: dict[str, float]
    """On held-out source images, by guards that were fitted without the domain and the hostile kinds at hand:
    `flagged_*` shares of batches, accuracy gained over the source model and the worst domain's loss (`harm`), without
    and with (`_guarded`) the guard."""


class EstimatorsHeader(Part):
    """What guesses of accuracy go by where no label tells (`core.estimators.Fitted`)."""

    confidence: FiniteFloat
    entropy: FiniteFloat
    dropout: Annotated[FiniteFloat, Field(ge=0.0, lt=1.0)] | None
    missed: dict[str, Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]] = {}
    accuracy: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
    """On the images that they were fitted on, which they reproduce."""


_Temperature = Annotated[FiniteFloat, Field(ge=TEMPERATURES[0], le=TEMPERATURES[1])]


class TemperaturesHeader(Part):
    """What logits are divided by before they become probabilities, so that confidences mean what they say."""

    source: _Temperature
    """Of the source model's answers."""
    adapted: _Temperature
    """Of adapted answers."""
    images: Annotated[int, Field(ge=0)]
    """Source images under simulated shifts that they were fitted on; 0 where somebody has said them."""
    figures: dict[str, FiniteFloat] = {}
    """On these images: `ece_source`, `ece_adapted`, and what the temperatures leave of them (`_calibrated`)."""
    estimators: dict[Literal["source", "adapted"], EstimatorsHeader] = {}
    """At these temperatures, on the same images; empty where somebody has said them, and in bundles of before."""


class StaticHeader(Part):
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


class LayersHeader(Part):
    """The normalisation layers of the network."""

    adapted: dict[str, Annotated[int, Field(ge=1)]]
    """How many of each kind, such as `LayerNorm`."""
    unadapted: dict[str, str] = {}
    """Why a layer stays as it is, by its name."""


class OriginHeader(Part):
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


class Lineage(Part):
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


class BundleHeader(Part):
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
    temperatures: TemperaturesHeader | None = None
    """None where none were fitted: then both are 1."""
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


def open_file(path: Path, wanted: Wanted = BUNDLE) -> Any:
    """A safetensors file whose tensors are read one by one. Raises `InputError` for anything else."""
    if not path.is_file():
        what = f"not a {wanted.name}, nor a regular file" if path.exists() else f"no such {wanted.name}"
        raise InputError(f"{what}: {path}", wanted.hint)
    if path.suffix.lower() == GRAPH_SUFFIX:
        raise InputError(
            f"not a {wanted.name}: {path} is an ONNX file",
            "Many commands take those of gformer export, this one does not: give the bundle that it was made from.",
        )
    try:
        with path.open("rb") as stream:
            beginning = stream.read(8)
        if int.from_bytes(beginning, "little") > HEADER_LIMIT:
            if beginning.startswith((b"PK", b"\x80\x02")):  # zipped or pickled, as torch saves
                hint = "gformer import takes it in: --weights FILE."
                raise InputError(f"not a {wanted.name}: {path} is a checkpoint", hint)
            is_text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in beginning)
            raise SafetensorError("it is text" if is_text else f"its header would be over {HEADER_LIMIT >> 20} MiB")
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"not a {wanted.name}: {path} ({str(error).splitlines()[0]})", wanted.hint) from None


def parse_header(path: Path, metadata: dict[str, str] | None) -> BundleHeader:
    """The checked header of a bundle from its file's metadata. Raises `InputError`."""
    if GENERATOR_KEY in (metadata or {}):
        raise InputError(
            f"not a bundle: {path} is a generator file, without a network",
            f"Put it on a network that gformer pretrain made: gformer import --run RUN --generator {path}",
        )
    return parse(path, metadata, KEY, BundleHeader, FORMAT_VERSION, BUNDLE)


_Header = TypeVar("_Header", bound=BaseModel)


def parse(
    path: Path, metadata: dict[str, str] | None, key: str, model: type[_Header], newest: int, wanted: Wanted
) -> _Header:
    """The header `model` under `key` of a file's metadata.

    Raises `InputError` where there is none, where its format is above `newest`, and where it is not a whole one.
    """
    text = (metadata or {}).get(key)
    if text is None:
        raise InputError(f"not a {wanted.name}: {path} is a safetensors file without gformer's header", wanted.hint)
    return parsed_header(text, model, newest, f"{wanted.name} {path}", lambda what: damaged(path, what, wanted=wanted))


def parsed_header(
    text: str, model: type[_Header], newest: int, file: str, damaged_by: Callable[[str], InputError]
) -> _Header:
    """The header `model` in `text`, which `file` holds.

    Raises `InputError` where its format is above `newest`, and what `damaged_by` makes of what is not a whole header.
    """
    try:
        version = _Versioned.model_validate_json(text).format_version
        if version > newest:
            raise InputError(
                f"{file} has format {version}; this gformer reads up to {newest}",
                "Upgrade gformer: pip install --upgrade gformer",
            )
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "header"
        raise damaged_by(f"{where}: {plain(first['msg'])}") from None


class _Versioned(Part):
    format_version: int
