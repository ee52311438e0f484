"""Letters and signs of several scripts, in Debian's fonts: a domain is a kind of font.

fonts.csv names the packages of each domain, and which of their files: Latin capitals and small letters share none.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.universal.tasks.task import Painter, Task
from gformer_cli.data.demo.drawn.fonts import font_files, glyph, has_signs
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.errors import InputError

TABLE = Path(__file__).with_name("fonts.csv")

Files = dict[str, list[str]]
"""Debian package -> patterns of the font files of it that are used."""


@dataclass(frozen=True)
class Script:
    """The characters of a task, its classes' names where they differ, and the size of the task."""

    signs: str
    seed: int
    names: str = ""
    per_source: int = 55
    per_target: int = 32
    colours: int = 40

    def classes(self) -> dict[str, str]:
        """Class name -> character."""
        return dict(zip(self.names.split() or list(self.signs), self.signs, strict=True))


SCRIPTS = {
    "letters": Script("ABCDEFGHKR", seed=11),
    "letters-case": Script("abdeghkmqr", seed=12, per_source=80, per_target=60, colours=64),
    "greek": Script("αβγδεθλπψω", seed=13, names="alpha beta gamma delta epsilon theta lambda pi psi omega"),
    "kana": Script("あいかきさなぬはみを", seed=14, names="a i ka ki sa na nu ha mi wo"),
    "hebrew": Script("אבגהטלמעצש", seed=15, names="alef bet gimel he tet lamed mem ayin tsadi shin"),
}


def domains(task: str, role: str) -> dict[str, Files]:
    """The fonts of each domain of a task, as fonts.csv has them; `role` is sources or targets."""
    found: dict[str, Files] = {}
    with TABLE.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            if (row["task"], row["role"]) == (task, role):
                found.setdefault(row["domain"], {})[row["package"]] = row["files"].split()
    return found


def font_task(name: str, packages: Packages) -> Task:
    script = SCRIPTS[name]
    signs = script.classes()
    return Task(
        name=name,
        classes=tuple(signs),
        sources={domain: _painter(signs, files, packages) for domain, files in domains(name, "sources").items()},
        targets={domain: _painter(signs, files, packages) for domain, files in domains(name, "targets").items()},
        seed=script.seed,
        per_source=script.per_source,
        per_target=script.per_target,
        colours=script.colours,
    )


def _painter(signs: dict[str, str], files: Files, packages: Packages) -> Painter:
    # by package first: one with many weights gets no more of the images than another
    families = [_fonts(packages.debian(package), patterns, signs) for package, patterns in files.items()]

    def paint(label: str, rng: np.random.Generator) -> Image.Image:
        fonts = families[int(rng.integers(len(families)))]
        return glyph(str(fonts[int(rng.integers(len(fonts)))]), signs[label])

    return paint


def _fonts(root: Path, patterns: list[str], signs: dict[str, str]) -> list[Path]:
    """Font files below `root` that have every sign."""
    kept = [path for path in font_files(root, patterns) if has_signs(str(path), "".join(signs.values()))]
    if not kept:
        raise InputError(f"no font in {root} has the signs {''.join(signs.values())}", "Name others in fonts.csv.")
    return kept
