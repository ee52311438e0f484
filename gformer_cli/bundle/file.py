"""Writing and reading bundle files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gformer_cli.bundle.build import build_generator, build_model, constant_settings
from gformer_cli.bundle.check import (
    CONSTANT_NAMES,
    Stored,
    check_classes,
    check_part,
    check_values,
    damaged,
    stored_tensors,
)
from gformer_cli.bundle.described import Described, depth_of, with_white_level
from gformer_cli.bundle.header import (
    FORMAT_VERSION,
    BundleHeader,
    DataHeader,
    GeneratorHeader,
    GuardHeader,
    LayersHeader,
    Lineage,
    OriginHeader,
    StaticHeader,
    TemperaturesHeader,
    library_versions,
    open_file,
    parse_header,
)
from gformer_cli.bundle.integrity import stamped
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import Generator
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.static import StaticModel
from gformer_cli.core.trial import measured, trial_images, try_generation
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import atomic_path
from gformer_cli.images.depth import Depth, Kind
from gformer_cli.networks.build import OnMeta, build_network
from gformer_cli.networks.head import last_linear
from gformer_cli.networks.own_code import check_own_code, own_code
from gformer_cli.settings import Settings


@dataclass
class Bundle(Described):
    """A loaded bundle, frozen and in eval mode."""

    header: BundleHeader
    backbone: Backbone
    model: GeneralizeFormer | StaticModel
    """What predicts a batch; the latter in a static bundle."""
    constant: GeneralizeFormer | None = None
    """That of the constant generator, where one was meta-trained for comparison."""
    path: Path | None = None
    own_backbone: str | None = None
    """The user's `FILE.py:FUNCTION` that built the network, where it is of their own code."""
    image_bytes: int = 0
    depth: Depth = field(init=False)

    def __post_init__(self) -> None:
        self.depth = depth_of(self.header)

    @property
    def adapted_names(self) -> tuple[list[str], str]:
        """Those of the adapted normalisation layers, and of the classifier."""
        return self.backbone.layer_names, self.backbone.classifier_name

    def to(self, device: torch.device) -> Bundle:
        self.backbone.to(device)
        self.model.to(device)
        if self.constant is not None:
            self.constant.to(device)
        return self


def save_bundle(
    path: Path,
    *,
    backbone: Backbone,
    generator: Generator,
    constant: Generator | None,
    settings: Settings,
    classes: list[str],
    data: DataHeader,
    validation: dict[str, float],
    guard: GuardHeader | None = None,
    temperatures: TemperaturesHeader | None = None,
    levels: Mapping[Kind, tuple[float, float]] | None = None,
    lineage: Lineage | None = None,
    origin: OriginHeader | None = None,
    class_map: Mapping[str, str] | None = None,
) -> None:
    """Write what importing or meta-training made, atomically. The same contents give the same bytes.

    `origin` and `class_map` are those of an imported source model. Without a `lineage` it is meta-trained. It is
    read back before it takes its place: raises `WorkError` for contents that no later command could load.
    """
    own = settings.backbone.name if own_code(settings.backbone.name) else None
    # where files lie on this machine is nobody's business elsewhere; their names are
    places = {"weights": Path(settings.backbone.weights).name, "head": backbone.classifier_name}
    if own is not None:
        places["name"] = Path(own).name
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
        versions=library_versions(settings.backbone.name),
        settings=settings,
        levels=dict(levels or {}),
        guard=guard,
        temperatures=temperatures,
        lineage=lineage or Lineage(stage="meta-train"),
        origin=origin,
        class_map=dict(class_map or {}),
        layers=LayersHeader(adapted=backbone.families, unadapted=backbone.unadapted),
    )
    parts = {"backbone": backbone.network.state_dict(), "generator": generator.state_dict()}
    _write(path, header, parts | ({} if constant is None else {"constant": constant.state_dict()}), own)


def save_static_bundle(
    path: Path, *, parent: Bundle, lineage: Lineage, static: StaticHeader, theta: Parameters
) -> None:
    """Write a bundle that predicts with `theta` (see `StaticModel`) for good; as `save_bundle` does.

    It keeps the whole source model of `parent`, so that one can compare with it and go back to it, and leaves out the
    generators. What is white in the sample's images is white in all that follow.
    """
    whites = parent.depth.known | parent.depth.common()
    levels = {kind: (level.black, level.white) for kind, level in whites.items()}
    changes = {
        "format_version": FORMAT_VERSION,
        "static": static,
        "lineage": lineage,
        "versions": library_versions(parent.header.backbone.name),
        "guard": None,
        "levels": levels,
    }
    header = parent.header.model_copy(update=changes)
    backbone = parent.backbone
    parts = {"backbone": backbone.network.state_dict(), "static": backbone.assignment(theta)}
    _write(path, header, parts, parent.own_backbone)


def _write(
    path: Path, header: BundleHeader, parts: Mapping[str, Mapping[str, torch.Tensor]], own_backbone: str | None
) -> None:
    content = stamped(
        header,
        {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        },
    )
    with atomic_path(path) as temporary:  # the library's own writing does not raise OSError
        temporary.write_bytes(content)
        try:
            load_bundle(temporary, own_backbone=own_backbone)
        except InputError as error:
            reason = error.message.replace(str(temporary), str(path))
            raise WorkError(
                f"what was made cannot be used, so it is not kept: {reason}", "Nothing was written under that name."
            ) from None


