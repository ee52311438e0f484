"""Set a generator's caution on the calibration runs, so that it does little harm: the last step before it ships.

    python -m benchmarks.universal.calibrate --generator FILE [--generator FILE ...] --runs RUNS --tasks DIR --out FILE
        [--risk 1.0]

Several generators that went on from one start are averaged first. Then trust is lowered, for all batches alike, no
further than needed: conformal risk control (Angelopoulos et al., arXiv 2208.02814) over the cells of the calibration
runs, a target, a stream and a batch size each. A cell's loss is what `gformer` loses to `source`, in points, at least 0
and at most `MOST`. With n cells the least caution is taken at which (sum of losses + MOST) / (n + 1) is at most
`--risk`. A negative caution raises the trust. Nothing was trained on these runs, and nothing is tested on them. Of a
generator without `generator.trust` the bound is measured, and there is nothing to set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.universal.choose import Batch, Cell, calibration_batches
from gformer_cli.bundle import build_model, file_hash, read_card, read_generator, save_generator
from gformer_cli.bundle.card import Figures
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import Generator
from gformer_cli.metrics import mean

CAUTIONS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
MOST = 20.0
"""Points: a loss counts for no more, so that the bound is finite."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, required=True, action="append")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--risk", type=float, default=1.0, help="Points that may be lost on average.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    batches = calibration_batches(given.runs, given.tasks, torch.device("cpu"))
    settings, generator = read_generator(str(given.generator[0]), batches[0].backbone)
    others = [read_generator(str(path), batches[0].backbone)[1] for path in given.generator[1:]]
    average(generator, others)
    model = build_model(settings, generator.eval())
    source = accuracies(batches, None)
    gains, bounds = {}, {}
    # a generator that gives every batch everything has no caution to set: what it does is measured all the same
    caution = generator.get_buffer("caution") if settings.trust else torch.zeros(())
    for value in CAUTIONS if settings.trust else (0.0,):
        caution.fill_(value)
        found = accuracies(batches, model)
        losses = [min(MOST, max(0.0, 100.0 * (source[cell] - found[cell]))) for cell in source]
        bounds[value] = risk_bound(losses, MOST)
        gains[value] = 100.0 * mean([found[cell] - source[cell] for cell in source])
        print(f"caution {value:g}: gain {gains[value]:.2f}, worst loss {max(losses):.2f}, bound {bounds[value]:.2f}")
    chosen = least_caution(bounds, given.risk)
    caution.fill_(chosen)
    print(f"chosen: {chosen:g}, by a bound of {given.risk:g} over {len(source)} cells")
    cards = [read_card(str(path)) for path in given.generator]
    if any(card.start != cards[0].start for card in cards):
        raise SystemExit("only generators that went on from one start can be averaged")
    values = {"cells": float(len(source)), "gain": gains[chosen], "risk_bound": bounds[chosen]}
    command = "python -m benchmarks.universal.calibrate --generator FILE --runs RUNS --tasks DIR --out FILE"
    card = cards[0].model_copy(
        update={
            "steps": sum(card.steps for card in cards),
            "episodes": sum(card.episodes for card in cards),
            "figures": (*cards[0].figures, Figures(command=command, values=values)),
            "calibration": {"caution": chosen, "risk": given.risk} if settings.trust else {},
        }
    )
    save_generator(given.out, generator, settings, card)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes, {file_hash(given.out)}")
    return 0


@torch.no_grad()
def average(generator: Generator, others: Sequence[Generator]) -> None:
    """The mean of the weights of all, in place of those of `generator`."""
    states = [generator.state_dict(), *(other.state_dict() for other in others)]
    for name, tensor in states[0].items():
        tensor.copy_(torch.stack([state[name].double() for state in states]).mean(dim=0))


def risk_bound(losses: Sequence[float], most: float) -> float:
    """What the expected loss of one more cell is below, where none loses more than `most` (arXiv 2208.02814, eq. 4)."""
    return (sum(losses) + most) / (len(losses) + 1)


def least_caution(bounds: dict[float, float], risk: float) -> float:
    """The least caution from which on every bound is at most `risk`; the greatest of all where there is none."""
    chosen = max(bounds)
    for value in sorted(bounds, reverse=True):
        if bounds[value] > risk:
            break
        chosen = value
    return chosen


@torch.no_grad()
def accuracies(batches: Sequence[Batch], model: GeneralizeFormer | None) -> dict[Cell, float]:
    """Of every cell, of `model` or without one of the source model."""
    right: dict[Cell, list[float]] = {}
    for batch in batches:
        logits = batch.backbone(batch.images) if model is None else model(batch.backbone, batch.images).logits
        right.setdefault(batch.cell, []).append(float((logits.argmax(dim=1) == batch.labels).float().mean()))
    return {cell: mean(values) for cell, values in right.items()}


if __name__ == "__main__":
    sys.exit(main())
