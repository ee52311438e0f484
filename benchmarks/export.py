"""What adapting costs as an ONNX file: the adaptive graph against the plain graph of the same network, in onnxruntime.

    python benchmarks/export.py [--backbone resnet18 ...] [--batch-size 8 ...] [--checked resnet50 ...] [--int8]
        [--json]

Graphs are those of `gformer export --logits-only` with the generator `universal`, and of `--kind source`; with `--int8`
the adaptive graph also with its network in integers. All of them, and
torch's own passes of the same model, take turns within each round, in one process and on one thread, so that a machine
that is busy is busy for all of them; printed are medians over rounds of the ratios within a round. Networks of
`--checked` are exported and compared with torch, and not timed. All are untrained: time does not depend on the weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from gformer_cli.bundle import build_model, read_generator
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.export.convert import convert, serialised
from gformer_cli.export.graphs import AdaptedGraph, GeneratedGraph, SourceGraph
from gformer_cli.export.quantise import quantised
from gformer_cli.export.running import Running
from gformer_cli.guard.hostile import hostile_batch
from gformer_cli.networks.build import build_network

TIMED = ("resnet18", "mobilenet_v2", "timm:tf_efficientnet_lite0", "vit_b_16")
CHECKED = ("resnet50", "mobilenet_v3_large", "densenet121", "convnext_tiny")
SIZES = (1, 3, 8)
"""Batches that graph and torch are compared on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", action="append", help=f"Timed. Repeatable. Default: {', '.join(TIMED)}.")
    parser.add_argument("--checked", action="append", help=f"Not timed. Repeatable. Default: {', '.join(CHECKED)}.")
    parser.add_argument("--batch-size", type=int, action="append", help="Repeatable. Default: 1, 8 and 32.")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--int8", action="store_true", help="Time the adaptive graph in integers, too.")
    parser.add_argument("--json", action="store_true", help="One JSON document instead of tables.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    named = options.backbone is not None or options.checked is not None
    timed = options.backbone or ([] if named else TIMED)
    found = [measure(name, options, timed=True) for name in timed]
    found += [measure(name, options, timed=False) for name in options.checked or ([] if named else CHECKED)]
    if options.json:
        print(json.dumps({"torch": torch.__version__, "networks": found}, indent=1))


@torch.no_grad()
def measure(name: str, options: argparse.Namespace, *, timed: bool) -> dict[str, Any]:
    """Export one network both ways, compare the adaptive graph with torch, and time them."""
    torch.manual_seed(0)
    size = options.image_size
    images = standardised(hostile_batch("clouds", max(32, *(options.batch_size or [0])), size, 0))
    network = settled(build_network(name, options.classes, image_size=size), images[:8])
    backbone = Backbone(network, image_size=size).freeze()
    backbone.record([images[:8]])
    settings, generator = read_generator("universal", backbone)
    model = build_model(settings, generator).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = exported(SourceGraph(backbone).eval(), size, Path(folder) / "plain.onnx")
        adaptive, made = exported(GeneratedGraph(backbone, model).eval(), size, Path(folder) / "adaptive.onnx")
        integers = in_integers(Path(folder) / "adaptive.onnx", images) if options.int8 else None
    report = {"network": name, **made, **compared(adaptive, backbone, model, images)}
    if timed:
        ways = {"plain": plain, "adaptive": adaptive, "torch plain": backbone}
        ways["torch adaptive"] = partial(model, backbone)
        if integers is not None:
            ways["int8"] = integers
        report["batches"] = [
            timings(ways, images[:count], options.rounds) for count in options.batch_size or (1, 8, 32)
        ]
    if not options.json:
        show(report)
    return report


def settled(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """With running statistics of `images`: under those it begins with, values grow from layer to layer."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(images)
    return network.eval()


def standardised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, S, S) to what networks trained on ImageNet take."""
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    return (pixels / 255.0 - mean[:, None, None]) / std[:, None, None]


def exported(graph: SourceGraph | AdaptedGraph, size: int, path: Path) -> tuple[Running, dict[str, Any]]:
    """The graph in onnxruntime, with its size and the seconds that making it took."""
    began = time.perf_counter()
    made = convert(graph, torch.zeros(3, size, size))
    seconds = time.perf_counter() - began
    path.write_bytes(serialised(made))
    about = {"export_seconds": seconds, "nodes": len(made.graph), "megabytes": path.stat().st_size / 1e6}
    return Running(path, 1), about


def in_integers(path: Path, images: torch.Tensor) -> Running:
    """The graph of the file `path` with its network in integers, calibrated on `images`."""
    out = path.with_suffix(".int8.onnx")
    out.write_bytes(serialised(quantised(ir.load(path), [images])))
    return Running(out, 1)


def compared(
    adaptive: Running, backbone: Backbone, model: GeneralizeFormer, images: torch.Tensor
) -> dict[str, float | int]:
    """The largest difference of a logit between graph and torch, the largest logit, and how many labels differ."""
    difference, largest, labels = 0.0, 0.0, 0
    for count in SIZES:
        wanted, found = model(backbone, images[:count]).logits, adaptive(images[:count])["logits"]
        difference = max(difference, float((wanted - found).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
        labels += int((wanted.argmax(1) != found.argmax(1)).sum())
    return {"difference": difference, "largest": largest, "labels": labels}


def timings(ways: Mapping[str, Callable[[torch.Tensor], object]], images: torch.Tensor, rounds: int) -> dict[str, Any]:
    """Medians over rounds, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            began = time.perf_counter()
            work(images)
            if number:
                seconds[name].append(time.perf_counter() - began)

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))

    found = {
        "batch_size": len(images),
        "milliseconds_plain": 1000.0 * statistics.median(seconds["plain"]),
        "milliseconds_adaptive": 1000.0 * statistics.median(seconds["adaptive"]),
        "adaptive_over_plain": ratio("adaptive", "plain"),
        "torch_adaptive_over_torch_plain": ratio("torch adaptive", "torch plain"),
        "torch_adaptive_over_adaptive": ratio("torch adaptive", "adaptive"),
    }
    if "int8" in ways:
        found["int8_over_adaptive"] = ratio("int8", "adaptive")
    return found


def show(report: dict[str, Any]) -> None:
    print(
        f"\n{report['network']}: {report['nodes']} nodes, {report['megabytes']:.0f} MB, exported in "
        f"{report['export_seconds']:.0f} s; logits of up to {report['largest']:.2g} differ "
        f"by {report['difference']:.1e}, {report['labels']} labels do",
        flush=True,
    )
    if "batches" not in report:
        return
    more = any("int8_over_adaptive" in one for one in report["batches"])
    print(
        "\n| batch | plain ms | adaptive ms | adaptive / plain | torch: adaptive / plain | torch / graph, adaptive |"
        + " int8 / adaptive |" * more
    )
    print("|" + " --- |" * (6 + more))
    for one in report["batches"]:
        print(
            f"| {one['batch_size']} | {one['milliseconds_plain']:.0f} | {one['milliseconds_adaptive']:.0f} | "
            f"{one['adaptive_over_plain']:.2f} | {one['torch_adaptive_over_torch_plain']:.2f} | "
            f"{one['torch_adaptive_over_adaptive']:.2f} |" + (f" {one['int8_over_adaptive']:.2f} |" if more else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
