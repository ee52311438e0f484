"""What the guard catches, what it leaves alone, and what it costs.

    python benchmarks/guard.py --model run/model.gformer --target data/targets [--batch-size 64] [--rounds 5]

One stream holds the labelled targets' batches with hostile batches after each of them: of the kinds that calibration
met, of kinds that it did not (marked *), with other seeds. The same targets without hostile batches are predicted
as well: the predictions of the clean batches must be the same bits. The cost is the time of `batch_signals` and
`decide` as a share of the whole time of a batch that is decoded already, median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import torch

from gformer_cli.adapt import Outcome, Predictor
from gformer_cli.bundle import load_bundle
from gformer_cli.data.streams import arrival_order
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, find_domains
from gformer_cli.guard.hostile import HOSTILE, UNSEEN, hostile_batch
from gformer_cli.guard.rule import GENERATED
from gformer_cli.guard.signals import batch_signals
from gformer_cli.images.preprocessing import Batch, read_batches

CPU = torch.device("cpu")
SEED = 10_000
"""Of the first hostile batch: calibration derives its seeds by hashing, so they do not meet."""
Clean = tuple[Domain, Batch, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--target", type=Path, action="append", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--hostile-each", type=int, default=1, help="hostile batches after each clean one")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = load_bundle(options.model)
    if bundle.guard is None:
        raise InputError("the bundle holds no calibrated guard", "Run gformer meta-train again.")
    index = {name: number for number, name in enumerate(bundle.header.classes)}
    clean: list[Clean] = []
    for domain in find_domains(options.target):
        for batch in read_batches(
            arrival_order(domain, 0), bundle.preprocessing, batch_size=options.batch_size, workers=0, skipped=[]
        ):
            clean.append((domain, batch, torch.tensor([index[str(file.label)] for file in batch.files])))

    alone = Predictor(bundle, CPU, bundle.guard)
    plain = [alone.predict(batch, domain.name) for domain, batch, _ in clean]
    mixed = Predictor(bundle, CPU, bundle.guard)
    guarded: list[Outcome] = []
    caught: dict[str, list[bool]] = defaultdict(list)
    kinds = [*HOSTILE, *UNSEEN]
    number = 0
    for domain, batch, _ in clean:
        guarded.append(mixed.predict(batch, domain.name))
        for _ in range(options.hostile_each):
            kind = kinds[number % len(kinds)]
            pixels = hostile_batch(kind, options.batch_size, bundle.preprocessing.image_size, SEED + number)
            outcome = mixed.predict(Batch(pixels, (), ()), "hostile")
            caught[kind].append(outcome.verdict.decision != GENERATED)
            number += 1
    same = all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(plain, guarded, strict=True))
    report(clean, guarded, caught, same)
    cost(bundle_predictor=alone, batch=clean[0][1], rounds=options.rounds)


def report(clean: list[Clean], guarded: list[Outcome], caught: dict[str, list[bool]], same: bool) -> None:
    """Print what was flagged, and gain and harm per target without and with the guard, in points."""
    print(f"clean batches are predicted alike, to the bit, with hostile batches between them: {same}")
    for title, kinds in (("calibrated", HOSTILE), ("unseen", UNSEEN)):
        found = [flag for kind in kinds for flag in caught[kind]]
        each = ", ".join(f"{kind} {sum(caught[kind])}/{len(caught[kind])}" for kind in kinds)
        share = sum(found) / len(found) if found else float("nan")
        print(f"hostile batches of {title} kinds flagged: {share:.1%} of {len(found)} ({each})")
    rows: dict[str, list[tuple[float, float, float, float, int]]] = defaultdict(list)
    for (domain, _, labels), outcome in zip(clean, guarded, strict=True):
        right = [
            float((probabilities.argmax(dim=1) == labels).sum())
            for probabilities in (
                outcome.source_probabilities,
                outcome.prediction.logits.softmax(dim=1),
                outcome.probabilities,
            )
        ]
        flagged = float(outcome.verdict.decision != GENERATED)
        rows[domain.name].append((right[0], right[1], right[2], flagged, len(labels)))
    alarms = [row[3] for own in rows.values() for row in own]
    print(f"clean target batches flagged: {sum(alarms) / len(alarms):.1%} of {len(alarms)}")
    gains, kept = [], []
    for name, own in rows.items():
        images = sum(row[4] for row in own)
        source, generated, decided = (100.0 * sum(row[k] for row in own) / images for k in range(3))
        gains.append(generated - source)
        kept.append(decided - source)
        print(
            f"  {name:16} source {source:5.1f} %, generated {gains[-1]:+5.1f}, with the guard {kept[-1]:+5.1f} points, "
            f"flagged {sum(row[3] for row in own):.0f} of {len(own)}"
        )
    share = f", {sum(kept) / sum(gains):.1%} of it kept" if sum(gains) > 0.0 else ""
    print(f"average gain {sum(gains) / len(gains):+.2f} points{share}; worst with the guard {min(kept):+.2f} points")


@torch.no_grad()
def cost(*, bundle_predictor: Predictor, batch: Batch, rounds: int) -> None:
    """Print the guard's own time as a share of a batch's."""
    guard, bundle = bundle_predictor.guard, bundle_predictor.bundle
    assert guard is not None
    images = bundle.preprocessing.network_input(batch.pixels, CPU)
    source, prediction = bundle.backbone(images), bundle.model(bundle.backbone, images)
    shares = []
    for _ in range(rounds):
        whole = bundle_predictor.predict(batch, "").seconds
        began = time.perf_counter()
        guard.decide(batch_signals(images, source, prediction))
        shares.append((time.perf_counter() - began) / whole)
    print(f"the guard's share of the time of a batch of {len(batch.files)}: {statistics.median(shares):.2%}")


if __name__ == "__main__":
    main()
