"""`cotta` against its five steps written out, and what each setting does."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods.augmentations import jitter_views
from gformer_cli.methods.base import Parts
from gformer_cli.methods.cotta import Cotta, default_threshold

Plain = Callable[[], nn.Module]


def _run(method: Cotta, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([method.predict(batch) for batch in batches])


def test_its_steps_by_hand(parts: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    student, teacher, source = plain().train(), plain().train(), plain()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)
    augment = jitter_views(parts.preprocessing, mirrored=parts.mirrored)
    method = Cotta.from_parts(parts, learning_rate=1e-2, momentum=0.9, copies=3, restore=0.2, seed=3)
    # not sure at first: the gradient to one's own predictions is zero, and Adam would enlarge its rounding errors
    for batch, sure in zip([*batches, *batches], [False, True, False, False, True, True], strict=True):
        method.threshold = 0.0 if sure else 1.0
        with torch.no_grad():
            views = [batch] if sure else [augment(batch, generator) for _ in range(3)]
            wanted = sum(teacher(view) for view in views) / len(views)
        torch.testing.assert_close(method.predict(batch), wanted)
        loss = -(wanted.softmax(dim=1) * student(batch).log_softmax(dim=1)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast, start in zip(teacher.parameters(), student.parameters(), source.parameters(), strict=True):
                slow.copy_(0.9 * slow + 0.1 * fast)
                mask = (torch.rand(fast.shape, generator=generator) < 0.2).double()
                fast.copy_(mask * start + (1 - mask) * fast)


def test_confidence_is_that_of_the_source_weights_under_batch_statistics(
    parts: Parts, batches: list[torch.Tensor], plain: Plain
) -> None:
    with torch.no_grad():
        logits = plain().train()(batches[0])
    confidence = logits.softmax(dim=1).max(dim=1).values.mean().item()
    sure = Cotta.from_parts(parts, threshold=confidence - 1e-6).predict(batches[0])
    unsure = Cotta.from_parts(parts, threshold=confidence + 1e-6).predict(batches[0])
    torch.testing.assert_close(sure, logits)
    assert not torch.allclose(unsure, logits)


def test_restoring_everything_keeps_the_student_at_the_source(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Cotta.from_parts(parts, restore=1.0, learning_rate=1e-2)
    for batch in batches:
        method.predict(batch)
        pairs = zip(method.student.parameters(), parts.backbone.parameters(), strict=True)
        assert all(torch.equal(weight, source) for weight, source in pairs)


def test_about_the_wanted_share_is_restored(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Cotta.from_parts(parts, restore=0.25, learning_rate=1e-2, threshold=0.0)
    method.predict(batches[0])
    pairs = list(zip(method.student.parameters(), parts.backbone.parameters(), strict=True))
    same = sum(int((weight == source).sum()) for weight, source in pairs)
    unmoved = 0.02  # weights without a gradient
    assert 0.25 - unmoved < same / sum(source.numel() for _, source in pairs) < 0.25 + 5 * unmoved


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 1e-2},
        {"momentum": 0.5},
        {"threshold": 0.0},
        {"copies": 3},
        {"restore": 0.5},
        {"seed": 1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    assert not torch.equal(_run(Cotta.from_parts(parts), batches), _run(Cotta.from_parts(parts, **setting), batches))


def test_the_same_stream_gives_the_same_predictions(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Cotta.from_parts(parts, restore=0.1)
    first = _run(method, batches)
    torch.rand(7)  # other people's randomness is not read
    method.reset()
    assert torch.equal(_run(method, batches), first)
    assert torch.equal(_run(Cotta.from_parts(parts, restore=0.1), batches), first)


@pytest.mark.parametrize(
    ("classes", "wanted"), [(2, 0.92), (10, 0.92), (32, 0.819), (100, 0.72), (345, 0.3866), (1000, 0.1), (21841, 0.1)]
)
def test_default_threshold_follows_the_number_of_classes(classes: int, wanted: float) -> None:
    assert default_threshold(classes) == pytest.approx(wanted, abs=1e-3)


def test_the_number_of_classes_sets_the_threshold(parts: Parts) -> None:
    assert Cotta.from_parts(parts).threshold == default_threshold(4)
    assert Cotta.from_parts(parts, threshold=0.3).threshold == 0.3


def test_nothing_grows_with_the_stream(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Cotta.from_parts(parts, copies=1)

    def size() -> int:
        return len(pickle.dumps({key: value for key, value in vars(method).items() if key != "generator"}))

    method.predict(batches[0])
    early = size()
    for batch in batches * 3:
        assert not method.predict(batch).requires_grad
    assert size() <= early + 64
