"""`gformer demo`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.files import check_fillable

_SHOWN_TARGET = "fog"
"""The target whose predictions the demo writes."""


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything the demo makes.")] = Path(
        "gformer-demo"
    ),
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    debug: options.Debug = False,
) -> None:
    """Run the whole pipeline on real digits under simulated cameras: data, pretrain, meta-train, adapt, evaluate.

    Every step is an ordinary command, shown before it runs. Takes four to twenty minutes on two cores.
    """
    terminal = Terminal()
    data, folder = out / "data", out / "run"
    bundle, predictions, results = folder / "model.gformer", out / "predictions.csv", out / "results"
    again = ["--overwrite"] if overwrite else []
    steps: list[tuple[str, list[str]]] = [
        (
            "Real digits, photographed by simulated cameras",
            ["data", "demo", "digit-cameras", "--out", str(data), *again],
        ),
        (
            "Train the source model, and one model without each camera",
            [
                "pretrain",
                "--source",
                str(data / "sources"),
                "--out",
                str(folder),
                "--preset",
                "quick",
                *again,
            ],
        ),
        (
            "Meta-learn the generator; its bundle is all that the next steps need",
            ["meta-train", "--source", str(data / "sources"), "--run", str(folder), *again],
        ),
        (
            "Predict images of a condition that nothing was trained on",
            [
                "adapt",
                "--model",
                str(bundle),
                "--target",
                str(data / "targets" / _SHOWN_TARGET),
                "--out",
                str(predictions),
                *again,
            ],
        ),
        (
            "What was it worth? Five unseen conditions, with labels to count by, and again with classes in waves",
            [
                "evaluate",
                "--model",
                str(bundle),
                "--target",
                str(data / "targets"),
                "--streams",
                "stationary,label-shift",
                "--out",
                str(results),
                *again,
            ],
        ),
    ]
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder", "Name another --out.")
    check_fillable(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(
            f"output folder is not empty: {out}", "Replace the demo with --overwrite, or name another --out."
        )
    for number, (purpose, arguments) in enumerate(steps, start=1):
        terminal.result({}, f"\n[{number}/{len(steps)}] {purpose}", f"$ {shlex.join(['gformer', *arguments])}", "")
        if dry_run:
            continue
        # a process of its own, as if it had been typed
        done = subprocess.run(
            [sys.executable, "-m", "gformer_cli", *arguments, *(["--debug"] if debug else [])], check=False
        )
        if done.returncode:
            raise typer.Exit(done.returncode)
    if dry_run:
        terminal.result({}, "\nDry run: nothing was touched.")
        return
    terminal.result(
        {},
        f"\nEverything is below {out}:",
        f"  {data}  the images",
        f"  {bundle}  the trained bundle",
        f"  {predictions}  predictions for {_SHOWN_TARGET}",
        f"  {results / 'results.json'}  the tables' figures",
    )
