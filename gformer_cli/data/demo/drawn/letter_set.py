"""`letters`: the small letters in hundreds of Debian's fonts; domains are kinds of font.

letter_set.csv names the packages of each domain, which of their files, and whether upright or slanted fonts of these.
The generator `universal` was trained on other packages.
"""

from __future__ import annotations

import csv
import re
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gformer_cli.data.demo.drawn.fonts import font_files, glyph, has_signs, read_font
from gformer_cli.data.demo.drawn.packages import Packages, debian_version, not_whole
from gformer_cli.data.demo.drawn.picture_set import Drawing, PictureSet

TABLE = Path(__file__).with_name("letter_set.csv")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SLANTED = ("italic", "oblique", "slanted")
"""Words of a font's style."""
UNLIKE = "abdeghnqr"
"""Letters whose small form is another one than the capital's."""


def letter_set(packages: Packages) -> PictureSet:
    """Raises `InputError` for a package that cannot be had, and for a domain without a font."""
    with TABLE.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    names = list(dict.fromkeys(row["package"] for row in rows))
    roots = dict(zip(names, packages.debians(names), strict=True))
    for root in roots.values():
        if not font_files(root, ["*"]):
            raise not_whole(root, "font")
    roles: dict[str, dict[str, dict[str, list[Drawing]]]] = {"sources": {}, "targets": {}}
    for row in rows:
        classes = roles[row["role"]].setdefault(row["domain"], {letter: [] for letter in LETTERS})
        for name, path in _fonts(roots[row["package"]], row["files"].split(), row["slant"]).items():
            for letter, drawings in classes.items():
                drawings.append(Drawing(name, row["package"], partial(glyph, path, letter)))
    return PictureSet(
        name="letters",
        sources=roles["sources"],
        targets=roles["targets"],
        per_source=75,
        per_target=30,
        licences=tuple(
            sorted({f"{row['package']} {debian_version(roots[row['package']])}: {row['licence']}" for row in rows})
        ),
    )


def _fonts(root: Path, patterns: list[str], slant: str) -> dict[str, str]:
    """Family and style -> file, of the fonts that have all small letters; of two files of one font the first."""
    found: dict[str, str] = {}
    for path in font_files(root, patterns):
        try:
            family, style = (part or "" for part in read_font(str(path)).getname())
            usable = has_signs(str(path), LETTERS) and not _is_all_capitals(str(path))
        except OSError:  # a bitmap font has its own sizes alone
            continue
        slanted = any(word in style.lower() for word in SLANTED)
        if usable and slant in ("any", "slanted" if slanted else "upright"):
            found.setdefault(re.sub(r"[^a-z0-9]+", "-", f"{family} {style}".lower()).strip("-"), str(path))
    return found


def _is_all_capitals(path: str) -> bool:
    """Whether the font's small letters are small capitals."""
    alike = [np.corrcoef(_small(path, letter), _small(path, letter.upper()))[0, 1] > 0.9 for letter in UNLIKE]
    return sum(map(bool, alike)) > len(UNLIKE) // 3


def _small(path: str, sign: str) -> npt.NDArray[np.float64]:
    return np.asarray(glyph(path, sign).resize((24, 24), Image.Resampling.BOX), dtype=np.float64).ravel()
