"""A run folder: what lies where, and who may write to it.

RUN/settings.yaml           resolved settings
RUN/images.json             which source images it is trained on, from the start
RUN/inventory.csv           sizes, times and hashes of their files: the next start need not look into them again
RUN/source.json             when pretrain is done: classes, domains, counts, fingerprint of the source images
RUN/imported.json           of an imported source model: its classes, and where it came from
RUN/models/*.safetensors    `all` and, per source domain, `without-DOMAIN` (see `labelled_file` for other names)
RUN/checkpoints/*.pt        unfinished training, for --resume
RUN/pretrain.jsonl          figures while training; RUN/meta-train.jsonl likewise
RUN/model.gformer           the bundle that meta-train writes, or import
RUN/next/                   the run that is to replace this one, unfinished
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from gformer_cli.bundle import DataHeader, OriginHeader, read_header
from gformer_cli.compute import ranks
from gformer_cli.config import to_yaml, validate
from gformer_cli.data.labelled import LabelledDomain, write_known
from gformer_cli.errors import InputError
from gformer_cli.files import (
    MIB,
    atomic_path,
    check_fillable,
    make_folder,
    read_regular,
    read_text,
    remove_tree,
    write_json,
    write_text,
    writing_to,
)
from gformer_cli.preset_files import parse_yaml
from gformer_cli.settings import Settings
from gformer_cli.train.checkpoint import Checkpoint
from gformer_cli.train.run_files import clear, labelled_file, require_same
from gformer_cli.train.source_images import SourceImages
from gformer_cli.weights.torch_files import unusable

ALL = "all"
_NEXT = "next"
"""Folder within a run's: the run that `pretrain --overwrite` trains, until it is complete."""
_EARLIER = {"constant": ("control",)}
"""What checkpoints were called before, by their label."""
_LARGEST = 16 * MIB
"""Bytes of settings.yaml, images.json and source.json."""
OTHER_IMAGES = "Resume with the images it was started with, or start again with --overwrite."
"""What to do where they are not."""


@dataclass(frozen=True)
class SourceData:
    """What the source model was trained on."""

    classes: list[str]
    domains: dict[str, dict[str, int]]
    """Per domain the number of readable images per class."""
    fingerprint: str
    leave_one_domain_out: Annotated[bool, Field(validation_alias=AliasChoices("leave_one_domain_out", "leave_one_out"))]
    """Whether there is a model without each domain; in older files under its earlier name."""
    validation_accuracy: float | None = None
    """Of the model trained on all domains, on their validation images; None for one that was imported."""
    still_rising: bool | None = None
    """Whether that accuracy was still rising when training ended (`rising`); None where it is not known."""

    def header(self) -> DataHeader:
        """What a bundle says of it."""
        return DataHeader(
            domains=self.domains,
            fingerprint=self.fingerprint,
            validation_accuracy=self.validation_accuracy,
            still_rising=self.still_rising,
        )


