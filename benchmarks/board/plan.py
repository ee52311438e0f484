"""What is measured: sets, streams, batch sizes, seeds, and rows beside the methods of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gformer_cli.methods import METHODS, UNLOADED, Method

SEEDS = (0, 1, 2)
"""Of the source model and of the order of images."""
STREAMS = ("stationary", "label-shift", "mixed+label-shift")
MORE_STREAMS = ("mixed", "bursts", "gradual+label-shift", "recurring+label-shift")
SIZES = (64, 8)
LIMIT = 96
"""Images of each target of the quick board."""


@dataclass(frozen=True)
class Set:
    """Labelled images: source domains, and target domains that nothing is trained on."""

    name: str
    preset: str
    demo: Sequence[str] = ()
    """More words for `gformer data demo NAME`."""
    tuned_on: bool = False
    """Whether settings of gformer were chosen on it: it then counts for nothing."""


_DRAWN = ("--cameras", "--size", "64")
SETS = {
    one.name: one
    for one in (
        Set("icons", "mobilenet-v2", _DRAWN),
        Set("letters", "mobilenet-v2", _DRAWN),
        Set("stickers", "mobilenet-v2", _DRAWN),
        Set("digit-cameras", "quick", tuned_on=True),
    )
}
QUICK = ("icons", "letters", "stickers")


@dataclass(frozen=True)
class Recipe:
    """A way of making the generator, from the same source model."""

    purpose: str
    train: Sequence[str] | None = None
    """Words for `gformer meta-train`; None: the generator that comes with gformer is put on it as it is."""
    leave_one_out: bool = False
    """Whether it needs source models that have not seen a domain."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Method of `evaluate` -> name of its row; empty: every method, by its own name."""


UNIVERSAL = "universal"
_TRAINED = ("constant", "gformer-guard")
"""What only bundles of `meta-train` have."""
_TRANSFORMERS = ("foa",)
"""What adapts vision transformers alone, of which no set has one."""
_EPISODIC = "tent-episodic"
"""It has Tent's state, and forgets it before each batch."""
METHODS_OF_ALL = tuple(name for name in METHODS if name not in (*_TRAINED, *_TRANSFORMERS, *UNLOADED))
RECIPES = {
    UNIVERSAL: Recipe("the shipped generator as it is, nothing trained"),
    "own": Recipe(
        "the shipped generator, trained on for 100 steps on the source images",
        ("--start", "universal", "--steps", "100"),
        rows={
            "gformer": "gformer, trained on",
            "gformer-context": "gformer-context, trained on",
            "gformer-guard": "gformer-guard, trained on",
            "constant": "constant",
        },
    ),
    "paper": Recipe(
        "the paper's recipe: from nothing, leave-one-domain-out episodes, gradient features",
        ("--preset", "paper", "--set", "meta_train.constant=false", "--set", "meta_train.guard_batches=0"),
        leave_one_out=True,
        rows={"gformer": "gformer, the paper's recipe"},
    ),
}


@dataclass(frozen=True)
class Board:
    """What is measured."""

    sets: Sequence[Set]
    seeds: Sequence[int]
    streams: Sequence[str]
    sizes: Sequence[int]
    limit: int | None
    """Most images of each target; None: all."""
    methods: Sequence[str]
    recipes: Sequence[str]
    """Beside `UNIVERSAL`."""

    def place(self, cell: tuple[str, str, int]) -> tuple[int, int, int]:
        """Where a cell (set, stream, batch size) stands: sets, sizes and streams in the order that was asked for."""
        name, stream, size = cell
        return [one.name for one in self.sets].index(name), self.sizes.index(size), self.streams.index(stream)


def keeps_memory(method: str) -> bool:
    """Whether a method carries anything from batch to batch."""
    return method != _EPISODIC and METHODS[method].reset is not Method.reset


def answers_alone(method: str) -> bool:
    """Whether it has the same answer for an image in every batch of every stream: it is then measured in one size."""
    return METHODS[method].ask_once
