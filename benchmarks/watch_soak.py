"""Many images through `gformer watch`: how much does its memory grow after warm-up? Linux only.

    python benchmarks/watch_soak.py --model run/model.gformer --images data/targets [--count 20000] [--move]

Images are copied under new names while the command runs, never more than a few thousand ahead of it. Its resident
memory is read after every few batches; warm-up is the first tenth of the images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

AHEAD = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a root of domains; their images are copied")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--context", type=int, default=0)
    parser.add_argument("--move", action="store_true", help="with --move-to; else all images stay in the folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "in").mkdir()
        command = [sys.executable, "-m", "gformer_cli", "watch", work / "in", "--model", options.model]
        command += ["--out", work / "p.csv", "--until-idle", 5, "--settle", 0.2, "--batch-size", options.batch_size]
        command += ["--json", "--context", options.context]
        command += ["--move-to", work / "moved"] if options.move else []
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        done = [0]
        threading.Thread(target=feed, args=(options, work / "in", done), daemon=True).start()
        memory: list[tuple[int, float]] = []
        for line in process.stderr or []:
            if line.startswith("batch"):
                done[0] += int(line.split(": ")[1].split()[0])
                memory.append((done[0], resident(process.pid)))
        result = json.loads(process.stdout.read() if process.stdout else "")
        if process.wait() != 0 or result["images"] != options.count:
            raise SystemExit(f"status {process.returncode}: {result}")
    warm = next(size for images, size in memory if images >= options.count // 10)
    after = [size for images, size in memory if images >= options.count // 10]
    figures = {
        "images": result["images"],
        "batches": result["batches"],
        "minutes": round((time.monotonic() - began) / 60, 1),
        "mib_after_warm_up": round(warm, 1),
        "mib_at_the_end": round(after[-1], 1),
        "growth_mib": round(after[-1] - warm, 1),
        "largest_growth_mib": round(max(after) - warm, 1),
        "every_tenth_mib": [round(size, 1) for _, size in memory[:: max(1, len(memory) // 10)]],
    }
    print(json.dumps(figures, indent=2))
    sys.exit(figures["largest_growth_mib"] >= 20)


def feed(options: argparse.Namespace, folder: Path, done: list[int]) -> None:
    sources = itertools.cycle(sorted(options.images.rglob("*.png")))
    for number in range(options.count):
        while number - done[0] > AHEAD:
            time.sleep(0.02)
        source = next(sources)
        place = folder / source.relative_to(options.images).parts[0] / f"{number:06d}.png"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(source, place)


def resident(process: int) -> float:
    """Resident memory in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
