"""The bundle: one file that holds a trained model and everything needed to use it elsewhere.

It is a safetensors file. Tensors `backbone.*` are the source model's state dict, `generator.*` the
generator's, `control.*` those of its input-blind control where there is one; the header's metadata has one key,
`gformer`, with the JSON of `BundleHeader`. Loading runs no code from the file and checks the header before a tensor
is read.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gformer_cli import __version__
from gformer_cli.bundle_check import HEADER_LIMIT, check_classes, check_part, check_values, damaged, stored_tensors
from gformer_cli.config import BackboneSettings, DataSettings, GeneratorSettings, Settings
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import (
    ChannelGenerator,
    ConstantGenerator,
    Generator,
    Reads,
    Scope,
    VectorGenerator,
)
from gformer_cli.core.networks import OnMeta, build_network, own_code
from gformer_cli.data.images import Preprocessing
from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path

FORMAT_VERSION = 1
_KEY = "gformer"


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


def _unlike(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("two classes have one name")
    return names


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


@dataclass
class Bundle:
    """A loaded bundle, frozen and in eval mode."""

    header: BundleHeader
    backbone: Backbone
    method: GeneralizeFormer
    control: GeneralizeFormer | None = None
    """The input-blind control that was meta-trained beside the generator."""

    @property
    def preprocessing(self) -> Preprocessing:
        data = self.header.preprocessing
        return Preprocessing(data.image_size, data.resize, data.mean, data.std)

    def to(self, device: torch.device) -> Bundle:
        self.backbone.to(device)
        self.method.to(device)
        if self.control is not None:
            self.control.to(device)
        return self


def build_generator(settings: GeneratorSettings, backbone: Backbone) -> Generator:
    """The untrained generator that `settings` describe, for networks like `backbone`."""
    scope = Scope(
        bn=settings.generates != "classifier",
        classifier=settings.generates != "bn",
        bias=settings.classifier_bias,
        mixing=settings.mixing,
        last_layers=settings.last_layers,
    )
    if settings.kind == "constant":
        return ConstantGenerator(backbone, scope=scope)
    reads = Reads(gradients=settings.gradients, statistics=settings.statistics, features=settings.features)
    size = {
        "width": settings.width,
        "depth": settings.depth,
        "heads": settings.heads,
        "feed_forward": settings.feed_forward,
    }
    if settings.kind == "vector":
        return VectorGenerator(backbone, **size, reads=reads, scope=scope)
    return ChannelGenerator(**size, channel_width=settings.channel_width, reads=reads, scope=scope)


def control_settings(settings: GeneratorSettings) -> GeneratorSettings:
    """Those of the input-blind control of a generator."""
    return settings.model_copy(update={"kind": "constant"})


def library_versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    import torchvision

    return {
        "gformer": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def save_bundle(
    path: Path,
    *,
    backbone: Backbone,
    generator: Generator,
    control: Generator | None,
    settings: Settings,
    classes: list[str],
    data: DataHeader,
    validation: dict[str, float],
) -> None:
    """Write a bundle atomically. The same contents give the same bytes."""
    # where files lie on this machine is nobody's business elsewhere; their names are
    places = {"weights": Path(settings.backbone.weights).name}
    if own_code(settings.backbone.name):
        places["name"] = Path(settings.backbone.name).name
    settings = settings.model_copy(update={"backbone": settings.backbone.model_copy(update=places)})
    header = BundleHeader(
        format_version=FORMAT_VERSION,
        classes=classes,
        preprocessing=settings.data,
        backbone=settings.backbone,
        generator=GeneratorHeader(
            settings=settings.generator, parameters=sum(p.numel() for p in generator.parameters())
        ),
        data=data,
        validation=validation,
        versions=library_versions(),
        settings=settings,
    )
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.network.state_dict().items()}
    tensors |= {f"generator.{name}": tensor for name, tensor in generator.state_dict().items()}
    if control is not None:
        tensors |= {f"control.{name}": tensor for name, tensor in control.state_dict().items()}
    # one metadata key only: the library does not keep several in a fixed order
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={_KEY: header.model_dump_json()},
    )
    with atomic_path(path) as temporary:  # the library's own writing does not raise OSError
        temporary.write_bytes(content)


def read_header(path: Path) -> BundleHeader:
    """The checked header of a bundle; no tensor is read. Raises `InputError` for anything else."""
    return _parse_header(path, _open(path).metadata())


def load_bundle(path: Path, device: torch.device | None = None, *, own_backbone: str | None = None) -> Bundle:
    """A bundle, ready to predict. Raises `InputError` for a file that is not a whole, fitting bundle.

    A bundle of a user's own network holds its tensors and the name of its file, no code: `own_backbone`, the
    user's `FILE.py:FUNCTION`, builds it. A bundle by itself never makes any file run.
    """
    file = _open(path)
    header = _parse_header(path, file.metadata())
    name, wanted = _backbone_name(path, header, own_backbone), header.generator.settings
    parts: dict[str, dict[str, torch.Tensor]] = {"backbone": {}, "generator": {}, "control": {}}
    try:
        stored = stored_tensors(file)
        check_classes(path, stored, len(header.classes))
        if not own_code(name):  # a user's own code is built once, and for real
            with OnMeta():
                check_part(path, stored, "backbone", _backbone(name, header).network.state_dict())
        backbone = _backbone(name, header)
        check_part(path, stored, "backbone", backbone.network.state_dict())
        with OnMeta():
            check_part(path, stored, "generator", build_generator(wanted, backbone).state_dict())
        generator, control = build_generator(wanted, backbone), build_generator(control_settings(wanted), backbone)
        for key in stored:
            part, _, name = key.partition(".")
            parts[part][name] = file.get_tensor(key)
            check_values(path, key, parts[part][name])
        if parts["control"]:
            check_part(path, stored, "control", control.state_dict())
            control.load_state_dict(parts["control"])
        backbone.network.load_state_dict(parts["backbone"])
        generator.load_state_dict(parts["generator"])
    except KeyError as error:
        raise damaged(path, f"tensors of {error} belong to nothing in its header") from None
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, error) from None
    backbone.freeze()
    method, blind = (
        GeneralizeFormer(made, prior_count=wanted.prior_count).eval().requires_grad_(False)
        for made in (generator, control)
    )
    bundle = Bundle(header, backbone, method, blind if parts["control"] else None)
    return bundle if device is None else bundle.to(device)


def _backbone(name: str, header: BundleHeader) -> Backbone:
    settings = header.backbone
    return Backbone(build_network(name, len(header.classes), stem=settings.stem, width=settings.width))


def _backbone_name(path: Path, header: BundleHeader, own_backbone: str | None) -> str:
    name = header.backbone.name
    if own_backbone is not None and not (own_code(own_backbone) and own_code(name)):
        raise InputError(
            f"--backbone {own_backbone} does not go with bundle {path}, whose backbone is {name}",
            "Only a bundle of your own FILE.py:FUNCTION needs it.",
        )
    if own_code(name) and own_backbone is None:
        raise InputError(
            f"bundle {path} holds a network of somebody's own code, {name}, which is not run from a bundle",
            "If you have that file and trust it, pass it: --backbone FILE.py:FUNCTION",
        )
    return own_backbone or name


def _open(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"no such bundle: {path}", "Give the .gformer file that gformer meta-train wrote.")
    try:
        with path.open("rb") as stream:
            if int.from_bytes(stream.read(8), "little") > HEADER_LIMIT:
                raise SafetensorError(f"its header would be over {HEADER_LIMIT >> 20} MiB")
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"not a bundle: {path} ({str(error).splitlines()[0]})",
            "Give the .gformer file that gformer meta-train wrote.",
        ) from None


def _parse_header(path: Path, metadata: dict[str, str] | None) -> BundleHeader:
    text = (metadata or {}).get(_KEY)
    if text is None:
        raise InputError(
            f"not a bundle: {path} is a safetensors file without gformer's header",
            "Give the .gformer file that gformer meta-train wrote.",
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
        raise damaged(path, f"{where}: {first['msg']}") from None


class _Versioned(_Part):
    format_version: int
