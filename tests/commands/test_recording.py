"""`--log`: what TensorBoard and MLflow are told of a training, also of one that was killed and resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.records import sinks
from gformer_cli.train.checkpoint import Checkpoint
from tests.records.reading import figures, of_mlflow, of_tensorboard

Gformer = Callable[..., Any]
LOGS = ("--log", "tensorboard", "--log", "mlflow")


@pytest.fixture
def uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], str]:
    """`uri("a")`: from now on MLflow keeps runs in a place of that name."""
    for name in ("tensorboard", "mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name)
    logging.getLogger("alembic").setLevel(logging.WARNING)

    def use(name: str) -> str:
        place = f"sqlite:///{tmp_path / name}.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        monkeypatch.chdir(tmp_path)
        return place

    return use


def without_times(table: Path, read_csv: Callable[[Path], list[dict[str, str]]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_csv(table)]


@pytest.mark.slow
def test_a_training_that_was_killed_leaves_the_points_of_one_that_was_not(
    gformer: Gformer,
    data: Path,
    preset: Path,
    tmp_path: Path,
    uri: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    read_csv: Callable[[Path], list[dict[str, str]]],
) -> None:
    command = ["pretrain", "--source", data / "sources", "--preset", preset, "--no-leave-one-out", *LOGS]
    places = {name: uri(name) for name in ("killed", "whole")}
    assert gformer(*command, "--run", tmp_path / "whole").status == 0
    uri("killed")
    save, saved = Checkpoint.save, []

    def killed(self: Checkpoint, state: dict[str, Any]) -> None:
        saved.append(state["step"])
        if len(saved) == 2:  # after the validation was noted, and before the checkpoint that says so
            raise KeyboardInterrupt
        save(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        assert gformer(*command, "--run", tmp_path / "killed").status == 130
    assert gformer(*command, "--run", tmp_path / "killed", "--resume").status == 0
    assert saved == [2, 4] and len((tmp_path / "killed" / "pretrain.jsonl").read_text().splitlines()) == 3

    (run, told), (_, again) = of_mlflow(places["whole"]), of_mlflow(places["killed"])
    assert [step for step, _ in told["all/validation_accuracy"]] == [2, 4]
    assert figures(told) == figures(again)
    assert run.info.status == "FINISHED" and run.data.params["pretrain.steps"] == "4"
    curves = [of_tensorboard(tmp_path / name / "tensorboard" / "pretrain") for name in places]
    assert figures(curves[0]) == figures(curves[1])
    assert {name: len(points) for name, points in figures(curves[0]).items()} == dict.fromkeys(figures(told), 2)
    tables = [without_times(tmp_path / name / "pretrain.csv", read_csv) for name in places]
    assert tables[0] == tables[1] and [row["step"] for row in tables[0]] == ["2", "4"]


@pytest.mark.slow
def test_meta_train_tells_its_curves_and_shows_adapted_images(
    gformer: Gformer, data: Path, pretrained: Path, uri: Callable[[str], str]
) -> None:
    from mlflow.tracking import MlflowClient

    place = uri("runs")
    small = ["--steps", "2", "--set", "meta_train.validate_every=1", "--set", "meta_train.guard_batches=0"]
    small += ["--set", "meta_train.constant=true"]
    done = gformer("meta-train", "--source", data / "sources", "--run", pretrained, "--start", "none", *small, *LOGS)
    assert done.status == 0, done.err
    run, told = of_mlflow(place)
    assert [step for step, _ in told["generator/validation_accuracy"]] == [1, 2] and "constant/cross_entropy" in told
    names = {file.path for file in MlflowClient(place).list_artifacts(run.info.run_id, "adapted")}
    assert {"adapted/0.png", "adapted/7.png", "adapted/captions.txt"} <= names
    caption = (Path(run.info.artifact_uri) / "adapted" / "captions.txt").read_text().splitlines()[0]
    assert caption.startswith("0: ") and "source " in caption and "adapted " in caption
    assert figures(of_tensorboard(pretrained / "tensorboard" / "meta-train")).keys() == figures(told).keys()


@pytest.mark.parametrize("command", [["pretrain"], ["meta-train"]])
def test_a_package_that_is_missing_is_told_before_anything_is_done(
    gformer: Gformer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    done = gformer(*command, "--source", data / "sources", "--run", tmp_path / "run", "--log", "mlflow")
    assert done.status == 2 and "--log mlflow needs mlflow" in done.err
    assert "pip install 'gformer[mlflow]'" in done.err and not (tmp_path / "run").exists()
