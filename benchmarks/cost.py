"""What adapting costs, as multiples of one plain forward pass of the same network on the same batch.

    python benchmarks/cost.py [--backbone resnet18] [--image-size 224] [--batch-size 32 ...] [--probe none ...] [--json]

Every way of predicting takes its turn within each round, in one process, so that a machine that is busy is busy for all
of them; printed are the medians over rounds of the ratios within a round, and half of the middle half of their spread.
`reference` is the cost model of the paper's released code: five forward passes and one backward pass a batch.
The networks are untrained: time does not depend on the weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from gformer_cli.allocator import KeptMemory
from gformer_cli.bundle import build_generator, build_model
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropy
from gformer_cli.core.parameters import Parameters
from gformer_cli.evaluate.cost import peak_memory
from gformer_cli.networks.build import build_network
from gformer_cli.settings import GeneratorSettings

PROBES: dict[str, dict[str, Any]] = {
    "none": {"probe": "none"},
    "forward": {"probe": "forward"},
    "forward, half of the images": {"probe": "forward", "probe_images": 0.5},
    "forward, a quarter of the images": {"probe": "forward", "probe_images": 0.25},
    "backward": {"probe": "backward"},
}
"""Each probe's settings."""
DEFAULT = GeneratorSettings().probe
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", action="append", help="Repeatable. Default: resnet18.")
    parser.add_argument("--image-size", type=int, action="append", help="Repeatable. Default: 224.")
    parser.add_argument("--batch-size", type=int, action="append", help="Repeatable. Default: 1, 8, 32 and 128.")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="bfloat16: by autocast.")
    parser.add_argument("--classes", type=int, action="append", help="Repeatable. Default: 10.")
    parser.add_argument("--probe", choices=PROBES, action="append", help="Repeatable. Default: all.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="One JSON document instead of tables.")
    options = parser.parse_args()
    KeptMemory()  # as in `gformer adapt`
    cells: list[dict[str, Any]] = []
    sizes, batches = options.image_size or [224], options.batch_size or [1, 8, 32, 128]
    for case in itertools.product(options.backbone or ["resnet18"], options.classes or [10], sizes, batches):
        found = measure(*case, options)
        cells += found
        if not options.json:
            print_table(found)
    if options.json:
        print(json.dumps({"cells": cells}, indent=1))


def measure(
    name: str, classes: int, image_size: int, batch_size: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Cells of every way of predicting in one case."""
    torch.manual_seed(0)
    backbone = Backbone(build_network(name, classes)).freeze()
    images = torch.randn(batch_size, 3, image_size, image_size)
    ways: dict[tuple[str, str | None], Callable[[], object]] = {
        ("source", None): lambda: plain(backbone, images),
        ("bn", None): lambda: batch_statistics(backbone, images),
        ("tent", None): lambda: tent(backbone, images),
        ("reference", None): lambda: reference(backbone, images),
    }
    for probe in options.probe or PROBES:
        settings = GeneratorSettings(**PROBES[probe])
        model = build_model(settings, build_generator(settings, backbone)).eval().requires_grad_(False)
        ways["gformer", probe] = lambda model=model: model(backbone, images)  # type: ignore[misc]
    with torch.autocast("cpu", PRECISIONS[options.precision], enabled=options.precision != "float32"), torch.no_grad():
        seconds = interleaved(ways, options.rounds)
        memory = {way: peak_memory(work, torch.device("cpu")) for way, work in ways.items()}
    base = seconds["source", None]
    cells = []
    for (method_name, probe), own in seconds.items():
        ratios = [mine / plain_one for mine, plain_one in zip(own, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cells.append(
            {
                "backbone": name,
                "image_size": image_size,
                "batch_size": batch_size,
                "precision": options.precision,
                "classes": classes,
                "threads": torch.get_num_threads(),
                "method": method_name,
                "probe": probe,
                "default": probe == DEFAULT,
                "cost_ratio": middle,
                "spread": (high - low) / 2.0,
                "seconds": statistics.median(own),
                "memory_ratio": memory[method_name, probe] / memory["source", None],
            }
        )
    return cells


def interleaved(ways: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, list[float]]:
    """Seconds of each way in each round, after one round that is not counted."""
    seconds: dict[Any, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            began = time.perf_counter()
            work()
            if number:
                seconds[way].append(time.perf_counter() - began)
    return seconds


def plain(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    return backbone(images)  # type: ignore[no-any-return]


def batch_statistics(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    return backbone(images, backbone.mixing_batchnorm(1.0))  # type: ignore[no-any-return]


def tent(backbone: Backbone, images: torch.Tensor) -> None:
    """Tent's passes: forward under batch statistics, and backward to every γ and β."""
    leaves = affine_leaves(backbone)
    with torch.enable_grad():
        entropy(backbone(images, leaves)).backward()  # type: ignore[no-untyped-call]


def reference(backbone: Backbone, images: torch.Tensor) -> None:
    tent(backbone, images)
    for _ in range(4):
        batch_statistics(backbone, images)


def affine_leaves(backbone: Backbone) -> Parameters:
    return backbone.mixing_batchnorm(1.0).detached(requires_grad=True)


def print_table(cells: list[dict[str, Any]]) -> None:
    first = cells[0]
    print(
        f"\n{first['backbone']}, {first['image_size']} px, {first['classes']} classes, batch {first['batch_size']}, "
        f"{first['precision']}, {first['threads']} threads: a plain forward pass takes "
        f"{1000 * first['seconds']:.0f} ms\n"
    )
    print("| method | x plain forward | x its memory |\n| --- | --- | --- |")
    for cell in cells:
        name = cell["method"] + (f", probe {cell['probe']}" if cell["probe"] else "")
        name += " (default)" if cell["default"] else ""
        print(f"| {name} | {cell['cost_ratio']:.2f} ± {cell['spread']:.2f} | {cell['memory_ratio']:.2f} |")


if __name__ == "__main__":
    main()
