"""Images per second of `gformer adapt` from a folder of JPEGs, against the shortest loop that predicts with the source.

    python benchmarks/throughput.py [--backbone resnet18] [--batch-size 32] [--rounds 3] [--json]

Two folders: photographs of 224 x 224 pixels, and of 4000 x 3000, as cameras write them. The loop is what one would
write without this tool: torchvision's `ImageFolder`, resize and crop, a `DataLoader` with as many workers as there are
cores, and the network as torchvision gives it, in inference mode. `adapt` decodes, generates, predicts with what was
generated and with the source model as well, and writes the file. Each runs in a process of its own, because
`adapt` sets up the allocator of the one that it runs in. All take turns; printed are the medians of the
rounds' ratios, and which share of adapt's time reading and decoding would take by themselves. The network is
untrained: time does not depend on the weights.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from gformer_cli import adapt as stage
from gformer_cli.bundle import DataHeader, build_generator, load_bundle, save_bundle
from gformer_cli.compute.device import pick_workers
from gformer_cli.config import resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.folders.domains import find_domains
from gformer_cli.images.preprocessing import read_images
from gformer_cli.networks.build import build_network
from gformer_cli.settings import Settings

CPU = torch.device("cpu")
CLASSES = [f"class-{number}" for number in range(10)]
FOLDERS = {"224 x 224": ((224, 224), 192), "4000 x 3000": ((4000, 3000), 64)}
"""Size of the photographs, and how many."""
Way = tuple[Executor, Callable[[Any, Path, int], float], Any]
"""The process, what to do there, and with what beside the folder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="One of torchvision's.")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="One JSON document instead of a table.")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(1, spawn) as as_it_comes,
        ProcessPoolExecutor(1, spawn) as as_the_command,
    ):
        bundle = untrained(options.backbone, Path(temporary))
        ways: dict[str, Way] = {
            "bare": (as_it_comes, bare, options.backbone),
            "adapt": (as_the_command, adapt, bundle),
            "decoding": (as_the_command, decode, bundle),
        }
        cells = [measure(name, Path(temporary) / name, ways, options) for name in FOLDERS]
    if options.json:
        print(json.dumps({"cells": cells}, indent=1))
        return
    print(f"{options.backbone}, batches of {options.batch_size}, {torch.get_num_threads()} threads\n")
    print("| photographs | bare loop, images/s | adapt, images/s | adapt against the loop | of it decoding alone |")
    print("| --- | --- | --- | --- | --- |")
    for cell in cells:
        print(
            f"| {cell['photographs']} | {cell['bare']:.1f} | {cell['adapt']:.1f} | {cell['ratio']:.2f} | "
            f"{100 * cell['decoding_share']:.0f} % |"
        )


def measure(name: str, folder: Path, ways: dict[str, Way], options: argparse.Namespace) -> dict[str, Any]:
    """Images per second of each way, and their ratio."""
    size, count = FOLDERS[name]
    photographs(folder, size, count)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds + 1):
        for way, (process, work, subject) in ways.items():
            took = process.submit(work, subject, folder, options.batch_size).result()
            if number:  # the first fills the file cache and sets up kernels
                seconds[way].append(took)
    middle = {way: statistics.median(own) for way, own in seconds.items()}
    return {
        "photographs": name,
        "bare": count / middle["bare"],
        "adapt": count / middle["adapt"],
        "ratio": statistics.median(b / a for b, a in zip(seconds["bare"], seconds["adapt"], strict=True)),
        "decoding_share": middle["decoding"] / middle["adapt"],
    }


def photographs(folder: Path, size: tuple[int, int], count: int) -> None:
    """Smooth structure with a little noise, which compresses as photographs do, in one class folder."""
    rng = np.random.default_rng(0)
    (folder / CLASSES[0]).mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + rng.integers(-6, 7, smooth.shape, dtype=np.int16)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(folder / CLASSES[0] / f"{number:04d}.jpg", quality=90)


def untrained(backbone_name: str, folder: Path) -> Path:
    """The file of a bundle of an untrained network and generator, with the default settings."""
    torch.manual_seed(0)
    settings: Settings = resolve(assignments=[f"backbone.name={backbone_name}", "backbone.weights=none"])
    backbone = Backbone(build_network(backbone_name, len(CLASSES))).freeze()
    save_bundle(
        folder / "model.gformer",
        backbone=backbone,
        generator=build_generator(settings.generator, backbone),
        constant=None,
        settings=settings,
        classes=CLASSES,
        data=DataHeader(domains={"none": dict.fromkeys(CLASSES, 1)}, fingerprint="0" * 64),
        validation={},
    )
    return folder / "model.gformer"


@torch.inference_mode()
def bare(backbone_name: str, folder: Path, batch_size: int) -> float:
    """Seconds, without those to make the network."""
    network = torchvision.models.get_model(backbone_name, num_classes=len(CLASSES)).eval()
    began = time.perf_counter()
    steps = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()]
    steps.append(transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    data = torchvision.datasets.ImageFolder(folder, transforms.Compose(steps))
    # as in a script: this process was spawned, and would spawn its workers, which takes seconds
    loader = DataLoader(data, batch_size=batch_size, num_workers=os.cpu_count() or 1, multiprocessing_context="fork")
    for images, _ in loader:
        network(images).argmax(dim=1).tolist()
    return time.perf_counter() - began


def adapt(bundle_file: Path, folder: Path, batch_size: int) -> float:
    """Seconds, without those to read the bundle."""
    bundle = load_bundle(bundle_file)
    began = time.perf_counter()
    done = stage.adapt(
        bundle, find_domains([folder], unlabelled=True), batch_size=batch_size, order="shuffle", seed=0, device=CPU,
        workers=pick_workers(None),
    )  # fmt: skip
    stage.write_rows(folder.parent / "rows.csv", done.rows, CLASSES, probabilities=False, name_targets=False)
    return time.perf_counter() - began


def decode(bundle_file: Path, folder: Path, _batch_size: int) -> float:
    """Seconds."""
    preprocessing = load_bundle(bundle_file).preprocessing
    files = find_domains([folder], unlabelled=True)[0].files
    began = time.perf_counter()
    for _ in read_images(files, preprocessing, workers=pick_workers(None)):
        pass
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
