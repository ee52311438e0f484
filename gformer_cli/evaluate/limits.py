"""What results must reach: limits on accuracy and harm, and an earlier result to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gformer_cli.data.streams import SOURCE_AGAIN
from gformer_cli.errors import InputError, WorkError, did_you_mean
from gformer_cli.evaluate.plan import Plan
from gformer_cli.evaluate.reading import foreign, read_document
from gformer_cli.evaluate.results import SCHEMA_VERSION, Results, Summary
from gformer_cli.folders.domains import nfc

JUDGED = "gformer"
"""The method that --fail-harm is about."""
TOLERANCE = 0.005
"""Accuracy that a method may lose to a baseline before it counts as a regression."""


@dataclass(frozen=True)
class Limits:
    """What results are held against."""

    least: Mapping[str, float]
    """Accuracy, by method."""
    most_harm: float | None
    """Of `JUDGED`."""
    baseline: Sequence[Mapping[str, Any]]
    """The summaries of an earlier results.json; none without one."""


def read_limits(plan: Plan, *, fail_under: Sequence[str], fail_harm: float | None, baseline: Path | None) -> Limits:
    """The limits that the command line sets. Raises `InputError` for one that `plan` cannot be held against."""
    least = parse_limits(fail_under, plan.methods)
    check_harm(fail_harm, plan.methods)
    if baseline is None:
        return Limits(least, fail_harm, [])
    before = read_baseline(baseline)
    check_comparable(before, plan)
    return Limits(least, fail_harm, before)


def parse_limits(texts: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    """`METHOD=VALUE` texts as least accuracies; raises `InputError` for anything else."""
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in methods:
            raise InputError(f"--fail-under names {name!r}, which is not measured", did_you_mean(name, methods))
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = float("nan")
        if not 0.0 <= limits[name] <= 1.0:
            raise InputError(
                f"--fail-under wants METHOD=VALUE with a value from 0 to 1, got {text!r}",
                "For example: --fail-under gformer=0.8",
            )
    return limits


def check_harm(limit: float | None, methods: Sequence[str]) -> None:
    """Raises `InputError` for a --fail-harm that cannot be judged."""
    if limit is None:
        return
    if not 0.0 <= limit <= 1.0:
        raise InputError(f"--fail-harm wants a value from 0 to 1, got {limit}", "0.005 is half a point of accuracy.")
    if JUDGED not in methods:
        raise InputError(f"--fail-harm judges {JUDGED!r}, which is not measured", f"Add --methods {JUDGED}.")


@dataclass(frozen=True)
class Change:
    """An average accuracy, then and now."""

    stream: str
    batch_size: int
    method: str
    before: float
    now: float

    @property
    def regressed(self) -> bool:
        return self.now < self.before - TOLERANCE


def read_baseline(path: Path) -> list[dict[str, Any]]:
    """The summaries of an earlier results.json. Raises `InputError` for anything else."""
    document = read_document(path, "baseline")
    try:
        version = document["schema_version"]
        summaries = document["summaries"] if version == SCHEMA_VERSION else []
        for summary in summaries:
            _ = _setting(summary), list(summary["targets"]), float(summary["accuracy"])
    except (ValueError, KeyError, TypeError):
        raise foreign(path) from None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"baseline {path} has schema version {version}; this gformer compares version {SCHEMA_VERSION}",
            "Measure the baseline again with this gformer.",
        )
    assert isinstance(summaries, list)
    return summaries


def check_comparable(baseline: Sequence[Mapping[str, Any]], plan: Plan) -> None:
    """Raises `InputError` for a baseline that shares nothing with what is planned, or has it on other targets."""
    common = [s for s in baseline if s["stream"] in plan.streams and s["method"] in plan.methods]
    common = [s for s in common if s["batch_size"] == plan.batch_size or s["stream"] == "batch-sizes"]
    if not common:
        raise InputError(
            "the baseline has no method and stream in common with this evaluation",
            "Compare the same --methods, --streams and --batch-size.",
        )
    if not plan.targets:
        return
    names = {nfc(target.name) for target in plan.targets}
    other = next((s for s in common if set(map(nfc, s["targets"])) - {SOURCE_AGAIN} != names), None)
    if other is not None:
        raise InputError(
            f"the baseline was measured on other targets: {', '.join(other['targets'])}",
            "Averages compare on the same --target only.",
        )


def compare(results: Results, baseline: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Average accuracies that both have."""
    before = {_setting(summary): float(summary["accuracy"]) for summary in baseline}
    return [
        Change(s.stream, s.batch_size, s.method, before[key], s.accuracy)
        for s in results.summaries()
        if (key := (s.stream, s.batch_size, s.method)) in before
    ]


def require(
    results: Results, least: Mapping[str, float], most_harm: float | None, changes: Sequence[Change] = ()
) -> None:
    """Raises `WorkError` that names every average accuracy under its limit, harm over its limit, and regression."""
    missed: list[str] = []
    for s in results.summaries():
        if s.accuracy < least.get(s.method, 0.0):
            missed.append(f"{_place(s)}: accuracy {s.accuracy:.4f} < {least[s.method]:.4f} (--fail-under)")
        if most_harm is not None and s.method == JUDGED and s.harm > most_harm:
            missed.append(f"{_place(s)}: harm on {s.worst_target} {s.harm:.4f} > {most_harm:.4f} (--fail-harm)")
    missed += [f"{_place(c)}: accuracy {c.before:.4f} -> {c.now:.4f} (--baseline)" for c in changes if c.regressed]
    if missed:
        raise WorkError(f"limits missed: {'; '.join(missed)}", "The results themselves are complete.")


def _setting(summary: Mapping[str, Any]) -> tuple[str, int, str]:
    return summary["stream"], summary["batch_size"], summary["method"]


def _place(item: Summary | Change) -> str:
    return f"{item.method} on {item.stream} in batches of {item.batch_size}"
