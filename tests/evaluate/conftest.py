"""Fake methods, and a way to measure with few words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.evaluate import Plan, measure
from gformer_cli.evaluate.records import Records
from gformer_cli.folders.domains import Domain, find_domains
from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts

CPU = torch.device("cpu")


@pytest.fixture
def bundle(shallow_bundle: Bundle) -> Bundle:
    return shallow_bundle


class Fake:
    """Always answers the first class, and remembers what it was asked."""

    reads_source = True
    without_source = "sees nothing"
    ask_once = False
    share: float | None = None
    tunable: ClassVar[dict[str, Sequence[Any]]] = {}

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.prepared: list[torch.Tensor] = []

    def from_parts(self, _parts: Parts, **settings: Any) -> Fake:
        """In the place of a class: it makes itself."""
        self.settings = settings
        return self

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        self.prepared += batches

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(images)
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    def reset(self) -> None:
        self.calls.append("reset")

    @property
    def batches(self) -> list[torch.Tensor]:
        return [call for call in self.calls if not isinstance(call, str)]

    @property
    def shapes(self) -> list[Any]:
        """`reset`, or how many images."""
        return [call if isinstance(call, str) else len(call) for call in self.calls]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """Methods `one` and `two`."""
    made = {"one": Fake(), "two": Fake()}
    for name, fake in made.items():
        monkeypatch.setitem(METHODS, name, fake)  # type: ignore[arg-type]
    return made


@pytest.fixture
def make_plan(domains: list[Domain]) -> Callable[..., Plan]:
    """`make_plan("bn", streams=("mixed",))`: on all three domains, batches of four."""

    def make(*methods: str, **changes: Any) -> Plan:
        defaults = {"streams": ("stationary",), "targets": domains, "batch_size": 4, "seeds": (0,)}
        return Plan(methods=methods, **{**defaults, **changes})

    return make


@pytest.fixture
def run(bundle: Bundle, make_plan: Callable[..., Plan]) -> Callable[..., Records]:
    """`run("bn", streams=("mixed",))`: what was measured."""

    def call(*methods: str, records: Records | None = None, strict: bool = False, **changes: Any) -> Records:
        plan = make_plan(*methods, **changes)
        return measure(lambda: bundle, plan, device=CPU, workers=0, strict=strict, records=records)

    return call


@pytest.fixture
def own_domains(domains: list[Domain], tmp_path: Path) -> list[Domain]:
    """A copy of the domains whose files a test may change."""
    return find_domains([Path(shutil.copytree(domains[0].root.parent, tmp_path / "own"))])
