"""Recomputing the batches of an audit log from the same files: the same predictions, or where they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gformer_cli.adapt.guarding import choose_guard
from gformer_cli.adapt.predictor import Predictor
from gformer_cli.audit.records import BatchRecord, Damage, Figure, ImageRecord, differing, read_log
from gformer_cli.audit.writer import environment, image_records
from gformer_cli.bundle import Bundle, Described
from gformer_cli.compute.threads import MOST_THREADS
from gformer_cli.errors import InputError
from gformer_cli.export.header import is_graph_file, model_hash, model_header
from gformer_cli.export.model import GraphModel, load_model
from gformer_cli.files import encodable
from gformer_cli.folders.domains import Domain, ImageFile, nfc
from gformer_cli.images.decoding import read_bytes
from gformer_cli.images.preprocessing import Batch, Decoded, read_images
from gformer_cli.progress import Progress, Silent
from gformer_cli.settings import TEMPERATURES
from gformer_cli.watch.moving import original_name

TOLERANCE = 1e-4
"""Largest difference of a confidence where device, hardware or versions are not those of the log."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the log has it."""

    line: int
    """Of the log, from 1."""
    batch: int
    target: str
    kind: str
    """`missing`, `content`, `bundle`, `decision`, `label` or `confidence`."""
    path: str | None
    """The image; None where the whole batch is meant."""
    logged: str | Figure
    now: str | Figure


@dataclass
class Replay:
    """What a replay found."""

    batches: int = 0
    images: int = 0
    equal: int = 0
    """Batches whose predictions are the same within the tolerance."""
    identical: int = 0
    """Batches whose confidences are the same to the last bit."""
    largest: float = 0.0
    """Largest difference of a confidence, where labels are equal."""
    differences: list[Difference] = field(default_factory=list)
    tolerances: set[float] = field(default_factory=set)
    """That were applied: 0 where the log was written on a machine like this one."""
    damage: Damage = field(default_factory=Damage)
    """Lines of the log that nothing can be replayed from."""
    elsewhere: list[str] = field(default_factory=list)
    """How the places that it was written in differ from this one."""

    def to_json(self) -> dict[str, Any]:
        """One document."""
        return {
            "same": self.equal == self.batches and not self.damage.count,
            "batches": self.batches,
            "images": self.images,
            "equal_batches": self.equal,
            "identical_batches": self.identical,
            "largest_difference": self.largest,
            "tolerances": sorted(self.tolerances),
            "elsewhere": self.elsewhere,
            "differences": [asdict(difference) for difference in self.differences],
            **self.damage.to_json(),
        }


class Files:
    """Images by the names that a log has for them."""

    def __init__(self, domains: Sequence[Domain]) -> None:
        self._exact: dict[tuple[str, str], ImageFile] = {}
        self._by_path: dict[str, list[ImageFile]] = {}
        self._moved: dict[tuple[str, str], list[ImageFile]] = {}
        composed: dict[tuple[str, str], ImageFile] = {}
        for domain in domains:
            target = nfc(encodable(domain.name))
            for file in domain.files:
                # files of a list may lie anywhere
                inside = file.path.is_relative_to(domain.root)
                inner = (file.path.relative_to(domain.root) if inside else file.path).as_posix()
                # the folder that was named may have been the domain, or the root above it
                for name in dict.fromkeys((file.relative, inner, f"{domain.name}/{inner}")):
                    self._exact.setdefault((target, encodable(name)), file)
                    composed.setdefault((target, nfc(encodable(name))), file)
                    self._by_path.setdefault(encodable(name), []).append(file)
                    before = original_name(name)
                    if before != name:
                        self._moved.setdefault((target, encodable(before)), []).append(file)
        self._exact = composed | self._exact  # a copy to another system may spell the names of files anew

    def find(self, target: str, path: str, sha256: str) -> ImageFile | None:
        """The file called `path` in `target`; under another target's name only where it is the only one.

        Where other files lie beside it that were moved there under the same name (`a~1.png`), the one with the content.
        """
        others = self._by_path.get(path, [])
        place = nfc(target), path
        named = self._exact.get(place) or self._exact.get((place[0], nfc(path)))
        named = named or (others[0] if len(others) == 1 else None)
        moved = self._moved.get(place, [])
        if not moved:
            return named
        found = [file for file in ([] if named is None else [named]) + moved if _has(file, sha256)]
        return found[0] if found else named


