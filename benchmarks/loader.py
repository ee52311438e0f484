"""Images a second, memory and time to the first step of the training pipeline, on images that do not fit into memory.

    python -m benchmarks.loader --out /tmp/loader --images 2000 20000 200000

Images are 640 x 480 JPEGs, read at 224 pixels. A few hundred are drawn; the rest are hard links to them. Beside it a
bare torchvision `ImageFolder` and torch's `DataLoader` read the same folder with the same workers, the same resizing
and the same augmentation, in turns in the same run. Each memory is that of a process of its own and of its workers
together: shared pages count once (PSS).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from gformer_cli.config import resolve
from gformer_cli.data import labelled
from gformer_cli.data.augment import augment, make_augmentation
from gformer_cli.data.inventory import Inventory
from gformer_cli.data.labelled import LabelledDomain, load_labelled, write_known
from gformer_cli.data.loader import Reader, Tensors
from gformer_cli.data.samplers import EndlessShuffle
from gformer_cli.folders.domains import Layout, class_names, find_domains
from gformer_cli.images.store import PixelStore
from gformer_cli.settings import Settings
from gformer_cli.train.source_models import preprocessing_of

BATCH = 64
DRAWN = 250
"""Different images."""
CLASSES = 10
STEPS = 20
"""Batches of a measurement, after the first."""


def settings_of(size: int) -> Settings:
    return resolve(assignments=[f"data.image_size={size}"])


def draw(folder: Path, count: int) -> None:
    """`count` images in class folders of the domain `site`."""
    if folder.is_dir():
        return
    random = np.random.default_rng(0)
    drawn = folder.parent / "drawn"
    drawn.mkdir(parents=True, exist_ok=True)
    for number in range(DRAWN):
        path = drawn / f"{number:03d}.jpg"
        if not path.exists():
            coarse = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
            noise = random.normal(0.0, 6.0, (480, 640, 3))
            pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=90)
    for label in range(CLASSES):
        (folder / "site" / f"class-{label}").mkdir(parents=True)
    for number in range(count):
        place = folder / "site" / f"class-{number % CLASSES}" / f"{number:06d}.jpg"
        place.hardlink_to(drawn / f"{number % DRAWN:03d}.jpg")


def load(folder: Path, size: int, inventory: Path | None = None, store: PixelStore | None = None) -> LabelledDomain:
    """The images as training reads them where they do not fit into memory."""
    labelled.CACHE_BYTES = 0
    domains = find_domains([folder], Layout.domains)
    (domain,), skipped = load_labelled(
        domains,
        class_names(domains),
        preprocessing_of(settings_of(size)),
        validation_fraction=0.2,
        seed=0,
        workers=2,
        inventory=None if inventory is None else Inventory(inventory),
        store=store,
    )
    assert not skipped
    return domain


def ours(domain: LabelledDomain, workers: int, size: int) -> Reader[int]:
    """Batches as `pretrain` reads them."""
    order, transform = EndlessShuffle(domain.train, 0), _augmentation(size)

    def read(number: int) -> Tensors:
        chosen = order.take(number * BATCH, BATCH)
        return augment(transform, domain.pixels(chosen), number), domain.labels[chosen]

    return Reader(read, lambda number: range(number, 10**9), workers=workers)


def bare(folder: Path, workers: int, size: int) -> Iterator[object]:
    """torchvision's folder and torch's loader, and nothing else."""
    steps = v2.Compose([v2.Resize(size), v2.CenterCrop(size), v2.PILToTensor(), _augmentation(size)])
    data = ImageFolder(str(folder / "site"), transform=steps)
    while True:
        yield from DataLoader(data, BATCH, shuffle=True, num_workers=workers, drop_last=True)


def _augmentation(size: int) -> v2.Transform:
    options = settings_of(size).pretrain
    return make_augmentation(image_size=size, crop=options.crop, flip=options.flip, jitter=options.jitter)


def throughput(folder: Path, workers: int, size: int, rounds: int, steps: int, cache: Path) -> None:
    """Images a second, in turns. The cache is filled before: an epoch of it is behind."""
    found: dict[str, list[tuple[float, float]]] = {"gformer": [], "ImageFolder": [], "gformer, cached": []}
    store = PixelStore(cache, 10**10)
    filled = load(folder, size, store=store)
    for position in {file.path.stat().st_ino: number for number, file in enumerate(filled.files)}.values():
        filled.pixels([position])
    for _ in range(rounds):
        for name, rates in found.items():
            before, reader = _cpu(), None
            if name == "ImageFolder":
                batches = bare(folder, workers, size)
            else:
                kept = store if "cached" in name else None
                reader = ours(load(folder, size, store=kept), workers, size)
                batches = map(reader.get, itertools.count())
            ahead = 2 * workers + 1  # what was read before the clock starts
            for _ in range(ahead):
                next(batches)
            began = time.perf_counter()
            for _ in range(steps):
                next(batches)
            rate = steps * BATCH / (time.perf_counter() - began)
            del batches
            if reader is not None:
                reader.close()
            rates.append((rate, 1000.0 * (_cpu() - before) / (BATCH * (steps + ahead))))
    for name, rates in found.items():
        rate, cost = (statistics.median(values) for values in zip(*rates, strict=True))
        ratios = [one[0] / other[0] for one, other in zip(rates, found["ImageFolder"], strict=True)]
        costs = [other[1] / one[1] for one, other in zip(rates, found["ImageFolder"], strict=True)]
        print(
            f"{name:16} {rate:7.1f} images/s, {statistics.median(ratios):.2f} x ImageFolder; "
            f"{cost:.1f} ms of a core an image, {statistics.median(costs):.2f} x"
        )


def _cpu() -> float:
    """Seconds that this process and those that it has waited for have computed: other work does not count."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def first_step(folder: Path, workers: int, size: int, inventory: Path) -> dict[str, float]:
    """In a process of its own: seconds to the first batch, and the memory that training then takes."""
    began = time.perf_counter()
    domain = load(folder, size, inventory)
    looked = time.perf_counter() - began
    reader = ours(domain, workers, size)
    reader.get(0)
    first = time.perf_counter() - began
    for number in range(1, STEPS):
        reader.get(number)
    memory = sum(map(_memory, [os.getpid(), *_children()]))
    own = _memory(os.getpid())
    write_known(inventory, [domain])
    return {"images": len(domain), "looked": looked, "first": first, "memory": memory, "own": own}


