from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import WorkError
from gformer_cli.evaluate import Choice
from gformer_cli.evaluate import tune as module
from gformer_cli.evaluate.tune import tune
from gformer_cli.folders.domains import Domain
from gformer_cli.methods import METHODS, Method
from gformer_cli.progress import Silent

CPU = torch.device("cpu")


class Knob(Method):
    """Right for dark images when `level` is 1, wrong for everything when it is 2, always `light` otherwise."""

    tunable: ClassVar = {"level": (0, 1, 2), "other": ("a", "b")}
    seen: ClassVar[list[Any]] = []

    def __init__(self, backbone: Backbone, *, level: int = 0, other: str = "a") -> None:
        super().__init__(backbone)
        self.level, self.other = level, other

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.level, self.other, images))
        plain = images.mean(dim=(1, 2, 3))
        dark = plain < plain.mean()
        wanted = {0: torch.zeros_like(dark), 1: dark, 2: ~dark}[self.level]
        return torch.stack([wanted.float(), 0.5 * torch.ones(len(images))], dim=1)

    def reset(self) -> None:
        self.seen.append("reset")


@pytest.fixture(autouse=True)
def knob(monkeypatch: pytest.MonkeyPatch) -> type[Knob]:
    monkeypatch.setitem(METHODS, "knob", Knob)
    monkeypatch.setattr(module, "STRENGTH", 0.1)  # shifts so weak that dark stays dark
    Knob.seen.clear()
    return Knob


@pytest.fixture
def choose(bundle: Bundle, domains: list[Domain]) -> Callable[..., dict[str, Choice]]:
    def call(*methods: str, batch_size: int = 10, source: list[Domain] | None = None) -> dict[str, Choice]:
        found: dict[str, Choice] = {}
        tune(
            bundle,
            domains if source is None else source,
            methods,
            batch_size=batch_size,
            device=CPU,
            workers=0,
            keep=found.__setitem__,
            progress=Silent(),
        )
        return found

    return call


def test_the_best_settings_are_kept_and_the_first_of_equals(choose: Callable[..., dict[str, Choice]]) -> None:
    found = choose("knob", "source")
    assert set(found) == {"knob"}  # source has nothing to choose
    choice = found["knob"]
    assert choice.settings == {"level": 1, "other": "a"} and choice.tried == 6
    assert choice.accuracy > 0.9 and choice.default_accuracy == pytest.approx(0.5)


def test_defaults_stay_where_nothing_is_better(
    choose: Callable[..., dict[str, Choice]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Knob, "tunable", {"level": (0, 2)})
    choice = choose("knob")["knob"]
    assert choice.settings == {} and choice.accuracy == choice.default_accuracy == pytest.approx(0.5)


def test_every_setting_sees_the_same_streams_with_a_reset_before_each(
    choose: Callable[..., dict[str, Choice]], knob: type[Knob]
) -> None:
    choose("knob", batch_size=4)
    calls = knob.seen
    per_stream = 1 + 3  # a reset, and ten images in batches of four
    streams = 3 * (1 + module.SHIFTS)
    assert len(calls) == 7 * streams * per_stream  # the defaults, then six settings
    once = [c if c == "reset" else c[2] for c in calls[: streams * per_stream]]
    for start in range(0, len(calls), streams * per_stream):
        again = [c if c == "reset" else c[2] for c in calls[start : start + streams * per_stream]]
        assert all(a == b if isinstance(a, str) else torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert [c for c in once[:per_stream] if isinstance(c, str)] == ["reset"]
    plain, shifted = once[1], once[1 + per_stream]
    assert not torch.equal(plain, shifted)


def test_at_most_so_many_images_of_a_domain_are_used(
    choose: Callable[..., dict[str, Choice]], knob: type[Knob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IMAGES", 3)
    choose("knob")
    assert {len(c[2]) for c in knob.seen if c != "reset"} == {3}


def test_a_method_that_reads_the_source_is_prepared_with_unshifted_images(
    choose: Callable[..., dict[str, Choice]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []
    monkeypatch.setattr(Knob, "reads_source", True)
    monkeypatch.setattr(Knob, "tunable", {"level": (0, 1)})
    monkeypatch.setattr(Knob, "prepare", lambda _, batches: prepared.append(sum(len(b) for b in batches)))
    choose("knob")
    assert prepared == [30] * 3


def test_real_methods_can_be_tuned(choose: Callable[..., dict[str, Choice]], domains: list[Domain]) -> None:
    found = choose("bn-mix", "t3a", "eata", source=domains[:1])
    assert list(found) == ["bn-mix", "t3a", "eata"]
    for name, choice in found.items():
        assert choice.accuracy >= choice.default_accuracy
        assert set(choice.settings) <= set(METHODS[name].tunable)


def test_without_a_readable_image_there_is_nothing_to_tune_on(
    choose: Callable[..., dict[str, Choice]], own_domains: list[Domain]
) -> None:
    for file in own_domains[0].files:
        file.path.write_bytes(b"")
    with pytest.raises(WorkError, match="no held-out source image to tune on"):
        choose("knob", source=own_domains[:1])
    assert choose("source", source=own_domains[:1]) == {}
