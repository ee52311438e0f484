"""Train several generators at once, a process each.

    python -m benchmarks.universal.many --spec FILE --out DIR [--at-once N] [ARGUMENT ...]

A line of the spec is a name and arguments of `train`; # begins a remark. What stands behind `--out DIR` here is given
to all. Generator NAME is DIR/NAME.safetensors, and DIR/NAME.log is what its training said.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variant:
    """A generator to train."""

    name: str
    arguments: Sequence[str]

    def train(self, out: Path, common: Sequence[str]) -> int:
        """The exit code of its training."""
        words = ["--out", str(out / f"{self.name}.safetensors"), *common, *self.arguments]
        with (out / f"{self.name}.log").open("a") as log:
            command = [sys.executable, "-u", "-m", "benchmarks.universal.train", *words]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            code = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False).returncode
        lines = (out / f"{self.name}.log").read_text(errors="replace").splitlines()
        print(f"{self.name}: {'done' if code == 0 else f'exit {code}'}: {lines[-1] if lines else ''}", flush=True)
        return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--at-once", type=int, help="Default: all.")
    given, common = parser.parse_known_args()
    variants = read_spec(given.spec)
    given.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.at_once or len(variants)) as pool:
        codes = list(pool.map(lambda variant: variant.train(given.out, common), variants))
    return int(any(codes))


def read_spec(path: Path) -> list[Variant]:
    """The variants of a spec file. Raises `ValueError` for a name that comes twice."""
    lines = [shlex.split(line, comments=True) for line in path.read_text().splitlines()]
    variants = [Variant(words[0], words[1:]) for words in lines if words]
    names = [variant.name for variant in variants]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has a name twice: {', '.join(sorted(names))}")
    return variants


if __name__ == "__main__":
    sys.exit(main())
