"""What the images of `gformer adapt --pick N` are worth, against N images at random: labels are read here alone.

    gformer data demo digit-cameras --out data
    gformer pretrain --source data/sources --preset quick --steps 150 --seed 0 --run run-0    (likewise 1, 2)
    gformer import --run run-0 --generator universal --source data/sources
    python benchmarks/pick.py --run run-0 --run run-1 --run run-2 --target data/targets --count 40 --count 80

Per target: how many of the N images the adapted model gets wrong; the accuracy on all others once the source model's
classifier is fine-tuned on the N labels; and once it is fine-tuned on the adapted answers to all images, with the N
labels in the place of theirs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from gformer_cli.adapt import Outcome, Picker, adapt, pick
from gformer_cli.bundle import Bundle, load_bundle
from gformer_cli.folders.domains import Domain, find_domains
from gformer_cli.metrics import mean, standard_error

CPU = torch.device("cpu")
DRAWS = 5
"""Of N images at random."""
STEPS, RATE, DECAY = 100, 0.02, 1e-3
"""Of fine-tuning by Adam; the decay is towards the source model's classifier."""
COLUMNS = ("wrong", "fine-tuned", "corrected", "adapted")


@dataclass
class Target:
    """What is known of N images of one target."""

    paths: list[str]
    features: torch.Tensor
    """Of the source model, (N, D)."""
    adapted: torch.Tensor
    """Labels of the adapted model, (N,)."""
    labels: torch.Tensor
    """The right ones, (N,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", type=Path, required=True)
    parser.add_argument("--target", action="append", type=Path, required=True)
    parser.add_argument("--count", action="append", type=int, required=True)
    options = parser.parse_args()
    domains = find_domains(options.target)
    print(f"{'N':>4} {'images':8} " + " ".join(f"{name:>16}" for name in COLUMNS), flush=True)
    found: dict[tuple[int, str], list[list[float]]] = {}
    for run in options.run:
        bundle = load_bundle(run / "model.gformer")
        for domain in domains:
            for count in options.count:
                for name, figures in compare(bundle, domain, count).items():
                    found.setdefault((count, name), []).append(figures)
    for (count, name), rows in sorted(found.items()):
        per_run = [rows[start : start + len(domains)] for start in range(0, len(rows), len(domains))]
        cells = []
        for column in range(len(COLUMNS)):
            values = [mean(row[column] for row in part) for part in per_run]
            cells.append(f"{100 * mean(values):8.1f} ± {100 * standard_error(values):5.1f}")
        print(f"{count:4} {name:8} " + " ".join(cells))


def compare(bundle: Bundle, domain: Domain, count: int) -> dict[str, list[float]]:
    """Figures of `COLUMNS` for images that were picked and for images at random."""
    picker = Picker(bundle.header.classes, count, seed=0)
    target = look(bundle, domain, picker)
    place = {path: number for number, path in enumerate(target.paths)}
    picked = [place[one.image.path] for one in pick([picker.pool], count, seed=0)]
    random = torch.Generator().manual_seed(0)
    draws = [torch.randperm(len(place), generator=random)[:count].tolist() for _ in range(DRAWS)]
    by_chance = [figures(bundle, target, chosen) for chosen in draws]
    return {"picked": figures(bundle, target, picked), "random": [mean(v) for v in zip(*by_chance, strict=True)]}


def look(bundle: Bundle, domain: Domain, picker: Picker) -> Target:
    """Adapt to a target as the command does."""
    paths, features, adapted, labels = [], [], [], []

    def sink(outcome: Outcome) -> None:
        images = bundle.preprocessing.network_input(outcome.batch.pixels, CPU)
        with torch.no_grad():
            _, shown = bundle.backbone.observe(images)
        assert shown.features is not None
        paths.extend(file.relative for file in outcome.batch.files)
        features.append(shown.features)
        adapted.append(outcome.labels)
        labels.extend(bundle.header.classes.index(str(file.label)) for file in outcome.batch.files)

    how = {"batch_size": 64, "order": "shuffle", "seed": 0, "device": CPU, "workers": 1}
    adapt(bundle, [domain], sinks=[picker, sink], **how)
    return Target(paths, torch.cat(features), torch.cat(adapted), torch.tensor(labels))


def figures(bundle: Bundle, target: Target, chosen: Sequence[int]) -> list[float]:
    """Those of `COLUMNS`."""
    rows, rest = torch.tensor(chosen), torch.ones(len(target.labels), dtype=torch.bool)
    rest[rows] = False
    corrected = target.adapted.clone()
    corrected[rows] = target.labels[rows]
    return [
        float((target.adapted != target.labels)[rows].float().mean()),
        tuned(bundle, target, target.labels, rows, rest),
        tuned(bundle, target, corrected, torch.arange(len(rest)), rest),
        float((target.adapted == target.labels)[rest].float().mean()),
    ]


def tuned(bundle: Bundle, target: Target, labels: torch.Tensor, rows: torch.Tensor, rest: torch.Tensor) -> float:
    """Accuracy on `rest` of the source model whose classifier was fine-tuned on `labels` of `rows`."""
    layer = bundle.backbone.classifier
    assert isinstance(layer, torch.nn.Linear) and layer.bias is not None
    start, weight, bias = layer.weight.detach(), layer.weight.detach().clone(), layer.bias.detach().clone()
    optimiser = torch.optim.Adam([weight.requires_grad_(), bias.requires_grad_()], lr=RATE)
    for _ in range(STEPS):
        logits = F.linear(target.features[rows], weight, bias)
        loss = F.cross_entropy(logits, labels[rows]) + DECAY * (weight - start).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        answers = F.linear(target.features[rest], weight, bias).argmax(dim=1)
    return float((answers == target.labels[rest]).float().mean())


if __name__ == "__main__":
    main()
