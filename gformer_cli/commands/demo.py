"""`gformer demo`."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.files import check_replaceable

_SHOWN_TARGET = "fog"
"""The target whose predictions the demo writes."""
_QUICK_TARGETS = (_SHOWN_TARGET, "scanner")
"""One where there is much to gain, and one that the source model reads well already."""
_SMALL_BATCHES = ["--set", "pretrain.batch_size=32"]
"""With these settings a step costs half, and as many steps teach nearly as much."""
_MEASURED = ["--streams", "stationary,label-shift", "--jobs", "2"]
"""Processes of one thread, because threads of one process wait for each other."""
_PACKAGES = ("mlxtend", "sklearn", "jinja2", "matplotlib")
_BAR = 20
"""Characters of the bar."""


@dataclass(frozen=True)
class Step:
    """One command of the demo."""

    purpose: str
    arguments: list[str]
    seconds: float
    """About what it takes on two cores that do nothing else."""


@dataclass(frozen=True)
class Made:
    """What the demo makes below one folder."""

    out: Path

    @property
    def data(self) -> Path:
        return self.out / "data"

    @property
    def run(self) -> Path:
        return self.out / "run"

    @property
    def bundle(self) -> Path:
        return self.run / "model.gformer"

    @property
    def predictions(self) -> Path:
        return self.out / "predictions.csv"

    @property
    def results(self) -> Path:
        return self.out / "results"

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def _sources(self) -> list[str]:
        return ["--source", str(self.data / "sources"), "--run", str(self.run)]

    def _draw(self) -> Step:
        arguments = ["data", "demo", "digit-cameras", "--out", str(self.data)]
        return Step("Real digits, photographed by simulated cameras", arguments, 6)

    def steps(self) -> list[Step]:
        """The whole pipeline."""
        model, targets = ["--model", str(self.bundle)], self.data / "targets"
        return [
            self._draw(),
            Step(
                "Train the source model, and one model without each camera",
                ["pretrain", *self._sources, "--preset", "quick", "--steps", "300", *_SMALL_BATCHES],
                90,
            ),
            Step(
                "Let the shipped generator learn from these sources; its bundle is all that the next steps need",
                ["meta-train", *self._sources, "--steps", "100", "--set", "meta_train.guard_batches=4"],
                70,
            ),
            Step(
                "Predict images of a condition that nothing was trained on",
                ["adapt", *model, "--target", str(targets / _SHOWN_TARGET), "--out", str(self.predictions)],
                6,
            ),
            Step(
                "What was it worth? Five unseen conditions, with labels to count by, and again with classes in waves",
                ["evaluate", *model, "--target", str(targets), *_MEASURED, "--out", str(self.results)],
                25,
            ),
        ]

    def quick_steps(self) -> list[Step]:
        """A small source model and the shipped generator as it is, to a report."""
        small = ["--no-leave-one-out", "--steps", "200", *_SMALL_BATCHES, "--threads", "1"]
        targets = [word for name in _QUICK_TARGETS for word in ("--target", str(self.data / "targets" / name))]
        how = ["--methods", "source,bn,gformer", *_MEASURED]
        return [
            self._draw(),
            Step(
                "Train a small source model for half a minute",
                ["pretrain", *self._sources, "--preset", "quick", *small],
                22,
            ),
            Step(
                "Put the shipped generator on it, which has never seen these images: nothing more is trained",
                ["import", "--run", str(self.run)],
                5,
            ),
            Step(
                "What is it worth? Fog and another scanner, with labels to count by, and again with classes in waves",
                [
                    *("evaluate", "--model", str(self.bundle), *targets, *how),
                    *("--out", str(self.results), "--report", str(self.report)),
                ],
                12,
            ),
        ]

    def of(self, *, quick: bool) -> dict[str, tuple[Path, str]]:
        """What the demo, or the quick one, makes: per name the path and what it is."""
        made = {
            "data": (self.data, "the images"),
            "run": (self.run, "the run folder, with the source model"),
            "bundle": (self.bundle, "the bundle that adapts"),
            "predictions": (self.predictions, f"predictions for {_SHOWN_TARGET}"),
            "results": (self.results, "the tables' figures"),
            "report": (self.report, "one page for people: open it in a browser"),
        }
        del made["predictions" if quick else "report"]
        return made


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything the demo makes.")] = Path(
        "gformer-demo"
    ),
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Under a minute: a small source model, the shipped generator as it is, two targets."
        ),
    ] = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Run the whole pipeline on real digits under simulated cameras: data, pretrain, meta-train, adapt, evaluate.

    Every step is an ordinary command, shown before it runs. About four minutes on two cores, more on busy ones;
    with --quick less than one, and a page for people at the end.
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    made = Made(out)
    check_replaceable(out, "the demo", overwrite=overwrite)
    if quick:
        check_extra()
    flags = given({"--quiet": quiet, "--verbose": verbose, "--debug": debug})
    steps = [
        replace(step, arguments=[*step.arguments, *given({"--overwrite": overwrite})])
        for step in (made.quick_steps() if quick else made.steps())
    ]
    began = time.monotonic()
    for number, step in enumerate(steps):
        command = f"$ {shlex.join(['gformer', *step.arguments])}"
        bar = [] if dry_run else [bar_of(steps, number, time.monotonic() - began)]
        terminal.step("", *bar, f"[{number + 1}/{len(steps)}] {step.purpose}", command, "")
        if dry_run:
            continue
        # a process of its own, as if it had been typed; with --json, stdout is for the document at the end
        command_line = [sys.executable, "-m", "gformer_cli", *step.arguments, *flags]
        done = subprocess.run(command_line, check=False, stdout=sys.stderr if json else None)
        if done.returncode:
            raise typer.Exit(done.returncode)
    files = made.of(quick=quick)
    document = {
        "dry_run": dry_run,
        "commands": [["gformer", *step.arguments] for step in steps],
        **{name: str(path) for name, (path, _) in files.items()},
    }
    if dry_run:
        terminal.result(document, "\nDry run: nothing was touched.")
        return
    terminal.result(
        document,
        f"\nEverything is below {out}:",
        *(f"  {path}  {what}" for path, what in files.values()),
    )


def bar_of(steps: Sequence[Step], number: int, elapsed: float) -> str:
    """A bar over all `steps`, before one of that number begins after `elapsed` seconds, and the time that is left.

    Where those before took longer than on idle cores, so will the others.
    """
    behind, ahead = (sum(step.seconds for step in part) for part in (steps[:number], steps[number:]))
    left = ahead * (elapsed / behind if behind else 1.0)
    full = round(_BAR * behind / (behind + ahead))
    about = f"{max(1, round(left))} s" if left < 90 else f"{round(left / 60)} min"
    return f"{'#' * full}{'-' * (_BAR - full)} about {about} left"


def check_extra() -> None:
    """Raises `InputError` where a package of the demo is missing: the page at the end needs some as well."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the demo needs packages that are not installed ({', '.join(missing)})",
            "Install them with: pip install 'gformer[demo]'",
        )


def given(flags: Mapping[str, bool]) -> list[str]:
    """The names of the flags that are set."""
    return [flag for flag, value in flags.items() if value]
