"""What is kept of each batch beside its predictions: opened together, in the order that makes the log true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue

from gformer_cli.adapt.parameters import ParameterFolder
from gformer_cli.adapt.predictor import Sink
from gformer_cli.audit.writer import AuditLog, environment
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.export.header import model_hash
from gformer_cli.export.model import GraphModel
from gformer_cli.files import make_folder


@dataclass
class Kept:
    """An audit log, a folder of parameters, or neither. Nothing is touched before `open`."""

    log: AuditLog | None
    parameters: ParameterFolder | None

    @property
    def outputs(self) -> list[Path]:
        """What is written to."""
        found = [self.log.path] if self.log is not None else []
        return found + ([self.parameters.folder] if self.parameters is not None else [])

    @contextmanager
    def open(self) -> Iterator[list[Sink]]:
        """The sinks, for as long as the block lasts. The log is the last: what a line tells of is there by then."""
        with ExitStack() as stack:
            sinks: list[Sink] = []
            if self.parameters is not None:
                sinks.append(self.parameters.begin())
                stack.callback(self.parameters.abandon)
            if self.log is not None:
                make_folder(self.log.path.parent)
                sinks.append(stack.enter_context(self.log))
            yield sinks
            if self.parameters is not None:
                self.parameters.finish()


def plan_sinks(
    bundle: Bundle | GraphModel,
    model: Path,
    device: torch.device,
    settings: dict[str, JsonValue],
    *,
    audit: Path | None,
    append: bool,
    parameters: Path | None,
    overwrite: bool,
    continued: bool,
    others: list[Path],
) -> Kept:
    """What `--audit` and `--save-parameters` ask for; `settings` are the command's choices that decide predictions.

    With `continued` a folder of parameters goes on after its last set. Raises `InputError` for a log or folder that may
    not be written to, and a log that is one of the `others`, which would take its place.
    """
    if append and audit is None:
        raise InputError("--audit-append needs a log", "Add --audit FILE.")
    if audit is not None and audit.resolve() in {path.resolve() for path in others}:
        raise InputError(f"{audit} cannot hold both predictions and audit log", "Give them two names.")
    if audit is None and parameters is None:
        return Kept(None, None)
    if parameters is not None and isinstance(bundle, GraphModel):
        raise InputError(f"--save-parameters has no effect: {model} does not show them", "Predict with its bundle.")
    sha256 = model_hash(model)
    log, folder = None, None
    if audit is not None:
        here = environment(device, onnx=isinstance(bundle, GraphModel))
        log = AuditLog(audit, bundle, sha256, settings | here, append=append)
    if parameters is not None:
        assert isinstance(bundle, Bundle)
        folder = ParameterFolder(parameters, bundle, sha256, overwrite=overwrite, continued=continued)
    return Kept(log, folder)