def replay(
    log: Path,
    models: Sequence[Path],
    domains: Sequence[Domain],
    *,
    device: torch.device,
    workers: int,
    tolerance: float | None = None,
    own_backbone: str | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Predict every logged batch again: the same files in the same order, with the bundle of the same hash.

    Labels and decisions must be equal, confidences within `tolerance`. By default that is 0, equal to the last bit,
    where the log tells the same device, hardware and versions as there are here, else `TOLERANCE`. Each batch is
    predicted on as many threads as it was then.

    Raises `InputError` for an unreadable log or bundle.
    """
    progress = progress or Silent()
    files, plain, found = Files(domains), environment(device), Replay()
    for model in models:
        model_header(model)  # a file that is no bundle is an error of its own, not "another bundle"
    paths = {model_hash(model): model for model in models}
    places = {sha256: environment(device, onnx=is_graph_file(model)) for sha256, model in paths.items()}
    predictors: dict[tuple[str, str], Predictor] = {}
    progress.begin("replaying", sum(1 for _ in read_log(log, Damage())))
    for line, record in read_log(log, found.damage):
        known = len(found.differences)
        here = places.get(record.bundle) or plain
        there = {key: record.settings.get(key) for key in here}
        limit = (0.0 if there == here else TOLERANCE) if tolerance is None else tolerance
        found.tolerances.add(limit)
        if there != here and (told := differing(there, here)) not in found.elsewhere:
            found.elsewhere.append(told)
        if record.bundle not in paths:
            given = ", ".join(sha256[:12] for sha256 in paths)
            found.differences.append(_of_batch(line, record, "bundle", record.bundle[:12], given))
        else:
            writer = record.bundle, record.settings_hash
            if writer not in predictors:
                said = record.settings.get("white_level")
                white = said if isinstance(said, int | float) else None
                bundle = load_model(
                    paths[record.bundle],
                    threads=_threads_of(record) or torch.get_num_threads(),
                    own_backbone=own_backbone,
                    white_level=white,
                )
                heat = record.settings.get("temperature")
                if isinstance(heat, int | float) and TEMPERATURES[0] <= heat <= TEMPERATURES[1]:
                    bundle.set_temperature(heat)
                if record.settings.get("order") != "arrival":  # a watcher knows of no folder
                    bundle.look_into(domains)
                predictors[writer] = _predictor(bundle, device, record)
            _replay_batch(line, record, predictors[writer], files, workers, limit, found)
        found.batches += 1
        found.images += len(record.images)
        found.equal += len(found.differences) == known
        progress.advance()
    progress.end()
    if not found.batches:
        raise InputError(f"audit log {log} holds no batch yet", "gformer adapt --audit FILE writes one line a batch.")
    return found


def _predictor(bundle: Bundle | GraphModel, device: torch.device, record: BatchRecord) -> Predictor:
    """One under the guard, the context and the precision that the record's settings tell of."""
    bundle.check_memory(len(record.images), device)
    mode, limits = record.settings.get("guard", "off"), record.settings.get("guard_limits", [])
    told = [str(limit) for limit in limits] if isinstance(limits, list) else []
    rule = choose_guard(bundle, wanted=mode != "off", limits=told)
    context = record.settings.get("context", 0)
    kept = context if isinstance(context, int) else 0
    precision = str(record.settings.get("precision", "float32"))
    return Predictor(bundle, device, rule, obeyed=mode == "on", context=kept, precision=precision)


def _threads_of(record: BatchRecord) -> int | None:
    """What the batch was computed on, as far as the log tells."""
    told = record.threads or record.settings.get("threads")
    return told if isinstance(told, int) and 0 < told <= MOST_THREADS else None  # a log may say anything


def _replay_batch(
    line: int,
    record: BatchRecord,
    predictor: Predictor,
    files: Files,
    workers: int,
    limit: float,
    found: Replay,
) -> None:
    batch, differences = _read(line, record, predictor.bundle, files, workers)
    found.differences += differences
    if batch is None:
        return
    predictor.pace.fix(_threads_of(record) or torch.get_num_threads())
    outcome = predictor.predict(batch, record.target)
    now = image_records(outcome, predictor.bundle.header.classes)
    if record.decision != outcome.verdict.decision:
        found.differences.append(_of_batch(line, record, "decision", record.decision, outcome.verdict.decision))
    identical = True
    for logged, again in zip(record.images, now, strict=True):
        for name in ("", "source_"):
            label, confidence = f"{name}label", f"{name}confidence"
            if getattr(logged, label) != getattr(again, label):
                found.differences.append(_of_image(line, record, logged, label, again))
                identical = False
                continue
            distance = _distance(getattr(logged, confidence), getattr(again, confidence))
            found.largest = max(found.largest, distance)
            identical = identical and distance == 0.0
            if distance > limit:
                found.differences.append(_of_image(line, record, logged, confidence, again))
    found.identical += identical


def _read(
    line: int, record: BatchRecord, bundle: Described, files: Files, workers: int
) -> tuple[Batch | None, list[Difference]]:
    """The batch as it was, or what has become of its files."""
    known = [(image, files.find(record.target, image.path, image.sha256)) for image in record.images]
    problems = [
        Difference(line, record.batch, record.target, "missing", image.path, image.sha256[:12], None)
        for image, file in known
        if file is None
    ]
    there = [(image, file) for image, file in known if file is not None]
    items = read_images([file for _, file in there], bundle.preprocessing, workers=workers)
    decoded: list[Decoded] = []
    for (image, _), item in zip(there, items, strict=True):
        now = item.digest[:12] if isinstance(item, Decoded) else item.reason
        if isinstance(item, Decoded) and item.digest == image.sha256:
            decoded.append(item)
        else:
            problems.append(
                Difference(line, record.batch, record.target, "content", image.path, image.sha256[:12], now)
            )
    if problems or not decoded:
        return None, problems
    pixels = torch.stack([item.pixels for item in decoded])
    return Batch(pixels, tuple(item.file for item in decoded), tuple(item.digest for item in decoded)), []


def _has(file: ImageFile, sha256: str) -> bool:
    try:
        return hashlib.sha256(read_bytes(file)).hexdigest() == sha256
    except (OSError, ValueError):  # told when it is read
        return False


def _of_batch(line: int, record: BatchRecord, kind: str, logged: str, now: str) -> Difference:
    return Difference(line, record.batch, record.target, kind, None, logged, now)


def _of_image(line: int, record: BatchRecord, logged: ImageRecord, kind: str, again: ImageRecord) -> Difference:
    return Difference(line, record.batch, record.target, kind, logged.path, getattr(logged, kind), getattr(again, kind))


def _distance(before: Figure, now: Figure) -> float:
    """Between two confidences; the most there can be where one of them alone is a number."""
    if before is None or now is None:
        return 0.0 if before is now else 1.0
    return abs(before - now)
