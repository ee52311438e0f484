"""Predict target folders that are complete: every readable image once, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from gformer_cli.adapt.dealing import Round, dealt
from gformer_cli.adapt.predictor import Outcome, Predictor, Sink
from gformer_cli.adapt.rows import Row, Rows
from gformer_cli.bundle import Bundle
from gformer_cli.compute import ranks
from gformer_cli.compute.device import pick_pace
from gformer_cli.compute.threads import Cores
from gformer_cli.data.labelled import unreadable
from gformer_cli.data.streams import arrival_order
from gformer_cli.errors import WorkError
from gformer_cli.export.model import GraphModel
from gformer_cli.folders.domains import Domain, ImageFiles
from gformer_cli.folders.image_files import in_order_of
from gformer_cli.folders.targets import check_batch_size
from gformer_cli.guard.rule import DECISIONS, GENERATED, Guard, Verdict
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_batches
from gformer_cli.progress import Progress, Silent


@dataclass(frozen=True)
class AdaptResult:
    """What `adapt` did."""

    rows: Rows
    batches: int
    skipped: list[Skipped]
    decisions: dict[str, int] = field(default_factory=dict)
    """Batches by the guard's decision, each of `DECISIONS`; empty without a guard."""
    flagged: list[tuple[int, str, Verdict]] = field(default_factory=list)
    """Number, target and verdict of every batch that was not `generated`."""
    levels: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Black and white per target and kind of samples, where images have more than 8 bits and nobody said it."""

    def counts(self) -> dict[str, int]:
        """Images per predicted class, most frequent first."""
        return dict(self.rows.labels.most_common())

    @property
    def changed(self) -> int:
        """Images whose label differs from the source model's."""
        return self.rows.changed


def adapt(
    bundle: Bundle | GraphModel,
    domains: Sequence[Domain],
    *,
    batch_size: int,
    order: str,
    seed: int,
    context: int = 0,
    device: torch.device,
    workers: int,
    cores: Cores | None = None,
    strict: bool = False,
    guard: Guard | None = None,
    obeyed: bool = True,
    precision: str = "float32",
    rows: Rows | None = None,
    sinks: Sequence[Sink] = (),
    dropping: bool = False,
    progress: Progress | None = None,
) -> AdaptResult:
    """Predict every readable image of `domains`, one generation per batch; labels are not looked at.

    `order` is `shuffle` (deterministic by `seed`; one class after another would break batch statistics) or
    `name` (order of arrival). Batches never mix domains. With a `context`, parameters are generated from what the last
    so many batches of the same domain showed as well. With a `guard`, that one decides which parameters predict,
    or only says so unless `obeyed`. `rows` takes in what is predicted, in the order of domains, then names.
    `sinks` are given each batch's outcome, one after another, before its rows count; with `dropping` it has what
    dropout says of the answers.

    Processes that torchrun has started share the batches: the first one has all rows, `sinks` see their own process's.

    Raises `WorkError` when nothing is readable, and `InputError` for an unreadable image with `strict`.
    """
    progress = progress or Silent()
    check_batch_size(batch_size)
    bundle.look_into(domains)
    pace = pick_pace(cores, device, progress)
    predictor = Predictor(
        bundle,
        device,
        guard,
        obeyed=obeyed,
        context=context,
        precision=precision,
        pace=pace,
        dropping=dropping,
    )
    decisions = dict.fromkeys(DECISIONS, 0) if guard is not None else {}
    flagged: list[tuple[int, str, Verdict]] = []
    rows = Rows() if rows is None else rows
    skipped: list[Skipped] = []
    progress.begin("adapting", sum(-(-len(domain.files) // batch_size) for domain in domains))
    for domain in domains:
        files = _ordered(domain, order, seed)
        earlier = len(skipped)
        for turn in _rounds(files, bundle.preprocessing, batch_size, workers, skipped):
            if strict and skipped:
                raise unreadable(skipped)
            told = []
            first = predictor.batches
            if turn.own is not None:
                predictor.batches += ranks.rank()  # its number among all
                outcome = predictor.predict(turn.own, domain.name)
                for sink in sinks:
                    sink(outcome)
                told.append(_told(outcome, bundle.header.classes, probabilities=rows.keeps))
            predictor.batches = first + turn.batches
            for line in bundle.depth.news():
                progress.message(f"{line}; --white-level sets another")
            for number, verdict, predicted in ranks.in_order(ranks.to_first(told)):
                if guard is not None:
                    decisions[verdict.decision] += 1
                if verdict.decision != GENERATED:
                    flagged.append((number, domain.name, verdict))
                for row in predicted:
                    rows.add(row)
                progress.advance()
        if strict and skipped:
            raise unreadable(skipped)
        rows.end_target()
        skipped[earlier:] = sorted(skipped[earlier:], key=lambda item: item.path)
    progress.end()
    if ranks.first() and not len(rows):
        raise WorkError(
            f"no readable image: {len(skipped)} skipped, such as {skipped[0].path} ({skipped[0].reason})",
            "See: gformer data check DIR",
        )
    return AdaptResult(rows, predictor.batches, skipped, decisions, flagged, bundle.depth.found())


def _rounds(
    files: ImageFiles, preprocessing: Preprocessing, batch_size: int, workers: int, skipped: list[Skipped]
) -> Iterator[Round]:
    """Batches, one after another or one for each process at a time."""
    if ranks.size() > 1:
        return dealt(files, preprocessing, batch_size=batch_size, workers=workers, skipped=skipped)
    stream = read_batches(files, preprocessing, batch_size=batch_size, workers=workers, skipped=skipped)
    return (Round(batch, 1) for batch in stream)


def _told(outcome: Outcome, classes: list[str], *, probabilities: bool) -> tuple[int, Verdict, list[Row]]:
    """What the process that writes needs of a batch: its number, the guard's verdict, its rows."""
    rows = outcome.rows(classes)
    return outcome.number, outcome.verdict, rows if probabilities else [replace(row, probabilities=()) for row in rows]


def _ordered(domain: Domain, order: str, seed: int) -> ImageFiles:
    if order == "shuffle":
        return arrival_order(domain, seed)
    return domain.files.at(in_order_of(domain.files.names()))
