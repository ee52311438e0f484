"""Records for MLflow: where MLFLOW_TRACKING_URI says, else where MLflow itself puts them."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from gformer_cli.errors import WorkError
from gformer_cli.files import MIB, read_text, write_json
from gformer_cli.records.points import Point
from gformer_cli.records.sinks import Picture, Stage

EXPERIMENT = "gformer"
"""Where neither MLFLOW_EXPERIMENT_NAME nor MLFLOW_EXPERIMENT_ID names another."""
_AT_ONCE = 100
"""Parameters, or metrics, that go into one request."""
_ODD = re.compile(r"[^\w.\- /]")


class MLflow:
    """One run of MLflow for each stage of a run folder.

    A file beside the journal says which. A resumed stage goes on in it, and no point of a curve is told again.
    """

    def __init__(self, stage: Stage, folder: Path) -> None:
        for name in ("mlflow", "alembic"):  # what they do to a new database is nobody's business here
            logging.getLogger(name).setLevel(logging.WARNING)
        self._file = folder / f"{stage.name}.mlflow.json"
        with _talking():
            self._client = MlflowClient()
            known = self._known() if stage.resumed else None
            self._id = known or self._begin(stage)
            self._client.update_run(self._id, status="RUNNING")
        self._last: dict[str, set[int]] = {}

    def tell(self, points: Sequence[Point]) -> None:
        now, new = int(1000 * time.time()), []
        with _talking():
            for point in points:
                for name, value in point.figures.items():
                    key = _ODD.sub(lambda odd: f"_{ord(odd[0]):x}", f"{point.model}/{name}")
                    if point.step not in self._steps(key):
                        self._steps(key).add(point.step)
                        new.append(Metric(key, value, now, point.step))
            for start in range(0, len(new), _AT_ONCE):
                self._client.log_batch(self._id, metrics=new[start : start + _AT_ONCE])

    def show(self, pictures: Sequence[Picture]) -> None:
        with _talking():
            for number, picture in enumerate(pictures):
                image = picture.pixels.permute(1, 2, 0).contiguous().numpy()
                self._client.log_image(self._id, image, f"adapted/{number}.png")
            captions = "\n".join(f"{number}: {picture.caption}" for number, picture in enumerate(pictures))
            self._client.log_text(self._id, captions, "adapted/captions.txt")

    def close(self, *, finished: bool) -> None:
        with _talking():
            self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

    def _steps(self, key: str) -> set[int]:
        """The steps of a curve that are there."""
        if key not in self._last:
            self._last[key] = {metric.step for metric in self._client.get_metric_history(self._id, key)}
        return self._last[key]

    def _known(self) -> str | None:
        """The run that this stage was recorded in before; None where there is none, or it is gone."""
        with suppress(OSError, ValueError, KeyError, TypeError, MlflowException):
            name = json.loads(read_text(self._file, MIB))["run_id"]
            return str(self._client.get_run(name).info.run_id)
        return None

    def _begin(self, stage: Stage) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        number = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if number is None:
            found = self._client.get_experiment_by_name(name)
            number = self._client.create_experiment(name) if found is None else found.experiment_id
        run = self._client.create_run(
            number, run_name=f"{stage.run.name} {stage.name}", tags={"stage": stage.name, "folder": str(stage.run)}
        )
        settings = [Param(key, value) for key, value in stage.settings.items()]
        for start in range(0, len(settings), _AT_ONCE):
            self._client.log_batch(run.info.run_id, params=settings[start : start + _AT_ONCE])
        write_json(self._file, {"run_id": run.info.run_id, "tracking_uri": self._client.tracking_uri})
        return str(run.info.run_id)


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise WorkError(
            f"MLflow does not take the records: {' '.join(str(error).split())[:300]}",
            "Go on with --resume once it does, or without --log mlflow. MLFLOW_TRACKING_URI says where it is.",
        ) from None