def _children() -> list[int]:
    task = Path("/proc/self/task")
    return [int(child) for thread in task.iterdir() for child in (thread / "children").read_text().split()]


def _memory(process: int) -> float:
    """MB of a process, pages that it shares as its part of them."""
    rows = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the images")
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS, help="batches of a turn that are counted")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--inventory", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.one:
        print(json.dumps(first_step(asked.out / str(asked.one), asked.workers, asked.size, asked.inventory)))
        return
    for count in asked.images:
        draw(asked.out / str(count), count)
    with tempfile.TemporaryDirectory(dir=asked.out) as scratch:
        how = asked.workers, asked.size, asked.rounds, asked.steps
        throughput(asked.out / str(asked.images[0]), *how, Path(scratch))
        for count in asked.images:
            inventory = Path(scratch) / f"{count}.csv"
            for when in ("first time", "afterwards"):
                own = ["--one", str(count), "--inventory", str(inventory), "--workers", str(asked.workers)]
                command = [sys.executable, "-m", "benchmarks.loader", "--out", str(asked.out), *own]
                done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                told = json.loads(done)
                print(
                    f"{count:7} images, {when}: {told['looked']:5.1f} s to know them, {told['first']:5.1f} s to the "
                    f"first batch; {told['memory']:.0f} MB with {asked.workers} workers, {told['own']:.0f} MB without"
                )


if __name__ == "__main__":
    main()
