"""What people's tools have been told, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Curves = dict[str, list[tuple[int, float]]]
"""By `model/figure`: steps and values, in order."""


def of_tensorboard(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Curves = {}
    for model in sorted(path for path in folder.iterdir() if path.is_dir()):
        events = EventAccumulator(str(model), size_guidance={"scalars": 0}).Reload()
        for name in events.Tags()["scalars"]:
            found[f"{model.name}/{name}"] = [(event.step, event.value) for event in events.Scalars(name)]
    return found


def of_mlflow(uri: str) -> tuple[Any, Curves]:
    """The one run that is there, and its curves."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("gformer")
    (run,) = client.search_runs([experiment.experiment_id])
    found = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    return run, found


def figures(curves: Curves) -> Curves:
    """Without what depends on the machine."""
    return {name: points for name, points in curves.items() if name.split("/")[-1] not in ("seconds", "threads")}
