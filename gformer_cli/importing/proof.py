"""How good an imported model is on labelled images, and what its mistakes suggest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain
from gformer_cli.images.preprocessing import Preprocessing, Skipped
from gformer_cli.progress import Progress
from gformer_cli.train.answers import answers

TOLERANCE = 0.002
"""What an accuracy may differ from the expected one: decoders of other versions round otherwise."""
_POOR = 0.25
"""Below this share of the way from chance to perfect something is likely wrong with the import."""
_FEW = 5
"""Images of a class that show by themselves what it is read as."""
_MANY = 0.1
"""Share of all images that another order of classes must mend where no class by itself is sure."""
_SHOWN = 3
"""Pairs of classes that a warning names."""

Confusion = Counter[tuple[int, int]]
"""How many images of a class (first) were answered with a class (second), by index."""


@dataclass(frozen=True)
class Proof:
    """What a model answered to labelled images."""

    classes: Sequence[str]
    domains: Mapping[str, Confusion]
    skipped: list[Skipped]

    @property
    def confusion(self) -> Confusion:
        """Of all domains together."""
        return sum(self.domains.values(), Counter())

    @property
    def images(self) -> int:
        return self.confusion.total()

    @property
    def accuracy(self) -> float:
        """Share of all images that were answered rightly."""
        return accuracy_of(self.confusion)

    def by_class(self) -> dict[str, tuple[int, float]]:
        """Per class that has images: how many, and the share that was answered rightly."""
        confusion = self.confusion
        counts = _images_of(confusion)
        return {self.classes[i]: (counts[i], confusion[i, i] / counts[i]) for i in sorted(counts)}

    def suspicion(self) -> str | None:
        """What looks wrong with the import, if anything does: classes in another order, or a poor answer altogether."""
        confusion = self.confusion
        moved = _reordered(confusion)
        if moved:
            pairs = [f"{self.classes[i]!r} is read as {self.classes[j]!r}" for i, j in list(moved.items())[:_SHOWN]]
            more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
            right = sum(confusion[i, moved.get(i, i)] for i in _images_of(confusion))
            return (
                f"are the classes in the order of the model's head? {', '.join(pairs)}{more}: in that order "
                f"{100.0 * right / self.images:.1f} % would be right"
            )
        present = len(_images_of(confusion))
        chance = 1.0 / max(2, present)
        if (self.accuracy - chance) / (1.0 - chance) < _POOR:
            return (
                f"{100.0 * self.accuracy:.1f} % is little better than guessing among {present} classes. "
                "Do the transform, the classes and the weights belong to one model?"
            )
        return None

    def require(self, expected: float) -> None:
        """Raises `WorkError` where the accuracy is not the `expected` one, a share from 0 to 1."""
        if abs(self.accuracy - expected) > TOLERANCE + 1e-9:  # the last digit of a sum is no difference
            raise WorkError(
                f"the model is right on {self.accuracy:.4f} of {self.images} images, and --expect says {expected:g}",
                self.suspicion()
                or "Compare the transform with the owner's, and the images with those that were measured.",
            )


def accuracy_of(confusion: Confusion) -> float:
    """The share of images that were answered with their own class."""
    return sum(count for (i, j), count in confusion.items() if i == j) / max(1, confusion.total())


def _images_of(confusion: Confusion) -> Counter[int]:
    counts: Counter[int] = Counter()
    for (i, _), count in confusion.items():
        counts[i] += count
    return counts


def _reordered(confusion: Confusion) -> dict[int, int]:
    """Classes that seem to stand in the place of another, by that other.

    Their images are mostly read as one other class, and that class is not read as itself: else the two merely look
    alike. A few images show that only where many classes do so.
    """
    counts = _images_of(confusion)
    found = {i: j for (i, j), count in sorted(confusion.items()) if i != j and 2 * count > counts[i]}
    answered = Counter(found.values())
    loose = {i: j for i, j in found.items() if answered[j] == 1 and (j in found or j not in counts)}
    gained = sum(confusion[i, j] - confusion[i, i] for i, j in loose.items())
    if gained >= max(_FEW, _MANY * confusion.total()):
        return loose
    sure = {i: j for i, j in loose.items() if counts[i] >= _FEW}
    return {i: j for i, j in sure.items() if j in sure}


def prove(
    backbone: Backbone,
    domains: Sequence[Domain],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    workers: int,
    pace: Pace,
    progress: Progress,
) -> Proof:
    """Answer every labelled image of `domains`. Raises `InputError` where none can be read."""
    preprocessing = preprocessing.among(domains)
    index = {name: number for number, name in enumerate(classes)}
    found: dict[str, Confusion] = {}
    skipped: list[Skipped] = []
    progress.begin("measuring", sum(len(domain.files) for domain in domains))
    for domain in domains:
        confusion: Confusion = Counter()
        for file, answer in answers(backbone, domain.files, preprocessing, device=device, workers=workers, pace=pace):
            progress.advance()
            if isinstance(answer, Skipped):
                skipped.append(Skipped(str(file.path), answer.reason))
            else:
                confusion[index[str(file.label)], answer] += 1
        found[domain.name] = confusion
    progress.end()
    for line in preprocessing.depth.news():
        progress.message(f"{line}. Code that converts them to RGB as they are reads them otherwise")
    proof = Proof(classes, found, skipped)
    if not proof.images:
        raise InputError(
            f"no image can be read to measure the model on: {skipped[0].path} ({skipped[0].reason})",
            "Give --source or --check folders of readable images.",
        )
    return proof
