"""Predict a folder that fills: each image once, in batches of one sub-folder, whatever ends the process.

The order of each step is what makes a kill harmless. A batch is read, predicted, told to the sinks, added to the
predictions file as one piece, and only then are its images moved. What is in that file is done; all else is not.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gformer_cli.adapt.predictor import OVERFLOW, Outcome, Predictor, Sink
from gformer_cli.bundle import Bundle
from gformer_cli.compute.device import pick_pace
from gformer_cli.compute.threads import Cores
from gformer_cli.console import LISTED, one_line
from gformer_cli.data.labelled import unreadable
from gformer_cli.errors import InputError
from gformer_cli.folders.aside import check_all_read, describe_aside, shortened
from gformer_cli.folders.domains import Aside, ImageFile
from gformer_cli.guard.rule import GENERATED, Guard
from gformer_cli.images.preprocessing import Decoded, Skipped, read_images, stack
from gformer_cli.progress import Progress, Silent, StopRequest
from gformer_cli.watch.incoming import Arrival, Due, Incoming
from gformer_cli.watch.ledger import Ledger, SkippedList, Stamp
from gformer_cli.watch.moving import Changed, move
from gformer_cli.watch.notices import Notices

LOOK = 0.2
"""Seconds between two looks at the clock and at a request to stop."""
SCAN_EVERY = 2.0
"""Seconds between two scans, at least, and so many times what a scan takes:"""
SCAN_SHARE = 50.0


@dataclass(frozen=True)
class WatchOptions:
    """How a folder is watched. Times in seconds."""

    folder: Path
    out: Path
    batch_size: int = 64
    max_wait: float = 10.0
    """A smaller batch is predicted when one of its images has waited so long."""
    settle: float = 1.0
    """A file is complete when it has not changed for so long."""
    until_idle: float | None = None
    """Predict what is there and end when nothing has come for so long; None goes on for ever."""
    move_to: Path | None = None
    """Where predicted images go; None leaves them."""
    probabilities: bool = False
    strict: bool = False


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


def watch(
    bundle: Bundle,
    options: WatchOptions,
    *,
    device: torch.device,
    workers: int,
    stop: StopRequest,
    cores: Cores | None = None,
    context: int = 0,
    guard: Guard | None = None,
    obeyed: bool = True,
    precision: str = "float32",
    sinks: Sequence[Sink] = (),
    progress: Progress | None = None,
) -> WatchResult:
    """Predict what `options.folder` holds and what comes, until `stop` or until nothing comes.

    Each of `sinks` is told about a batch before its predictions count as written. After a kill the same call goes on
    with the images that are not in the predictions file, in order of arrival.

    Raises `WorkError` where the disk refuses to write, and `InputError` for a predictions file of another kind, for
    an unreadable image where that is an error, and for a folder that has gone when nothing more comes.
    """
    ledger = Ledger(options.out, bundle.header.classes, probabilities=options.probabilities)
    try:
        notices = Notices(options.folder)
        try:
            progress = progress or Silent()
            how: dict[str, Any] = {"obeyed": obeyed, "context": context, "precision": precision}
            predictor = Predictor(bundle, device, guard, **how, pace=pick_pace(cores, device, progress))
            predictor.batches = ledger.next_batch
            return _Watch(predictor, options, ledger, notices, workers, sinks, progress).run(stop)
        finally:
            notices.close()
    finally:
        ledger.close()


class _Watch:
    def __init__(
        self,
        predictor: Predictor,
        options: WatchOptions,
        ledger: Ledger,
        notices: Notices,
        workers: int,
        sinks: Sequence[Sink],
        progress: Progress,
    ) -> None:
        self.predictor = predictor
        self.options = options
        self.ledger = ledger
        self.notices = notices
        self.workers = workers
        self.sinks = sinks
        self.progress = progress
        self.skipped = SkippedList(options.out)
        self.incoming = Incoming(
            options.folder,
            settle=options.settle,
            known=(ledger.done, self.skipped.keys),
            classes=predictor.bundle.header.classes,
        )
        self.result = WatchResult(ledger.images)
        self._next_scan = 0.0
        self._told: set[str] = set()
        self._told_formats: set[str] = set()
        self._unmoved: set[str] = set()
        self._restless: set[str] = set()

    def run(self, stop: StopRequest) -> WatchResult:
        self._begin()
        while not stop.requested:
            now = time.monotonic()
            self._look(now)
            idle = self._is_idle(now)
            max_wait = 0.0 if idle else self.options.max_wait
            due = self.incoming.due(now, batch_size=self.options.batch_size, max_wait=max_wait)
            if due is not None:
                self._do_batch(due)
            elif idle:
                self._check_folder()
                break
            else:
                self.predictor.memory.give_back_if_due()
                self.notices.wait(min(LOOK, max(self.options.settle, 0.01)))
        if stop.requested:
            self.result.ended_by = signal.Signals(stop.signal or signal.SIGINT).name
        self.result.skipped = self.skipped.new
        return self.result

    def _check_folder(self) -> None:
        """That nothing more has come says nothing where it could not have come."""
        hint = "Bring it back, then start the same command again: nothing is lost."
        if not self.options.folder.is_dir():
            raise InputError(f"the watched folder has gone: {self.options.folder}", hint)
        if not self.incoming.in_place:
            raise InputError(f"{self.options.folder} is another folder than at the start; was it unmounted?", hint)

    def _begin(self) -> None:
        if self.ledger.cut:
            self.progress.warning(
                f"cut {self.ledger.cut} bytes of an unfinished batch off {self.options.out}; "
                f"its images are predicted again if they are still in {self.options.folder}"
            )
        self.incoming.last_arrival = time.monotonic()
        self._look(self.incoming.last_arrival)
        how = f"no notices from the system ({self.notices.missing}), so it is scanned" if self.notices.missing else ""
        self.progress.message(
            f"watching {self.options.folder}: {self.incoming.settling + self.incoming.waiting} images to predict, "
            f"{self.ledger.images} predicted before" + (f"; {how}" if how else "")
        )
        if self.result.left_aside and not self._told_formats:
            self.progress.message(describe_aside(self.result.left_aside))

    def _look(self, now: float) -> None:
        noticed = self.notices.take()
        for relative, writing in noticed.files.items():
            self.incoming.notice(relative, now, writing=writing)
        if noticed.folders or now >= self._next_scan:
            left = self.incoming.scan(now)
            self.notices.follow(self.incoming.folders)
            self._next_scan = now + max(SCAN_EVERY, SCAN_SHARE * (time.monotonic() - now))
            self._tell()
            self._move_left(left)
        self._skip_gone(self.incoming.update(now))
        self._tell_restless(now)

    def _tell_restless(self, now: float) -> None:
        restless = self.incoming.restless(now)
        self.result.unsettled = len(restless)
        for relative in sorted(set(restless) - self._restless):
            self.progress.warning(
                f"{one_line(relative)} goes on changing, so it is never complete and not predicted; have it written "
                f"under another name each time, or try a shorter --settle ({self.options.settle:g} s now)"
            )
        self._restless.update(restless)

    def _tell(self) -> None:
        """What the last scan could not use, once."""
        problems = [problem for problem in self.incoming.unreadable if problem not in self._told]
        for problem in problems[:LISTED]:
            self.progress.warning(f"cannot look into {shortened(problem)}")
        if len(problems) > LISTED:
            self.progress.warning(f"cannot look into {len(problems) - LISTED} more folders")
        self._told = set(self.incoming.unreadable)
        self.result.left_aside = dict(self.incoming.left_aside.most_common())
        unread = self.incoming.unread
        if self.options.strict:
            check_all_read(Aside(self.options.folder / name, unread[name]) for name in unread)
        if not set(unread.values()) <= self._told_formats:
            self._told_formats |= set(unread.values())
            self.progress.warning(describe_aside(self.result.left_aside, unread.values()))

    def _is_idle(self, now: float) -> bool:
        patience = self.options.until_idle
        if patience is None or now - self.incoming.last_arrival < patience:
            return False
        return self.incoming.settling == len(self.incoming.restless(now))

    def _do_batch(self, due: Due) -> None:
        """Read, predict and write down the batch that is due; too few readable images go back to their queue."""
        arrivals: list[Arrival] = []
        items: list[Decoded] = []
        while len(items) < due.count:
            taken, gone = self.incoming.take(due.domain, due.count - len(items), time.monotonic())
            self._skip_gone(gone)
            if not taken:
                break
            self._read(taken, arrivals, items)
        if len(items) == due.count:
            self._finish(self.predictor.predict(stack(items), due.domain), arrivals)
        else:  # whether so few are due as well is another question
            for arrival in arrivals:
                self.incoming.put_back(arrival)

    def _read(self, taken: Sequence[Arrival], arrivals: list[Arrival], items: list[Decoded]) -> None:
        folder = self.options.folder
        files = [ImageFile(folder / arrival.relative, arrival.relative, None) for arrival in taken]
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
            f"batch {outcome.number}, {one_line(outcome.target)}: {len(rows)} images in {outcome.seconds:.2f} s, "
            + (f"guard: {decision}, " if decision != GENERATED else "")
            + f"{changed} labels differ from the source model's, {self.incoming.waiting} images wait"
        )
        if OVERFLOW in outcome.verdict.reasons:
            self.progress.warning(
                f"batch {outcome.number}, {one_line(outcome.target)}: what was generated gives no finite numbers: "
                "the source model's answers are written"
            )
        if self.options.move_to is not None:
            for arrival in arrivals:
                self._move(arrival.relative, arrival.stamp)

    def _skip_gone(self, names: Sequence[str]) -> None:
        for relative in names:
            self._skip(Skipped(relative, "it has gone before it was read"), None)

    def _skip(self, item: Skipped, stamp: Stamp | None) -> None:
        self.skipped.add(item.path, item.reason, stamp)
        if self.options.strict:
            raise unreadable([item])
        self.progress.warning(f"skipped {one_line(item.path)}: {item.reason}")

    def _move_left(self, known: Sequence[str]) -> None:
        """Move what was predicted before a kill came between writing and moving; what was skipped stays."""
        if self.options.move_to is None:
            return
        for relative in known:
            stamp = self.incoming.stamp_among(self.ledger.done, relative)
            if stamp is not None:
                self._move(relative, stamp)

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
