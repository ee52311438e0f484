"""Run every method over every stream, in turn within each batch."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.compute.pace import Pace
from gformer_cli.core.estimators import Classified, Dropout, Guesses, HeadWatch, inferred, watched
from gformer_cli.data.orders import Item
from gformer_cli.data.streams import Condition, Stream, StreamBatch
from gformer_cli.errors import WorkError
from gformer_cli.evaluate.cost import Counter, counting, peak_memory
from gformer_cli.evaluate.details import STREAMS, Examiner
from gformer_cli.evaluate.graph_methods import GraphMethod, graph_methods
from gformer_cli.evaluate.loading import Loaded, Loader
from gformer_cli.evaluate.parts import parts_of
from gformer_cli.evaluate.plan import EXAMINED, Plan
from gformer_cli.evaluate.results import REFERENCE, Cell, Details
from gformer_cli.export.model import GraphModel
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.methods import METHODS, Method
from gformer_cli.metrics import Scores, probabilities
from gformer_cli.progress import Progress
from gformer_cli.seeding import derive_seed

Runners = Mapping[str, Method | GraphMethod]
"""What is measured, by its name."""
Measure = Callable[[int, Stream, Progress], tuple[list[Cell], list[Skipped]]]
"""Cells and unreadable images of a stream under a seed."""
PREPARED = 2000
"""Held-out source images that a method may look at before the stream, as EATA's authors have it."""
REMEMBERED = 100_000
"""Images whose predictions a method that is asked once keeps: memory must not grow with a stream."""


