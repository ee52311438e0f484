"""Memory and time of `gformer adapt` on very many images, and what a kill in the middle leaves.

    python -m benchmarks.adapting MODEL.gformer --images FOLDER --out /tmp/adapting --counts 2000 20000 200000

The images of FOLDER are linked again and again. Each count is a command of its own; its memory is the peak of what it
has resident, less that of `gformer adapt` on 200 images, which is the model's and Python's. Last, the largest one is
killed half-way: a predictions file is whole or absent.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from gformer_cli.folders.sniffing import IMAGE_SUFFIXES

FEW = 200


def link(images: list[Path], folder: Path, count: int) -> Path:
    """`folder` with `count` images."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for number, image in enumerate(islice(cycle(images), count)):
            (folder / f"{number:07d}{image.suffix}").hardlink_to(image)
    return folder


def command(model: Path, target: Path, out: Path, more: list[str]) -> list[str]:
    own = ["adapt", "--model", str(model), "--target", str(target), "--out", str(out), "--overwrite", "--quiet"]
    return [sys.executable, "-m", "gformer_cli", *own, *more]


def measured(asked: list[str]) -> tuple[float, float]:
    """Peak of the resident memory in MB, and seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(asked)}")
    return used.ru_maxrss / 1000.0, time.perf_counter() - began


def killed(asked: list[str], out: Path, after: float) -> str:
    """What is there of the predictions once the command was killed after so many seconds."""
    out.unlink(missing_ok=True)
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL)
    time.sleep(after)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [path.name for path in out.parent.iterdir()]
    return f"left by a kill after {after:.0f} s: {', '.join(left) or 'nothing'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="folder of images to link")
    parser.add_argument("--out", type=Path, required=True, help="folder for the links, on the same disk")
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--probabilities", action="store_true")
    asked = parser.parse_args()
    images = sorted(path for path in asked.images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    more = ["--workers", str(asked.workers), *["--probabilities"] * asked.probabilities]
    with tempfile.TemporaryDirectory(dir=asked.out.parent) as scratch:
        out = Path(scratch) / "predictions.csv"
        base = 0.0
        for count in [FEW, *asked.counts]:
            target = link(images, asked.out / str(count), count)
            memory, seconds = measured(command(asked.model, target, out, more))
            with out.open() as file:
                rows = sum(1 for _ in file) - 1
            base = base or memory
            print(
                f"{count:7} images: {rows} rows, {memory:.0f} MB, {memory - base:+.0f} MB over {FEW}; {seconds:.0f} s"
            )
        print(killed(command(asked.model, target, out, more), out, seconds / 2))


if __name__ == "__main__":
    main()
