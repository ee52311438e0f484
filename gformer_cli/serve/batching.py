"""Requests to batches, and one thread that predicts them.

Images of one batch influence each other's prediction. So only images that belong together share one: those of one
request, and those of requests that name the same target.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread

import torch

from gformer_cli.adapt.predictor import Outcome
from gformer_cli.adapt.rows import Row
from gformer_cli.errors import GformerError
from gformer_cli.folders.domains import ImageFile
from gformer_cli.guard.rule import Verdict
from gformer_cli.images.preprocessing import Batch
from gformer_cli.serve.options import ServeOptions

Predict = Callable[[Batch, str | None], Outcome]
"""Predicts a batch of a target; None for images of a request that names none."""


class QueueFull(GformerError):
    """More images than may wait. `seconds`: when it is worth trying again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True)
class Image:
    """A decoded image of a request."""

    name: str
    pixels: torch.Tensor
    """uint8 (3, S, S)"""
    digest: str
    """SHA-256 of the file's bytes."""


@dataclass(frozen=True)
class BatchTold:
    """What a request is told of a batch that images of it were in."""

    number: int
    images: int
    """All of it, those of other requests too."""
    verdict: Verdict


@dataclass(frozen=True)
class Answered:
    """What one request got: a row for each image, in its order, and the batches that these were in."""

    rows: list[Row]
    batches: list[BatchTold]


@dataclass(eq=False)
class _Request:
    count: int
    arrived: float = field(default_factory=time.monotonic)
    future: Future[Answered] = field(default_factory=Future)
    rows: dict[int, Row] = field(default_factory=dict)
    batches: list[BatchTold] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: Image
    place: int
    """In its request."""
    request: _Request


@dataclass(eq=False)
class _Line:
    """Images that may share a batch, one or more."""

    target: str | None
    images: deque[_Waiting] = field(default_factory=deque)

    @property
    def oldest(self) -> float:
        """When the first of them came."""
        return self.images[0].request.arrived


class Batcher:
    """Holds images until they are predicted, at most `options.queue` of them. Threads may submit to it.

    A batch of a named target is predicted when it is full, or when its oldest image has waited `options.max_wait`; a
    request without a target waits for no other. `done` is told of each outcome, in the thread that predicts.
    """

    def __init__(
        self,
        predict: Predict,
        classes: list[str],
        options: ServeOptions,
        done: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._predict = predict
        self._classes = classes
        self._options = options
        self._done = done
        self._changed = Condition()
        self._lines: dict[object, _Line] = {}
        self._taken = 0
        self._seconds_per_image = 0.0
        self._hurried = self._stopping = False
        self._thread = Thread(target=self._run, name="predict", daemon=True)

    def start(self) -> None:
        """Begin to predict."""
        self._thread.start()

    def hurry(self) -> None:
        """From now on no image waits for others."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Predict all that waits, at once, and end. Nothing may be submitted any more."""
        with self._changed:
            self._stopping = True
        self.hurry()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it predicts."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Images that have a place: they are decoded, wait, or are being predicted."""
        return self._taken

    def reserve(self, count: int) -> None:
        """Take places for `count` images. Raises `QueueFull` where there are not so many."""
        with self._changed:
            if self._taken + count > self._options.queue:
                raise QueueFull(
                    f"{self._taken} images wait already, and {self._options.queue} may",
                    self._taken * self._seconds_per_image,
                )
            self._taken += count

    def release(self, count: int) -> None:
        """Give places back that were reserved and are not needed."""
        with self._changed:
            self._taken -= count

    def submit(self, images: Sequence[Image], target: str | None) -> Future[Answered]:
        """Have images predicted that have places already. The future raises what predicting raised."""
        request = _Request(len(images))
        waiting = [_Waiting(image, place, request) for place, image in enumerate(images)]
        with self._changed:
            line = self._lines.setdefault(request if target is None else target, _Line(target))
            line.images.extend(waiting)
            self._changed.notify_all()
        return request.future

    def _run(self) -> None:
        while (found := self._next()) is not None:
            target, waiting = found
            error: Exception | None = None
            try:
                outcome = self._predicted(target, waiting)
            except Exception as raised:  # whatever it is, the requests are told, and the others go on
                error = raised
            self.release(len(waiting))  # before anybody is told: who asks then finds the places
            if error is None:
                self._tell(waiting, outcome)
            else:
                for one in waiting:
                    with suppress(InvalidStateError):
                        one.request.future.set_exception(error)

    def _next(self) -> tuple[str | None, list[_Waiting]] | None:
        """The batch that is due, when one is; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = {key: line for key, line in self._lines.items() if self._is_due(line, now)}
                if due:
                    key = min(due, key=lambda key: due[key].oldest)
                    waiting = self._take(key)
                    if waiting:
                        return due[key].target, waiting
                elif self._stopping:
                    return None
                else:
                    ends = [line.oldest + self._options.max_wait for line in self._lines.values()]
                    self._changed.wait(max(0.0, min(ends) - now) if ends else None)

    def _is_due(self, line: _Line, now: float) -> bool:
        full = len(line.images) >= self._options.batch_size
        return full or line.target is None or self._hurried or now >= line.oldest + self._options.max_wait

    def _take(self, key: object) -> list[_Waiting]:
        """The next images of a line, without those of requests that nobody waits for any more."""
        line = self._lines[key]
        taken = [line.images.popleft() for _ in range(min(len(line.images), self._options.batch_size))]
        if not line.images:
            del self._lines[key]
        wanted = [one for one in taken if not one.request.future.done()]
        self._taken -= len(taken) - len(wanted)
        return wanted

    def _predicted(self, target: str | None, waiting: list[_Waiting]) -> Outcome:
        images = [one.image for one in waiting]
        batch = Batch(
            torch.stack([image.pixels for image in images]),
            tuple(ImageFile(Path(), image.name) for image in images),
            tuple(image.digest for image in images),
        )
        outcome = self._predict(batch, target)
        self._seconds_per_image = outcome.seconds / len(images)
        self._done(outcome)
        return outcome

    def _tell(self, waiting: list[_Waiting], outcome: Outcome) -> None:
        """Give each request its rows, and its answer where these were the last of it."""
        told = BatchTold(outcome.number, len(waiting), outcome.verdict)
        for one, row in zip(waiting, outcome.rows(self._classes), strict=True):
            one.request.rows[one.place] = row
        for request in dict.fromkeys(one.request for one in waiting):
            request.batches.append(told)
            if len(request.rows) == request.count:
                with suppress(InvalidStateError):  # the client has gone
                    request.future.set_result(
                        Answered([request.rows[place] for place in range(request.count)], request.batches)
                    )
