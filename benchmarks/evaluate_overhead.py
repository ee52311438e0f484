"""What the harness of `gformer evaluate` itself costs: `--methods source` against a bare loop, as a ratio of times.

    python benchmarks/evaluate_overhead.py --model run/model.gformer --target data/targets [--batch-size 64]

Both predict the same batches of the same images with the same network; images are decoded once, before. Rounds of the
two
alternate, so that a busy machine slows both alike; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from gformer_cli.bundle import Bundle, load_bundle
from gformer_cli.evaluate import Plan
from gformer_cli.evaluate.loading import Loader
from gformer_cli.evaluate.run import Harness
from gformer_cli.folders.domains import find_domains
from gformer_cli.progress import Silent

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--target", type=Path, action="append", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = load_bundle(options.model)
    plan = Plan(["source"], ["stationary"], find_domains(options.target), options.batch_size, [0])
    harness = Harness(bundle, plan, device=CPU, workers=0, strict=False)
    right, _ = bare(bundle, plan, harness.loader)  # decodes every image; `Loader` keeps them
    ratios = []
    with harness.ready() as run:
        for number in range(options.rounds + 1):
            found, plain = bare(bundle, plan, harness.loader)
            assert found == right
            began = time.perf_counter()
            cells = [cell for seed, stream in plan.drawn() for cell in run(seed, stream, Silent())[0]]
            whole = time.perf_counter() - began
            assert right == sum(sum(cell.batch_correct) for cell in cells)
            if number:  # the first measures memory, once a process
                ratios.append(whole / plain)
                print(f"round {number}: bare loop {plain:.2f} s, harness {whole:.2f} s, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")


@torch.no_grad()
def bare(bundle: Bundle, plan: Plan, loader: Loader) -> tuple[int, float]:
    """Correct predictions and seconds of the shortest loop that measures accuracy."""
    right, began = 0, time.perf_counter()
    for _, stream in plan.drawn():
        for batch in loader.read(stream.batches):
            right += int((bundle.backbone(batch.inputs).argmax(dim=1) == batch.labels).sum())
    return right, time.perf_counter() - began


if __name__ == "__main__":
    main()
