"""What `gformer adapt --audit` costs, as a share of the run time of adapt without it.

    python benchmarks/audit_cost.py --model run/model.gformer --target data/targets [--batch-size 64] [--rounds 5]

Each round predicts all images once and times what goes into audit lines apart from the rest, decoding included:
within one run, so that a busy machine slows both alike. Of the audit's share it tells how much is measuring the change
of parameters and statistics, and how much is forcing lines to the disk. That depends on the disk: `--folder` names a
folder on the one that the log is to lie on. The share of `--save-parameters` is told beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gformer_cli.adapt import Outcome, ParameterFolder, adapt
from gformer_cli.audit.writer import AuditLog, environment
from gformer_cli.bundle import file_hash, load_bundle
from gformer_cli.core.change import measure_change
from gformer_cli.folders.domains import find_domains

CPU = torch.device("cpu")


class Timed:
    """A function of one argument, such as a sink, and the seconds that went into it."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, argument: Any) -> None:
        began = time.perf_counter()
        self.function(argument)
        self.seconds += time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--target", type=Path, action="append", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    bundle, domains = load_bundle(options.model), find_domains(options.target, unlabelled=True)
    sha256 = file_hash(options.model)
    shares: dict[str, list[float]] = {"audit": [], "of it measuring": [], "of it fsync": [], "save-parameters": []}
    fsync = os.fsync
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        log = AuditLog(Path(folder) / "audit.jsonl", bundle, sha256, environment(CPU)).open()
        for number in range(options.rounds):
            kept = ParameterFolder(Path(folder) / "sets", bundle, sha256, overwrite=True).begin()
            audit, measuring, forcing, saving = Timed(log), Timed(_measure), Timed(fsync), Timed(kept)
            os.fsync = forcing  # type: ignore[assignment]
            began = time.perf_counter()
            result = adapt(
                bundle,
                domains,
                batch_size=options.batch_size,
                order="shuffle",
                seed=0,
                device=CPU,
                workers=0,
                sinks=[measuring, audit, saving],
            )
            whole = time.perf_counter() - began
            os.fsync = fsync
            plain = whole - audit.seconds - saving.seconds - measuring.seconds
            for name, timed in zip(shares, (audit, measuring, forcing, saving), strict=True):
                shares[name].append(timed.seconds / plain)
            print(
                f"round {number + 1}: {result.batches} batches, adapt {plain:.2f} s; "
                + ", ".join(f"{name} {100 * found[-1]:.2f} %" for name, found in shares.items())
            )
        print(f"a line: {log.path.stat().st_size / result.batches / options.rounds / 1024:.1f} kB")
    print("median: " + ", ".join(f"{name} {100 * statistics.median(found):.2f} %" for name, found in shares.items()))


def _measure(outcome: Outcome) -> None:
    measure_change(outcome.prediction)


if __name__ == "__main__":
    main()
