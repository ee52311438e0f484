"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gformer_cli.adapt.predictor import Outcome
from gformer_cli.core.change import FIGURES
from gformer_cli.guard.rule import DECISIONS, Guard

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_DRIFT = FIGURES.index("mean_shift")
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, guard: Guard | None) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="gformer", registry=self.registry)
        gauge = partial(Gauge, namespace="gformer", registry=self.registry)
        histogram = partial(Histogram, namespace="gformer", registry=self.registry)
        self._images = counter("images", "Images that were predicted")
        self._batches = counter("batches", "Batches that were predicted")
        self._changed = counter("changed", "Images whose label differs from the source model's")
        self._decisions = counter("decisions", "Batches by the guard's decision", ["decision"])
        self._requests = counter("requests", "Requests for predictions, by status", ["status"])
        self._latency = histogram("request_seconds", "From a request to its answer", buckets=_SECONDS)
        self._batch_seconds = histogram("batch_seconds", "From decoded images to probabilities", buckets=_SECONDS)
        self._batch_images = histogram("batch_images", "Images in a batch", buckets=_IMAGES)
        self._drift = gauge("drift", "How far the last batch's means lie from the source's, in standard deviations")
        self._score = gauge("guard_score", "The guard's scores of the last batch", ["score"])
        self._waiting = gauge("queue_images", "Images that wait or are being predicted")
        for decision in DECISIONS:
            self._decisions.labels(decision)
        if guard is not None:
            limits = gauge("guard_limit", "Beyond it the guard leaves batches to the source model", ["score"])
            limits.labels("strangeness").set(guard.strangeness.limit)
            limits.labels("expected_loss").set(guard.expected_loss.limit)

    def watch(self, waiting: Callable[[], int]) -> None:
        """From now on tell how many images wait."""
        self._waiting.set_function(waiting)

    def batch(self, outcome: Outcome) -> None:
        """Count one batch."""
        labels, before = outcome.labels, outcome.source_labels
        self._images.inc(len(labels))
        self._batches.inc()
        self._changed.inc(int((labels != before).sum()))
        self._decisions.labels(outcome.verdict.decision).inc()
        self._batch_seconds.observe(outcome.seconds)
        self._batch_images.observe(len(labels))
        self._drift.set(float(outcome.measure().layers[:, _DRIFT].mean()))
        for score in ("strangeness", "expected_loss"):
            if score in outcome.verdict.signals:
                self._score.labels(score).set(outcome.verdict.signals[score])

    def request(self, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(str(status)).inc()
        self._latency.observe(seconds)

    def counts(self) -> dict[str, Any]:
        """Of images, of batches, of those by decision, and of labels that differ from the source model's."""

        def count(name: str, **labels: str) -> int:
            return int(self.registry.get_sample_value(f"gformer_{name}_total", labels) or 0)

        decisions = {decision: count("decisions", decision=decision) for decision in DECISIONS}
        return {name: count(name) for name in ("images", "batches", "changed")} | {"decisions": decisions}

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
