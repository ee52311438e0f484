"""Where commands look and write when the command line does not say: in one run folder, and in `predictions.csv`.

Each path that is chosen so is told. No torch here: these are the first things that a command looks at.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from gformer_cli.console import Terminal
from gformer_cli.errors import InputError

RUN = Path("gformer-run")
"""The run folder, in the working directory."""
PREDICTIONS = Path("predictions.csv")
STDOUT = Path("-")
"""As an output: standard output; as a target: a list of files on standard input."""
_BUNDLE, _RESULTS, _STATIC, _PAGE = "model.gformer", "results", "static.gformer", "report.html"


def pick_run(terminal: Terminal, run: Path | None) -> Path:
    """The folder of a training command."""
    if run is None:
        terminal.message(f"Run folder: {RUN} (--run names another)")
    return run or RUN


def pick_model(terminal: Terminal, model: Path | None, run: Path | None) -> Path:
    """The bundle: `model`, or the one of the run folder. Raises `InputError` where there is none."""
    if model is not None:
        if run is not None:
            raise InputError(f"{model} and --run both say which bundle is meant", "Leave out one of them.")
        return model
    found = model_of(run)
    terminal.message(f"Model: {found} (--model names another)")
    return found


def model_of(run: Path | None) -> Path:
    """The bundle of a run folder; raises `InputError` where there is none."""
    folder = run or RUN
    bundle = folder / _BUNDLE
    if bundle.exists():
        return bundle
    if folder.is_dir():
        raise InputError(
            f"{folder} holds no bundle yet: {_BUNDLE} is what meta-train and import write at their end",
            f"Run: gformer meta-train --source DIR{again(run)} (add --resume if it was interrupted).",
        )
    raise InputError(
        f"there is no bundle: {bundle}",
        f"Make one: gformer meta-train --source DIR{again(run)}, or gformer import for a model that you have. "
        "Or name one that is elsewhere with --model.",
    )


def pick_predictions(terminal: Terminal, out: Path | None) -> Path:
    """The predictions file."""
    if out is not None:
        return out
    terminal.message(f"Predictions: {PREDICTIONS} (--out names another)")
    return PREDICTIONS


def pick_continued(terminal: Terminal, out: Path | None) -> Path:
    """A predictions file that is added to. Raises `InputError` for one that is there and was not named."""
    if out is None and PREDICTIONS.exists():
        raise InputError(
            f"{PREDICTIONS} is there already, where predictions go without --out",
            f"To continue it, name it: --out {PREDICTIONS}. Else name another file.",
        )
    return pick_predictions(terminal, out)


def pick_results(terminal: Terminal, out: Path | None, model: Path | None, run: Path | None) -> Path | None:
    """The folder of an evaluation's results; of a bundle that was named, they are kept where --out is named too."""
    if out is not None or model is not None:
        return out
    found = (run or RUN) / _RESULTS
    terminal.message(f"Results: {found} (--out names another)")
    return found


def pick_static(terminal: Terminal, out: Path | None, model: Path) -> Path:
    """The static bundle: beside the one that it is made from."""
    if out is not None:
        return out
    found = model.with_name(_STATIC)
    terminal.message(f"Static bundle: {found} (--out names another)")
    return found


def pick_graph(terminal: Terminal, out: Path | None, model: Path) -> Path:
    """The exported file: beside the bundle that it is made from, and called as that."""
    if out is not None:
        return out
    found = model.with_suffix(".onnx")
    terminal.message(f"ONNX file: {found} (--out names another)")
    return found


def pick_document(terminal: Terminal, results: Path | None, run: Path | None) -> Path:
    """The results.json that is reported on. Raises `InputError` where there is none."""
    if results is not None:
        if run is not None:
            raise InputError(f"{results} and --run both say where the results are", "Leave out one of them.")
        return results
    found = (run or RUN) / _RESULTS / "results.json"
    if not found.exists():
        raise InputError(
            f"there are no results: {found}",
            f"Make them: gformer evaluate --target DIR{again(run)}. Or name a results.json that is elsewhere.",
        )
    terminal.message(f"Results: {found}")
    return found


def pick_page(terminal: Terminal, out: Path | None, results: Path) -> Path:
    """The page of a report: beside the results that it shows."""
    if out is not None:
        return out
    found = results.with_name(_PAGE)
    terminal.message(f"Report: {found} (--out names another)")
    return found


def again(run: Path | None) -> str:
    """What the next command needs as well to find the same run folder."""
    return "" if run is None or run == RUN else f" --run {shlex.quote(str(run))}"