class Harness:
    """Runs the methods of a plan over its streams."""

    def __init__(
        self,
        bundle: Bundle | GraphModel,
        plan: Plan,
        *,
        device: torch.device,
        workers: int,
        strict: bool,
        pace: Pace | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, GraphModel) else bundle.to(device)
        self.plan = plan
        self.device = device
        self.pace = pace or Pace(torch.get_num_threads(), fixed=True)
        domains = [*plan.targets, *plan.source]
        self.loader = Loader(bundle, domains, device=device, workers=workers, strict=strict)
        self.classes = len(bundle.header.classes)
        examine = plan.examine and EXAMINED in plan.measured
        self._examined = plan.drawn()[:STREAMS] if examine else []
        self._peaks: dict[tuple[str, int], float] = {}
        self._answers: dict[tuple[str, str, Condition | None], torch.Tensor] = {}
        self._costs: dict[tuple[str, int], tuple[float, ...]] = {}
        self._heads: HeadWatch | None = None

    @contextmanager
    def ready(self) -> Iterator[Measure]:
        """A function that runs every method over one stream; within the block passes of the network are counted."""
        with self._runners() as (runners, passes):
            for method in runners.values():
                if method.reads_source and self.plan.source:
                    method.prepare(self._source_images())
            yield lambda seed, stream, progress: self._stream(stream, seed, runners, passes, progress)

    @contextmanager
    def _runners(self) -> Iterator[tuple[Runners, Counter]]:
        if isinstance(self.bundle, GraphModel):
            passes = Counter()
            able = graph_methods(self.bundle, passes)
            yield {name: able[name] for name in self.plan.measured}, passes
            return
        backbone = self.bundle.backbone
        with counting(backbone.network) as passes, watched(backbone.classifier) as self._heads:
            parts, settings = parts_of(self.bundle), self.plan.settings
            yield (
                {name: METHODS[name].from_parts(parts, **settings.get(name, {})) for name in self.plan.measured},
                passes,
            )

    def _source_images(self) -> Iterator[torch.Tensor]:
        items = [Item(domain.name, file) for domain in self.plan.source for file in domain.files]
        chosen = sorted(items, key=lambda item: derive_seed(0, "prepare", item.target, item.file.path.name))[:PREPARED]
        size = self.plan.batch_size
        cut = [StreamBatch(tuple(chosen[start : start + size])) for start in range(0, len(chosen), size)]
        return (batch.inputs for batch in self.loader.read(cut) if batch.targets)

    def _stream(
        self, stream: Stream, seed: int, runners: Runners, passes: Counter, progress: Progress
    ) -> tuple[list[Cell], list[Skipped]]:
        tallies: dict[tuple[str, str], _Tally] = {}
        skipped: list[Skipped] = []
        first = 0
        for method in runners.values():
            method.reset()
        examiner = self._examiner(stream, seed)
        for number, batch in enumerate(self.loader.read(stream.batches)):
            answers: dict[str, torch.Tensor] = {}
            skipped += batch.skipped
            count = len(batch.targets)
            if count and not first:
                first = count
                self._warm_up(runners, batch.inputs, passes)
            with self.pace.step(max(1, count)):  # all methods on the same number, so that their costs compare
                predicted = {name: self._predicted(name, one, batch, passes) for name, one in runners.items() if count}
            dropout = Dropout(derive_seed(seed, "aetta", number))
            for name, (logits, spent, classified) in predicted.items():
                answers[name] = logits
                share = runners[name].share or 0.0  # where nothing was fitted for it, as for the source model
                fitted = self.bundle.estimators(share)
                probable = probabilities(logits / self.bundle.temperatures.of(share))
                dropped = inferred(classified, fitted, dropout)
                for target in dict.fromkeys(batch.targets):
                    rows = [row for row, own in enumerate(batch.targets) if own == target]
                    tally = tallies.setdefault((name, target), _Tally(Scores(self.classes), Scores(self.classes)))
                    tally.add(logits[rows], batch.labels[rows], self._temperature(runners[name]))
                    tally.guesses.add(probable[rows], fitted, None if dropped is None else dropped.of(rows))
                    tally.spend(*(part * len(rows) / count for part in spent))
            if examiner is not None and count:
                examiner.look(number, batch, answers[REFERENCE], answers[EXAMINED])
                passes.take()  # nothing that it does is a method's cost
            for line in self.loader.depth.news():
                progress.message(f"{line}; --white-level sets another")
            progress.advance(f"{stream.kind}, {stream.part}")
        if not tallies:
            raise WorkError(f"no readable image in {stream.kind} stream {stream.part!r}", "See: gformer data check")
        return [
            tally.cell(
                name,
                target,
                stream,
                seed,
                cost_ratio=tally.seconds / tallies[REFERENCE, target].seconds,
                peak_mib=self._peaks[name, first],
                details=examiner.details(target) if examiner is not None and name == EXAMINED else None,
            )
            for (name, target), tally in tallies.items()
        ], skipped

    def _temperature(self, method: Method | GraphMethod) -> float | None:
        """That of the answer to the last batch, where one was fitted."""
        if self.bundle.header.temperatures is None or method.share is None:
            return None
        return self.bundle.temperatures.of(method.share)

    def _examiner(self, stream: Stream, seed: int) -> Examiner | None:
        if isinstance(self.bundle, GraphModel) or (seed, stream) not in self._examined:
            return None
        return Examiner(self.bundle, stream, self.loader.place)

    def _warm_up(self, runners: Runners, inputs: torch.Tensor, passes: Counter) -> None:
        """A batch uncounted: the first pass of a shape pays for one-time set-up. Its memory is measured here."""
        for name, method in runners.items():
            if (name, len(inputs)) not in self._peaks:
                if isinstance(method, GraphMethod):  # onnxruntime does not tell what it holds
                    self._peaks[name, len(inputs)] = math.nan
                    method.predict(inputs)
                    continue
                peak = peak_memory(lambda m=method: m.predict(inputs), self.device)  # type: ignore[misc]
                self._peaks[name, len(inputs)] = peak / 2**20
                method.reset()
        passes.take()

    def _predicted(
        self, name: str, method: Method | GraphMethod, batch: Loaded, passes: Counter
    ) -> tuple[torch.Tensor, tuple[float, ...], Classified | None]:
        """Logits (B, K), and what they cost: seconds, images forward and images backward. And what the head was given.

        What a method that is asked once has said of all of these images before is taken from there, at the cost of
        the last batch of this size that it was asked for.
        """
        count = len(batch.targets)
        if method.ask_once and (name, count) in self._costs:
            remembered = [self._answers.get((name, *content)) for content in batch.contents]
            answers = [logits for logits in remembered if logits is not None]
            if len(answers) == count:
                return torch.stack(answers), self._costs[name, count], None
        with nullcontext() if self._heads is None else self._heads.watching():
            logits, seconds = self._timed(method, batch.inputs)
        classified = None if self._heads is None else self._heads.behind(logits)
        spent = (seconds, *passes.take())
        if method.ask_once and len(self._answers) < REMEMBERED:
            self._answers |= {(name, *content): row for content, row in zip(batch.contents, logits, strict=True)}
            self._costs[name, count] = spent
        return logits, spent, classified

    def _timed(self, method: Method | GraphMethod, inputs: torch.Tensor) -> tuple[torch.Tensor, float]:
        self._wait()
        began = time.perf_counter()
        logits = method.predict(inputs)
        self._wait()
        seconds = time.perf_counter() - began
        return logits.cpu(), seconds

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class _Tally:
    """One method on one target of one stream; grows by two numbers a batch."""

    scores: Scores
    calibrated: Scores
    """At the temperature of each batch; empty where there is none."""
    guesses: Guesses = field(default_factory=Guesses)
    seconds: float = 0.0
    forwards: float = 0.0
    backwards: float = 0.0
    batch_images: list[int] = field(default_factory=list)
    batch_correct: list[int] = field(default_factory=list)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, logits: torch.Tensor, labels: torch.Tensor, temperature: float | None) -> None:
        self.scores.add(logits, labels)
        if temperature is not None:
            self.calibrated.add(logits / temperature, labels)
        predicted = logits.argmax(dim=1)
        self.batch_images.append(len(labels))
        self.batch_correct.append(int((predicted == labels).sum()))
        self.digest.update(predicted.numpy().tobytes())

    def spend(self, seconds: float, forwards: float, backwards: float) -> None:
        self.seconds += seconds
        self.forwards += forwards
        self.backwards += backwards

    def cell(
        self,
        method: str,
        target: str,
        stream: Stream,
        seed: int,
        *,
        cost_ratio: float,
        peak_mib: float,
        details: Details | None,
    ) -> Cell:
        measures = self.scores.measures()
        return Cell(
            method=method,
            stream=stream.kind,
            part=stream.part,
            target=target,
            batch_size=stream.batch_size,
            seed=seed,
            severity=stream.severity,
            seconds_per_image=self.seconds / measures.n,
            cost_ratio=cost_ratio,
            forwards=self.forwards / measures.n,
            backwards=self.backwards / measures.n,
            peak_mib=peak_mib,
            batch_images=self.batch_images,
            batch_correct=self.batch_correct,
            calibration=[(b.count, b.confidence, b.accuracy) for b in self.scores.calibration()],
            predictions=self.digest.hexdigest(),
            ece_calibrated=self.calibrated.measures().ece,
            estimates=self.guesses.estimates(),
            details=details,
            **asdict(measures),
        )
