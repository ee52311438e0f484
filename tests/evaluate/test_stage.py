from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError, WorkError
from gformer_cli.evaluate import Plan, Results, evaluate, tune
from gformer_cli.evaluate import run as harness
from gformer_cli.evaluate.output import Output
from gformer_cli.folders.domains import Domain
from gformer_cli.methods import METHODS

CPU = torch.device("cpu")
TIMES = ("seconds_per_image", "cost_ratio", "peak_mib")


@pytest.fixture
def whole(bundle: Bundle, _bundle_file: Path, make_plan: Callable[..., Plan]) -> Callable[..., Results]:
    def call(*methods: str, source: Any = (), tune: bool = False, output: Output | None = None,
             resume: bool = False, **changes: Any) -> Results:  # fmt: skip
        return evaluate(
            bundle,
            make_plan(*methods, **changes),
            model=_bundle_file,
            source=source,
            tune=tune,
            output=output,
            resume=resume,
            device=CPU,
            workers=0,
        )

    return call


def untimed(results: Results) -> Any:
    document = results.to_json()
    for row in (*document["cells"], *document["summaries"]):
        for name in TIMES:
            row.pop(name, None)
    return json.loads(json.dumps(document))


class Killed(BaseException):
    """Like SIGKILL: nothing gets to run after it."""


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From now on the run dies in the middle of the stream after so many."""

    def arrange(count: int) -> None:
        original, streams = harness.Harness._stream, []

        def stream(*arguments: Any) -> Any:
            if len(streams) == count:
                raise Killed
            streams.append(1)
            return original(*arguments)

        monkeypatch.setattr(harness.Harness, "_stream", stream)

    return arrange


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_killed_evaluation_resumes_to_the_same_results(
    whole: Callable[..., Results],
    domains: list[Domain],
    tmp_path: Path,
    kill_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    output = Output(tmp_path / "out")
    arguments: dict[str, Any] = {"streams": ("mixed", "stationary"), "seeds": (0, 1), "source": domains}
    methods = ("tent", "eata", "rotta")
    uninterrupted = whole(*methods, **arguments)
    with monkeypatch.context():
        kill_after(count)
        with pytest.raises(Killed):
            whole(*methods, output=output, **arguments)
    assert output.cells.is_file() and not output.results.exists()
    monkeypatch.undo()
    resumed = whole(*methods, output=output, resume=True, **arguments)
    assert untimed(resumed) == untimed(uninterrupted)
    assert json.loads(output.results.read_text())["summaries"] == json.loads(json.dumps(resumed.to_json()["summaries"]))
    assert not output.cells.exists()


def test_what_was_tuned_before_a_kill_is_not_tuned_again(
    whole: Callable[..., Results],
    domains: list[Domain],
    tmp_path: Path,
    kill_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = Output(tmp_path / "out")
    arguments: dict[str, Any] = {"tune": True, "source": domains}
    uninterrupted = whole("bn-mix", "t3a", **arguments)
    kill_after(0)
    with pytest.raises(Killed):
        whole("bn-mix", "t3a", output=output, **arguments)
    monkeypatch.undo()
    monkeypatch.setattr(tune, "_streams", lambda *_: pytest.fail("tuned again"))
    resumed = whole("bn-mix", "t3a", output=output, resume=True, **arguments)
    assert set(resumed.tuned) == {"bn-mix", "t3a"}
    assert untimed(resumed) == untimed(uninterrupted)


def test_resuming_with_other_options_is_refused(
    whole: Callable[..., Results], tmp_path: Path, kill_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output(tmp_path / "out")
    kill_after(1)
    with pytest.raises(Killed):
        whole("bn", output=output)
    monkeypatch.undo()
    for change in ({"batch_size": 5}, {"seeds": (1,)}, {"streams": ("mixed",)}):
        with pytest.raises(InputError, match="begun with another bundle, other images or other options"):
            whole("bn", output=output, resume=True, **change)


def test_tuned_settings_are_those_that_are_measured(
    whole: Callable[..., Results], domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[dict[str, Any]] = []
    original = METHODS["bn-mix"]

    class Spy(original):  # type: ignore[misc, valid-type]
        def __init__(self, backbone: Backbone, **settings: Any) -> None:
            built.append(settings)
            super().__init__(backbone, **settings)

    monkeypatch.setitem(METHODS, "bn-mix", Spy)
    results = whole("bn-mix", source=domains, tune=True)
    assert built[-1] == results.tuned["bn-mix"].settings
    assert len(built) == 2 + results.tuned["bn-mix"].tried


def test_tuning_reads_no_target(
    whole: Callable[..., Results], domains: list[Domain], own_domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the targets hold, the choice is the same, and no target's file is opened for it."""
    targets = own_domains[:1]
    choice = whole("bn-mix", targets=targets, source=domains, tune=True).tuned
    opened: list[Path] = []
    original = tune.read_images
    monkeypatch.setattr(tune, "read_images", lambda files, *a, **k: original(note(files, opened), *a, **k))
    for file in targets[0].files[:9]:
        file.path.write_bytes(b"")
    assert whole("bn-mix", targets=targets, source=domains, tune=True).tuned == choice
    assert opened and all(any(path.is_relative_to(domain.root) for domain in domains) for path in opened)


def note(files: Any, opened: list[Path]) -> Any:
    opened.extend(file.path for file in files)
    return files


def test_source_images_are_the_held_out_ones(whole: Callable[..., Results], domains: list[Domain]) -> None:
    results = whole("source", targets=(), streams=("shifts",), source=domains)
    (clean,) = [cell for cell in results.cells if cell.target == "(none)"]
    assert clean.n == 6  # one of five images a class and domain
    assert {cell.severity for cell in results.cells} == {0, 1, 2, 3, 4, 5}


def test_a_source_of_which_nothing_was_held_out_is_told(
    whole: Callable[..., Results], domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.evaluate.stage.held_out", lambda *_, **__: [])
    with pytest.raises(WorkError, match="training held no source image out"):
        whole("source", source=domains)
