"""`gformer demo`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.files import check_fillable

_SHOWN_TARGET = "fog"
"""The target whose predictions the demo writes."""
_QUICK_TARGETS = (_SHOWN_TARGET, "scanner")
"""One where there is much to gain, and one that the source model reads well already."""
_STREAMS = "stationary,label-shift"
_PACKAGES = ("mlxtend", "sklearn", "jinja2", "matplotlib")
Step = tuple[str, list[str]]
"""What a command is for, and its arguments."""


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
        return (
            "Real digits, photographed by simulated cameras",
            ["data", "demo", "digit-cameras", "--out", str(self.data)],
        )

    def steps(self) -> list[Step]:
        """The whole pipeline."""
        model, targets = ["--model", str(self.bundle)], self.data / "targets"
        return [
            self._draw(),
            (
                "Train the source model, and one model without each camera",
                ["pretrain", *self._sources, "--preset", "quick"],
            ),
            (
                "Let the shipped generator learn from these sources; its bundle is all that the next steps need",
                ["meta-train", *self._sources],
            ),
            (
                "Predict images of a condition that nothing was trained on",
                ["adapt", *model, "--target", str(targets / _SHOWN_TARGET), "--out", str(self.predictions)],
            ),
            (
                "What was it worth? Five unseen conditions, with labels to count by, and again with classes in waves",
                ["evaluate", *model, "--target", str(targets), "--streams", _STREAMS, "--out", str(self.results)],
            ),
        ]

    def quick_steps(self) -> list[Step]:
        """A small source model and the shipped generator as it is, to a report."""
        small = ["--no-leave-one-out", "--steps", "200", "--set", "pretrain.batch_size=32", "--threads", "1"]
        targets = [word for name in _QUICK_TARGETS for word in ("--target", str(self.data / "targets" / name))]
        how = ["--methods", "source,bn,gformer", "--streams", _STREAMS, "--jobs", "2"]
        return [
            self._draw(),
            (
                "Train a small source model for half a minute",
                ["pretrain", *self._sources, "--preset", "quick", *small],
            ),
            (
                "Put the shipped generator on it, which has never seen these images: nothing more is trained",
                ["import", "--run", str(self.run)],
            ),
            (
                "What is it worth? Fog and another scanner, with labels to count by, and again with classes in waves",
                [
                    *("evaluate", "--model", str(self.bundle), *targets, *how),
                    *("--out", str(self.results), "--report", str(self.report)),
                ],
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

    Every step is an ordinary command, shown before it runs. About eight minutes on two cores, more on busy ones;
    with --quick less than one, and a page for people at the end.
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    made = Made(out)
    check_folder(out, overwrite=overwrite)
    if quick:
        check_extra()
    again = {"--overwrite": overwrite}
    flags = {"--quiet": quiet, "--verbose": verbose, "--debug": debug}
    steps = [
        (purpose, [*arguments, *given(again)]) for purpose, arguments in (made.quick_steps() if quick else made.steps())
    ]
    for number, (purpose, arguments) in enumerate(steps, start=1):
        command = f"$ {shlex.join(['gformer', *arguments])}"
        terminal.step(f"\n[{number}/{len(steps)}] {purpose}", command, "")
        if dry_run:
            continue
        # a process of its own, as if it had been typed; with --json, stdout is for the document at the end
        command_line = [sys.executable, "-m", "gformer_cli", *arguments, *given(flags)]
        done = subprocess.run(command_line, check=False, stdout=sys.stderr if json else None)
        if done.returncode:
            raise typer.Exit(done.returncode)
    files = made.of(quick=quick)
    document = {
        "dry_run": dry_run,
        "commands": [["gformer", *arguments] for _, arguments in steps],
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


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Raises `InputError` where the demo cannot be written to `out`, or would replace something unasked."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder", "Name another --out.")
    check_fillable(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(
            f"output folder is not empty: {out}", "Replace the demo with --overwrite, or name another --out."
        )


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