class Imported(BaseModel):
    """A source model that was trained elsewhere."""

    model_config = ConfigDict(frozen=True)

    classes: list[str]
    """In the order of its head."""
    class_map: dict[str, str]
    """The class of a folder by its name, where folders are not named after their class."""
    origin: OriginHeader


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._use(root)

    def _use(self, root: Path) -> None:
        self.place = root
        """Where its files lie: `root`, or a folder in it while a run is trained that is to replace another."""
        self.settings_path = root / "settings.yaml"
        self.images_path = root / "images.json"
        self.inventory_path = root / "inventory.csv"
        self.source_path = root / "source.json"
        self.imported_path = root / "imported.json"
        self.models = root / "models"
        self.checkpoints = root / "checkpoints"
        self.pretrain_log = root / "pretrain.jsonl"
        self.meta_train_log = root / "meta-train.jsonl"
        self.bundle = root / "model.gformer"
        self.pixels_path = self.checkpoints / "pixels.bin"
        """Decoded images, while several processes train."""
        self.damaged_path = self.checkpoints / "damaged.jsonl"
        """Images that turned out to be damaged when they were decoded."""

    @property
    def started(self) -> bool:
        """Whether training of the source model, or its import, has begun here."""
        return self.settings_path.is_file() or self.imported_path.is_file()

    @property
    def pretrained(self) -> bool:
        """Whether the source model is there, trained or imported."""
        return self.source_path.is_file() or self.imported_path.is_file()

    @property
    def meta_trained(self) -> bool:
        """Whether the bundle is one that meta-train wrote; import writes one whose generator is from elsewhere."""
        if not self.bundle.exists():
            return False
        try:
            lineage = read_header(self.bundle).lineage
        except InputError:  # what it was is not known, so it must not be replaced unasked
            return True
        return lineage is None or lineage.stage != "import"

    @property
    def takes_in(self) -> bool:
        """Whether an imported model is being shown the images that it is meta-trained on, or was when that stopped."""
        return self.imported_path.is_file() and self.images_path.is_file() and not self.source_path.is_file()

    def check_claim(self, settings: Settings, *, resume: bool, overwrite: bool) -> None:
        """Raises `InputError` where `claim` would; touches nothing. The first of several processes looks for all."""
        self._use(ranks.from_first(lambda: self._checked(settings, resume=resume, overwrite=overwrite)))

    def _checked(self, settings: Settings, *, resume: bool, overwrite: bool) -> Path:
        """Where the run lies that is begun, or gone on with."""
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root} is a file, not a folder", "Name another --run.")
        check_fillable(self.root)
        if not self.root.is_dir() or not any(self.root.iterdir()):
            return self.place
        ours = self.started or RunFolder(self.root / _NEXT).started  # the latter where `finish` was killed
        if resume and RunFolder(self.root / _NEXT).settings_path.is_file():
            self._use(self.root / _NEXT)
        if resume:
            if not ours:
                raise InputError(f"{self.root} holds no run to resume", "Start without --resume in a new folder.")
            if self.imported_path.is_file():
                raise InputError(f"the source model of {self.root} is imported, not trained", "Name another --run.")
            require_same(self.settings(), settings, self.root)
        elif not overwrite:
            raise self._taken()
        elif not ours:
            raise InputError(
                f"{self.root} is not a run of gformer, so --overwrite does not clear it",
                "Name another --run, or empty the folder yourself.",
            )
        return self.place

    def _taken(self) -> InputError:
        if self.imported_path.is_file():
            unfinished = "" if self.bundle.exists() else " (it holds an import that is not finished)"
            hint = "Replace it with --overwrite, or name another --run."
        else:
            half = self.started and not self.pretrained
            unfinished = " (it holds a source model that is not finished)" if half else ""
            hint = "Continue it with --resume, replace it with --overwrite, or name another --run."
        return InputError(f"output folder is not empty: {self.root}{unfinished}", hint)

    def claim(
        self,
        settings: Settings,
        *,
        resume: bool,
        overwrite: bool,
        images: SourceImages | None = None,
        imported: Imported | None = None,
    ) -> None:
        """Make the folder ours: empty, or resumed with the same settings and `images`, or cleared on request.

        What is `imported` is said first of all, so that nothing takes what is unfinished for a model to be trained.
        A finished run is not cleared before `finish`: until then the new one lies in a folder of its own.

        Raises `InputError` for a non-empty folder without `resume` or `overwrite`, one that is not a run, and
        a resume with other settings or images. The first of several processes does it for all.
        """
        self._use(ranks.from_first(lambda: self._claimed(settings, resume, overwrite, images, imported)))

    def _claimed(
        self,
        settings: Settings,
        resume: bool,
        overwrite: bool,
        images: SourceImages | None,
        imported: Imported | None,
    ) -> Path:
        self._use(self._checked(settings, resume=resume, overwrite=overwrite))
        before = self.images() if resume else None
        if before is not None and images is not None:
            before.require(images, OTHER_IMAGES)
        if overwrite and (self.source_path.exists() or self.bundle.exists()):  # what is finished stays until this is
            self._use(self.root / _NEXT)
        make_folder(self.place)
        if not resume:
            clear(self.place)
        if imported is not None:
            self.write_imported(imported)
        if not self.settings_path.is_file():
            write_text(self.settings_path, to_yaml(settings))
        if images is not None and not self.images_path.is_file():
            self.write_images(images)
        return self.place

    def images(self) -> SourceImages | None:
        """What the run is trained on; None before it is claimed, and in an older one until `pretrain` was done."""
        try:
            if self.images_path.is_file():
                return TypeAdapter(SourceImages).validate_json(read_regular(self.images_path, _LARGEST))
        except (OSError, ValueError):
            raise self._not_a_run() from None
        if not self.source_path.is_file():
            return None
        source = self.source()
        return SourceImages.of_counts(source.fingerprint, source.domains)

    def settings(self) -> Settings:
        """The settings the run was started with."""
        try:
            return validate(parse_yaml(read_text(self.settings_path, _LARGEST)))
        except (OSError, yaml.YAMLError):
            raise self._not_a_run() from None

    def source(self) -> SourceData:
        """What `pretrain` recorded when it was done; of an imported model, what it was last meta-trained on."""
        imported = self.imported()
        if imported is not None and not self.source_path.is_file():
            return SourceData(imported.classes, {}, "", leave_one_domain_out=False)
        try:
            return TypeAdapter(SourceData).validate_json(read_regular(self.source_path, _LARGEST))
        except (OSError, ValueError):
            raise self._not_a_run() from None

    def imported(self) -> Imported | None:
        """What is known of an imported source model; None where it was trained here."""
        if not self.imported_path.is_file():
            return None
        try:
            return Imported.model_validate_json(read_regular(self.imported_path, _LARGEST))
        except (OSError, ValueError):
            raise self._not_a_run() from None

    def write_images(self, images: SourceImages) -> None:
        write_json(self.images_path, asdict(images))

    def write_inventory(self, loaded: Sequence[LabelledDomain]) -> None:
        """Write what is known of the files: an `Inventory`."""
        write_known(self.inventory_path, loaded)

    def write_imported(self, imported: Imported) -> None:
        write_json(self.imported_path, imported.model_dump(mode="json"))

    def write_source(self, source: SourceData) -> None:
        write_json(self.source_path, asdict(source))

    def model_path(self, label: str) -> Path:
        return labelled_file(self.models, label, ".safetensors")

    def save_model(self, label: str, tensors: Mapping[str, torch.Tensor]) -> None:
        make_folder(self.models)
        with atomic_path(self.model_path(label)) as temporary:
            # written here: the library's own writing does not raise OSError
            temporary.write_bytes(save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}))

    def load_model(self, label: str) -> dict[str, torch.Tensor]:
        path = self.model_path(label)
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read {path}: {error}", self._again()) from None

    def put_model(self, label: str, network: nn.Module) -> None:
        """Load the saved model into `network`; raises `InputError` for tensors that are broken or not the network's."""
        state, path = self.load_model(label), self.model_path(label)
        broken = unusable(state)
        if broken is not None:
            raise InputError(f"cannot use {path}: {broken}", self._again())
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            reason = textwrap.shorten(str(error), 200)
            raise InputError(f"{path} does not fit: {reason}", self._again()) from None

    def _again(self) -> str:
        """What to do about a source model that cannot be used."""
        imported = self.imported_path.is_file()
        return "Import it again: gformer import --overwrite." if imported else "Run gformer pretrain again."

    def checkpoint(self, label: str) -> Checkpoint:
        """Of the training of `label`, under the name that an earlier version gave it where there is such a file."""
        paths = [labelled_file(self.checkpoints, name, ".pt") for name in (label, *_EARLIER.get(label, ()))]
        return Checkpoint(next((path for path in paths if path.is_file()), paths[0]))

    def finish(self) -> None:
        """The run is complete: it takes the place of the one before it. The first of several processes sees to it."""
        ranks.from_first(self._finish)
        self._use(self.root)

    def _finish(self) -> None:
        self.drop_checkpoints()
        if self.place == self.root:
            return
        clear(self.root, but=self.place)
        with writing_to(self.root):
            for path in self.place.iterdir():
                path.rename(self.root / path.name)
            self.place.rmdir()

    def forget_images(self) -> None:
        """Of an imported model: what it was meta-trained on, and the copies that were fine-tuned for that."""
        with writing_to(self.root):
            for path in (self.images_path, self.source_path):
                path.unlink(missing_ok=True)
            for path in self.models.iterdir():
                if path != self.model_path(ALL):
                    path.unlink()

    def drop_checkpoints(self) -> None:
        with suppress(OSError):
            remove_tree(self.checkpoints)

    def _not_a_run(self) -> InputError:
        return InputError(
            f"{self.root} is not a finished run of gformer pretrain or gformer import",
            "Run: gformer pretrain --source DIR ... --run RUN (add --resume if it was interrupted).",
        )
