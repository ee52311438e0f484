"""Predict a folder that fills: each image once, in batches of one sub-folder, whatever ends the process.

Each turn looks at what has come, and predicts the batch that is due. `batches.py` says why a kill does no harm.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import Any

import torch

from gformer_cli.adapt.predictor import Predictor, Sink
from gformer_cli.bundle import Bundle
from gformer_cli.compute.device import pick_pace
from gformer_cli.compute.threads import Cores
from gformer_cli.console import LISTED, one_line
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.folders.aside import check_all_read, describe_aside, shortened
from gformer_cli.folders.domains import Aside
from gformer_cli.guard.rule import Guard
from gformer_cli.progress import Progress, Silent, StopRequest
from gformer_cli.watch.batches import Batches, WatchResult
from gformer_cli.watch.incoming import Incoming
from gformer_cli.watch.ledger import Ledger, SkippedList
from gformer_cli.watch.notices import Notices
from gformer_cli.watch.options import WatchOptions

LOOK = 0.2
"""Seconds between two looks at the clock and at a request to stop."""
SCAN_EVERY = 2.0
"""Seconds between two scans, at least, and so many times what a scan takes:"""
SCAN_SHARE = 50.0


def watch(
    bundle: Bundle | GraphModel,
    options: WatchOptions,
    *,
    device: torch.device,
    workers: int,
    stop: StopRequest,
    cores: Cores | None = None,
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
            how: dict[str, Any] = {"obeyed": obeyed, "context": options.context, "precision": precision}
            predictor = Predictor(bundle, device, guard, **how, pace=pick_pace(cores, device, progress))
            predictor.batches = ledger.next_batch
            skipped = SkippedList(options.out)
            incoming = Incoming(
                options.folder,
                settle=options.settle,
                known=(ledger.done, skipped.keys),
                classes={*bundle.header.classes, *bundle.header.class_map},
            )
            batches = Batches(predictor, options, ledger, skipped, incoming, workers, sinks, progress)
            return _Watch(batches, notices).run(stop)
        finally:
            notices.close()
    finally:
        ledger.close()


class _Watch:
    def __init__(self, batches: Batches, notices: Notices) -> None:
        self.batches = batches
        self.notices = notices
        self.options = batches.options
        self.incoming = batches.incoming
        self.contents = batches.incoming.contents
        self.result = batches.result
        self.progress = batches.progress
        self._next_scan = 0.0
        self._told: set[str] = set()
        self._told_formats: set[str] = set()
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
                self.batches.do(due)
            elif idle:
                self._check_folder()
                break
            else:
                self.batches.predictor.memory.give_back_if_due()
                self.notices.wait(min(LOOK, max(self.options.settle, 0.01)))
        if stop.requested:
            self.result.ended_by = signal.Signals(stop.signal or signal.SIGINT).name
        self.result.skipped = self.batches.skipped.new
        return self.result

    def _check_folder(self) -> None:
        """That nothing more has come says nothing where it could not have come."""
        hint = "Bring it back, then start the same command again: nothing is lost."
        if not self.options.folder.is_dir():
            raise InputError(f"the watched folder has gone: {self.options.folder}", hint)
        if not self.contents.in_place:
            raise InputError(f"{self.options.folder} is another folder than at the start; was it unmounted?", hint)

    def _begin(self) -> None:
        if self.batches.ledger.cut:
            self.progress.warning(
                f"cut {self.batches.ledger.cut} bytes of an unfinished batch off {self.options.out}; "
                f"its images are predicted again if they are still in {self.options.folder}"
            )
        self.incoming.last_arrival = time.monotonic()
        self._look(self.incoming.last_arrival)
        how = f"no notices from the system ({self.notices.missing}), so it is scanned" if self.notices.missing else ""
        self.progress.message(
            f"watching {self.options.folder}: {self.incoming.settling + self.incoming.waiting} images to predict, "
            f"{self.batches.ledger.images} predicted before" + (f"; {how}" if how else "")
        )
        if self.result.left_aside and not self._told_formats:
            self.progress.message(describe_aside(self.result.left_aside))

    def _look(self, now: float) -> None:
        noticed = self.notices.take()
        for relative, writing in noticed.files.items():
            self.incoming.notice(relative, now, writing=writing)
        if noticed.folders or now >= self._next_scan:
            left = self.incoming.scan(now)
            self.notices.follow(self.contents.folders)
            self._next_scan = now + max(SCAN_EVERY, SCAN_SHARE * (time.monotonic() - now))
            self._tell()
            self.batches.move_left(left)
        self.batches.skip_gone(self.incoming.update(now))
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
        problems = [problem for problem in self.contents.unreadable if problem not in self._told]
        for problem in problems[:LISTED]:
            self.progress.warning(f"cannot look into {shortened(problem)}")
        if len(problems) > LISTED:
            self.progress.warning(f"cannot look into {len(problems) - LISTED} more folders")
        self._told = set(self.contents.unreadable)
        self.result.left_aside = dict(self.contents.left_aside.most_common())
        unread = self.contents.unread
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
