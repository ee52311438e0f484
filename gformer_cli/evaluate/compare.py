"""Two evaluations side by side: two models, or two releases of one."""

from __future__ import annotations

from dataclasses import dataclass

from gformer_cli.errors import InputError
from gformer_cli.evaluate.reading import Document
from gformer_cli.evaluate.results import Difference, Summary, paired_difference
from gformer_cli.metrics import mean


@dataclass(frozen=True)
class Row:
    """One method on one stream, in both."""

    stream: str
    batch_size: int
    method: str
    targets: dict[str, tuple[float, float]]
    """Accuracy in A and in B, of the targets that both have."""
    difference: Difference
    """B less A, mean over these targets; an interval where both were measured on the same batches."""
    a: Summary
    b: Summary

    @property
    def accuracy(self) -> tuple[float, float]:
        """In A and in B, mean over the targets that both have."""
        one, other = zip(*self.targets.values(), strict=True)
        return mean(one), mean(other)


@dataclass(frozen=True)
class Comparison:
    """What both have, and what only one of them has."""

    rows: list[Row]
    only_a: list[str]
    """Streams, batch sizes, methods and targets of A alone, in words."""
    only_b: list[str]


def compare(a: Document, b: Document) -> Comparison:
    """Compare two results. Raises `InputError` where they have no stream, method and target in common."""
    one, other = ({(s.stream, s.batch_size, s.method): s for s in document.summaries} for document in (a, b))
    rows: list[Row] = []
    for key in [key for key in one if key in other]:
        before, now = one[key], other[key]
        targets = {name: (before.targets[name], now.targets[name]) for name in before.targets if name in now.targets}
        if targets:
            stream, size, method = key
            theirs, mine = (
                [cell for cell in document.of((stream, size), method) if cell.target in targets] for document in (a, b)
            )
            rows.append(Row(*key, targets, paired_difference("a", mine, theirs), before, now))
    if not rows:
        raise InputError(
            "the two results have no stream, method and target in common",
            "Evaluate both with the same --methods, --streams, --batch-size and --target.",
        )
    return Comparison(rows, _only(one, other), _only(other, one))


def _only(one: dict[tuple[str, int, str], Summary], other: dict[tuple[str, int, str], Summary]) -> list[str]:
    settings = {(stream, size) for stream, size, _ in other}
    missing: list[str] = []
    for (stream, size, method), summary in one.items():
        theirs = other.get((stream, size, method))
        if (stream, size) not in settings:
            missing.append(f"stream {stream} in batches of {size}")
        elif theirs is None:
            missing.append(f"{method} on {stream} in batches of {size}")
        else:
            missing += [f"target {name} on {stream}" for name in summary.targets if name not in theirs.targets]
    return list(dict.fromkeys(missing))
