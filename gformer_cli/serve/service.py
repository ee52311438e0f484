"""What answers requests: decoding, batches, counts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch

from gformer_cli.adapt.predictor import Outcome, Predictor
from gformer_cli.bundle import Bundle
from gformer_cli.compute.pace import Pace
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.guard.rule import Guard
from gformer_cli.images.preprocessing import Batch
from gformer_cli.python.reading import PreprocessingReader
from gformer_cli.serve.batching import Answered, Batcher, Image
from gformer_cli.serve.metrics import Metrics
from gformer_cli.serve.options import ServeOptions


class Unreadable(InputError):
    """Images of a request that cannot be used: names, and why."""

    def __init__(self, images: Sequence[tuple[str, str]], count: int) -> None:
        super().__init__(f"{len(images)} of {count} images cannot be used", "Send the others without them.")
        self.images = list(images)


class Service:
    """A bundle that predicts what is sent to it.

    `decoders` is how many threads decode images. `told` hears of each outcome, in the thread that predicts.
    """

    def __init__(
        self,
        bundle: Bundle | GraphModel,
        device: torch.device,
        options: ServeOptions,
        *,
        guard: Guard | None = None,
        obeyed: bool = True,
        precision: str = "float32",
        pace: Pace | None = None,
        decoders: int = 1,
        told: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self.options = options
        self.bundle = bundle
        self.guard = "off" if guard is None else "on" if obeyed else "warn"
        self._reader = PreprocessingReader(bundle.preprocessing)
        self._pool = ThreadPoolExecutor(max(1, decoders), thread_name_prefix="decode")
        predict = _Numbered(
            Predictor(bundle, device, guard, obeyed=obeyed, precision=precision, pace=pace),
            Predictor(bundle, device, guard, obeyed=obeyed, context=options.context, precision=precision, pace=pace),
        )
        self.metrics = Metrics(guard)

        def done(outcome: Outcome) -> None:
            self.metrics.batch(outcome)
            told(outcome)

        self.batcher = Batcher(predict, bundle.header.classes, options, done)
        self.metrics.watch(lambda: self.batcher.waiting)

    def start(self) -> None:
        """Begin to predict."""
        self.batcher.start()

    def stop(self) -> None:
        """Predict what was accepted, and end."""
        self.batcher.stop()
        self._pool.shutdown()

    async def predict(self, files: Sequence[tuple[str, bytes]], target: str | None) -> Answered:
        """Rows for the images of one request: names and contents of files.

        Raises `QueueFull`, `Unreadable`, and whatever predicting raises.
        """
        self.batcher.reserve(len(files))
        try:
            images = await self._decoded(files)
        except BaseException:
            self.batcher.release(len(files))
            raise
        return await asyncio.wrap_future(self.batcher.submit(images, target))

    async def _decoded(self, files: Sequence[tuple[str, bytes]]) -> list[Image]:
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(self._pool, self._read, name, data) for name, data in files]
        found = await asyncio.gather(*work)
        refused = [(name, one) for (name, _), one in zip(files, found, strict=True) if isinstance(one, str)]
        if refused:
            raise Unreadable(refused, len(files))
        return [one for one in found if isinstance(one, Image)]

    def _read(self, name: str, data: bytes) -> Image | str:
        """The image, or why it cannot be used."""
        try:
            pixels = self._reader.read(data)
        except InputError as error:
            return error.message
        return Image(name, pixels, hashlib.sha256(data).hexdigest())

    def about(self) -> dict[str, Any]:
        """What is served."""
        path = self.bundle.path
        return {
            "model": None if path is None else path.name,
            "classes": len(self.bundle.header.classes),
            "guard": self.guard,
            "batch_size": self.options.batch_size,
            "waiting": self.batcher.waiting,
        }


class _Numbered:
    """Predicts with one counter of batches; a context is for named targets alone."""

    def __init__(self, alone: Predictor, named: Predictor) -> None:
        self._alone, self._named = alone, named
        self._count = 0

    def __call__(self, batch: Batch, target: str | None) -> Outcome:
        predictor = self._alone if target is None else self._named
        outcome = replace(predictor.predict(batch, target or "a request"), number=self._count)
        self._count += 1
        return outcome