def read_header(path: Path) -> BundleHeader:
    """The checked header of a bundle; no tensor is read. Raises `InputError` for anything else."""
    return parse_header(path, open_file(path).metadata())


def load_bundle(
    path: Path, device: torch.device | None = None, *, own_backbone: str | None = None, white_level: float | None = None
) -> Bundle:
    """A bundle, ready to predict; a `white_level` takes the place of its own.

    Raises `InputError` for a file that is not a whole, fitting bundle.

    A bundle of a user's own network holds its tensors and the name of its file, no code: `own_backbone`, the
    user's `FILE.py:FUNCTION`, builds it. A bundle by itself never makes any file run.
    """
    file = open_file(path)
    header = with_white_level(parse_header(path, file.metadata()), white_level)
    name = check_own_code(header.backbone.name, own_backbone, f"bundle {path}")
    before = "meta-train" if header.static is None else "freeze"  # where the bundle does not say it yet
    command = before if header.lineage is None else header.lineage.stage
    try:
        stored = stored_tensors(file)
        check_classes(path, stored, len(header.classes))
        if not own_code(name):  # a user's own code is built once, and for real
            with OnMeta():
                check_part(path, stored, "backbone", _backbone(name, header).network.state_dict())
        backbone = _backbone(name, header)
        check_part(path, stored, "backbone", backbone.network.state_dict())
        parts = _parts(path, file, stored, header, backbone)
        backbone.network.load_state_dict(parts["backbone"])
        bundle = _generating(header, backbone, parts) if header.static is None else _static(header, backbone, parts)
    except KeyError as error:
        raise damaged(path, f"tensors of {error} belong to nothing in its header", command) from None
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, error, command) from None
    _try(bundle, path, command)
    bundle.own_backbone = own_backbone
    bundle.path = path
    return bundle if device is None else bundle.to(device)


def _generated(bundle: Bundle, images: torch.Tensor) -> torch.Tensor:
    return bundle.model(bundle.backbone, images).logits  # type: ignore[no-any-return]


@torch.no_grad()
def _try(bundle: Bundle, path: Path, command: str) -> None:
    """Raises `InputError` where the network does not take images of the header's size, or answers with no logits.

    Sets what an image takes of memory.
    """
    header, images = bundle.header, trial_images(1, bundle.header.preprocessing.image_size, torch.device("cpu"))
    try:
        with measured(bundle.backbone.network) as sizes:
            try_generation(bundle.backbone.network, header.backbone.name, len(header.classes), images)
        bundle.image_bytes = max(sizes, default=0)
        predict = partial(_generated, bundle)
        try_generation(predict, header.backbone.name, len(header.classes), images)
    except InputError as error:
        if own_code(header.backbone.name):  # the file is as it was, the code is not
            raise
        raise damaged(path, error.message, command) from None


def _parts(
    path: Path, file: Any, stored: Mapping[str, Stored], header: BundleHeader, backbone: Backbone
) -> dict[str, dict[str, torch.Tensor]]:
    """Every tensor of the file by the part it belongs to; read only once all shapes are those of the header."""
    wanted = header.generator.settings
    constant = next((name for name in CONSTANT_NAMES if any(key.startswith(f"{name}.") for key in stored)), None)
    names = (
        ["backbone", "static"]
        if header.static is not None
        else ["backbone", "generator", *([constant] if constant else [])]
    )
    parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names}
    if header.static is None:
        with OnMeta():
            check_part(path, stored, "generator", build_generator(wanted, backbone).state_dict())
            if constant is not None:
                check_part(path, stored, constant, build_generator(constant_settings(wanted), backbone).state_dict())
    for key in stored:
        part, _, name = key.partition(".")
        parts[part][name] = file.get_tensor(key)
        check_values(path, key, parts[part][name])
    if constant is not None:
        parts["constant"] = parts.pop(constant)
    return parts


def _generating(header: BundleHeader, backbone: Backbone, parts: Mapping[str, dict[str, torch.Tensor]]) -> Bundle:
    wanted = header.generator.settings
    described = {"generator": wanted, "constant": constant_settings(wanted)}
    made: dict[str, GeneralizeFormer] = {}
    for part in described.keys() & parts.keys():
        generator = build_generator(described[part], backbone)
        generator.load_state_dict(parts[part])
        made[part] = build_model(described[part], generator).eval().requires_grad_(False)
    return Bundle(header, backbone.freeze(), made["generator"], made.get("constant"))


def _static(header: BundleHeader, backbone: Backbone, parts: Mapping[str, dict[str, torch.Tensor]]) -> Bundle:
    return Bundle(header, backbone.freeze(), StaticModel(backbone.parameters_from(parts["static"])).eval())


def _backbone(name: str, header: BundleHeader) -> Backbone:
    settings = header.backbone
    size = header.preprocessing.image_size
    network = build_network(
        name,
        len(header.classes),
        stem=settings.stem,
        width=settings.width,
        image_size=size,
        config=settings.config,
    )
    # bundles that do not say which layer their head is were written when it was the linear layer defined last
    return Backbone(network, head=settings.head or last_linear(network))
