from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.bundle import file_hash, read_generator
from gformer_cli.bundle.generator_file import read_card
from gformer_cli.compute.threads import Cores
from gformer_cli.config import resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError, Interrupted
from gformer_cli.folders.domains import Domain, find_domains
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train import meta_train_many as many
from gformer_cli.train.meta_train_many import GeneratorPlace, ManyResult, meta_train_many, names_of
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.pretrain import pretrain
from gformer_cli.train.run_folder import RunFolder
from tests.train.conftest import CPU

Runs = list[tuple[RunFolder, list[Domain]]]


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Domain]:
    """Two domains of three classes of four images."""
    root, random = tmp_path_factory.mktemp("others"), np.random.default_rng(1)
    for domain, bright in {"day": 1.0, "night": 0.5}.items():
        for label, colour in {"leaf": (90, 200, 80), "sky": (80, 90, 200), "stone": (140, 140, 140)}.items():
            (root / domain / label).mkdir(parents=True)
            for number in range(4):
                pixels = random.uniform(0.8, 1.0, (12, 12, 3)) * colour * bright
                Image.fromarray(pixels.astype(np.uint8)).save(root / domain / label / f"{number}.png")
    return find_domains([root])


@pytest.fixture(scope="session")
def other_run(others: list[Domain], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another network on other classes and larger images. Not to be written to."""
    from tests.fixtures.trained import SETTINGS

    run = RunFolder(tmp_path_factory.mktemp("other") / "wide")
    changes = ["data.image_size=12", "backbone.width=0.25", "backbone.stem=standard", "pretrain.steps=2", "seed=5"]
    pretrain(others, resolve(base=SETTINGS, assignments=changes), run, device=CPU, workers=0)
    return run.root


@pytest.fixture
def runs(domains: list[Domain], pretrained: Path, others: list[Domain], other_run: Path) -> Runs:
    return [(RunFolder(pretrained), domains), (RunFolder(other_run), others)]


@pytest.fixture
def few(tiny: Settings) -> Settings:
    """Two steps of one episode a run."""
    return resolve(base=tiny, assignments=["meta_train.steps=2", "meta_train.episodes_per_step=1"])


def train(runs: Runs, settings: Settings, out: Path, **others: Any) -> ManyResult:
    return meta_train_many(runs, settings, out, device=CPU, workers=0, **others)


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in GeneratorPlace(out).meta_train_log.read_text().splitlines()]


@pytest.mark.slow
def test_one_generator_learns_on_runs_of_different_networks_classes_and_image_sizes(
    runs: Runs, few: Settings, tmp_path: Path, backbone: Backbone
) -> None:
    out = tmp_path / "both.safetensors"
    result = train(runs, few, out)
    assert set(result.validation) == {"gformer", "source", "bn"}
    for name, value in result.validation.items():  # means over runs, however many episodes each has
        assert value == pytest.approx((result.of_runs["run"][name] + result.of_runs["wide"][name]) / 2)
    settings, _ = read_generator(out, backbone)  # it fits a network of neither
    assert settings == few.generator
    card = read_card(out)
    assert [run.task for run in card.runs] == ["run", "wide"]
    assert [run.classes for run in card.runs] == [["dark", "light"], ["leaf", "sky", "stone"]]
    assert [run.seed for run in card.runs] == [0, 5]
    assert (card.steps, card.episodes, card.start) == (2, 4, None)
    lines = log_of(out)
    assert [line["step"] for line in lines] == [1, 2]
    for method in ("accuracy", "source", "bn"):
        own = [lines[-1][f"validation_{method}/{name}"] for name in ("run", "wide")]
        assert lines[-1][f"validation_{method}"] == pytest.approx(sum(own) / 2)
    assert not GeneratorPlace(out).checkpoints.exists()


@pytest.mark.slow
def test_the_file_is_the_same_to_the_bit_again_and_however_many_processes_share_the_episodes(
    runs: Runs, few: Settings, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("one", "again", "shared")]
    for out, cores in zip(files, (None, None, Cores(2, True, "here")), strict=True):
        train(runs, few, out, cores=cores)
    assert len({out.read_bytes() for out in files}) == 1


@pytest.mark.slow
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(
    runs: Runs, few: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    train(runs, few, whole)
    step = MetaTrainer.step

    def interrupted(self: MetaTrainer, number: int) -> float:
        if number == 1:
            raise Interrupted("stopped", "")
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(MetaTrainer, "step", interrupted)
        with pytest.raises(Interrupted):
            train(runs, few, halved)
    with pytest.raises(InputError, match="trained in part"):
        train(runs, few, halved)
    with pytest.raises(InputError, match="on other runs, or in another order"):
        train(runs[::-1], few, halved, resume=True)
    train(runs, few, halved, resume=True)
    assert halved.read_bytes() == whole.read_bytes()
    with pytest.raises(InputError, match="nothing to resume"):
        train(runs, few, halved, resume=True)
    with pytest.raises(InputError, match="is there already"):
        train(runs, few, halved)


@pytest.mark.slow
def test_runs_per_step_gives_so_many_runs_episodes_in_each_step(
    runs: Runs, few: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[int]] = []
    episodes = MetaTrainer._episodes

    def watched(self: MetaTrainer, step: int) -> Any:
        found = list(episodes(self, step))
        drawn.append([run for run, _ in found])
        numbers.extend(number for _, number in found)
        return found

    numbers: list[int] = []
    monkeypatch.setattr(MetaTrainer, "_episodes", watched)
    changes = ["meta_train.runs_per_step=1", "meta_train.episodes_per_step=2"]
    train(runs, resolve(base=few, assignments=changes), tmp_path / "out")
    assert sorted(drawn) == [[0, 0], [1, 1]]
    assert numbers == [0, 1, 2, 3]
    assert read_card(tmp_path / "out").episodes == 4


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.slow
def test_a_start_that_no_training_beats_is_kept_and_that_is_told(
    runs: Runs, few: Settings, tmp_path: Path, backbone: Backbone
) -> None:
    start, out = tmp_path / "start", tmp_path / "out"
    train(runs[:1], resolve(base=few, assignments=["meta_train.learning_rate=0.05"]), start)
    hopeless = ["meta_train.steps=1", "meta_train.learning_rate=1e-9", f"meta_train.start={start}"]
    listener = Listener()
    train(runs, resolve(base=few, assignments=hopeless), out, progress=listener)
    assert any("beat the generator it started from" in text for text in listener.warnings)
    (_, before), (_, after) = read_generator(start, backbone), read_generator(out, backbone)
    assert [v.tolist() for v in before.state_dict().values()] == [v.tolist() for v in after.state_dict().values()]
    assert read_card(out).start == file_hash(start)


@pytest.mark.slow
def test_a_start_of_other_shapes_is_refused(runs: Runs, few: Settings, tmp_path: Path) -> None:
    train(runs[:1], few, tmp_path / "start")
    wider = resolve(base=few, assignments=["generator.width=16", f"meta_train.start={tmp_path / 'start'}"])
    with pytest.raises(InputError, match=r"other shapes.*generator\.width=8 \(here 16\)"):
        train(runs, wider, tmp_path / "out")


@pytest.mark.slow
def test_images_that_runs_share_are_read_once(
    domains: list[Domain], pretrained: Path, few: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are pixels of the same files, cut to the same size and divided by the same seed."""
    read, calls = many.read_source, []
    monkeypatch.setattr(many, "read_source", lambda *a, **k: calls.append(1) or read(*a, **k))
    twice = [RunFolder(Path(shutil.copytree(pretrained, tmp_path / name / "run"))) for name in ("a", "b")]
    result = train([(run, domains) for run in twice], few, tmp_path / "out", cores=Cores(2, True, "here"))
    assert len(calls) == 1
    assert result.of_runs["run"] == result.of_runs["run (2)"]
    assert [run.task for run in read_card(tmp_path / "out").runs] == ["run", "run"]  # one task


def test_what_fits_one_network_alone_is_not_trained_on_several(runs: Runs, few: Settings, tmp_path: Path) -> None:
    for change, why in (("kind=constant", "of the kind constant"), ("on_constant=true", "on top of a constant one")):
        with pytest.raises(InputError, match=f"{why} fits one network alone"):
            train(runs, resolve(base=few, assignments=[f"generator.{change}"]), tmp_path / "out")


def test_a_run_that_comes_twice_or_has_other_images_is_refused(runs: Runs, few: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is named twice"):
        train([runs[0], runs[0]], few, tmp_path / "out")
    (first, own), (second, _) = runs
    with pytest.raises(InputError, match="not those that the run was started with: domain gone: day"):
        train([(first, own), (second, own)], few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    roots = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "other", tmp_path / "c" / "run"]
    assert names_of([RunFolder(root) for root in roots]) == ["run", "run (2)", "other", "run (3)"]
