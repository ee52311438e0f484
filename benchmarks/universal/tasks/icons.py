"""Everyday concepts as many families of icons draw them, from npm's `@iconify/json`.

No set of emoji is ever admitted. The families of `symbols` are used by no other task.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.universal.tasks.task import Painter, Task
from gformer_cli.data.demo.drawn.icons import PACKAGE, STYLE_WORDS, admitted, drawn
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.errors import InputError

TABLE = Path(__file__).with_name("icons.csv")
OTHER_THINGS = (
    "off slash plus add minus check x remove cancel edit search user question info alert dollar broken crossed half "
    "unlock unlocked down up left right video settings setting share download upload sync refresh error warning ban "
    "pen pencil love smart app code file folder network server data cloudy rain snow cross pause play loading closed "
    "charging connection speed sunglasses tree break shield wireless recycle disable disabled empty low high no not "
    "mobile money wheel hand hands gear cog time set rise shower zipper glasses visible hide hidden open ring storage "
    "link cable api enter space frame snooze inbox browser database desktop portrait street co store contact coupon "
    "copy paste grid snap point protect animal firework comb crash tag rental meal list shipping location watch "
    "balloon ballon"
)
"""Words that make a name one of another thing, such as in `broken-heart`."""
PER_FAMILY = 3
"""At most so many drawings of a concept by one family."""


@dataclass(frozen=True)
class IconTask:
    """Concepts, each with other names of it after a slash; icons.csv has the families of each domain."""

    concepts: str
    seed: int
    sizes: tuple[int, ...] = (32,)
    per_source: int = 55
    per_target: int = 32
    colours: int = 40

    def names(self) -> dict[str, tuple[str, ...]]:
        """Class name -> words that an icon of it may be called."""
        return {words.partition("/")[0]: tuple(words.split("/")) for words in self.concepts.split()}


ICON_TASKS = {
    "icons": IconTask("home/house camera heart car bell key folder calendar star cloud", seed=21),
    "icons-2": IconTask(
        "book umbrella trash/bin/delete gift/present sun moon flag clock eye printer/print", seed=22, sizes=(32, 64)
    ),
    "symbols": IconTask(
        "anchor rocket crown scissors/cut magnet skull headphones/headphone/headset trophy hourglass",
        seed=23,
        sizes=(32, 64),
        per_source=80,
        per_target=60,
        colours=64,
    ),
}


def domains(task: str, role: str) -> dict[str, list[str]]:
    """The families of each domain of a task, as icons.csv has them; `role` is sources or targets."""
    with TABLE.open(encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if (row["task"], row["role"]) == (task, role)]
    return {row["domain"]: row["families"].split() for row in rows}


def icon_task(name: str, packages: Packages) -> Task:
    """Raises `InputError` for a family that is not admitted and for a concept that a domain lacks."""
    spec, root = ICON_TASKS[name], packages.npm(PACKAGE)
    about = json.loads((root / "collections.json").read_text(encoding="utf-8"))
    concepts = spec.names()

    def painters(role: str) -> dict[str, Painter]:
        found = {}
        for domain, families in domains(name, role).items():
            for family in families:
                if not admitted(family, about.get(family, {})):
                    hint = "Name an openly licensed family without emoji in icons.csv."
                    raise InputError(f"icon family {family} is not admitted", hint)
            found[domain] = _painter(f"{name}/{domain}", root, families, concepts)
        return found

    return Task(
        name=name,
        classes=tuple(concepts),
        sources=painters("sources"),
        targets=painters("targets"),
        seed=spec.seed,
        sizes=spec.sizes,
        per_source=spec.per_source,
        per_target=spec.per_target,
        colours=spec.colours,
    )


def _painter(where: str, root: Path, families: list[str], concepts: dict[str, tuple[str, ...]]) -> Painter:
    read = [_family(root / "json" / f"{family}.json", tuple(concepts.items())) for family in families]
    drawings = {label: [icons[label] for icons in read if icons[label]] for label in concepts}
    for label, found in drawings.items():
        if not found:
            raise InputError(f"{where}: no family draws {label!r}", "Name more families in icons.csv.")

    def paint(label: str, rng: np.random.Generator) -> Image.Image:
        # by family first: one with many variants gets no more of the images than another
        family = drawings[label][int(rng.integers(len(drawings[label])))]
        return family[int(rng.integers(len(family)))]

    return paint


@cache
def _family(path: Path, concepts: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, list[Image.Image]]:
    """Drawings of each concept: mode L where the family has one colour, RGBA otherwise."""
    content = json.loads(path.read_text(encoding="utf-8"))
    icons, coloured = content["icons"], bool(content["info"].get("palette"))
    found: dict[str, list[Image.Image]] = {}
    for label, words in concepts:
        names = [name for name in icons if _is(name, words)] or [name for name in icons if _has(name, words)]
        names.sort(key=lambda name: (len(name), name))
        pictures = [drawn(icons[name], content, coloured=coloured) for name in names[:PER_FAMILY]]
        found[label] = [picture for picture in pictures if picture is not None]
    return found


def _is(name: str, words: tuple[str, ...]) -> bool:
    rest = [word for word in name.split("-") if word not in STYLE_WORDS]
    return len(rest) == 1 and rest[0] in words


def _has(name: str, words: tuple[str, ...]) -> bool:
    """Whether it is a kind of the thing, such as `alarm-clock`: for families that have no plain one."""
    rest = [word for word in name.split("-") if word not in STYLE_WORDS]
    return (
        1 < len(rest) <= 4
        and not set(rest).intersection(OTHER_THINGS.split())
        and (rest[0] in words or rest[-1] in words)
    )
