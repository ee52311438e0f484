"""One batch of a folder that fills, from its images to its line in the predictions file and out of the folder.

The order of each step is what makes a kill harmless. A batch is read, predicted, told to the sinks, added to the
predictions file as one piece, and only then are its images moved. What is in that file is done; all else is not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gformer_cli.adapt.answering import OVERFLOW
from gformer_cli.adapt.predictor import Outcome, Predictor, Sink
from gformer_cli.console import amount, differing, one_line
from gformer_cli.data.labelled import unreadable
from gformer_cli.folders.domains import ImageFile
from gformer_cli.guard.rule import GENERATED
from gformer_cli.images.preprocessing import Decoded, Skipped, read_images, stack
from gformer_cli.progress import Progress
from gformer_cli.watch.incoming import Arrival, Incoming
from gformer_cli.watch.ledger import Ledger, SkippedList, Stamp
from gformer_cli.watch.moving import Changed, move
from gformer_cli.watch.options import WatchOptions
from gformer_cli.watch.queues import Due


@dataclass
class WatchResult:
    """What one call did; images that were predicted before it are counted in `before` alone."""

    before: int
    images: int = 0
    batches: int = 0
    changed: int = 0
    """Images whose label differs from the source model's."""
    counts: Counter[str] = field(default_factory=Counter)
    """Images per predicted class."""
    decisions: Counter[str] = field(default_factory=Counter)
    """Batches per decision of the guard."""
    skipped: int = 0
    unsettled: int = 0
    """Files that were never complete, because they go on changing."""
    left_aside: dict[str, int] = field(default_factory=dict)
    """Files per suffix that were there at the last look, and are not read as images."""
    ended_by: str = "idle"
    """`idle`, `SIGTERM` or `SIGINT`."""


class Batches:
    """Predicts what is due and counts it in `result`. See `watch` for the arguments."""

    def __init__(
        self,
        predictor: Predictor,
        options: WatchOptions,
        ledger: Ledger,
        skipped: SkippedList,
        incoming: Incoming,
        workers: int,
        sinks: Sequence[Sink],
        progress: Progress,
    ) -> None:
        self.predictor = predictor
        self.options = options
        self.ledger = ledger
        self.skipped = skipped
        self.incoming = incoming
        self.workers = workers
        self.sinks = sinks
        self.progress = progress
        self.result = WatchResult(ledger.images)
        self._unmoved: set[str] = set()

    def do(self, due: Due) -> None:
        """Read, predict and write down the batch that is due; too few readable images go back to their queue."""
        arrivals: list[Arrival] = []
        items: list[Decoded] = []
        while len(items) < due.count:
            taken, gone = self.incoming.take(due.domain, due.count - len(items), time.monotonic())
            self.skip_gone(gone)
            if not taken:
                break
            self._read(taken, arrivals, items)
        if len(items) == due.count:
            self._finish(self.predictor.predict(stack(items), due.domain), arrivals)
        else:  # whether so few are due as well is another question
            for arrival in arrivals:
                self.incoming.put_back(arrival)

    def skip_gone(self, names: Sequence[str]) -> None:
        for relative in names:
            self._skip(Skipped(relative, "it has gone before it was read"), None)

    def move_left(self, known: Sequence[str]) -> None:
        """Move what was predicted before a kill came between writing and moving; what was skipped stays."""
        if self.options.move_to is None:
            return
        for relative in known:
            stamp = self.incoming.stamp_among(self.ledger.done, relative)
            if stamp is not None:
                self._move(relative, stamp)

    def _read(self, taken: Sequence[Arrival], arrivals: list[Arrival], items: list[Decoded]) -> None:
        folder = self.options.folder
        files = [ImageFile(folder, arrival.relative) for arrival in taken]
        read = read_images(files, self.predictor.bundle.preprocessing, workers=self.workers)
        for arrival, item in zip(taken, read, strict=True):
            now = time.monotonic()
            if self.incoming.changed(arrival, now):
                continue
            if isinstance(item, Decoded):
                arrivals.append(arrival)
                items.append(item)
            elif arrival.tries == 0:
                self.incoming.look_again(arrival, now)
            else:
                self._skip(item, arrival.stamp)

    def _finish(self, outcome: Outcome, arrivals: Sequence[Arrival]) -> None:
        for line in self.predictor.bundle.depth.news():
            self.progress.message(f"{line}; --white-level sets another")
        for sink in self.sinks:
            sink(outcome)
        rows = outcome.rows(self.predictor.bundle.header.classes)
        self.ledger.append(rows, [arrival.stamp for arrival in arrivals])
        changed = sum(row.label != row.source_label for row in rows)
        self.result.images += len(rows)
        self.result.batches += 1
        self.result.changed += changed
        self.result.decisions[outcome.verdict.decision] += 1
        self.result.counts.update(row.label for row in rows)
        decision = outcome.verdict.decision
        self.progress.message(
            f"batch {outcome.number}, {one_line(outcome.target)}: {amount(len(rows), 'image', 'images')} in "
            f"{outcome.seconds:.2f} s, "
            + (f"guard: {decision}, " if decision != GENERATED else "")
            + f"{differing(changed)}, {amount(self.incoming.waiting, 'image waits', 'images wait')}"
        )
        if OVERFLOW in outcome.verdict.reasons:
            self.progress.warning(
                f"batch {outcome.number}, {one_line(outcome.target)}: what was generated gives no finite numbers: "
                "the source model's answers are written"
            )
        if self.options.move_to is not None:
            for arrival in arrivals:
                self._move(arrival.relative, arrival.stamp)

    def _skip(self, item: Skipped, stamp: Stamp | None) -> None:
        self.skipped.add(item.path, item.reason, stamp)
        if self.options.strict:
            raise unreadable([item])
        self.progress.warning(f"skipped {one_line(item.path)}: {item.reason}")

    def _move(self, relative: str, stamp: Stamp) -> None:
        assert self.options.move_to is not None
        try:
            move(self.options.folder, relative, self.options.move_to, stamp)
        except FileNotFoundError:  # somebody else has moved it
            pass
        except Changed:  # a new image under an old name, to be predicted
            pass
        except OSError as error:
            if relative not in self._unmoved:
                self.progress.warning(
                    f"cannot move {one_line(relative)}: {error.strerror or error}; it stays, and is not predicted again"
                )
            self._unmoved.add(relative)
