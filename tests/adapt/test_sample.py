from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gformer_cli.adapt.sample import CHANGED, KEPT, PICTURES, Sample


def outcome(before: list[float], after: list[float], *, target: str = "fog", decision: str = "generated") -> Any:
    """Probabilities of the second of two classes."""
    one, other = (torch.tensor([[1 - p, p] for p in values]) for values in (before, after))
    files = [SimpleNamespace(relative=f"{number}.png") for number in range(len(before))]
    pixels = torch.zeros(len(before), 3, 4, 4, dtype=torch.uint8)
    return SimpleNamespace(
        target=target,
        source_probabilities=one,
        source_labels=one.argmax(dim=1),
        probabilities=other,
        labels=other.argmax(dim=1),
        verdict=SimpleNamespace(decision=decision),
        batch=SimpleNamespace(files=files, pixels=pixels),
    )


def test_counts_confidences_and_decisions() -> None:
    sample = Sample(["cat", "dog"])
    sample(outcome([0.25, 0.75, 0.75], [0.75, 0.75, 0.25]))
    sample(outcome([1.0], [0.0], decision="source"))
    found = sample.targets["fog"]
    assert (found.batches, found.images, found.changed) == (2, 4, 3)
    assert dict(sample.before) == {"cat": 1, "dog": 3} and dict(sample.after) == {"cat": 2, "dog": 2}
    assert (found.confidence_before, found.confidence_after) == (pytest.approx(3.25), pytest.approx(3.25))
    assert dict(found.decisions) == {"generated": 1, "source": 1}
    assert dict(sample.answers) == {("cat", "dog"): 1, ("dog", "dog"): 1, ("dog", "cat"): 2}
    assert (sample.bins_before[15], sample.bins_before[-1], sum(sample.bins_after)) == (3, 1, 4)


def test_a_few_pictures_of_each_target_are_kept() -> None:
    sample = Sample(["cat", "dog"])
    sample(outcome([0.25] * 100, [0.75] * 50 + [0.125] * 50))
    pictures = sample.targets["fog"].pictures
    assert sum(picture.changed for picture in pictures) == CHANGED and len(pictures) == CHANGED + KEPT
    first = pictures[0]
    assert (first.path, first.before, first.before_confidence, first.after) == ("0.png", "cat", 0.75, "dog")
    assert first.after_confidence == 0.75 and first.thumbnail.startswith("data:image/jpeg;base64,")
    for number in range(20):
        sample(outcome([0.25] * 100, [0.75] * 50 + [0.125] * 50, target=f"target-{number}"))
    assert sum(len(target.pictures) for target in sample.targets.values()) == PICTURES
