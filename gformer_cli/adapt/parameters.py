"""Keeping every generated set of parameters, one file a batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save

from gformer_cli.adapt.predictor import Outcome
from gformer_cli.bundle import Bundle
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.parameters import Parameters
from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path, check_fillable, encodable, make_folder, writing_to

_FILES = "batch-*.safetensors"
_NEW = ".new"
"""Folder in it for the sets of a run that is to replace another, until it is done."""


def named_parameters(backbone: Backbone, used: Parameters) -> dict[str, torch.Tensor]:
    """`used` as copies on the CPU, by the names that they have in the network.

    Per normalisation layer `LAYER.weight` (γ), `LAYER.bias` (β) and `LAYER.mix` (the share of the batch's own
    statistics), and the classifier's `weight` and `bias`.
    """
    if used.mix is None:  # source statistics alone, said as the number that they are
        used = used.with_mix(torch.zeros(len(used.gammas)))
    # no two share storage, as the layers' mixing does: safetensors refuses that
    return {name: tensor.detach().cpu().clone() for name, tensor in backbone.assignment(used).items()}


class ParameterFolder:
    """A sink of outcomes: the parameters that predicted batch 7 as `batch-000007.safetensors`.

    Tensors are those of `named_parameters`. `Backbone.parameters_from` reads them. The metadata has one key,
    `gformer`: JSON of the bundle's SHA-256, the batch, its target, and the guard's decision and share.

    With `continued`, sets of earlier runs stay: batches go on being numbered. Raises `InputError` for a folder that is
    not empty, without `overwrite` or `continued`.
    """

    def __init__(
        self, folder: Path, bundle: Bundle, bundle_sha256: str, *, overwrite: bool = False, continued: bool = False
    ) -> None:
        self.folder = self._place = folder
        self.continued = continued
        self.bundle = bundle
        self.bundle_sha256 = bundle_sha256
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, not a folder", "Name a folder with --save-parameters.")
        if folder.is_dir() and any(folder.iterdir()) and not (overwrite or continued):
            raise InputError(
                f"folder of parameters is not empty: {folder}",
                "Replace the sets in it with --overwrite, or name another folder.",
            )
        check_fillable(folder)

    def begin(self) -> ParameterFolder:
        """Make the folder. Sets of a run before this one stay until `finish`, unless that is continued."""
        make_folder(self.folder)
        if not self.continued and any(self.folder.glob(_FILES)):
            self._place = self.folder / _NEW
            shutil.rmtree(self._place, ignore_errors=True)  # what a kill has left
            make_folder(self._place)
        return self

    def finish(self) -> None:
        """The sets of this run take the place of those before it."""
        if self._place == self.folder:
            return
        with writing_to(self.folder):
            for path in self.folder.glob(_FILES):
                path.unlink()
            for path in self._place.iterdir():
                path.rename(self.folder / path.name)
            self._place.rmdir()
        self._place = self.folder

    def abandon(self) -> None:
        """Leave those of the run before as they were."""
        if self._place != self.folder:
            shutil.rmtree(self._place, ignore_errors=True)

    def __call__(self, outcome: Outcome) -> None:
        """Write one set, atomically."""
        about = {
            "bundle": self.bundle_sha256,
            "batch": outcome.number,
            "target": encodable(outcome.target),
            "decision": outcome.verdict.decision,
            "share": outcome.verdict.share,
        }
        assert outcome.parameters is not None
        tensors = named_parameters(self.bundle.backbone, outcome.parameters)
        content = save(tensors, metadata={"gformer": json.dumps(about)})
        with atomic_path(self._place / f"batch-{outcome.number:06d}.safetensors") as temporary:
            temporary.write_bytes(content)
