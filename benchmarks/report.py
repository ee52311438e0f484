"""How long a page takes, and how large it is: 12 methods on 8 streams and 6 targets.

    python benchmarks/report.py [--methods 12] [--targets 6] [--batches 60] [--out report.html]

The results are random numbers, so that none of a network's time is in it. What is timed is what `gformer report`
does once it has been started: read results.json, draw, write.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from gformer_cli.data.streams import BATCH_SIZES, STREAMS
from gformer_cli.evaluate import Cell, Results
from gformer_cli.evaluate.reading import read_results
from gformer_cli.evaluate.results import Details, Inside
from gformer_cli.files import write_json
from gformer_cli.report.page.evaluation import evaluation_page
from gformer_cli.report.page.files import write_report


def make_cell(method: str, stream: str, target: str, size: int, batches: int, rng: random.Random) -> Cell:
    """Random figures; `gformer` has a layers x batches map."""
    right = [rng.randint(size // 2, size) for _ in range(batches)]
    accuracy = sum(right) / (size * batches)
    rows = [[round(rng.random(), 5) for _ in range(50)] for _ in range(24)]
    details = Details(Inside([f"layer{n}" for n in range(50)], list(range(24)), rows, rows, rows), [])
    return Cell(
        method=method,
        stream=stream,
        part=target,
        target=target,
        batch_size=size,
        seed=0,
        severity=None,
        n=size * batches,
        accuracy=accuracy,
        balanced_accuracy=accuracy,
        macro_f1=accuracy,
        nll=rng.random(),
        ece=rng.random(),
        brier=rng.random(),
        seconds_per_image=0.001,
        cost_ratio=1.0 + 5.0 * rng.random(),
        forwards=1.0,
        backwards=1.0,
        peak_mib=100.0,
        batch_images=[size] * batches,
        batch_correct=right,
        calibration=[(10, (n + 0.5) / 15, rng.random()) for n in range(15)],
        predictions="",
        details=details if method == "gformer" and stream == "stationary" else None,
    )


def main() -> None:
    """Make results, then time the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=12)
    parser.add_argument("--targets", type=int, default=6)
    parser.add_argument("--batches", type=int, default=60, help="of each target")
    parser.add_argument("--out", type=Path, help="keep the page")
    options = parser.parse_args()
    rng = random.Random(0)
    methods = ["source", "gformer", *[f"method-{number}" for number in range(options.methods - 2)]]
    cells = [
        make_cell(method, stream, f"target-{target}", size, options.batches, rng)
        for stream in STREAMS
        for size in (BATCH_SIZES if stream == "batch-sizes" else (64,))
        for target in range(options.targets)
        for method in methods
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        write_json(path, Results({"file": "model.gformer"}, methods, cells, []).to_json())
        began, began_cpu = time.perf_counter(), time.process_time()
        document = read_results(path)
        read = time.perf_counter() - began
        page = evaluation_page(document)
        write_report(options.out or Path(folder) / "report.html", page)
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    print(f"{len(methods)} methods, {len(STREAMS)} streams, {options.targets} targets: {seconds:.1f} s on the clock,")
    print(f"{cpu:.1f} s of a processor, {read:.1f} s of it on the clock to read; {len(page.encode()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
