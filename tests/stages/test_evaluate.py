from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.data.folders import Domain, find_domains
from gformer_cli.errors import InputError, WorkError
from gformer_cli.methods import METHODS
from gformer_cli.stages.evaluate import Cell, Results, check_methods, evaluate, parse_limits, require

CPU = torch.device("cpu")


class Fake:
    """Always answers the first class, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(images)
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    def reset(self) -> None:
        self.calls.append("reset")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """Methods `one` and `two`."""
    made = {"one": Fake(), "two": Fake()}
    for name, fake in made.items():
        monkeypatch.setitem(METHODS, name, lambda _, fake=fake: fake)
    return made


@pytest.fixture
def run(bundle: Bundle, domains: list[Domain]) -> Callable[..., Results]:
    def call(*methods: str, chosen: list[Domain] | None = None, batch_size: int = 4, seeds: Any = (0,)) -> Results:
        return evaluate(
            bundle,
            chosen or domains,
            identity={},
            methods=methods,
            batch_size=batch_size,
            seeds=seeds,
            device=CPU,
            workers=0,
        )

    return call


def cell(method: str, accuracy: float, target: str = "t") -> Cell:
    return Cell(method, "stationary", target, 8, 0, 10, accuracy, 0.1, 1.0)


def test_a_method_that_answers_the_first_class_is_right_for_that_share(
    run: Callable[..., Results], fakes: dict[str, Fake]
) -> None:
    assert [found.accuracy for found in run("one").cells] == [0.5, 0.5, 0.5]


def test_each_target_starts_anew_after_one_uncounted_batch(
    run: Callable[..., Results], fakes: dict[str, Fake], domains: list[Domain]
) -> None:
    run("one", chosen=domains[:2])
    shapes = [call if isinstance(call, str) else len(call) for call in fakes["one"].calls]
    assert shapes == ["reset", 4, "reset", 4, 4, 2] * 2


def test_all_methods_see_the_same_batches(run: Callable[..., Results], fakes: dict[str, Fake]) -> None:
    run("one", "two", seeds=(0, 1))
    one, two = ([call for call in fakes[name].calls if not isinstance(call, str)] for name in ("one", "two"))
    assert len(one) == 24 and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_reference_is_run_but_shown_only_when_asked(run: Callable[..., Results], fakes: dict[str, Fake]) -> None:
    results = run("one")
    assert results.methods == ["one"]
    assert all(found.cost_ratio > 0 for found in results.cells)
    assert {found.cost_ratio for found in run("source").cells} == {1.0}


def test_a_target_without_a_readable_image_is_a_failure(run: Callable[..., Results], tmp_path: Path) -> None:
    (tmp_path / "t" / "dark").mkdir(parents=True)
    (tmp_path / "t" / "dark" / "a.png").write_bytes(b"")
    with pytest.raises(WorkError, match="no readable image in target"):
        run("source", chosen=find_domains([tmp_path / "t"]))


def test_averages_count_every_target_alike() -> None:
    results = Results({}, [cell("a", 0.2), cell("a", 0.6, "u"), cell("b", 1.0)], [])
    assert results.average("a") == pytest.approx(0.4)
    assert results.to_json()["averages"] == pytest.approx({"a": 0.4, "b": 1.0})
    assert math.isnan(results.average("c"))


def test_require_names_every_method_under_its_limit() -> None:
    results = Results({}, [cell("a", 0.5), cell("b", 0.25), cell("c", 0.5)], [])
    require(results, {"a": 0.5})
    with pytest.raises(WorkError, match=r"a 0.5000 < 0.6000; b 0.2500 < 0.3000\n") as caught:
        require(results, {"a": 0.6, "b": 0.3, "c": 0.5})
    assert caught.value.exit_status == 1


def test_check_methods_drops_repetitions_and_keeps_the_order() -> None:
    assert check_methods(["tent", "source", "tent"]) == ["tent", "source"]
    with pytest.raises(InputError, match="unknown method: 'x'"):
        check_methods(["source", "x"])


def test_parse_limits() -> None:
    assert parse_limits(["bn=0.5", "tent=1", "bn=0"], ["bn", "tent"]) == {"bn": 0.0, "tent": 1.0}
    for text in ("bn", "bn=", "bn=x", "bn=1.01", "bn=-0.1", "bn=nan", "bn=inf", "=0.5", "other=0.5"):
        with pytest.raises(InputError, match="--fail-under"):
            parse_limits([text], ["bn"])
