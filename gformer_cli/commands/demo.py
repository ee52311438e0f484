"""`gformer demo`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.files import check_fillable

_SHOWN_TARGET = "fog"
"""The target whose predictions the demo writes."""


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

    def steps(self, again: list[str]) -> list[tuple[str, list[str]]]:
        """What each command is for, and its arguments."""
        sources, targets = str(self.data / "sources"), self.data / "targets"
        run, model = ["--run", str(self.run)], ["--model", str(self.bundle)]
        target, out = ["--target", str(targets / _SHOWN_TARGET)], ["--out", str(self.predictions)]
        measured = ["--target", str(targets), "--streams", "stationary,label-shift", "--out", str(self.results)]
        return [
            (
                "Real digits, photographed by simulated cameras",
                ["data", "demo", "digit-cameras", "--out", str(self.data), *again],
            ),
            (
                "Train the source model, and one model without each camera",
                ["pretrain", "--source", sources, *run, "--preset", "quick", *again],
            ),
            (
                "Let the shipped generator learn from these sources; its bundle is all that the next steps need",
                ["meta-train", "--source", sources, *run, *again],
            ),
            (
                "Predict images of a condition that nothing was trained on",
                ["adapt", *model, *target, *out, *again],
            ),
            (
                "What was it worth? Five unseen conditions, with labels to count by, and again with classes in waves",
                ["evaluate", *model, *measured, *again],
            ),
        ]

    def to_json(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in ("data", "run", "bundle", "predictions", "results")}


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything the demo makes.")] = Path(
        "gformer-demo"
    ),
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Run the whole pipeline on real digits under simulated cameras: data, pretrain, meta-train, adapt, evaluate.

    Every step is an ordinary command, shown before it runs. About eight minutes on two cores, more on busy ones.
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    made = Made(out)
    steps = made.steps(["--overwrite"] if overwrite else [])
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder", "Name another --out.")
    check_fillable(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(
            f"output folder is not empty: {out}", "Replace the demo with --overwrite, or name another --out."
        )
    common = {"--quiet": quiet, "--verbose": verbose, "--debug": debug}
    flags = [flag for flag, given in common.items() if given]
    for number, (purpose, arguments) in enumerate(steps, start=1):
        command = f"$ {shlex.join(['gformer', *arguments])}"
        terminal.step(f"\n[{number}/{len(steps)}] {purpose}", command, "")
        if dry_run:
            continue
        # a process of its own, as if it had been typed; with --json, stdout is for the document at the end
        done = subprocess.run(
            [sys.executable, "-m", "gformer_cli", *arguments, *flags], check=False, stdout=sys.stderr if json else None
        )
        if done.returncode:
            raise typer.Exit(done.returncode)
    document = {"dry_run": dry_run, "commands": [["gformer", *arguments] for _, arguments in steps]} | made.to_json()
    if dry_run:
        terminal.result(document, "\nDry run: nothing was touched.")
        return
    terminal.result(
        document,
        f"\nEverything is below {out}:",
        f"  {made.data}  the images",
        f"  {made.bundle}  the trained bundle",
        f"  {made.predictions}  predictions for {_SHOWN_TARGET}",
        f"  {made.results / 'results.json'}  the tables' figures",
    )
